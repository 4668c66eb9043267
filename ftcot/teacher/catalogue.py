"""What servers say of their models before anything is bought: `GET /models`.

    {"data": [{"id": "Qwen/Qwen3-8B", "max_model_len": 40960, ...}]}   ──>   40960 tokens of context
    404, 405, 500, no JSON, no list                                    ──>   nothing; the first request will tell

Asked by the launcher, hence without the client library, which takes a second to load.
"""

from __future__ import annotations

import difflib
import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from ftcot.errors import InputError
from ftcot.redact import without_secrets
from ftcot.teacher.address import NO_KEY, Address

PATIENCE = 5.0
"""Seconds for a list of models."""

SHOWN = 10
"""Names of models in a complaint."""

LARGEST = 20_000_000
"""Bytes of a list; the longest ones there are have less than one million."""

CONTEXTS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx", "n_ctx_train")
"""What the length of the context is called: vLLM and SGLang, OpenRouter and Together, Groq, LM Studio, llama.cpp."""


@dataclass(frozen=True)
class Unreachable:
    """A server that cannot be connected to."""

    cause: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Whoever is sent elsewhere would take the key along."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


def look_up(addresses: Sequence[Address], model: str, key_variable: str | None, *, listed: bool) -> int | None:
    """The length of the model's context, where a server tells it.

    Args:
        key_variable: what holds the key, for people.
        listed: whether the servers list all models that they have.
    Raises:
        InputError: no server can be connected to; one refuses the key, has its models under another URL, or lists them
            without this one.
    """
    with ThreadPoolExecutor(len(addresses)) as pool:
        found = list(pool.map(_models_of, addresses))
    silent = [models for models in found if isinstance(models, Unreachable)]
    if len(silent) == len(found):
        raise InputError(f"teacher.base_url={addresses[0].url}: {silent[0].cause}")
    contexts = []
    for address, models in zip(addresses, found, strict=True):
        if isinstance(models, int):
            held = "no key was sent" if address.key == NO_KEY else f"the key in ${key_variable} is refused"
            raise InputError(f"{address.url}: {held} ({models})")
        if isinstance(models, dict):
            contexts.append(_context(models, model, address, listed))
        elif models is None and not urlsplit(address.url).path:
            _refuse_without_v1(address)
    known = [context for context in contexts if context]
    return min(known) if known else None


def _models_of(address: Address) -> dict[str, Mapping[str, Any]] | Unreachable | int | None:
    """Its models by name; or the status with which it refuses the key, or why it cannot be reached; None: no word."""
    headers = {"Authorization": f"Bearer {address.key}", "Accept": "application/json", "User-Agent": "ftcot"}
    request = urllib.request.Request(f"{address.url}/models", headers=headers)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=PATIENCE) as response:
            body = response.read(LARGEST)
    except urllib.error.HTTPError as error:
        with error:
            # OpenAI's restricted keys may be allowed to ask models, and not to list them.
            unlisted = re.search(rb"(?i)missing.scope|insufficient permissions", error.read(LARGEST))
            return error.code if error.code in (401, 403) and not unlisted else None
    except urllib.error.URLError as error:
        return Unreachable(f"cannot be connected to ({_cause(error.reason)})")
    except (TimeoutError, http.client.HTTPException, ConnectionError, ssl.SSLError):
        return None  # it is there, and says nothing of use
    except UnicodeError as error:
        return Unreachable(f"is no address ({error})")
    return _listed(body)


def _listed(body: bytes) -> dict[str, Mapping[str, Any]] | None:
    try:
        told = json.loads(body)
    except ValueError:
        return None
    rows = told.get("data") if isinstance(told, dict) else told
    if not isinstance(rows, list) or not rows or (isinstance(told, dict) and told.get("has_more")):
        return None
    models: dict[str, Mapping[str, Any]] = {
        row["id"]: row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)
    }
    return models or None


def _refuse_without_v1(address: Address) -> None:
    """Refuse the URL of a server whose models are one step below it, as those of most servers are."""
    below = replace(address, url=f"{address.url}/v1")
    if isinstance(_models_of(below), dict):
        raise InputError(f"teacher.base_url={address.url}: its models are at teacher.base_url={below.url}")


def _context(models: Mapping[str, Mapping[str, Any]], model: str, address: Address, listed: bool) -> int | None:
    """The length of its context; None where the server does not say.

    Raises:
        InputError: it is not among the models.
    """
    row = next((models[name] for name in models if _same(name, model)), None)
    if row is None and not listed:
        return None
    if row is None:
        close = difflib.get_close_matches(model, models, SHOWN, 0.3)
        shown = [*close, *(name for name in models if name not in close)][:SHOWN]
        more = f" and {len(models) - len(shown)} more" if len(models) > len(shown) else ""
        said = without_secrets(f"{', '.join(shown)}{more}")
        raise InputError(
            f"teacher.model={model}: {address.url} has no such model; it has {said} (teacher.listed=false for a server "
            "that has more than it lists)"
        )
    meta = row.get("meta")
    told = {**(meta if isinstance(meta, dict) else {}), **row}
    lengths = [told[key] for key in CONTEXTS if isinstance(told.get(key), int) and told[key] > 0]
    return min(lengths) if lengths else None


def _same(listed: str, model: str) -> bool:
    """Whether a listed name is the model's: Ollama adds `:latest`, Gemini puts `models/` before it, OpenRouter takes
    `:nitro` after it, LiteLLM lists `openai/*`."""
    names = (model, model.partition(":")[0])
    return (
        listed in names
        or listed.partition(":")[0] == names[1]
        or listed.endswith(f"/{model}")
        or fnmatchcase(model, listed)
    )


def _cause(reason: object) -> str:
    if isinstance(reason, ssl.SSLError):
        return f"no secure connection: {reason.reason or reason}"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return " ".join(str(reason).split())
