"""ftcot.training without torch: what the launcher refuses, and the learning rate."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ftcot.errors import InputError, JobError
from ftcot.student import Encoded
from ftcot.training import Training
from ftcot.training.fit import check_truncation
from ftcot.training.trainer import check_sharing, check_trainer, n_ranks

CONF = Path(__file__).resolve().parent.parent / "conf"
ADAM = {"_target_": "torch.optim.AdamW", "lr": 3e-4}
TRAINER = {"_target_": "pytorch_lightning.Trainer", "devices": 1}


def training(**changes: Any) -> Training:
    values: dict[str, Any] = {"epochs": 2, "batch_size": 8, "optimizer": ADAM}
    return Training(**(values | changes))


def option(group: str, name: str) -> dict[str, Any]:
    """A shipped option, composed by Hydra, as plain values."""
    with initialize_config_dir(str(CONF / group), version_base="1.3"):
        config = OmegaConf.to_container(compose(name))
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "training.epochs=0"),
        ({"group_size": 0}, "training.group_size=0: expected 1 or more"),
        ({"group_size": "all"}, "training.group_size=all: expected 1 or more"),
        ({"batch_by": "words"}, "training.batch_by='words': expected pairs or tokens"),
        ({"device_batch_size": 4, "device_batch_tokens": 99}, "device_batch_tokens: give one of them"),
        ({"batch_size": 8, "device_batch_size": 3}, "device_batch_size=3 does not divide training.batch_size=8"),
        ({"warmup": 2}, "training.warmup=2"),
        ({"schedule": "step"}, "training.schedule='step'"),
        ({"gradient_clip": 0}, "training.gradient_clip=0"),
        ({"optimizer": {"_target_": "torch.hub.load", "lr": 1}}, "training.optimizer._target_=torch.hub.load"),
        (
            {"optimizer": {"_target_": "torch.optim.lr_scheduler.StepLR", "lr": 1}},
            "expected an optimizer of torch.optim",
        ),
        ({"optimizer": {"lr": 1}}, "training.optimizer._target_=None"),
        ({"optimizer": {"_target_": "torch.optim.SGD"}}, "training.optimizer.lr=None"),
    ],
)
def test_settings_out_of_range_are_refused_by_key_and_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        training(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_target_": "os.system"}, "trainer._target_=os.system"),
        ({"max_epoch": 3}, "trainer.max_epoch: not an argument"),
        ({"max_epochs": 3}, "training.epochs sets it"),
        ({"accumulate_grad_batches": 2}, "training.device_batch_size sets it"),
        ({"devices": 2}, "trainer.devices=2: more than one device needs trainer=ddp"),
        ({"devices": "auto"}, "trainer.devices=auto: more than one device needs trainer=ddp"),
        ({"devices": [0, 1]}, "trainer.devices=[0, 1]: expected a number"),
        ({"devices": 0}, "trainer.devices=0: expected a number"),
        ({"devices": True}, "trainer.devices=True: expected a number"),
        ({"num_nodes": 2}, "trainer.num_nodes=2: more than one device needs trainer=ddp"),
        ({"num_nodes": 0, "strategy": "ddp"}, "trainer.num_nodes=0: expected a number of machines"),
        ({"strategy": "ddp_spawn"}, "trainer.strategy=ddp_spawn: expected one of auto, ddp, fsdp"),
        ({"strategy": "ddp", "devices": [1]}, "trainer.devices=[1]: ddp takes a number; devices.gpus says which GPUs"),
        ({"strategy": "ddp", "devices": "auto", "accelerator": "cpu"}, "trainer.devices=auto counts GPUs"),
        ({"strategy": "fsdp", "accelerator": "mps"}, "trainer.strategy=fsdp: mps is one device"),
        ({"checkpoint_minutes": 0}, "trainer.checkpoint_minutes=0: expected more than 0, or null"),
        ({"precision": "16-mixed"}, "fp16 overflows in the T5 family"),
        ({"limit_train_batches": 0}, "trainer.limit_train_batches=0: expected a number of steps"),
        ({"precision": "bf16-true"}, "rotary positions, use bf16-mixed"),
        ({"precision": 64}, "trainer.precision=64"),
        ({"log_every_n_steps": 0}, "trainer.log_every_n_steps=0"),
    ],
)
def test_trainer_arguments_that_cannot_work_are_refused_by_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        check_trainer(TRAINER | changes)


@pytest.mark.parametrize(
    ("changes", "n"),
    [
        ({}, 1),
        ({"devices": [3]}, 1),
        ({"devices": 2, "strategy": "ddp"}, 2),
        ({"devices": 4, "num_nodes": 2, "strategy": "fsdp"}, 8),
        ({"devices": "auto", "strategy": "ddp"}, None),
    ],
)
def test_a_trainer_says_how_many_ranks_it_wants(changes: dict[str, Any], n: int | None) -> None:
    check_trainer(TRAINER | changes)
    assert n_ranks(TRAINER | changes) == n


def test_a_step_must_have_a_pair_for_each_rank() -> None:
    ddp = TRAINER | {"devices": 8, "strategy": "ddp"}
    check_sharing(ddp, training(batch_size=8), 8)
    with pytest.raises(InputError, match=r"training\.batch_size=8: fewer pairs in a step than the 9 devices"):
        check_sharing(ddp, training(batch_size=8), 9)


def test_a_student_in_parts_takes_no_lora() -> None:
    with pytest.raises(InputError, match=r"trainer=fsdp with training=lora: .* use trainer=ddp"):
        check_sharing(TRAINER | {"strategy": "fsdp"}, training(lora={"r": 4}), 2)


@pytest.mark.parametrize("name", ["paper", "fast", "lora"])
def test_every_training_option_builds(name: str) -> None:
    config = option("training", name)
    assert config.pop("_target_") == "ftcot.training.Training"
    assert Training(**config).epochs > 0


@pytest.mark.parametrize("name", ["auto", "cpu", "gpu", "debug", "ddp", "fsdp"])
def test_every_trainer_option_passes_the_check(name: str) -> None:
    check_trainer(option("trainer", name))


def test_the_paper_option_is_the_protocol_of_the_paper() -> None:
    """METHOD section 7."""
    config = option("training", "paper")
    config.pop("_target_")
    paper = Training(**config)
    assert (paper.epochs, paper.batch_size, paper.optimizer) == (20, 8, ADAM)
    assert (paper.warmup, paper.schedule, paper.gradient_clip, paper.evaluate_every) == (0, "constant", None, 1)
    assert option("trainer", "auto")["precision"] == "32-true"


def test_pairs_cut_to_fit_are_counted_and_refused_above_the_limit() -> None:
    pairs = [Encoded((1,), (2, 0), truncated=i < 2) for i in range(100)]
    assert check_truncation(pairs, training(truncation_limit=0.02)) == 2
    with pytest.raises(JobError, match=r"2 of 100 pairs \(2\.0 %\) .* training\.truncation_limit=0\.01"):
        check_truncation(pairs, training(truncation_limit=0.01))


def test_settings_and_trainer_are_checked_without_torch_and_lightning() -> None:
    code = (
        "import sys, ftcot.training, ftcot.training.trainer, ftcot.training.fit, ftcot.logger\n"
        "print(sorted({'torch', 'pytorch_lightning', 'transformers', 'wandb', 'peft'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
