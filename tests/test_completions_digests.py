"""Digests are a set, whatever stands behind what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ftcot.completions.digests import SIZE, Digests, digest

close = st.lists(st.sampled_from([0, 1]), min_size=SIZE, max_size=SIZE).map(bytes)


@given(st.lists(close | st.binary(min_size=SIZE, max_size=SIZE)), close)
def test_they_are_the_set_of_what_was_added(added: list[bytes], other: bytes) -> None:
    """Digests of zeros and ones are found in each other's ends and beginnings."""
    digests = Digests()
    seen: set[bytes] = set()
    for one in added:
        assert digests.add(one) is (one not in seen)
        seen.add(one)
    assert (set(digests), len(digests)) == (seen, len(seen))
    assert (other in digests) is (other in seen)


def test_parts_are_told_apart() -> None:
    parts = [("a", "b"), ("ab",), ("a", None), ("a", 0), ("a", "0"), ("\ud83d",)]
    assert len({digest(*each) for each in parts}) == len(parts)
    assert all(len(digest(*each)) == SIZE for each in parts)
