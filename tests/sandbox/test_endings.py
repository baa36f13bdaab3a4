"""What ends or turns while a renewal is owed: deletions, withdrawals, disputes, new expiries."""

from typing import Any

import pytest
import stripe
from sandbox_shop import Shop
from stripe_schema import object_errors


def acts(shop: Shop, **act: Any) -> dict[str, Any]:
    answer: dict[str, Any] = shop.http.post("/_sandbox/act", json=act).raise_for_status().json()
    return answer


def test_a_deleted_customer_says_so_and_can_be_changed_no_more(shop: Shop) -> None:
    customer, _, invoice = shop.failed_renewal("insufficient_funds")
    v1 = shop.stripe.v1
    v1.customers.delete(customer.id)
    assert v1.customers.retrieve(customer.id).to_dict() == {
        "id": customer.id, "object": "customer", "deleted": True,
    }  # fmt: skip
    assert v1.customers.list({"test_clock": customer.test_clock}).data == []
    with pytest.raises(stripe.InvalidRequestError) as gone:
        v1.customers.update(customer.id, {"name": "Back"})
    assert (gone.value.http_status, gone.value.code) == (404, "resource_missing")
    left = v1.invoices.retrieve(invoice.id, {"expand": ["customer"]})
    assert (left.status, left.auto_advance) == ("open", False)
    with pytest.raises(stripe.InvalidRequestError):
        v1.invoices.pay(invoice.id)
    shop.until_quiet()
    assert {"customer.deleted", "customer.subscription.deleted"} <= shop.inbox.types()


def test_a_deleted_clock_takes_everything_on_it_along(shop: Shop) -> None:
    customer, method, invoice = shop.failed_renewal("insufficient_funds")
    other, _, _ = shop.failed_renewal("insufficient_funds")
    v1 = shop.stripe.v1
    assert v1.test_helpers.test_clocks.delete(customer.test_clock).deleted
    assert v1.customers.retrieve(customer.id).deleted
    readers: tuple[Any, ...] = (
        lambda: v1.invoices.retrieve(invoice.id),
        lambda: v1.invoices.pay(invoice.id),
        lambda: v1.test_helpers.test_clocks.retrieve(customer.test_clock),
    )
    for read in readers:
        with pytest.raises(stripe.InvalidRequestError) as gone:
            read()
        assert gone.value.http_status == 404
    assert v1.payment_methods.retrieve(method.id).customer is None
    assert not getattr(v1.customers.retrieve(other.id), "deleted", False)
    shop.until_quiet()
    assert {"test_helpers.test_clock.deleted", "customer.deleted"} <= shop.inbox.types()


def test_an_account_that_withdraws_is_closed_to_us_and_falls_silent(shop: Shop) -> None:
    shop.stripe.v1.webhook_endpoints.create(
        {"url": shop.inbox.url, "enabled_events": ["*"], "connect": True}
    )
    options: Any = {"stripe_account": "acct_leaving"}
    shop.stripe.v1.customers.create({"name": "theirs"}, options)
    answer = shop.http.post("/_sandbox/withdraw", json={"account": "acct_leaving"})
    assert answer.raise_for_status().json() == {"account": "acct_leaving", "withdrawn": True}
    with pytest.raises(stripe.PermissionError) as closed:
        shop.stripe.v1.invoices.list({}, options)
    assert closed.value.error is not None
    assert (closed.value.http_status, closed.value.error.code) == (403, "account_invalid")
    shop.stripe.v1.customers.list()
    shop.until_quiet()
    told = [e for e in shop.inbox.events() if e["type"] == "account.application.deauthorized"]
    assert [e["account"] for e in told] == ["acct_leaving"]
    assert shop.http.post("/_sandbox/withdraw", json={}).status_code == 400


def test_disputes_come_at_any_time_and_are_won_or_lost(shop: Shop) -> None:
    customer, _, _ = shop.failed_renewal("insufficient_funds")
    first = acts(shop, customer=customer.id, act="dispute", reason="fraudulent")
    assert object_errors(first) == []
    second = acts(shop, customer=customer.id, act="dispute", inquiry=True)
    assert second["status"] == "warning_needs_response"
    ended = acts(shop, customer=customer.id, act="dispute_closed", status="warning_closed")
    assert (ended["id"], ended["status"]) == (second["id"], "warning_closed")
    won = shop.stripe.v1.disputes.update(
        first["id"], {"evidence": {"uncategorized_text": "winning_evidence"}, "submit": True}
    )
    assert won.status == "won"
    shop.until_quiet()
    closed = [e for e in shop.inbox.events() if e["type"] == "charge.dispute.closed"]
    assert {e["data"]["object"]["status"] for e in closed} == {"won", "warning_closed"}
    with pytest.raises(stripe.InvalidRequestError):
        shop.stripe.v1.disputes.close(first["id"])


def test_a_card_gets_a_new_expiry_under_the_number_it_had(shop: Shop) -> None:
    customer, method, _ = shop.failed_renewal("expired_card")
    again = shop.stripe.v1.payment_methods.update(
        method.id, {"card": {"exp_month": 4, "exp_year": 2033}}
    )
    assert again.card is not None
    assert (again.card.exp_month, again.card.exp_year) == (4, 2033)
    assert again.card.fingerprint == method.card.fingerprint
    renewed = acts(
        shop, customer=customer.id, act="card_automatically_updated", exp_month=9, exp_year=2034
    )
    assert (renewed["card"]["exp_month"], renewed["card"]["exp_year"]) == (9, 2034)
    assert renewed["card"]["fingerprint"] == method.card.fingerprint
    other = acts(shop, customer=customer.id, act="card_automatically_updated", new_number=True)
    assert other["card"]["fingerprint"] != method.card.fingerprint
    shop.until_quiet()
    told = {e["type"]: e["data"] for e in shop.inbox.events()}
    before = told["payment_method.updated"]["previous_attributes"]
    assert set(before) == {"card"}
    assert "payment_method.automatically_updated" in told


def test_a_renewal_with_nothing_saved_fails_without_a_charge_or_a_method(shop: Shop) -> None:
    customer, method = shop.customer_with("succeeded")
    shop.subscribed(customer)
    shop.stripe.v1.payment_methods.detach(method.id)
    shop.advances(customer, days=31, hours=2)
    invoice = shop.newest_invoice(customer)
    payments = shop.stripe.v1.invoice_payments.list(
        {"invoice": invoice.id, "expand": ["data.payment.payment_intent"]}
    ).data
    intent: Any = payments[0].payment.payment_intent
    assert (invoice.status, invoice.attempted, invoice.attempt_count) == ("open", True, 1)
    assert (intent.status, intent.latest_charge) == ("requires_payment_method", None)
    assert shop.ledger(invoice) == []
    assert shop.stripe.v1.customers.payment_methods.list(customer.id).data == []
    shop.until_quiet()
    assert "invoice.payment_failed" in shop.inbox.types()


def test_two_living_subscriptions_are_told_apart_by_price_and_status(shop: Shop) -> None:
    customer, _ = shop.customer_with("succeeded", "insufficient_funds", "succeeded")
    v1 = shop.stripe.v1
    first = shop.subscribed(customer)
    price = first["items"].data[0].price.id
    again = v1.subscriptions.create({"customer": customer.id, "items": [{"price": price}]})
    assert again.status == "incomplete"
    third = v1.subscriptions.create({"customer": customer.id, "items": [{"price": price}]})
    other = shop.subscribed(customer)

    def found(**more: Any) -> list[str]:
        wanted: Any = {"customer": customer.id, "limit": 1, **more}
        listed = v1.subscriptions.list(wanted)
        return [s.id for s in listed.auto_paging_iter()]

    assert found(price=price) == [third.id, again.id, first.id]
    assert found(price=price, status="active") == [third.id, first.id]
    v1.subscriptions.cancel(first.id)
    assert found() == [other.id, third.id, again.id]
    assert found(status="all", price=price) == [third.id, again.id, first.id]
    assert found(status="canceled") == [first.id]


def test_a_pay_that_is_answered_as_if_all_were_well_leaves_the_invoice_open(shop: Shop) -> None:
    _, method, invoice = shop.failed_renewal("insufficient_funds", "succeeded")
    shop.faults(api=[{"fault": "ignored", "on": "POST */pay"}])
    pay: Any = {"payment_method": method.id}
    for _ in range(2):  # and what is kept under the key is that answer
        left = shop.stripe.v1.invoices.pay(invoice.id, pay, {"idempotency_key": "k"})
        assert left.status == "open"
    assert len(shop.ledger(invoice)) == 1
    assert shop.stripe.v1.invoices.pay(invoice.id, pay).status == "paid"
