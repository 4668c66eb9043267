"""What is tried behind a text that repeats itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftcot.student.guesses import SAME, TRIED, guesses, repeated

ROUND = [*range(900, 900 + SAME)]


@pytest.mark.parametrize(
    ("ids", "n", "expected"),
    [
        pytest.param([], 3, [], id="nothing is said yet"),
        pytest.param(ROUND, 3, [], id="the first time"),
        pytest.param([*ROUND, 1, 2, 3, *ROUND], 2, [1, 2], id="what came behind it"),
        pytest.param([*ROUND, 1, 2, *ROUND], 5, [1, 2, 900, 901, 902], id="goes on with what is repeated"),
        pytest.param([*ROUND, 1, *ROUND, 2, *ROUND], 1, [2], id="as the last time"),
        pytest.param([7] * (SAME + 1), 3, [7, 7, 7], id="one token again and again"),
        pytest.param([*ROUND, 1, *ROUND[1:]], 3, [], id="not quite the same"),
        pytest.param([0xD800] * (SAME + 1), 1, [0xD800], id="an id that is no character"),
    ],
)
def test_what_is_repeated_goes_on(ids: list[int], n: int, expected: list[int]) -> None:
    assert repeated(ids, n) == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=40))
def test_a_step_stays_small(texts: list[tuple[bool, int]]) -> None:
    tried = guesses([[5] * (99 if repeats else 1) for repeats, _ in texts], [room for _, room in texts])
    assert len(tried) == len(texts)
    assert all(len(ids) <= room * repeats for ids, (repeats, room) in zip(tried, texts, strict=True))
    assert not any(tried) or len(texts) + sum(map(len, tried)) <= TRIED


def test_all_that_is_left_is_shared_by_those_that_repeat_themselves() -> None:
    assert [len(ids) for ids in guesses([[5] * 99, [5], [6] * 99], [99, 99, 99])] == [30, 0, 30]
