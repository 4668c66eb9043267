"""Last letter concatenation: the last letters of some words, joined.

    Join the last letters of these words: tiger, cloud, apple, truck.     rdek

    tiger ends in r: r. cloud ends in d: rd. apple ends in e: rde. truck ends in k: rdek. So rdek.

All words have five letters and every last letter has as many words, so neither a question's length nor the odds of
a letter say anything.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from ftcot.answers import Text
from ftcot.task.generated.base import GeneratedTask, not_a_question
from ftcot.task.generated.reasoning import Hand, Rationale, Voice, Voices

START = "Join the last letters of these words: "

_WORDS = """
cloud bread field sound world
apple horse table stone knife
beach earth month lunch tooth
truck clock black drink stick
metal pearl snail wheel petal
dream storm steam broom charm
lemon green train ocean robin
sheep tulip stamp grasp sleep
tiger paper river sugar chair
grass glass dress cross bonus
plant heart night coast fruit
honey money party candy daisy
"""

WORDS = tuple(_WORDS.split())


@dataclass(frozen=True)
class Problem:
    """The words, in order."""

    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LastLetterConcatenation(GeneratedTask[Problem]):
    """Join the last letters of `n_words` words."""

    n_words: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_number("n_words", 1, len(WORDS))

    @property
    def answer(self) -> Text:
        return Text()

    def draw(self, rng: random.Random, target: int) -> Problem:
        return Problem(tuple(rng.sample(WORDS, self.n_words)))

    def ask(self, problem: Problem) -> str:
        return f"{START}{', '.join(problem.words)}."

    def read(self, question: str) -> Problem:
        problem = Problem(tuple(question.removeprefix(START).removesuffix(".").split(", ")))
        if self.ask(problem) != question:
            raise not_a_question(self, question)
        return problem

    def solve(self, problem: Problem) -> str:
        return "".join(word[-1] for word in problem.words)

    def voices(self, verbosity: int) -> Voices:
        return VOICES[verbosity]

    def reason(self, problem: Problem, voice: Voice, hand: Hand) -> Rationale:
        backwards = bool(voice["order"])
        joined = ""
        said = [voice["order"], voice["start"]]
        for word in reversed(problem.words) if backwards else problem.words:
            right = word[-1]
            others = sorted(set(word) - {right})
            read = hand.step(right, others)
            # Two slips may cancel: a letter misread, and then another one written down than was read.
            written = hand.step(read, others if read == right else [right])
            joined = written + joined if backwards else joined + written
            said.append(voice["step"].format(word=word, letter=read, joined=joined))
        said.append(voice["end"].format(joined=joined))
        return Rationale(" ".join(filter(None, said)), joined, hand.n_slips)


# Part "order": nothing, or what announces that the words come last to first.
VOICES: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "start": ("", "Letters:", "Ends:", "Read:"),
        "step": ("{word} {letter}: {joined}.", "{word}: {letter}, {joined}.", "{word} = {letter}, {joined}."),
        "end": ("So {joined}.", "Thus {joined}.", "All: {joined}."),
        "order": ("", "Backwards:"),
    },
    {
        "start": ("", "One by one.", "Word by word.", "Take each word."),
        "step": (
            "{word} ends in {letter}: {joined}.",
            "{word} gives {letter}, so {joined}.",
            "The last of {word} is {letter}: {joined}.",
            "{word} has {letter} at its end, {joined} so far.",
        ),
        "end": ("So {joined}.", "Joined: {joined}.", "All of it is {joined}."),
        "order": ("", "From the last word."),
    },
    {
        "start": (
            "Let us look at the words one at a time.",
            "We need the last letter of every word.",
            "Every word gives one letter, its last.",
            "Going through the list, we keep only the final letters.",
        ),
        "step": (
            "The last letter of {word} is {letter}, so we have {joined} by now.",
            "The word {word} ends in {letter}, which makes it {joined}.",
            "Then {word} closes with the letter {letter} and we get {joined}.",
        ),
        "end": (
            "Joined in the order of the list, the letters are {joined}.",
            "All words are used, and the letters together read {joined}.",
            "That was every word, so the letters join to {joined}.",
        ),
        "order": ("", "We can as well begin with the last word and put each letter before the others."),
    },
)
