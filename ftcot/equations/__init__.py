"""Equations between numbers that a text writes down, and whether each of them holds.

    "She had 32 + 42 = 74 chocolates. 74 - 35 = 40 are left."      32+42=74 holds, 74-35=40 does not

An equation is an equals sign with numbers on both sides and something to work out on one of them; a chain is as many
as it has equals signs. What is not surely about numbers alone is none: a variable, a word that stands for a number, a
time of day, units that differ (1 hour - 20 minutes = 40 minutes). Where there are two ways to read it, one that holds
is enough, so that what is called wrong is wrong.

Rounding is allowed as far as it is written: 10 / 3 = 3.33 holds, 10 / 3 = 3.34 does not.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import pairwise, product, starmap, takewhile
from typing import Literal, NamedTuple

from ftcot.equations.arithmetic import NotArithmeticError, Reading, Value, evaluate
from ftcot.equations.notation import Token, tokens

FLOAT = Fraction(1, 10**14)
"""How far a number with decimals may be off, as a share of it: questions hold a computer's 3.8333333333333335."""

LONGEST_SIDE = 120
"""Tokens of one side that are looked at."""

_CHANGES_WHAT_FOLLOWS = (
    "twice half double thrice triple third quarter quarters thirds fourth fifth tenth negative minus plus times by root"
    " square squared cube cubed product percent"
)
CHANGES_WHAT_FOLLOWS = frozenset(_CHANGES_WHAT_FOLLOWS.split())
"""Words before a number, or before an `of` or `of the` in front of it, that make another number of it."""

_MEASURES = (
    "second seconds sec secs s, minute minutes min mins, hour hours hr hrs h, day days, week weeks, month months,"
    " year years",
    "$ dollar dollars, cent cents penny pennies, nickel nickels, dime dimes, quarter quarters",
    "inch inches, foot feet ft, yard yards yd, mile miles, millimeter millimeters mm, centimeter centimeters cm,"
    " meter meters metre metres, kilometer kilometers kilometre kilometres km",
    "gram grams, kilogram kilograms kg kilo kilos, ounce ounces oz, pound pounds lb lbs, ton tons",
    "milliliter milliliters ml, liter liters litre litres, cup cups, pint pints, quart quarts, gallon gallons",
)
MEASURES = {
    word: (dimension, measure.split()[0])
    for dimension, measures in enumerate(_MEASURES)
    for measure in measures.split(", ")
    for word in measure.split()
}
"""Units that are worth so many of another one: (what they measure, which)."""

_COUNTS_OF_MANY = "dozen dozens pair pairs half halves hundred hundreds thousand thousands million millions billion"
COUNTS_OF_MANY = frozenset(_COUNTS_OF_MANY.split())
"""Words that multiply the number before them."""

REST = frozenset({"r", "remainder", "rem", "and", "with", "over"}) | COUNTS_OF_MANY
"""Words after a result that make another number of it: 17 / 5 = 3 remainder 2, 5 / 2 = 2 and a half."""


class Equation(NamedTuple):
    """One that was found."""

    text: str
    """As it is read, without white space and units: `32+42=74`."""
    holds: bool


class _Side(NamedTuple):
    start: int
    end: int
    values: tuple[Value, ...]
    """What it comes to, by each way to read it."""
    sure: bool
    """Whether there is nothing around it that may belong to it."""
    alone: bool
    """Whether it stands where a statement begins, not at the end of a phrase (`The cost of 3`)."""


def find(text: str) -> list[Equation]:
    """The equations written in the text, in order."""
    if "=" not in text and "equal" not in text:
        return []
    said = tokens(text)
    marks = [at for at, token in enumerate(said) if token.kind == "equals"]
    found: list[Equation] = []
    chain: list[_Side | None] = []
    for number, mark in enumerate(marks):
        before = marks[number - 1] if number else -1
        after = marks[number + 1] if number + 1 < len(marks) else len(said)
        right = _right(said, mark + 1, after)
        if not (chain and chain[-1] and chain[-1].end == mark):
            found += _judge(said, chain)
            chain = [_left(said, before + 1, mark)]
        chain.append(right)
    return found + _judge(said, chain)


def _judge(said: list[Token], chain: list[_Side | None]) -> list[Equation]:
    """A verdict on each link of a chain in which something is worked out."""
    if not any(side and any(value.operators for value in side.values) for side in chain):
        return []
    found = []
    for number, (left, right) in enumerate(pairwise(chain)):
        if left is None or right is None:
            continue
        if number == 0 and _is_a_quantity(said, left):
            continue
        holds = _holds(left, right)
        if holds or (left.sure and right.sure and not _converts(said, left, right)):
            plain = [token.text for token in said[left.start : right.end] if token.kind not in ("word", "currency")]
            found.append(Equation("".join(plain).replace(",", "").replace("⊗", "*"), holds))
    return found


def _is_a_quantity(said: list[Token], left: _Side) -> bool:
    """Whether it says how much of something there is, and what follows is what comes of it: 3 apples = 3 * 2 = 6."""
    fraction = [token.text for token in said[left.start + 1 : left.start + 2]] == ["/"]
    if any(value.operators > fraction for value in left.values):
        return False
    return any(value.units - {"$"} for value in left.values) or not (left.alone or fraction)


def _holds(left: _Side, right: _Side) -> bool:
    return any(_equal(a, b) for a, b in product(left.values, right.values))


def _equal(a: Value, b: Value) -> bool:
    """Whether they are the same as far as they are written.

    Where the right side goes on with what the left one came to, that is what counts: 2 + 3 = 5 + 4 = 9.
    """
    bare = [value for value in (b, a) if not value.operators]
    unit = max(value.unit for value in bare) if len(bare) == 2 else bare[0].unit if bare else max(a.unit, b.unit)
    slack = Fraction(0) if unit == 1 else max(abs(a.number), abs(b.number)) * FLOAT
    if abs(a.number - b.number) <= max(unit / 2, slack):
        return True
    return bool(b.operators) and a.number == b.first


def _converts(said: list[Token], left: _Side, right: _Side) -> bool:
    """Whether its units say that the numbers are not of one kind."""
    named = set().union(*(value.units for value in (*left.values, *right.values)))
    if right.end < len(said) and said[right.end].kind == "word":
        named.add(said[right.end].text.lower())
    measures = {MEASURES[word] for word in named if word in MEASURES}
    return len(measures) > len({number for number, _ in measures}) or bool(named & COUNTS_OF_MANY)


def _readings(said: list[Token]) -> tuple[Reading, ...]:
    """The ways to read these tokens."""
    percent = mixed = False
    slashes = 0
    before = None
    for kind, text, _ in said:
        percent = percent or kind == "percent"
        mixed = mixed or kind == before == "number"
        slashes += text == "/"
        before = kind
    return _ways(percent, mixed, slashes > 1)


@cache
def _ways(percent: bool, mixed: bool, right: bool) -> tuple[Reading, ...]:
    percents: tuple[Literal["share", "unit", "part"], ...] = ("share", "unit", "part")
    choices = product(percents if percent else percents[:1], (True, False)[: 1 + mixed], (False, True)[: 1 + right])
    return tuple(starmap(Reading, choices))


def _values(said: list[Token], start: int, end: int) -> list[tuple[Value, int]]:
    """What the expression that begins at `start` comes to, and where it ends, by each reading of it."""
    found = []
    for reading in _readings(said[start:end]):
        try:
            found.append(evaluate(said, start, end, reading))
        except NotArithmeticError:
            continue
    return found


def _right(said: list[Token], start: int, end: int) -> _Side | None:
    """The side that begins at `start`."""
    end = min(end, start + LONGEST_SIDE)
    found = _values(said, start, end)
    if not found:
        return None
    stop = max(at for _, at in found)
    values = tuple(value for value, at in found if at == stop or not value.operators)
    follows = said[stop] if stop < len(said) else None
    if follows is None or follows.kind in ("stop", "close", "equals"):
        return _Side(start, stop, values, sure=True, alone=True)
    if follows.kind in ("other", "open") and follows.glued:
        return None
    if follows.kind == "operator":
        opaque = stop + 1 < len(said) and said[stop + 1].kind in ("other", "word") and follows.text != "-"
        return None if opaque else _Side(start, stop, values, sure=False, alone=True)
    words = [token.text.lower() for token in takewhile(lambda token: token.kind == "word", said[stop : stop + 4])]
    sure = follows.kind == "open" or (bool(words) and REST.isdisjoint(words))
    return _Side(start, stop, values, sure, alone=True)


def _left(said: list[Token], start: int, end: int) -> _Side | None:
    """The longest side that ends at `end`."""
    begin = end
    while begin > start and said[begin - 1].kind not in ("stop", "other", "equals"):
        begin -= 1
    if end - begin > LONGEST_SIDE:
        return None
    for at in range(begin, end):
        if said[at].kind not in ("number", "currency", "open") and not _is_sign(said, at, start):
            continue
        found = [value for value, stop in _values(said, at, end) if stop == end]
        if found:
            return _beginning(said, start, at, end, tuple(found))
    return None


def _is_sign(said: list[Token], at: int, start: int) -> bool:
    """Whether the minus at `at` may belong to the number behind it: nothing stands before it to subtract from."""
    token = said[at]
    if token.text != "-" or at + 1 >= len(said):
        return False
    return at == start or said[at - 1].kind == "stop" or (said[at + 1].glued and not token.glued)


def _beginning(said: list[Token], start: int, at: int, end: int, values: tuple[Value, ...]) -> _Side | None:
    """The side, if what stands before it leaves it a number of its own."""
    if said[at].text == "-" and (at == start or said[at - 1].text == "\n"):  # a bullet, perhaps
        values += tuple(value for value, stop in _values(said, at + 1, end) if stop == end)
    if at == start:
        return _Side(at, end, values, sure=True, alone=True)
    before = said[at - 1]
    if before.kind in ("stop", "equals"):
        return _Side(at, end, values, sure=True, alone=True)
    if before.kind == "operator":
        bullet = before.text in "-*" and (at - 1 == start or said[at - 2].text == "\n")
        return _Side(at, end, values, sure=True, alone=True) if bullet else None
    if before.kind in ("open", "close"):
        return _Side(at, end, values, sure=not said[at].glued or before.kind == "open", alone=before.kind == "open")
    if before.kind != "word" or said[at].glued:
        return _Side(at, end, values, sure=False, alone=False)
    words = at - 1
    if before.text == "the" and words > start and said[words - 1].text == "of":
        words -= 1
    if said[words].text == "of" and words > start:
        words -= 1
        if said[words].kind in ("number", "percent", "close"):  # 3 of 10 + 2
            return None
    if said[words].text.lower() in CHANGES_WHAT_FOLLOWS:
        return None
    while words > start and said[words].kind == "word":
        words -= 1
    if said[words].kind == "operator" and not (words == start or said[words - 1].text == "\n"):
        return None  # 10 - the 3 + 2
    counted = said[words].kind == "number" and at - words <= 4  # 24 eggs in 1 tray * 2 trays
    return _Side(at, end, values, sure=not counted, alone=False)
