"""Curation keeps what it promises, and counts the rest."""

from __future__ import annotations

import io
import re
import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ftcot import curation, teaching
from ftcot.answers import Number
from ftcot.checks import Checker
from ftcot.compose import Composer, conf_dir
from ftcot.curation import FILTERS, TOGETHER, Curated, Curating, Curation, OutOfOrderError, judge, vanilla
from ftcot.curation import curate as curate_in
from ftcot.errors import InputError, JobError
from ftcot.filters import Filter, Verdicts
from ftcot.grid import expand
from ftcot.hashes import FileHashes
from ftcot.prompts import Method
from ftcot.records import Completion, Example, Sample, read_records, write_records
from ftcot.teacher import Diversity
from tests.test_filters import context

TEMPLATE = Method("fine_tune_cot", "token").template_for("decoder")
SAMPLES = [Sample("t", 1, index, f"Question {index}?", str(index), "train") for index in range(5)]


def completion(index: int, draw: int | None, said: str, **more: object) -> Completion:
    return Completion("t", 1, index, draw, None, f"Steps of {index}, {draw}.", answer_text=said, **more)  # type: ignore[arg-type]


def curate(*arguments: Any) -> Curated:
    return curate_in(*arguments, context(Number()))


completions = st.lists(
    st.builds(completion, st.integers(0, 4), st.integers(0, 9), st.sampled_from(["0", "1", "2", "3", "4", "none"])),
    max_size=40,
    unique_by=lambda c: (c.sample_index, c.draw),
)


@given(completions, st.integers(1, 10))
def test_only_right_ones_and_at_most_d_a_sample_are_kept(said: list[Completion], degree: int) -> None:
    judged = judge(said, SAMPLES, Number(), "first")
    right = [c for c in judged if c.correct and c.draw is not None and c.draw < degree]
    if not right:
        with pytest.raises(JobError):
            curate(SAMPLES, judged, TEMPLATE, Diversity(degree, 0.7), Curation())
        return
    curated = curate(SAMPLES, judged, TEMPLATE, Diversity(degree, 0.7), Curation())
    assert {(e.sample_index, e.draw) for e in curated.examples} == {(c.sample_index, c.draw) for c in right}
    for example in curated.examples:
        assert example.completion.endswith(f"--> {example.sample_index}")
    counts = curated.counts
    assert counts["kept"] + sum(counts["dropped"].values()) == counts["completions"]
    assert counts["questions_without"] == 5 - len({e.sample_index for e in curated.examples})


@given(completions, st.integers(1, 5), st.integers(0, 5))
def test_a_lower_degree_is_a_subset_of_a_higher(said: list[Completion], low: int, more: int) -> None:
    said = [*said, completion(0, 0, "0")] if not any((c.sample_index, c.draw) == (0, 0) for c in said) else said
    kept = [
        set(curate(SAMPLES, said, TEMPLATE, Diversity(degree, 0.7), Curation(filter="none")).examples)
        for degree in (low, low + more)
        if any(c.draw is not None and c.draw < low for c in said)
    ]
    assert not kept or kept[0] <= kept[1]


def test_pairs_come_by_sample_and_keep_the_order_of_draws() -> None:
    said = [completion(2, 0, "2"), completion(0, 0, "0"), completion(2, 1, "2")]
    curated = curate(SAMPLES, judge(said, SAMPLES, Number(), "first"), TEMPLATE, Diversity(2, 0.7), Curation())
    assert [(e.sample_index, e.draw) for e in curated.examples] == [(0, 0), (2, 0), (2, 1)]


def test_unknown_draws_are_chosen_by_the_smallest_degree_that_holds_them() -> None:
    said = [replace(completion(1, None, "1"), min_diversity=d, rationale=str(d)) for d in (1, 2, 8)]
    judged = judge(said, SAMPLES, Number(), "first")
    kept = [curate(SAMPLES, judged, TEMPLATE, Diversity(d, 0.7), Curation()).counts["kept"] for d in (1, 2, 4, 8)]
    assert kept == [1, 2, 2, 3]


def test_a_recorded_verdict_stands_where_the_answer_text_was_not_kept() -> None:
    recorded = Completion("t", 1, 3, None, None, "r", prediction="3", correct=True, min_diversity=1, correct_only=True)
    assert judge([recorded], SAMPLES, Number(), "first") == [recorded]


def test_what_a_recording_calls_right_has_golds_answer() -> None:
    recorded = Completion("t", 1, 3, None, None, "r", correct=True, min_diversity=1, correct_only=True)
    wrong = replace(recorded, correct=False)
    said = judge([recorded, wrong], SAMPLES, Number(), "first")
    assert [row.prediction for row in said] == ["3", None]
    curation = Curation(filter=["answer", "format", "vote"])
    assert curate(SAMPLES, said, TEMPLATE, Diversity(1, 0), curation).counts["dropped"] == {"no answer": 1}


@pytest.mark.parametrize("reason", [None, "stop", "eos", "eos_token", "stop_sequence"])
def test_servers_have_several_words_for_the_end(reason: str | None) -> None:
    said = judge([completion(0, 0, "0", finish_reason=reason)], SAMPLES, Number(), "first")
    assert curate(SAMPLES, said, TEMPLATE, Diversity(1, 0), Curation(filter="format")).counts["kept"] == 1


@pytest.mark.parametrize(
    ("which", "verdict"), [("first", ("12", False)), ("last", ("4", True))], ids=["camera-ready", "recorded files"]
)
def test_the_candidate_rule_decides(which: str, verdict: tuple[str, bool]) -> None:
    (judged,) = judge([completion(4, 0, " 12 / 3 = 4")], SAMPLES, Number(), which)  # type: ignore[arg-type]
    assert (judged.prediction, judged.correct) == verdict


@pytest.mark.parametrize(
    ("curation", "kept", "dropped"),
    [
        (Curation(), {0}, {"wrong answer": 2, "no answer": 1}),
        (Curation(filter="none"), {0, 1, 2, 3}, {}),
        (Curation(filter="format"), {0, 1}, {"unfinished": 1, "no answer": 1}),
        (Curation(filter="length", min_words=2, max_words=3), {0, 1}, {"too long": 1, "too short": 1}),
        (Curation(filter=["answer", "length"], max_words=1), set(), {}),
        (Curation(filter=["format", "answer"]), {0}, {"wrong answer": 1, "unfinished": 1, "no answer": 1}),
        (Curation(filter="vote"), {0, 1, 2}, {"no answer": 1}),
    ],
    ids=lambda value: str(value) if isinstance(value, Curation) else "",
)
def test_each_filter_drops_what_it_names(curation: Curation, kept: set[int], dropped: dict[str, int]) -> None:
    said = [
        replace(completion(0, 0, "0", finish_reason="stop"), rationale="two words"),
        replace(completion(1, 0, "2", finish_reason="stop"), rationale="two words"),
        replace(completion(2, 0, "3", finish_reason="length"), rationale="word " * 9),
        replace(completion(3, 0, "?", finish_reason="stop"), rationale="one"),
    ]
    judged = judge(said, SAMPLES, Number(), "first")
    if not kept:
        with pytest.raises(JobError, match=r"no training pair is left of 4 .*2 wrong answer"):
            curate(SAMPLES, judged, TEMPLATE, Diversity(1, 0), curation)
        return
    curated = curate(SAMPLES, judged, TEMPLATE, Diversity(1, 0), curation)
    assert {e.sample_index for e in curated.examples} == kept
    assert curated.counts["dropped"] == dropped


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"filter": "anwser"}, "curation.filter='anwser': expected one of"),
        ({"candidate": "middle"}, "curation.candidate='middle'"),
        ({"max_words": 10}, "curation.filter=length goes with"),
        ({"filter": "length"}, "curation.filter=length goes with"),
        ({"filter": "length", "min_words": 9, "max_words": 3}, "is above"),
        ({"filter": []}, "name a filter, or none"),
        ({"filter": ["answer", "vot"]}, "curation.filter='vot': expected one of none, answer, "),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Curation(**arguments)  # type: ignore[arg-type]


def test_vanilla_pairs_are_question_and_answer() -> None:
    curated = vanilla(SAMPLES, Method("fine_tune", "token").template_for("decoder"))
    assert [(e.prompt, e.completion) for e in curated.examples][1] == ("Question 1? ###", " 1")
    assert curated.counts == {"kept": 5, "questions": 5, "questions_without": 0}


@pytest.mark.parametrize(("degree", "temperature"), [(0, 0.7), (2, 0), (1, -1)])
def test_an_impossible_diversity_is_refused(degree: int, temperature: float) -> None:
    with pytest.raises(InputError, match=r"diversity\."):
        Diversity(degree, temperature)


def test_filters_apply_in_the_listed_order_to_what_is_left() -> None:
    """Three of five say 5, which is wrong; of those that are right two are the same."""
    said = [completion(4, draw, text) for draw, text in enumerate(["5", "4", "5", "4", "5"])]
    said = [replace(c, rationale="Same." if c.draw in (1, 3) else c.rationale) for c in said]
    judged = judge(said, SAMPLES, Number(), "first")

    def kept(*names: str) -> set[int | None]:
        found = curate(SAMPLES, judged, TEMPLATE, Diversity(5, 0.7), Curation(filter=list(names)))  # type: ignore[arg-type]
        return {example.draw for example in found.examples}

    assert kept("vote") == {0, 2, 4}
    assert kept("answer", "vote") == {1, 3}
    assert kept("answer", "duplicate") == {1}
    assert kept("duplicate") == {0, 1, 2, 4}
    with pytest.raises(JobError, match=r"3 wrong answer, 2 outvoted"):
        kept("vote", "answer")


def test_what_the_rationales_are_like_is_counted_before_anything_is_dropped() -> None:
    said = [replace(completion(4, draw, text), rationale="1 + 1 = 2") for draw, text in enumerate(["4", "5", "4"])]
    judged = judge([*said, completion(1, 0, "1")], SAMPLES, Number(), "first")
    counts = curate(SAMPLES, judged, TEMPLATE, Diversity(3, 0.7), Curation()).counts
    assert counts["effective_diversity"] == 1.0
    assert counts["statistics"]["n"] == 4
    assert counts["statistics"]["agreement"] == 0.667
    assert counts["statistics"]["accuracy"] == 0.75
    assert counts["kept"] == 3


def test_how_much_the_kept_rationales_differ_is_counted() -> None:
    texts = ("1 + 1 = 2", "2 + 2 = 4", "a wrong one, which is dropped", "2+2 = 4.")
    answers = ("4", "4", "5", "4")
    said = [replace(completion(4, draw, answers[draw]), rationale=text) for draw, text in enumerate(texts)]
    judged = judge([*said, completion(1, 0, "1")], SAMPLES, Number(), "first")
    found = curate(SAMPLES, judged, TEMPLATE, Diversity(4, 0.7), Curation()).counts["diversity"]
    assert (found["n"], found["questions"], found["effective_degree"], found["paths"]) == (4, 2, 1.5, 1.5)


@pytest.mark.parametrize(
    ("names", "needed"),
    [
        (["answer"], False),
        (["math_verify"], False),
        (["answer", "vote"], False),
        (["vote", "answer"], True),
        (["equations", "answer", "judge"], False),
        *(([name], True) for name in FILTERS if name not in ("answer", "math_verify", "length")),
    ],
)
def test_only_what_drops_wrong_answers_can_do_with_right_ones_alone(names: list[str], needed: bool) -> None:
    assert Curation(filter=names).needs_wrong_ones is needed  # type: ignore[arg-type]


@given(
    completions, st.lists(st.sampled_from(["none", "answer", "format", "duplicate", "vote", "equations"]), min_size=1)
)
def test_a_filter_more_never_keeps_more(said: list[Completion], names: list[str]) -> None:
    judged = judge([*said, completion(0, 10, "0")], SAMPLES, Number(), "first")
    kept: list[set[Any]] = []
    for length in range(1, len(names) + 1):
        try:
            curation = Curation(filter=names[:length])  # type: ignore[arg-type]
            kept.append(set(curate(SAMPLES, judged, TEMPLATE, Diversity(11, 0.7), curation).examples))
        except JobError:
            kept.append(set())
    assert all(later <= earlier for earlier, later in pairwise(kept))


def job_hashes(data: Path, cache: Path, *words: str) -> list[str]:
    """Of the jobs that a sweep with these words consists of."""
    composer, checker = Composer(conf_dir()), Checker(FileHashes(cache / "hashes.json"))
    places = [f"paths.data={data}", f"paths.cache={cache}", "task=multiarith", "until=curate"]
    jobs = expand(composer, [*places, *words]).jobs
    return [checker.check(composer.job(overrides)).hash for overrides in jobs]


def test_each_filter_of_a_sweep_is_a_job_of_its_own(data_dir: Path, tmp_path: Path) -> None:
    words = "curation.filter=answer,none,equations,[answer,equations],[equations,answer],vote,duplicate"
    hashes = job_hashes(data_dir, tmp_path, words)
    assert len(set(hashes)) == len(hashes) == 7


def test_which_judge_makes_another_job_but_not_how_it_is_reached(data_dir: Path, tmp_path: Path) -> None:
    base = ["curation.filter=[answer,judge]", "+teacher@curation.judge=api", "curation.judge.model=m"]
    ((plain,), (elsewhere,), (other,), (asked,)) = (
        job_hashes(data_dir, tmp_path, *base, *more)
        for more in (
            [],
            ["curation.judge.base_url=http://127.0.0.1:1/v1", "curation.judge.concurrency=3"],
            ["curation.judge.model=n"],
            ["curation.judge_prompt='Sound? {rationale}'"],
        )
    )
    assert plain == elsewhere
    assert len({plain, other, asked}) == 3


def test_a_judge_that_is_not_asked_makes_no_other_job(data_dir: Path, tmp_path: Path) -> None:
    named = ["+teacher@curation.judge=api", "curation.judge.model=m", "curation.filter=answer,[answer,judge]"]
    (answer, judged) = job_hashes(data_dir, tmp_path, *named)
    assert [answer] == job_hashes(data_dir, tmp_path, "curation.filter=answer")
    assert answer != judged


def right_ones(n: int, draws: int) -> Iterator[Completion]:
    """Of as many questions as it takes, in their order."""
    return (completion(place // draws, place % draws, str(place // draws), correct=True) for place in range(n))


@given(completions, st.integers(1, 10), st.sampled_from(["answer", "none", "vote", "duplicate"]))
def test_a_stream_is_curated_as_a_list_is(said: list[Completion], degree: int, name: Any) -> None:
    judged = judge(sorted(said, key=lambda c: c.sample_index), SAMPLES, Number(), "first")
    rest = (TEMPLATE, Diversity(degree, 0.7), Curation(filter=name))
    try:
        curated = curate(SAMPLES, judged, *rest)
    except JobError as error:
        with pytest.raises(JobError, match=re.escape(str(error))):
            list(Curating({s.key: s for s in SAMPLES}, *rest, context(Number())).examples(iter(judged)))
        return
    way = Curating({s.key: s for s in SAMPLES}, *rest, context(Number()))
    assert tuple(way.examples(iter(judged))) == curated.examples
    assert way.counts() == curated.counts


def test_a_stream_is_read_no_further_than_it_has_to_be() -> None:
    """Neither what is read ahead nor what is held grows with the stream."""
    n, draws = 20 * TOGETHER, 8
    samples = {s.key: s for s in (Sample("t", 1, index, "?", str(index), "train") for index in range(n // draws))}
    gone: list[object] = []
    watched: list[object] = []

    def stream() -> Iterator[Completion]:
        for said in right_ones(n, draws):
            watched.append(weakref.ref(said, gone.append))
            yield said

    way = Curating(samples, TEMPLATE, Diversity(draws, 0.7), Curation(), context(Number()), described=100)
    most_ahead = most_alive = 0
    for taken, _ in enumerate(way.examples(stream())):
        most_ahead = max(most_ahead, len(watched) - taken)
        most_alive = max(most_alive, len(watched) - len(gone))
    assert way.counts()["kept"] == n
    assert most_ahead <= TOGETHER + draws + 1
    assert most_alive <= 2 * TOGETHER + draws + 1
    assert way.counts()["statistics"]["sampled"] <= 100
    assert way.counts()["statistics"]["n"] == n


def test_the_figures_of_many_are_those_of_a_sample_of_their_questions() -> None:
    samples = {s.key: s for s in (Sample("t", 1, index, "?", str(index), "train") for index in range(500))}
    found = []
    for described in (4000, 400):
        way = Curating(samples, TEMPLATE, Diversity(8, 0.7), Curation(), context(Number()), described)
        assert len(list(way.examples(right_ones(4000, 8)))) == 4000
        found.append(way.counts())
    assert found[0].keys() == found[1].keys()
    whole, few = (counts["statistics"] for counts in found)
    assert "sampled" not in whole
    assert few["sampled"] == found[1]["diversity"]["sampled"] == 400
    assert {**few, "sampled": None} == {**whole, "sampled": None}  # all of these questions are alike


def test_a_stream_in_another_order_is_refused_and_can_be_arranged() -> None:
    said = [completion(2, 0, "2", correct=True), completion(0, 0, "0", correct=True), completion(9, 0, "9")]
    way = Curating({s.key: s for s in SAMPLES}, TEMPLATE, Diversity(1, 0.7), Curation(), context(Number()))
    with pytest.raises(OutOfOrderError):
        list(way.examples(said))
    again = Curating({s.key: s for s in SAMPLES}, TEMPLATE, Diversity(1, 0.7), Curation(), context(Number()))
    assert [e.sample_index for e in again.examples(again.arranged(said))] == [0, 2]


def test_a_filter_that_wants_all_at_once_is_shown_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    class Watching(Filter):
        def verdicts(self, completions: Any, samples: Any, context: Any) -> Verdicts:
            shown.append(len(completions))
            return Verdicts([None] * len(completions))

    class Greedy(Watching):
        at_once = True

    n = 3 * TOGETHER
    samples = {s.key: s for s in (Sample("t", 1, index, "?", str(index), "train") for index in range(n))}
    for watching, blocks in ((Watching, [TOGETHER] * 3), (Greedy, [n])):
        shown.clear()
        monkeypatch.setattr(curation, "FILTERS", {**FILTERS, "none": lambda _, filter=watching: filter()})
        way = Curating(samples, TEMPLATE, Diversity(1, 0), Curation(filter="none"), context(Number()), described=0)
        assert sum(1 for _ in way.examples(right_ones(n, 1))) == n
        assert shown == blocks


@pytest.mark.parametrize("backwards", [False, True], ids=["by sample", "in another order"])
def test_the_stage_writes_the_same_pairs_whatever_the_order_of_its_file(tmp_path: Path, backwards: bool) -> None:
    said = judge([completion(index, 0, str(index)) for index in range(5)], SAMPLES, Number(), "first")
    write_records(tmp_path / "completions.jsonl", said[::-1] if backwards else said)
    counted: dict[str, Any] = {}
    job = SimpleNamespace(
        method=SimpleNamespace(name="fine_tune_cot", trains=True),
        needs_teacher=True,
        **{"task": context(Number()).task, "teacher": None, "cache": tmp_path, "curation": Curation()},
        diversity=Diversity(1, 0),
    )
    run = SimpleNamespace(
        **{"job": job, "folder": tmp_path, "template": TEMPLATE, "console": Console(file=io.StringIO())},
        splits=SimpleNamespace(train=tuple(SAMPLES)),
        status=SimpleNamespace(count=counted.update, update=counted.update),
    )
    teaching.curate(run)  # type: ignore[arg-type]
    found = read_records(tmp_path / "examples.jsonl", Example)
    assert found == list(curate(SAMPLES, said, TEMPLATE, Diversity(1, 0), Curation()).examples)
    assert counted["curation"]["kept"] == 5
