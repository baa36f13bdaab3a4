"""What the webhook door lets in, over real HTTP into a real database."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import psycopg
import pytest
from serving import NEW, OLD, Web, started
from unstorable import UNSTORABLE

from retry_engine.entrypoints.web.webhook_door import Inbox, NotStored, Unacceptable
from retry_engine.store import inbox as stored
from retry_engine.store.database import driver_url

pytestmark = pytest.mark.integration


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
    with started(nowhere, redis_url) as engine, Web(engine) as web:
        answer = web.post(event())
        assert answer.status_code == 503
        assert web.http.get("/healthz").status_code == 200
        assert web.http.get("/readyz").status_code == 503


def test_a_broker_that_is_away_does_not_matter(database_url: str) -> None:
    with started(database_url, "redis://127.0.0.1:1/0") as engine, Web(engine) as web:
        assert web.post(event()).status_code == 200
        assert web.stored() == [":evt_1"]
        ready = web.http.get("/readyz")
        assert (ready.status_code, ready.json()["broker"]) == (503, "unreachable")


_LOADED = """
import sys, time
from retry_engine import bootstrap, settings
from retry_engine.entrypoints.web.app import create_app
found = settings.load({"DATABASE_URL": "postgresql:///none", "REDIS_URL": "redis://none",
                       "STRIPE_API_KEY": "sk_test_0", "STRIPE_WEBHOOK_SECRET": "whsec_0"})
with bootstrap.build_light(found) as engine:
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
        before = asyncio.all_tasks()
        await inbox.start()
        (writer,) = asyncio.all_tasks() - before
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        assert inbox.state() == "ok"
        await inbox.put(event(1))
        await inbox.stop()
        assert inbox.state() == "not running"

    asyncio.run(ended())
    assert _rows(database_url) == [":evt_1"]


def _rows(database_url: str) -> list[str]:
    with psycopg.connect(database_url.replace("+psycopg", "")) as connection:
        return [row[0] for row in connection.execute("select id from inbox order by id").fetchall()]
