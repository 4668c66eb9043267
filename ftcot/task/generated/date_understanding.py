"""Date understanding: what date is it, some days and weeks from a date?

    Today is 04/28/2015. The fair is 5 days after today. The race is 2 weeks before the fair. What date is the race?
    Answer choices: (A) 04/18/2015, (B) 04/21/2015, (C) 04/12/2015, (D) 04/19/2015, (E) 04/20/2015.     D

    04/28/2015 + 5 days: 05/03/2015. 05/03/2015 - 2 weeks: 04/19/2015. So (D).

The choices are days with random gaps, and the right one is any of them with the same odds: neither the earliest, the
middle nor the first on the list is a better guess than another.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate

from ftcot.answers import Choice
from ftcot.task.generated.base import GeneratedTask, not_a_question
from ftcot.task.generated.choices import CHOICES, LETTERS, read_choices, write_choices
from ftcot.task.generated.reasoning import Hand, Rationale, Voice, Voices

EVENTS = ("exam", "fair", "gala", "game", "play", "race", "show", "trip")
GAPS = (1, 2, 3, 7)
"""Days between a choice and the next later one."""
DAYS = {"day": 1, "week": 7}
UNITS = ("day", "week", "month", "year")


@dataclass(frozen=True)
class Shift:
    """One event, seen from the one before it."""

    event: str
    amount: int
    unit: str
    later: bool

    @property
    def duration(self) -> str:
        return f"{self.amount} {self.unit}{'s' if self.amount > 1 else ''}"

    def apply(self, day: date) -> date | None:
        """The event's date; None if the calendar has no such day (a month after 31 January)."""
        amount = self.amount if self.later else -self.amount
        if self.unit in DAYS:
            return day + timedelta(days=amount * DAYS[self.unit])
        months = day.year * 12 + day.month - 1 + amount * (12 if self.unit == "year" else 1)
        # Up to the 28th every month has the day.
        return day.replace(year=months // 12, month=months % 12 + 1) if day.day <= 28 else None


@dataclass(frozen=True)
class Problem:
    """A first date and a chain of events."""

    today: date
    shifts: tuple[Shift, ...]
    choices: tuple[date, ...]


@dataclass(frozen=True, kw_only=True)
class DateUnderstanding(GeneratedTask[Problem]):
    """Find the date of the last of `n_shifts` events."""

    n_shifts: int
    max_amount: int
    """Most days, weeks, ... between two events."""
    units: tuple[str, ...]
    """Some of day, week, month, year."""
    first_year: int
    last_year: int
    """Of the first date."""
    n_choices: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_number("n_shifts", 1, len(EVENTS))
        self.require_number("max_amount", 1, 99)
        object.__setattr__(self, "units", tuple(self.units))  # YAML has lists
        self.require(len(self.units) > 0 and set(self.units) <= set(UNITS), "units", f"some of {', '.join(UNITS)}")
        self.require_number("first_year", 1900, 2999)
        self.require_number("last_year", self.first_year, 2999)
        self.require_number("n_choices", 2, len(LETTERS))

    @property
    def answer(self) -> Choice:
        return Choice(LETTERS[: self.n_choices])

    @property
    def n_classes(self) -> int:
        return self.n_choices

    def draw(self, rng: random.Random, target: int) -> Problem:
        first = date(self.first_year, 1, 1)
        n_days = (date(self.last_year + 1, 1, 1) - first).days
        # How many choices are nearer to today than the right one. Left to chance, "the nearest" would be right too
        # often: a shift there and one back cancel.
        nearer = rng.randrange(self.n_choices)
        while True:
            today = first + timedelta(days=rng.randrange(n_days))
            shifts = tuple(
                Shift(event, rng.randint(1, self.max_amount), rng.choice(self.units), rng.random() < 0.5)
                for event in rng.sample(EVENTS, self.n_shifts)
            )
            if (found := _follow(today, shifts)) is None:
                continue
            others = self._others(rng, found)
            if sorted([found, *others], key=lambda day: (abs(day - today), day)).index(found) == nearer:
                break
        return Problem(today, shifts, (*others[:target], found, *others[target:]))

    def _others(self, rng: random.Random, right: date) -> list[date]:
        """The wrong choices: with the right one they are days in a row with random gaps, and it is any of them."""
        offsets = list(accumulate((rng.choice(GAPS) for _ in range(self.n_choices - 1)), initial=0))
        origin = rng.choice(offsets)
        others = [right + timedelta(days=offset - origin) for offset in offsets if offset != origin]
        rng.shuffle(others)
        return others

    def ask(self, problem: Problem) -> str:
        story = [f"Today is {_write(problem.today)}."]
        before = "today"
        for shift in problem.shifts:
            story.append(f"The {shift.event} is {shift.duration} {'after' if shift.later else 'before'} {before}.")
            before = f"the {shift.event}"
        return f"{' '.join(story)} What date is {before}?{write_choices(map(_write, problem.choices))}"

    def read(self, question: str) -> Problem:
        story, _, choices = question.partition(CHOICES)
        today = re.match(r"Today is (\d\d/\d\d/\d{4})\.", story)
        shifts = re.findall(r"The (\w+) is (\d+) (\w+?)s? (after|before) ", story)
        try:
            problem = Problem(
                _read(today[1] if today else ""),
                tuple(Shift(event, int(amount), unit, side == "after") for event, amount, unit, side in shifts),
                tuple(map(_read, read_choices(choices))),
            )
        except ValueError:
            raise not_a_question(self, question) from None
        if self.ask(problem) != question:
            raise not_a_question(self, question)
        return problem

    def solve(self, problem: Problem) -> str:
        found = _follow(problem.today, problem.shifts)
        assert found is not None  # `draw` asks for no other
        return LETTERS[problem.choices.index(found)]

    def voices(self, verbosity: int) -> Voices:
        return VOICES[verbosity]

    def reason(self, problem: Problem, voice: Voice, hand: Hand) -> Rationale:
        day = problem.today
        said = [voice["start"].format(day=_write(day))]
        for shift in problem.shifts:
            before = day
            right = shift.apply(day) or day  # a day that a slip led to may have no such month: then it stays
            day = hand.step(right, [right + timedelta(days=slip) for slip in (-2, -1, 1, 2)])
            said.append(
                voice["step"].format(
                    event=shift.event,
                    before=_write(before),
                    sign="+" if shift.later else "-",
                    side="after" if shift.later else "before",
                    duration=shift.duration,
                    day=_write(day),
                )
            )
        # After a slip the date may be none of the choices: then the nearest is taken, which can be the right one.
        nearest = min(problem.choices, key=lambda choice: (abs(choice - day), choice))
        conclusion = LETTERS[problem.choices.index(nearest)]
        said.append(voice["end"].format(day=_write(nearest), answer=conclusion))
        return Rationale(" ".join(filter(None, said)), conclusion, hand.n_slips)


def _follow(today: date, shifts: tuple[Shift, ...]) -> date | None:
    day: date | None = today
    for shift in shifts:
        day = shift.apply(day) if day is not None else None
    return day


def _write(day: date) -> str:
    return f"{day.month:02}/{day.day:02}/{day.year}"


def _read(text: str) -> date:
    month, day, year = map(int, text.split("/"))
    return date(year, month, day)


VOICES: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "start": ("", "Now {day}.", "Start {day}.", "From {day}:"),
        "step": (
            "{sign} {duration}: {day}.",
            "{event} {sign} {duration}: {day}.",
            "{event}: {sign} {duration} = {day}.",
            "{event}, {day}.",
        ),
        "end": ("So ({answer}).", "Thus ({answer}).", "That is ({answer})."),
    },
    {
        "start": ("Today: {day}.", "We start at {day}.", "It is {day} now.", "The first date is {day}."),
        "step": (
            "{before} {sign} {duration} = {day}.",
            "The {event} is {before} {sign} {duration}: {day}.",
            "{event}: {duration} {side} {before} is {day}.",
            "{duration} {side} {before} comes {day}, the {event}.",
        ),
        "end": ("So ({answer}).", "{day} is ({answer}).", "That is {day}, choice ({answer})."),
    },
    {
        "start": (
            "Let us go from one date to the next. Today it is {day}.",
            "We know that today is {day}, and from there we count.",
            "The only date that is given is today, {day}.",
            "To find the last date we begin with today, which is {day}.",
        ),
        "step": (
            "The {event} is {duration} {side} {before}, which makes it {day}.",
            "Counting {duration} from {before}, the {event} comes out {side} that, on {day}.",
            "Since the {event} is {duration} {side} that day, {before}, we get {day}.",
            "Next is the {event}: {before} {sign} {duration} = {day}, so it is on {day}.",
        ),
        "end": (
            "The question is about the last one, and {day} is choice ({answer}).",
            "We look for {day} among the choices and find it as ({answer}).",
            "This is the date we want: {day}, so the answer is ({answer}).",
        ),
    },
)
