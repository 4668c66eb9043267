"""The straight line, end to end, on small real parts: every stage leaves what the next one, or a person, needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftcot.answers import SCORERS, YesNo
from ftcot.errors import InputError, JobError
from ftcot.evaluate import predict
from ftcot.files import read_json
from ftcot.job import build
from ftcot.records import Completion, Example, Prediction, Score, read_records
from ftcot.sample_study import KINDS, key, kind_of, rates
from ftcot.status import Status
from ftcot.student.specs import Decoder
from ftcot.teaching import describe_curation
from ftcot.testing import keep_predictions

Run = Callable[..., Path]

SMALL = [
    *("task=generated/coin_flip", "task.n_flips=2", "task.n_train=24", "task.n_test=10", "diversity='2'"),
    *("student=tiny-0.2m", "training.epochs=2", "training.batch_size=8", "evaluation.max_new_tokens=24"),
]


def test_a_run_leaves_every_stage_as_text(pipeline_run: Run) -> None:
    folder = pipeline_run(*SMALL, "task.validation_size=4")
    completions = read_records(folder / "completions.jsonl", Completion)
    examples = read_records(folder / "examples.jsonl", Example)
    predictions = read_records(folder / "predictions.jsonl", Prediction)
    score = Score.from_json(read_json(folder / "score.json"))
    assert len(completions) == len(examples) == 40  # D = 2 for the 20 questions that are left to train on
    assert all(completion.correct for completion in completions)
    assert [(p.epoch, p.split) for p in predictions] == [
        *([(1, "validation")] * 4 + [(1, "test")] * 10 + [(2, "validation")] * 4 + [(2, "test")] * 10)
    ]
    assert score.n_examples == 40
    assert score.teacher_accuracy == 1.0
    assert score.random_accuracy == 0.5
    status = Status(folder)
    assert status.stages == ("teach", "curate", "train", "evaluate")
    assert status["counts"]["curation"]["kept"] == 40
    assert status["counts"]["curation"]["diversity"]["effective_degree"] == 2.0
    assert score.diversity == status["counts"]["curation"]["diversity"]
    assert not (folder / "checkpoints").exists()
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 3
    assert {f"study_{key(kind)}" for kind in KINDS} <= set(rows[0].split(","))


def test_the_score_is_what_the_predictions_say(pipeline_run: Run) -> None:
    folder = pipeline_run(*SMALL)
    predictions = [p for p in read_records(folder / "predictions.jsonl", Prediction) if p.epoch == 2]
    score = Score.from_json(read_json(folder / "score.json"))
    assert (score.epoch, score.n) == (2, 10)
    assert score.accuracy == sum(p.correct for p in predictions) / 10
    assert score.epochs[-1]["study"] == rates(kind_of(p, None, "-->") for p in predictions)
    for said in predictions:
        assert said.study in KINDS
        for name, scorer in SCORERS.items():
            assert said.verdicts[name] == scorer.read(YesNo(), said.text, "-->", said.answer).correct
    best = max(epoch["accuracy"] for epoch in score.epochs)
    assert score.best_on_test is not None
    assert score.best_on_test["accuracy"] == best
    assert score.best_on_validation is None


def test_the_student_folder_is_a_plain_transformers_model(
    pipeline_run: Run, compose: Callable[..., dict[str, Any]]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = pipeline_run(*SMALL)
    model = AutoModelForCausalLM.from_pretrained(folder / "student").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    job = build(compose(*SMALL))
    template = job.method.template_for("decoder")
    last = {p.sample_index: p for p in read_records(folder / "predictions.jsonl", Prediction) if p.epoch == 2}
    for sample in job.task.splits().test:
        ids = tokenizer(template.ask(sample.question), return_tensors="pt")
        said = model.generate(**ids, max_new_tokens=24, do_sample=False)[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(said, skip_special_tokens=True) == last[sample.sample_index].text
    card = (folder / "student" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "fine_tune_cot" in card
    assert (folder / "student" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "epoch", "files"),
    [
        ("zero_shot", 0, {"predictions.jsonl", "score.json"}),
        ("zero_shot_cot", 0, {"predictions.jsonl", "score.json"}),
        ("few_shot_cot", 0, {"completions.jsonl", "examples.jsonl", "predictions.jsonl", "score.json"}),
        ("fine_tune", 2, {"examples.jsonl", "metrics.csv", "predictions.jsonl", "score.json", "student"}),
    ],
)
def test_every_method_ends_with_a_score(pipeline_run: Run, method: str, epoch: int, files: set[str]) -> None:
    folder = pipeline_run(*SMALL, f"method={method}")
    score = Score.from_json(read_json(folder / "score.json"))
    assert (score.method, score.epoch, score.n) == (method, epoch, 10)
    assert {path.name for path in folder.iterdir()} - {"status.json", "log.txt"} == files
    said = read_records(folder / "predictions.jsonl", Prediction)
    assert all((p.rationale is not None) == (method == "zero_shot_cot") for p in said)


def test_few_shot_demonstrations_come_from_the_training_split(
    pipeline_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftcot import evaluate

    seen: list[str] = []
    ask = evaluate.ask

    def overheard(student: Any, template: Any, prompts: Any, *rest: Any) -> Any:
        seen.extend(prompts)
        return ask(student, template, prompts, *rest)

    monkeypatch.setattr(evaluate, "ask", overheard)
    folder = pipeline_run(*SMALL, "method=few_shot_cot", "method.n_demonstrations=3")
    examples = read_records(folder / "examples.jsonl", Example)
    first = {e.sample_index: e for e in reversed(examples)}
    shown = [first[index].prompt + first[index].completion for index in sorted(first)[:3]]
    assert len(seen) == 10
    for prompt in seen:
        assert prompt.startswith("\n".join(shown) + "\nQ: A coin")
        assert prompt.endswith("\nA:")
        assert prompt.count("The answer is") == 3


def test_an_encoder_decoder_goes_the_same_way(pipeline_run: Run) -> None:
    folder = pipeline_run(*[o for o in SMALL if not o.startswith("student")], "student=tiny-t5")
    examples = read_records(folder / "examples.jsonl", Example)
    assert not examples[0].prompt.endswith("###")
    assert Score.from_json(read_json(folder / "score.json")).n == 10


def test_until_ends_the_line_and_a_later_run_goes_on(pipeline_run: Run) -> None:
    folder = pipeline_run(*SMALL, "until=curate")
    assert Status(folder).stages == ("teach", "curate")
    before = (folder / "examples.jsonl").stat().st_mtime_ns
    pipeline_run(*SMALL, "until=train")
    assert not (folder / "score.json").exists()
    pipeline_run(*SMALL)
    assert (folder / "score.json").exists()
    assert (folder / "examples.jsonl").stat().st_mtime_ns == before


def test_a_stage_that_is_run_again_adds_to_its_time(pipeline_run: Run, tmp_path: Path) -> None:
    folder = pipeline_run(*SMALL, "method=zero_shot")
    before = Status(folder)["seconds"]
    (folder / "status.json").write_text(json.dumps(read_json(folder / "status.json") | {"stages": ["teach"]}))
    pipeline_run(*SMALL, "method=zero_shot")
    after, score = Status(folder), Score.from_json(read_json(folder / "score.json"))
    assert after["seconds"]["evaluate"] > before["evaluate"]
    assert after["seconds"]["teach"] == before["teach"]
    assert score.seconds["evaluate"] > before["evaluate"]
    assert (score.devices, score.cost_usd) == (1, 0.0)
    assert after["device_seconds"] == pytest.approx(after["seconds"]["train"] + after["seconds"]["evaluate"], abs=0.01)


@pytest.mark.parametrize("keep", ["last", "best", "none"])
def test_the_weights_that_are_wanted_are_kept(
    pipeline_run: Run, compose: Callable[..., dict[str, Any]], keep: str
) -> None:
    small = [*SMALL, "task.validation_size=4", f"keep={keep}"]
    folder = pipeline_run(*small, "until=train")
    assert (folder / "student" / "model.safetensors").exists()
    pipeline_run(*small)
    assert Status(folder)["kept"] == keep
    predictions = read_records(folder / "predictions.jsonl", Prediction)
    score = Score.from_json(read_json(folder / "score.json"))
    assert score.best_on_validation is not None
    assert score.best_on_validation["epoch"] == 1  # the first of equals, of two that get nothing right
    if keep == "none":
        assert not (folder / "student").exists()
        return
    job = build(compose(*small))
    student = Decoder("kept", checkpoint=str(folder / "student")).load([], 0)
    said = predict(
        student, job.method.template_for("decoder"), YesNo(), job.task.splits().test, job.evaluation, epoch=2
    )
    for epoch in (1, 2):
        then = [p.text for p in predictions if (p.epoch, p.split) == (epoch, "test")]
        assert ([p.text for p in said] == then) == (epoch == (1 if keep == "best" else 2))
    card = (folder / "student" / "README.md").read_text()
    assert ("epoch 1, the best on validation" if keep == "best" else "last epoch") in card


def test_weights_that_an_earlier_attempt_kept_are_not_called_others(pipeline_run: Run) -> None:
    small = [*SMALL, "task.validation_size=4"]
    folder = pipeline_run(*small, "keep=last", "until=train")
    pipeline_run(*small, "keep=best")  # which was the first epoch
    assert Status(folder)["kept"] == "last"
    assert "last epoch" in (folder / "student" / "README.md").read_text()


def test_a_student_trained_with_lora_is_kept_plain(pipeline_run: Run, compose: Callable[..., dict[str, Any]]) -> None:
    pytest.importorskip("peft")
    small = [*SMALL, "training=lora", "training.lora.r=4", "training.epochs=2", "training.optimizer.lr=1e-2"]
    folder = pipeline_run(*small)
    assert not (folder / "student" / "adapter_config.json").exists()
    job = build(compose(*small))
    student = Decoder("kept", checkpoint=str(folder / "student")).load([], 0)
    template = job.method.template_for("decoder")
    said = predict(student, template, YesNo(), job.task.splits().test, job.evaluation, epoch=2)
    assert [p.text for p in said] == [p.text for p in read_records(folder / "predictions.jsonl", Prediction)][-10:]


def test_choosing_an_epoch_takes_a_validation_split(compose: Callable[..., dict[str, Any]]) -> None:
    job = build(compose(*SMALL, "keep=best"))
    with pytest.raises(InputError, match=r"keep=best: .* set task\.validation_size, or keep=last"):
        job.check_keep(job.task.splits())
    job = build(compose(*SMALL, "keep=best", "method=zero_shot"))  # trains nothing that could be chosen
    job.check_keep(job.task.splits())


def test_one_seed_repeats_and_two_differ(pipeline_run: Run) -> None:
    said = [
        (pipeline_run(*SMALL, f"seed={seed}", name=name) / "student" / "model.safetensors").read_bytes()
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    ]
    assert said[0] == said[1] != said[2]


def test_no_surviving_pair_is_an_error_that_says_so(pipeline_run: Run) -> None:
    with pytest.raises(JobError, match="no training pair is left of 48 completions for 24 questions"):
        pipeline_run(*SMALL, "curation.filter=length", "curation.max_words=1")


def test_the_wrong_are_dropped_at_low_skill(pipeline_run: Run) -> None:
    folder = pipeline_run(*SMALL, "teacher.skill=0.6", "until=curate")
    completions = read_records(folder / "completions.jsonl", Completion)
    counts = Status(folder)["counts"]["curation"]
    assert 0 < counts["kept"] < counts["completions"] == len(completions)
    assert counts["kept"] == sum(bool(c.correct) for c in completions)
    assert counts["dropped"] == {"wrong answer": counts["completions"] - counts["kept"]}
    assert "wrong answer" in (folder / "log.txt").read_text()


@pytest.mark.data
@pytest.mark.models
@pytest.mark.slow
def test_a_pretrained_student_on_a_real_task(pipeline_run: Run, data_dir: Path, models_dir: Path) -> None:
    folder = pipeline_run(
        *("task=multiarith", f"paths.data={data_dir}", "student=decoder", "student.name=stories260k"),
        *(f"student.checkpoint={models_dir / 'stories260k'}", "training.epochs=2", "training.batch_size=32"),
        *("training.optimizer.lr=1e-3", "student.max_target_tokens=256", "training.truncation_limit=0.2"),
        *("evaluation.max_new_tokens=64", "task.train_size=128", "trainer=cpu"),
    )
    rows = (folder / "metrics.csv").read_text().splitlines()
    losses = [float(row.split(",")[2]) for row in rows[1:]]
    assert losses[1] < losses[0]
    score = Score.from_json(read_json(folder / "score.json"))
    assert (score.n, score.epoch) == (180, 2)
    assert score.teacher_accuracy == pytest.approx(0.7879, abs=5e-5)
    assert 0 <= score.interval[0] <= score.accuracy <= score.interval[1]


def prediction(epoch: int, text: str) -> Prediction:
    return Prediction(0, "test", epoch, text, "1", "1", True, {}, True, True, False, 1)


def test_an_epoch_that_is_repeated_replaces_what_the_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    keep_predictions(path, [prediction(1, "one")], 1)
    keep_predictions(path, [prediction(2, "two, before the crash")], 2)
    keep_predictions(path, [prediction(2, "two, again")], 2)
    keep_predictions(path, [prediction(3, "three")], 3)
    assert [p.text for p in read_records(path, Prediction)] == ["one", "two, again", "three"]


def test_curation_is_described_in_a_line() -> None:
    counts = {
        "completions": 420,
        "kept": 323,
        "dropped": {"wrong answer": 87, "no answer": 10},
        "questions": 420,
        "questions_without": 97,
        "questions_unanswered": 0,
        "effective_diversity": 1.0,
    }
    assert describe_curation(counts) == (
        "kept 323 of 420 completions (87 wrong answer, 10 no answer); 97 of 420 questions have none"
    )
    several = {"completions": 3360, "kept": 2574, "dropped": {"wrong answer": 786}, "effective_diversity": 5.873}
    assert describe_curation(counts | several | {"questions_without": 46}) == (
        "kept 2,574 of 3,360 completions (786 wrong answer); 5.9 of 8 rationales a question differ; "
        "46 of 420 questions have none"
    )
