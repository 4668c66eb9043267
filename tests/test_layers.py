"""Imports point one way, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "ftcot"

LAYERS: dict[str, set[str]] = {
    # module or package: what it may import from ftcot (errors, files and records are everyone's)
    "errors": set(),
    "files": set(),
    "records": set(),
    "status": set(),
    "answers": set(),
    "prompts": set(),
    "paper": set(),
    "published": {"paper"},
    "statistics": {"published"},
    "repetition": set(),
    "sample_study": {"equations", "repetition"},
    "stop": set(),
    "redact": set(),
    "hashes": set(),
    "durations": set(),
    "kinds": set(),
    "equations": set(),
    "ranks": set(),
    "procfs": set(),
    "devices": set(),
    "task": {"answers"},
    "teacher": {"answers", "durations", "hashes", "procfs", "prompts", "redact", "status", "stop", "student", "task"},
    "student": {"malloc", "prompts"},
    "training": {"logger", "malloc", "ranks", "stop", "student"},
    "sampled": set(),
    "rationales": {"equations", "sampled"},
    "variety": {"equations", "rationales", "sampled"},
    "filters": {"answers", "equations", "prompts", "rationales", "task", "teacher"},
    "curation": {"answers", "filters", "prompts", "rationales", "sampled", "task", "teacher", "variety"},
    "completions": {
        "answers",
        "compose",
        "display",
        "job",
        "log",
        "prompts",
        "rationales",
        "running",
        "task",
        "teacher",
    },
    "hardware": {"devices"},
    "footprint": {"job", "student"},
    "libraries": set(),
    "speeds": {"evaluate", "folder", "prompts"},
    "probing": {"process", "procfs", "speeds"},
    "probe": {"job", "libraries", "process", "ranks", "speeds", "student", "training"},
    "expected": {"checks", "curation", "filters", "job", "launch", "logger", "prompts", "teacher"},
    "buying": {"checks", "display", "expected", "filters", "folder", "teacher"},
    "costs": {
        *(
            "checks",
            "devices",
            "expected",
            "hardware",
            "nodes",
            "probing",
            "published",
            "running",
            "speeds",
            "student",
        ),
    },
    "walltime": {"costs", "devices", "footprint"},
    "matrix": {"costs", "display", "walltime"},
    "estimate": {
        *("buying", "checks", "costs", "display", "expected", "filters", "folder", "launch", "matrix", "teacher"),
    },
    "evaluate": {"answers", "prompts", "ranks", "sample_study", "statistics", "student"},
    "logger": {"hashes", "job", "jobs", "redact", "sample_study", "status"},
    "job": {"curation", "evaluate", "kinds", "prompts", "status", "student", "task", "teacher", "training"},
    "display": {"job", "published", "sample_study", "task", "teacher"},
    "card": {"display"},
    "running": {"evaluate", "job", "logger", "prompts", "ranks", "status", "task"},
    "testing": {"evaluate", "job", "running", "sample_study", "student", "training"},
    "teaching": {"curation", "display", "filters", "folder", "prompts", "running", "teacher"},
    "malloc": set(),
    "pipeline": {
        "malloc",
        *("card", "evaluate", "hardware", "job", "libraries", "logger", "ranks", "running", "status", "student"),
        *("teaching", "testing", "training"),
    },
    "worker": {"display", "folder", "job", "log", "pipeline", "process", "ranks", "status", "stop", "training"},
    "folder": {"status"},
    "log": set(),
    "choices": set(),
    "complaints": set(),
    "compose": {"choices", "complaints"},
    "settings": {"durations", "job", "process"},
    "checks": {
        "devices",
        "hashes",
        "job",
        "jobs",
        "logger",
        "nodes",
        "redact",
        "settings",
        "task",
        "teacher",
        "training",
    },
    "jobs": {"folder", "hashes", "procfs", "status"},
    "nursery": {"stop"},
    "warm": {"libraries", "nursery", "process"},
    "process": {"devices", "nursery", "procfs", "stop"},
    "nodes": {"devices"},
    "rendezvous": {"nodes"},
    "outcome": {"folder", "process", "procfs", "status"},
    "torchrun": {"devices", "folder", "nodes", "process", "procfs", "rendezvous", "status", "stop"},
    "launch": {"devices", "durations", "folder", "jobs", "nodes", "outcome", "process", "rendezvous", "status"},
    "run": {
        *("checks", "compose", "display", "estimate", "folder", "hashes", "launch", "log", "nodes", "search"),
        *("sweep", "teacher"),
    },
    "axes": {"compose"},
    "figures": {"complaints", "compose"},
    "figure_jobs": {"axes", "complaints", "compose", "figures"},
    "grid": {"axes", "checks", "complaints", "compose", "figure_jobs", "figures"},
    "ledger": set(),
    "brake": {"procfs", "stop"},
    "preemption": set(),
    "table": {"display", "folder", "ledger", "logger"},
    "handoff": {
        "brake",
        "devices",
        "folder",
        "footprint",
        "job",
        "jobs",
        "launch",
        "ledger",
        "nodes",
        "preemption",
        "procfs",
        "sample_study",
    },
    "launchers": {"devices", "handoff", "jobs"},
    "rounds": {"brake", "folder", "handoff", "jobs", "launch", "launchers", "ledger", "table"},
    "sweep_folder": {"folder", "grid", "handoff", "launch", "ledger"},
    "sweep": {
        *("brake", "checks", "compose", "display", "folder", "grid", "hashes", "launchers", "ledger", "rounds"),
        *("estimate", "figures", "launch", "log", "nodes", "running", "sweep_folder", "table"),
    },
    "study": set(),
    "search": {
        *("checks", "complaints", "compose", "display", "folder", "grid", "handoff", "hashes", "launchers", "ledger"),
        *("estimate", "launch", "log", "rounds", "study", "sweep", "sweep_folder", "table"),
    },
    "resume": {"compose", "launchers", "log", "sweep", "sweep_folder"},
    "leftovers": {"folder", "jobs", "ledger", "procfs", "status"},
    "clean": {"compose", "durations", "display", "folder", "leftovers", "process", "status"},
    "mirror": {"folder", "job", "logger", "status"},
    "wandb_sweep": {"checks", "complaints", "compose", "grid", "hashes", "logger"},
    "dashboard": {"logger"},
    "audit": {"answers", "compose", "task"},
    "doctor": {"checks", "compose", "job", "logger"},
    "report": {
        *("audit", "compose", "curation", "display", "figures", "filters", "folder", "hashes", "job", "jobs", "ledger"),
        *("log", "paper", "prompts", "published", "rationales", "redact", "running", "sample_study", "statistics"),
        *("task", "variety"),
    },
    "predict": {"answers", "evaluate", "folder", "job", "student", "training"},
}

HEAVY: dict[str, set[str]] = {
    # library: the only places it is named, at any depth of the file
    "torch": {"doctor", "ranks", "student", "teacher", "torchrun", "training", "worker"},
    "transformers": {"student", "teacher", "training", "worker"},
    "pytorch_lightning": {"probe", "training", "worker"},
    "peft": {"training"},
    "wandb": {"dashboard", "logger"},
    "wandb_workspaces": {"dashboard"},
    "datasets": {"completions"},
    "openai": {"teacher"},
    "vllm": {"teacher"},
    "math_verify": {"filters"},
    "scipy": {"statistics"},
    "matplotlib": {"report"},
    "altair": {"report"},
    "vl_convert": {"report"},
    "hydra": {
        "axes",
        "choices",
        "complaints",
        "compose",
        "grid",
        "handoff",
        "job",
        "kinds",
        "launchers",
        "run",
        "search",
    },
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, only_at_import: bool = False) -> Iterator[str]:
    """Dotted names a file imports; `only_at_import` leaves out those inside functions and under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: Iterator[ast.AST] = iter(ast.walk(tree)) if not only_at_import else _at_import(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module
            if node.module == "ftcot":
                yield from (f"ftcot.{alias.name}" for alias in node.names)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from _at_import(child)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    here = layer(path)
    assert here in LAYERS, f"{here} has no place in the table"
    allowed = {here, "errors", "files", "records"} | LAYERS[here]
    for name in imports(path):
        if name.startswith("ftcot."):
            assert name.split(".")[1] in allowed, f"{path.name} imports {name}"
        top = name.partition(".")[0]
        assert top not in HEAVY or here in HEAVY[top], f"{path.name} imports {name}"


@pytest.mark.parametrize("command", ["run", "compose", "checks", "launch", "sweep", "job", "display", "audit"])
def test_the_launchers_modules_import_nothing_heavy(command: str) -> None:
    heavy = ", ".join(repr(name) for name in HEAVY if name != "hydra")
    code = f"import sys, ftcot.{command}; print([name for name in ({heavy},) if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
