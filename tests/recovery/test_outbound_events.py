"""The host application is told what the engine does about its customers' failed payments."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest
from correspondence import ADDRESS, Crash, Writing, in_arrears
from engine_shop import EngineShop, RealTime, build_engine
from host_application import DRIPS, HANGS, LOST, SECRET, Host, outbox, tells
from sandbox_shop import Shop

from retry_engine.adapters.host_application import HostApplication
from retry_engine.domain.errors import NotFound
from retry_engine.domain.vocabulary import OutboundState, OutboundType
from retry_engine.recovery import telling as words
from retry_engine.store import cases as rows
from retry_engine.store import outbox as stored

pytestmark = pytest.mark.integration


@pytest.fixture
def telling(shop: Shop, host: Host, database_url: str, redis_url: str) -> Iterator[EngineShop]:
    time = RealTime()
    with build_engine(
        shop, database_url, redis_url, time,
        RETRY_ENGINE_EVENTS_URL=host.url,
        RETRY_ENGINE_EVENTS_SECRET=SECRET,
    ) as engine:  # fmt: skip
        engine.worker.begin()
        yield EngineShop(shop, engine, time)


def test_the_host_hears_that_a_case_was_opened_with_the_case_as_it_was_then(
    telling: EngineShop, host: Host
) -> None:
    customer, _, invoice = telling.fails("insufficient_funds")
    tells(telling)
    (event,) = host.events
    case = telling.case(invoice)
    assert list(event) == ["id", "type", "created", "account", "data"]
    opened = case["transitions"][0]
    assert (event["type"], event["created"]) == ("recovery.opened", opened["at"])
    assert event["account"] is None
    told = event["data"]["case"]
    assert set(told) == set(telling.engine.operations.list_cases()["data"][0])
    assert (told["id"], told["customer"]) == (case["id"], customer.id)
    # it was planned since
    assert (told["state"], told["next_action"]) == ("open", None)
    assert case["next_action"] is not None


def test_without_an_address_nothing_is_kept_for_anybody(engine_shop: EngineShop) -> None:
    engine_shop.engine.worker.begin()
    customer, _, _ = engine_shop.fails("lost_card")
    engine_shop.days_pass(customer, 35, step_hours=48)
    assert outbox(engine_shop) == []


def _record(here: EngineShop) -> set[tuple[str, str, str]]:
    """(case, type, time) of all that is to be told, read out of the cases' documents."""
    found = here.engine.operations.list_cases(limit=200)["data"]
    return {
        (case["id"], *told)
        for case in found
        for told in _record_of(here.engine.operations.show_case(case["id"]))
    }


def _record_of(case: dict[str, Any]) -> set[tuple[str, str]]:
    # by when the engine knew of it; the case is as old as its first failed charge
    told = {
        ("recovery.opened", move["at"]) for move in case["transitions"] if move["name"] == "opened"
    }
    told |= {
        ("recovery.needs_customer", move["at"])
        for move in case["transitions"]
        if move["to"] == "needs_customer"
    }
    told |= {
        ("recovery.message_sent", said["at"])
        for said in case["messages"]
        if said["state"] in ("sent", "bounced")
    }
    if case["state"] == "closed":
        told.add(("recovery.closed", case["closed_at"]))
        if case["close_reason"].startswith("recovered"):
            told.add(("recovery.recovered", case["closed_at"]))
        if case["close_reason"] in ("exhausted", "stopped", "disputed"):
            told.add(("recovery.given_up", case["closed_at"]))
    return told


def _told(host: Host) -> set[tuple[str, str, str]]:
    return {(e["data"]["case"]["id"], e["type"], e["created"]) for e in host.events}


@pytest.mark.parametrize(
    "script", [("insufficient_funds",), ("lost_card",), ("insufficient_funds",) * 12]
)
def test_the_host_hears_all_that_the_record_says_and_nothing_else(
    telling: EngineShop, host: Host, script: tuple[str, ...]
) -> None:
    customer, _, invoice = telling.fails(*script)
    telling.days_pass(customer, 35, step_hours=36)
    tells(telling)
    assert telling.case(invoice)["state"] == "closed"
    assert len(host.events) == len({event["id"] for event in host.events})
    assert _told(host) == _record(telling)


@pytest.mark.parametrize(
    ("mode", "environment", "policy"),
    [
        ("shadow", {"RETRY_ENGINE_MODE": "shadow"}, ""),
        ("holdout", {}, "[comparison]\nholdout = 1.0\n"),
    ],
)
def test_who_is_left_to_stripe_is_told_of_all_the_same_and_told_apart(
    writes: Writing, host: Host, mode: str, environment: dict[str, str], policy: str
) -> None:
    here = _writing(writes, host, policy, **environment)
    customer, _, _ = here.fails("insufficient_funds", "insufficient_funds")
    here.days_pass(customer, 20, step_hours=48)
    tells(here)
    assert _told(host) == _record(here)
    assert {event["data"]["case"]["mode"] for event in host.events} == {mode}
    assert "recovery.message_sent" not in host.types()


def _writing(writes: Writing, host: Host, policy: str = "", **environment: str) -> EngineShop:
    here = writes(
        policy,
        RETRY_ENGINE_EVENTS_URL=host.url,
        RETRY_ENGINE_EVENTS_SECRET=SECRET,
        **environment,
    )
    here.engine.worker.begin()
    return here


def test_a_letter_about_two_invoices_is_told_of_each_and_names_nobody(
    writes: Writing, host: Host
) -> None:
    here = _writing(writes, host)
    _, invoices = in_arrears(here, "lost_card", "lost_card")
    tells(here)
    sent = [event for event in host.told() if event["type"] == "recovery.message_sent"]
    assert {event["data"]["case"]["invoice"] for event in sent} == {i.id for i in invoices}
    assert len(sent) == 2
    for event in sent:
        said = event["data"]["message"]
        assert (said["kind"], said["channel"], said["language"]) == (
            "update_method",
            "email",
            "de-DE",
        )
        assert said["at"] == event["created"]
    assert not any(word in body for body in host.bodies for word in (ADDRESS.encode(), b"Maria"))


def test_what_is_told_twice_has_one_id_and_is_kept_once(telling: EngineShop, host: Host) -> None:
    telling.fails("insufficient_funds")
    tells(telling)
    (first,) = host.events
    telling.sends(*telling.shop.inbox.events())  # Stripe sends all of it again
    telling.works()
    now = telling.time.now
    with telling.engine.database.transaction() as connection:
        case = rows.find(connection, first["data"]["case"]["id"])
        words.tell(connection, case, OutboundType.OPENED, at=now, real_now=now)
    tells(telling)
    assert [event["id"] for event in host.events] == [first["id"]]
    assert first["id"] == words.id_of(OutboundType.OPENED, case.id)


def test_what_is_rolled_back_is_not_told(telling: EngineShop, host: Host) -> None:
    telling.fails("insufficient_funds")
    now = telling.time.now
    with suppress(Crash), telling.engine.database.transaction() as connection:
        case = rows.find(connection, telling.engine.operations.list_cases()["data"][0]["id"])
        words.tell(connection, case, OutboundType.CLOSED, at=now, real_now=now)
        raise Crash
    tells(telling)
    assert host.types() == ["recovery.opened"]


# -- delivery


@pytest.mark.parametrize("answer", [500, 503, 429, 400, 404, 302, 307, LOST])
def test_what_is_not_taken_is_sent_again_the_very_same(
    telling: EngineShop, host: Host, answer: int
) -> None:
    host.answers = [answer, answer]
    telling.fails("insufficient_funds")
    for _ in range(3):
        tells(telling)
        telling.time.passes(seconds=5)
    (row,) = outbox(telling)
    assert (row.state, row.tries, row.last_error) == ("delivered", 3, None)
    assert len(host.paths) == 3
    assert set(host.paths) == {"/events?of=the-shop"}  # no redirect was followed
    assert len(set(host.bodies)) == 1


@pytest.mark.parametrize("answer", [HANGS, DRIPS])
def test_a_call_that_takes_too_long_is_broken_off(
    telling: EngineShop, host: Host, answer: int
) -> None:
    host.answers = [answer]
    telling.fails("insufficient_funds")
    (row,) = outbox(telling)
    impatient = HostApplication(
        url=host.url, secret=SECRET, clock=lambda: telling.time.now, seconds=0.3
    )
    event = stored.Outgoing(id=row.id, type=row.type, body=row.body, since=row.since, tries=1)
    (found,) = impatient.tell([event])
    assert found.error == "no answer within 0.3 s"
    assert found.is_silent


def test_it_is_tried_for_three_days_with_growing_gaps_then_shown_and_told_on_demand(
    telling: EngineShop, host: Host
) -> None:
    host.always = 500
    telling.fails("insufficient_funds")
    begun, times = telling.time.now, []
    while outbox(telling)[0].state == "pending":
        tells(telling)
        times.append(telling.time.now - begun)
        telling.time.now = max(outbox(telling)[0].next_try_at, telling.time.now)
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps[:-1] == sorted(gaps[:-1])
    assert (gaps[0], max(gaps)) == (timedelta(seconds=1), timedelta(hours=6))
    assert times[-1] == timedelta(days=3)
    assert len(host.bodies) == len(times) < 40

    (dead,) = telling.engine.operations.dead_letters()
    assert (dead["type"], dead["direction"]) == ("recovery.opened", "out")
    assert dead["last_error"] == "HTTP 500"
    host.always = 200
    telling.engine.operations.replay_event(dead["event_id"])
    tells(telling)
    assert host.events[-1]["id"] == dead["event_id"]
    assert telling.engine.operations.dead_letters() == []
    with pytest.raises(NotFound, match="no dead event"):
        telling.engine.operations.replay_event(dead["event_id"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_in_the_middle_leaves_it_to_the_next(
    telling: EngineShop, host: Host, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    real = HostApplication.tell

    def dies(self: HostApplication, events: Any) -> Any:
        if when == "after":
            real(self, events)
        raise Crash

    telling.fails("insufficient_funds")
    monkeypatch.setattr(HostApplication, "tell", dies)
    with pytest.raises(Crash):
        tells(telling)
    monkeypatch.setattr(HostApplication, "tell", real)
    telling.time.passes(seconds=20)
    telling.engine.worker.dispatch()  # the dead one's lease is not over
    assert len(host.events) == (1 if when == "after" else 0)
    telling.time.passes(seconds=11)
    tells(telling)
    assert len({event["id"] for event in host.events}) == 1
    assert len(host.events) == (2 if when == "after" else 1)
    assert [row.state for row in outbox(telling)] == ["delivered"]


def test_who_does_not_answer_is_asked_once_in_a_while_and_holds_up_nothing(
    telling: EngineShop, host: Host
) -> None:
    customer, _, _ = telling.fails(*["insufficient_funds"] * 3)
    now = telling.time.now
    with telling.engine.database.transaction() as connection:
        case = rows.find(connection, telling.engine.operations.list_cases()["data"][0]["id"])
        for number in range(30):
            kind = OutboundType.NEEDS_CUSTOMER
            words.tell(connection, case, kind, at=now, real_now=now, about=str(number))
    host.always = LOST
    for _ in range(60):
        tells(telling)
        telling.time.passes(seconds=1)
    assert len(host.paths) <= 8 * 7  # at 0, 1, 3, 7, 15, 31 seconds
    status = telling.engine.health.status()
    assert not any(status[k] for k in ("inbox_pending", "actions_due", "actions_in_flight"))
    telling.days_pass(customer, 6)
    assert telling.engine.operations.list_cases()["data"][0]["attempts_made"] > 0
    host.always = 200
    telling.time.passes(minutes=10)
    tells(telling)
    assert {row.state for row in outbox(telling)} == {"delivered"}


def test_one_call_of_the_receiver_is_under_way_at_a_time(telling: EngineShop, host: Host) -> None:
    telling.fails("insufficient_funds")
    now, lease = telling.time.now, timedelta(seconds=30)
    with telling.engine.database.transaction() as connection:
        case = rows.find(connection, telling.engine.operations.list_cases()["data"][0]["id"])
        for number in range(20):
            kind = OutboundType.NEEDS_CUSTOMER
            words.tell(connection, case, kind, at=now, real_now=now, about=str(number))
        # `works` has claimed what there was then; who claimed that is taken to be dead
        now += timedelta(seconds=31)
        first = stored.claim(connection, now=now, lease=lease, limit=8)
    with telling.engine.database.transaction() as connection:
        assert len(first) == 8
        assert stored.claim(connection, now=now, lease=lease, limit=8) == []


def test_a_paused_engine_goes_on_telling(telling: EngineShop, host: Host) -> None:
    telling.engine.operations.set_engine(action="pause", reason="a look", by="ola")
    telling.fails("insufficient_funds")
    tells(telling)
    assert host.types() == ["recovery.opened"]


# -- keeping house, and secrets


def test_what_was_delivered_is_kept_as_long_as_events_are(telling: EngineShop, host: Host) -> None:
    telling.fails("insufficient_funds")
    tells(telling)
    telling.time.passes(days=89)
    telling.engine.worker.housekeeping()
    assert len(outbox(telling)) == 1
    telling.time.passes(days=2)
    telling.engine.worker.housekeeping()
    assert outbox(telling) == []
    with telling.engine.database.connection() as connection:
        assert stored.counts(connection).delivered == 1  # a counter does not go back


def test_what_never_had_its_turn_is_not_given_up_unless_the_address_is_gone(
    telling: EngineShop, database_url: str, redis_url: str
) -> None:
    telling.fails("insufficient_funds")
    telling.time.passes(days=4)
    telling.engine.worker.housekeeping()
    assert [row.state for row in outbox(telling)] == [OutboundState.PENDING]
    telling.time.passes(minutes=1)
    with build_engine(telling.shop, database_url, redis_url, telling.time) as without:
        without.worker.begin()
        without.worker.housekeeping()
    assert [row.state for row in outbox(telling)] == [OutboundState.DEAD]


def test_neither_the_secret_nor_the_address_is_told_to_anybody_else(
    telling: EngineShop, host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    host.always = LOST
    telling.fails("insufficient_funds")
    tells(telling)
    (row,) = outbox(telling)
    checks = telling.engine.doctor.examine()
    (check,) = (check for check in checks if check.name == "host application")
    assert check.status == "warn"
    assert "1 waiting" in check.detail
    shown = f"{telling.engine.settings!r} {row} {checks} {''.join(capsys.readouterr())}"
    for secret in (SECRET, "of=the-shop"):
        assert secret not in shown


Mend = Callable[[EngineShop, Host], None]


def _takes_it(here: EngineShop, host: Host) -> None:
    tells(here)


def _gives_up(here: EngineShop, host: Host) -> None:
    host.always = 500
    tells(here)
    here.time.passes(days=4)
    tells(here)


@pytest.mark.parametrize(
    ("happens", "status", "says"),
    [(_takes_it, "ok", "0 waiting, 0 given up"), (_gives_up, "warn", "1 given up")],
)
def test_the_doctor_says_how_it_stands_with_the_host(
    telling: EngineShop, host: Host, happens: Mend, status: str, says: str
) -> None:
    telling.fails("insufficient_funds")
    happens(telling, host)
    checks = telling.engine.doctor.examine()
    (check,) = (check for check in checks if check.name == "host application")
    assert check.status == status
    assert says in check.detail
    assert httpx.URL(host.url).host in check.detail
