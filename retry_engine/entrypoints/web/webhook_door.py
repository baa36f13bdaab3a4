"""`POST /webhooks/stripe`: the signature is checked, the event is durable, then Stripe hears 200.

Requests that arrive together share one insert and one commit: the disk's answer is what an
acknowledgement waits for, and it is the same for one event as for fifty.
"""

import asyncio
import hashlib
import hmac
import re
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from starlette.types import Receive, Scope, Send

from retry_engine.domain import strict_json
from retry_engine.entrypoints.web.problems import send_problem
from retry_engine.store import inbox

log = structlog.get_logger()


LARGEST_BODY = 1024 * 1024
_TOLERANCE_SECONDS = 300
_WRITE_SECONDS = 3.0
_ANSWER_SECONDS = 6.0
_MOST_IN_A_COMMIT = 64
# Beyond these the database does not keep up, and Stripe is asked to come again.
_MOST_WAITING = 512
_LONGEST_TYPE = 200
_DIGEST_LENGTH = 64
_OK = b'{"received":true}'


class Unacceptable(Exception):
    """The request is not a signed Stripe event."""


class NotStored(Exception):
    """The event could not be made durable now; Stripe will send it again."""


class Signatures:
    """Checks Stripe's signature header against any of several secrets (they are rotated)."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    @property
    def are_configured(self) -> bool:
        """Whether there is anything to check against."""
        return bool(self._secrets)

    def look(self, header: str, *, now: float) -> tuple[int, list[bytes]]:
        """The time and the signatures; Unacceptable where no body could make them good now."""
        timestamp, given = _parse_header(header)
        if abs(now - timestamp) > _TOLERANCE_SECONDS:
            raise Unacceptable("the signature's timestamp is more than 300 s away")
        return timestamp, given

    def check(self, body: bytes, header: str, *, now: float) -> None:
        """Raises Unacceptable unless the header signs this body, now, with one of the secrets."""
        timestamp, given = self.look(header, now=now)
        signed = b"%d." % timestamp + body
        for secret in self._secrets:
            expected = hmac.new(secret, signed, hashlib.sha256).hexdigest().encode()
            if any(hmac.compare_digest(expected, signature) for signature in given):
                return
        raise Unacceptable("no signature matches")


def _parse_header(header: str) -> tuple[int, list[bytes]]:
    timestamp: int | None = None
    given: list[bytes] = []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t" and value.isascii() and value.isdigit() and len(value) <= 12:
            timestamp = int(value)
        elif name == "v1" and len(value) == _DIGEST_LENGTH:
            given.append(value.encode())
    if timestamp is None or not given:
        raise Unacceptable("no usable Stripe-Signature header; expected t=…,v1=…")
    return timestamp, given


_ID = re.compile(r"evt_\w{1,250}", re.ASCII)
_TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*", re.ASCII)
_ACCOUNT = re.compile(r"acct_\w{1,250}", re.ASCII)


def parse_event(body: bytes) -> dict[str, Any]:
    """The event in a body, or Unacceptable."""
    try:
        event = strict_json.parse(body)
    except strict_json.NotStrict as error:
        raise Unacceptable(str(error)) from None
    if not isinstance(event, dict) or event.get("object") != "event":
        raise Unacceptable('the body is no event; expected "object": "event"')
    event_id, kind, account = event.get("id"), event.get("type"), event.get("account") or ""
    if not (isinstance(event_id, str) and _ID.fullmatch(event_id)):
        raise Unacceptable("the event has no id; expected evt_…")
    if not (isinstance(kind, str) and len(kind) <= _LONGEST_TYPE and _TYPE.fullmatch(kind)):
        raise Unacceptable("the event has no type; expected one such as invoice.paid")
    if not (isinstance(account, str) and (not account or _ACCOUNT.fullmatch(account))):
        raise Unacceptable("the event's account is none; expected acct_…")
    return event


@dataclass(slots=True)
class _Waiting:
    """An event on its way to the disk, and who waits for it."""

    event: dict[str, Any]
    done: asyncio.Future[None]
    since: float


class Inbox:
    """Writes events in groups: whatever has come while the last commit was under way."""

    def __init__(
        self,
        database_url: str,
        notify: Callable[[list[str]], None],
        *,
        write: Callable[..., list[str]] = inbox.store,
    ) -> None:
        self._engine = create_async_engine(
            database_url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args={"connect_timeout": 2, "application_name": "retry-engine-web"},
        )
        self._notify = notify
        self._store = write
        self._queue: deque[_Waiting] = deque()
        self._come = asyncio.Event()
        self._writing: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection: AsyncConnection | None = None

    async def start(self) -> None:
        """Begin to write."""
        self._begin()

    def _begin(self) -> None:
        self._writer = asyncio.create_task(self._write_for_ever())
        self._writer.add_done_callback(self._begin_again)

    def _begin_again(self, ended: asyncio.Task[None]) -> None:
        """Nothing in the writer should end it; what did all the same must not end the door."""
        if self._writer is ended:
            log.error("inbox_writer_restarted", error=_cause_of(ended))
            self._begin()

    async def stop(self) -> None:
        """Stop writing; who still waits is told so."""
        writer, self._writer = self._writer, None
        tasks = [task for task in (writer, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for waiting in (*self._writing, *self._queue):
            _refuse(waiting, NotStored())
        await self._drop_connection()

    def state(self) -> str:
        """`ok`, or what is the matter with the writer."""
        if self._writer is None or self._writer.done():
            return "not running"
        oldest = next(iter((*self._writing, *self._queue)), None)
        if oldest is not None and monotonic() - oldest.since > _ANSWER_SECONDS:
            return "not writing"
        return "ok"

    async def put(self, event: dict[str, Any]) -> None:
        """Returns when the event is durable.

        Raises:
            Unacceptable: it never will be, whoever sends it again.
            NotStored: it is not, or nobody knows.
        """
        if self._writer is None or len(self._queue) >= _MOST_WAITING:
            raise NotStored
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(event, done, monotonic()))
        self._come.set()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await done
        except TimeoutError:
            raise NotStored from None

    async def _write_for_ever(self) -> None:
        for left in self._writing:  # of a writer that ended
            _refuse(left, NotStored())
        while True:
            self._writing = []
            while not self._queue:
                self._come.clear()
                await self._come.wait()
            while self._queue and len(self._writing) < _MOST_IN_A_COMMIT:
                waiting = self._queue.popleft()
                if not waiting.done.done():  # else its sender was told no, and sends it again
                    self._writing.append(waiting)
            if self._writing:
                await self._settle(self._writing)

    async def _settle(self, group: Sequence[_Waiting]) -> None:
        """Write them and tell each; nothing that is wrong with one of them ends the writer."""
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                new = await self._write([waiting.event for waiting in group])
        except Exception as error:  # noqa: BLE001  # whatever it is, each of them is answered
            await self._settle_failed(group, error)
            return
        for waiting in group:
            if not waiting.done.done():
                waiting.done.set_result(None)
        if new:
            self._keep(asyncio.create_task(self._tell(new)))

    async def _settle_failed(self, group: Sequence[_Waiting], error: Exception) -> None:
        if not _is_about_an_event(error):
            log.error("inbox_not_written", error=type(error).__name__, events=len(group))
            await self._drop_connection()
            for waiting in group:
                _refuse(waiting, NotStored())
        elif len(group) > 1:  # one that cannot be stored must not keep its neighbours out
            for waiting in group:
                await self._settle([waiting])
        else:
            log.error("event_cannot_be_stored", error=type(error).__name__)
            _refuse(group[0], Unacceptable("the event holds what cannot be stored"))

    async def _write(self, events: list[dict[str, Any]]) -> list[str]:
        if self._connection is None or self._connection.invalidated:
            self._connection = await self._engine.connect()
        return await self._connection.run_sync(self._store, *events)

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(Exception):  # it is given up, whatever it says to that
            await connection.invalidate()
            await connection.close()

    async def _tell(self, ids: list[str]) -> None:
        """Workers are told after the commit; if that fails their sweep finds the rows."""
        log.info("events_stored", events=ids)
        try:
            await asyncio.to_thread(self._notify, ids)
        except Exception as error:  # noqa: BLE001  # whatever it is, the event is safe
            log.warning("workers_not_told", error=type(error).__name__)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _refuse(waiting: _Waiting, error: Exception) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)


def _is_about_an_event(error: Exception) -> bool:
    """Whether it was an event that could not be written, rather than the database."""
    if isinstance(error, DBAPIError):
        return inbox.is_about_content(error)
    return not isinstance(error, SQLAlchemyError | psycopg.Error | OSError | TimeoutError)


def _cause_of(task: asyncio.Task[None]) -> str:
    error = None if task.cancelled() else task.exception()
    return "cancelled" if error is None else type(error).__name__


class WebhookDoor:
    """The ASGI endpoint."""

    def __init__(self, signatures: Signatures, inbox: Inbox, clock: Callable[[], float]) -> None:
        self._signatures = signatures
        self._inbox = inbox
        self._clock = clock
        self.answers: dict[int, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            await self._problem(send, 405, "Method not allowed", "expected POST")
            return
        if not self._signatures.are_configured:
            log.error("webhook_secret_missing", mend="set STRIPE_WEBHOOK_SECRET")
            await self._problem(send, 503, "Not ready", "webhooks cannot be verified here yet")
            return
        header = _header(scope, b"stripe-signature")
        try:  # what cannot be Stripe's is not read, and takes no memory
            self._signatures.look(header, now=self._clock())
        except Unacceptable as error:
            await self._problem(send, 400, "Not a signed event", str(error))
            return
        body = None if _is_announced_as_too_large(scope) else await _read(receive)
        if body is None:
            await self._problem(send, 413, "Too large", f"expected at most {LARGEST_BODY} bytes")
            return
        try:
            self._signatures.check(body, header, now=self._clock())
            await self._inbox.put(parse_event(body))
        except Unacceptable as error:
            await self._problem(send, 400, "Not a signed event", str(error))
        except NotStored:
            await self._problem(send, 503, "Not stored", "please send the event again")
        else:
            await self._answer(send, 200, b"application/json", _OK)

    async def _problem(self, send: Send, status: int, title: str, detail: str) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1
        await send_problem(send, status, title, detail)

    async def _answer(self, send: Send, status: int, kind: bytes, body: bytes) -> None:
        self.answers[status] = self.answers.get(status, 0) + 1
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None where it is longer than allowed, whatever its header said."""
    parts: list[bytes] = []
    size = 0
    while True:  # the connection's own limits end it
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        part = message.get("body", b"")
        size += len(part)
        if size > LARGEST_BODY:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts) if len(parts) > 1 else part


def _is_announced_as_too_large(scope: Scope) -> bool:
    length = _header(scope, b"content-length")
    return length.isascii() and length.isdigit() and (len(length) > 9 or int(length) > LARGEST_BODY)


def _header(scope: Scope, name: bytes) -> str:
    found: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return found.decode("latin-1")
