"""Who is in recovery, as the business's own application asks it over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from correspondence import PUBLIC, Writing, failed, page_of, reader
from engine_shop import API_TOKEN
from post_office import PostOffice
from serving import ADMIN, TOKENS, VIEWER, Web, started
from sqlalchemy import event

pytestmark = pytest.mark.integration

KEYS = {"in_recovery", "since", "amount", "currency", "next_try", "gives_up_at", "link", "cases"}
NOTHING: dict[str, Any] = {**dict.fromkeys(KEYS), "in_recovery": False, "cases": []}
OPENED = datetime(2030, 3, 1, 9, tzinfo=UTC)


@pytest.fixture
def door(database_url: str, redis_url: str) -> Iterator[Web]:
    engine = started(
        database_url, redis_url, RETRY_ENGINE_API_TOKEN=TOKENS,
        RETRY_ENGINE_PUBLIC_URL=PUBLIC, RETRY_ENGINE_MODE="takeover",
    )  # fmt: skip
    with engine, Web(engine) as running:
        _write(running, "insert into policies (version, content) values ('p', '{}')")
        yield running


def _write(web: Web, statement: str, **values: Any) -> None:
    with web.engine.database.transaction() as connection:
        connection.exec_driver_sql(statement, values)


def _opens(web: Web, name: str, *, retry_in: float | None = None, **more: Any) -> None:
    """A case `case_NAME` of `cus_1` in `account`, `days` after the first one's day."""
    opened = OPENED + timedelta(days=more.pop("days", 0))
    values = {
        "id": f"case_{name}", "invoice_id": f"in_{name}", "customer_id": "cus_1", "account": "",
        "state": "open", "mode": "takeover", "policy_version": "p", "amount_remaining": 2900,
        "currency": "eur", "opened_at": opened, "deadline_at": opened + timedelta(days=30),
        **more,
    }  # fmt: skip
    names = ", ".join(values)
    given = ", ".join(f"%({key})s" for key in values)
    _write(web, f"insert into cases ({names}) values ({given})", **values)
    if retry_in is not None:
        _write(
            web,
            "insert into actions (case_id, kind, due_at, account) values (%(c)s, 'retry', %(at)s,"
            " %(a)s)",
            c=values["id"], at=opened + timedelta(days=retry_in), a=values["account"],
        )  # fmt: skip


def _letter(web: Web, name: str) -> None:
    _write(
        web,
        "with a as (insert into actions (case_id, kind, state, due_at)"
        " values (%(c)s, 'message', 'done', %(at)s) returning id)"
        " insert into messages (case_id, action_id, customer_id, kind, channel, state, at,"
        " begun_at, message_id) select %(c)s, id, 'cus_1', 'payment_failed', 'email', 'sent',"
        " %(at)s, %(at)s, %(m)s from a",
        c=f"case_{name}", at=OPENED, m=f"letter_{name}",
    )  # fmt: skip


def _asks(web: Web, query: str = "", customer: str = "cus_1", token: str = VIEWER) -> Any:
    return web.http.get(
        f"/api/customers/{customer}/standing{query}", headers={"Authorization": f"Bearer {token}"}
    )


def _day(days: float) -> str:
    return f"{OPENED + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def test_a_customer_in_recovery_is_told_whole_and_in_one_query(door: Web) -> None:
    _opens(door, "1", retry_in=3)
    statements: list[str] = []
    engine = door.engine.database.engine
    event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    answer = _asks(door)
    assert answer.status_code == 200
    assert answer.json() == {
        "in_recovery": True, "since": _day(0), "amount": 2900, "currency": "eur",
        "next_try": _day(3), "gives_up_at": _day(30), "link": None, "cases": ["case_1"],
    }  # fmt: skip
    assert len(statements) == 1
    described = door.http.get(
        "/api/openapi.json", headers={"Authorization": f"Bearer {ADMIN}"}
    ).json()
    assert set(described["components"]["schemas"]["Standing"]["properties"]) == KEYS
    assert _asks(door, token="nobody's-own-token").status_code == 401


@pytest.mark.parametrize(
    "record",
    [
        "insert into payment_methods (id, customer_id, type) values ('pm_1', 'cus_1', 'card')",
        "insert into attempts (customer_id, at, source, outcome, amount, currency)"
        " values ('cus_1', now(), 'stripe', 'succeeded', 1, 'eur')",
        "insert into attempt_log (row_hash, customer_id, at, content)"
        " values ('h', 'cus_1', now(), '{}')",
        "insert into renewals (customer_id, subscription_id, renews_at, method_id, amount,"
        " currency, due_at) values ('cus_1', 'sub_1', now(), 'pm_1', 1, 'eur', now())",
        None,
    ],
)
def test_whoever_is_on_record_stands_well_and_of_others_nothing_is_said(
    door: Web, record: str | None
) -> None:
    assert _asks(door).status_code == 404
    if record is None:
        _opens(door, "1", state="closed", closed_at=OPENED, close_reason="recovered_by_engine")
    else:
        _write(door, record)
    assert _asks(door).json() == NOTHING
    assert _asks(door, customer="cus_2").status_code == 404
    assert _asks(door, "?account=acct_9").status_code == 404
    for wrong in ("?account=9", "?acount=acct_9", "?account=acct_%D9%A3"):
        assert _asks(door, wrong).status_code == 422


@pytest.mark.parametrize(
    ("state", "charged", "led"),
    [
        ("open", True, True), ("needs_customer", False, True), ("processing", False, False),
        ("in_review", False, False), ("paused", False, False),
    ],
)  # fmt: skip
def test_in_every_state_but_the_last_recovery_goes_on_and_only_what_will_happen_is_promised(
    door: Web, state: str, charged: bool, led: bool
) -> None:
    _opens(door, "1", state=state, retry_in=3 if charged else None)
    _letter(door, "1")
    told = _asks(door).json()
    assert told["in_recovery"]
    assert told["next_try"] == (_day(3) if charged else None)
    assert (told["link"] is not None) == led


@pytest.mark.parametrize("mode", ["shadow", "holdout"])
def test_where_stripe_retries_the_next_try_is_stripes_and_no_page_of_ours_is_named(
    door: Web, mode: str
) -> None:
    # its schedule may be known, unknown, or have passed unheard of
    now = datetime.fromtimestamp(door.engine.clock().timestamp(), UTC)
    soon = now.replace(microsecond=0) + timedelta(days=2)
    _opens(door, "1", mode=mode, retry_in=3)
    _letter(door, "1")
    for at, told in ((soon, f"{soon:%Y-%m-%dT%H:%M:%SZ}"), (None, None), (now, None)):
        _write(door, "update cases set stripe_next_attempt_at = %(at)s", at=at)
        standing = _asks(door).json()
        assert (standing["in_recovery"], standing["next_try"]) == (True, told)
        assert standing["link"] is None


def test_while_everything_is_paused_nothing_is_promised(door: Web) -> None:
    _opens(door, "1", retry_in=3)
    for action, told in (("pause", None), ("resume", _day(3))):
        door.engine.operations.set_engine(action=action, reason="a test", by="ann")
        assert _asks(door).json()["next_try"] == told


def test_several_cases_are_one_standing_and_amounts_of_another_currency_are_not_added(
    door: Web,
) -> None:
    _opens(door, "b", retry_in=6, days=2, amount_remaining=100)
    _opens(door, "a", retry_in=9)
    _opens(door, "c", days=4, amount_remaining=7, currency="usd", state="paused")
    _opens(door, "d", state="closed", closed_at=OPENED, close_reason="voided")
    _letter(door, "b")
    told = _asks(door).json()
    assert told["cases"] == ["case_a", "case_b", "case_c"]
    assert (told["since"], told["gives_up_at"]) == (_day(0), _day(34))
    assert (told["amount"], told["currency"]) == (3000, "eur")
    assert told["next_try"] == _day(8)
    assert told["link"].startswith(f"{PUBLIC}/r/")


def test_accounts_are_kept_apart_and_ones_own_comes_first(door: Web) -> None:
    _opens(door, "x", account="acct_1", amount_remaining=1)
    assert _asks(door).json()["cases"] == ["case_x"]
    _opens(door, "y")
    assert _asks(door).json()["cases"] == ["case_y"]
    assert _asks(door, "?account=acct_1").json()["cases"] == ["case_x"]
    assert _asks(door, "?account=acct_2").status_code == 404


def test_the_link_is_that_of_the_letter_and_is_written_into_no_log(
    writes: Writing, post_office: PostOffice, capfd: pytest.CaptureFixture[str]
) -> None:
    here = writes()
    customer, invoice = failed(here, "expired_card", "expired_card")
    (mail,) = post_office.mails
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    with Web(here.engine) as web:
        told = web.http.get(f"/api/customers/{customer.id}/standing", headers=headers).json()
    case = here.case(invoice)
    assert told["cases"] == [case["id"]]
    assert told["since"] == case["opened_at"]  # on the customer's own clock
    page = reader(here).get(told["link"].removeprefix(PUBLIC))
    assert page.text.replace(told["link"].rpartition("/")[2], "") == reader(here).get(
        page_of(mail)
    ).text.replace(page_of(mail).rpartition("/")[2], "")
    assert told["link"].rpartition("/")[2] not in "".join(capfd.readouterr())
