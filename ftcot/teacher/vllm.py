"""vLLM's engine in this process, on a machine with GPUs.

    unverified: has not run on a GPU yet. Written against vLLM 0.33.0, whose source was read; the tests stand a module
    with the same signatures in for it.

    Ask(draws=(0, ..., 7), turns=(Turn("user", "Q: ..."),), Decoding(0.7, 128))
    ──> eight requests "0" ... "7" of the same token ids, SamplingParams(temperature=0.7, max_tokens=128, seed=...) each
    ──> RequestOutput(request_id="3", outputs=[CompletionOutput(text=" Debby and ...", finish_reason="stop", ...)])

A draw is a request of its own, not one of `n`: with `n` vLLM counts seeds up from the first one, so that a draw's would
depend on which others are asked with it. The prompt is computed once all the same, by prefix caching, as with `n`.

The engine is stepped here, rather than by `LLM.generate`: completions are delivered as they end, new prompts take their
places at once, and a request to stop is heeded between two steps.
"""

from __future__ import annotations

import importlib.util
import time
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ftcot.errors import InputError, JobError
from ftcot.prompts import Family
from ftcot.student import checkpoint
from ftcot.teacher import Diversity
from ftcot.teacher.asks import TOO_LONG, Ask, Control, Deliver, Reply, seed_of
from ftcot.teacher.local import KEY, Local, prompt_ids

if TYPE_CHECKING:
    from pathlib import Path

    from ftcot.task import Splits, Task

MISSING = (
    "teacher=vllm needs the package vllm, which is not installed here: pip install vllm, on a machine with CUDA and in "
    "an environment of its own (it pins torch and transformers); or start `vllm serve MODEL` there, and take "
    "teacher=api teacher.base_url=http://HOST:8000/v1"
)

_OURS = ("model", "tokenizer", "revision", "tokenizer_revision", "dtype", "tensor_parallel_size", "trust_remote_code")
"""Arguments of vllm.LLM that other keys stand for, and remote code, which is never run."""

HOTTEST = 2.0
"""The highest temperature that vLLM takes."""

EVERY = 1.0
"""Seconds within which completions that have ended are delivered, together."""


@dataclass(frozen=True, kw_only=True)
class VLLM(Local):
    """A causal model, on vLLM's engine."""

    tensor_parallel_size: int = 1
    """GPUs that share one copy of the model."""
    concurrency: int = 512
    """Requests that the engine has at once; it works on as many of them as its memory holds."""
    engine: Mapping[str, Any] | None = None
    """More arguments of vllm.LLM: `{max_model_len: 4096, gpu_memory_utilization: 0.9}`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tensor_parallel_size", "concurrency"):
            if getattr(self, name) < 1:
                raise InputError(f"teacher.{name}={getattr(self, name)}: expected 1 or more")
        if taken := [name for name in _OURS if name in (self.engine or {})]:
            instead = "remote code is never run" if taken[0] == "trust_remote_code" else f"teacher.{taken[0]} says it"
            raise InputError(f"teacher.engine.{taken[0]}: {instead}")

    def backend(self) -> Engine:
        return Engine(self)

    def lack(self) -> str | None:
        return None if importlib.util.find_spec("vllm") else MISSING

    def reach(self) -> None:
        if (lack := self.lack()) is not None:
            raise InputError(lack)

    def check(self, task: Task, splits: Splits, diversity: Diversity) -> bool:
        if diversity.temperature > HOTTEST:
            raise InputError(f"diversity.temperature={diversity.temperature}: vLLM takes {HOTTEST} at most")
        return super().check(task, splits, diversity)

    def check_folder(self, folder: Path) -> Family:
        if (family := super().check_folder(folder)) != "decoder":
            raise InputError(f"{KEY}={self.model}: vLLM writes with decoders only; use teacher=huggingface with it")
        return family

    def more_parameters(self) -> dict[str, Any]:
        return super().more_parameters() | {"engine": dict(self.engine or {})}

    def load(self) -> Any:
        """The engine, as a vllm.LLM.

        Raises:
            InputError: vLLM is not installed, or the checkpoint is not for it.
            JobError: it does not start.
        """
        self.reach()
        folder = self.folder or checkpoint.download(self.model, self.revision)
        self.check_folder(folder)
        import vllm

        # Pickled weights are not read, if there are any beside the others.
        arguments = {"load_format": "safetensors"} | dict(self.engine or {})
        try:
            return vllm.LLM(str(folder), dtype=self.dtype, tensor_parallel_size=self.tensor_parallel_size, **arguments)
        except Exception as error:  # of many libraries, below vLLM
            cause = " ".join(str(error).split())[:500] or type(error).__name__
            raise JobError(f"teacher=vllm: its engine does not start with {folder} ({cause})") from error


@dataclass
class _Prompt:
    """An ask under way."""

    ask: Ask
    ids: list[int]
    counted: bool = False
    """A reply to it has borne the tokens of the prompt."""


@dataclass
class _Request:
    """One draw under way."""

    prompt: _Prompt
    draw: int
    seed: int | None


class Engine:
    """Answers asks with vLLM's engine."""

    def __init__(self, teacher: VLLM) -> None:
        self.teacher = teacher
        self._n_requests = 0
        self._started: Any = None

    @property
    def llm(self) -> Any:
        """The engine, started when it is first needed."""
        if self._started is None:
            self._started = llm = self.teacher.load()
            # Its processes hold the GPUs' memory, which the student needs next.
            weakref.finalize(self, llm.llm_engine.engine_core.shutdown)
        return self._started

    @cached_property
    def _chat(self) -> bool:
        return self.teacher.chat

    def run(self, asks: Iterator[Ask], deliver: Deliver, control: Control) -> None:
        """As `Backend.run`. It stops between two steps; texts that have not ended then are lost."""
        engine = self.llm.llm_engine
        from vllm.v1.engine.exceptions import EngineDeadError

        following: deque[Ask] = deque()
        requests: dict[str, _Request] = {}
        ended: list[Reply] = []
        delivered = time.monotonic()
        try:
            while not control.stopping():
                ended += self._fill(engine, following, asks, requests, control)
                if not requests and not ended:
                    return
                for output in engine.step() if requests else ():
                    if output.finished and (request := requests.pop(output.request_id, None)) is not None:
                        ended += self._reply(request, output, control)
                if ended and (not requests or time.monotonic() - delivered > EVERY):
                    replies, ended = ended, []
                    following += deliver(replies)
                    delivered = time.monotonic()
        except EngineDeadError as error:
            requests.clear()
            raise JobError(f"teacher=vllm: its engine died; its own words are above ({error})") from error
        finally:
            if ended:
                deliver(ended)
            if requests:
                engine.abort_request(list(requests))

    def _fill(
        self, engine: Any, following: deque[Ask], asks: Iterator[Ask], requests: dict[str, _Request], control: Control
    ) -> list[Reply]:
        """Hand the engine what it has room for; replies to prompts that are too long for it."""
        too_long: list[Reply] = []
        while len(requests) < self.teacher.concurrency:
            ask = following.popleft() if following else next(asks, None)
            if ask is None:
                break
            ids = prompt_ids(self.llm.get_tokenizer(), ask.turns, self._chat, self.teacher.template_variables)
            context = self.teacher.context or int(self.llm.model_config.max_model_len)
            if len(ids) >= context:
                said = {"error": f"a prompt of {len(ids)} tokens, and the engine takes {context}"}
                too_long += [self._said(ask, draw, "", TOO_LONG, raw=said) for draw in ask.draws]
            else:
                self._send(engine, _Prompt(ask, ids), context - len(ids), requests, control)
        control.note(f"{len(requests)} at once")
        return too_long

    def _send(self, engine: Any, prompt: _Prompt, room: int, requests: dict[str, _Request], control: Control) -> None:
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        ask = prompt.ask
        for draw in ask.draws:
            request = _Request(prompt, draw, seed_of(self.teacher.seed, ask.sample, draw, ask.part))
            params = SamplingParams(
                temperature=ask.decoding.temperature,
                top_p=ask.decoding.top_p,
                max_tokens=min(ask.decoding.max_tokens, room),
                seed=request.seed,
                stop=list(ask.decoding.stop),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            number, self._n_requests = str(self._n_requests), self._n_requests + 1
            try:
                engine.add_request(number, tokens_input(prompt.ids), params)
            except VLLMClientError as error:
                control.abandon(_only(ask, draw), f"vLLM: {error}")
            else:
                requests[number] = request

    def _reply(self, request: _Request, output: Any, control: Control) -> list[Reply]:
        prompt, (said,) = request.prompt, output.outputs
        if said.finish_reason in ("abort", "error"):
            control.abandon(_only(prompt.ask, request.draw), f"vLLM gave a request up ({said.finish_reason})")
            return []
        n_prompt = 0 if prompt.counted else len(prompt.ids)
        prompt.counted = True
        known = {"seed": request.seed, "stop_reason": said.stop_reason, "cached_tokens": output.num_cached_tokens}
        usage = {"prompt": n_prompt, "completion": len(said.token_ids)}
        return [self._said(prompt.ask, request.draw, said.text, said.finish_reason, raw=known, usage=usage)]

    def _said(self, ask: Ask, draw: int, text: str, finish_reason: str | None, **more: Any) -> Reply:
        import vllm

        return Reply(
            ask, draw, text, finish_reason, model=self.teacher.known_as, server=f"vllm {vllm.__version__}", **more
        )


def _only(ask: Ask, draw: int) -> Ask:
    """One draw of an ask."""
    return Ask(ask.sample, (draw,), ask.turns, ask.decoding, ask.part)
