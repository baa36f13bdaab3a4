"""What the doctor asks on Stripe's side: the key, its permissions, the endpoint, who retries."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from retry_engine.app.checks import Check
from retry_engine.domain.errors import StripeForbidden, StripeRejected, StripeUnavailable
from retry_engine.domain.modes import Mode

_MUST_HEAR = (
    "invoice.payment_failed",
    "invoice.paid",
    "invoice.voided",
    "customer.subscription.deleted",
    "charge.dispute.created",
)


class Inspected(Protocol):
    """What the doctor asks of Stripe beyond what the engine itself needs."""

    @property
    def api_version(self) -> str: ...
    def account(self) -> Mapping[str, Any]: ...
    def webhook_endpoints(self) -> Sequence[Mapping[str, Any]]: ...
    def recent_invoices(self, *, limit: int) -> Sequence[Mapping[str, Any]]: ...
    def stripe_time(self) -> datetime | None: ...
    def may(self, permission: str) -> bool: ...


READ_PERMISSIONS = (
    "invoices",
    "invoice_payments",
    "charges",
    "customers",
    "payment_methods",
    "subscriptions",
    "events",
)


def check_stripe(
    stripe: Inspected,
    *,
    mode: str,
    writes: Sequence[str],
    heard: Sequence[str],
    now: datetime,
) -> list[Check]:
    """Everything on Stripe's side; where the key itself fails, only that.

    `writes`: the permissions to write that mode and policy need.
    """
    key = _key(stripe)
    if key.status == "fail":
        return [key]
    return [
        key,
        _permissions(stripe, writes),
        _webhook(stripe, heard),
        _who_retries(stripe, mode),
        _time(stripe, now),
    ]


def _key(stripe: Inspected) -> Check:
    try:
        account = stripe.account()
    except StripeForbidden as error:
        if "403" in str(error):  # a restricted key that works, and may not read the account
            return Check(name="stripe key", status="ok", detail="accepted (restricted)")
        return Check(
            name="stripe key",
            status="fail",
            detail=str(error),
            mend="set STRIPE_API_KEY to a valid secret or restricted key",
        )
    except StripeUnavailable as error:
        return Check(
            name="stripe key",
            status="fail",
            detail=str(error),
            mend="check the network and STRIPE_API_BASE",
        )
    except StripeRejected:
        return Check(name="stripe key", status="ok", detail="accepted")
    return Check(name="stripe key", status="ok", detail=f"account {account.get('id', '?')}")


def _permissions(stripe: Inspected, writes: Sequence[str]) -> Check:
    wanted = [*READ_PERMISSIONS, *writes]
    missing = [name for name in wanted if not stripe.may(name)]
    if missing:
        return Check(
            name="stripe permissions",
            status="fail",
            detail=f"the key may not use: {', '.join(missing)}",
            mend="give the restricted key these permissions (Dashboard, Developers, API keys)",
        )
    return Check(name="stripe permissions", status="ok", detail=f"{len(wanted)} asked, all granted")


def _webhook(stripe: Inspected, heard: Sequence[str]) -> Check:
    name = "webhook endpoint"
    try:
        endpoints = stripe.webhook_endpoints()
    except (StripeForbidden, StripeRejected, StripeUnavailable) as error:
        return Check(
            name=name,
            status="warn",
            detail=f"cannot be looked up: {error}",
            mend="allow the key to read webhook endpoints, or check them in the Dashboard",
        )
    ours = [e for e in endpoints if str(e.get("url", "")).endswith("/webhooks/stripe")]
    enabled = [e for e in ours if e.get("status", "enabled") == "enabled"]
    if not enabled:
        return Check(
            name=name,
            status="fail",
            detail="none is enabled that ends in /webhooks/stripe",
            mend="create one in the Dashboard (Developers, Webhooks) for "
            "https://YOUR-HOST/webhooks/stripe",
        )
    events = set(enabled[0].get("enabled_events") or [])
    deaf = [] if "*" in events else [e for e in heard if e not in events]
    if any(e in _MUST_HEAR for e in deaf):
        return Check(
            name=name,
            status="fail",
            detail=f"does not send {', '.join(e for e in deaf if e in _MUST_HEAR)}",
            mend="add these events to the endpoint",
        )
    version = enabled[0].get("api_version")
    if version not in (None, stripe.api_version):
        return Check(
            name=name,
            status="warn",
            detail=f"sends events of API version {version}, this engine reads {stripe.api_version}",
            mend="events are read again through the API, so this works; pin the endpoint anyway",
        )
    if deaf:
        return Check(
            name=name,
            status="warn",
            detail=f"{enabled[0]['url']} does not send {len(deaf)} useful events",
            mend="add: " + ", ".join(deaf),
        )
    return Check(name=name, status="ok", detail=str(enabled[0]["url"]))


def _who_retries(stripe: Inspected, mode: str) -> Check:
    name = "who retries"
    try:
        invoices = stripe.recent_invoices(limit=20)
    except (StripeForbidden, StripeRejected, StripeUnavailable) as error:
        return Check(name=name, status="warn", detail=f"cannot be looked up: {error}")
    failed = [i for i in invoices if i.get("attempted")]
    planned = sum(i.get("next_payment_attempt") is not None for i in failed)
    detail = f"of {len(failed)} open, failed invoices Stripe itself plans to retry {planned}"
    if mode == Mode.SHADOW:
        return Check(name=name, status="ok", detail=f"Stripe does (shadow); {detail}")
    if planned:
        return Check(
            name=name,
            status="warn",
            detail=f"the engine takes invoices over as they fail; {detail}",
            mend="older invoices stay with Stripe; switch Smart Retries off (Billing, Revenue "
            "recovery) once the engine has taken over, and Stripe's own ACH retries as well",
        )
    return Check(name=name, status="ok", detail=f"the engine; {detail}")


def _time(stripe: Inspected, now: datetime) -> Check:
    try:
        theirs = stripe.stripe_time()
    except (StripeForbidden, StripeRejected, StripeUnavailable) as error:
        return Check(name="clock", status="warn", detail=f"cannot be compared: {error}")
    if theirs is None:
        return Check(name="clock", status="warn", detail="Stripe's answer carries no date")
    apart = abs(theirs - now)
    if apart > timedelta(seconds=30):
        return Check(
            name="clock",
            status="fail" if apart > timedelta(seconds=240) else "warn",
            detail=f"{apart.total_seconds():.0f} s apart from Stripe's",
            mend="synchronise this machine's clock; webhooks over 300 s old are refused",
        )
    return Check(name="clock", status="ok", detail=f"{apart.total_seconds():.0f} s from Stripe's")
