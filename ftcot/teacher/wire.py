"""An ask as the body of a request, and the body of a response as replies.

    {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Q: ..."}], "n": 4, "temperature": 0.7, ...}
    {"choices": [{"message": {"content": "Debby and her sister ..."}, "finish_reason": "stop"}, ...], "usage": ...}

Servers differ in what they take and in what they leave out. What one refuses is learnt from its complaint, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftcot.teacher.asks import REFUSED, Ask, Reply, seed_of

MOST_CHOICES = 128
"""Of one request: what OpenAI takes."""

MOST_TOKENS = 10**9
"""Of one call: a server that counts more does not count."""

FAILED = ("error", "abort")
"""Finish reasons of a choice that the server gave up: OpenRouter's where the provider behind it failed, vLLM's and
SGLang's. Its text may break off anywhere."""

SHARED = ("id", "model", "system_fingerprint", "created", "usage")
"""What the choices of a response have in common, as it is kept beside each."""


class UnreadableError(Exception):
    """A response that is none; its text says why."""


@dataclass
class Dialect:
    """What a server takes, as far as is known. It is taken to honour everything until it complains."""

    many: bool | None = None
    """Whether it gives several choices for one request; None: it was never asked to."""
    lacks: set[str] = field(default_factory=set)
    """Fields that it refuses: temperature, seed; `max_tokens` where it wants max_completion_tokens."""

    def gave(self, choices: int, asked: int) -> None:
        """See from a response what the server makes of `n`. Whoever gave several once may give fewer by mistake."""
        if asked > 1 and self.many is None:
            self.many = choices > 1

    def learn(self, name: str, body: Mapping[str, Any]) -> str | None:
        """Take a complaint of a field to heart.

        Returns:
            What to tell people, empty if they were told before; None where the field was not sent or cannot be spared.
        """
        if name == "n":
            known, self.many = self.many is False, False
            return ("" if known else "it takes one draw a request") if "n" in body else None
        if name not in LEARNT or name not in body:
            return None
        told = name not in self.lacks
        self.lacks.add(name)
        return LEARNT[name] if told else ""


LEARNT = {
    "max_tokens": "it takes max_completion_tokens in place of max_tokens",
    "temperature": "it takes no temperature: draws are made as the model sees fit",
    "seed": "it takes no seed",
}
"""Fields that a server may do without, and what that means."""


def body_of(
    ask: Ask,
    draws: Sequence[int],
    *,
    model: str,
    chat: bool,
    seed: int | None,
    extra: Mapping[str, Any],
    dialect: Dialect,
) -> dict[str, Any]:
    """The request for some draws of an ask.

    Args:
        seed: the teacher's; the request's is made from it and from the first of the draws.
    """
    decoding = ask.decoding
    body: dict[str, Any] = {"model": model}
    if chat:
        body["messages"] = [{"role": turn.role, "content": turn.text} for turn in ask.turns]
    else:
        body["prompt"] = ask.text
    lacks = dialect.lacks
    body["max_completion_tokens" if "max_tokens" in lacks else "max_tokens"] = decoding.max_tokens
    if "temperature" not in lacks:
        body["temperature"] = decoding.temperature
    if decoding.top_p != 1:
        body["top_p"] = decoding.top_p
    if decoding.stop:
        body["stop"] = list(decoding.stop)
    if len(draws) > 1:
        body["n"] = len(draws)
    if "seed" not in lacks and (told := seed_of(seed, ask.sample, draws[0], ask.part)) is not None:
        body["seed"] = told
    return body | dict(extra) if extra else body


def read(content: bytes) -> dict[str, Any]:
    """A response's body.

    Raises:
        UnreadableError: it is no JSON object.
    """
    try:
        data = json.loads(content)
    except ValueError as error:
        raise UnreadableError(f"a response that is no JSON ({error})") from None
    if not isinstance(data, dict):
        raise UnreadableError("a response that is no JSON object")
    return data


def replies_of(data: Mapping[str, Any], ask: Ask, draws: Sequence[int], server: str) -> list[Reply]:
    """The draws that a response holds: as many as it has choices, and no more than were asked for.

    Raises:
        UnreadableError: it holds none that the server did not give up, or one has not the form of a choice.
    """
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise UnreadableError("a response without choices")
    given_up = [choice for choice in choices if choice.get("error") or choice.get("finish_reason") in FAILED]
    if len(given_up) == len(choices):
        raise UnreadableError(f"the server gave it up ({_why(given_up[0])})")
    choices = [choice for choice in choices if choice not in given_up]
    shared = {key: data[key] for key in SHARED if key in data}
    told = data.get("usage")
    usage = told if isinstance(told, dict) else {}
    said = [_said(choice) for choice in choices[: len(draws)]]
    weights = [len(text) + len(thinking or "") for text, thinking, _ in said]
    model = data.get("model")
    return [
        Reply(
            ask,
            draw,
            text,
            finish_reason,
            thinking,
            _share(usage, weights, place),
            model if isinstance(model, str) else None,
            server,
            shared | {"choice": choice},
        )
        for place, (draw, choice, (text, thinking, finish_reason)) in enumerate(
            zip(draws[: len(said)], choices, said, strict=False)
        )
    ]


def tokens_of(data: Mapping[str, Any]) -> int | None:
    """Tokens that a response cost, prompt and completion; None where the server does not say."""
    usage = data.get("usage")
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")] if isinstance(usage, dict) else []
    return sum(count for count in counts if isinstance(count, int)) or None


def _said(choice: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Text, thoughts and finish reason of a choice."""
    finish = choice.get("finish_reason")
    finish_reason = finish if isinstance(finish, str) else None
    message = choice.get("message")
    if not isinstance(message, dict):
        text = choice.get("text")
        if not isinstance(text, str):
            raise UnreadableError("a choice without text")
        thinking = None
    else:
        text = _text(message.get("content"))
        thinking = next(
            (said for key in ("reasoning_content", "reasoning") if isinstance(said := message.get(key), str) and said),
            None,
        )
        if message.get("refusal"):
            return "", thinking, REFUSED
    if finish_reason == "content_filter":
        return "", thinking, REFUSED
    return text, thinking, finish_reason


def _why(choice: Mapping[str, Any]) -> str:
    error = choice.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or choice.get("finish_reason"))[:200]


def _text(content: Any) -> str:
    """A message's content: text, none, or parts of which some are text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "".join(part for part in parts if isinstance(part, str))
    raise UnreadableError("a message whose content is no text")


def _share(usage: Mapping[str, Any], weights: Sequence[int], place: int) -> dict[str, int] | None:
    """One draw's part of the tokens of a response: the first bears the prompt, each its completion by its length."""
    counted = {
        "prompt": _count(usage, "prompt_tokens"),
        "completion": _count(usage, "completion_tokens"),
        "thinking": _count(usage, "completion_tokens_details", "reasoning_tokens"),
        "cached": _count(usage, "prompt_tokens_details", "cached_tokens"),
    }
    if counted["prompt"] is None and counted["completion"] is None:
        return None
    share = {}
    for name, count in counted.items():
        if name in ("completion", "thinking"):
            weighed = sum(weights) or len(weights)
            before = sum(weights[:place]) if sum(weights) else place
            until = sum(weights[: place + 1]) if sum(weights) else place + 1
            mine = (count or 0) * until // weighed - (count or 0) * before // weighed
        else:
            mine = (count or 0) if place == 0 else 0
        if count is not None and (name in ("prompt", "completion") or mine):
            share[name] = mine
    return share


def _count(usage: Mapping[str, Any], name: str, inner: str | None = None) -> int | None:
    value = usage.get(name)
    if inner is not None:
        value = value.get(inner) if isinstance(value, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_TOKENS else None
