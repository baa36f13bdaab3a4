"""The account, its webhook endpoints and its test clocks."""

from retry_engine.sandbox.objects.base import Obj, listing, nulls


def account(*, id: str, created: int, country: str, currency: str) -> Obj:
    """The account itself."""
    return {
        "id": id,
        "object": "account",
        "business_profile": {"name": "Sandbox", "url": None, "support_email": None, "mcc": None},
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": country,
        "created": created,
        "default_currency": currency,
        "details_submitted": True,
        "email": None,
        "external_accounts": listing([], f"/v1/accounts/{id}/external_accounts"),
        "metadata": {},
        "payouts_enabled": True,
        "settings": {
            "branding": nulls("icon", "logo", "primary_color", "secondary_color"),
            "card_payments": {
                "decline_on": {"avs_failure": True, "cvc_failure": True},
                **nulls(
                    "statement_descriptor_prefix",
                    "statement_descriptor_prefix_kana",
                    "statement_descriptor_prefix_kanji",
                ),
            },
            "dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"},
            "payments": nulls(
                "statement_descriptor", "statement_descriptor_kana", "statement_descriptor_kanji"
            ),
        },
        "type": "standard",
    }


def application(*, id: str, name: str) -> Obj:
    """The platform's application, as a connected account knows it."""
    return {"id": id, "object": "application", "name": name}


def test_clock(*, id: str, created: int, frozen_time: int, name: str | None) -> Obj:
    """A clock that stands still until it is advanced."""
    return {
        "id": id,
        "object": "test_helpers.test_clock",
        "created": created,
        "deletes_after": created + 30 * 86_400,
        "frozen_time": frozen_time,
        "livemode": False,
        "name": name,
        "status": "ready",
        "status_details": {},
    }


def webhook_endpoint(
    *, id: str, created: int, url: str, events: list[str], version: str | None
) -> Obj:
    """Where events are sent."""
    return {
        "id": id,
        "object": "webhook_endpoint",
        "api_version": version,
        "application": None,
        "created": created,
        "description": None,
        "enabled_events": events,
        "livemode": False,
        "metadata": {},
        "status": "enabled",
        "url": url,
    }
