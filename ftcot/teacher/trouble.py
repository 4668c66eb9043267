"""What servers say when they give no completion, and what follows from it.

    429 {"error": {"message": "Rate limit reached ...", "code": "rate_limit_exceeded"}}, Retry-After: 2
    ──> Trouble(kind="wait", words="429: Rate limit reached ...", wait=2.0)

    wait        leave the server alone for a while; it costs no attempt
    again       ask again, which is one more attempt
    refused     the prompt's content is not wanted: recorded as the reply, and never asked again
    too_long    the prompt does not fit into the model's context: likewise
    form        something about the request: nobody's will be answered, unless another one was already
    stop        nothing more can be had: no credit, a key that is refused, a model that is not there

RULES is the whole table. Every server words its errors in its own way; each row says whose words it knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

Kind = Literal["wait", "again", "refused", "too_long", "form", "stop"]

LONGEST_WORDS = 300
"""Letters of a server's message that are repeated."""


@dataclass(frozen=True)
class Trouble:
    """Why there is no completion."""

    kind: Kind
    words: str
    """For people, in one line; whatever secrets the server put into it are still there."""
    status: int | None = None
    """Of HTTP; None: no answer came."""
    wait: float | None = None
    """Seconds that the server wants to be left alone."""
    named: str = ""
    """Which field of the request it complains of, where it says so by name."""


class Rule(NamedTuple):
    """A row of the table: the first that fits counts."""

    kind: Kind
    statuses: frozenset[int] | range
    said: str = ""
    """A pattern somewhere in its code, type, parameter and message, in small letters."""


_BAD = frozenset({400, 422})
_ANY = range(100, 600)

RULES = (
    # OpenRouter: the estimated cost of what is under way, and it says for how long to wait.
    Rule("wait", frozenset({402}), r"in_flight_budget"),
    # No money. Not `billing` alone: OpenAI's plain rate limit once pointed to the billing page, and Gemini's wording of
    # a rate limit is that of OpenAI for an empty account, which only its code tells from it.
    Rule("stop", frozenset({402})),
    Rule(
        "stop",
        frozenset({400, 401, 403, 429}),
        r"insufficient_quota|insufficient_user_quota|exceeded_current_quota|billing_(hard_limit|not_active)|account_deact"
        r"|arrearage|insufficient[ _]balance|insufficient[ _](funds|credit)|credit balance is too low|out of credits",
    ),
    # OpenAI: one request is over the limit of a minute, so that it will never go through.
    Rule("stop", frozenset({413, 429}), r"request too large.* per min"),
    Rule("wait", frozenset({429})),
    # The content. OpenAI, Azure, OpenRouter (403), DeepSeek, DashScope, Gemini.
    Rule(
        "refused",
        frozenset({400, 403, 422, 451}),
        r"content_filter|content_policy|content management policy|responsibleai|moderation|flagged|invalid_prompt"
        r"|content exists risk|data_inspection_failed|prohibited_content|usage polic(y|ies)|safety (system|reasons)",
    ),
    Rule("refused", frozenset({451})),
    # The length. OpenAI and vLLM (maximum context length), llama.cpp (exceed_context_size_error, available context),
    # SGLang (longer than the model's context length), TGI (`inputs` tokens + ...), Anthropic (prompt is too long).
    Rule(
        "too_long",
        frozenset({400, 413, 422, 500}),
        r"context_length_exceeded|exceed_context_size|string_above_max_length|maximum context"
        r"|context (length|size|window)|inputs. tokens \+"
        r"|(prompt|input|request)( is| was)? too (long|large)|too many (input )?tokens|max_model_len"
        r"|maximum (prompt|input) length|longer than the maximum",
    ),
    Rule("too_long", frozenset({413})),
    # The key, the model, the path.
    Rule("stop", frozenset({401, 403, 404, 405, 407, 410})),
    Rule(
        "stop",
        _BAD,
        r"model_not_found|unknown model|not a valid model"
        r"|(model|deployment)\b.*(not found|not exist|not available|not a valid)",
    ),
    Rule("stop", range(300, 400)),
    Rule("again", frozenset({408, 409, 425})),
    Rule("again", range(500, 600)),
    Rule("form", _ANY),
)


def trouble_of(status: int, headers: Mapping[str, str], content: bytes, now: float) -> Trouble:
    """What an HTTP error means.

    Args:
        headers: names in small letters.
        now: seconds since 1970, which a date in the headers is compared with.
    """
    message, codes = said_in(content)
    text = f"{codes} {message}".lower()
    kind = next(rule.kind for rule in RULES if status in rule.statuses and re.search(rule.said, text, re.DOTALL))
    if 300 <= status < 400:
        message = f"it sends us to {headers.get('location', 'another place')}"
    return Trouble(
        kind, f"{status}: {_short(message) or 'nothing said'}", status, wait_of(headers, now), _named(message, codes)
    )


def said_in(content: bytes) -> tuple[str, str]:
    """Message of an error's body, in one line, and the codes beside it."""
    text = content.decode("utf-8", "replace")
    try:
        body = json.loads(text)
    except ValueError:
        plain = re.sub(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>", " ", text)
        return _line(plain), ""
    while isinstance(body, list) and body:  # Gemini puts its error into a list
        body = body[0]
    if not isinstance(body, dict):
        return _line(str(body)), ""
    error = body.get("error")
    inner = error if isinstance(error, dict) else body
    message = next((inner[key] for key in ("message", "detail", "error", "msg") if inner.get(key)), "")
    codes = [inner.get(key) for key in ("code", "type", "param", "status", "innererror", "metadata")]
    return _line(message if isinstance(message, str) else json.dumps(message)), _line(
        " ".join(code if isinstance(code, str) else json.dumps(code) for code in codes if code is not None)
    )


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the headers of a reply ask to be left alone for; None where they say nothing."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        if (told := _number(headers.get(name, ""))) is not None:
            return max(0.0, told / unit)
    if date := headers.get("retry-after"):
        try:
            return max(0.0, parsedate_to_datetime(date).timestamp() - now)
        except ValueError:
            return None
    waits = []
    for name, value in headers.items():
        if name.startswith("x-ratelimit-reset") and (wait := _reset(value, now)) is not None:
            # Of several limits, those count of which nothing is left.
            left = _number(headers.get(name.replace("reset", "remaining"), ""))
            waits.append((left is not None and left <= 0, wait))
    return max(waits)[1] if waits else None


def context_in(words: str) -> int | None:
    """The length of the context that a message about it names."""
    found = re.search(r"(?i)(?:maximum )?context (?:length|size|window)\D{0,40}(\d+)", words)
    return int(found[1]) if found else None


def _reset(value: str, now: float) -> float | None:
    """`1s`, `6m0s` and `120ms` as OpenAI writes them, a number of seconds, or a moment in seconds or milliseconds."""
    if (told := _number(value)) is not None:
        moment = told / 1000 if told > 1e11 else told
        return max(0.0, moment - now) if moment > 1e9 else max(0.0, told)
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    found = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value)
    return sum(float(count) * units[unit] for count, unit in found) if found else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d{1,15}(\.\d*)?\s*", text) else None


def _named(message: str, codes: str) -> str:
    """The field that a server will not have: OpenAI names it as `param`, others in a `loc` or in their words."""
    if not re.search(
        r"unsupported|not (supported|permitted|allowed)|unexpected|extra_forbidden|extra inputs|unknown|unrecognized"
        r"|does(n't| not) support|at most 1\b|must be 1\b|only (one|1)\b|use 'max_completion_tokens'",
        f"{codes} {message}".lower(),
    ):
        return ""
    fields = r"\b(max_tokens|temperature|seed|top_p|stop|n)\b"
    found = re.search(fields, codes) or re.search(r"['\"`]" + fields + r"['\"`]", message)
    return found[1] if found else ""


def _line(message: Any) -> str:
    return " ".join(str(message).split())


def _short(words: str) -> str:
    return words if len(words) <= LONGEST_WORDS else words[:LONGEST_WORDS] + " ..."
