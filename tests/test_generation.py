"""Many texts at once are what each would be alone: the engine under evaluation and the huggingface teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from ftcot.student import cache as packed
from ftcot.student import guesses
from ftcot.student.cache import PackedMemory
from ftcot.student.decoding import Ending, Memory, Room, Text, likeliest, write
from ftcot.student.waves import PaddedMemory, memory_of
from tests.student_models import random_student

pytestmark = pytest.mark.usefixtures("one_thread")

END = 7
UNKNOWN = 511
"""A token that the student can write and its tokenizer does not know."""
KINDS = ("gpt2", "llama", "llama-gqa", "opt", "neox", "qwen2", "t5")


@cache
def model_of(kind: str) -> Any:
    if kind != "llama-gqa":
        return random_student(kind).model.eval()
    torch.manual_seed(3)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 512}
    model = LlamaForCausalLM(
        LlamaConfig(**size, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2, eos_token_id=0)
    )
    return model.eval()


@cache
def alone(kind: str, prompt: tuple[int, ...], limit: int) -> tuple[list[int], int]:
    """What plain `generate` writes after one prompt, and how many tokens of it were clear choices."""
    model = model_of(kind)
    ids = torch.tensor([prompt])
    said = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=END,
        pad_token_id=END,
        output_logits=True,
        return_dict_in_generate=True,
    )
    new = said.sequences[0, 1 if kind == "t5" else len(prompt) :].tolist()
    gaps = [float((best := logits[0].topk(2).values)[0] - best[1]) for logits in said.logits]
    return new, next((i for i, gap in enumerate(gaps) if gap <= 1e-4), len(new))


def watched(memory: Memory, room: Room) -> Memory:
    """The memory, which fails where it holds more than it may."""
    step = memory.step

    def stepped() -> Any:
        if isinstance(memory, PackedMemory):
            held = list(memory.held)
            n_tokens = sum(one.band.width for one in held if one.band)
            assert len(held) <= 1 or room.tokens is None or n_tokens <= room.tokens
            assert len(held) <= 1 or room.texts is None or len(held) <= room.texts
            for band in memory.bands.values():
                assert [one.row for one in band.held] == list(range(len(band.held)))
        return step()

    memory.step = stepped  # type: ignore[method-assign]
    return memory


def greedy(memory: Memory, texts: Sequence[Text]) -> None:
    ending = Ending(frozenset({END}), (), str)
    with torch.inference_mode():
        for ended in write(memory, texts, lambda logits, _: likeliest(logits), ending):
            assert all(text.ended for text in ended)


tokens = st.integers(8, 400)
prompts = st.lists(tokens, min_size=1, max_size=40).map(tuple)


@st.composite
def asked(draw: Callable[..., Any]) -> list[tuple[tuple[int, ...], int]]:
    """Prompts and limits: some prompts come several times, some begin alike."""
    shown = draw(st.lists(tokens, min_size=0, max_size=30).map(tuple))
    some = draw(st.lists(prompts | prompts.map(lambda prompt: shown + prompt), min_size=1, max_size=6))
    chosen = draw(st.lists(st.tuples(st.sampled_from(some), st.sampled_from((1, 2, 9, 24))), min_size=1, max_size=10))
    return sorted(chosen, key=lambda one: one[0]) if draw(st.booleans()) else chosen


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(
    wanted=asked(),
    tokens_room=st.sampled_from((None, 1, 40, 128, 300, 2000)),
    texts_room=st.sampled_from((None, 1, 3)),
    shortest=st.sampled_from((4, 16, 128)),
    shared=st.sampled_from((2, 24, 10**9)),
    same=st.sampled_from((None, 1, 2, 16)),
    packs=st.booleans(),
)
def test_texts_are_what_generate_writes_one_by_one(
    kind: str,
    wanted: list[tuple[tuple[int, ...], int]],
    tokens_room: int | None,
    texts_room: int | None,
    shortest: int,
    shared: int,
    same: int | None,
    packs: bool,
) -> None:
    room, model = Room(tokens_room, texts_room), model_of(kind)
    texts = [Text(prompt, limit) for prompt, limit in wanted]
    family: Any = "encoder_decoder" if kind == "t5" else "decoder"
    with (
        mock.patch.object(packed, "SHORTEST", shortest),
        mock.patch.object(packed, "SHARED", shared),
        mock.patch.object(guesses, "SAME", same or guesses.SAME),
    ):
        memory = memory_of(model, family, room, guess=same is not None) if packs else PaddedMemory(model, family, room)
        assert isinstance(memory, PackedMemory) == (packs and kind != "t5")
        greedy(watched(memory, room), texts)
    for text in texts:
        expected, n_clear = alone(kind, text.prompt, text.limit)
        assert text.ids[:n_clear] == expected[:n_clear]
        if n_clear == len(expected):
            assert text.ids == expected
            assert text.ended == ("end" if expected[-1] == END else "limit")


def counted(model: Any, work: Callable[[], None]) -> list[int]:
    """How many tokens go through the model in each of its steps."""
    steps: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _module, _arguments, inputs: steps.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    work()
    hook.remove()
    return steps


def test_nothing_goes_through_the_model_that_is_not_needed() -> None:
    model = model_of("gpt2")
    texts = [Text(tuple(range(8, 8 + n)), limit) for n, limit in ((20, 3), (9, 5), (6, 2))]
    steps = counted(model, lambda: greedy(PackedMemory(model, Room()), texts))
    # Three prompts; then a token of each that has not ended.
    assert steps == [20 + 9 + 6, 3, 2, 1, 1]


def test_a_text_that_repeats_itself_takes_few_steps() -> None:
    model = model_of("neox")
    plain, tried = Text((9, 10, 11), 120), Text((9, 10, 11), 120)
    assert len(counted(model, lambda: greedy(PackedMemory(model, Room()), [plain]))) == 120
    assert len(counted(model, lambda: greedy(PackedMemory(model, Room(), guess=True), [tried]))) < 60
    assert tried.ids == plain.ids


def test_a_prompt_enters_as_soon_as_a_text_has_ended() -> None:
    model = model_of("gpt2")
    texts = [Text((30, 31, 32, 33), 3), Text((40, 41), 8), Text((50, 51, 52), 4)]
    steps = counted(model, lambda: greedy(PackedMemory(model, Room(texts=2)), texts))
    assert [len(text.ids) for text in texts] == [3, 8, 4]
    assert steps == [4 + 2, 2, 2, 3 + 1, 2, 2, 2, 1]


def test_a_long_beginning_goes_through_the_model_once() -> None:
    model = model_of("llama")
    shown = tuple(range(100, 160))
    texts = [Text((*shown, *rest), 2) for rest in ((8, 9), (10, 11, 12), (13,), (8, 9))]
    steps = counted(model, lambda: greedy(PackedMemory(model, Room()), texts))
    assert sum(steps) == len(shown) + (2 + 3 + 1) + len(texts) + 1  # the last prompt is the first one's: its end again


def test_a_text_that_was_interrupted_goes_on_where_it_was() -> None:
    model = model_of("qwen2")
    whole, begun = Text(tuple(range(9, 30)), 12), Text(tuple(range(9, 30)), 12)
    greedy(PackedMemory(model, Room()), [whole])
    begun.ids = whole.ids[:5]
    steps = counted(model, lambda: greedy(PackedMemory(model, Room()), [begun]))
    assert begun.ids == whole.ids
    assert len(steps) == len(whole.ids) - 5


@settings(max_examples=200)
@given(st.lists(st.integers(1, 511) | st.just(UNKNOWN), min_size=1, max_size=30), st.data())
def test_a_text_ends_at_the_token_that_completes_a_stop_phrase(ids: list[int], data: st.DataObject) -> None:
    student = random_student("gpt2")
    whole = student._text(ids)
    start = data.draw(st.integers(0, max(0, len(whole) - 1)))
    phrase = whole[start : start + data.draw(st.integers(1, 6))] or "-->"
    other = data.draw(st.sampled_from(("-->", "\n", "é", " ")))
    ending, text = Ending(frozenset(), (phrase, other), student._text), Text((1,), 10**6)
    assert student._text([UNKNOWN]) == ""
    first = next(
        (n for n in range(1, len(ids) + 1) if any(stop in student._text(ids[:n]) for stop in (phrase, other))), None
    )
    for token in ids:
        ending.add(text, token)
        if text.ended:
            break
    assert (len(text.ids) if text.ended else None) == first
    said = ending.before(text.ids)
    assert phrase not in said
    assert other not in said


def test_the_likeliest_token_is_the_first_of_equals() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [float("-inf"), float("-inf"), -9.0]])
    assert likeliest(logits) == likeliest(logits.double()) == [1, 2]
