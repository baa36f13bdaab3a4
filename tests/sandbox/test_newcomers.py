"""Somebody follows Stripe's own guides to testing, dunning and test clocks."""

from typing import Any

import httpx
import pytest
import stripe
from sandbox_shop import START, Shop
from stripe_schema import object_errors
from trigger_fixtures import play

from retry_engine.sandbox.payments import testcards

# documented names -> (decline code of a charge) or None where it goes through
CHARGED = {
    "pm_card_visa": None,
    "pm_card_unionpay": None,
    "pm_card_diners": None,
    "pm_card_mx": None,
    "pm_card_th_debit": None,
    "pm_card_bypassPending": None,
    "pm_card_avsZipFail": None,
    "pm_card_visa_chargeDeclined": "generic_decline",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_visa_chargeDeclinedStolenCard": "stolen_card",
    "pm_card_chargeDeclinedExpiredCard": None,
    "pm_card_chargeDeclinedIncorrectCvc": None,
    "pm_card_chargeDeclinedProcessingError": None,
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": "card_velocity_exceeded",
    "pm_card_chargeCustomerFail": "generic_decline",
}


def charge(shop: Shop, **how: Any) -> Any:
    given: Any = {"amount": 1500, "currency": "usd", "confirm": True, **how}
    given["expand"] = ["latest_charge"]
    intent = shop.stripe.v1.payment_intents.create(given)
    return intent.latest_charge


@pytest.mark.parametrize("name", CHARGED)
def test_a_documented_test_card_does_what_its_name_says(shop: Shop, name: str) -> None:
    word = name.rpartition("chargeDeclined")[2] if "chargeDeclined" in name else ""
    plain = {"ExpiredCard": "expired_card", "IncorrectCvc": "incorrect_cvc",
             "ProcessingError": "processing_error"}.get(word)  # fmt: skip
    if CHARGED[name] is None and plain is None:
        assert charge(shop, payment_method=name).status == "succeeded"
        return
    with pytest.raises(stripe.CardError) as declined:
        charge(shop, payment_method=name)
    assert declined.value.error is not None
    if plain:
        assert declined.value.code == plain
    else:
        assert declined.value.error.decline_code == CHARGED[name]


def test_numbers_tokens_and_names_are_the_same_cards(shop: Shop) -> None:
    v1 = shop.stripe.v1
    marks = set()
    plain: Any = {"card": {"number": "4000000000000341", "exp_month": 5, "exp_year": 2035}}
    ways: tuple[Any, ...] = (
        plain["card"],
        {"token": "tok_chargeCustomerFail"},
        {"token": v1.tokens.create(plain).id},
    )
    for card in ways:
        method = v1.payment_methods.create({"type": "card", "card": card})
        assert method.card is not None
        marks.add(method.card.fingerprint)
    customer = v1.customers.create()
    named = v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id})
    assert named.card is not None
    assert marks == {named.card.fingerprint}


def test_every_test_number_is_a_valid_card_number() -> None:
    wrong = {"4242424242424241"}  # the one that is documented as wrong
    for number in set(testcards.BY_NUMBER) - wrong:
        doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(number))]
        assert sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0, number


@pytest.mark.parametrize(
    ("number", "event", "shown"),
    [
        ("4000000000000259", "charge.dispute.created", {"reason": "fraudulent"}),
        ("4000000000002685", "charge.dispute.created", {"reason": "product_not_received"}),
        ("4000000000001976", "charge.dispute.created", {"status": "warning_needs_response"}),
        ("4000000000005423", "radar.early_fraud_warning.created", {"actionable": True}),
    ],
)
def test_the_cards_for_disputes_and_fraud_warnings(
    shop: Shop, number: str, event: str, shown: dict[str, Any]
) -> None:
    method = shop.stripe.v1.payment_methods.create(
        {"type": "card", "card": {"number": number, "exp_month": 1, "exp_year": 2035}}
    )
    paid = charge(shop, payment_method=method.id)
    assert paid.status == "succeeded"
    shop.until_quiet()
    told = [e["data"]["object"] for e in shop.inbox.events() if e["type"] == event]
    assert [{name: one[name] for name in shown} for one in told] == [shown]
    assert [one["charge"] for one in told] == [paid.id]
    assert object_errors(told[0]) == []


@pytest.mark.parametrize(
    ("number", "risk", "kind", "attaches"),
    [
        ("4100000000000019", "highest", "blocked", False),
        ("4000000000004954", "highest", "blocked", True),
        ("4000000000009235", "elevated", "authorized", True),
    ],
)
def test_the_cards_for_risk_levels(
    shop: Shop, number: str, risk: str, kind: str, attaches: bool
) -> None:
    v1 = shop.stripe.v1
    method = v1.payment_methods.create(
        {"type": "card", "card": {"number": number, "exp_month": 1, "exp_year": 2035}}
    )
    try:
        charge(shop, payment_method=method.id)
    except stripe.CardError:
        assert kind == "blocked"
    outcome = v1.charges.list().data[0].outcome
    assert outcome is not None
    assert (outcome.risk_level, outcome.type) == (risk, kind)
    customer = v1.customers.create()
    try:
        v1.payment_methods.attach(method.id, {"customer": customer.id})
    except stripe.CardError:
        assert not attaches
    else:
        assert attaches


def test_a_refund_may_take_its_time_or_fail_after_all(shop: Shop) -> None:
    v1 = shop.stripe.v1
    for card, first, last in (
        ("pm_card_pendingRefund", "pending", "succeeded"),
        ("pm_card_refundFail", "succeeded", "failed"),
    ):
        clock = v1.test_helpers.test_clocks.create({"frozen_time": int(START.timestamp())})
        customer = v1.customers.create({"test_clock": clock.id})
        paid = charge(shop, payment_method=card, customer=customer.id)
        refund = v1.refunds.create({"charge": paid.id})
        assert refund.status == first
        shop.advances(customer, hours=1)
        assert v1.refunds.retrieve(refund.id).status == last


def curl(shop: Shop, path: str, data: dict[str, str] | None = None, **query: str) -> Any:
    """As the guides write it: `curl -u sk_test_…: -d …`."""
    with httpx.Client(base_url=shop.url, auth=("sk_test_guide", "")) as http:
        reply = http.post(path, data=data) if data is not None else http.get(path, params=query)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert object_errors(answer) == []
    return answer


def test_the_guide_to_test_clocks_is_followed_to_a_failed_renewal_and_back(shop: Shop) -> None:
    now = int(START.timestamp())
    clock = curl(
        shop, "/v1/test_helpers/test_clocks", {"frozen_time": str(now), "name": "Monthly renewal"}
    )
    customer = curl(
        shop,
        "/v1/customers",
        {
            "email": "jenny@example.com", "test_clock": clock["id"],
            "payment_method": "pm_card_visa",
            "invoice_settings[default_payment_method]": "pm_card_visa",
        },
    )  # fmt: skip
    price = curl(
        shop,
        "/v1/prices",
        {
            "unit_amount": "1000", "currency": "usd", "recurring[interval]": "month",
            "product_data[name]": "Gold plan",
        },
    )  # fmt: skip
    subscription = curl(
        shop,
        "/v1/subscriptions",
        {
            "customer": customer["id"], "items[0][price]": price["id"],
            "payment_settings[save_default_payment_method]": "on_subscription",
            "payment_behavior": "default_incomplete", "expand[0]": "latest_invoice",
        },
    )  # fmt: skip
    first = subscription["latest_invoice"]["id"]
    assert (subscription["status"], subscription["payment_settings"]) == (
        "incomplete",
        {"payment_method_options": None, "payment_method_types": None,
         "save_default_payment_method": "on_subscription"},
    )  # fmt: skip
    assert curl(shop, f"/v1/invoices/{first}/pay", {})["status"] == "paid"
    bad = curl(
        shop, "/v1/payment_methods/pm_card_chargeCustomerFail/attach", {"customer": customer["id"]}
    )
    curl(
        shop,
        f"/v1/customers/{customer['id']}",
        {"invoice_settings[default_payment_method]": bad["id"]},
    )
    curl(
        shop,
        f"/v1/test_helpers/test_clocks/{clock['id']}/advance",
        {"frozen_time": str(now + 32 * 86_400)},
    )
    shop.until_quiet()
    failed = curl(shop, "/v1/subscriptions", customer=customer["id"])["data"][0]
    assert failed["status"] == "past_due"
    good = curl(shop, "/v1/payment_methods/pm_card_mastercard/attach", {"customer": customer["id"]})
    paid = curl(
        shop, f"/v1/invoices/{failed['latest_invoice']}/pay", {"payment_method": good["id"]}
    )
    assert paid["status"] == "paid"


# what is given at creation is what the object shows
SHOWN: dict[str, dict[str, Any]] = {
    "/v1/customers": {
        "name": "Ada", "email": "ada@example.com", "phone": "+1", "description": "first",
        "preferred_locales": ["en"], "tax_exempt": "exempt", "metadata": {"a": "b"},
        "shipping": {"name": "Ada", "address": {"line1": "1 Street"}},
    },
    "/v1/products": {
        "name": "Gold", "description": "best", "active": False, "url": "https://example.com",
        "unit_label": "seat", "statement_descriptor": "GOLD", "shippable": False,
        "metadata": {"a": "b"}, "images": ["https://example.com/1.png"],
    },
    "/v1/prices": {
        "currency": "usd", "unit_amount": 700, "nickname": "n", "lookup_key": "gold",
        "tax_behavior": "inclusive", "metadata": {"a": "b"},
    },
    "/v1/payment_intents": {
        "amount": 900, "currency": "eur", "description": "d", "receipt_email": "a@example.com",
        "capture_method": "manual", "setup_future_usage": "off_session", "transfer_group": "g",
        "statement_descriptor_suffix": "S", "metadata": {"a": "b"},
    },
    "/v1/setup_intents": {"description": "d", "usage": "on_session", "metadata": {"a": "b"}},
    "/v1/coupons": {"percent_off": 10.0, "duration": "forever", "name": "ten"},
    "/v1/tax_rates": {"display_name": "VAT", "inclusive": True, "percentage": 7.5, "country": "DE"},
}  # fmt: skip


def test_what_is_given_is_what_the_object_shows(shop: Shop) -> None:
    lost = []
    for path, given in SHOWN.items():
        step = {"name": "it", "method": "post", "path": path, "params": given}
        played = play(shop.http, {"fixtures": [step]})
        answer = played.answers.get("it", {})
        lost += [f"{path}: {n}" for n, value in given.items() if answer.get(n) != value]
        assert played.refused is None, path
    assert lost == []


def test_terms_of_subscriptions_and_invoices_are_kept_and_carried_out(shop: Shop) -> None:
    customer, _ = shop.customer_with("succeeded")
    v1 = shop.stripe.v1
    price = v1.prices.create(
        {"currency": "usd", "unit_amount": 2000, "recurring": {"interval": "month"},
         "product_data": {"name": "Plan"}}
    )  # fmt: skip
    items: Any = [{"price": price.id}]
    sent = v1.subscriptions.create(
        {"customer": customer.id, "items": items, "collection_method": "send_invoice",
         "days_until_due": 14}
    )  # fmt: skip
    shop.advances(customer, hours=2)
    invoice = v1.invoices.retrieve(str(sent.latest_invoice))
    assert (sent.status, invoice.collection_method, invoice.status, invoice.attempt_count) == (
        "active", "send_invoice", "open", 0,
    )  # fmt: skip
    assert invoice.due_date == invoice.created + 14 * 86_400
    until = int(START.timestamp()) + 10 * 86_400
    short = v1.subscriptions.create(
        {"customer": customer.id, "items": items, "cancel_at": until, "currency": "usd"}
    )
    dear = v1.prices.create(
        {"currency": "usd", "unit_amount": 5000, "recurring": {"interval": "month"},
         "product": str(price.product)}
    )  # fmt: skip
    item = short["items"].data[0].id
    change: Any = {"items": [{"id": item, "price": dear.id}], "proration_behavior": "none"}
    changed = v1.subscriptions.update(short.id, change)
    assert changed["items"].data[0].price.id == dear.id
    shop.advances(customer, days=11)
    assert v1.subscriptions.retrieve(short.id).status == "canceled"


def test_a_subscription_that_cannot_be_paid_is_refused_as_its_behaviour_says(shop: Shop) -> None:
    customer, _ = shop.customer_with("insufficient_funds")
    nobody = shop.stripe.v1.customers.create()
    price = shop.stripe.v1.prices.create(
        {"currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"},
         "product_data": {"name": "Plan"}}
    )  # fmt: skip
    items: Any = [{"price": price.id}]
    subscriptions = shop.stripe.v1.subscriptions
    with pytest.raises(stripe.InvalidRequestError) as nothing:
        subscriptions.create({"customer": nobody.id, "items": items})
    assert nothing.value.code == "resource_missing"
    assert subscriptions.list({"customer": nobody.id, "status": "all"}).data == []
    with pytest.raises(stripe.CardError):
        subscriptions.create(
            {"customer": customer.id, "items": items, "payment_behavior": "error_if_incomplete"}
        )
    assert subscriptions.list({"customer": customer.id, "status": "all"}).data == []
    shop.until_quiet()
    assert "customer.subscription.created" not in shop.inbox.types()
