"""What a worker takes before it does anything: `python -m bench.startup [--against FOLDER] [--rounds 5]`.

    configured     its job is read and built: Python, Hydra and ftcot are imported
    student        the student is built: torch and transformers are imported, a tokenizer is trained or read
    first step     the first optimiser step is done: Lightning is imported, the pairs are tokenised
    end            its process is gone; of that, `leaving` since the job was done
    CPU            seconds of a core, from beginning to end

Each is counted from the creation of the process as the kernel sees it, for a worker that trains one tiny epoch. With
`--against`, a folder that holds another version of this repository, the two take turns, and the ratio is that of their
medians. Students: a decoder from scratch, and pretrained ones made for the occasion in the shape of tiny GPT-2 and T5.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

JOB = (
    *("logger=none", "trainer=cpu", "task.n_train=16", "task.n_test=8", "diversity=1", "training.epochs=1"),
    *("training.truncation_limit=1", "evaluation.max_new_tokens=8"),
)

PHASES = ("configured", "student", "first step", "end")


def inside(folder: str, notes: str) -> None:
    """Be the worker of `folder`, and write down when it got how far."""
    from ftcot import pipeline, worker

    began: dict[str, float] = {}

    def note(phase: str) -> None:
        began.setdefault(phase, time.clock_gettime(time.CLOCK_BOOTTIME))

    load = pipeline.load

    def watched(*arguments: Any) -> Any:
        note("configured")
        student = load(*arguments)
        note("student")
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(lambda *_: note("first step"))
        return student

    pipeline.load = watched  # type: ignore[assignment]
    code = worker.main([folder])
    note("done")
    Path(notes).write_text(json.dumps(began))
    leave = getattr(worker, "leave", sys.exit)
    leave(code)


class Side:
    """One version of the repository."""

    def __init__(self, name: str, root: Path, scratch: Path) -> None:
        self.name, self.root, self.scratch = name, root, scratch / name
        self.scratch.mkdir()
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "FTCOT_CACHE": str(self.scratch / "cache"),
            "HF_HUB_OFFLINE": "1",
        }

    def freeze(self, words: Sequence[str]) -> Path:
        """A folder with a job that has run once, by this version."""
        folder = self.scratch / "home"
        shutil.rmtree(folder, ignore_errors=True)
        command = [sys.executable, "-m", "ftcot.run", *JOB, *words, f"hydra.run.dir={folder}"]
        subprocess.run(command, cwd=self.scratch, env=self.environment, check=True, capture_output=True)
        return folder

    def measure(self, home: Path) -> dict[str, float]:
        """Seconds from the start of a worker to each phase."""
        folder, notes = self.scratch / "run", self.scratch / "notes.json"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(home / "job.yaml", folder)
        status = json.loads((home / "status.json").read_text())
        frozen = {"schema": status["schema"], "state": "frozen", "hash": status["hash"]}
        (folder / "status.json").write_text(json.dumps(frozen))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.clock_gettime(time.CLOCK_BOOTTIME)
        subprocess.run(
            [sys.executable, "-P", __file__, "--inside", str(folder), str(notes)],
            cwd=self.scratch,
            env=self.environment,
            check=True,
            capture_output=True,
        )
        end = time.clock_gettime(time.CLOCK_BOOTTIME)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = json.loads(notes.read_text())
        figures = {phase: said[phase] - began for phase in PHASES if phase in said} | {"end": end - began}
        figures["of that, leaving"] = end - said["done"]
        figures["CPU"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return figures


def students(folder: Path) -> dict[str, tuple[str, ...]]:
    """Overrides that choose each kind of student; the checkpoints are made in `folder`."""
    from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

    from ftcot.student.tiny import END_ID, train_tokenizer

    texts = ["A coin is heads up. Ann flips the coin. Is the coin still heads up? --> no"]
    ends = {"bos_token_id": END_ID, "eos_token_id": END_ID, "pad_token_id": END_ID}
    small = {"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2}
    models = {
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=512, n_embd=64, n_layer=2, n_head=2, **ends)),
        "t5": T5ForConditionalGeneration(T5Config(vocab_size=512, decoder_start_token_id=END_ID, **small, **ends)),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name, safe_serialization=True)
        train_tokenizer(texts, 512, ends_prompt=name == "t5").save_pretrained(folder / name)
    return {
        "from scratch (tiny-0.2m)": ("student=tiny-0.2m",),
        "decoder (GPT-2 shape)": ("student=decoder", f"student.checkpoint={folder / 'gpt2'}"),
        "encoder-decoder (T5 shape)": ("student=encoder_decoder", f"student.checkpoint={folder / 't5'}"),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.startup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, help="a folder with another version of the repository")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    from bench.overhead import about

    print(about())
    with tempfile.TemporaryDirectory(prefix="ftcot-bench-") as scratch:
        roots = {"here": ROOT} | ({"against": given.against.resolve()} if given.against else {})
        sides = [Side(name, root, Path(scratch)) for name, root in roots.items()]
        for kind, words in students(Path(scratch) / "models").items():
            homes = [side.freeze(words) for side in sides]
            figures: dict[str, list[dict[str, float]]] = {side.name: [] for side in sides}
            for _ in range(given.rounds):
                for side, home in zip(sides, homes, strict=True):
                    figures[side.name].append(side.measure(home))
            show(kind, figures)


def show(kind: str, figures: dict[str, list[dict[str, float]]]) -> None:
    """Medians of each phase, by version, and their ratio."""
    names = list(figures)
    compared = len(names) > 1
    print(f"\n| {kind}, seconds | " + " | ".join(names) + (" | against / here |" if compared else " |"))
    print("|---" * (len(names) + 1 + compared) + "|")
    for phase in figures[names[0]][0]:
        values = [median(figure[phase] for figure in figures[name]) for name in names]
        spread = [
            f"{value:.2f} ({min(f[phase] for f in figures[name]):.2f} to {max(f[phase] for f in figures[name]):.2f})"
            for name, value in zip(names, values, strict=True)
        ]
        print(f"| {phase} | " + " | ".join(spread) + (f" | {values[1] / values[0]:.2f} |" if compared else " |"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:])
    else:
        main()
