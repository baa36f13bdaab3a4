"""What an offer is made of: credit notes, coupons, codes, pauses, another billing day."""

from datetime import timedelta
from typing import Any

import pytest
import stripe
from sandbox_shop import Shop
from stripe_schema import object_errors

pytestmark = pytest.mark.integration


def subscription_of(shop: Shop, customer: Any) -> Any:
    return shop.stripe.v1.subscriptions.list({"customer": customer.id}).data[0]


def off(shop: Shop, percent: float, duration: str = "once", **more: Any) -> Any:
    wanted: Any = {"percent_off": percent, "duration": duration, **more}
    return shop.stripe.v1.coupons.create(wanted)


def update(shop: Shop, subscription: Any, **params: Any) -> Any:
    wanted: Any = params
    return shop.stripe.v1.subscriptions.update(subscription.id, wanted)


def test_a_credit_note_is_previewed_given_and_taken_back(shop: Shop) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    wanted: Any = {"invoice": invoice.id, "amount": 500, "email_type": "none"}
    seen = shop.stripe.v1.credit_notes.preview(wanted)
    assert (seen.amount, shop.stripe.v1.credit_notes.list({"invoice": invoice.id}).data) == (
        500, [],
    )  # fmt: skip
    note = shop.stripe.v1.credit_notes.create(wanted)
    lowered = shop.stripe.v1.invoices.retrieve(invoice.id)
    assert (lowered.amount_remaining, lowered.pre_payment_credit_notes_amount) == (1500, 500)
    shop.stripe.v1.credit_notes.void_credit_note(note.id)
    assert shop.stripe.v1.invoices.retrieve(invoice.id).amount_remaining == 2000
    shop.until_quiet()
    assert {"credit_note.created", "credit_note.voided", "invoice.updated"} <= shop.inbox.types()


def test_a_credit_note_over_all_that_remains_pays_the_invoice(shop: Shop) -> None:
    customer, _, invoice = shop.failed_renewal("insufficient_funds")
    shop.stripe.v1.credit_notes.create({"invoice": invoice.id, "amount": 2000})
    assert shop.stripe.v1.invoices.retrieve(invoice.id).status == "paid"
    assert subscription_of(shop, customer).status == "active"


def test_the_same_credit_note_is_made_once_under_one_key(shop: Shop) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    for _ in range(2):
        shop.stripe.v1.credit_notes.create(
            {"invoice": invoice.id, "amount": 300}, {"idempotency_key": "offer-1"}
        )
    assert shop.stripe.v1.invoices.retrieve(invoice.id).amount_remaining == 1700


def test_a_note_that_was_made_while_the_answer_was_lost_is_found_by_its_key(shop: Shop) -> None:
    _, _, invoice = shop.failed_renewal("insufficient_funds")
    shop.faults(api=[{"fault": "drop_after", "on": "POST /v1/credit_notes"}])
    options: Any = {"idempotency_key": "offer-2"}
    with pytest.raises(stripe.APIConnectionError):
        shop.stripe.v1.credit_notes.create({"invoice": invoice.id, "amount": 300}, options)
    shop.stripe.v1.credit_notes.create({"invoice": invoice.id, "amount": 300}, options)
    assert len(shop.stripe.v1.credit_notes.list({"invoice": invoice.id}).data) == 1


def test_a_coupon_comes_off_the_next_renewal_only(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    given = update(shop, subscription, discounts=[{"coupon": off(shop, 25).id}])
    assert len(given.discounts) == 1
    shop.advances(customer, days=32)
    first = shop.newest_invoice(customer)
    assert (first.subtotal, first.total, first.amount_paid) == (2000, 1500, 1500)
    assert [a.amount for a in first.total_discount_amounts] == [500]
    assert subscription_of(shop, customer).discounts == []
    shop.advances(customer, days=31)
    assert shop.newest_invoice(customer).amount_paid == 2000


def test_a_repeating_coupon_ends_after_its_months(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    shop.advances(customer, days=1)
    coupon = off(shop, 10, "repeating", duration_in_months=2)
    update(shop, subscription, discounts=[{"coupon": coupon.id}])
    paid = []
    for _ in range(3):
        shop.advances(customer, days=31)
        paid.append(shop.newest_invoice(customer).amount_paid)
    assert paid == [1800, 1800, 2000]


def test_given_discounts_replace_all_and_nothing_clears_them(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    update(shop, subscription, discounts=[{"coupon": off(shop, 25, "forever").id}])
    code = shop.stripe.v1.promotion_codes.create(
        {"promotion": {"type": "coupon", "coupon": off(shop, 50, "forever").id}}
    )
    replaced = update(shop, subscription, discounts=[{"promotion_code": code.id}])
    assert len(replaced.discounts) == 1
    expanded = shop.stripe.v1.subscriptions.retrieve(
        subscription.id, {"expand": ["discounts", "discounts.source.coupon"]}
    )
    assert object_errors(expanded.to_dict(for_json=True)) == []
    assert expanded.to_dict()["discounts"][0]["source"]["coupon"]["percent_off"] == 50
    assert update(shop, subscription, discounts="").discounts == []


def test_a_code_that_is_off_expired_or_anothers_is_refused(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    other, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    promotion: Any = {"type": "coupon", "coupon": off(shop, 50).id}
    codes = shop.stripe.v1.promotion_codes
    retired = codes.create({"promotion": promotion})
    codes.update(retired.id, {"active": False})
    anothers = codes.create({"promotion": promotion, "customer": other.id})
    late = codes.create({"promotion": promotion, "expires_at": 1})
    for code in (retired, anothers, late):
        with pytest.raises(stripe.InvalidRequestError):
            update(shop, subscription, discounts=[{"promotion_code": code.id}])
    listed = codes.list({"active": True, "coupon": promotion["coupon"]})
    assert {c.id for c in listed.data} == {anothers.id, late.id}


def test_a_deleted_coupon_stays_with_who_has_it(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    coupon = off(shop, 25)
    update(shop, subscription, discounts=[{"coupon": coupon.id}])
    shop.stripe.v1.coupons.delete(coupon.id)
    with pytest.raises(stripe.InvalidRequestError):
        shop.stripe.v1.coupons.retrieve(coupon.id)
    shop.advances(customer, days=32)
    assert shop.newest_invoice(customer).amount_paid == 1500


def test_a_paused_collection_leaves_a_draft_and_resumes(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    frozen = shop.stripe.v1.test_helpers.test_clocks.retrieve(customer.test_clock).frozen_time
    resumes = frozen + int(timedelta(days=40).total_seconds())
    update(shop, subscription, pause_collection={"behavior": "void", "resumes_at": resumes})
    shop.advances(customer, days=32)
    assert shop.newest_invoice(customer).status == "void"
    shop.advances(customer, days=31)
    assert subscription_of(shop, customer).pause_collection is None
    assert shop.newest_invoice(customer).status == "paid"


def test_the_billing_day_moves_by_a_trial_without_prorations(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    frozen = shop.stripe.v1.test_helpers.test_clocks.retrieve(customer.test_clock).frozen_time
    day = frozen + int(timedelta(days=12).total_seconds())
    with pytest.raises(stripe.InvalidRequestError):
        update(shop, subscription, trial_end=day)
    moved = update(shop, subscription, trial_end=day, proration_behavior="none")
    assert (moved.status, moved.billing_cycle_anchor) == ("trialing", day)
    shop.advances(customer, days=13)
    assert subscription_of(shop, customer).status == "active"
    assert shop.newest_invoice(customer).created == day
    assert shop.newest_invoice(customer).status == "paid"


def test_a_period_begins_anew_and_is_charged_now(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    shop.advances(customer, days=10)
    update(shop, subscription, billing_cycle_anchor="now", proration_behavior="none")
    newest = shop.newest_invoice(customer)
    assert (newest.billing_reason, newest.status) == ("subscription_update", "paid")


def test_a_subscription_ends_at_its_periods_end_or_at_once(shop: Shop) -> None:
    customer, _ = shop.customer_with()
    subscription = shop.subscribed(customer)
    asked = update(shop, subscription, cancel_at_period_end=True)
    assert asked.cancel_at == asked["items"].data[0].current_period_end
    assert update(shop, subscription, cancel_at_period_end=False).cancel_at is None
    gone = shop.stripe.v1.subscriptions.cancel(
        subscription.id, {"cancellation_details": {"comment": "too dear"}}
    )
    assert gone.cancellation_details is not None
    assert (gone.status, gone.cancellation_details.comment) == ("canceled", "too dear")


def test_everything_an_offer_makes_has_the_shape_of_the_present_api(shop: Shop) -> None:
    customer, method, invoice = shop.failed_renewal("insufficient_funds")
    subscription = subscription_of(shop, customer)
    v1 = shop.stripe.v1
    coupon = off(shop, 12.5, "repeating", duration_in_months=3, name="Stay")
    things: list[Any] = [
        coupon,
        v1.coupons.create({"amount_off": 300, "currency": "usd", "duration": "once"}),
        v1.promotion_codes.create({"promotion": {"type": "coupon", "coupon": coupon.id}}),
        update(shop, subscription, discounts=[{"coupon": coupon.id}]),
        v1.credit_notes.create({"invoice": invoice.id, "amount": 100, "reason": "order_change"}),
        v1.setup_intents.create({"customer": customer.id, "payment_method": method.id}),
        v1.customer_sessions.create(
            {"customer": customer.id, "components": {"payment_element": {"enabled": True}}}
        ),
        v1.billing_portal.sessions.create(
            {"customer": customer.id, "flow_data": {"type": "payment_method_update"}}
        ),
        v1.invoices.retrieve(invoice.id, {"expand": ["confirmation_secret", "payments"]}),
    ]
    shop.advances(customer, days=31)
    things.append(shop.newest_invoice(customer))
    wrong = [error for thing in things for error in object_errors(thing.to_dict(for_json=True))]
    for event in shop.inbox.events():
        wrong += object_errors(event) + object_errors(event["data"]["object"])
    assert wrong == []
