"""The Lightning Trainer of a job: what its config may say, and the Trainer built from it.

    {"_target_": "pytorch_lightning.Trainer", "accelerator": "auto", "devices": 1, "precision": "32-true"}

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

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.plugins import CheckpointIO

PRECISIONS = ("32-true", "bf16-mixed")

KEYS = (
    *("accelerator", "devices", "num_nodes", "strategy", "precision", "limit_train_batches", "log_every_n_steps"),
    *("deterministic", "benchmark", "detect_anomaly"),
)

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
        InputError: another class, an unknown argument, several devices, a precision that is not safe.
    """
    if (target := config.get("_target_")) != "pytorch_lightning.Trainer":
        raise InputError(f"trainer._target_={target}: expected pytorch_lightning.Trainer")
    for key in config.keys() - {"_target_"}:
        if key not in KEYS:
            reason = ELSEWHERE.get(key, f"expected one of {', '.join(KEYS)}")
            raise InputError(f"trainer.{key}: not an argument here; {reason}")
    devices = config.get("devices", 1)
    one = devices in (1, "1") or (isinstance(devices, list | tuple) and len(devices) == 1)
    if isinstance(devices, bool) or not one:
        raise InputError(f"trainer.devices={devices}: one process per job for now; give 1, or [i] for device i")
    if (nodes := config.get("num_nodes", 1)) != 1:
        raise InputError(f"trainer.num_nodes={nodes}: one process per job for now; give 1")
    if (strategy := config.get("strategy", "auto")) != "auto":
        raise InputError(f"trainer.strategy={strategy}: one process per job for now; give auto")
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
    if not isinstance(every, int) or every < 1:
        raise InputError(f"trainer.log_every_n_steps={every}: expected 1 or more")


def build_trainer(
    config: Mapping[str, Any], *, epochs: int, folder: Path, callback: pl.Callback, checkpoints: CheckpointIO
) -> pl.Trainer:
    """The Trainer, without any bar, logger, summary or checkpoint of Lightning's own.

    Raises:
        InputError: as `check_trainer`, or this machine lacks the accelerator.
    """
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.plugins.environments import LightningEnvironment
    from pytorch_lightning.utilities.exceptions import MisconfigurationException

    check_trainer(config)
    # Lightning tells which devices it sees and advertises a logger: not for a person who asked for an experiment.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    try:
        trainer = pl.Trainer(
            **{key: value for key, value in config.items() if key != "_target_"},
            max_epochs=epochs,
            default_root_dir=folder,
            callbacks=[callback],
            # Naming the environment keeps Lightning from looking for a cluster (and warning of an unused srun).
            plugins=[checkpoints, LightningEnvironment()],
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


def pick_device(config: Mapping[str, Any]) -> torch.device:
    """The device a Trainer of this config would use, for what is done without one."""
    import torch

    accelerator, devices = config.get("accelerator", "auto"), config.get("devices", 1)
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", devices[0] if isinstance(devices, list | tuple) else 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def known_warnings() -> Iterator[None]:
    """Silence what Lightning cannot be kept from warning of."""
    with warnings.catch_warnings():
        # Lightning 2.6.6 makes a LeafSpec itself for each loader; torch 2.13 deprecates the class.
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning, "pytorch_lightning.utilities._pytree")
        yield
