"""What becomes of a subscription and its invoice when nothing more is worth trying."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from sandbox_shop import Shop
from sqlalchemy import select

from retry_engine.recovery.gate import permit
from retry_engine.store import cases, schedule
from retry_engine.store.tables import actions

pytestmark = pytest.mark.integration

Ending = Callable[[str], EngineShop]


@pytest.fixture
def ending(shop: Shop, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Ending]:
    """An engine whose policy ends so."""
    with ExitStack() as stack:

        def build(end: str) -> EngineShop:
            policy = tmp_path / "policy.toml"
            policy.write_text(f"[end]\n{end}\n")
            time = RealTime()
            engine = build_engine(
                shop, database_url, redis_url, time, RETRY_ENGINE_CONFIG=str(policy)
            )
            return EngineShop(shop, stack.enter_context(engine), time)

        yield build


def _subscription(engine_shop: EngineShop, invoice: Any) -> Any:
    ref = invoice.parent.subscription_details.subscription
    return engine_shop.shop.stripe.v1.subscriptions.retrieve(ref)


def _invoice(engine_shop: EngineShop, invoice: Any) -> Any:
    return engine_shop.shop.stripe.v1.invoices.retrieve(invoice.id)


def _until_the_end_is_claimed(engine_shop: EngineShop, customer: Any) -> int:
    """The case is exhausted and a worker holds its end, not yet carried out: the action."""
    for _ in range(80):
        engine_shop.shop.advances(customer, hours=12)
        engine_shop.works(leave="end")
        if found := engine_shop.claimed():
            return found[0]
    raise AssertionError("the case never ends")


def test_a_subscription_that_stays_unpaid_is_cancelled_where_the_policy_says_so(
    ending: Ending,
) -> None:
    engine_shop = ending('subscription = "cancel"\nmark_uncollectible = true')
    customer, _, invoice = engine_shop.fails("do_not_honor")
    assert _subscription(engine_shop, invoice).status == "past_due"
    engine_shop.days_pass(customer, 31)
    assert engine_shop.case(invoice)["close_reason"] == "exhausted"
    assert _subscription(engine_shop, invoice).status == "canceled"
    assert _invoice(engine_shop, invoice).status == "uncollectible"
    assert _invoice(engine_shop, invoice).auto_advance is False


def test_a_paused_subscription_is_charged_no_more(ending: Ending) -> None:
    engine_shop = ending('subscription = "pause"')
    customer, _, invoice = engine_shop.fails("do_not_honor")
    engine_shop.days_pass(customer, 31)
    paused = _subscription(engine_shop, invoice)
    assert paused.pause_collection.behavior == "void"
    before = len(engine_shop.shop.ledger())
    engine_shop.days_pass(customer, 35, step_hours=24)
    assert len(engine_shop.shop.ledger()) == before


def test_whoever_pays_at_the_last_moment_keeps_the_subscription(ending: Ending) -> None:
    engine_shop = ending('subscription = "cancel"\nmark_uncollectible = true')
    customer, _, invoice = engine_shop.fails("do_not_honor")
    action = _until_the_end_is_claimed(engine_shop, customer)
    good = engine_shop.another_method(customer, "succeeded")
    engine_shop.shop.stripe.v1.invoices.pay(invoice.id, {"payment_method": good.id})
    engine_shop.engine.worker.run_action(action)
    # the next renewal has failed meanwhile: that is another case
    assert _subscription(engine_shop, invoice).status == "past_due"
    assert _invoice(engine_shop, invoice).status == "paid"


def test_a_process_that_dies_after_the_cancellation_is_followed_by_one_that_goes_on(
    ending: Ending,
) -> None:
    engine_shop = ending('subscription = "cancel"\nmark_uncollectible = true')
    customer, _, invoice = engine_shop.fails("do_not_honor")
    action = _until_the_end_is_claimed(engine_shop, customer)
    # what a process did that never came to write it down
    key = f"retry-engine:end:{action}:cancel"
    ref = invoice.parent.subscription_details.subscription
    engine_shop.engine.gateway.cancel_subscription(
        "", ref, permit=permit("takeover", "takeover"), idempotency_key=key
    )
    engine_shop.engine.worker.run_action(action)
    assert _invoice(engine_shop, invoice).status == "uncollectible"
    with engine_shop.engine.database.transaction() as connection:
        found = schedule.get(connection, action)
    assert found is not None
    assert found.state == "done"


def test_nothing_is_cancelled_while_the_engine_is_paused(ending: Ending) -> None:
    engine_shop = ending('subscription = "cancel"')
    customer, _, invoice = engine_shop.fails("do_not_honor")
    action = _until_the_end_is_claimed(engine_shop, customer)
    engine_shop.engine.operations.set_engine(action="pause", reason="looking", by="ops")
    engine_shop.engine.worker.run_action(action)
    engine_shop.works()
    assert _subscription(engine_shop, invoice).status == "past_due"
    assert engine_shop.engine.health.status()["actions_due"] == 0
    engine_shop.engine.operations.set_engine(action="resume", reason="looked", by="ops")
    engine_shop.works()
    assert _subscription(engine_shop, invoice).status == "canceled"


def test_a_case_that_a_person_stopped_keeps_its_subscription(ending: Ending) -> None:
    engine_shop = ending('subscription = "cancel"\nmark_uncollectible = true')
    _, _, invoice = engine_shop.fails("do_not_honor")
    engine_shop.engine.operations.override(
        invoice.id, action="stop", reason="asked to wait", by="ops"
    )
    engine_shop.works()
    assert _subscription(engine_shop, invoice).status == "past_due"
    assert _invoice(engine_shop, invoice).auto_advance is False


def test_a_subscription_whose_customer_has_come_back_is_not_ended(ending: Ending) -> None:
    engine_shop = ending('subscription = "cancel"')
    customer, _, invoice = engine_shop.fails("do_not_honor")
    action = _until_the_end_is_claimed(engine_shop, customer)
    new = engine_shop.another_method(customer, *["succeeded"] * 3)
    ref = invoice.parent.subscription_details.subscription
    v1 = engine_shop.shop.stripe.v1
    v1.subscriptions.update(ref, {"default_payment_method": new.id})
    engine_shop.shop.advances(customer, days=31)  # the next renewal is paid
    engine_shop.engine.worker.run_action(action)
    assert _subscription(engine_shop, invoice).status == "active"


def test_a_subscription_in_arrears_with_a_later_invoice_only_is_not_ended_for_the_old_one(
    ending: Ending,
) -> None:
    engine_shop = ending('subscription = "cancel"')
    customer, _, invoice = engine_shop.fails("do_not_honor")
    action = _until_the_end_is_claimed(engine_shop, customer)
    new = engine_shop.another_method(customer, "succeeded", "insufficient_funds", "succeeded")
    ref = invoice.parent.subscription_details.subscription
    v1 = engine_shop.shop.stripe.v1
    v1.subscriptions.update(ref, {"default_payment_method": new.id})
    engine_shop.shop.advances(customer, days=31)  # a renewal is paid, or both have failed by now
    engine_shop.shop.advances(customer, days=31)
    newest = v1.invoices.list({"subscription": ref, "limit": 3}).data
    assert [i.status for i in newest][:2] == ["open", "paid"]
    assert _subscription(engine_shop, invoice).status == "past_due"
    engine_shop.engine.worker.run_action(action)
    assert _subscription(engine_shop, invoice).status == "past_due"
    with engine_shop.engine.database.transaction() as connection:
        case = cases.find(connection, invoice.id)
        result = connection.execute(
            select(actions.c.result).where(actions.c.id == action)
        ).scalar_one()
    assert "paid a later invoice" in result
    assert "nobody charges it" in result
    assert case.taken_over  # still owed, and given to nobody


def test_the_doctor_wants_a_key_that_may_end_subscriptions_where_the_policy_ends_them(
    ending: Ending,
) -> None:
    engine_shop = ending('subscription = "pause"')
    engine_shop.shop.faults(forbidden=["subscriptions:write"])
    (row,) = [c for c in engine_shop.engine.doctor.examine() if c.name == "stripe permissions"]
    assert (row.status, row.detail) == ("fail", "the key may not use: subscriptions:write")
