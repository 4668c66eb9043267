"""The Lightning Trainer of a job: what its config may say, and the Trainer built from it.

    {"_target_": "pytorch_lightning.Trainer", "accelerator": "auto", "devices": 2, "strategy": "ddp", ...}

Checking needs no Lightning, so the launcher can refuse a config before a worker starts.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftcot.errors import InputError
from ftcot.ranks import Ranks
from ftcot.training import Training

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.plugins import CheckpointIO

PRECISIONS = ("32-true", "bf16-mixed")

STRATEGIES = ("auto", "ddp", "fsdp")
"""One device; a whole student on each device; a student in parts, one on each device."""

KEYS = (
    *("accelerator", "devices", "num_nodes", "strategy", "precision", "limit_train_batches", "log_every_n_steps"),
    *("deterministic", "benchmark", "detect_anomaly", "checkpoint_minutes"),
)

OURS = frozenset({"_target_", "checkpoint_minutes"})
"""Keys that Lightning knows nothing of."""

ELSEWHERE = {
    "max_epochs": "training.epochs sets it",
    "max_steps": "training.epochs sets the length; limit_train_batches makes an epoch shorter",
    "accumulate_grad_batches": "training.device_batch_size sets it",
    "gradient_clip_val": "training.gradient_clip sets it",
    "check_val_every_n_epoch": "training.evaluate_every sets it",
    "logger": "the group logger sets it",
}
"""Arguments of Lightning's that have another place here."""


def check_trainer(config: Mapping[str, Any]) -> None:
    """Refuse a trainer that this version cannot run.

    Raises:
        InputError: another class, an unknown argument, devices that do not go together, a precision that is not safe.
    """
    if (target := config.get("_target_")) != "pytorch_lightning.Trainer":
        raise InputError(f"trainer._target_={target}: expected pytorch_lightning.Trainer")
    for key in config.keys() - {"_target_"}:
        if key not in KEYS:
            reason = ELSEWHERE.get(key, f"expected one of {', '.join(KEYS)}")
            raise InputError(f"trainer.{key}: not an argument here; {reason}")
    _check_devices(config)
    precision = str(config.get("precision", "32-true"))
    if precision not in PRECISIONS:
        reason = "; fp16 overflows in the T5 family, use bf16-mixed" if precision.startswith("16") else ""
        if precision == "bf16-true":  # Lightning casts the buffers too; a saved student is loaded with exact ones
            reason = "; it would round the angles of rotary positions, use bf16-mixed"
        raise InputError(f"trainer.precision={precision}: expected one of {', '.join(PRECISIONS)}{reason}")
    share = config.get("limit_train_batches", 1.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or share <= 0:
        raise InputError(f"trainer.limit_train_batches={share}: expected a number of steps, or a share of the epoch")
    every = config.get("log_every_n_steps", 1)
    if not _is_count(every):
        raise InputError(f"trainer.log_every_n_steps={every}: expected 1 or more")
    minutes = config.get("checkpoint_minutes")
    if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes <= 0):
        raise InputError(
            f"trainer.checkpoint_minutes={minutes}: expected more than 0, or null for none within an epoch"
        )


def _check_devices(config: Mapping[str, Any]) -> None:
    """Refuse devices, machines and a strategy that do not go together."""
    devices, nodes = config.get("devices", 1), config.get("num_nodes", 1)
    strategy, accelerator = config.get("strategy", "auto"), config.get("accelerator", "auto")
    if strategy not in STRATEGIES:
        raise InputError(f"trainer.strategy={strategy}: expected one of {', '.join(STRATEGIES)}")
    if not _is_count(nodes):
        raise InputError(f"trainer.num_nodes={nodes}: expected a number of machines")
    listed = isinstance(devices, list | tuple) and len(devices) == 1
    if not (listed or devices == "auto" or _is_count(devices)):
        raise InputError(f"trainer.devices={devices}: expected a number, auto for all GPUs, or [i] for device i alone")
    if strategy == "auto" and (nodes > 1 or not (listed or devices == 1)):
        what = f"num_nodes={nodes}" if nodes > 1 else f"devices={devices}"
        raise InputError(f"trainer.{what}: more than one device needs trainer=ddp (or trainer=fsdp)")
    if strategy != "auto" and listed:
        raise InputError(f"trainer.devices={devices}: {strategy} takes a number; devices.gpus says which GPUs")
    if devices == "auto" and accelerator == "cpu":
        raise InputError("trainer.devices=auto counts GPUs: with trainer.accelerator=cpu give a number")
    if strategy != "auto" and accelerator == "mps":
        raise InputError(f"trainer.strategy={strategy}: mps is one device; use trainer=auto")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def n_ranks(config: Mapping[str, Any]) -> int | None:
    """How many processes the config asks for; None where the machines' GPUs are to be counted."""
    devices = config.get("devices", 1)
    if devices == "auto":
        return None
    return int(config.get("num_nodes", 1)) * (1 if isinstance(devices, list | tuple) else int(devices))


def check_sharing(config: Mapping[str, Any], training: Training, n: int | None) -> None:
    """Refuse a training that `n` ranks (None: not known yet) cannot share.

    Raises:
        InputError: so it is.
    """
    if n is not None and training.batch_size < n:
        raise InputError(
            f"training.batch_size={training.batch_size}: fewer pairs in a step than the {n} devices that share it"
        )
    if config.get("strategy") == "fsdp" and training.lora is not None:
        raise InputError("trainer=fsdp with training=lora: LoRA needs no sharding; use trainer=ddp")


def build_trainer(
    config: Mapping[str, Any],
    *,
    epochs: int,
    folder: Path,
    callback: pl.Callback,
    checkpoints: CheckpointIO,
    ranks: Ranks,
) -> pl.Trainer:
    """The Trainer, without any bar, logger, summary or checkpoint of Lightning's own.

    Raises:
        InputError: as `check_trainer`, or this machine lacks the accelerator.
    """
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    check_trainer(config)
    if ranks.alone and (n_ranks(config) or 1) > 1:
        raise InputError(f"trainer.devices: {n_ranks(config)} ranks are wanted; `python -m ftcot.run` starts them")
    # Lightning tells which devices it sees and advertises a logger: not for a person who asked for an experiment.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    try:
        trainer = pl.Trainer(
            **{key: value for key, value in config.items() if key not in OURS} | _placement(config, ranks),
            max_epochs=epochs,
            default_root_dir=folder,
            callbacks=[callback],
            # Naming the environment keeps Lightning from looking for a cluster (and warning of an unused srun), and
            # from starting processes: torchrun has.
            plugins=[checkpoints, LightningEnvironment() if ranks.alone else TorchElasticEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise InputError(f"trainer: {error}".splitlines()[0]) from None
    if trainer.strategy.root_device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # Source: METHOD section 7, and the parent's training code
    return trainer


def _placement(config: Mapping[str, Any], ranks: Ranks) -> dict[str, Any]:
    """Where the ranks are, as arguments of Lightning's."""
    from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy

    if ranks.alone:
        devices = config.get("devices", 1)
        return {"devices": devices if isinstance(devices, list | tuple) else 1, "num_nodes": 1, "strategy": "auto"}
    strategy = (
        ModelParallelStrategy(ranks.world, 1, save_distributed_checkpoint=False)
        if config.get("strategy") == "fsdp"
        else DDPStrategy(forward_sync_buffers=False)  # a student's buffers are constants
    )
    return {
        "devices": ranks.local_world,
        "num_nodes": ranks.world // ranks.local_world,
        "strategy": strategy,
    }


def uses_cuda(config: Mapping[str, Any]) -> bool:
    """Whether a job of this config computes on a GPU of CUDA's here."""
    import torch

    return config.get("accelerator", "auto") in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def pick_device(config: Mapping[str, Any], local: int = 0) -> torch.device:
    """The device a Trainer of this config would use on this machine's rank `local`, for what is done without one."""
    import torch

    devices = config.get("devices", 1)
    if uses_cuda(config):
        return torch.device("cuda", devices[0] if isinstance(devices, list | tuple) else local)
    if config.get("accelerator", "auto") in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def known_warnings() -> Iterator[None]:
    """Silence what Lightning cannot be kept from warning of."""
    with warnings.catch_warnings():
        # Lightning 2.6.6 makes a LeafSpec itself for each loader; torch 2.13 deprecates the class.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning, "pytorch_lightning.utilities._pytree")
        # Told its environment, it looks for SLURM all the same once it looks for a checkpoint.
        warnings.filterwarnings("ignore", "The `srun` command is available", UserWarning)
        yield
