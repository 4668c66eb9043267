"""Sweep and run folders as the project writes them, with chosen accuracies and without training anything.

    make_sweep(tmp_path / "sweep", n_seeds=3, degrees=(1, 2, 4, 8), n_questions=60)
    make_run(tmp_path / "run", "diversity=4", "seed=1", right=0.6)

Configs are composed, questions, rationales and pairs are made by the generated task, the procedural teacher and the
curation themselves, predictions are read by the real scorers, and the files are written by the project's own
functions. Only what the student says is made up: a rationale of the task with a right or a wrong end. Which questions
are answered rightly is drawn from a seed: easy ones more often, by every student, so that runs agree as real ones do.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ftcot
from ftcot import evaluate as evaluation
from ftcot.answers import SCORERS
from ftcot.compose import Composer, conf_dir
from ftcot.curation import curate, judge, vanilla
from ftcot.files import read_json, write_json
from ftcot.filters import Context
from ftcot.folder import fill, freeze
from ftcot.hashes import FileHashes
from ftcot.job import Job, build
from ftcot.jobs import job_hash
from ftcot.ledger import Ledger, Member
from ftcot.records import Example, Prediction, Sample, Score, to_line
from ftcot.status import STAGES
from ftcot.task.generated import Hand
from ftcot.task.generated.reasoning import voice_of_draw
from ftcot.teacher import Session
from ftcot.teacher.store import CompletionStore

BEGAN = 1_795_411_841.0
"""2026-11-23, when every made-up run began."""

TIME = "2026-11-23T05:30:41+00:00"

SMALL = ("logger=none", "task.n_train=24", "training.epochs=2", "trainer=cpu", "evaluation.max_new_tokens=160")

VERSIONS = {"ftcot": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.23.0"}

PARAMETERS = {"tiny-0.2m": 206_000, "tiny": 722_048, "tiny-2m": 2_100_000, "tiny-5m": 5_300_000}

FALLS = ("a word or two", "a slip", "a slip", "a slip", "no end", "over and over", "no marker")
"""How a made-up student goes wrong, one in turn for each wrong answer."""


def by_diversity(facts: Mapping[str, Any]) -> float:
    """An accuracy such as the paper finds: fine-tuning on answers at a guess, more rationales better."""
    if facts["method"] != "fine_tune_cot":
        return 0.5 if facts["method"] == "fine_tune" else 0.1
    return {1: 0.55, 2: 0.65, 4: 0.78, 8: 0.92}.get(facts["diversity"], 0.95)


def make_sweep(
    path: Path,
    *,
    n_seeds: int = 3,
    degrees: Sequence[int] = (1, 2, 4, 8),
    methods: Sequence[str] = ("fine_tune_cot",),
    students: Sequence[str] = ("tiny",),
    tasks: Sequence[str] = ("generated/coin_flip",),
    n_questions: int = 60,
    epochs: Sequence[int] = (1, 2),
    figure: str | None = "mini/diversity",
    words: Sequence[str] = (),
    right: Callable[[Mapping[str, Any]], float] = by_diversity,
    noise: float = 0.02,
    states: Mapping[int, str] | None = None,
) -> list[Path]:
    """A sweep over methods, D, students, tasks and seeds; vanilla fine-tuning is there once a seed.

    Args:
        epochs: that are tested, the last one by `right`, those before it worse.
        figure: that sweep.yaml says the jobs are of; None: a sweep over axes.
        words: more overrides, of every job.
        right: the accuracy to be had, given task, method, student, diversity and seed.
        noise: standard deviation of the seeds around it.
        states: of jobs, by number, that are not complete: `running`, `failed`, `frozen`.
    Returns:
        The run folders, in order.
    """
    path.mkdir(parents=True)
    ledger, folders, events, hashes = Ledger(path), [], [], []
    grid = [
        {"task": task, "method": method, "student": student, "diversity": degree, "seed": seed}
        for task in tasks
        for method in methods
        for student in students
        for degree in (degrees if method == "fine_tune_cot" else degrees[:1])
        for seed in range(n_seeds)
    ]
    for number, facts in enumerate(grid):
        job = (f"task={facts['task']}", f"method={facts['method']}", f"student={facts['student']}")
        job += (f"diversity={facts['diversity']}", f"seed={facts['seed']}")
        config = _config(f"task.n_test={n_questions}", *words, *job)
        member = Member(number, _hash(config), job)
        folder, state = path / member.name, (states or {}).get(number, "complete")
        hashes.append(member.hash)
        folders.append(folder)
        events.append(member.row(state="frozen", time=TIME))
        if state == "frozen":
            freeze(folder, config, member.hash)
            continue
        events.append(member.row(state="running", attempt=1, started=TIME, home=None, time=TIME))
        luck = random.Random(str(facts)).gauss(0.0, noise) if noise else 0.0
        write_run(folder, config, min(1.0, max(0.0, right(facts) + luck)), epochs, state)
        if state == "failed":
            events.append(member.row(state="failed", cause="JobError: the loss is not finite", time=TIME))
        if state == "complete":
            score = read_json(folder / "score.json")
            known = {key: score[key] for key in ("accuracy", "interval", "device_seconds", "tokens", "cost_usd")}
            known["seconds"] = sum(score["seconds"].values())
            events.append(member.row(state="complete", action="new", attempt=1, ended=TIME, time=TIME, **known))
    write_json(path / "sweep.yaml", _settings(grid, figure, hashes))
    ledger.extend(events)
    return folders


def make_run(
    folder: Path,
    *words: str,
    right: float = 0.6,
    n_questions: int = 60,
    epochs: Sequence[int] = (1, 2),
    state: str = "complete",
) -> Path:
    """A run of its own: `right` of its test questions are answered rightly, about."""
    write_run(folder, _config(f"task.n_test={n_questions}", *words), right, epochs, state)
    return folder


def reuse(home: Path, sweep: Path, number: int = 0) -> Path:
    """What a sweep holds of a job that another one has run."""
    known = read_json(home / "status.json")["hash"]
    member = Member(number, known, ())
    folder = sweep / member.name
    fill(home, folder)
    if not (sweep / "sweep.yaml").exists():
        write_json(sweep / "sweep.yaml", _settings([], None, [known]))
    score = read_json(folder / "score.json")
    line = {"accuracy": score["accuracy"], "interval": score["interval"], "reused_from": str(home), "home": str(home)}
    Ledger(sweep).append(member.row(state="complete", action="reused", time=TIME, **line))
    return folder


def _settings(grid: Sequence[Mapping[str, Any]], figure: str | None, hashes: Sequence[str]) -> dict[str, Any]:
    """What `sweep.yaml` says; JSON is YAML too."""
    axes = {key: sorted({str(row[key]) for row in grid}) for key in (grid[0] if grid else {})}
    overrides = [f"figure={figure}"] if figure else [f"{key}={','.join(values)}" for key, values in axes.items()]
    values = {"schema": 1, "result_version": ftcot.RESULT_VERSION, "began": BEGAN, "overrides": overrides, "cwd": "/w"}
    values |= {"launcher": [], "on_error": "continue", "cache": "/w/cache"}
    return values | {"figures": {figure: list(hashes)} if figure else {}}


_composer: list[Composer] = []


def _config(*words: str) -> dict[str, Any]:
    from hydra.core.global_hydra import GlobalHydra

    if not _composer or not GlobalHydra.instance().is_initialized():  # conftest clears it after each test
        _composer[:] = [Composer(conf_dir())]
    task = [word for word in words if word.startswith("task=")]  # brings its own defaults: first
    return _composer[0].job([*task, *SMALL, "paths.cache=/w/cache", *(word for word in words if word not in task)])


def _hash(config: Mapping[str, Any]) -> str:
    return job_hash(config, {}, FileHashes(Path("/nowhere")))


def write_run(folder: Path, config: Mapping[str, Any], right: float, epochs: Sequence[int], state: str) -> None:
    """Everything that a run leaves, but weights; of a job that goes on what its first epoch leaves."""
    job = build(config)
    splits = job.task.splits()
    freeze(folder, config, _hash(config), durable=False)
    counts: dict[str, Any] = {"train": len(splits.train), "validation": 0, "test": len(splits.test)}
    accuracy, examples = None, ()
    if job.needs_teacher:
        with_store = Session(CompletionStore(folder / ".store"), lambda *_: None, lambda *_: None, BEGAN)
        completions = job.teacher.complete(job.task, splits.train, job.diversity, with_store)
        completions = judge(completions, splits.train, job.task.answer, job.curation.candidate)
        _write(folder / "completions.jsonl", completions)
        accuracy = job.teacher.accuracy(job.task, splits, completions)
        context = Context(job.task, job.teacher, with_store)
        template = job.method.template_for(job.student.family)
        curated = curate(splits.train, completions, template, job.diversity, job.curation, context)
        counts |= {"completions": len(completions), "teacher_tokens": 0, "curation": curated.counts}
        examples = curated.examples
        _remove(folder / ".store")
    elif job.method.name == "fine_tune":
        examples = vanilla(splits.train, job.method.template_for(job.student.family)).examples
    if examples:
        _write(folder / "examples.jsonl", examples)
    tested = list(epochs) if job.method.trains else [0]
    done = tested if state == "complete" else tested[:1]
    predictions = [one for epoch in done for one in _said(job, splits.test, right, epoch, tested)]
    _write(folder / "predictions.jsonl", predictions)
    scores = evaluation.score(predictions)
    seconds = {"teach": 0.1, "curate": 0.2, "train": 10.0 + 5 * job.diversity.degree, "evaluate": 0.3}
    counts |= {"examples": len(examples), "parameters": PARAMETERS.get(job.student.name, 1_000_000)}
    counts |= {"supervised_tokens": 40 * len(examples), "steps": 2 * len(examples), "truncated": 0}
    lines = [f"{10 * e},{e},{2 / (e + 1):.4f},5000.0,0.001,{s.accuracy:.4f}" for e, s in zip(done, scores, strict=True)]
    header = "step,epoch,loss,tokens_per_second,learning_rate,accuracy"
    (folder / "metrics.csv").write_text("\n".join([header, *lines, ""]))
    (folder / "log.txt").write_text("── 2026-11-23 05:30:41 worker 4242 ──\n")
    stages = list(STAGES) if state == "complete" else list(STAGES[:2])
    status = read_json(folder / "status.json") | {
        **{"state": state, "began": BEGAN, "pid": 4242, "boot": "b", "host": "node7", "heartbeat": BEGAN + 60},
        **{"cause": "JobError: the loss is not finite" if state == "failed" else None, "versions": VERSIONS},
        **{"stage": "evaluate" if state == "complete" else "train", "stages": stages, "counts": counts},
        **{"teacher_accuracy": accuracy, "teacher_cost_usd": 0.0, "seconds": seconds},
        **{"device_seconds": seconds["train"] + seconds["evaluate"], "kept": "none"},
    }
    write_json(folder / "status.json", status)
    if state == "complete":
        write_json(folder / "score.json", _score(job, predictions, scores, examples, seconds, status).to_json())


def _score(
    job: Job,
    predictions: Sequence[Prediction],
    scores: Sequence[Any],
    examples: Sequence[Example],
    seconds: Mapping[str, float],
    status: Mapping[str, Any],
) -> Score:
    best = evaluation.best(scores, "test")
    assert best is not None
    generated = sum(one.n_tokens for one in predictions)
    return Score(
        task=job.task.name,
        method=job.method.name,
        student=job.student.name,
        teacher=job.teacher.name if job.needs_teacher else None,
        scorer=job.evaluation.scorer,
        **evaluation.summary(scores[-1]),
        best_on_test=evaluation.summary(best) if job.method.trains else None,
        best_on_validation=None,
        random_accuracy=job.task.random_accuracy,
        teacher_accuracy=status["teacher_accuracy"],
        n_examples=len(examples),
        seconds=seconds,
        tokens={"supervised": 40 * len(examples), "generated": generated, "teacher": 0},
        cost_usd=0.0,
        epochs=tuple(asdict(score) for score in scores),
        devices=1,
        device_seconds=status["device_seconds"],
    )


def _said(job: Job, samples: Sequence[Sample], right: float, epoch: int, epochs: Sequence[int]) -> Iterator[Prediction]:
    """What the student says after an epoch: right to `right` of the questions after the last one."""
    accuracy = right * (0.5 + 0.5 * (epochs.index(epoch) + 1) / len(epochs))
    who = f"{job.method.name}/{job.student.name}/{job.diversity.degree}/{job.seed}"
    chance = random.Random(f"{who}/{epoch}")
    luck = {s.sample_index: 0.6 * _number(s.question) + 0.4 * chance.random() for s in samples}
    ranked = sorted(luck, key=luck.__getitem__)
    wanted = len(samples) * accuracy
    n_right = int(wanted) + (chance.random() < wanted % 1)
    known = set(ranked[:n_right])
    marker = job.method.template_for(job.student.family).marker
    for sample in samples:
        text, fall = _text(job, sample, sample.sample_index in known, chance, marker)
        readings = {name: scorer.read(job.task.answer, text, marker, sample.answer) for name, scorer in SCORERS.items()}
        reported = readings[job.evaluation.scorer]
        truncated = fall in ("no end", "over and over")
        yield Prediction(
            sample_index=sample.sample_index,
            split="test",
            epoch=epoch,
            text=text,
            answer=sample.answer,
            prediction=reported.prediction,
            correct=reported.correct,
            verdicts={name: reading.correct for name, reading in readings.items()},
            contains_answer=sample.answer in text,
            formatted=marker is None or marker in text,
            truncated=truncated,
            n_tokens=160 if truncated else 8 + len(text.split()),
        )


def _text(job: Job, sample: Sample, right: bool, chance: random.Random, marker: str | None) -> tuple[str, str | None]:
    fall = None if right else chance.choice(FALLS)
    task: Any = job.task
    answers = [sample.answer] if right else [word for word in ("yes", "no", "7", "B") if word != sample.answer]
    answer = answers[0]
    if job.method.name != "fine_tune_cot":
        return f" {answer}", None
    voices = task.voices(1)
    voice = voice_of_draw(voices, chance.randrange(8), random.Random(sample.question))
    rationale = task.reason(task.read(sample.question), voice, Hand(1.0 if right else 0.6, chance)).text
    rationale = re.sub(r"\b(yes|no)\b", answer, rationale)
    if fall == "no end":
        return f" {rationale[: len(rationale) // 3]}", fall
    if fall == "over and over":
        return f" {rationale.split('.')[0]}." * 20, fall
    if fall == "no marker":
        return f" {rationale.split('.')[0]}.", fall
    if fall == "a word or two":
        rationale = rationale.split(".")[0]
    return f" {rationale} {marker} {answer}", fall


def _number(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone: how hard a question is."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def _write(path: Path, records: Sequence[Any]) -> None:
    # As write_records writes them, without waiting for the disk: tests make many.
    path.write_text("".join(map(to_line, records)), encoding="utf-8")


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)
