"""What an expression comes to, its units aside.

    $ 5.50 * 2 bottles - ( 3 + 1 )     7, of a dollar and bottles, in three operations

Exact (fractions), without `eval`, and bounded: numbers, powers and nesting that nobody writes in earnest are refused,
so that no text can keep it busy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from ftcot.equations.notation import Kind, Token

LONGEST_NUMBER = 30
"""Characters of a number that is read."""

LARGEST_POWER = 20
DEEPEST = 30
"""Parentheses within parentheses."""

UNIT_WORDS = 5
"""Words after a number that are taken for what it counts: `4 pages of math homework + ...`."""

_NO_UNITS = (
    "and or of is are was were be so then if but because since when where which that by equal than he she they we it"
    " to from the"
)
NO_UNITS = frozenset(_NO_UNITS.split())


class NotArithmeticError(Exception):
    """These tokens are no expression of numbers, or none that is worth working out."""


@dataclass(frozen=True)
class Value:
    """What an expression comes to."""

    number: Fraction
    operators: int = 0
    unit: Fraction = Fraction(1)
    """Of its last written digit; of several numbers, the largest of those written with decimals, or 0 if none is."""
    units: frozenset[str] = frozenset()
    """What its numbers count: the last word, in lower case; `$`."""
    first: Fraction = Fraction(0)
    """The number that it begins with."""


@dataclass(frozen=True)
class Reading:
    """How to read what can be read in two ways."""

    percent: Literal["share", "unit", "part"] = "share"
    """20% is 0.2; or 20, of a unit called percent; or, after plus and minus, a part of what stands before."""
    mixed: bool = True
    """2 1/2 is two and a half; or the end of one thing, and another."""
    right: bool = False
    """12/1/3 is 12/(1/3); or (12/1)/3."""


def evaluate(said: list[Token], start: int, end: int, reading: Reading) -> tuple[Value, int]:
    """The longest expression that begins at `start`, and where it stops, at most at `end`.

    Raises:
        NotArithmeticError: none does.
    """
    parser = _Parser(said, end, reading)
    value = parser.sum(start, 0)
    return value, parser.at


class _Parser:
    """Recursive descent. `at` is behind the last token that was used."""

    def __init__(self, said: list[Token], end: int, reading: Reading) -> None:
        self.said, self.end, self.reading = said, end, reading
        self.at = 0

    def sum(self, at: int, depth: int) -> Value:
        value = self.product(at, depth)
        while (sign := self._operator("+", "-")) is not None:
            back = self.at
            try:
                more = self.product(self.at + 1, depth)
                if self.reading.percent == "part" and "%" in more.units and not more.operators:
                    more = replace(more, number=value.number * more.number)
                value = _combine(sign, value, more)
            except NotArithmeticError:
                self.at = back
                break
        return value

    def product(self, at: int, depth: int) -> Value:
        value = self.power(at, depth)
        while True:
            back = self.at
            sign = self._operator("*", "/", "⊗")
            implied = sign is None and self._is(self.at, "open") and self.said[self.at].glued
            if sign is None and not implied:
                return value
            try:
                more = self.power(self.at + (not implied), depth)
                if sign == "/" and self.reading.right and self._operator("/") and self.said[self.at].glued:
                    more = _combine("/", more, self.power(self.at + 1, depth))
                value = _combine(sign or "*", value, more)
            except NotArithmeticError:
                self.at = back
                return value

    def power(self, at: int, depth: int) -> Value:
        if depth > DEEPEST:
            raise NotArithmeticError
        if self._is(at, "operator") and self.said[at].text == "-":
            value = self.power(at + 1, depth + 1)
            return Value(-value.number, value.operators, value.unit, value.units, -value.first)
        value = self.primary(at, depth)
        if self._operator("^") is not None:
            value = _combine("^", value, self.power(self.at + 1, depth + 1))
        return value

    def primary(self, at: int, depth: int) -> Value:
        if self._is(at, "open"):
            value = self.sum(at + 1, depth + 1)
            if not self._is(self.at, "close"):
                raise NotArithmeticError
            self.at += 1
            return self._with_units(Value(value.number, value.operators, value.unit, value.units, value.number))
        units: set[str] = set()
        if self._is(at, "currency"):
            units.add(self.said[at].text)
            at += 1
        if not self._is(at, "number"):
            raise NotArithmeticError
        number, unit = _number(self.said[at].text)
        self.at = at + 1
        if self.reading.mixed and not units and unit == 1 and (part := self._fraction(self.at)) is not None:
            number += part
            self.at += 3
        return self._with_units(Value(number, 0, unit, frozenset(units), number))

    def _with_units(self, value: Value) -> Value:
        number, unit, units = value.number, value.unit, set(value.units)
        if self._is(self.at, "percent"):
            self.at += 1
            units.add("%")
            if self.reading.percent != "unit":
                number, unit = number / 100, unit / 100
        words: list[str] = []
        at = self.at
        while self._is(at, "word") and len(words) < UNIT_WORDS:
            word = self.said[at].text.lower()
            if word in NO_UNITS and not (word == "of" and words):
                break
            words.append(word)
            at += 1
        rate = self._is(at, "operator") and self.said[at].text == "/" and self._is(at + 1, "word")
        if rate and self.said[at + 1].text.lower() not in NO_UNITS:
            words, at = words or [""], at + 2  # $5/hour
        if words and self._is(at, "operator") and self.said[at].text == "^" and self._is(at + 1, "number"):
            at += 2  # cm^2
        if words and (at >= self.end or self.said[at].kind in ("operator", "equals", "close")):
            units.add(words[-1])
            self.at = at
        return Value(number, value.operators, unit, frozenset(units), number if not value.operators else value.first)

    def _fraction(self, at: int) -> Fraction | None:
        """The 1/2 of 2 1/2."""
        if not (self._is(at, "number") and self._is(at + 1, "operator") and self._is(at + 2, "number")):
            return None
        above, sign, below = (self.said[at + place].text for place in range(3))
        if sign != "/" or not (above.isdecimal() and below.isdecimal()) or max(len(above), len(below)) > 3:
            return None
        return Fraction(int(above), int(below)) if 0 < int(above) < int(below) else None

    def _is(self, at: int, kind: Kind) -> bool:
        return at < self.end and self.said[at].kind == kind

    def _operator(self, *signs: str) -> str | None:
        return self.said[self.at].text if self._is(self.at, "operator") and self.said[self.at].text in signs else None


@lru_cache(4096)
def _number(text: str) -> tuple[Fraction, Fraction]:
    """Its value, and the unit of its last digit."""
    if len(text) > LONGEST_NUMBER:
        raise NotArithmeticError
    plain = text.replace(",", "")
    return Fraction(plain), Fraction(1, 10 ** len(plain.partition(".")[2]))


def _combine(sign: str, a: Value, b: Value) -> Value:
    x, y = a.number, b.number
    if sign == "^":
        if y.denominator != 1 or abs(y) > LARGEST_POWER or abs(x) > 10**6 or (x == 0 and y < 0):
            raise NotArithmeticError
        number = x ** int(y)
    elif sign == "/":
        if y == 0:
            raise NotArithmeticError
        number = x / y
    else:
        number = {"+": x + y, "-": x - y}.get(sign, x * y)
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > 4096:
        raise NotArithmeticError
    units = [value.unit for value in (a, b) if value.unit != 1]
    unit = max((unit for unit in units if unit), default=Fraction(0))
    return Value(number, a.operators + b.operators + 1, unit, a.units | b.units, a.first)
