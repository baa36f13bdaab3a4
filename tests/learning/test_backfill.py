"""Stripe's past, read over real HTTP from the sandbox into a real database."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from engine_shop import EngineShop
from sqlalchemy import text

from retry_engine.domain.errors import BadRequest, Refused, StripeForbidden, StripeUnavailable
from retry_engine.learning.backfill import Backfill, Progress
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.store import cases
from retry_engine.store.learning import own_rows

pytestmark = pytest.mark.integration
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


class Killed(Exception):
    """Whoever was reading is no more."""


def reading(here: EngineShop, *, page_size: int = 100) -> Backfill:
    return Backfill(
        database=here.engine.database,
        stripe=here.engine.gateway,
        clock=here.time,
        page_size=page_size,
    )


def read(here: EngineShop, since: datetime = SINCE, **more: Any) -> dict[str, Any]:
    return reading(here, **more).run(since, account="", on_progress=lambda _: None)


def rows(here: EngineShop) -> list[dict[str, Any]]:
    query = text("select content from attempt_log order by at, content->>'kind', row_hash")
    with here.engine.database.connection() as connection:
        return [dict(content) for content in connection.execute(query).scalars()]


def change(here: EngineShop, statement: str) -> None:
    with here.engine.database.transaction() as connection:
        connection.execute(text(statement))


def kinds(found: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    return Counter((r["kind"], r.get("outcome") or r["close_reason"]) for r in found)


def test_every_charge_of_a_failed_invoice_becomes_a_row_and_its_end_too(
    engine_shop: EngineShop,
) -> None:
    shop = engine_shop.shop
    decline = {
        "decline_code": "insufficient_funds",
        "advice_code": "try_again_later",
        "network_advice_code": "25",
        "network_decline_code": "51",
        "risk_level": "elevated",
    }
    customer, method, invoice = shop.failed_renewal(decline, "do_not_honor", "succeeded")
    shop.stripe.v1.customers.update(
        customer.id,
        {"address": {"country": "DE"}, "metadata": {"timezone": "Europe/Berlin"}},
    )
    shop.advances(customer, days=6)
    found = read(engine_shop)
    first, second, third, end = rows(engine_shop)
    assert [first["decline_code"], second["decline_code"]] == ["insufficient_funds", "do_not_honor"]
    assert (third["outcome"], end["close_reason"]) == ("succeeded", "recovered")
    assert [r["at"] for r in (first, third)] == [
        datetime.fromtimestamp(t["at"], UTC).isoformat()
        for t in (shop.ledger(invoice)[0], shop.ledger(invoice)[2])
    ]
    card = method.card
    assert first == {
        "kind": "attempt",
        "invoice_id": invoice.id,
        "customer_id": customer.id,
        "at": first["at"],
        "amount": 2000,
        "currency": "usd",
        "outcome": "failed",
        **decline,
        "payment_method_id": method.id,
        "method_type": "card",
        "card_brand": "visa",
        "card_funding": card.funding,
        "card_country": card.country,
        "card_exp": f"{card.exp_year}-{card.exp_month:02}",
        "card_fingerprint": card.fingerprint,
        "customer_country": "DE",
        "customer_timezone": "Europe/Berlin",
        "customer_since": datetime.fromtimestamp(customer.created, UTC).isoformat(),
        "billing_reason": "subscription_cycle",
        "billing_interval": "month",
        "source": "stripe",
        "charge_id": shop.ledger(invoice)[0]["charge"],
    }
    assert (found["invoices"], found["new"]) == (1, 4)


def test_invoices_that_never_failed_are_left_out(engine_shop: EngineShop) -> None:
    customer, _ = engine_shop.shop.customer_with("succeeded", "succeeded")
    engine_shop.shop.subscribed(customer)
    engine_shop.shop.advances(customer, days=40)
    found = read(engine_shop)
    assert found["charges"] == 2
    assert (found["invoices"], rows(engine_shop)) == (0, [])


def test_what_failed_before_the_date_is_left_out(engine_shop: EngineShop) -> None:
    _, _, invoice = engine_shop.shop.failed_renewal("insufficient_funds")
    failed_at = datetime.fromtimestamp(engine_shop.shop.ledger(invoice)[0]["at"], UTC)
    assert read(engine_shop, failed_at + timedelta(seconds=1))["new"] == 0
    assert read(engine_shop, failed_at)["new"] == 1


def test_each_end_of_an_invoice_is_told_as_it_was(engine_shop: EngineShop) -> None:
    shop = engine_shop.shop
    ends = {}
    for how in ("voided", "uncollectible", "churned", "open"):
        customer, _, invoice = shop.failed_renewal("insufficient_funds")
        ends[invoice.id] = how
        if how == "voided":
            shop.stripe.v1.invoices.void_invoice(invoice.id)
        elif how == "uncollectible":
            shop.stripe.v1.invoices.mark_uncollectible(invoice.id)
        elif how == "churned":
            shop.http.post("/_sandbox/act", json={"customer": customer.id, "act": "cancel"})
    read(engine_shop)
    closed = {
        r["invoice_id"]: r["close_reason"] for r in rows(engine_shop) if r["kind"] == "closed"
    }
    assert closed == {invoice: how for invoice, how in ends.items() if how != "open"}


def test_reading_twice_changes_nothing(engine_shop: EngineShop) -> None:
    engine_shop.shop.failed_renewal("insufficient_funds")
    assert read(engine_shop)["new"] == 1
    before = rows(engine_shop)
    again = read(engine_shop)
    assert (again["new"], again["changed"]) == (0, 0)
    assert rows(engine_shop) == before


def test_a_killed_reading_carries_on_and_ends_as_an_unbroken_one(engine_shop: EngineShop) -> None:
    shop = engine_shop.shop
    for _ in range(3):
        customer, _, _ = shop.failed_renewal("insufficient_funds", "do_not_honor", "succeeded")
        shop.advances(customer, days=6)

    def dies_after_the_first_page(progress: Progress) -> None:
        if progress.charges == 4:
            raise Killed

    with pytest.raises(Killed):
        reading(engine_shop, page_size=4).run(
            SINCE, account="", on_progress=dies_after_the_first_page
        )
    half = rows(engine_shop)
    carried_on = read(engine_shop, page_size=4)
    assert carried_on["resumed"]
    assert carried_on["charges"] == len(shop.ledger()) == 12
    whole = rows(engine_shop)
    assert 0 < len(half) < len(whole) == 12
    change(engine_shop, "truncate attempt_log, backfills")
    unbroken = read(engine_shop)
    assert not unbroken["resumed"]
    assert rows(engine_shop) == whole
    assert carried_on["new"] == unbroken["new"] == 12
    assert carried_on["invoices"] == unbroken["invoices"] == 3


def test_a_reading_that_stripe_breaks_off_is_to_be_run_again(engine_shop: EngineShop) -> None:
    shop = engine_shop.shop
    for _ in range(2):
        shop.failed_renewal("insufficient_funds")
    shop.faults(api=[{"fault": "drop_before", "on": "GET /v1/invoices/*", "skip": 1, "times": 4}])
    with pytest.raises(StripeUnavailable, match="run it again to carry on"):
        read(engine_shop, page_size=1)
    assert len(rows(engine_shop)) == 1
    assert read(engine_shop, page_size=1)["resumed"]
    assert len(rows(engine_shop)) == 2


def test_what_stripe_no_longer_has_at_the_place_to_go_on_from_is_read_once_more(
    engine_shop: EngineShop,
) -> None:
    for _ in range(2):
        engine_shop.shop.failed_renewal("insufficient_funds")
    read(engine_shop)
    change(engine_shop, "update backfills set finished_at = null, cursor = 'ch_gone'")
    assert read(engine_shop)["new"] == 2  # of the first time
    assert len(rows(engine_shop)) == 2


def test_two_at_once_are_refused(engine_shop: EngineShop) -> None:
    lock = f"backfill  {SINCE.isoformat()}"
    with (
        engine_shop.engine.database.case_lock(lock),
        pytest.raises(Refused, match="running already"),
    ):
        read(engine_shop)


def test_a_date_in_the_future_is_refused(engine_shop: EngineShop) -> None:
    with pytest.raises(BadRequest, match="in the past"):
        read(engine_shop, engine_shop.time.now + timedelta(days=1))


def test_a_key_without_the_permission_is_named(engine_shop: EngineShop) -> None:
    engine_shop.shop.faults(forbidden=["charges"])
    with pytest.raises(StripeForbidden, match=r"charges.*lacks the permission"):
        read(engine_shop)


def test_what_changed_since_is_replaced_and_not_doubled(engine_shop: EngineShop) -> None:
    shop = engine_shop.shop
    customer, _, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.stripe.v1.invoices.mark_uncollectible(invoice.id)
    assert read(engine_shop)["new"] == 2
    shop.stripe.v1.invoices.pay(invoice.id)
    shop.stripe.v1.customers.update(customer.id, {"address": {"country": "FR"}})
    again = read(engine_shop)
    assert (again["new"], again["changed"]) == (1, 2)
    assert kinds(rows(engine_shop)) == {
        ("attempt", "failed"): 1,
        ("attempt", "succeeded"): 1,
        ("closed", "recovered"): 1,
    }


def test_a_debit_on_its_way_becomes_one_attempt(engine_shop: EngineShop) -> None:
    shop = engine_shop.shop
    customer, _, _ = shop.failed_renewal("insufficient_funds", "succeeded", kind="sepa_debit")
    shop.advances(customer, days=7)
    shop.advances(customer, days=3, hours=1)
    read(engine_shop)
    shop.advances(customer, days=10)
    read(engine_shop)
    found = [r for r in rows(engine_shop) if r["kind"] == "attempt"]
    assert len(found) == len({r["charge_id"] for r in found}) > 1
    assert {r["method_type"] for r in found} == {"sepa_debit"}
    assert "processing" not in {r["outcome"] for r in found}


@pytest.mark.parametrize("charge_known", [True, False])
def test_a_charge_that_the_engine_knows_counts_once(
    engine_shop: EngineShop, charge_known: bool
) -> None:
    customer, _, invoice = engine_shop.fails(*["insufficient_funds"] * 2, "succeeded")
    engine_shop.days_pass(customer, 25)
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"
    whole = engine_shop.engine.learning.whole_log()
    own = whole[whole["kind"] == "attempt"]
    assert Counter(own["source"]) == {"stripe": 1, "engine": 2}
    read(engine_shop)
    assert Counter(r.get("source") for r in rows(engine_shop)) == {
        "stripe": 1,
        "engine": 2,
        None: 1,
    }
    if not charge_known:  # the intent is a little older than the charge it became
        change(
            engine_shop,
            "update attempts set charge_id = null, at = at - interval '40 seconds'"
            " where source = 'engine'",
        )
        with engine_shop.engine.database.transaction() as connection:
            rows_now = pd.DataFrame(own_rows(connection))
        own = rows_now[rows_now["kind"] == "attempt"]
    whole = engine_shop.engine.learning.whole_log()
    attempts = whole[whole["kind"] == "attempt"]
    assert list(attempts["at"]) == list(own["at"])
    assert list(attempts["outcome"]) == ["failed", "failed", "succeeded"]
    assert list(whole[whole["kind"] == "closed"]["close_reason"]) == ["recovered"]


def test_the_engine_does_not_see_a_charge_twice_when_it_plans(engine_shop: EngineShop) -> None:
    customer, _, _ = engine_shop.shop.failed_renewal(
        "insufficient_funds", "succeeded", "do_not_honor"
    )
    engine_shop.shop.advances(customer, days=32)
    engine_shop.works()
    [case] = engine_shop.engine.operations.list_cases()["data"]

    def others() -> int:
        with engine_shop.engine.database.transaction() as connection:
            found = cases.find(connection, case["id"])
            now = cases.time_of(connection, found, engine_shop.time.now)
            moment = CaseContext(connection=connection, now=now, real_now=engine_shop.time.now)
            return len(read_view(moment, found).card_attempts)

    before = others()
    assert before > 0
    read(engine_shop)
    assert others() == before


def test_who_charged_is_known_from_the_events(engine_shop: EngineShop) -> None:
    shop = engine_shop.shop
    _, method, by_hand = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.stripe.v1.invoices.pay(by_hand.id, {"payment_method": method.id})
    _, method, another_engine = shop.failed_renewal("insufficient_funds", "succeeded")
    key: Any = {"idempotency_key": "retry-engine:case_elsewhere:1"}
    shop.stripe.v1.invoices.pay(another_engine.id, {"payment_method": method.id}, key)
    customer, _, on_page = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.http.post("/_sandbox/act", json={"customer": customer.id, "act": "pay_on_page"})
    shop.until_quiet()
    engine_shop.deliver_webhooks()
    # Stripe's page sends requests without a key; the sandbox's act is no request at all
    [charge] = [t["charge"] for t in shop.ledger(on_page) if t["source"] == "customer"]
    request = "jsonb_build_object('id', 'req_page', 'idempotency_key', null)"
    change(
        engine_shop,
        f"update inbox set payload = payload || jsonb_build_object('request', {request})"
        f" where object_id = '{charge}'",
    )
    read(engine_shop)
    wanted = {by_hand.id: "manual", another_engine.id: "engine", on_page.id: "customer"}
    paid = {
        r["invoice_id"]: r["source"] for r in rows(engine_shop) if r.get("outcome") == "succeeded"
    }
    assert paid == wanted
    change(engine_shop, "truncate inbox")  # events are forgotten in time; what they told is not
    assert read(engine_shop)["changed"] == 0


def test_an_invoice_that_was_sent_is_paid_by_its_customer(engine_shop: EngineShop) -> None:
    shop = engine_shop.shop
    customer, _ = shop.customer_with("insufficient_funds", "succeeded")
    item: Any = {"customer": customer.id, "amount": 500, "currency": "usd"}
    shop.stripe.v1.invoice_items.create(item)
    sent: Any = {"customer": customer.id, "collection_method": "send_invoice"}
    invoice = shop.stripe.v1.invoices.create(sent)
    shop.stripe.v1.invoices.finalize_invoice(invoice.id)
    for _ in range(2):
        shop.http.post("/_sandbox/act", json={"invoice": invoice.id, "act": "pay_on_page"})
    read(engine_shop)
    attempts = [r for r in rows(engine_shop) if r["kind"] == "attempt"]
    assert {(r["outcome"], r["source"]) for r in attempts} == {
        ("failed", "customer"),
        ("succeeded", "customer"),
    }


def test_what_was_read_can_be_exported_and_comes_back_as_known(
    engine_shop: EngineShop, tmp_path: Path
) -> None:
    customer, _, _ = engine_shop.shop.failed_renewal("insufficient_funds", "succeeded")
    engine_shop.shop.advances(customer, days=4)
    read(engine_shop)
    engine_shop.engine.learning.export_file(tmp_path / "log.csv")
    assert engine_shop.engine.learning.import_files([tmp_path / "log.csv"])["new"] == 0


def test_a_connected_accounts_past_is_read_apart(engine_shop: EngineShop) -> None:
    engine_shop.shop.failed_renewal("insufficient_funds")
    found = reading(engine_shop).run(SINCE, account="acct_other", on_progress=lambda _: None)
    assert (found["account"], found["charges"]) == ("acct_other", 0)
    assert read(engine_shop)["new"] == 1
