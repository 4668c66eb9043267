"""The teacher on vLLM's engine, against a module that stands in for vLLM: it needs a GPU, which tests have not.

What of vLLM is used has here the very signatures of version 0.33.0, read from its wheel. To compare them with another
version, unpack its wheel and name the folder: FTCOT_VLLM_SOURCE=FOLDER pytest tests/test_vllm.py
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import hashlib
import importlib.machinery
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from ftcot.errors import InputError, JobError
from ftcot.records import Completion, read_records
from ftcot.task import Splits
from ftcot.teacher import Diversity
from ftcot.teacher.asks import TOO_LONG, Ask, Decoding, Reply, Turn, seed_of
from ftcot.teacher.vllm import VLLM
from tests.scripted_backend import Collector

READ = "0.33.0"
"""The version whose signatures these are."""

AT_ONCE = 4
"""Requests that the engine here works on together; the others wait."""

CONTEXT = 64


# vLLM as far as it is used


class RequestOutputKind(enum.Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


class VLLMError(Exception):
    pass


class VLLMClientError(VLLMError):
    pass


class EngineDeadError(VLLMError):
    pass


@dataclasses.dataclass
class SamplingParams:
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    watermarking: bool | None = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    prompt_logprob_token_ids: Any = None
    prompt_logprob_start: int | None = None
    logprob_token_ids: list[int] | None = None
    flat_logprobs: bool = False
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE

    def __post_init__(self) -> None:
        assert 0 <= self.temperature <= 2
        assert 0 < self.top_p <= 1
        assert self.max_tokens is not None
        assert self.max_tokens >= 1
        assert isinstance(self.stop, list)
        assert all(self.stop)


@dataclasses.dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: Any
    routed_experts: Any = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclasses.dataclass
class RequestOutput:
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int] | None
    prompt_logprobs: Any
    outputs: list[CompletionOutput]
    finished: bool
    metrics: Any = None
    lora_request: Any = None
    encoder_prompt: str | None = None
    encoder_prompt_token_ids: list[int] | None = None
    num_cached_tokens: int | None = None


def tokens_input(
    prompt_token_ids: list[int], *, prompt: str | None = None, cache_salt: str | None = None
) -> dict[str, Any]:
    return {"type": "token", "prompt_token_ids": prompt_token_ids}


class EngineCoreClient:
    def __init__(self) -> None:
        self.running = True

    def shutdown(self, timeout: float | None = None) -> None:
        self.running = False


class LLMEngine:
    def __init__(self, model_config: Any) -> None:
        self.model_config = model_config
        self.engine_core = EngineCoreClient()
        self.waiting: list[tuple[str, dict[str, Any], SamplingParams, list[int]]] = []
        self.seen: list[SamplingParams] = []
        self.most = self.n_steps = 0
        self.aborted: list[str] = []
        self.fault: Callable[[LLMEngine], None] = lambda engine: None
        self.finish = "stop"

    def add_request(
        self,
        request_id: str,
        prompt: Any,
        params: Any,
        arrival_time: float | None = None,
        lora_request: Any = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        trace_headers: Mapping[str, str] | None = None,
        priority: int = 0,
        session_id: str | None = None,
        prompt_text: str | None = None,
        kv_hints: Any = None,
    ) -> str:
        assert isinstance(request_id, str)
        assert prompt["type"] == "token"
        if len(prompt["prompt_token_ids"]) >= self.model_config.max_model_len:
            raise VLLMClientError("The decoder prompt is longer than the maximum model length")
        if any(request_id == waiting for waiting, *_ in self.waiting):
            raise AssertionError("a request id twice")
        self.waiting.append((request_id, prompt, params, []))
        self.seen.append(params)
        self.most = max(self.most, len(self.waiting))
        return f"{request_id}-0123abcd"  # the engine's own name for it

    def step(self) -> list[Any]:
        """A token for each of the first few; each text is as long as its seed says."""
        self.n_steps += 1
        self.fault(self)
        outputs = []
        for request_id, prompt, params, tokens in self.waiting[:AT_ONCE]:
            tokens.append(len(tokens))
            length = 1 + (params.seed or 0) % 7
            if len(tokens) < min(length, params.max_tokens or 16):
                assert params.output_kind is RequestOutputKind.FINAL_ONLY
                continue
            said = f"{prompt['prompt_token_ids']} {params.seed} {params.temperature}"
            text = " " + hashlib.sha256(said.encode()).hexdigest()[:8]
            finish = self.finish if len(tokens) == length else "length"
            output = CompletionOutput(0, text, list(tokens), None, None, finish_reason=finish)
            ids = prompt["prompt_token_ids"]
            outputs.append(RequestOutput(request_id, None, ids, None, [output], True, num_cached_tokens=16))
        done = {output.request_id for output in outputs}
        self.waiting = [request for request in self.waiting if request[0] not in done]
        return outputs

    def abort_request(self, request_ids: list[str], internal: bool = False) -> None:
        assert not internal
        self.aborted += request_ids
        self.waiting = [request for request in self.waiting if request[0] not in request_ids]


class LLM:
    made: ClassVar[list[LLM]] = []

    def __init__(self, model: str, *, dtype: str = "auto", tensor_parallel_size: int = 1, **kwargs: Any) -> None:
        from transformers import AutoTokenizer

        if kwargs.get("gpu_memory_utilization") == 2:
            raise ValueError("Engine core initialization failed.\nSee root cause above.")
        self.arguments = {"model": model, "dtype": dtype, "tensor_parallel_size": tensor_parallel_size} | kwargs
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model_config = type("ModelConfig", (), {"max_model_len": kwargs.get("max_model_len", CONTEXT)})()
        self.llm_engine = LLMEngine(self.model_config)
        LLM.made.append(self)

    def get_tokenizer(self) -> Any:
        return self.tokenizer


MODULES: dict[str, dict[str, Any]] = {
    "vllm": {"LLM": LLM, "SamplingParams": SamplingParams, "__version__": READ},
    "vllm.inputs": {"tokens_input": tokens_input},
    "vllm.sampling_params": {"SamplingParams": SamplingParams, "RequestOutputKind": RequestOutputKind},
    "vllm.exceptions": {"VLLMClientError": VLLMClientError},
    "vllm.v1": {},
    "vllm.v1.engine": {},
    "vllm.v1.engine.exceptions": {"EngineDeadError": EngineDeadError},
}


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[LLM]]:
    """vLLM, installed."""
    for name, names in MODULES.items():
        module = ModuleType(name)
        module.__dict__.update(names, __spec__=importlib.machinery.ModuleSpec(name, None, is_package=True))
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    LLM.made.clear()
    yield LLM
    LLM.made.clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint: its weights are never read here."""
    from tests.student_models import random_student

    path = tmp_path_factory.mktemp("models") / "a-llama"
    random_student("llama").save(path)
    return path


def ask(index: int, text: str = "Ann has 6 hats.", draws: Sequence[int] = (0,), temperature: float = 0.7) -> Ask:
    return Ask(("task", 1, index), tuple(draws), (Turn("user", text),), Decoding(temperature, 12, 0.9, ("Q:",)))


# The engine


def test_every_draw_is_a_request_with_a_seed_of_its_own(vllm: type[LLM], folder: Path) -> None:
    asks = [ask(i, draws=range(4)) for i in range(5)]
    replies = Collector().run(VLLM(model=str(folder)).backend(), asks)
    assert sorted((reply.ask.sample[2], reply.draw) for reply in replies) == [
        (i, d) for i in range(5) for d in range(4)
    ]
    (llm,) = vllm.made
    seen = llm.llm_engine.seen
    assert [params.seed for params in seen] == [
        seed_of(0, one.sample, d, "rationale") for one in asks for d in range(4)
    ]
    assert {(p.n, p.temperature, p.top_p, p.max_tokens, tuple(p.stop or ())) for p in seen} == {
        (1, 0.7, 0.9, 12, ("Q:",))
    }


def test_a_draw_says_the_same_whichever_others_are_asked_for(vllm: type[LLM], folder: Path) -> None:
    def said(*draws: int) -> dict[int, str]:
        replies = Collector().run(VLLM(model=str(folder)).backend(), [ask(1, draws=draws)])
        return {reply.draw: reply.text for reply in replies}

    whole = said(0, 1, 2, 3, 4, 5, 6, 7)
    assert len(set(whole.values())) == 8
    assert said(5, 2) == {draw: whole[draw] for draw in (2, 5)}


def test_replies_bear_usage_and_version(vllm: type[LLM], folder: Path) -> None:
    replies = Collector().run(VLLM(model=str(folder)).backend(), [ask(0, draws=(0, 1, 2))])
    n_prompt = [reply.usage["prompt"] for reply in replies if reply.usage]
    assert n_prompt[0] > 0
    assert n_prompt[1:] == [0, 0], "the prompt was computed once"
    assert all(reply.usage and 0 < reply.usage["completion"] <= 12 for reply in replies)
    assert {(reply.model, reply.server) for reply in replies} == {("a-llama", "vllm 0.33.0")}
    assert all(reply.raw and reply.raw["cached_tokens"] == 16 for reply in replies)


def test_the_engine_has_no_more_requests_than_it_may(vllm: type[LLM], folder: Path) -> None:
    collector = Collector()
    collector.run(VLLM(model=str(folder), concurrency=6).backend(), [ask(i) for i in range(40)])
    (llm,) = vllm.made
    assert len(collector.replies) == 40
    assert llm.llm_engine.most == 6


def test_what_replies_give_rise_to_is_asked_too(vllm: type[LLM], folder: Path) -> None:
    def answer(reply: Reply) -> list[Ask]:
        if reply.ask.part == "answer":
            return []
        return [Ask(reply.ask.sample, (reply.draw,), (Turn("user", reply.text),), Decoding(0.0, 3), "answer")]

    replies = Collector(following=answer).run(
        VLLM(model=str(folder)).backend(), [ask(i, draws=(0, 1)) for i in range(9)]
    )
    assert sorted((r.ask.sample[2], r.draw, r.ask.part) for r in replies) == sorted(
        (i, draw, part) for i in range(9) for draw in (0, 1) for part in ("rationale", "answer")
    )


def test_a_prompt_that_is_too_long_is_recorded_and_never_sent(vllm: type[LLM], folder: Path) -> None:
    long, other = Collector().run(VLLM(model=str(folder)).backend(), [ask(0, "long " * 70), ask(1)])
    assert (long.finish_reason, long.text) == (TOO_LONG, "")
    assert "takes 64" in str(long.raw)
    assert other.text
    (llm,) = vllm.made
    assert len(llm.llm_engine.seen) == 1


def test_a_prompt_that_leaves_little_room_asks_for_no_more(vllm: type[LLM], folder: Path) -> None:
    Collector().run(VLLM(model=str(folder), context=16).backend(), [ask(0)])
    (llm,) = vllm.made
    n_prompt = len(llm.tokenizer("Ann has 6 hats.")["input_ids"])
    assert llm.llm_engine.seen[0].max_tokens == 16 - n_prompt


@dataclasses.dataclass
class StopsSoon(Collector):
    looks: int = 8

    def stopping(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_asked_to_stop_it_delivers_what_has_ended_and_aborts_the_others(vllm: type[LLM], folder: Path) -> None:
    control = StopsSoon()
    Collector.run(control, VLLM(model=str(folder)).backend(), [ask(0, draws=range(40))])
    (llm,) = vllm.made
    assert 0 < len(control.replies) < 40
    assert len(control.replies) + len(llm.llm_engine.aborted) == 40
    assert not llm.llm_engine.waiting


def test_an_engine_that_dies_ends_the_job_with_what_had_ended_kept(vllm: type[LLM], folder: Path) -> None:
    backend = VLLM(model=str(folder)).backend()

    def die(engine: LLMEngine) -> None:
        if engine.n_steps > 9:
            raise EngineDeadError("EngineCore encountered an issue.")

    backend.llm.llm_engine.fault = die
    collector = Collector()
    with pytest.raises(JobError, match="its engine died"):
        collector.run(backend, [ask(0, draws=range(40))])
    assert 0 < len(collector.replies) < 40


def test_a_request_that_the_engine_gives_up_is_left_for_another_time(vllm: type[LLM], folder: Path) -> None:
    backend = VLLM(model=str(folder)).backend()
    backend.llm.llm_engine.finish = "error"
    collector = Collector()
    collector.run(backend, [ask(0, draws=(0, 3))])
    given_up = {(one.draws, cause) for one, cause in collector.abandoned}
    assert given_up == {((draw,), "vLLM gave a request up (error)") for draw in (0, 3)}


def test_the_engine_is_shut_down_with_its_backend(vllm: type[LLM], folder: Path) -> None:
    backend = VLLM(model=str(folder)).backend()
    Collector().run(backend, [ask(0)])
    core = vllm.made[0].llm_engine.engine_core
    assert core.running
    del backend
    assert not core.running


def test_the_engine_gets_its_arguments_and_no_pickles(vllm: type[LLM], folder: Path) -> None:
    llm = VLLM(model=str(folder), tensor_parallel_size=2, dtype="bfloat16", engine={"max_model_len": 32}).load()
    assert llm.arguments == {
        "model": str(folder),
        "dtype": "bfloat16",
        "tensor_parallel_size": 2,
        "load_format": "safetensors",
        "max_model_len": 32,
    }


def test_an_engine_that_does_not_start_ends_the_job_in_one_line(vllm: type[LLM], folder: Path) -> None:
    with pytest.raises(JobError, match=r"does not start with .*initialization failed\. See root cause") as error:
        VLLM(model=str(folder), engine={"gpu_memory_utilization": 2}).load()
    assert "\n" not in str(error.value)


# What the launcher refuses


def check(teacher: VLLM, temperature: float = 0.7) -> None:
    task: Any = type("NoTask", (), {"name": "none"})()
    teacher.check(task, Splits((), (), ()), Diversity(2, temperature))


@pytest.mark.skipif("vllm" in sys.modules, reason="vLLM is installed")
def test_without_the_package_it_says_how_to_get_it(folder: Path) -> None:
    teacher = VLLM(model=str(folder))
    check(teacher)  # what is stored can be used without it
    assert "pip install vllm" in str(teacher.lack())
    with pytest.raises(InputError, match=r"pip install vllm.*teacher=api"):
        teacher.reach()
    with pytest.raises(InputError, match="pip install vllm"):
        Collector().run(teacher.backend(), [ask(0)])


def test_with_the_package_nothing_is_lacking(vllm: type[LLM], folder: Path) -> None:
    assert VLLM(model=str(folder)).lack() is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tensor_parallel_size": 0}, "teacher.tensor_parallel_size=0"),
        ({"concurrency": 0}, "teacher.concurrency=0"),
        ({"engine": {"dtype": "half"}}, r"teacher\.engine\.dtype: teacher\.dtype says it"),
        ({"engine": {"trust_remote_code": True}}, "remote code is never run"),
        ({"dtype": "int8"}, "teacher.dtype=int8"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        VLLM(**({"model": "x"} | settings))


def test_a_temperature_that_vllm_does_not_take_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"diversity\.temperature=2\.5: vLLM takes 2\.0"):
        check(VLLM(model=str(folder)), 2.5)


def test_an_encoder_decoder_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "t5")
    (tmp_path / "t5" / "config.json").write_text(
        '{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}'
    )
    with pytest.raises(InputError, match="use teacher=huggingface with it"):
        check(VLLM(model=str(tmp_path / "t5")))


# A whole run


def test_a_pipeline_teaches_with_it(vllm: type[LLM], folder: Path, pipeline_run: Callable[..., Path]) -> None:
    run = pipeline_run(
        *("task=generated/coin_flip", "task.train_size=4", "teacher=vllm", f"teacher.model={folder}", "diversity=4"),
        *("teacher.engine={max_model_len: 512}", "teacher.prompting.max_tokens=16", "until=teach"),
    )
    completions = read_records(run / "completions.jsonl", Completion)
    assert len(completions) == 16
    assert all(row.answer_text and row.cost_usd == 0 for row in completions)


# The signatures


USED: dict[str, dict[str, Callable[..., Any]]] = {
    "vllm/entrypoints/llm.py": {"LLM.get_tokenizer": LLM.get_tokenizer},
    "vllm/v1/engine/llm_engine.py": {
        "LLMEngine.add_request": LLMEngine.add_request,
        "LLMEngine.step": LLMEngine.step,
        "LLMEngine.abort_request": LLMEngine.abort_request,
    },
    "vllm/v1/engine/core_client.py": {"EngineCoreClient.shutdown": EngineCoreClient.shutdown},
    "vllm/inputs/engine.py": {"tokens_input": tokens_input},
}


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def declared(tree: ast.AST, name: str) -> Any:
    *owner, last = name.split(".")
    for part in owner:
        tree = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == part)
    return next(node for node in ast.walk(tree) if getattr(node, "name", None) == last)


@pytest.mark.skipif("FTCOT_VLLM_SOURCE" not in os.environ, reason="needs an unpacked wheel of vLLM")
def test_the_stand_in_has_the_signatures_of_vllm() -> None:
    source = Path(os.environ["FTCOT_VLLM_SOURCE"])

    def tree(path: str) -> ast.Module:
        return ast.parse((source / path).read_text(encoding="utf-8"))

    for path, functions in USED.items():
        for name, function in functions.items():
            arguments = declared(tree(path), name).args
            names = [argument.arg for argument in (*arguments.args, *arguments.kwonlyargs) if argument.arg != "self"]
            assert names == parameters(function), name
    sampling = declared(tree("vllm/sampling_params.py"), "SamplingParams")
    fields = [ast.unparse(node.target) for node in sampling.body if isinstance(node, ast.AnnAssign)]
    mine = [field.name for field in dataclasses.fields(SamplingParams)]
    assert fields[: len(mine)] == mine
    made = declared(tree("vllm/entrypoints/llm.py"), "LLM.__init__").args
    assert {"model"} == {argument.arg for argument in made.args} - {"self"}
    assert {"dtype", "tensor_parallel_size"} <= {argument.arg for argument in made.kwonlyargs}
    outputs = tree("vllm/outputs.py")
    fields = [ast.unparse(n.target) for n in declared(outputs, "CompletionOutput").body if isinstance(n, ast.AnnAssign)]
    mine = [field.name for field in dataclasses.fields(CompletionOutput)]
    assert fields[: len(mine)] == mine
    asked = declared(outputs, "RequestOutput.__init__").args.args
    mine = [field.name for field in dataclasses.fields(RequestOutput)]
    assert [argument.arg for argument in asked][1 : 1 + len(mine)] == mine
    assert declared(tree("vllm/exceptions.py"), "VLLMClientError")
    assert declared(tree("vllm/v1/engine/exceptions.py"), "EngineDeadError")
    kinds = declared(tree("vllm/sampling_params.py"), "RequestOutputKind").body
    assert "FINAL_ONLY" in [ast.unparse(node.targets[0]) for node in kinds if isinstance(node, ast.Assign)]
    for attribute in ("self.llm_engine =", "self.model_config ="):
        assert attribute in (source / "vllm/entrypoints/llm.py").read_text(encoding="utf-8")
    assert "self.engine_core =" in (source / "vllm/v1/engine/llm_engine.py").read_text(encoding="utf-8")
