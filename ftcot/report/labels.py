"""What the axes of figures are called, and their values, where a reader sees them.

title("diversity")                        "rationales a question (D)"
text("diversity", 8.0)                    "8"
text("n_parameters", 722_048)             "722K"
text("method", "fine_tune_cot")           "Fine-tune-CoT"
scale("diversity")                        2: D = 1, 2, 4, 8 stand equally far apart
"""

from __future__ import annotations

from collections.abc import Mapping

_TITLES: Mapping[str, str] = {
    "diversity": "rationales a question (D)",
    "n_train": "training questions",
    "n_parameters": "parameters of the student",
    "teacher_tokens": "longest rationale (tokens)",
    "student_tokens": "longest generation (tokens)",
    "learning_rate": "learning rate",
    "batch_size": "batch size",
    "skill": "share of the teacher's steps that are right",
    "kind": "method",
}

_SCALES: Mapping[str, int] = {
    "diversity": 2,
    "n_train": 2,
    "n_parameters": 10,
    "teacher_tokens": 2,
    "student_tokens": 2,
    "learning_rate": 10,
    "batch_size": 2,
}

_WORDS: Mapping[str, str] = {
    # methods, as the paper calls them
    "zero_shot": "Zero-shot",
    "zero_shot_cot": "Zero-shot-CoT",
    "few_shot_cot": "Few-shot-CoT",
    "fine_tune": "Fine-tune",
    "fine_tune_cot": "Fine-tune-CoT",
    "fine_tune_cot_diverse": "Fine-tune-CoT, D > 1",
    # tasks
    "single_eq": "SingleEq",
    "multi_step_arithmetic": "Multi-step Arithmetic",
    "addsub": "AddSub",
    "multiarith": "MultiArith",
    "gsm8k": "GSM8K",
    "aqua": "AQuA",
    "svamp": "SVAMP",
    "date_understanding": "Date Understanding",
    "tracking_shuffled_objects": "Shuffled Objects",
    "last_letter_concatenation": "Last Letter",
    "coin_flip": "Coin Flip",
    "commonsense_qa": "CommonsenseQA",
    "strategy_qa": "StrategyQA",
}

GENERATED = "generated_"


def title(axis: str) -> str:
    """What stands along an axis."""
    return _TITLES.get(axis, axis.replace("_", " "))


def scale(axis: str) -> int | None:
    """The base of an axis whose values are multiples; None: they stand as they are."""
    return _SCALES.get(axis)


def text(axis: str | None, value: str | float) -> str:
    """A value of an axis (None: it may be of any)."""
    if isinstance(value, str):
        if value.startswith(GENERATED):
            return f"{text(axis, value.removeprefix(GENERATED))} (generated)"
        return _WORDS.get(value, value)
    if axis == "n_parameters":
        return amount(value)
    if axis == "learning_rate" or 0 < abs(value) < 0.001:
        return f"{value:.0e}".replace("e-0", "e-")
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def amount(n: float) -> str:
    """`722K`, `5.3M`, `135M`, `1.5B`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if n >= size * 0.9995:
            share = n / size
            return (f"{share:.0f}" if share >= 99.5 else f"{share:.3g}") + letter
    return f"{n:.0f}"


def percent(share: float, digits: int = 1) -> str:
    """`53.3 %` of 0.5333."""
    return f"{100 * share:.{digits}f} %"


def shorten(words: str, limit: int) -> str:
    """At most `limit` letters, the middle left out: both ends of a model's name say which one it is."""
    if len(words) <= limit:
        return words
    head = (limit - 1) // 2
    return f"{words[:head]}…{words[len(words) - (limit - 1 - head) :]}"
