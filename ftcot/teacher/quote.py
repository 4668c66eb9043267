"""What a live teacher's answers will cost, before anything is sent.

    420 questions x D = 8 of MultiArith, 2,910 completions in the store: 450 are missing, of 57 questions
    30 of them have a rationale that was paid for, but no answer yet
      first calls    55, one for all missing rationales of a question: 55 prompts of about 71 tokens, 420 rationales
      second calls  450, one for each: 450 prompts (question, rationale, answer prompt), 450 answers

The store is asked what is there, so a quote after a purchase is a quote for what is left of it. Draws are numbered, and
D = 4 is the first half of D = 8: of the jobs of a sweep each pays for what those before it do not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ftcot.errors import InputError
from ftcot.records import Sample, SampleKey
from ftcot.teacher import Diversity, Estimate, Planned
from ftcot.teacher.asks import REFUSED, TOO_LONG, Turn, flatten
from ftcot.teacher.store import CompletionStore, hash_parameters, sha256
from ftcot.teacher.tokens import PER_TURN

if TYPE_CHECKING:
    from ftcot.task import Task
    from ftcot.teacher.live import Live

SCANNED = 5_000
"""Rows of the store that are looked at to learn how long its answers are."""


def quote(
    live: Live, task: Task, samples: Sequence[Sample], diversity: Diversity, store: CompletionStore, planned: Planned
) -> Estimate:
    """What is missing of the first `degree` draws of these samples, and what that costs.

    Args:
        planned: draws that jobs before this one will have bought; those of this one are added.
    Raises:
        InputError: the store is damaged, or the tokenizer.
    """
    turns = dict(zip([sample.key for sample in samples], live.prompting.first(task, samples), strict=True))
    prompts = {key: flatten(said) for key, said in turns.items()}
    missing = _missing(live, task, prompts, diversity, store, planned)
    wanted = len(samples) * diversity.degree
    if not missing:
        return Estimate(wanted=wanted, stored=wanted)
    said, lengths = _Said(live, task), _lengths(live, task, store, prompts.values())
    calls = at_once = one_by_one = n_first = n_second = of_second = 0
    for lacks, length in zip(missing.values(), said.tokens([turns[key] for key in missing]), strict=True):
        together = min(lacks.first, 1) if live.several_draws else lacks.first
        calls += together + lacks.second
        at_once += together * length
        one_by_one += lacks.first * length
        of_second += lacks.second * (length + said.of_second)
        n_first, n_second = n_first + lacks.first, n_second + lacks.second
    most, answer_most = live.prompting.max_tokens, live.prompting.answer_max_tokens
    prompt = at_once + of_second + round(n_second * lengths.rationale)
    # A server that gives one reply where several are asked for is asked again for each of the others.
    max_prompt = one_by_one + of_second + n_second * most
    completion = round(n_first * lengths.rationale + n_second * lengths.answer)
    max_completion = n_first * most + n_second * answer_most
    price = live.price
    return Estimate(
        wanted=wanted,
        stored=wanted - sum(lacks.draws for lacks in missing.values()),
        calls=calls,
        prompt_tokens=prompt,
        max_prompt_tokens=max_prompt,
        completion_tokens=completion,
        max_completion_tokens=max_completion,
        usd=None if price is None else price.cost(prompt, completion),
        max_usd=None if price is None else price.cost(max_prompt, max_completion),
        counted=said.counter.words,
    )


def quote_sayings(
    live: Live, prompts: Mapping[SampleKey, str], degree: int, more: int, most: int, purpose: str, planned: Planned
) -> Estimate:
    """What one greedy reply to a prompt about each draw of each sample costs at most, if the store has none of them.

    Args:
        prompts: as far as they are known.
        more: tokens that are not known yet, at most.
        most: tokens of a reply, at most.
        purpose: what they are for; replies for one purpose are shared between jobs.
    """
    counter = live.counter
    n = tokens = 0
    for (key, prompt), length in zip(prompts.items(), counter.each(list(prompts.values())), strict=True):
        known = (live.name, purpose, key, sha256(prompt))
        draws = max(0, degree - planned.get(known, 0))
        planned[known] = max(degree, planned.get(known, 0))
        n, tokens = n + draws, tokens + draws * (length + more + (2 * PER_TURN if live.chat else 0))
    price, wanted = live.price, len(prompts) * degree
    return Estimate(
        wanted=wanted,
        stored=wanted - n,
        calls=n,
        max_prompt_tokens=tokens,
        max_completion_tokens=n * most,
        usd=None if price is None else 0.0,
        max_usd=None if price is None else price.cost(tokens, n * most),
        counted=counter.words,
    )


def refuse_too_long(live: Live, task: Task, samples: Sequence[Sample]) -> None:
    """Refuse questions whose prompt and completion do not fit into `teacher.context`, where that is known.

    Raises:
        InputError: there is one.
    """
    if live.context is None or not samples:
        return
    said, prompting = _Said(live, task), live.prompting
    lengths = said.tokens(prompting.first(task, samples))
    length, longest = max(zip(lengths, samples, strict=True), key=lambda pair: pair[0])
    room = f"teacher.prompting.max_tokens={prompting.max_tokens}"
    needed = length + prompting.max_tokens
    if prompting.two_calls:
        room += f" and answer_max_tokens={prompting.answer_max_tokens}"
        needed += said.of_second + prompting.answer_max_tokens
    if needed > live.context:
        raise InputError(
            f"teacher.context={live.context}: question {longest.sample_index} of {task.name} needs {needed} tokens, "
            f"its prompt {length} ({said.counter.words}) and its completion up to {room}"
        )


class _Said:
    """What a teacher is asked about a task, in tokens."""

    def __init__(self, live: Live, task: Task) -> None:
        self.counter = live.counter
        self._chat = live.chat
        self.of_second = 0
        """What a second prompt has beside the first one and the rationale."""
        if live.prompting.two_calls:
            more = live.prompting.second((), "", live.prompting.answer_text(task))
            marks = PER_TURN * len(more) if live.chat else 0
            self.of_second = marks + sum(self.counter.each([turn.text for turn in more]))

    def tokens(self, prompts: Sequence[Sequence[Turn]]) -> list[int]:
        """Of each prompt."""
        lengths = self.counter.each(["".join(turn.text for turn in turns) for turns in prompts])
        marks = [PER_TURN * (len(turns) + 1) if self._chat else 0 for turns in prompts]
        return [length + mark for length, mark in zip(lengths, marks, strict=True)]


class _Lacks(NamedTuple):
    """Draws that a sample lacks."""

    draws: int
    first: int
    """Of these, those that have no rationale yet."""
    second: int
    """Those that need a call for their answer: all or none."""


def _missing(
    live: Live,
    task: Task,
    prompts: Mapping[SampleKey, str],
    diversity: Diversity,
    store: CompletionStore,
    planned: Planned,
) -> dict[SampleKey, _Lacks]:
    parameters, degree, two_calls = live.parameters(task, diversity), diversity.degree, live.prompting.two_calls
    done = store.has(live.name, parameters, prompts, degree)
    halves = set()
    if two_calls and len(done) < len(prompts) * degree:
        halves = store.has(live.name, live.parameters(task, diversity, "rationale"), prompts, degree)
    parameters_sha256 = hash_parameters(parameters)
    missing = {}
    for key, prompt in prompts.items():
        known = (live.name, parameters_sha256, key, sha256(prompt))
        covered = planned.get(known, 0)
        planned[known] = max(covered, degree)
        if lacking := [draw for draw in range(covered, degree) if (key, draw) not in done]:
            first = sum((key, draw) not in halves for draw in lacking)
            missing[key] = _Lacks(len(lacking), first, len(lacking) if two_calls else 0)
    return missing


@dataclass(frozen=True)
class _Lengths:
    """Tokens of a reply, on average."""

    rationale: float
    """Or of the whole completion, where one call gives both."""
    answer: float


def _lengths(live: Live, task: Task, store: CompletionStore, prompts: Collection[str]) -> _Lengths:
    """What is to be expected: what this teacher's replies to these prompts, at whatever temperature, come to in the
    store; where it has none, as many tokens as are allowed."""
    asked = {sha256(prompt) for prompt in prompts}
    first: list[int] = []
    second: list[int] = []
    for row in islice(store.scan(live.name, task.name), SCANNED):
        said = row.completion
        if row.paid is None or row.key.prompt_sha256 not in asked or said.finish_reason in (REFUSED, TOO_LONG):
            continue
        (second if live.prompting.two_calls and said.answer_text is not None else first).append(row.paid.completion)
    return _Lengths(_mean(first, live.prompting.max_tokens), _mean(second, live.prompting.answer_max_tokens))


def _mean(lengths: Sequence[int], most: int) -> float:
    return min(sum(lengths) / len(lengths), most) if lengths else most
