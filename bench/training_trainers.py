"""The sides of bench/training.py that transformers and TRL bring their loops for."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from typing import Any

from bench.training_sides import IGNORED, RATE, Clock, Job, device, flat


def train(job: Job, questions: list[Any], model: Any, clock: Clock) -> None:
    """The side that the job names."""
    (trl if job.name == "trl" else hf)(job, questions, model, clock)


def hf(job: Job, questions: list[Any], model: Any, clock: Clock) -> None:
    """transformers' Trainer, a batch padded to its longest, fused AdamW."""
    import transformers

    collator = transformers.DataCollatorForSeq2Seq(tokenizer(job), padding=True, label_pad_token_id=IGNORED)
    with tempfile.TemporaryDirectory() as folder:
        trainer = timed(transformers.Trainer, clock)(
            model,
            transformers.TrainingArguments(**arguments(job, folder)),
            train_dataset=rows(job, questions),
            data_collator=collator,
        )
        trainer.train()


def trl(job: Job, questions: list[Any], model: Any, clock: Clock) -> None:
    """TRL's SFTTrainer on rows that are tokenised already; its loss takes completions only, in chunks."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    free = "free" in job.words
    settings: dict[str, Any] = {
        "gradient_checkpointing": "checkpointing" in job.words,
        "padding_free": free,
        "max_length": None if free else 1024,
    }
    if "packed" in job.words:
        # As many rows a step as hold about the pairs of one.
        pairs = flat(questions)
        mean = sum(len(prompt) + len(target) for prompt, target in pairs) / len(pairs)
        length = job.number("long", 512)
        settings |= {"packing": True, "max_length": length}
        settings["per_device_train_batch_size"] = max(1, round(job.pairs * mean / length))
        settings["gradient_accumulation_steps"] = 1
    with tempfile.TemporaryDirectory() as folder:
        trainer = timed(SFTTrainer, clock)(
            model,
            SFTConfig(**arguments(job, folder) | settings),
            train_dataset=Dataset.from_list(rows(job, questions)).remove_columns("attention_mask"),
            processing_class=tokenizer(job),
        )
        trainer.train()


def tokenizer(job: Job) -> Any:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(job.tokenizer)
    loaded.pad_token = loaded.eos_token
    return loaded


def rows(job: Job, questions: Sequence[Any]) -> list[dict[str, list[int]]]:
    """The rows of all steps in the order they are taken.

    `sorted` does what transformers' group_by_length does: 50 batches' worth of shuffled pairs sorted by length. The
    steps that are timed are some of those batches, from the longest to the shortest at even distances.
    """
    generator = random.Random(job.seed)
    pairs = flat(questions)
    generator.shuffle(pairs)
    n_steps = job.warm_up + job.steps
    while len(pairs) < n_steps * job.pairs:
        pairs += pairs
    if "packed" in job.words:
        pairs = pairs[: 2 * n_steps * job.pairs]
    elif "sorted" in job.words:
        some = sorted(pairs[: 50 * job.pairs], key=lambda pair: -len(pair[0]) - len(pair[1]))
        batches = [some[i : i + job.pairs] for i in range(0, len(some) - job.pairs + 1, job.pairs)]
        picked = [batches[int((i + 0.5) * len(batches) / job.steps)] for i in range(job.steps)]
        pairs = [pair for batch in [batches[len(batches) // 2]] * job.warm_up + picked for pair in batch]
    else:
        pairs = pairs[: n_steps * job.pairs]
    return [
        {
            "input_ids": prompt + target,
            "attention_mask": [1] * (len(prompt) + len(target)),
            "labels": [IGNORED] * len(prompt) + target,
        }
        for prompt, target in pairs
    ]


def arguments(job: Job, folder: str) -> dict[str, Any]:
    """What transformers' Trainer and TRL's are both told."""
    micro = job.number("micro", job.pairs)
    return {
        "output_dir": folder,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": job.pairs // micro,
        "max_steps": job.warm_up + job.steps,
        "train_sampling_strategy": "sequential",
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "weight_decay": 0.01,
        "optim": "adamw_torch_fused",
        "bf16": job.precision == "bf16",
        "use_cpu": device() == "cpu",
        "torch_compile": "compile" in job.words,
        "dataloader_num_workers": job.number("workers", 0),
        "dataloader_pin_memory": False,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def timed(kind: Any, clock: Clock) -> Any:
    """A Trainer that tells the clock."""
    import transformers

    class Steps(transformers.TrainerCallback):  # type: ignore[misc]
        """Tells of each optimiser step."""

        supervised = 0

        def on_step_end(self, *rest: Any, **named: Any) -> None:
            clock.step(self.supervised)
            self.supervised = 0

    class Timed(kind):  # type: ignore[misc]
        """Counts what each step supervises."""

        def __init__(self, *rest: Any, **named: Any) -> None:
            super().__init__(*rest, **named)
            self.steps = Steps()
            self.add_callback(self.steps)

        def training_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
            self.steps.supervised += int((inputs["labels"] != IGNORED).sum())
            return super().training_step(model, inputs, *rest, **named)

    return Timed
