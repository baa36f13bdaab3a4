"""What people trigger to try out their webhooks brings the event that they wait for."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sandbox_shop import Shop
from stripe_schema import object_errors
from trigger_fixtures import play, read

CUSTOMER = ("customer", "/v1/customers", {"description": "somebody"})
CARD = ("card", "/v1/payment_methods/pm_card_visa/attach", {"customer": "${customer:id}"})
ITEM = (
    "item",
    "/v1/invoiceitems",
    {"amount": 1900, "currency": "usd", "customer": "${customer:id}"},
)
INVOICE = ("invoice", "/v1/invoices", {"customer": "${customer:id}"})
OPEN: tuple[str, str, dict[str, Any]] = ("open", "/v1/invoices/${invoice:id}/finalize", {})
PRODUCT = ("product", "/v1/products", {"name": "Magazine"})
PRICE = (
    "price",
    "/v1/prices",
    {"product": "${product:id}", "unit_amount": "900", "currency": "usd",
     "recurring[interval]": "month"},
)  # fmt: skip
CARDED = (
    "customer",
    "/v1/customers",
    {"payment_method": "pm_card_mastercard",
     "invoice_settings": {"default_payment_method": "pm_card_mastercard"}},
)  # fmt: skip
SUBSCRIPTION = (
    "subscription",
    "/v1/subscriptions",
    {"customer": "${customer:id}", "items": [{"price": "${price:id}"}]},
)
COUPON = ("coupon", "/v1/coupons", {"percent_off": 15})


def paid_with(card: str, **more: Any) -> tuple[str, str, Any]:
    given = {"amount": 1200, "currency": "usd", "payment_method": card, "confirm": True, **more}
    return ("intent", "/v1/payment_intents", given)


# event -> the requests that bring it
STORIES: dict[str, tuple[Any, ...]] = {
    "customer.updated": (CUSTOMER, ("c", "/v1/customers/${customer:id}", {"metadata": {"a": "b"}})),
    "customer.discount.updated": (
        COUPON,
        ("customer", "/v1/customers", {"coupon": "${coupon:id}"}),
        ("more", "/v1/coupons", {"percent_off": 25}),
        ("c", "/v1/customers/${customer:id}", {"coupon": "${more:id}"}),
    ),
    "customer.source.updated": (
        CUSTOMER,
        ("source", "/v1/customers/${customer:id}/sources", {"source": "tok_amex"}),
        ("s", "/v1/customers/${customer:id}/sources/${source:id}", {"metadata": {"a": "b"}}),
    ),
    "customer.subscription.paused": (
        CUSTOMER, PRODUCT, PRICE,
        ("subscription", "/v1/subscriptions", {
            **SUBSCRIPTION[2], "trial_period_days": 9,
            "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        }),
        ("s", "/v1/subscriptions/${subscription:id}", {"trial_end": "now"}),
    ),
    "customer.subscription.trial_will_end": (
        CUSTOMER, PRODUCT, PRICE,
        ("subscription", "/v1/subscriptions", {**SUBSCRIPTION[2], "trial_period_days": 2}),
    ),
    "customer.subscription.updated": (
        CARDED, PRODUCT, PRICE, SUBSCRIPTION,
        ("s", "/v1/subscriptions/${subscription:id}", {"metadata": {"a": "b"}}),
    ),
    "invoice.sent": (
        CUSTOMER, ITEM,
        ("invoice", "/v1/invoices", {
            **INVOICE[2], "collection_method": "send_invoice", "days_until_due": 9,
        }),
        ("sent", "/v1/invoices/${invoice:id}/send", {}),
    ),
    "invoice.paid": (
        CUSTOMER, CARD, ITEM, INVOICE,
        ("paid", "/v1/invoices/${invoice:id}/pay", {"payment_method": "${card:id}"}),
    ),
    "invoice.payment_action_required": (
        CUSTOMER,
        ("card", "/v1/payment_methods/pm_card_authenticationRequired/attach",
         {"customer": "${customer:id}"}),
        ITEM, INVOICE,
        ("paid", "/v1/invoices/${invoice:id}/pay", {"payment_method": "${card:id}"}, "card_error"),
    ),
    "invoice.deleted": (
        CUSTOMER, ITEM, INVOICE, ("gone", "/v1/invoices/${invoice:id}", {}, None, "delete"),
    ),
    "invoiceitem.deleted": (
        CUSTOMER, ITEM, ("gone", "/v1/invoiceitems/${item:id}", {}, None, "delete"),
    ),
    "credit_note.updated": (
        CUSTOMER, ITEM, INVOICE, OPEN,
        ("note", "/v1/credit_notes", {
            "invoice": "${invoice:id}",
            "lines": [{"type": "custom_line_item", "unit_amount": 300, "quantity": 2}],
        }),
        ("n", "/v1/credit_notes/${note:id}", {"metadata": {"a": "b"}}),
    ),
    "payment_intent.requires_action": (paid_with("pm_card_threeDSecure2Required"),),
    "payment_intent.partially_funded": (
        CUSTOMER,
        ("intent", "/v1/payment_intents", {
            "amount": 9000, "currency": "jpy", "customer": "${customer:id}", "confirm": True,
            "payment_method_types": ["customer_balance"],
            "payment_method_data": {"type": "customer_balance"},
            "payment_method_options": {"customer_balance": {
                "funding_type": "bank_transfer", "bank_transfer": {"type": "jp_bank_transfer"},
            }},
        }),
        ("part", "/v1/test_helpers/customers/${customer:id}/fund_cash_balance",
         {"amount": 4000, "currency": "jpy"}),
        ("rest", "/v1/test_helpers/customers/${customer:id}/fund_cash_balance",
         {"amount": 5000, "currency": "jpy"}),
    ),
    "payment_intent.payment_failed": (
        (*paid_with("pm_card_visa_chargeDeclinedLostCard"), "card_error"),
    ),
    "payment_intent.processing": (
        ("debit", "/v1/payment_methods", {
            "type": "sepa_debit", "sepa_debit": {"iban": "DE89370400440532013000"},
        }),
        ("intent", "/v1/payment_intents", {
            "amount": 700, "currency": "eur", "payment_method": "${debit:id}", "confirm": True,
            "payment_method_types": ["sepa_debit"],
        }),
    ),
    "charge.captured": (
        paid_with("pm_card_visa", capture_method="manual"),
        ("taken", "/v1/payment_intents/${intent:id}/capture", {}),
    ),
    "charge.refund.updated": (
        paid_with("pm_card_visa"),
        ("refund", "/v1/refunds", {"payment_intent": "${intent:id}"}),
        ("r", "/v1/refunds/${refund:id}", {"metadata": {"a": "b"}}),
    ),
    "charge.updated": (
        ("charge", "/v1/charges", {"amount": 500, "currency": "usd", "source": "tok_visa"}),
        ("c", "/v1/charges/${charge:id}", {"description": "told later"}),
    ),
    "charge.dispute.closed": (
        paid_with("pm_card_createDispute"),
        ("list", "/v1/disputes", {"payment_intent": "${intent:id}"}, None, "get"),
        ("closed", "/v1/disputes/${list:data.0.id}/close", {}),
    ),
    "setup_intent.canceled": (
        ("setup", "/v1/setup_intents", {"payment_method_types": ["card"]}),
        ("s", "/v1/setup_intents/${setup:id}/cancel", {"cancellation_reason": "abandoned"}),
    ),
    "setup_intent.setup_failed": (
        ("setup", "/v1/setup_intents",
         {"confirm": True, "payment_method": "pm_card_chargeDeclined"}, "card_error"),
    ),
    "product.deleted": (PRODUCT, ("gone", "/v1/products/${product:id}", {}, None, "delete")),
    "plan.updated": (
        ("plan", "/v1/plans", {
            "currency": "usd", "interval": "month", "amount": 500, "product": {"name": "Old"},
        }),
        ("p", "/v1/plans/${plan:id}", {"nickname": "older"}),
    ),
    "promotion_code.updated": (
        COUPON, ("code", "/v1/promotion_codes", {"coupon": "${coupon:id}"}),
        ("p", "/v1/promotion_codes/${code:id}", {"metadata": {"a": "b"}}),
    ),
    "tax_rate.updated": (
        ("rate", "/v1/tax_rates", {"display_name": "VAT", "inclusive": True, "percentage": 19}),
        ("r", "/v1/tax_rates/${rate:id}", {"description": "of goods"}),
    ),
}  # fmt: skip


def as_fixture(story: tuple[Any, ...]) -> dict[str, Any]:
    steps = []
    for name, path, params, *rest in story:
        error, method = [*rest, None, None][:2]
        steps.append(
            {"name": name, "path": path, "params": params, "method": method or "post",
             "expected_error_type": error}
        )  # fmt: skip
    return {"fixtures": steps}


def told_since(shop: Shop, count: int) -> list[dict[str, Any]]:
    return list(shop.sandbox.platform.tables["event"].values())[count:]


def test_a_transfer_that_comes_in_parts_pays_when_all_of_it_is_there(shop: Shop) -> None:
    played = play(shop.http, as_fixture(STORIES["payment_intent.partially_funded"]))
    intent = shop.stripe.v1.payment_intents.retrieve(played.answers["intent"]["id"])
    assert (intent.status, intent.amount_received) == ("succeeded", 9000)
    left = shop.stripe.v1.customers.cash_balance.retrieve(played.answers["customer"]["id"])
    assert left.available is None


def test_each_story_brings_its_event_in_the_shape_of_the_present_api(shop: Shop) -> None:
    wrong: list[str] = []
    for awaited, story in STORIES.items():
        before = len(shop.sandbox.platform.tables["event"])
        played = play(shop.http, as_fixture(story))
        told = told_since(shop, before)
        if played.refused or awaited not in {event["type"] for event in told}:
            wrong.append(f"{awaited}: {played.refused or [e['type'] for e in told]}")
        for event in told:
            wrong += [f"{awaited}: {e}" for e in object_errors(event["data"]["object"])]
    assert wrong == []


# a folder of fixtures for `stripe trigger`, which are not ours to keep here
FOLDER = os.environ.get("STRIPE_TRIGGER_FIXTURES")
GROUPS = (
    "billing_portal.session.", "cash_balance.", "charge.", "coupon.", "credit_note.",
    "customer.", "invoice.", "invoiceitem.", "payment_intent.", "payment_method.", "plan.",
    "price.", "product.", "promotion_code.", "setup_intent.", "subscription.", "tax_rate.",
    "test_helpers.",
)  # fmt: skip


def fixtures() -> Iterator[Path]:
    if FOLDER:
        for path in sorted(Path(FOLDER).glob("*.json")):
            if path.name.startswith(GROUPS):
                yield path


@pytest.mark.skipif(not FOLDER, reason="STRIPE_TRIGGER_FIXTURES names no folder of fixtures")
def test_stripes_own_trigger_fixtures_run(shop: Shop) -> None:
    refused = {path.stem: play(shop.http, read(path)).refused for path in fixtures()}
    assert refused
    assert {name: why for name, why in refused.items() if why} == {}
