"""Customers."""

from retry_engine.sandbox.objects.base import Obj, nulls

_NO_ADDRESS: Obj = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}


def billing_details(country: str | None = None) -> Obj:
    """Billing details of which only the country is known."""
    return {
        "address": {**_NO_ADDRESS, "country": country},
        "email": None,
        "name": None,
        "phone": None,
        "tax_id": None,
    }


def customer(*, id: str, created: int, clock: str | None, prefix: str) -> Obj:
    """A customer without anything yet."""
    return {
        "id": id,
        "object": "customer",
        "balance": 0,
        "created": created,
        "delinquent": False,
        "invoice_prefix": prefix,
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
        "test_clock": clock,
        **nulls(
            "address", "currency", "customer_account", "default_source", "description",
            "discount", "email", "name", "phone", "shipping",
        ),
    }  # fmt: skip
