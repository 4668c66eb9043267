"""Books: what many students, or one teacher many times, said to the same questions, in pages opened one by one.

    Book("multiarith, 180 test questions")
      questions   [17, "39", "For Halloween Debby and her sister ...", template 4]
      columns     (run 0, epoch 20), (run 0, epoch 17), (run 1, epoch 20), ...
      pages       questions 0-5 | 6-11 | ...     each with every text of its questions, different ones once

A page holds for each question: how many texts there are, the texts, and for each column three numbers: which text was
said, which answer was read from it, and which text came before it (a two-stage method's rationale); 0 for none, 1 for
the first text. Marks (right, formatted, kind of error ...) stand apart in two bytes a question and column, so that the
browser filters and compares without opening a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ftcot.report.page.packing import Numbers, Words, packed, packed_json, to_bytes

PAGE = 400_000
"""Characters after which a page is full: some milliseconds to open."""


class Entry(NamedTuple):
    """What one column has for one question."""

    text: str
    answer: str | None = None
    """Read from the text."""
    before: str | None = None
    """What was said first, of a two-stage method."""
    marks: int = 0
    """Two bytes; what they mean is the caller's affair."""


@dataclass(frozen=True)
class Question:
    """A question, as a book lists it."""

    sample_index: int
    text: str
    """Empty where the task's data are not at hand."""
    gold: str
    cluster: int | None = None
    """Questions of one template have the same."""


@dataclass
class Book:
    """Questions, columns, and what was said; filled question by question, then packed."""

    questions: Sequence[Question]
    columns: int
    _words: Words = field(default_factory=Words)
    _texts: list[Numbers] = field(default_factory=list)
    _slots: list[Numbers] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    _marks: list[Any] = field(default_factory=list)

    def add(self, entries: Sequence[Entry | None]) -> None:
        """What each column has for the next question; None where it has nothing."""
        said = {part for entry in entries if entry for part in entry[:3] if part is not None}
        texts = sorted(said)
        places = {text: place for place, text in enumerate(texts, start=1)} | {None: 0}
        nothing = (0, 0, 0)
        slots = [tuple(places[part] for part in entry[:3]) if entry else nothing for entry in entries]
        self._texts.append(self._words.numbers(texts))
        self._slots.append(np.array([len(texts), *(number for slot in slots for number in slot)], dtype=np.uint32))
        self._sizes.append(sum(map(len, texts)))
        self._marks.append(np.array([entry.marks if entry else 0 for entry in entries], dtype=np.uint16))

    def pack(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What the page has to know of the book, and its packed parts by name."""
        words, ranks = self._words.ranked(self._texts)
        parts = {"words": packed_json(words), "marks": packed(self._planes())}
        listed = [[q.sample_index, q.gold, q.text, q.cluster] for q in self.questions]
        parts["questions"] = packed_json(listed)
        pages: list[int] = []
        start = 0
        while start < len(self._sizes):
            end, size = start, 0
            while end < len(self._sizes) and (end == start or size + self._sizes[end] <= PAGE):
                size += self._sizes[end]
                end += 1
            data = b"".join(map(self._page_bytes, range(start, end), [ranks] * (end - start)))
            parts[f"page-{len(pages)}"] = packed(data)
            pages.append(end - start)
            start = end
        return {"n": len(self.questions), "width": self.columns, "pages": pages}, parts

    def _page_bytes(self, place: int, ranks: Numbers) -> bytes:
        slots = self._slots[place]
        return to_bytes(slots[:1]) + to_bytes(ranks[self._texts[place]]) + to_bytes(slots[1:])

    def _planes(self) -> bytes:
        """Low bytes of all columns, column by column and by question in each, then the high bytes."""
        marks = np.array(self._marks, dtype="<u2").reshape(len(self._marks), self.columns).T
        return (marks & 255).astype(np.uint8).tobytes() + (marks >> 8).astype(np.uint8).tobytes()

    def column(self, column: int) -> Any:
        """(n,) the marks of one column."""
        return np.array([marks[column] for marks in self._marks], dtype=np.uint16)
