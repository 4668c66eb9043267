"""A server's files and batches, asked with patience: what goes wrong on the way is asked again until it goes right.

    upload("ftcot-4f1c09ab2e77.jsonl")   ──>   "file-AbC"
    create(plan)                         ──>   "batch_XyZ"      after a cut connection: the batch that was made of it
    look("batch_XyZ")                    ──>   Told(status="in_progress", done=1204, total=3360, ...)

Requests run beside the caller, who gives them up when the job is to end.
"""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeVar

from ftcot.errors import JobError
from ftcot.redact import without_secrets
from ftcot.teacher.address import Address
from ftcot.teacher.batch_state import Plan
from ftcot.teacher.trouble import Trouble, trouble_of

if TYPE_CHECKING:
    from openai.types import Batch

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between attempts: twice as many after each, and then some less, so that jobs do not keep in step."""

PATIENCE = 3600.0
"""Seconds that a server may give no sensible answer before the job ends. What is under way is kept on both sides."""

LOOK = 0.1
"""Seconds between looks at whether the job is to end."""

GRACE = 8.0
"""Seconds that a batch that is being made is still waited for then: its name is worth knowing."""

MARK = "ftcot_plan"
"""Key of a batch's metadata; its value is the id of our plan."""

DAY = 86400.0


class EndingError(Exception):
    """The job is to end."""


class FullError(Exception):
    """The server takes no more batches for now."""

    def __init__(self, wait: float | None) -> None:
        super().__init__()
        self.wait = wait
        """Seconds, where it says so."""


class RefusedError(JobError):
    """The server will not do it, however often it is asked."""


class OddError(Exception):
    """An answer that is none; its text says why."""


@dataclass(frozen=True)
class Told:
    """What a server says of a batch."""

    status: str
    done: int = 0
    """Requests, answered or failed."""
    total: int = 0
    """0 as long as the server has not counted them."""
    files: tuple[str, ...] = ()
    """Of the output and of the errors, as far as there are any."""
    errors: tuple[tuple[str, str], ...] = ()
    """Code and message of what is wrong with the batch as a whole."""

    @property
    def ended(self) -> bool:
        return self.status in ("completed", "failed", "expired", "cancelled")


class BatchClient:
    """One server, as one job sees it."""

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        ending: Callable[[], bool],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            timeout: seconds that a server may be silent in the middle of a request.
            ending: whether the job is to end; may raise what ends it.
            note: told what is waited for.
        """
        import httpx2
        import openai

        self.address = address
        self._ending, self._note = ending, note
        self._keys = () if len(address.key) < 8 else (address.key,)  # `EMPTY` and the like are no secrets
        self._client = openai.OpenAI(base_url=address.url, api_key=address.key, max_retries=0, timeout=timeout)
        self._status_error = openai.APIStatusError
        self._silent = (openai.OpenAIError, httpx2.HTTPError, OSError, EOFError, ValueError, OddError)

    def redact(self, text: str) -> str:
        """Without the key, and without other secrets."""
        return str(without_secrets(text, *self._keys))

    def blank(self, row: Any) -> Any:
        """A row of a file without the key, however JSON wrote it."""
        return without_secrets(row, *self._keys)

    def upload(self, name: str, content: IO[bytes]) -> str:
        """Send a file of requests; its id.

        Raises:
            RefusedError: the server will not have it.
        """

        def send() -> str:
            content.seek(0)
            return _id(self._client.files.create(file=(name, content, "application/jsonl"), purpose="batch"))

        hint = " (not every server has batches; teacher=api asks any)"
        return self._until_it_works("the upload of a batch", send, hint=hint)

    def create(self, plan: Plan, endpoint: Any, window: Any) -> str:
        """Have a batch made of an uploaded file, one and no more; its id.

        Raises:
            JobError: the server will not have it.
            FullError: it takes no more for now.
        """
        assert plan.file is not None
        file, tried = plan.file, False

        def make() -> str:
            nonlocal tried
            if tried and (made := self._made(plan)):
                return made[0]
            tried = True
            batch = self._client.batches.create(
                input_file_id=file, endpoint=endpoint, completion_window=window, metadata={MARK: plan.id}
            )
            return _id(batch)

        return self._until_it_works("making a batch", make, grace=GRACE, limited=True)

    def made_of(self, plan: Plan) -> str | None:
        """The batch that was made of a plan without our knowing, if there is one."""
        made = self._until_it_works("looking for a batch", lambda: self._made(plan))
        return made[0] if made else None

    def look(self, batch: str) -> Told:
        """How far a batch is.

        Raises:
            JobError: the server does not know it, or refuses the key.
        """
        return self._until_it_works(f"batch {batch}", lambda: _told(self._client.batches.retrieve(batch)))

    def fetch(self, file: str, into: IO[bytes]) -> bool:
        """Copy a file from the server; False if it has it no more."""

        def copy() -> bool:
            into.seek(0)
            into.truncate()
            with self._client.files.with_streaming_response.content(file) as response:
                for piece in response.iter_bytes(1 << 20):
                    into.write(piece)
            return True

        return self._until_it_works("the results of a batch", copy, missing=False)

    def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            EndingError: the job is to end.
        """
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._ending():
                raise EndingError
            time.sleep(min(LOOK, left))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _made(self, plan: Plan) -> list[str]:
        """Batches of a plan, the one made first at the front."""
        found = []
        for batch in self._client.batches.list(limit=100):
            if (batch.created_at or plan.made) < plan.made - DAY:  # they come newest first; clocks may differ
                break
            if (batch.metadata or {}).get(MARK) == plan.id or batch.input_file_id == plan.file:
                found.append(batch.id)
        return found[::-1]

    def _until_it_works(
        self,
        what: str,
        call: Callable[[], T],
        *,
        grace: float = 0.0,
        limited: bool = False,
        missing: T | None = None,
        hint: str = "",
    ) -> T:
        """
        Args:
            what: for people, that is being asked for.
            grace: seconds that the call may still take when the job is to end.
            limited: raise FullError where the server wants to be left alone; otherwise that is waited for.
            missing: what a file that is not there means; None: an error.
            hint: what to add where the server knows no such request.
        """
        since, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return self._beside(call, grace)
            except self._silent as error:
                trouble = self._trouble(error)
            if trouble.status == 404 and missing is not None:
                return missing
            where = f"{self.address.url} ({what})"
            words = self.redact(trouble.words)
            if trouble.kind not in ("wait", "again"):
                raise RefusedError(f"{where}: {words}{hint if trouble.status in (404, 405) else ''}")
            if trouble.kind == "wait" and limited:
                raise FullError(trouble.wait)
            if time.monotonic() - since > PATIENCE:
                raise JobError(f"{where} has not worked for {PATIENCE / 60:.0f} minutes: {words}; try again later")
            wait = max(trouble.wait or 0.0, pause * random.uniform(0.5, 1.0))
            self._note(f"{what} failed ({words}), again in {wait:.0f} s")
            self.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _beside(self, call: Callable[[], T], grace: float) -> T:
        """What the call returns or raises; it runs in a thread that is left alone where the job is to end."""
        said: queue.SimpleQueue[tuple[T, None] | tuple[None, Exception]] = queue.SimpleQueue()

        def work() -> None:
            try:
                said.put((call(), None))
            except Exception as error:
                said.put((None, error))

        threading.Thread(target=work, daemon=True).start()
        end: float | None = None
        while True:
            try:
                value, error = said.get(timeout=LOOK)
            except queue.Empty:
                if end is None and self._ending():
                    end = time.monotonic() + grace
                if end is not None and time.monotonic() >= end:
                    raise EndingError from None
                continue
            if error is not None:
                raise error
            return value  # type: ignore[return-value]  # one of the two is there

    def _trouble(self, error: Exception) -> Trouble:
        if isinstance(error, self._status_error):
            response = error.response
            return trouble_of(response.status_code, response.headers, response.content, time.time())
        cause: BaseException = error
        while cause.__cause__ is not None and not str(error.__cause__):
            cause = cause.__cause__
        return Trouble("again", str(cause.__cause__ or cause) or type(cause).__name__)


def _id(told: Any) -> str:
    if not isinstance(name := getattr(told, "id", None), str) or not name:
        raise OddError("an answer without an id")
    return name


def _told(batch: Batch) -> Told:
    if not isinstance(getattr(batch, "status", None), str):
        raise OddError("an answer that is no batch")
    counts = batch.request_counts
    errors = (batch.errors.data or []) if batch.errors else []
    return Told(
        batch.status,
        (counts.completed or 0) + (counts.failed or 0) if counts else 0,
        (counts.total or 0) if counts else 0,
        tuple(file for file in (batch.output_file_id, batch.error_file_id) if file),
        tuple((error.code or "", error.message or json.dumps(error.to_dict())) for error in errors),
    )
