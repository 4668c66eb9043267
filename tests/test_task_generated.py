"""The generated tasks: right answers, disjoint splits, and nothing that gives an answer away."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from ftcot.errors import InputError
from ftcot.prompts import THEREFORE
from ftcot.records import Sample
from ftcot.task.generated import GeneratedTask, Hand
from ftcot.task.generated.coin_flip import CoinFlip
from ftcot.task.generated.last_letter_concatenation import WORDS
from ftcot.task.generated.names import NAMES
from ftcot.task.generated.reasoning import n_voices, plainest, voice_of_draw
from tests.generated_tasks import CONF, SOLVERS, build, each_task

CHOICE_TASKS = ("tracking_shuffled_objects", "date_understanding")


def draw(name: str, n: int, **changes: Any) -> list[Sample]:
    return list(build(name, **changes).samples("train", n))


@each_task
@given(seed=st.integers(0, 10**9))
@settings(max_examples=20, deadline=None)
def test_answers_are_right(name: str, seed: int) -> None:
    for sample in draw(name, 10, seed=seed):
        assert sample.answer == SOLVERS[name](sample.question)


@each_task
@given(seed=st.integers(0, 10**9), target=st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_a_question_says_the_whole_problem(name: str, seed: int, target: int) -> None:
    task = build(name)
    problem = task.draw(random.Random(seed), target % task.n_classes)
    assert task.read(task.ask(problem)) == problem


def test_months_and_years_keep_the_day() -> None:
    task = build("date_understanding", units=["month", "year"])
    question = (
        "Today is 01/28/2012. The fair is 1 month after today. The race is 3 years before the fair. "
        "What date is the race? Answer choices: (A) 02/28/2009, (B) 02/27/2009."
    )
    assert task.solve(task.read(question)) == "A"
    assert all(sample.answer in "ABCDE" for sample in task.splits().train)


# Seeds and splits.


@each_task
def test_golden_first_question(name: str) -> None:
    """The questions of a version are for ever: completions in stores belong to them."""
    sample = next(iter(build(name).splits().train))
    assert (sample.question, sample.answer) == FIRST[name]
    assert sample.key == (f"generated_{name}", 1, 0)


FIRST = {
    "coin_flip": (
        "A coin is heads up. Ike flips the coin. Tom keeps the coin. Kai flips the coin. Ian keeps the coin. Pia flips "
        "the coin. Ken flips the coin. Gus keeps the coin. Jay flips the coin. Is it heads up?",
        "no",
    ),
    "last_letter_concatenation": ("Join the last letters of these words: glass, coast, snail, earth.", "stlh"),
    "tracking_shuffled_objects": (
        "Hal has a ring, Sal has a harp, Ian has a fork. Ian and Sal swap. Sal and Hal swap. Ian and Sal swap. "
        "What does Sal have? Answer choices: (A) harp, (B) fork, (C) ring.",
        "A",
    ),
    "date_understanding": (
        "Today is 06/10/2017. The race is 2 weeks before today. The game is 5 weeks after the race. What date is the "
        "game? Answer choices: (A) 06/30/2017, (B) 07/01/2017, (C) 07/07/2017, (D) 07/04/2017, (E) 07/06/2017.",
        "B",
    ),
    "multi_step_arithmetic": ("Start with 3. Then + 7, x 3, + 2, - 3. What is the result?", "29"),
}


@each_task
def test_splits_have_their_sizes_and_share_nothing(name: str) -> None:
    splits = build(name, n_train=300, n_test=120, validation_size=50).splits()
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [250, 50, 120]
    assert [{s.split for s in part} for part in parts] == [{"train"}, {"validation"}, {"test"}]
    samples = [sample for part in parts for sample in part]
    assert len({s.question for s in samples}) == len({s.key for s in samples}) == 420
    assert len({s.question.partition(" Answer choices")[0] for s in samples}) == 420


@each_task
def test_one_seed_has_one_set_of_questions_however_many_are_drawn(name: str) -> None:
    few, many = build(name, n_train=50, n_test=20).splits(), build(name, n_train=200, n_test=80).splits()
    assert few.train == many.train[:50]
    assert few.test == many.test[:20]
    assert build(name, n_train=50, n_test=20).splits() == few


@each_task
def test_seeds_have_other_questions_and_never_train_on_each_others_tests(name: str) -> None:
    one, other = build(name, n_train=300, n_test=300).splits(), build(name, n_train=300, n_test=300, seed=1).splits()
    assert {s.question for s in one.train}.isdisjoint(s.question for s in other.test)
    assert len({s.question for s in one.train} & {s.question for s in other.train}) < 15


@each_task
def test_subsets_are_nested_and_leave_the_test_split_alone(name: str) -> None:
    subsets = [build(name, train_size=n).splits() for n in (8, 32, 128, None)]
    for smaller, larger in pairwise(subsets):
        assert set(smaller.train) < set(larger.train)
        assert smaller.test == larger.test


def test_more_questions_than_exist_is_refused_and_tells_how_many_there_are() -> None:
    splits = build("coin_flip", n_flips=1, n_train=25, n_test=25).splits()
    assert len(splits.train) == 25
    with pytest.raises(InputError, match=r"n_train=400: there are only \d\d different questions .* task.n_flips=1"):
        build("coin_flip", n_flips=1).splits()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        pytest.param("coin_flip", {"n_flips": 0}, "task.n_flips=0: expected a whole number from 1 to 40", id="flips"),
        pytest.param("coin_flip", {"n_train": 0}, "task.n_train=0", id="train"),
        pytest.param("coin_flip", {"n_test": 1.5}, "task.n_test=1.5", id="not whole"),
        pytest.param("coin_flip", {"validation_size": 400}, "task.validation_size=400", id="validation"),
        pytest.param("coin_flip", {"train_size": 401}, "task.train_size=401", id="subset"),
        pytest.param("last_letter_concatenation", {"n_words": 61}, "task.n_words=61", id="words"),
        pytest.param("tracking_shuffled_objects", {"n_objects": 2}, "task.n_objects=2", id="objects"),
        pytest.param("date_understanding", {"units": ["hour"]}, "task.units=.*expected some of day, week", id="units"),
        pytest.param("date_understanding", {"last_year": 2000}, "task.last_year=2000", id="years"),
        pytest.param("multi_step_arithmetic", {"operations": ["divide"]}, "task.operations", id="operations"),
        pytest.param("multi_step_arithmetic", {"max_result": 3}, "task.max_result=3", id="result"),
        pytest.param(
            "multi_step_arithmetic", {"operations": ["add"], "n_steps": 60}, "60 steps lead beyond", id="impossible"
        ),
    ],
)
def test_wrong_settings_are_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, **changes).splits()


@each_task
def test_other_text_is_not_a_question(name: str) -> None:
    for text in ("", "How many apples?", build(name).splits().train[0].question + " Why?"):
        with pytest.raises(InputError, match=f"generated_{name}: this is not one of its questions"):
            build(name).read(text)


# Nothing gives the answer away. Each probe looks at one thing in a question, learns on one half of the questions which
# answer goes with it most often, and guesses the other half.

N = 4000


def guess(samples: Sequence[Sample], look: Callable[[str], Hashable]) -> float:
    """Accuracy on the second half."""
    half = len(samples) // 2
    answers: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for sample in samples[:half]:
        answers[look(sample.question)][sample.answer] += 1
    best = {seen: counts.most_common(1)[0][0] for seen, counts in answers.items()}
    return sum(best.get(look(s.question)) == s.answer for s in samples[half:]) / (len(samples) - half)


def story(question: str) -> str:
    return question.partition(" Answer choices")[0]


PROBES: dict[str, Callable[[str], Hashable]] = {
    "nothing": lambda q: None,
    "letters": len,
    "letters before the choices": lambda q: len(story(q)),
    "words": lambda q: len(q.split()),
    "words before the choices": lambda q: len(story(q).split()),
    "full stops and commas": lambda q: (q.count("."), q.count(",")),
} | {f"word {i}": lambda q, i=i: story(q).split()[i] for i in (0, 1, 5, 6, 7, -2, -3, -4, -7)}  # type: ignore[misc]


def limit(chance: float) -> float:
    """Four standard errors above chance."""
    return chance + 4 * (chance * (1 - chance) / (N / 2)) ** 0.5


@pytest.mark.parametrize("name", ["coin_flip", *CHOICE_TASKS])
def test_no_length_and_no_place_in_a_question_tells_the_answer(name: str) -> None:
    samples = draw(name, N)
    chance = build(name).random_accuracy
    found = {probe: guess(samples, look) for probe, look in PROBES.items()}
    assert {probe: accuracy for probe, accuracy in found.items() if accuracy > limit(chance)} == {}


@pytest.mark.parametrize(("name", "share"), [("last_letter_concatenation", 0.002), ("multi_step_arithmetic", 0.09)])
def test_free_answers_cannot_be_guessed_from_length_or_place(name: str, share: float) -> None:
    """For numbers a share is left: small results are more frequent, and the last step narrows them."""
    samples = draw(name, N)
    found = {probe: guess(samples, look) for probe, look in PROBES.items()}
    assert {probe: accuracy for probe, accuracy in found.items() if accuracy > share} == {}


def test_all_coin_questions_have_one_length() -> None:
    assert len({len(sample.question) for sample in draw("coin_flip", 200)}) == 1


@each_task
def test_answers_to_choose_from_come_equally_often(name: str) -> None:
    task = build(name)
    for n in (task.n_classes, 10 * task.n_classes):
        counts = Counter(sample.answer for sample in task.samples("test", n))
        assert task.n_classes == 1 or set(counts.values()) == {n / task.n_classes}


def test_the_right_date_is_any_of_the_dates() -> None:
    task = build("date_understanding")
    ranks: Counter[int] = Counter()
    next_to_today = 0
    for sample in draw("date_understanding", N):
        problem = task.read(sample.question)
        assert len(set(problem.choices)) == 5
        right = problem.choices["ABCDE".index(sample.answer)]
        ranks[sorted(problem.choices).index(right)] += 1
        next_to_today += min(problem.choices, key=lambda day: abs(day - problem.today)) == right
    assert all(abs(count / N - 0.2) < 0.025 for count in ranks.values())
    assert next_to_today / N < 0.225


def test_the_right_object_is_anybodys() -> None:
    """Neither the asked person's first object nor the first or last one told is a better guess than another."""
    for n_objects, n_swaps in ((3, 3), (3, 4), (5, 3)):
        task = build("tracking_shuffled_objects", n_objects=n_objects, n_swaps=n_swaps)
        places: Counter[int] = Counter()
        own = 0
        for sample in task.samples("train", 3000):
            problem = task.read(sample.question)
            right = problem.choices["ABCDE".index(sample.answer)]
            places[problem.objects.index(right)] += 1
            own += problem.objects[problem.names.index(problem.asked)] == right
        for count in (*places.values(), own):
            assert abs(count / 3000 - 1 / n_objects) < 0.04


def test_words_and_names_are_of_one_length_and_letters_equally_frequent() -> None:
    assert {len(word) for word in WORDS} == {5}
    assert {len(name) for name in NAMES} == {3}
    assert set(Counter(word[-1] for word in WORDS).values()) == {5}
    assert len(set(NAMES)) == 40
    assert len(set(WORDS)) == 60
    assert min(NAMES) > "G"  # the paper's rule reads a capital A to F in a word as a choice


# Voices and hands.


@each_task
@pytest.mark.parametrize("verbosity", [0, 1, 2])
def test_every_voice_comes_once(name: str, verbosity: int) -> None:
    task: GeneratedTask[Any] = build(name)
    voices = task.voices(verbosity)
    problem = task.read(FIRST[name][0])
    texts = [
        task.reason(problem, voice_of_draw(voices, draw, random.Random(3)), Hand(1.0, random.Random(0))).text
        for draw in range(n_voices(voices))
    ]
    assert n_voices(voices) >= 32
    assert len(set(texts)) == len(texts)
    plain = task.reason(problem, plainest(voices), Hand(1.0, random.Random(0))).text
    assert plain in texts


def test_a_less_skilled_hand_makes_the_same_slips_and_more() -> None:
    def slips(skill: float) -> list[bool]:
        hand = Hand(skill, random.Random(5))
        return [hand.step(True, [False]) for _ in range(200)]

    good, fair, poor = slips(0.9), slips(0.7), slips(0.3)
    assert sum(good) > sum(fair) > sum(poor)
    assert all(a >= b >= c for a, b, c in zip(good, fair, poor, strict=True))


# Configs.


@each_task
def test_an_option_builds_its_task(name: str) -> None:
    task = build(name)
    assert isinstance(task, GeneratedTask)
    assert task.name == f"generated_{name}"
    assert task.answer_prompt == THEREFORE
    assert task.files() == ()
    assert task.demonstrations() is None
    task.answer.check(task.splits().test[0].answer)


def test_units_and_operations_from_yaml_make_a_hashable_task() -> None:
    assert hash(build("date_understanding")) == hash(build("date_understanding"))
    assert build("multi_step_arithmetic") == build("multi_step_arithmetic")


@each_task
def test_a_generated_task_brings_its_teacher_and_what_is_asked_for_wins(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [f"task=generated/{name}"])
        assert config.task.name == f"generated_{name}"
        assert config.teacher.name == "procedural"
        assert (config.diversity.degree, config.training.epochs) == (8, compose("config").training.epochs)
        config = compose("config", [f"task=generated/{name}", "diversity=greedy", "training=paper"])
        assert (config.diversity.degree, config.training.epochs) == (1, 20)


def test_the_class_needs_no_config() -> None:
    task = CoinFlip(name="mine", version=1, n_train=10, n_test=4, n_flips=3)
    assert {sample.task for sample in task.splits().train} == {"mine"}
