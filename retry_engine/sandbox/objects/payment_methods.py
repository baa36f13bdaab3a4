"""Payment methods, legacy cards, tokens and mandates."""

from retry_engine.sandbox.objects.base import Obj, nulls
from retry_engine.sandbox.objects.customers import billing_details


def payment_method(*, id: str, created: int, kind: str, detail: Obj, country: str | None) -> Obj:
    """A payment method that belongs to nobody yet."""
    return {
        "id": id,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(country),
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
        kind: detail,
    }


def card(
    *, brand: str | None, country: str | None, exp_month: int | None, exp_year: int | None,
    fingerprint: str, funding: str | None, last4: str,
) -> Obj:  # fmt: skip
    """The card part of a payment method."""
    return {
        "brand": brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": country,
        "display_brand": brand,
        "exp_month": exp_month,
        "exp_year": exp_year,
        "fingerprint": fingerprint,
        "funding": funding,
        "generated_from": None,
        "last4": last4,
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def legacy_card(method: Obj, *, brand: str) -> Obj:
    """A card payment method as the sources API shows it."""
    detail, details = method["card"], method["billing_details"]
    address = details["address"]
    return {
        "id": method["id"],
        "object": "card",
        "address_city": address["city"],
        "address_country": address["country"],
        "address_line1": address["line1"],
        "address_line1_check": detail["checks"]["address_line1_check"],
        "address_line2": address["line2"],
        "address_state": address["state"],
        "address_zip": address["postal_code"],
        "address_zip_check": detail["checks"]["address_postal_code_check"],
        "allow_redisplay": method["allow_redisplay"],
        "brand": brand,
        "country": detail["country"],
        "customer": method["customer"],
        "cvc_check": detail["checks"]["cvc_check"],
        "dynamic_last4": None,
        "exp_month": detail["exp_month"],
        "exp_year": detail["exp_year"],
        "fingerprint": detail["fingerprint"],
        "funding": detail["funding"],
        "last4": detail["last4"],
        "metadata": method["metadata"],
        "name": details["name"],
        "regulated_status": detail["regulated_status"],
        "tokenization_method": None,
        "wallet": None,
    }


def sepa_debit(*, country: str | None, fingerprint: str, last4: str) -> Obj:
    """The SEPA part of a payment method."""
    return {
        "bank_code": "37040044",
        "branch_code": "",
        "country": country,
        "fingerprint": fingerprint,
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": last4,
    }


def us_bank_account(*, fingerprint: str, last4: str, bank_name: str | None) -> Obj:
    """The ACH part of a payment method."""
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": bank_name or "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": fingerprint,
        "last4": last4,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }


def bacs_debit(*, fingerprint: str, last4: str) -> Obj:
    """The Bacs part of a payment method."""
    return {"fingerprint": fingerprint, "last4": last4, "sort_code": "108800"}


def mandate(*, id: str, method: Obj, at: int) -> Obj:
    """A standing permission to debit."""
    kind = method["type"]
    detail: Obj = {"type": kind, kind: {}}
    if kind == "sepa_debit":
        detail[kind] = {"reference": id[-12:].upper(), "url": ""}
    if kind == "bacs_debit":
        detail[kind] = {
            "network_status": "accepted",
            "reference": id[-12:].upper(),
            "revocation_reason": None,
            "url": "",
        }
    return {
        "id": id,
        "object": "mandate",
        "customer_acceptance": {
            "accepted_at": at,
            "online": {"ip_address": "127.0.0.1", "user_agent": "sandbox"},
            "type": "online",
        },
        "livemode": False,
        "multi_use": {},
        "payment_method": method["id"],
        "payment_method_details": detail,
        "status": "active",
        "type": "multi_use",
    }


def method_details(method: Obj, mandate: str | None) -> Obj:
    """How a charge describes the method it was made with."""
    kind = method["type"]
    detail = method[kind]
    if kind == "card":
        keep = ("brand", "checks", "country", "exp_month", "exp_year", "fingerprint", "funding",
                "last4", "regulated_status", "wallet")  # fmt: skip
        shown = {name: detail[name] for name in keep}
        shown.update(
            nulls(
                "amount_authorized", "authorization_code", "installments", "mandate",
                "network_transaction_id", "three_d_secure",
            ),
            network=detail["brand"],
            network_token={"used": False},
        )  # fmt: skip
        return {"type": kind, kind: shown}
    return {"type": kind, kind: {**detail, "mandate": mandate}}


def token(*, id: str, created: int, card: Obj) -> Obj:
    """A card on its way from a page to a server."""
    return {
        "id": id,
        "object": "token",
        "bank_account": None,
        "card": card,
        "client_ip": "127.0.0.1",
        "created": created,
        "livemode": False,
        "type": "card",
        "used": False,
    }
