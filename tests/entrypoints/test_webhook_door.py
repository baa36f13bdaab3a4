"""What the webhook door lets in, over real HTTP into a real database."""

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
import uvicorn
from sqlalchemy import text
from unstorable import UNSTORABLE

from retry_engine import settings, wiring
from retry_engine.entrypoints.web.app import create_app
from retry_engine.entrypoints.web.webhook_door import Inbox, NotStored, Unacceptable
from retry_engine.store import inbox as stored
from retry_engine.store.database import driver_url

pytestmark = pytest.mark.integration

NOW = 1_900_000_000.0
OLD, NEW = "whsec_old", "whsec_new"
TOKENS = "ann:admin:t-admin,ola:t-operator,vic:viewer:t-viewer"


class Web:
    """The web process's application under a real server."""

    def __init__(self, engine: wiring.Engine) -> None:
        self.engine = engine
        config = uvicorn.Config(
            create_app(engine, clock=lambda: NOW), port=0, log_level="critical", lifespan="on"
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self) -> "Web":
        self.thread.start()
        pause = threading.Event()
        while not self.server.started:
            pause.wait(0.005)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self.server.should_exit = True
        self.thread.join(10)

    def post(
        self, event: Any, *, secret: str = NEW, age: float = 0, header: str | None = None
    ) -> httpx.Response:
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        at = int(NOW - age)
        signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        signature = f"t={at},v1={signed}" if header is None else header
        return self.http.post(
            "/webhooks/stripe", content=body, headers={"Stripe-Signature": signature}
        )

    def stored(self) -> list[str]:
        with self.engine.database.connection() as connection:
            return list(connection.execute(text("select id from inbox order by id")).scalars())


def _engine(database_url: str, redis_url: str, **more: str) -> wiring.Engine:
    return wiring.build(
        settings.load(
            {
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "STRIPE_API_KEY": "sk_test_door0000000",
                "STRIPE_WEBHOOK_SECRET": f"{OLD},{NEW}",
                **more,
            }
        )
    )


@pytest.fixture
def web(database_url: str, redis_url: str) -> Iterator[Web]:
    with _engine(database_url, redis_url) as engine, Web(engine) as running:
        yield running


@pytest.fixture
def guarded(database_url: str, redis_url: str) -> Iterator[Web]:
    engine = _engine(database_url, redis_url, RETRY_ENGINE_API_TOKEN=TOKENS)
    with engine, Web(engine) as running:
        yield running


def event(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": "invoice.paid",
        "data": {"object": {"id": "in_1", "object": "invoice"}},
        **more,
    }


def test_a_signed_event_is_stored_and_acknowledged(web: Web) -> None:
    assert web.post(event()).status_code == 200
    assert web.stored() == [":evt_1"]


def test_the_same_event_again_is_acknowledged_and_stored_once(web: Web) -> None:
    assert [web.post(event()).status_code for _ in range(3)] == [200, 200, 200]
    assert web.stored() == [":evt_1"]


def test_the_same_id_on_a_connected_account_is_another_event(web: Web) -> None:
    web.post(event())
    web.post(event(account="acct_1"))
    assert web.stored() == [":evt_1", "acct_1:evt_1"]


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_each_of_several_secrets_is_good(web: Web, secret: str) -> None:
    assert web.post(event(), secret=secret).status_code == 200


@pytest.mark.parametrize("age", [301, -301, 10**6])
def test_a_stale_or_future_timestamp_is_refused(web: Web, age: float) -> None:
    assert web.post(event(), age=age).status_code == 400
    assert web.stored() == []


@pytest.mark.parametrize("age", [299, -299])
def test_a_timestamp_within_300_seconds_is_good(web: Web, age: float) -> None:
    assert web.post(event(), age=age).status_code == 200


@pytest.mark.parametrize("header", ["", "t=1", "v1=abc", "nonsense", "t=x,v1=y", "t=²,v1=ab"])
def test_an_unusable_signature_header_is_refused(web: Web, header: str) -> None:
    answer = web.http.post(
        "/webhooks/stripe",
        content=json.dumps(event()).encode(),
        headers={b"Stripe-Signature": header.encode()},
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_wrong_secret_is_refused(web: Web) -> None:
    assert web.post(event(), secret="whsec_wrong").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b'"text"',
        b'{"object": "invoice", "id": "in_1"}',
        b'{"object": "event", "type": "x"}',
        b'{"object": "event", "id": "evt_1"}',
        b'{"object": "event", "id": "evt_1", "type": "x", "data": {"a": "\\u0000"}}',
        b'{"object": "event", "id": "evt_1", "type": "x", "account": 3}',
    ],
)
def test_a_body_that_is_no_event_is_refused(web: Web, body: bytes) -> None:
    assert web.post(body).status_code == 400
    assert web.stored() == []


def test_a_body_over_a_mebibyte_is_refused(web: Web) -> None:
    assert web.post(b"x" * (1024 * 1024 + 1)).status_code == 413


def test_only_post_is_taken(web: Web) -> None:
    assert web.http.get("/webhooks/stripe").status_code == 405


def test_an_event_that_cannot_be_stored_is_asked_for_again(redis_url: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with _engine(nowhere, redis_url) as engine, Web(engine) as web:
        answer = web.post(event())
        assert answer.status_code == 503
        assert web.http.get("/healthz").status_code == 200
        assert web.http.get("/readyz").status_code == 503
        assert web.http.get("/api/status").status_code == 503


def test_a_broker_that_is_away_does_not_matter(database_url: str) -> None:
    with _engine(database_url, "redis://127.0.0.1:1/0") as engine, Web(engine) as web:
        assert web.post(event()).status_code == 200
        assert web.stored() == [":evt_1"]
        ready = web.http.get("/readyz")
        assert (ready.status_code, ready.json()["broker"]) == (503, "unreachable")


# -- who may do what


def _as(web: Web, token: str | None, method: str, path: str, **more: Any) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return web.http.request(method, path, headers=headers, **more).status_code


SWITCH = {"action": "resume", "reason": "a test"}


@pytest.mark.parametrize(
    ("token", "read", "write"),
    [
        ("t-viewer", 200, 403),
        ("t-operator", 200, 200),
        ("t-admin", 200, 200),
        ("t-nobody", 401, 401),
        (None, 401, 401),
    ],
)
def test_a_token_allows_what_its_role_does(
    guarded: Web, token: str | None, read: int, write: int
) -> None:
    assert _as(guarded, token, "GET", "/api/status") == read
    assert _as(guarded, token, "POST", "/api/engine", json=SWITCH) == write


def test_without_tokens_only_this_host_may_read(web: Web) -> None:
    assert _as(web, None, "GET", "/api/status") == 200
    assert _as(web, None, "POST", "/api/engine", json=SWITCH) == 403
    proxied = web.http.get("/api/status", headers={"X-Forwarded-For": "127.0.0.1"})
    assert proxied.status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/engine", {"action": "explode", "reason": "x"}, 422),
        ("/api/engine", {"action": "pause"}, 422),
        ("/api/engine", {"action": "pause", "reason": "x", "extra": 1}, 422),
        ("/api/cases/in_none/override", {"action": "pause", "reason": "x"}, 404),
        ("/api/cases/in_1/override", {"action": "retry", "reason": "x", "at": "soon"}, 422),
        ("/api/reviews/rev_none", {"verdict": "approve", "reason": "x"}, 404),
        ("/api/suppressions", {"email": "maria", "reason": "bounced"}, 422),
        ("/api/suppressions", {"email": "maria@example.com", "reason": "sad"}, 422),
        ("/api/suppressions", {"email": "maria@example.com"}, 422),
        ("/api/suppressions", {"email": "m@a.eu", "reason": "bounced", "account": "x"}, 422),
        ("/api/nothing", {}, 404),
    ],
)
def test_what_makes_no_sense_is_told_as_a_problem(
    guarded: Web, path: str, body: Any, status: int
) -> None:
    answer = guarded.http.post(path, json=body, headers={"Authorization": "Bearer t-operator"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= set(answer.json())
    assert "maria" not in answer.text


def test_an_address_is_suppressed_by_an_operator_and_not_kept(
    guarded: Web, capfd: pytest.CaptureFixture[str]
) -> None:
    body = {"email": "Maria@example.com", "reason": "complained"}
    assert _as(guarded, "t-viewer", "POST", "/api/suppressions", json=body) == 403
    for _ in range(2):
        answer = guarded.http.post(
            "/api/suppressions", json=body, headers={"Authorization": "Bearer t-operator"}
        )
        assert (answer.status_code, answer.json()) == (200, {"suppressed": True})
    elsewhere = {**body, "account": "acct_1"}
    assert _as(guarded, "t-operator", "POST", "/api/suppressions", json=elsewhere) == 200
    with guarded.engine.database.connection() as connection:
        kept = connection.exec_driver_sql("select * from suppressions order by account").all()
    assert [(row.account, row.reason) for row in kept] == [
        ("", "complained"), ("acct_1", "complained"),
    ]  # fmt: skip
    lift = {"email": "maria@example.com", "reason": "asked by phone"}
    there = "/api/suppressions/lift"
    assert _as(guarded, "t-viewer", "POST", there, json=lift) == 403
    assert _as(guarded, "t-operator", "POST", there, json=lift) == 409  # it was their own word
    lift["against_their_wish"] = True
    assert _as(guarded, "t-operator", "POST", there, json=lift) == 200
    assert _as(guarded, "t-operator", "POST", there, json=lift) == 404
    with guarded.engine.database.connection() as connection:
        query = "select act, reason, by, note from suppression_acts where account = '' order by id"
        acts = [tuple(row) for row in connection.exec_driver_sql(query)]
    (name,) = {act[2] for act in acts}
    assert acts == [
        ("suppressed", "complained", name, None), ("lifted", None, name, "asked by phone"),
    ]  # fmt: skip
    assert "maria" not in f"{kept} {''.join(capfd.readouterr())}".casefold()


def test_the_pages_for_programs_answer(web: Web) -> None:
    described = web.http.get("/api/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    assert {"/api/status", "/api/cases", "/api/cases/{case}/override"} <= set(described["paths"])
    (refers,) = described["paths"]["/api/suppressions"]["post"]["requestBody"]["content"].values()
    name = refers["schema"]["$ref"].rpartition("/")[2]
    assert set(described["components"]["schemas"][name]["required"]) == {"email", "reason"}
    assert web.http.get("/api/cases").json() == {
        "data": [],
        "has_more": False,
        "next_cursor": None,
    }
    assert web.http.get("/api/cases?limit=0").status_code == 422
    metrics = web.http.get("/metrics").text
    assert "retry_engine_actions_due 0.0" in metrics


_LOADED = """
import sys, time
from retry_engine import settings, wiring
from retry_engine.entrypoints.web.app import create_app
found = settings.load({"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://none",
                       "STRIPE_API_KEY": "sk_test_0", "STRIPE_WEBHOOK_SECRET": "whsec_0"})
with wiring.build(found, learnt=False) as engine:
    create_app(engine, clock=time.time)
    print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_web_process_loads_none_of_the_models_libraries() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "retry_engine" in loaded
    assert not loaded & {"sksurv", "sklearn", "numpy", "pandas", "scipy", "matplotlib", "celery"}


# -- the writer behind the door


@pytest.mark.parametrize("body", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_signed_json_that_cannot_be_kept_is_refused_and_the_next_event_is_taken(
    web: Web, body: bytes
) -> None:
    inside = b'{"id": "evt_2", "object": "event", "type": "x", "data": %s}' % body
    answer = web.post(inside)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert web.post(event()).status_code == 200
    assert web.stored() == [":evt_1"]
    assert web.http.get("/readyz").json()["writer"] == "ok"


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "evt_" + "a" * 10_000},
        {"id": "evt_1\n"},
        {"id": "evt_"},
        {"type": "x" * 10_000},
        {"type": "a type"},
        {"account": "acct_" + "a" * 10_000},
        {"account": "another"},
    ],
)
def test_ids_that_are_none_are_refused(web: Web, wrong: dict[str, str]) -> None:
    assert web.post(event() | wrong).status_code == 400


def test_an_object_whose_id_no_index_can_hold_is_stored_without_it(web: Web) -> None:
    body = event(data={"object": {"id": os.urandom(4000).hex()}})
    assert web.post(body).status_code == 200
    assert web.stored() == [":evt_1"]


def _write(database_url: str, store: Any, events: list[dict[str, Any]]) -> list[object]:
    """What each of these hears, all of them having come in one moment."""

    async def together() -> list[object]:
        inbox = Inbox(database_url, lambda _ids: None, write=store)
        await inbox.start()
        answers = await asyncio.gather(*map(inbox.put, events), return_exceptions=True)
        await inbox.stop()
        return [type(answer) for answer in answers]

    return asyncio.run(together())


@pytest.mark.parametrize("wrong", [ValueError("?"), UnicodeEncodeError("utf-8", "?", 0, 1, "?")])
def test_one_event_that_cannot_be_written_keeps_no_other_out(
    database_url: str, wrong: Exception
) -> None:
    def store(connection: Any, *events: dict[str, Any]) -> list[str]:
        if any(e["id"] == "evt_2" for e in events):
            raise wrong
        return stored.store(connection, *events)

    said = _write(driver_url(database_url), store, [event(n) for n in (1, 2, 3)])
    assert said == [type(None), Unacceptable, type(None)]
    assert _rows(database_url) == [":evt_1", ":evt_3"]


def test_a_database_that_went_away_is_found_again(database_url: str) -> None:
    broken = iter([True])

    def store(connection: Any, *events: dict[str, Any]) -> list[str]:
        if next(broken, False):
            raise psycopg.OperationalError("the connection is closed")
        return stored.store(connection, *events)

    async def twice() -> None:
        inbox = Inbox(driver_url(database_url), lambda _ids: None, write=store)
        await inbox.start()
        with pytest.raises(NotStored):
            await inbox.put(event(1))
        await inbox.put(event(1))
        await inbox.stop()

    asyncio.run(twice())
    assert _rows(database_url) == [":evt_1"]


def test_a_writer_that_ends_is_started_again_and_said_to_be_down_when_it_is(
    database_url: str,
) -> None:
    async def ended() -> None:
        inbox = Inbox(driver_url(database_url), lambda _ids: None)
        assert inbox.state() == "not running"
        with pytest.raises(NotStored):
            await inbox.put(event(1))
        await inbox.start()
        assert inbox._writer is not None
        inbox._writer.cancel()
        await asyncio.gather(inbox._writer, return_exceptions=True)
        assert inbox.state() == "ok"
        await inbox.put(event(1))
        await inbox.stop()
        assert inbox.state() == "not running"

    asyncio.run(ended())
    assert _rows(database_url) == [":evt_1"]


def _rows(database_url: str) -> list[str]:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        return [row[0] for row in connection.execute("select id from inbox order by id").fetchall()]
