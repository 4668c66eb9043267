"""Fine-tuning a real (tiny) T5: exact batches, repeatable runs, runs that go on."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file

from ftcot.errors import InputError, JobError
from ftcot.student import Student
from ftcot.training.batches import stream
from ftcot.training.checkpoint import Checkpoints
from ftcot.training.module import rate_factor
from tests.conftest import ROOT
from tests.training_job import CPU, TEXTS, accuracy, build, same, settings, train, weights

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# One step


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_accumulated_micro_batches_step_like_one_big_batch(tmp_path: Path, micro: int) -> None:
    # Plain SGD: the change of a weight is its gradient, so equal weights are equal gradients.
    sgd = {"_target_": "torch.optim.SGD", "lr": 0.1}
    after = []
    for name, size in (("whole", None), ("cut", micro)):
        student, pairs = build(dropout=False)
        training = settings(epochs=1, optimizer=sgd, warmup=0, device_batch_size=size)
        train(student, pairs[:8], tmp_path / name, training)
        after.append(weights(student))
    before = weights(build(dropout=False)[0])
    for name, tensor in after[0].items():
        assert not torch.equal(tensor, before[name])
        torch.testing.assert_close(after[1][name], tensor, rtol=1e-6, atol=1e-7)


def test_the_loss_is_the_mean_over_supervised_tokens(tmp_path: Path) -> None:
    student, pairs = build()
    fitted = train(student, pairs, tmp_path, settings(epochs=2))
    n = sum(len(pair.target_ids) for pair in pairs)
    assert fitted.supervised_tokens == 2 * n
    assert fitted.steps == 2 * 6
    student, pairs = build(dropout=False)
    with torch.no_grad():
        total = student.loss(student.collate(pairs))
    still = {"_target_": "torch.optim.SGD", "lr": 0.0}
    train(student, pairs, tmp_path / "still", settings(epochs=1, optimizer=still))
    assert float(rows(tmp_path / "still")[0]["loss"]) == pytest.approx(float(total) / n, rel=1e-5)


def test_a_student_that_comes_in_eval_mode_is_trained_with_dropout(tmp_path: Path) -> None:
    student, pairs = build()
    student.model.eval()
    modes: list[bool] = []

    def evaluate(student: Student, epoch: int) -> Mapping[str, float]:
        modes.append(student.model.training)
        student.model.eval()
        return {}

    train(student, pairs, tmp_path, settings(epochs=2), evaluate=evaluate)
    assert modes == [True, True]


def test_a_gradient_above_the_limit_is_clipped(tmp_path: Path) -> None:
    sgd = {"_target_": "torch.optim.SGD", "lr": 1.0}
    student, pairs = build()
    before = weights(student)
    train(student, pairs[:8], tmp_path, settings(epochs=1, optimizer=sgd, warmup=0, gradient_clip=0.01))
    moved = {name: tensor - before[name] for name, tensor in student.model.named_parameters()}
    assert torch.stack([change.norm() for change in moved.values()]).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    student, pairs = build()

    def poison(student: Student, epoch: int) -> Mapping[str, float]:
        with torch.no_grad():
            next(student.model.parameters()).fill_(float("nan"))
        return {}

    with pytest.raises(JobError, match="the loss is nan in epoch 2, step 7"):
        train(student, pairs, tmp_path, settings(epochs=3), evaluate=poison)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


@given(
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    n_steps=st.integers(1, 300),
)
def test_the_learning_rate_rises_then_never_rises_again(warmup: float, schedule: str, n_steps: int) -> None:
    training = settings(warmup=warmup, schedule=schedule)
    factors = [rate_factor(training, step, n_steps) for step in range(n_steps)]
    top = round(warmup * n_steps)
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:top] == sorted(factors[:top])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert top == n_steps or factors[top] == 1


@given(seed=st.integers(0, 10**6), place=st.lists(st.integers(0, 10**6), max_size=3))
def test_a_place_has_a_stream_of_its_own(seed: int, place: list[int]) -> None:
    number = stream(seed, "dropout", *place)
    assert 0 <= number < 2**63
    assert number == stream(seed, "dropout", *place)
    assert len({number, stream(seed, "order", *place), stream(seed + 1, "dropout", *place)}) == 3


# Repeatable runs


def test_one_seed_repeats_bit_for_bit_and_two_seeds_differ(tmp_path: Path) -> None:
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        student, pairs = build()
        torch.rand(17)  # what was drawn before must not matter
        train(student, pairs, tmp_path / name, settings(), seed=seed)
        results.append(weights(student))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


TRAINS = """
import sys
from pathlib import Path
import torch
from tests.training_job import GROUPS, build, of_questions, settings, train
torch.set_num_threads(int(sys.argv[2]))
for dropout in (True, False):
    folder = Path(sys.argv[1]) / str(dropout)
    student, pairs = build(dropout=dropout)
    train(student, of_questions(pairs, 4), folder, settings(**GROUPS, device_batch_tokens=120))
    student.save(folder / "student")
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_threads", [1, 2])
def test_two_processes_train_the_same_bit_for_bit(tmp_path: Path, n_threads: int) -> None:
    """Python's own hashes differ from one process to the next: nothing may come in their order."""
    for name, seed in (("a", "1"), ("b", "2")):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", TRAINS, str(tmp_path / name), str(n_threads)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    for dropout in ("True", "False"):
        first, second = (load_file(tmp_path / name / dropout / "student" / "model.safetensors") for name in "ab")
        assert same(first, second)


def test_evaluation_follows_each_epoch_that_is_due_and_the_last(tmp_path: Path) -> None:
    student, pairs = build()
    seen: list[int] = []

    def evaluate(student: Student, epoch: int) -> Mapping[str, float]:
        seen.append(epoch)
        return {"accuracy": 0.5, "validation_accuracy": 0.25}

    train(student, pairs[:8], tmp_path, settings(epochs=5, evaluate_every=2), evaluate=evaluate)
    assert seen == [2, 4, 5]
    assert [row["accuracy"] for row in rows(tmp_path)] == ["", "0.5", "", "0.5", "0.5"]
    assert [row["validation_accuracy"] for row in rows(tmp_path)] == ["", "0.25", "", "0.25", "0.25"]


# Runs that go on


class Killed(BaseException):
    """As sudden as an exception can be."""


def interrupt(epoch: int) -> Any:
    """An evaluation that ends the run in `epoch`."""

    def evaluate(student: Student, now: int) -> Mapping[str, float]:
        if now == epoch:
            raise Killed
        return accuracy(student, now)

    return evaluate


def test_a_run_that_goes_on_ends_with_the_same_weights_and_metrics(tmp_path: Path) -> None:
    whole, pairs = build()
    fitted = train(whole, pairs, tmp_path / "whole", settings(epochs=4), evaluate=accuracy)

    first, _ = build()
    with pytest.raises(Killed):
        train(first, pairs, tmp_path / "cut", settings(epochs=4), evaluate=interrupt(3))
    second, _ = build()
    console = Console(file=io.StringIO(), width=200)
    resumed = train(second, pairs, tmp_path / "cut", settings(epochs=4), evaluate=accuracy, console=console)

    assert same(weights(second), weights(whole))
    assert (resumed.resumed_after, resumed.steps) == ((2, 6), fitted.steps)
    assert resumed.supervised_tokens == fitted.supervised_tokens
    assert console.file.getvalue().splitlines()[0] == "going on in epoch 3 after step 6"  # type: ignore[attr-defined]
    kept = [[row | {"tokens_per_second": ""} for row in rows(tmp_path / name)] for name in ("whole", "cut")]
    assert kept[0] == kept[1]


def test_a_run_killed_after_its_last_epoch_only_loads_its_weights(tmp_path: Path) -> None:
    first, pairs = build()
    train(first, pairs, tmp_path, settings(epochs=2), evaluate=accuracy)
    second, _ = build()
    fitted = train(second, pairs, tmp_path, settings(epochs=2), evaluate=interrupt(2))
    assert (fitted.resumed_after, fitted.steps) == ((2, 0), 12)
    assert same(weights(first), weights(second))


@pytest.mark.slow
def test_a_run_killed_at_any_moment_ends_with_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.training_job"]
    subprocess.run([*command, str(tmp_path / "whole"), "0", "4"], check=True, capture_output=True, cwd=ROOT)
    cut = [*command, str(tmp_path / "cut"), "0", "4"]
    with subprocess.Popen(cut, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("epoch 1/4")
        n_tokens, per_second = 3744, float(line.split(" tokens/s")[0].split()[-1])
        time.sleep(random.uniform(0, n_tokens / per_second))  # somewhere in epoch 2
        process.kill()
        assert "epoch 4/4" not in process.stdout.read()
    assert process.returncode == -9
    result = subprocess.run(cut, check=True, capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.startswith("going on after epoch ")
    whole, again = (load_file(tmp_path / name / "student" / "model.safetensors") for name in ("whole", "cut"))
    assert same(whole, again)
    assert [row["epoch"] for row in rows(tmp_path / "cut")] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_checkpoint_that_cannot_be_used_is_named_and_not_used(tmp_path: Path, damage: str) -> None:
    student, pairs = build()
    with pytest.raises(Killed):
        train(student, pairs, tmp_path, settings(), evaluate=interrupt(2))
    (path,) = (tmp_path / "checkpoints").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage != "other":
        path.write_bytes({"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[damage])
    console = Console(file=io.StringIO(), width=200)
    student, _ = build()
    seed = 1 if damage == "other" else 0
    fitted = train(student, pairs, tmp_path, settings(), seed=seed, console=console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == f"checkpoint {path.name} is damaged or of another training: not used"
    assert lines[1] == "starting from the beginning"
    assert fitted.resumed_after == (0, 0)
    assert len(rows(tmp_path)) == 2


def test_a_damaged_newest_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    student, pairs = build()
    with pytest.raises(Killed):
        train(student, pairs, tmp_path, settings(epochs=3), evaluate=interrupt(2))
    newest = tmp_path / "checkpoints" / "epoch-0002-0123456789abcdef.ckpt"
    newest.write_bytes(b"PK")
    student, _ = build()
    assert train(student, pairs, tmp_path, settings(epochs=3)).resumed_after == (1, 6)


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    student, pairs = build()
    folder = tmp_path / "checkpoints"

    def fill(student: Student, epoch: int) -> Mapping[str, float]:
        if epoch == 1:  # every write to what comes next says that there is no space left
            (folder / "epoch-0001-step-000006.tmp").symlink_to("/dev/full")
        return accuracy(student, epoch)

    with pytest.raises(OSError, match="No space left on device"):
        train(student, pairs, tmp_path, settings(epochs=3), evaluate=fill)
    assert [path.name[:11] for path in folder.iterdir()] == ["epoch-0001-"]
    student, _ = build()
    assert train(student, pairs, tmp_path, settings(epochs=3)).resumed_after == (1, 0)


def test_ctrl_c_comes_out_as_ctrl_c_and_the_run_can_go_on(tmp_path: Path) -> None:
    student, pairs = build()

    def press(student: Student, epoch: int) -> Mapping[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(student, pairs, tmp_path, settings(evaluate_every=2), evaluate=press)
    student, _ = build()
    assert train(student, pairs, tmp_path, settings(evaluate_every=2)).resumed_after == (1, 6)


def test_what_a_signal_raises_amid_the_writing_comes_out_as_it_is(tmp_path: Path) -> None:
    """The file is a pipe whose reader takes little: the writer hangs in it when the alarm rings."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    os.mkfifo(folder / "epoch-0001.tmp")
    reader = os.open(folder / "epoch-0001.tmp", os.O_RDONLY | os.O_NONBLOCK)

    def ring(number: int, frame: object) -> None:
        raise Killed

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(Killed):
            Checkpoints(tmp_path).save_checkpoint({"weights": torch.zeros(10**6)}, folder / "epoch-0001.ckpt")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(reader)
    assert list(folder.iterdir()) == []


def test_a_sigterm_that_no_one_handles_is_not_success(tmp_path: Path) -> None:
    student, pairs = build()

    def terminate(student: Student, epoch: int) -> Mapping[str, float]:
        signal.raise_signal(signal.SIGTERM)
        return {}

    with pytest.raises(SystemExit) as caught:
        train(student, pairs, tmp_path, settings(epochs=3), evaluate=terminate)
    assert caught.value.code == 143
    student, _ = build()
    assert train(student, pairs, tmp_path, settings(epochs=3)).resumed_after == (1, 0)


# What a person sees, and what is refused late


def test_a_pipe_gets_one_line_an_epoch(tmp_path: Path) -> None:
    student, pairs = build()
    console = Console(file=io.StringIO(), width=40)
    train(student, pairs, tmp_path, settings(), evaluate=accuracy, console=console)
    first, second = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.startswith("epoch 1/2  loss ")
    assert "tokens/s  accuracy 10.0 %  about 0:0" in first
    assert second.endswith("accuracy 20.0 %")


def test_a_terminal_gets_a_bar_that_goes(tmp_path: Path) -> None:
    student, pairs = build()
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    train(student, pairs, tmp_path, settings(epochs=1), evaluate=accuracy, console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "6/6" in text
    assert text.rstrip().endswith("accuracy 10.0 %")


def test_nothing_of_lightning_is_left_in_the_run_folder(tmp_path: Path) -> None:
    student, pairs = build()
    train(student, pairs[:8], tmp_path, settings(epochs=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "metrics.csv"]


def test_bf16_trains_a_student(tmp_path: Path) -> None:
    student, pairs = build()
    train(student, pairs, tmp_path, settings(), trainer=CPU | {"precision": "bf16-mixed"})
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    assert losses[1] < losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in student.model.parameters())


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"_target_": "torch.optim.AdamX", "lr": 1e-3}, "torch.optim has no optimizer AdamX"),
        ({"_target_": "torch.optim.AdamW", "lr": 1e-3, "beta": 1}, "training.optimizer: .*'beta'"),
        ({"_target_": "torch.optim.AdamW", "lr": -1}, "training.optimizer.lr=-1: expected 0 or more"),
    ],
)
def test_an_optimizer_that_torch_refuses_is_wrong_input(
    tmp_path: Path, optimizer: dict[str, Any], message: str
) -> None:
    student, pairs = build()
    with pytest.raises(InputError, match=message):
        train(student, pairs, tmp_path, settings(optimizer=optimizer))


def test_a_shortened_epoch_still_goes_through_the_whole_schedule(tmp_path: Path) -> None:
    student, pairs = build()
    fitted = train(student, pairs, tmp_path, settings(warmup=0), trainer=CPU | {"limit_train_batches": 3})
    assert fitted.steps == 6
    assert float(rows(tmp_path)[-1]["learning_rate"]) < 0.1 * 3e-3


# LoRA


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_lora_trains_few_weights_and_leaves_a_plain_model(tmp_path: Path, kind: str) -> None:
    peft = pytest.importorskip("peft")
    student, pairs = build(dropout=kind == "t5")
    before = weights(student)
    lora = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "target_modules": "all-linear"}
    generated: list[str] = []

    def evaluate(student: Student, epoch: int) -> Mapping[str, float]:
        trained = sum(p.numel() for p in student.model.parameters() if p.requires_grad)
        assert 0 < trained < student.n_parameters / 4
        generated[:] = [g.text for g in student.generate([TEXTS[0][0]], max_new_tokens=8)]
        return {}

    train(student, pairs, tmp_path, settings(lora=lora, epochs=2), evaluate=evaluate)
    after = weights(student)
    assert after.keys() == before.keys()
    assert not any(isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer) for module in student.model.modules())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("embed" in name or "shared" in name for name in changed)
    student.save(tmp_path / "student")
    assert not (tmp_path / "student" / "adapter_config.json").exists()
    assert [g.text for g in student.generate([TEXTS[0][0]], max_new_tokens=8)] == generated


def test_a_lora_run_that_goes_on_ends_with_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    training = settings(lora={"r": 4, "target_modules": "all-linear"}, epochs=3)
    whole, pairs = build()
    train(whole, pairs, tmp_path / "whole", training)
    first, _ = build()
    with pytest.raises(Killed):
        train(first, pairs, tmp_path / "cut", training, evaluate=interrupt(2))
    second, _ = build()
    assert train(second, pairs, tmp_path / "cut", training).resumed_after == (1, 6)
    assert same(weights(second), weights(whole))


def test_lora_arguments_that_peft_refuses_are_wrong_input(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    student, pairs = build()
    with pytest.raises(InputError, match=r"training\.lora: .*'rank'"):
        train(student, pairs, tmp_path, settings(lora={"rank": 4}))
