"""The generated tasks: any number of questions from a seed, with their reasoning, and nothing to download.

    A coin is heads up. Gus flips the coin. Ida keeps the coin. Ned flips the coin. Is it heads up?     yes

Each module holds one task. Since a task knows the steps that lead to its answer, `teacher=procedural` can write
rationales for it, right ones and wrong ones.
"""

from ftcot.task.generated.base import GeneratedTask
from ftcot.task.generated.reasoning import Hand, Rationale, Voice, Voices

__all__ = ["GeneratedTask", "Hand", "Rationale", "Voice", "Voices"]
