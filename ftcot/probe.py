"""Times students: the worker behind `dry_run=true`, for those that no earlier run tells the speed of.

    stdin    [{"config": {...}, "texts": {"multiarith": [["For ...", " Debby and ..."], ...]}, "prompts": [...]}, ...]
    stdout   {"speed": {"train": 3120.4, "decode": 41.7, "startup": 6.1, "density": {"multiarith": 0.27}}}, or "error"

Real parts (model, Lightning's trainer, precision, batches) on real texts, with random weights where none are at hand.
A few steps each; where a step would take long, a smaller one stands in for it. Nothing is written.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot.errors import cause_of
from ftcot.job import Job, build
from ftcot.libraries import prepare
from ftcot.process import FONTS, end_with_launcher, settle_libraries
from ftcot.speeds import Speed

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from ftcot.student import Encoded, Student
    from ftcot.training.module import FineTuning

SECONDS = 4.0
"""Of training, and of answering, that are timed."""

STEP = 3.0
"""Seconds that a timed step may take; a slower student is given fewer pairs, and fewer prompts, at once."""

WARM_UP = 2
"""Steps that do not count: what is made once is made in them."""

MOST_STEPS = 60
AT_ONCE = 64
"""Prompts that are answered, where steps are short enough."""

NEW_TOKENS = (8, 64)
"""Of a timed answer: at least, at most."""


def main() -> int:
    """Answer the requests on stdin, one line each as it is done."""
    end_with_launcher()
    answers, requests = sys.stdout, json.load(sys.stdin)
    fonts = Path(requests[0]["config"]["paths"]["cache"]) / FONTS
    with redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as own:  # libraries may talk
        settle_libraries(fonts if fonts.is_dir() else Path(own))
        libraries = _imported()
        for request in requests:
            try:
                told: dict[str, Any] = {"speed": asdict(measure(request, libraries))}
            except Exception as error:
                told = {"error": cause_of(error)}
            print(json.dumps(told), file=answers, flush=True)
    return 0


def _imported() -> float:
    """Seconds that every job spends on importing what it needs."""
    began = time.monotonic()
    prepare()
    import ftcot.student.decoder
    import ftcot.training.epochs  # noqa: F401

    return time.monotonic() - began


def measure(request: Mapping[str, Any], libraries: float) -> Speed:
    """The speed of one student, as a job uses it.

    Args:
        libraries: seconds that importing them took.
    Raises:
        InputError: the student cannot be had.
    """
    from ftcot.student.blank import blank
    from ftcot.training.trainer import pick_device

    job, texts = build(request["config"]), request["texts"]
    everything = [prompt + target for pairs in texts.values() for prompt, target in pairs] + request["prompts"]
    began = time.monotonic()
    student = blank(job.student, everything)
    startup = libraries + time.monotonic() - began
    encoded = student.encode_all([pair for pairs in texts.values() for pair in pairs])
    train = _training(job, student, encoded) if job.method.trains and encoded else None
    student.model.to(pick_device(job.trainer)).eval()
    lengths = [len(pair.target_ids) for pair in encoded] or [NEW_TOKENS[1]]
    decode = _answering(job, student, request["prompts"], round(sum(lengths) / len(lengths)))
    return Speed(
        train, decode, startup, {task: _density(job, pairs, student) for task, pairs in texts.items() if pairs}
    )


def _density(job: Job, pairs: Sequence[tuple[str, str]], student: Student) -> float:
    """Tokens a character."""
    from ftcot.student.specs import FromScratch

    if isinstance(job.student, FromScratch):  # its tokenizer is made of the task's texts
        student = job.student.load([prompt + target for prompt, target in pairs], 0)
    encoded = student.encode_all(pairs)
    tokens = sum(len(pair.prompt_ids) + len(pair.target_ids) for pair in encoded)
    return tokens / sum(len(prompt) + len(target) for prompt, target in pairs)


def _training(job: Job, student: Student, encoded: Sequence[Encoded]) -> float:
    """Tokens of prompts and targets a second."""
    from ftcot.ranks import Ranks
    from ftcot.training.checkpoint import Checkpoints
    from ftcot.training.data import Pairs
    from ftcot.training.lora import adapted
    from ftcot.training.module import FineTuning
    from ftcot.training.trainer import build_trainer, known_warnings

    single = _single(job, student, encoded)
    training = job.training
    if single * training.batch_size > STEP:
        training = replace(
            training, batch_size=max(1, int(STEP / single)), device_batch_size=None, device_batch_tokens=None
        )
    watch = _Watch()
    enough = list(encoded) * max(1, -(-4 * training.batch_size // len(encoded)))
    settings = {key: value for key, value in job.trainer.items() if key != "limit_train_batches"}
    alone = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
    with known_warnings(), adapted(student, training.lora), tempfile.TemporaryDirectory(prefix="ftcot-") as place:
        folder = Path(place)
        trainer = build_trainer(
            settings | alone,
            epochs=1000,
            folder=folder,
            callback=_callback(watch),
            checkpoints=Checkpoints(folder),
            ranks=Ranks(),
        )
        with watch.until_enough():
            trainer.fit(
                FineTuning(student, training, 0, Ranks(), lambda: False),
                datamodule=Pairs(student, enough, training, 0, Ranks()),
            )
    total = sum(len(pair.prompt_ids) + len(pair.target_ids) for pair in encoded)
    supervised = sum(len(pair.target_ids) for pair in encoded)
    return watch.tokens * total / supervised / watch.seconds


def _single(job: Job, student: Student, encoded: Sequence[Encoded]) -> float:
    """Seconds that a pair takes alone, forward and backward: a bound of what it takes among others."""
    from ftcot.training.trainer import pick_device

    device = pick_device(job.trainer)
    student.model.to(device)
    batch = student.collate(encoded[:1]).to(device)
    seconds = 0.0
    for _ in range(2):  # what is made once is made in the first
        began = time.monotonic()
        loss = student.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()  # a GPU works on while we look at the clock
        student.model.zero_grad()
        seconds = time.monotonic() - began
    return seconds


class _Enough(Exception):  # noqa: N818 (no error: the time is up)
    """The steps have been timed."""


class _Watch:
    """Times steps, after some to warm up."""

    def __init__(self) -> None:
        self.tokens, self.seconds = 0, 0.0
        self._steps, self._since = 0, time.monotonic()

    def step(self, tokens: int) -> None:
        """A step over so many supervised tokens is done."""
        self._steps += 1
        if self._steps <= WARM_UP:
            self._since = time.monotonic()
            return
        self.tokens += tokens
        self.seconds = time.monotonic() - self._since
        if self.seconds > SECONDS or self._steps - WARM_UP >= MOST_STEPS:
            raise _Enough

    @contextmanager
    def until_enough(self) -> Iterator[None]:
        """Within, a step may end the work."""
        try:
            yield
        except _Enough:
            return


def _callback(watch: _Watch) -> pl.Callback:
    import pytorch_lightning as pl

    class Steps(pl.Callback):  # type: ignore[misc]
        """Tells the watch of each step."""

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: FineTuning, *rest: object) -> None:
            watch.step(pl_module.last.tokens)

    return Steps()


def _answering(job: Job, student: Student, prompts: Sequence[str], tokens: int) -> float:
    """Tokens of answers a second."""
    template = job.method.template_for(job.student.family)

    def timed(asked: Sequence[str], new: int) -> tuple[float, int]:
        began = time.monotonic()
        said = student.generate(asked, max_new_tokens=new, batch_tokens=job.evaluation.batch_tokens, stop=template.stop)
        return time.monotonic() - began, sum(generation.n_tokens for generation in said)

    batch = list(prompts) * -(-AT_ONCE // len(prompts))
    timed(batch[:1], 1)
    single, _ = timed(batch[:1], 2)
    rows = max(1, min(len(batch), int(STEP / single)))
    seconds, _ = timed(batch[:rows], 4)
    fits = int(SECONDS * 4 / seconds)
    seconds, written = timed(batch[:rows], max(NEW_TOKENS[0], min(tokens, fits, NEW_TOKENS[1])))
    return max(1, written) / seconds


if __name__ == "__main__":
    sys.exit(main())
