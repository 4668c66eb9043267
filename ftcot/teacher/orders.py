"""What a purchase is to buy, and how replies become completions.

    Rationales   the first D draws of some samples, each a rationale and its answer, in one call or two
    Sayings      one greedy word on each of some prompts: a judge's verdicts

    Reply(ask, draw=0, text=" Debby and ...", usage={"prompt": 61, "completion": 58}, ...)
    Completion(prompt="Q: For Halloween ...", rationale=" Debby and ...", answer_text=None, ...)      kept by itself
    Reply(ask, draw=0, text=" 39.", usage={"prompt": 131, "completion": 3}, ...)
    Completion(..., rationale=" Debby and ...", answer_text=" 39.", usage={"prompt": 192, "completion": 61}, ...)

Prompts are made one at a time, as they are asked for: an order of a million takes no more memory than one of ten.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ftcot.records import Completion, Sample, SampleKey
from ftcot.teacher import Diversity
from ftcot.teacher.asks import REFUSED, TOO_LONG, Ask, Decoding, Reply, Turn, flatten
from ftcot.teacher.budget import Tokens, most_in

if TYPE_CHECKING:
    from ftcot.task import Task
    from ftcot.teacher.live import Live
    from ftcot.teacher.store import CompletionStore

Draw = tuple[SampleKey, int]

GREEDY = Diversity(1, 0.0)

AT_ONCE = 4096
"""Prompts that are looked up together."""


class Order(ABC):
    """Prompts in a fixed order, as many draws of each."""

    parameters: Mapping[str, Any]
    """That the completions are stored under."""
    first_parameters: Mapping[str, Any] | None = None
    """That the replies to the first of two calls are stored under; None: one call does."""
    decoding: Decoding
    """Of the first, or only, call."""
    degree: int
    """Draws of each prompt."""

    def __init__(self, teacher: Live, task: Task) -> None:
        self.teacher, self.task = teacher, task

    @abstractmethod
    def __len__(self) -> int:
        """How many prompts."""

    @abstractmethod
    def draw(self, place: int, number: int) -> Draw:
        """What the draws of one prompt are known by."""

    @abstractmethod
    def turns(self, place: int) -> tuple[Turn, ...]:
        """What the first, or only, call says."""

    @abstractmethod
    def stored(self, store: CompletionStore) -> Iterator[tuple[int, int]]:
        """What the store has: the places of the prompts, and the numbers of the draws."""

    @abstractmethod
    def record(self, reply: Reply, prompt: str, usd: float | None) -> Completion:
        """The reply to the first, or only, call as a completion.

        Args:
            usd: what the call cost.
        """

    def goes_on(self, said: Completion) -> bool:
        """Whether a second call has to be made."""
        return False

    def second(self, turns: Sequence[Turn], said: Completion) -> Ask:
        """The second call."""
        raise NotImplementedError

    def most_second(self, turns: Sequence[Turn], said: Completion) -> Tokens:
        """What the second call may take, at most: no more than was counted on before the first was answered."""
        raise NotImplementedError

    def whole(self, said: Completion, reply: Reply, usd: float | None) -> Completion:
        """The completion, once the second call is answered too."""
        raise NotImplementedError

    def most(self, turns: Sequence[Turn]) -> Tokens:
        """What one draw may take, at most."""
        return Tokens(most_in(turns), self.decoding.max_tokens)

    def _completion(self, reply: Reply, prompt: str, **said: Any) -> Completion:
        task, version, sample_index = reply.ask.sample
        return Completion(
            task=task,
            version=version,
            sample_index=sample_index,
            draw=reply.draw,
            prompt=prompt,
            finish_reason=reply.finish_reason,
            usage=None if reply.usage is None else dict(reply.usage),
            teacher=self._described(reply),
            raw=reply.raw,
            **said,
        )

    def _described(self, reply: Reply) -> dict[str, Any]:
        """Who said it, and what it was told."""
        known = {"model": reply.model or self.teacher.model, "server": reply.server}
        return {"name": self.teacher.name} | dict(self.parameters) | known

    def _words(self, reply: Reply) -> tuple[str | None, str]:
        """Thoughts and words."""
        thoughts, words = self.teacher.prompting.apart(reply.text)
        return reply.thinking or thoughts, words


class Rationales(Order):
    """The first draws of some samples."""

    def __init__(self, teacher: Live, task: Task, samples: Sequence[Sample], diversity: Diversity) -> None:
        super().__init__(teacher, task)
        self.samples, self.degree = samples, diversity.degree
        self.parameters = teacher.parameters(task, diversity)
        if teacher.prompting.two_calls:
            self.first_parameters = teacher.parameters(task, diversity, "rationale")
        self.decoding = teacher.decoding(diversity, "rationale")
        self._second_decoding = teacher.decoding(diversity, "answer")
        self._answer_prompt = teacher.prompting.answer_text(task)
        self._ask = teacher.prompting.asker(task)

    def __len__(self) -> int:
        return len(self.samples)

    def draw(self, place: int, number: int) -> Draw:
        return (self.samples[place].key, number)

    def turns(self, place: int) -> tuple[Turn, ...]:
        return self._ask(self.samples[place])

    def stored(self, store: CompletionStore) -> Iterator[tuple[int, int]]:
        for start in range(0, len(self.samples), AT_ONCE):
            places = {self.samples[place].key: place for place in range(start, min(start + AT_ONCE, len(self.samples)))}
            prompts = {key: flatten(self.turns(place)) for key, place in places.items()}
            for key, draw in store.has(self.teacher.name, self.parameters, prompts, self.degree):
                yield places[key], draw

    def completions(self, store: CompletionStore) -> list[Completion]:
        """All that are stored, by sample and draw, without the servers' replies as they came."""
        prompts = {sample.key: flatten(self.turns(place)) for place, sample in enumerate(self.samples)}
        stored = store.get(self.teacher.name, self.parameters, prompts, self.degree)
        wanted = ((sample.key, draw) for sample in self.samples for draw in range(self.degree))
        return [replace(stored[draw], raw=None) for draw in wanted if draw in stored]

    def record(self, reply: Reply, prompt: str, usd: float | None) -> Completion:
        thinking, words = self._words(reply)
        said: dict[str, Any] = {"rationale": words, "thinking": thinking, "cost_usd": usd}
        if self.first_parameters is None and reply.finish_reason not in (REFUSED, TOO_LONG):
            parts = self.teacher.prompting.split(words)
            said |= {"rationale": parts.rationale, "answer_prompt": parts.marker, "answer_text": parts.answer}
        completion = self._completion(reply, prompt, **said)
        if self.goes_on(completion):  # half of a completion says so: it is kept beside the whole one
            completion = replace(completion, teacher={**completion.teacher, "part": "rationale"})
        return completion

    def _described(self, reply: Reply) -> dict[str, Any]:
        return super()._described(reply) | self.teacher.prompting.named()

    def goes_on(self, said: Completion) -> bool:
        if self.first_parameters is None or said.finish_reason in (REFUSED, TOO_LONG):
            return False
        # A thought that was cut off leaves nothing to build on; nor do chat servers take a turn without words.
        return bool(said.rationale.strip()) or not (self.teacher.chat or said.thinking)

    def second(self, turns: Sequence[Turn], said: Completion) -> Ask:
        prompt = self._answer_prompt.strip() if self.teacher.chat else self._answer_prompt
        asked = self.teacher.prompting.second(turns, said.rationale, prompt)
        assert said.draw is not None
        return Ask(said.sample_key, (said.draw,), asked, self._second_decoding, "answer")

    def whole(self, said: Completion, reply: Reply, usd: float | None) -> Completion:
        thinking, words = self._words(reply)
        failed = reply.finish_reason in (REFUSED, TOO_LONG)
        return replace(
            said,
            answer_prompt=self._answer_prompt,
            answer_text=None if failed else words,
            finish_reason=reply.finish_reason if failed else said.finish_reason,
            usage=said.usage if failed and reply.usage is None else _together(said.usage, reply.usage),
            teacher=self._described(reply),
            raw=reply.raw,
            thinking="\n\n".join(filter(None, (said.thinking, thinking))) or None,
            cost_usd=None if usd is None or said.cost_usd is None else said.cost_usd + usd,
        )

    def most(self, turns: Sequence[Turn]) -> Tokens:
        first = super().most(turns)
        return first if self.first_parameters is None else first + self._most_second(turns, self.decoding.max_tokens)

    def most_second(self, turns: Sequence[Turn], said: Completion) -> Tokens:
        return self._most_second(turns, min(len(said.rationale.encode("utf-8", "replace")), self.decoding.max_tokens))

    def _most_second(self, turns: Sequence[Turn], rationale: int) -> Tokens:
        asked = (*turns, Turn("user", self._answer_prompt))
        return Tokens(most_in(asked) + rationale, self._second_decoding.max_tokens)


class Sayings(Order):
    """One greedy reply to each of some prompts, known by a sample and a draw. What is said is the `rationale`."""

    degree = 1

    def __init__(self, teacher: Live, task: Task, prompts: Mapping[Draw, str], max_tokens: int) -> None:
        super().__init__(teacher, task)
        self.prompts, self._wanted = prompts, list(prompts)
        self.decoding = Decoding(0.0, max_tokens)
        greedy = teacher.parameters(task, GREEDY, "rationale")
        self.parameters = greedy | {"part": "judge", "top_p": 1.0, "max_tokens": max_tokens, "stop": []}

    def __len__(self) -> int:
        return len(self._wanted)

    def draw(self, place: int, number: int) -> Draw:
        return self._wanted[place]

    def turns(self, place: int) -> tuple[Turn, ...]:
        return (Turn("user", self.prompts[self._wanted[place]]),)

    def stored(self, store: CompletionStore) -> Iterator[tuple[int, int]]:
        places = {draw: place for place, draw in enumerate(self._wanted)}
        return ((places[draw], 0) for draw in store.find(self.teacher.name, self.parameters, self.prompts))

    def completions(self, store: CompletionStore) -> dict[Draw, Completion]:
        """All that are stored, without the servers' replies as they came."""
        found = store.find(self.teacher.name, self.parameters, self.prompts)
        return {draw: replace(said, raw=None) for draw, said in found.items()}

    def record(self, reply: Reply, prompt: str, usd: float | None) -> Completion:
        thinking, words = self._words(reply)
        return self._completion(reply, prompt, rationale=words, thinking=thinking, cost_usd=usd)


def _together(one: Mapping[str, int] | None, other: Mapping[str, int] | None) -> dict[str, int] | None:
    """The tokens of two calls; None where those of one are not known."""
    if one is None or other is None:
        return None
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in (*one, *other)}
