"""What students write: batched or alone, with stop phrases, at the end of their context."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from ftcot.student.language_model import LanguageModel
from ftcot.student.specs import Decoder, EncoderDecoder
from tests.student_models import (
    PAIRS,
    PROMPTS,
    SIZES,
    agree,
    gpt2_with_real_tokenizer,
    greedy_by_hand,
    random_student,
    stories260k,
    trained_student,
)


@pytest.fixture(scope="module", params=["llama", "t5"])
def trained(request: pytest.FixtureRequest) -> LanguageModel:
    return trained_student(request.param)


@pytest.mark.parametrize("kind", SIZES)
def test_a_batch_is_answered_as_one_by_one(kind: str) -> None:
    student = random_student(kind)
    assert agree(student, PROMPTS, 12, 1, 300, 16384) >= len(PROMPTS) - 1


def test_students_that_end_their_texts_are_batched_as_one_by_one(trained: LanguageModel) -> None:
    prompts = [prompt for prompt, _ in PAIRS[::3]] + PROMPTS[-5:]
    assert agree(trained, prompts, 40, 1, 512, 16384) >= len(prompts) - 1
    assert not all(one.truncated for one in trained.generate(prompts, max_new_tokens=40, batch_tokens=8 * 128))


@pytest.mark.models
def test_stories260k_is_batched_as_one_by_one(models_dir: Path) -> None:
    prompts = [
        "Once upon a time",
        "Lily went to the park. She saw a big",
        "",
        "The cat",
        "One day, Tom and his mom " * 5,
    ]
    assert agree(stories260k(models_dir), prompts, 40, 1, 600, 16384) == 5


@pytest.mark.models
def test_stories260k_tells_its_own_story(models_dir: Path) -> None:
    """Source: the sample in the checkpoint's README, taken from llama2.c."""
    (story,) = stories260k(models_dir).generate([""], max_new_tokens=60, batch_tokens=1)
    assert story.text.startswith(
        " Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    )


@pytest.mark.models
def test_text_goes_on_after_the_prompt_with_the_space_between(models_dir: Path) -> None:
    student = stories260k(models_dir)
    (generation,) = student.generate(["Once upon a time, there was a little girl"], max_new_tokens=3, batch_tokens=1)
    assert generation.text.startswith(" named")
    assert student._text(student.encode("She saw", " a big 😀 ball.").target_ids) == " a big 😀 ball."


@pytest.mark.models
def test_gpt2_whose_padding_is_its_end_is_batched_as_one_by_one(models_dir: Path) -> None:
    student = gpt2_with_real_tokenizer(models_dir)
    assert student.tokenizer.pad_token_id == student.tokenizer.eos_token_id == 50256
    prompts = [prompt for prompt, _ in PAIRS[:6]] + ["a", "Hello world, the answer is 42." * 6]
    assert agree(student, prompts, 10, 300, 16384) >= 7


def test_answers_come_in_the_order_of_the_prompts_and_progress_ends_at_all(trained: LanguageModel) -> None:
    prompts = [prompt for prompt, _ in PAIRS]
    seen: list[tuple[int, int]] = []
    together = trained.generate(
        prompts, max_new_tokens=30, batch_tokens=5 * 128, progress=lambda done, total: seen.append((done, total))
    )
    alone = [trained.generate([prompt], max_new_tokens=30, batch_tokens=1)[0] for prompt in prompts]
    assert together == alone
    assert seen[-1] == (27, 27)
    assert seen == sorted(seen)


def test_a_text_ends_before_the_stop_phrase_in_every_row_by_itself(trained: LanguageModel) -> None:
    prompts = [prompt for prompt, _ in PAIRS[:9]]
    free = trained.generate(prompts, max_new_tokens=40, batch_tokens=9 * 128)
    stopped = trained.generate(prompts, max_new_tokens=40, batch_tokens=9 * 128, stop="-->")
    assert any("-->" in one.text for one in free)
    for whole, cut in zip(free, stopped, strict=True):
        assert cut.text == whole.text.partition("-->")[0]
        if "-->" in whole.text:
            assert not cut.truncated
            assert cut.n_tokens < whole.n_tokens


def test_a_stop_phrase_in_the_prompt_stops_nothing(trained: LanguageModel) -> None:
    prompt = PAIRS[0][0]
    assert trained.generate([prompt], max_new_tokens=9, batch_tokens=1, stop="#") == trained.generate(
        [prompt], max_new_tokens=9, batch_tokens=1
    )


@pytest.mark.parametrize("kind", ["gpt2", "opt", "neox", "llama"])
def test_a_text_ends_with_the_context(kind: str) -> None:
    student = random_student(kind)
    student.context = 128
    row = student._prompt("Ann has 6 hats. " * 40)
    prompts = [student._text(row[:n]) for n in (3, 100, 126)] + ["Ann has 6 hats. " * 40]
    lengths = [len(student._prompt(prompt)) for prompt in prompts]
    assert lengths[:3] == [3, 100, 126]
    generations = student.generate(prompts, max_new_tokens=60, batch_tokens=4 * 128)
    for generation, length in zip(generations, lengths, strict=True):
        assert generation.n_tokens <= max(0, 128 - length)
        assert generation.truncated == (generation.n_tokens == min(60, max(0, 128 - length)))
    assert generations[3].text == ""
    assert agree(student, prompts[:1], 60, 512) == 1


def test_bart_reads_what_its_encoder_has_positions_for() -> None:
    (generation,) = random_student("bart").generate(["Ann has 6 hats. " * 99], max_new_tokens=999, batch_tokens=1)
    assert 0 < generation.n_tokens <= 127


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_stays_and_training_goes_on_after_generation(training: bool) -> None:
    student = random_student("gpt2")
    student.model.train(training)
    student.generate(["Ann"], max_new_tokens=3, batch_tokens=1)
    assert student.model.training is training
    student.loss(student.collate([student.encode(*PAIRS[0])])).backward()
    assert student.model.transformer.wte.weight.grad is not None


def test_the_mode_stays_when_generation_fails() -> None:
    student = random_student("llama")
    with pytest.raises(ZeroDivisionError):
        student.generate(["Ann"], max_new_tokens=3, batch_tokens=1, progress=lambda done, total: 1 // 0)
    assert student.model.training


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_checkpoints_own_generation_settings_have_no_say(kind: str, tmp_path: Path) -> None:
    student = random_student(kind)
    expected = student.generate(PROMPTS, max_new_tokens=12, batch_tokens=4 * 128)
    student.save(tmp_path / "student")
    path = tmp_path / "student" / "generation_config.json"
    settings = json.loads(path.read_text()) | {
        "do_sample": True, "temperature": 3.0, "top_k": 5, "top_p": 0.5, "repetition_penalty": 9.0, "max_length": 5,
        "no_repeat_ngram_size": 1, "min_new_tokens": 8, "suppress_tokens": [7], "num_beams": 3, "length_penalty": 2.0,
    }  # fmt: skip
    path.write_text(json.dumps(settings))
    spec = EncoderDecoder if kind == "t5" else Decoder
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = spec("x", checkpoint=str(tmp_path / "student")).load([], 0)
        assert loaded.generate(PROMPTS, max_new_tokens=12, batch_tokens=4 * 128) == expected


def test_the_ends_a_checkpoint_names_beside_its_tokenizers_end_a_text_too(tmp_path: Path) -> None:
    student = random_student("llama")
    tokens, _ = greedy_by_hand(student, PROMPTS[0], 8)
    student.save(tmp_path / "student")
    path = tmp_path / "student" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [0, tokens[3]]}))
    loaded = Decoder("x", checkpoint=str(tmp_path / "student")).load([], 0)
    (generation,) = loaded.generate(PROMPTS[:1], max_new_tokens=8, batch_tokens=1)
    assert generation.n_tokens == tokens.index(tokens[3]) + 1
    assert not generation.truncated


@pytest.mark.parametrize("kind", ["llama", "t5", "gpt2"])
def test_a_saved_student_answers_the_same_in_plain_transformers(kind: str, tmp_path: Path) -> None:
    student = random_student(kind)
    student.save(tmp_path / "student", card="# A card\n")
    student.save(tmp_path / "student", card="# Another card\n")
    auto = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM
    model = auto.from_pretrained(tmp_path / "student")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "student")
    prompt = PAIRS[0][0]
    output = model.generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=12)
    new = output[0, 1 if kind == "t5" else len(tokenizer(prompt).input_ids) :]
    (generation,) = student.generate([prompt], max_new_tokens=12, batch_tokens=1)
    assert tokenizer.decode(new, skip_special_tokens=True) == generation.text
    assert (tmp_path / "student" / "README.md").read_text() == "# Another card\n"
    assert (tmp_path / "student" / "model.safetensors").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["student"]
    for name, tensor in student.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)
