"""Choosing lines by their entries: those that are asked for, and of those the one that counts for each key.

wanted: draws below 2 of sample 7, prompt 9c1e…
entries: sample 7 draw 0 (10:15:09), sample 7 draw 5, sample 8 draw 0, sample 7 draw 0 (10:15:00)
──> rows 0 and 3, of which row 3 counts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ftcot.teacher.store_entries import Entries
from ftcot.teacher.store_lines import Key

KEY = ("version", "sample", "draw", "row", "prompt")
"""Columns that tell the keys of one group apart."""

ANY = -1


class Wanted(NamedTuple):
    """Which lines of a group are looked for."""

    prompts: Mapping[tuple[int, int, int], str]
    """The prompt's hash by (version, sample index, draw); the draw is ANY where all of a sample have one prompt."""
    degree: int
    """Draws from this one on are not looked for."""
    by_draw: bool = False
    """Whether the draws in `prompts` are not ANY."""

    def rows(self, entries: Entries, group: int) -> NDArray[np.intp]:
        """(K,) places of the lines that are looked for."""
        samples = np.unique(np.array([index for _, index, _ in self.prompts], np.int64))
        mask = (entries["group"] == group) & (entries["draw"] >= 0) & (entries["draw"] < self.degree)
        rows = np.flatnonzero(mask & np.isin(entries["sample"], samples))
        found = entries[rows]
        hashes = {place: int(prompt[:16], 16) for place, prompt in self.prompts.items()}
        draws = found["draw"].tolist() if self.by_draw else [ANY] * len(rows)
        places = zip(found["version"].tolist(), found["sample"].tolist(), draws, strict=True)
        same = [hashes.get(place) == prompt for place, prompt in zip(places, found["prompt"].tolist(), strict=True)]
        return np.compress(np.array(same, bool), rows)

    def holds(self, key: Key) -> bool:
        """Whether the key of a line that was read is what its entry said."""
        if key.draw is None:
            return False
        _, version, index = key.sample
        return self.prompts.get((version, index, key.draw if self.by_draw else ANY)) == key.prompt_sha256


class Order(NamedTuple):
    """Lines by group, version, sample, draw, row and prompt; those of one key by the time they were stored."""

    places: NDArray[np.intp]
    """(N,) in the order."""
    first: NDArray[np.bool_]
    """(N,) whether a line is the one that counts for its key."""
    repeated: NDArray[np.bool_]
    """(N,) whether a line is the one before it once more."""

    @classmethod
    def of(cls, entries: Entries) -> Self:
        """Of two lines stored in the same microsecond the same one is first in whatever order segments are read."""
        key, content = ("group", *KEY), ("stored", "crc", "length")
        places = np.lexsort([entries[name] for name in reversed(key + content)])
        ordered = entries[places]
        return cls(places, ~_as_before(ordered, key), _as_before(ordered, key + content))


def _as_before(entries: Entries, columns: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) whether an entry has the same in these columns as the one before it."""
    same = np.ones(len(entries), bool)
    same[:1] = False
    for name in columns:
        same[1:] &= entries[name][1:] == entries[name][:-1]
    return same


def identity(entries: Entries) -> NDArray[np.uint64]:
    """(N,) hashes, the same for the same line wherever it stands."""
    mixed = np.zeros(len(entries), np.uint64)
    for name in ("stored", "crc", "length", *KEY):
        mixed = (mixed ^ entries[name].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed
