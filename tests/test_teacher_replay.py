"""Replaying recordings: which file is read, what is taken from it, what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftcot.answers import AnswerKind, Candidate, Number
from ftcot.errors import InputError
from ftcot.records import Completion, Sample, write_records
from ftcot.task import Demonstrations, Splits
from ftcot.teacher import Diversity, Session
from ftcot.teacher.replay import Replay
from ftcot.teacher.store import CompletionStore

GREEDY = Diversity(1, 0.0)
NUMBER = Number()

QUESTIONS = (
    ("Tom has 3 apples and eats 1. How many are left?", "2"),
    ("Ann has 4 pens and buys 2. How many has she?", "6"),
    ("Tom has 3 apples and eats 1. How many are left?", "2"),
    ("Bob runs 1,000 m twice. How far is that?", "2000"),
)
TRAIN = (0, 1, 2)


@dataclass(frozen=True)
class Sums:
    """Three training questions, of which the first and the last read the same, and a test question."""

    made_up: bool = False
    train_size: int | None = None
    name: str = "sums"
    version: int = 1
    answer: AnswerKind = NUMBER
    random_accuracy: float | None = 0.0
    answer_prompt: str = "\nTherefore, the answer is"
    filter_candidate: Candidate = "first"

    def splits(self) -> Splits:
        samples = [
            Sample(self.name, 1, index, *row, "train" if index in TRAIN else "test")
            for index, row in enumerate(QUESTIONS)
        ]
        return Splits(tuple(samples[: self.train_size or 3]), (), (samples[3],))

    def files(self) -> tuple[Path, ...]:
        return () if self.made_up else (Path("sums.json"),)

    def demonstrations(self) -> Demonstrations | None:
        return None


def row(index: int, **values: object) -> dict[str, object]:
    """A row of our JSONL, right and with its text."""
    question, answer = QUESTIONS[index]
    return {
        "task": "sums",
        "sample_index": index,
        "completion_index": 0,
        "question": question,
        "answer": answer,
        "prompt": f"Q: {question}\nA: Let's think step by step.",
        "rationale": f" It is {answer}.",
        "answer_prompt": "\nTherefore, the answer is",
        "answer_text": f" {answer}.",
        "temperature": 0,
    } | values


def kept(index: int, degree: int, count: int = 0) -> dict[str, object]:
    """A row of a recording that kept right completions only."""
    return row(index, answer_text=None, correct=True, min_diversity=degree, completion_index=count, temperature=0.7)


def pair(index: int, rationale: str = "So it is.") -> dict[str, object]:
    question, answer = QUESTIONS[index]
    return {"prompt": f"{question}\n\n###\n\n", "completion": f" {rationale}\n\n-->\n\n{answer} END"}


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(line) + "\n" for line in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def store(tmp_path: Path) -> CompletionStore:
    return CompletionStore(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def complete(
    teacher: Replay, store: CompletionStore, diversity: Diversity = GREEDY, task: Sums | None = None
) -> list[Completion]:
    task = task or Sums()
    return teacher.complete(task, task.splits().train, diversity, Session(store))


def check(teacher: Replay, diversity: Diversity = GREEDY, task: Sums | None = None) -> bool:
    task = task or Sums()
    return teacher.check(task, task.splits(), diversity)


PLACES = (
    "reasoning_teacher/finetune_data/P_openai/F_zs_cot_davinci_sums.jsonl",
    "recorded/davinci-paper/sums.correct_only.jsonl.gz",
    "recorded/davinci-paper/sums.jsonl",
)


def test_of_several_recordings_the_one_that_says_most_is_read(folder: Path, store: CompletionStore) -> None:
    teacher = Replay("davinci", folder)
    seen = []
    for place in PLACES:
        rows = [pair(0)] if "F_zs" in place else [row(0, rationale=place, correct=True)]
        if "correct_only" in place:
            rows[0]["answer_text"] = None
        path = write(folder / place, rows)
        assert teacher.files(Sums(), GREEDY) == (path,)
        seen.append((complete(teacher, store)[0].rationale, check(teacher)))
    assert seen == [("So it is.", True), (PLACES[1], True), (PLACES[2], False)]


def test_a_check_adds_nothing_to_the_cache(folder: Path, store: CompletionStore) -> None:
    write(folder / "recorded/davinci-paper/sums.jsonl", [row(0)])
    check(Replay("davinci", folder))
    assert not store.root.exists()


def test_completions_come_by_sample_then_draw(folder: Path, store: CompletionStore) -> None:
    path = write(folder / "mine.jsonl", [row(i, completion_index=c, temperature=None) for c in (1, 0) for i in (2, 0)])
    got = complete(Replay("davinci", None, path), store, Diversity(2, 0.7))
    assert [(c.sample_index, c.draw) for c in got] == [(0, 0), (0, 1), (2, 0), (2, 1)]


def test_a_second_call_reads_the_same_and_stores_nothing(folder: Path, store: CompletionStore) -> None:
    write(folder / "recorded/davinci-paper/sums.jsonl", [row(index) for index in TRAIN])
    teacher = Replay("davinci", folder)
    first = complete(teacher, store)
    sizes = {path: path.stat().st_size for path in store.root.rglob("*.jsonl")}
    assert complete(teacher, CompletionStore(store.root)) == first
    assert {path: path.stat().st_size for path in store.root.rglob("*.jsonl")} == sizes


def test_a_changed_recording_gives_its_new_completions(folder: Path, store: CompletionStore) -> None:
    teacher = Replay("davinci", folder)
    for rationale in ("old", "new"):
        write(folder / "recorded/davinci-paper/sums.jsonl", [row(0, rationale=rationale)])
        assert [c.rationale for c in complete(teacher, store)] == [rationale]


def test_verdicts_are_kept_only_where_their_text_is_not(folder: Path, store: CompletionStore) -> None:
    rows = [row(0, prediction="9", correct=False), row(1, answer_text=None, prediction="6", correct=True)]
    path = write(folder / "mine.jsonl", rows)
    with_text, without = complete(Replay("davinci", None, path), store)
    assert (with_text.prediction, with_text.correct) == (None, None)
    assert (without.prediction, without.correct) == ("6", True)


def test_completions_say_who_wrote_them_and_where_they_are_from(folder: Path, store: CompletionStore) -> None:
    path = write(folder / "mine.jsonl", [row(0, teacher="gpt-9", max_tokens_rationale=128)])
    assert complete(Replay("davinci", None, path), store)[0].teacher == {
        "name": "gpt-9",
        "temperature": 0,
        "max_tokens_rationale": 128,
        "recording": "mine.jsonl",
    }


def test_a_run_folders_completions_can_be_replayed(folder: Path, store: CompletionStore) -> None:
    source = write(folder / "recorded/davinci-paper/sums.jsonl", [row(index) for index in TRAIN])
    first = complete(Replay("davinci", folder), store)
    path = folder / "completions.jsonl"
    write_records(path, first)
    again = complete(Replay("davinci", None, path), store)
    assert [(c.sample_key, c.draw, c.rationale, c.answer_text) for c in again] == [
        (c.sample_key, c.draw, c.rationale, c.answer_text) for c in first
    ]
    assert source.name == first[0].teacher["recording"]


def test_draws_of_a_run_without_mistakes_stay_draws(folder: Path, store: CompletionStore) -> None:
    path = folder / "completions.jsonl"
    prompt = f"Q: {QUESTIONS[0][0]}"
    write_records(path, [Completion("sums", 1, 0, draw, prompt, "2", correct=True) for draw in range(4)])
    teacher = Replay("procedural", None, path)
    assert not check(teacher, Diversity(4, 0.7))
    assert [c.draw for c in complete(teacher, store, Diversity(2, 0.7))] == [0, 1]


def test_a_minimal_file_of_ones_own(folder: Path, store: CompletionStore) -> None:
    path = write(folder / "mine.jsonl", [{"sample_index": 1, "rationale": "4 + 2 = 6.", "answer_text": "6"}])
    (got,) = complete(Replay("me", None, path), store)
    assert (got.sample_index, got.draw, got.rationale, got.prompt) == (1, 0, "4 + 2 = 6.", None)


def test_a_byte_identical_recording_under_a_degree_of_its_own_is_kept_apart(
    folder: Path, store: CompletionStore
) -> None:
    path = write(folder / "pairs.jsonl", [pair(0, "a"), pair(0, "b"), pair(1)])
    teacher = Replay("davinci", None, path)
    for degree in (4, 2):
        got = complete(teacher, store, Diversity(degree, 0.7))
        assert [(c.sample_index, c.min_diversity, c.completion_index) for c in got] == [
            (0, degree, 0),
            (0, degree, 1),
            (1, degree, 0),
        ]


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [
        pytest.param("{q}\n\n###\n\n", " So.\n\n-->\n\n{a} END", id="special"),
        pytest.param("{q} ###", " So. --> {a} END", id="token"),
        pytest.param(
            "Q: {q}\n\nA: Let's think step by step.\n\n",
            " So.\n\nTherefore, the answer is\n\n{a} END",
            id="natural",
        ),
        pytest.param("{q} ###", " So. --> {a}", id="no stop phrase"),
    ],
)
def test_all_templates_of_fine_tuning_files_are_read(
    prompt: str, completion: str, folder: Path, store: CompletionStore
) -> None:
    question, answer = QUESTIONS[1]
    rows = [{"prompt": prompt.format(q=question), "completion": completion.format(a=answer)}]
    (got,) = complete(Replay("davinci", None, write(folder / "f.jsonl", rows)), store)
    assert (got.sample_index, got.rationale, got.correct, got.correct_only) == (1, "So.", True, True)


@pytest.mark.parametrize(
    ("order", "samples"),
    [
        pytest.param((0, 1, 2), [0, 1, 2], id="both"),
        pytest.param((1, 2), [1, 2], id="only the second"),
        pytest.param((0, 1), [0, 1], id="only the first"),
        pytest.param((0, 0, 1, 2, 2), [0, 0, 1, 2, 2], id="two rows each"),
    ],
)
def test_rows_of_a_repeated_question_go_by_their_place(
    order: tuple[int, ...], samples: list[int], folder: Path, store: CompletionStore
) -> None:
    path = write(folder / "f.jsonl", [pair(index) for index in order])
    got = complete(Replay("davinci", None, path), store, Diversity(2, 0.7))
    assert [completion.sample_index for completion in got] == samples


def test_rows_of_samples_left_out_by_train_size_are_left_out(folder: Path, store: CompletionStore) -> None:
    for path in (
        write(folder / "ours.jsonl", [row(index) for index in TRAIN]),
        write(folder / "pairs.jsonl", [pair(index) for index in TRAIN]),
    ):
        got = complete(Replay("davinci", None, path), store, task=Sums(train_size=2))
        assert [completion.sample_index for completion in got] == [0, 1]


def test_degrees_of_rows_with_unknown_draws(folder: Path, store: CompletionStore) -> None:
    rows = [kept(0, 1), kept(0, 4, 1), kept(1, 2), kept(1, 4, 1), kept(1, 4, 2)]
    write(folder / "recorded/davinci-t70/sums.jsonl.gz", rows)
    teacher = Replay("davinci", folder)
    counts = {degree: len(complete(teacher, store, Diversity(degree, 0.7))) for degree in (1, 2, 4)}
    assert counts == {1: 1, 2: 2, 4: 5}
    for degree in (3, 8):
        with pytest.raises(InputError, match=rf"diversity={degree}: davinci's recording of sums holds 1, 2 or 4 draws"):
            check(teacher, Diversity(degree, 0.7))


def test_draws_above_the_recorded_ones_are_refused(folder: Path) -> None:
    path = write(folder / "mine.jsonl", [row(0, completion_index=c, temperature=None) for c in range(3)])
    with pytest.raises(
        InputError, match=r"diversity=4: davinci's recording of sums holds 3 draws a question \(.*mine.jsonl\)"
    ):
        check(Replay("davinci", None, path), Diversity(4, 0.7))


def test_recordings_of_fewer_questions_serve_a_training_set_among_them(folder: Path, store: CompletionStore) -> None:
    write(folder / "recorded/davinci-t70/sums.jsonl", [kept(index, 2) for index in TRAIN])
    write(folder / "recorded/davinci-t70/sums.2shot.jsonl", [kept(0, 8), kept(0, 8, 1)])
    teacher = Replay("davinci", folder)
    eight = Diversity(8, 0.7)
    # One of the two questions kept nothing: the recording cannot show which, and it may well be the other.
    assert len(complete(teacher, store, eight, Sums(train_size=2))) == 2
    with pytest.raises(
        InputError, match=r"holds 2 draws a question .* for 2 questions only: .* or add task.train_size=2"
    ):
        check(teacher, eight)


@pytest.mark.parametrize(
    ("recorded", "asked", "hint"),
    [(0, Diversity(2, 0.7), "diversity=greedy"), (0.7, GREEDY, "diversity=2")],
)
def test_another_temperature_is_refused(recorded: float, asked: Diversity, hint: str, folder: Path) -> None:
    rows = [row(0, completion_index=index, temperature=recorded) for index in range(2)]
    with pytest.raises(InputError, match=rf"recorded at temperature {recorded:g}, .* {hint}"):
        check(Replay("davinci", None, write(folder / "mine.jsonl", rows)), asked)


def test_a_missing_recording_names_the_places_and_the_ways_out(folder: Path) -> None:
    write(folder / "recorded/text-davinci-003-paper/sums.correct_only.jsonl", [row(0)])
    with pytest.raises(InputError) as caught:
        check(Replay("davinci", folder))
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "no recording of davinci for sums at temperature 0",
        str(folder),
        "reasoning_teacher/completion_data/B_davinci__C_zs_cot/D_sums.json",
        "recorded/davinci-paper/sums.jsonl",
        "F_zs_cot_davinci_sums.jsonl",
        "text-davinci-003-paper",
        "teacher.path=FILE",
        "FTCOT_DATA",
    ):
        assert part in message


def test_a_missing_data_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        check(Replay("davinci", tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no data folder; set paths.data"):
        check(Replay("davinci", None))
    with pytest.raises(InputError, match=r"teacher.path=.*nowhere: no such file"):
        check(Replay("davinci", None, tmp_path / "nowhere"))


def test_generated_questions_have_no_recording(folder: Path) -> None:
    write(folder / "recorded/davinci-paper/sums.jsonl", [row(0)])
    with pytest.raises(InputError, match=r"generated; use teacher=procedural"):
        check(Replay("davinci", folder), task=Sums(made_up=True))


BAD_ROWS = {
    "other question": (row(1, question="Ann has 5 pens and buys 2. How many has she?"), "another question"),
    "other answer": (row(1, answer="7"), "gold answer '7' of sample_index 1 is '6'"),
    "no such sample": (row(1, sample_index=9), "sums has no sample_index 9"),
    "index as text": (row(1, sample_index="1"), "sample_index is '1'"),
    "another task": (row(1, task="svamp"), "of the task svamp, not sums"),
    "no rationale": (row(1, rationale=None), "no rationale"),
    "no verdict": (row(1, answer_text=None), "neither answer_text nor correct"),
    "rationale is no text": (row(1, rationale=5), "rationale is 5"),
    "draw is no number": (row(1, completion_index="x"), "completion_index is 'x'"),
    "temperature is no number": (row(1, temperature=[0.7]), r"temperature is \[0.7\]"),
    "a newer schema": (row(1, schema=9, teacher={}), "schema 9"),
    "a record without a teacher": (row(1, schema=1, teacher="davinci"), "teacher is 'davinci'"),
    "no pair of the task": ({"prompt": "Who? ###", "completion": " Me. --> 6 END"}, "sums has no such question"),
    "pair with another answer": (pair(1) | {"completion": " So. --> 7 END"}, "its answer '7' is '6' in sums"),
    "pair without rationale": (
        {"prompt": "Who?\n\n ### \n\n", "completion": " 6 END"},
        "no rationale, -->, and answer",
    ),
    "prompt without its end": (pair(1) | {"prompt": QUESTIONS[1][0]}, "does not end in ###"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_line_that_does_not_fit_is_named(name: str, folder: Path) -> None:
    bad, claim = BAD_ROWS[name]
    path = write(folder / "mine.jsonl", [pair(0) if "completion" in bad else row(0), bad])
    with pytest.raises(InputError, match=rf"mine\.jsonl, line 2: .*{claim}"):
        check(Replay("davinci", None, path))


def test_gold_may_be_written_in_another_way(folder: Path) -> None:
    path = write(
        folder / "mine.jsonl", [row(0, answer="2.0"), row(3, answer="2000.0", question=QUESTIONS[3][0].upper())]
    )
    assert not check(Replay("davinci", None, path))


def test_a_truncated_line_is_named(folder: Path) -> None:
    path = write(folder / "mine.jsonl", [row(0), row(1)])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"mine\.jsonl, line 2: not valid JSON"):
        check(Replay("davinci", None, path))


@pytest.mark.parametrize(
    ("name", "content", "claim"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("cut.jsonl.gz", gzip.compress(b'{"sample_index": 0}' * 99, mtime=0)[:20], "cannot be read"),
        ("text.jsonl", b"hello\n", "line 1: not valid JSON"),
        ("cut.json", b'{\n  "metadata": {},\n  "data": {\n', "not valid JSON"),
        ("other.json", b'{"metadata": {}, "data": {}}', "not a completion file of the authors"),
        (
            "rows.json",
            b'{"metadata": {"dataset_key": "sums", "base_model": "x"}, "data": {"0": [{}]}}',
            "not a completion",
        ),
        (
            "svamp.json",
            b'{"metadata": {"dataset_key": "svamp", "base_model": "x"}, "data": {}}',
            "of the task svamp, not sums",
        ),
        ("answers.jsonl", b'{"sample_index": 0, "answer_text": "2"}', "line 1: holds no rationale"),
        ("latin.jsonl", b"\xff\xfe\n", "not UTF-8"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(name: str, content: bytes, claim: str, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{claim}"):
        check(Replay("davinci", None, folder / name))


def test_a_recording_of_test_questions_only_teaches_nothing(folder: Path) -> None:
    path = write(folder / "mine.jsonl", [row(3)])
    with pytest.raises(InputError, match=r"no completion of any of the 3 training questions"):
        check(Replay("davinci", None, path))


def test_accuracy_counts_all_completions_of_all_splits_by_their_first_candidate(
    folder: Path, store: CompletionStore
) -> None:
    rows = [row(0), row(0, completion_index=1, answer_text=" 1, or 2"), row(1), row(3, answer_text=" 5")]
    teacher = Replay("davinci", None, write(folder / "mine.jsonl", rows))
    task = Sums()
    assert teacher.accuracy(task, task.splits(), complete(teacher, store)) == 0.5


@pytest.mark.data
def test_a_degree_above_the_papers_says_what_was_recorded(data_dir: Path) -> None:
    from ftcot.task.paper import PaperTask

    teacher = Replay("text-davinci-002", data_dir)
    task = PaperTask("multiarith", Number(), data_dir)
    with pytest.raises(InputError, match=r"holds 1, 2, 4, 8 or 16 draws .* or add task.train_size=128"):
        teacher.check(task, task.splits(), Diversity(64, 0.7))
    addsub = PaperTask("addsub", Number(as_float=True), data_dir)
    with pytest.raises(InputError, match=r"diversity=16: text-davinci-002's recording of addsub holds 8 draws"):
        teacher.check(addsub, addsub.splits(), Diversity(16, 0.7))


def test_an_unknown_order_of_draws_is_refused() -> None:
    with pytest.raises(InputError, match="draw_order=sorted: expected recorded or random"):
        Replay("", None, draw_order="sorted")
