"""`POST /webhooks/stripe`: the signature is checked, the event is durable, then Stripe hears 200.

Requests that arrive together share one insert and one commit: the disk's answer is what an
acknowledgement waits for, and it is the same for one event as for fifty.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg.types.json import set_json_loads

from retry_engine.entrypoints.web.problems import send_problem

log = structlog.get_logger()

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LARGEST_BODY = 1024 * 1024
_TOLERANCE_SECONDS = 300
_WRITE_SECONDS = 3.0
_MOST_IN_A_COMMIT = 64

_COLUMNS = "(id, event_id, account, type, object_id, api_version, livemode, payload)"
_ROW = "(%s, %s, %s, %s, %s, %s, %s, %s)"
_OK = b'{"received":true}'


class Unacceptable(Exception):
    """The request is not a signed Stripe event."""


class NotStored(Exception):
    """The event could not be made durable now; Stripe will send it again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it goes into the inbox."""

    row_id: str
    values: tuple[Any, ...]


class Signatures:
    """Checks Stripe's signature header against any of several secrets (they are rotated)."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]

    @property
    def are_configured(self) -> bool:
        """Whether there is anything to check against."""
        return bool(self._secrets)

    def check(self, body: bytes, header: str, *, now: float) -> None:
        """Raises Unacceptable unless the header signs this body, now, with one of the secrets."""
        timestamp, given = _parse_header(header)
        if abs(now - timestamp) > _TOLERANCE_SECONDS:
            raise Unacceptable("the signature's timestamp is more than 300 s away")
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
        if name == "t" and value.isascii() and value.isdigit():
            timestamp = int(value)
        elif name == "v1":
            given.append(value.encode())
    if timestamp is None or not given:
        raise Unacceptable("no usable Stripe-Signature header; expected t=…,v1=…")
    return timestamp, given


def parse_event(body: bytes) -> Event:
    """The event in a body, or Unacceptable."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise Unacceptable("the body is not JSON") from None
    if not isinstance(event, dict) or event.get("object") != "event":
        raise Unacceptable('the body is no event; expected "object": "event"')
    event_id, kind, account = event.get("id"), event.get("type"), event.get("account") or ""
    if not (isinstance(event_id, str) and event_id.startswith("evt_") and isinstance(kind, str)):
        raise Unacceptable("the event has no id (evt_…) or no type")
    if not isinstance(account, str) or b"\\u0000" in body:
        raise Unacceptable("the event holds what cannot be stored")
    data = event.get("data")
    concerned = data.get("object") if isinstance(data, dict) else None
    object_id = concerned.get("id") if isinstance(concerned, dict) else None
    livemode, version = event.get("livemode"), event.get("api_version")
    row_id = f"{account}:{event_id}"
    values = (
        row_id,
        event_id,
        account,
        kind,
        object_id if isinstance(object_id, str) else None,
        version if isinstance(version, str) else None,
        livemode if isinstance(livemode, bool) else None,
        body.decode(),
    )
    return Event(row_id, values)


class Inbox:
    """Writes events in groups: whatever has come while the last commit was under way."""

    def __init__(self, dsn: str, notify: Callable[[list[str]], None]) -> None:
        self._dsn = dsn
        self._notify = notify
        self._queue: asyncio.Queue[tuple[Event, asyncio.Future[None]]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def start(self) -> None:
        """Begin to write."""
        self._keep(asyncio.create_task(self._write_for_ever()))

    async def stop(self) -> None:
        """Stop writing; who still waits is told so."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def put(self, event: Event) -> None:
        """Returns when the event is durable.

        Raises:
            NotStored: it is not, or nobody knows.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((event, done))
        await done  # the writer answers within its own time limit, whatever the database does

    async def _write_for_ever(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < _MOST_IN_A_COMMIT and not self._queue.empty():
                group.append(self._queue.get_nowait())
            await self._settle(group)

    async def _settle(self, group: list[tuple[Event, asyncio.Future[None]]]) -> None:
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                new = await self._write([event for event, _ in group])
        except psycopg.DataError as error:
            await self._settle_one_by_one(group, error)
            return
        except (psycopg.Error, OSError, TimeoutError) as error:
            log.error("inbox_not_written", error=type(error).__name__)
            await self._drop_connection()
            for _, done in group:
                _refuse(done)
            return
        for _, done in group:
            if not done.done():
                done.set_result(None)
        if new:
            self._keep(asyncio.create_task(self._tell(new)))

    async def _settle_one_by_one(
        self, group: list[tuple[Event, asyncio.Future[None]]], error: psycopg.Error
    ) -> None:
        """One row that PostgreSQL will not take must not keep its neighbours out."""
        if len(group) > 1:
            for one in group:
                await self._settle([one])
            return
        log.warning("event_cannot_be_stored", event=group[0][0].row_id, error=str(error))
        done = group[0][1]
        if not done.done():
            done.set_exception(Unacceptable("the event holds what cannot be stored"))

    async def _write(self, events: list[Event]) -> list[str]:
        unique = {event.row_id: event for event in events}
        connection = await self._connected()
        rows = ", ".join([_ROW] * len(unique))
        values = [value for event in unique.values() for value in event.values]
        cursor = await connection.execute(
            f"insert into inbox {_COLUMNS} values {rows}"  # noqa: S608  # constants only
            " on conflict do nothing returning id",
            values,
        )
        return [row[0] for row in await cursor.fetchall()]

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._dsn, autocommit=True, connect_timeout=2, application_name="retry-engine-web"
            )
            set_json_loads(json.loads, self._connection)
        return self._connection

    async def _drop_connection(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

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


def _refuse(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_exception(NotStored())


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
        body = await _read(receive)
        if body is None:
            await self._problem(send, 413, "Too large", f"expected at most {LARGEST_BODY} bytes")
            return
        if not self._signatures.are_configured:
            log.error("webhook_secret_missing", mend="set STRIPE_WEBHOOK_SECRET")
            await self._problem(send, 503, "Not ready", "webhooks cannot be verified here yet")
            return
        try:
            self._signatures.check(body, _header(scope, b"stripe-signature"), now=self._clock())
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
    while True:
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


def _header(scope: Scope, name: bytes) -> str:
    found: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return found.decode("latin-1")
