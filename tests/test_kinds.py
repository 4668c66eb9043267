"""A value of another kind than its key takes is refused in one line that names the key."""

from __future__ import annotations

import pytest

from ftcot.compose import Composer, conf_dir, freeze
from ftcot.errors import InputError
from ftcot.job import build

LIVE = ("teacher=api", "teacher.model=m", "logger=none")


def refused(*words: str) -> str:
    config = freeze(Composer(conf_dir()).compose([*LIVE, *words]))
    with pytest.raises(InputError) as caught:
        build(config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("teacher.timeout=2m", "teacher.timeout=2m: expected a number"),
        ("teacher.budget_usd=much", "teacher.budget_usd=much: expected a number or null"),
        ("teacher.budget_usd=true", "teacher.budget_usd=true: expected a number or null"),
        ("teacher.budget_tokens=1.5", "teacher.budget_tokens=1.5: expected a whole number or null"),
        ("teacher.concurrency=many", "teacher.concurrency=many: expected a whole number"),
        ("teacher.top_p=null", "teacher.top_p=null: expected a number"),
        ("teacher.model=3", "teacher.model=3: expected text (in quotes: \"'3'\")"),
        ("teacher.prices=3", "teacher.prices=3: expected {KEY: VALUE} or null"),
        ("teacher.extra=3", "teacher.extra=3: expected {KEY: VALUE} or null"),
        ("teacher.base_url=3", "teacher.base_url=3: expected text or a list or null"),
        ("teacher.context=long", "teacher.context=long: expected a whole number or null"),
        ("teacher.prompting.max_tokens=many", "teacher.prompting.max_tokens=many: expected a whole number"),
        ("teacher.prompting.system=3", "teacher.prompting.system=3: expected text or null"),
        ("curation.judge_prompt=3", "curation.judge_prompt=3: expected text or null"),
        ("curation.filter=3", "curation.filter=3: expected one of none, answer, "),
        ("curation.filter=null", "curation.filter=None: expected one of none, answer, "),
        ("curation.filter=[[answer]]", "curation.filter=['answer']: expected one of none, answer, "),
        ("curation.judge=3", "curation.judge=3: expected a teacher (+teacher@curation.judge=api), or null"),
        ("diversity.temperature=hot", "diversity.temperature=hot: expected a number"),
    ],
    ids=lambda value: value if "expected" not in value else "",
)
def test_a_value_of_another_kind(word: str, line: str) -> None:
    assert refused(word).startswith(line)


def test_a_judges_value_is_named_by_its_place() -> None:
    words = ("+teacher@curation.judge=api", "curation.judge.model=j", "curation.judge.prompting.answer_max_tokens=x")
    assert refused(*words) == "curation.judge.prompting.answer_max_tokens=x: expected a whole number"


@pytest.mark.parametrize("word", ["teacher.timeout=60", "teacher.stage_timeout=90", "teacher.base_url=[http://a/v1]"])
def test_kinds_that_fit(word: str) -> None:
    build(freeze(Composer(conf_dir()).compose([*LIVE, word])))
