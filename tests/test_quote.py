"""What is still to be bought, and what it costs: quoted before, compared with what a purchase then takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.errors import InputError, JobError
from ftcot.records import Sample
from ftcot.teacher import Diversity, Estimate, Planned, Session
from ftcot.teacher.asks import Ask, Reply
from ftcot.teacher.prices import Price
from ftcot.teacher.prompting import Prompting
from ftcot.teacher.store import CompletionStore
from ftcot.teacher.tokens import Counter
from tests.generated_tasks import build
from tests.scripted_backend import Script, Scripted

TASK = build("coin_flip", n_train=6, n_test=2)
TRAIN: tuple[Sample, ...] = TASK.splits().train
PRICES = {"input": 1.0, "output": 10.0}
COUNTER = Counter.of(None)

RATIONALE, ANSWER = " The coin is heads up. It is flipped once, so it is tails up.", " no."


@dataclass(frozen=True, kw_only=True)
class OneByOne(Scripted):
    """A teacher whose server gives one draw a call."""

    @property
    def several_draws(self) -> bool:
        return False


def said(ask: Ask, draw: int) -> Reply:
    """Replies that are all of one length, counted as the quote counts; of several draws the first bears the prompt."""
    words = ANSWER if ask.part == "answer" else RATIONALE
    prompt = COUNTER.conversation(ask.turns, chat=False) if draw == ask.draws[0] else 0
    return Reply(ask, draw, words, "stop", usage={"prompt": prompt, "completion": COUNTER.count(words)})


def teacher(script: Script | None = None, kind: type[Scripted] = Scripted, **more: Any) -> Scripted:
    return kind(model="m", script=script or Script(reply=said), prices=PRICES, **more)


def quote(live: Scripted, store: CompletionStore, degree: int = 4, planned: Planned | None = None) -> Estimate:
    return live.estimate(TASK, TRAIN, Diversity(degree, 0.7), store, {} if planned is None else planned)


def buy(live: Scripted, store: CompletionStore, degree: int = 4, samples: Sequence[Sample] = TRAIN) -> None:
    with suppress(JobError):  # of scripts that give up on some
        live.complete(TASK, samples, Diversity(degree, 0.7), Session(store))


@pytest.fixture
def store(tmp_path: Path) -> CompletionStore:
    return CompletionStore(tmp_path / "completions")


def test_nothing_is_stored_all_is_to_be_bought_and_as_much_as_is_allowed_expected(store: CompletionStore) -> None:
    live = teacher(prompting=Prompting(max_tokens=100, answer_max_tokens=10))
    found = quote(live, store)
    assert (found.wanted, found.stored) == (24, 0)
    assert found.calls == 6 + 24  # one for the four rationales of a question, one for each answer
    assert (found.completion_tokens, found.max_completion_tokens) == (24 * 110, 24 * 110)
    first = sum(COUNTER.each([turns[0].text for turns in live.prompting.first(TASK, TRAIN)]))
    second = 4 * first + 24 * (100 + COUNTER.count(TASK.answer_prompt))
    assert found.prompt_tokens == first + second
    assert found.max_prompt_tokens == 4 * first + second
    assert found.usd == pytest.approx((found.prompt_tokens * 1 + 2640 * 10) / 1e6)
    assert found.max_usd == pytest.approx((found.max_prompt_tokens * 1 + 2640 * 10) / 1e6)
    assert found.counted == "estimated from characters"
    assert not store.root.exists()


def test_all_is_stored_nothing_is_to_be_bought(store: CompletionStore) -> None:
    buy(teacher(), store)
    assert quote(teacher(), store) == Estimate(wanted=24, stored=24)
    assert quote(teacher(), store, degree=2) == Estimate(wanted=12, stored=12)


@pytest.mark.parametrize("style", ["zero_shot_cot", "single_call"])
@pytest.mark.parametrize("kind", [Scripted, OneByOne])
def test_a_purchase_takes_what_was_quoted(store: CompletionStore, style: Any, kind: type[Scripted]) -> None:
    prompting = Prompting(style=style)
    buy(teacher(prompting=prompting), store, degree=1)  # from which the length of the replies is known
    script = Script(reply=said)
    live = teacher(script, kind, prompting=prompting)
    found = quote(live, store)
    assert (found.wanted, found.stored) == (24, 6)
    before = store.spent("m", 0.0)
    buy(live, store)
    paid = store.spent("m", 0.0)
    taken = (paid.prompt - before.prompt, paid.completion - before.completion)
    assert found.completion_tokens == taken[1]
    # The script, like the teacher by its asks, is asked for several draws at once; one at a time would take more.
    if kind is Scripted:
        assert found.calls == len(script.asked)
        assert found.prompt_tokens == pytest.approx(taken[0], abs=len(script.asked))  # rounded up text by text
        assert found.usd == pytest.approx(paid.usd - before.usd, rel=0.01)
    else:
        assert found.calls == 18 + (18 if style == "zero_shot_cot" else 0)
        assert found.prompt_tokens > taken[0]
    assert found.max_usd is not None
    assert found.max_usd > paid.usd - before.usd


@settings(max_examples=25)
@given(given_up=st.sets(st.tuples(st.integers(0, 5), st.integers(0, 3), st.sampled_from(["rationale", "answer"]))))
def test_after_a_purchase_that_broke_off_the_rest_is_quoted(
    given_up: set[tuple[int, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    places = {sample.key: place for place, sample in enumerate(TRAIN)}
    store = CompletionStore(tmp_path_factory.mktemp("store"))
    script = Script(
        reply=lambda ask, draw: None if (places[ask.sample], draw, ask.part) in given_up else said(ask, draw)
    )
    buy(teacher(script), store)
    rest = Script(reply=said)
    found = quote(teacher(rest), store)
    buy(teacher(rest), store)
    assert found.wanted - found.stored == len({(place, draw) for place, draw, _ in given_up})
    assert found.calls == len(rest.asked)
    assert quote(teacher(), store).calls == 0


def test_a_rationale_that_lacks_its_answer_costs_one_call(store: CompletionStore) -> None:
    buy(teacher(Script(reply=lambda ask, draw: None if ask.part == "answer" else said(ask, draw))), store, degree=1)
    found = quote(teacher(), store, degree=1)
    assert (found.wanted, found.stored, found.calls) == (6, 0, 6)
    assert found.max_completion_tokens == 6 * teacher().prompting.answer_max_tokens


@pytest.mark.parametrize(
    "other",
    [
        {"prompting": Prompting(verbosity="short")},
        {"prompting": Prompting(max_tokens=64)},
        {"seed": 1},
        {"name": "another"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_completions_of_another_kind_do_not_count(store: CompletionStore, other: dict[str, Any]) -> None:
    buy(teacher(), store)
    assert quote(teacher(**other), store).stored == 0


def test_replies_to_another_prompt_say_nothing_of_the_length(store: CompletionStore) -> None:
    buy(teacher(), store)
    short = quote(teacher(prompting=Prompting(verbosity="short")), store)
    assert short.completion_tokens == short.max_completion_tokens
    warmer = teacher().estimate(TASK, TRAIN, Diversity(4, 1.0), store, {})
    assert (warmer.stored, warmer.completion_tokens) == (0, 24 * (COUNTER.count(RATIONALE) + COUNTER.count(ANSWER)))


def test_jobs_of_a_sweep_pay_for_what_those_before_them_do_not(store: CompletionStore) -> None:
    together, planned = [], dict[Any, int]()
    for degree in (1, 2, 8, 4):
        together.append(quote(teacher(), store, degree, planned))
    assert [found.wanted - found.stored for found in together] == [6, 6, 36, 0]
    greedy = teacher().estimate(TASK, TRAIN, Diversity(1, 0.0), store, planned)
    assert greedy.stored == 0  # another temperature, another completion
    longer = teacher(prompting=Prompting(verbosity="long"))
    assert quote(longer, store, 8, planned).stored == 0
    assert sum(found.calls for found in together if found.calls) == 3 * 6 + 48


@settings(max_examples=25)
@given(degrees=st.lists(st.integers(1, 5), min_size=1, max_size=4), bought=st.integers(0, 5))
def test_a_sweep_buys_each_draw_once(degrees: list[int], bought: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    store, planned = CompletionStore(tmp_path_factory.mktemp("store")), dict[Any, int]()
    if bought:
        buy(teacher(), store, bought)
    quoted = [quote(teacher(), store, degree, planned) for degree in degrees]
    assert sum(found.wanted - found.stored for found in quoted) == 6 * max(0, max(degrees) - bought)


def test_an_unknown_price_is_no_price(store: CompletionStore) -> None:
    found = quote(replace(teacher(), prices=None), store)
    assert (found.usd, found.max_usd) == (None, None)
    assert found.calls == 30
    assert teacher().price == Price(1.0, 10.0)


def test_a_chat_template_takes_tokens_of_its_own(store: CompletionStore) -> None:
    text, turns = (quote(teacher(speaks=speaks), store).prompt_tokens for speaks in (False, True))
    assert turns > text


def test_a_budget_needs_a_price() -> None:
    live = replace(teacher(), prices=None, budget_usd=1.0)
    with pytest.raises(InputError, match=r"teacher.budget_usd=1.0: what m costs is not known; set teacher.prices="):
        live.check(TASK, TASK.splits(), Diversity(1, 0.0))
    replace(live, budget_usd=None, budget_tokens=10).check(TASK, TASK.splits(), Diversity(1, 0.0))


def test_a_prompt_that_does_not_fit_into_the_context() -> None:
    splits, diversity = TASK.splits(), Diversity(1, 0.0)
    longest = max(splits.train, key=lambda sample: len(sample.question))
    single = Prompting(style="single_call", max_tokens=64)
    fits = COUNTER.count(single.first(TASK, [longest])[0][0].text) + 64
    teacher(prompting=single, context=fits).check(TASK, splits, diversity)
    with pytest.raises(InputError, match=rf"teacher.context={fits - 1}: question {longest.sample_index} of .* {fits} "):
        teacher(prompting=single, context=fits - 1).check(TASK, splits, diversity)
    # In two calls the second one has prompt, rationale and what asks for the answer to take in.
    double = Prompting(max_tokens=64, answer_max_tokens=16)
    needed = COUNTER.count(double.first(TASK, [longest])[0][0].text) + 64 + COUNTER.count(TASK.answer_prompt) + 16
    teacher(prompting=double, context=needed).check(TASK, splits, diversity)
    with pytest.raises(InputError, match="answer_max_tokens=16"):
        teacher(prompting=double, context=needed - 1).check(TASK, splits, diversity)


def test_a_damaged_store_is_refused(store: CompletionStore) -> None:
    buy(teacher(), store, degree=1)
    [segment] = store.root.rglob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([lines[0], b"{broken\n", *lines[1:]]))
    with pytest.raises(InputError, match="line 2"):
        quote(teacher(), CompletionStore(store.root))
