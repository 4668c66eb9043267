"""The model card that travels with a trained student: how it was made, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ftcot.display import interval, percent
from ftcot.records import Score


def model_card(config: Mapping[str, Any], score: Score, counts: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """README.md of a student folder, with the front matter that hubs read."""
    student, method = config["student"], score.method
    kept: Mapping[str, Any] = {"accuracy": score.accuracy, "interval": score.interval}
    epoch = "last epoch"
    if config.get("keep") == "best" and score.best_on_validation is not None:
        kept = score.best_on_validation
        epoch = f"epoch {kept['epoch']}, the best on validation"
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["ftcot", "chain-of-thought", "distillation", method, score.task],
    }
    if checkpoint := student.get("checkpoint"):
        front["base_model"] = checkpoint
    facts = {
        "Task": f"{score.task}, {counts.get('train')} training questions, {counts.get('test')} test questions",
        "Method": f"`{method}`, template `{config['method']['template']}`",
        "Pairs": str(score.n_examples),
        "Training": f"{config['training']['epochs']} epochs, batch {config['training']['batch_size']}, "
        f"seed {config['seed']}",
        "Parameters": f"{counts.get('parameters', 0):,}",
        "Accuracy": f"{percent(kept['accuracy'])}, 95 % interval {interval(kept['interval'])}, {epoch}, "
        f"`{score.scorer}` scorer, greedy",
    }
    if method == "fine_tune_cot":
        diversity = config["diversity"]
        facts["Teacher"] = f"{score.teacher}, D = {diversity['degree']} at T = {diversity['temperature']}"
    if score.random_accuracy is not None:
        facts["Random"] = percent(score.random_accuracy)
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False).strip(),
            "---",
            "",
            f"# {student['name']} fine-tuned on {score.task} with {method}",
            "",
            "Trained with ftcot after Ho, Schmid and Yun, *Large Language Models Are Reasoning Teachers* (ACL 2023).",
            "",
            *lines,
            "",
            "It has learnt one kind of question. Its reasoning reads well even where it is wrong: do not rely on it "
            "outside the task it was measured on.",
            "",
            f"Made with {used}." if used else "",
            "",
        ]
    )
