"""Where a teacher's servers are, and the key that they take.

    base_url: [http://10.0.0.1:8000/v1, http://10.0.0.2:8000/v1]      two replicas of one model
    base_url: null, $OPENAI_BASE_URL not set                          https://api.openai.com/v1
    key_variable: OPENAI_API_KEY                                      the name of the variable, never the key itself

A key is read from the environment where it is needed, and stands nowhere else.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ftcot.errors import InputError

OPENAI = "https://api.openai.com/v1"

NO_KEY = "none"
"""What is sent as a key to a server that needs none: its client does not go without."""


@dataclass(frozen=True)
class Address:
    """A server, and how it knows us."""

    url: str
    """Without a slash at its end."""
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """For people: `127.0.0.1:8000`."""
        return urlsplit(self.url).netloc


def check_urls(base_url: str | Sequence[str] | None) -> tuple[str, ...]:
    """The URLs of a config; none where it names none.

    Raises:
        InputError: one is no URL of a server, holds a password, or stands there twice.
    """
    given = [] if base_url is None else [base_url] if isinstance(base_url, str) else list(base_url)
    urls = [_check("teacher.base_url", str(url)) for url in given]
    if base_url is not None and not urls:
        raise InputError("teacher.base_url=[]: name a server, or null for $OPENAI_BASE_URL or else OpenAI")
    if twice := next((url for url in urls if urls.count(url) > 1), None):
        raise InputError(f"teacher.base_url: {twice} is named twice")
    return tuple(urls)


def find_urls(base_url: str | Sequence[str] | None) -> tuple[str, ...]:
    """The URLs of a config, or else of the environment, or else OpenAI's.

    Raises:
        InputError: one is no URL of a server, or holds a password.
    """
    if urls := check_urls(base_url):
        return urls
    told = os.environ.get("OPENAI_BASE_URL", "").strip()
    return (_check("$OPENAI_BASE_URL", told) if told else OPENAI,)


def find_addresses(base_url: str | Sequence[str] | None, key_variable: str | None) -> tuple[Address, ...]:
    """The servers, with the key.

    Args:
        key_variable: the variable that holds it; None: the servers take none.
    Raises:
        InputError: there is no key, and a server is not on this machine.
    """
    urls = find_urls(base_url)
    key = os.environ.get(key_variable, "").strip() if key_variable else ""
    if key_variable and not key and (remote := next((url for url in urls if not is_local(url)), None)):
        raise InputError(
            f"no key for {remote}: ${key_variable} is not set (teacher.key_variable names the variable; "
            "teacher.key_variable=null for a server that takes none)"
        )
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"${key_variable} holds no key: there are signs in it that none has")
    return tuple(Address(url, key or NO_KEY) for url in urls)


def is_local(url: str) -> bool:
    """Whether the server is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check_client() -> None:
    """Refuse to go on where the client library is missing.

    Raises:
        InputError: it is.
    """
    if importlib.util.find_spec("openai") is None:
        raise InputError("a teacher behind a server needs the package openai: pip install 'ftcot[api]'")


def _check(key: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.username is not None or parts.password is not None:
        # Not repeated: it may hold a password.
        raise InputError(f"{key} holds a user or a password; put the key into the variable of teacher.key_variable")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise InputError(f"{key}={_shown(url)}: expected the URL of a server, such as http://127.0.0.1:8000/v1")
    if parts.query or parts.fragment:
        raise InputError(f"{key}={_shown(url)}: expected no ? and no # in it")
    return url.rstrip("/")


def _shown(url: str) -> str:
    """Without what may be a key or a password."""
    return re.sub(r"[^/@]*@", "***@", re.split("[?#]", url)[0])
