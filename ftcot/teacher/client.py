"""The official openai client, asked the cheap way.

    post(address, "/chat/completions", {"model": ...})   ──>   Answer(status=200, headers={...}, content=b'{"id": ...')

Its own retries are off: when to ask again is decided in one place (sending.py). CPU milliseconds of a request, on a
busy machine, by what is used of it (bench/api.py measures the first and the last):

    chat.completions.create, as documented      1.8 over httpx, 1.1 over aiohttp
    its `post`, without its response models     0.69
    no statistics of the library in headers     0.60
    no redirects, cookies and hooks             0.50
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ftcot.teacher.address import Address

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

STATISTICS = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
"""Headers `X-Stainless-...` about the library and this machine, which no server needs."""

CONNECT = 10.0
"""Seconds to a connection; a server that is there takes none of them."""


class Answer(NamedTuple):
    """What a server said, be it an error or not."""

    status: int
    headers: Mapping[str, str]
    """Names in small letters."""
    content: bytes


class NoAnswerError(Exception):
    """A request without an answer; its text says why."""

    def __init__(self, kind: Literal["unreachable", "cut", "timeout"], words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Client:
    """Connections to some servers. To be made and closed on one event loop."""

    def __init__(self, addresses: Sequence[Address], *, at_once: int, timeout: float) -> None:
        """
        Args:
            at_once: connections, at most.
            timeout: seconds of one request, from its first byte to the last of its answer.
        """
        import httpx2
        import openai

        self._timeout = timeout
        self._response = httpx2.Response
        settings: dict[str, Any] = {
            # The whole request has one time limit, which is ours.
            "timeout": httpx2.Timeout(None, connect=min(CONNECT, timeout)),
            "limits": httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once),
        }
        try:
            self._http = _plain(openai.DefaultAioHttpClient)(**settings)
        except RuntimeError:  # without aiohttp
            self._http = _plain(openai.DefaultAsyncHttpxClient)(**settings)
        headers: dict[str, Any] = {f"X-Stainless-{name}": openai.Omit() for name in STATISTICS}
        headers["Accept-Encoding"] = "gzip, deflate"  # aiohttp would offer what httpx may not be able to read
        self._clients: dict[str, AsyncOpenAI] = {
            address.url: openai.AsyncOpenAI(
                base_url=address.url,
                api_key=address.key,
                max_retries=0,
                http_client=self._http,
                default_headers=headers,
            )
            for address in addresses
        }
        # Made up for each request otherwise, from the system's random numbers; OpenAI's protocol does not send it.
        self._options: Any = {"idempotency_key": "-"}
        self._status_error = openai.APIStatusError
        # What neither client nor transport makes an error of its own: a response that is no HTTP, a TLS alert.
        self._others: tuple[type[Exception], ...] = (
            openai.APIConnectionError,
            httpx2.HTTPError,
            OSError,
            EOFError,
            *_of_aiohttp(),
        )

    async def post(self, address: Address, path: str, body: Mapping[str, Any], times: int = 1) -> Answer:
        """Send a request and read its answer.

        Args:
            times: of the time limit that it may take.
        Raises:
            NoAnswerError: there is none.
        """
        try:
            async with asyncio.timeout(times * self._timeout):
                response = await self._clients[address.url].post(
                    f"{address.url}{path}", cast_to=self._response, body=body, options=self._options
                )
                return Answer(response.status_code, response.headers, response.content)
        except self._status_error as error:
            # A server that sends us elsewhere, too.
            return Answer(error.status_code, error.response.headers, error.response.content)
        except TimeoutError:
            raise NoAnswerError("timeout", f"no answer within {times * self._timeout:g} s (teacher.timeout)") from None
        except self._others as error:
            raise self._no_answer(error) from None

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    def _no_answer(self, error: BaseException) -> NoAnswerError:
        causes = [error]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        names = {type(cause).__name__ for cause in causes}
        words = next((text for cause in reversed(causes) if (text := str(cause))), type(error).__name__)
        if names & {"ConnectError", "ClientConnectorError"} or "ConnectionTimeoutError" in names:
            return NoAnswerError("unreachable", f"cannot be connected to ({words})")
        return NoAnswerError("cut", f"the connection was cut ({words})")


def _plain(kind: type[httpx2.AsyncClient]) -> type[httpx2.AsyncClient]:
    """A client without what makes a request dearer and is of no use here: base URLs, cookies, hooks, logs; and without
    redirects, for a redirected POST becomes a GET, whose complaint would say nothing of the cause."""
    import httpx2

    class Plain(kind):  # type: ignore[misc, valid-type]
        def build_request(
            self, method: str, url: Any, *, headers: Any, timeout: Any, content: Any = None, **rest: Any
        ) -> httpx2.Request:
            told = {"timeout": timeout.as_dict()}
            return httpx2.Request(method, url, headers=headers, content=content, extensions=told)

        async def send(self, request: httpx2.Request, **rest: Any) -> httpx2.Response:
            transport = self._transport_for_url(request.url)  # a proxy's, where the environment names one
            response: httpx2.Response = await transport.handle_async_request(request)
            response.request = request
            await response.aread()
            return response

    return Plain


def _of_aiohttp() -> tuple[type[Exception], ...]:
    try:
        import aiohttp
    except ImportError:
        return ()
    return (aiohttp.ClientError,)
