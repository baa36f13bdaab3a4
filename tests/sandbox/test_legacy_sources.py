"""Cards as accounts kept them before payment methods, and whose turn it is to be charged."""

from typing import Any

import pytest
import stripe
from sandbox_shop import START, Shop
from stripe_schema import object_errors


def on_a_clock(shop: Shop, **more: Any) -> Any:
    clock = shop.stripe.v1.test_helpers.test_clocks.create({"frozen_time": int(START.timestamp())})
    wanted: Any = {"test_clock": clock.id, **more}
    return shop.stripe.v1.customers.create(wanted)


def test_a_source_given_with_a_customer_is_what_renewals_are_charged_to(shop: Shop) -> None:
    customer = on_a_clock(shop, source="tok_visa")
    assert str(customer.default_source).startswith("card_")
    assert customer.invoice_settings.default_payment_method is None
    shop.subscribed(customer)
    shop.advances(customer, days=31, hours=2)
    paid = [t for t in shop.ledger() if t["outcome"] == "succeeded"]
    assert [t["payment_method"] for t in paid] == [customer.default_source] * 2
    charge = shop.stripe.v1.charges.retrieve(paid[0]["charge"], {"expand": ["customer"]})
    assert charge.payment_method == customer.default_source
    assert charge.source["object"] == "card"  # type: ignore[index]
    assert object_errors(charge.to_dict()) == []


def test_sources_are_listed_changed_and_deleted_and_the_next_becomes_the_default(
    shop: Shop,
) -> None:
    customer = on_a_clock(shop)
    sources = shop.stripe.v1.customers.payment_sources
    first = sources.create(customer.id, {"source": "tok_visa"})
    second = sources.create(customer.id, {"source": "tok_mastercard"})
    assert object_errors(first.to_dict()) == []
    assert [s.id for s in sources.list(customer.id).data] == [second.id, first.id]
    changed: Any = sources.update(customer.id, first.id, {"exp_month": "3", "exp_year": "2031"})
    assert (changed.exp_month, changed.exp_year) == (3, 2031)
    # the same card, by the newer API's eyes
    method = shop.stripe.v1.payment_methods.retrieve(first.id)
    assert method.card is not None
    assert (method.id, method.card.exp_year) == (first.id, 2031)
    assert sources.delete(customer.id, first.id).to_dict()["deleted"] is True
    told = shop.stripe.v1.customers.retrieve(customer.id, {"expand": ["default_source"]})
    assert told.default_source.id == second.id  # type: ignore[union-attr]
    with pytest.raises(stripe.InvalidRequestError) as gone:
        sources.retrieve(customer.id, first.id)
    assert gone.value.http_status == 404
    shop.until_quiet()
    kinds = {f"customer.source.{what}" for what in ("created", "updated", "deleted")}
    assert kinds <= shop.inbox.types()


def test_another_customers_card_cannot_be_a_default_source(shop: Shop) -> None:
    mine, theirs = on_a_clock(shop, source="tok_visa"), on_a_clock(shop, source="tok_visa")
    subscription = shop.subscribed(mine)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.stripe.v1.subscriptions.update(
            subscription.id, {"default_source": str(theirs.default_source)}
        )
    assert refused.value.param == "default_source"


PLACES = (
    ("invoice", "default_payment_method"),
    ("invoice", "default_source"),
    ("subscription", "default_payment_method"),
    ("subscription", "default_source"),
    ("customer", "default_payment_method"),
    ("customer", "default_source"),
)


def test_defaults_are_charged_in_stripes_order(shop: Shop) -> None:
    """Each place is emptied after a charge, until nothing is left to charge."""
    customer = on_a_clock(shop)
    v1 = shop.stripe.v1
    named = {}
    for place in PLACES:
        if place[1] == "default_source":
            named[place] = v1.customers.payment_sources.create(
                customer.id, {"source": "tok_chargeCustomerFail"}
            ).id
        else:
            named[place] = v1.payment_methods.attach(
                "pm_card_chargeCustomerFail", {"customer": customer.id}
            ).id
    good = v1.payment_methods.attach("pm_card_visa", {"customer": customer.id}).id
    v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": good}})
    subscription = shop.subscribed(customer)
    shop.advances(customer, days=31)
    invoice = shop.newest_invoice(customer)
    v1.invoices.update(invoice.id, _defaults(named, "invoice"))
    v1.subscriptions.update(subscription.id, _defaults(named, "subscription"))
    in_general: Any = {
        "default_source": named["customer", "default_source"],
        "invoice_settings": {"default_payment_method": named["customer", "default_payment_method"]},
    }
    v1.customers.update(customer.id, in_general)
    shop.advances(customer, hours=2)
    charged = []
    for place in PLACES:
        charged.append(shop.ledger(invoice)[-1]["payment_method"])
        _empty(shop, invoice, subscription, customer, place)
        with pytest.raises((stripe.CardError, stripe.InvalidRequestError)):
            v1.invoices.pay(invoice.id)
    assert charged == [named[place] for place in PLACES]


def _defaults(named: Any, where: str) -> Any:
    return {field: one for (place, field), one in named.items() if place == where}


def _empty(shop: Shop, invoice: Any, subscription: Any, customer: Any, place: Any) -> None:
    v1 = shop.stripe.v1
    where, field = place
    nothing: Any = {field: ""}
    if where == "invoice":
        v1.invoices.update(invoice.id, nothing)
    elif where == "subscription":
        v1.subscriptions.update(subscription.id, nothing)
    elif field == "default_payment_method":
        v1.customers.update(customer.id, {"invoice_settings": nothing})
    else:
        for source in v1.customers.payment_sources.list(customer.id).data:
            v1.customers.payment_sources.delete(customer.id, source.id)
