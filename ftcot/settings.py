"""The keys that say how jobs are run, not what they are: refused here where they mean nothing.

timeout=90m keep=best on_error=stop devices.gpus=[0,1] devices.jobs_per_gpu=2 devices.threads=4
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from ftcot.durations import seconds
from ftcot.errors import InputError
from ftcot.job import Keep

CHOICES = {"keep": get_args(Keep), "on_error": ("continue", "stop")}

DEVICES = {"gpus", "jobs_per_gpu", "threads"}


def check_settings(config: Mapping[str, Any]) -> None:
    """Refuse values of `timeout`, `keep`, `on_error` and `devices` that nothing could heed.

    Raises:
        InputError: there is one.
    """
    seconds(config["timeout"])
    for key, choices in CHOICES.items():
        if config[key] not in choices:
            raise InputError(f"{key}={config[key]}: expected {', '.join(choices[:-1])} or {choices[-1]}")
    _check_devices(config["devices"])


def _check_devices(devices: Any) -> None:
    if not isinstance(devices, Mapping) or DEVICES - devices.keys():
        raise InputError(f"devices={devices}: expected {', '.join(sorted(DEVICES))}")
    if unknown := sorted(devices.keys() - DEVICES):
        raise InputError(f"devices.{unknown[0]}: no such key; devices has {', '.join(sorted(DEVICES))}")
    gpus = devices["gpus"]
    listed = isinstance(gpus, list | tuple) and gpus and all(_is_gpu(gpu) for gpu in gpus)
    if gpus != "auto" and not listed:
        raise InputError(f"devices.gpus={gpus}: expected auto, or a list of GPU ids such as [0,1]")
    if listed and len({str(gpu) for gpu in gpus}) < len(gpus):
        raise InputError(f"devices.gpus={gpus}: a GPU is named twice; devices.jobs_per_gpu=2 lets jobs share one")
    if devices["jobs_per_gpu"] != "auto" and not _is_count(devices["jobs_per_gpu"]):
        raise InputError(f"devices.jobs_per_gpu={devices['jobs_per_gpu']}: expected auto, or 1 or more")
    if devices["threads"] != "auto" and not _is_count(devices["threads"]):
        raise InputError(f"devices.threads={devices['threads']}: expected auto, or 1 or more")


def _is_gpu(value: object) -> bool:
    """A number, or an id as CUDA_VISIBLE_DEVICES takes it: `GPU-5f0c`, `MIG-77aa`."""
    if isinstance(value, str):
        return value.isdigit() or value.startswith(("GPU-", "MIG-"))
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
