"""The host application is told what the engine does about its customers' failed payments."""

from collections.abc import Iterator
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from host_application import SECRET, Host, outbox, tells
from sandbox_shop import Shop

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
