"""Is everything in its place? One row per question: ok, warn or fail, and how to mend it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from retry_engine.domain.errors import (
    RetryEngineError,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
)
from retry_engine.domain.modes import Mode
from retry_engine.store.holdings import Held

_MUST_HEAR = (
    "invoice.payment_failed",
    "invoice.paid",
    "invoice.voided",
    "customer.subscription.deleted",
    "charge.dispute.created",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row. `mend` says what to do where the status is not `ok`."""

    name: str
    status: str
    detail: str
    mend: str = ""


class Inspected(Protocol):
    """What the doctor asks of Stripe beyond what the engine itself needs."""

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


def check_part(name: str, test: Callable[[], str], *, mend: str) -> Check:
    """`ok` with what the test says, or `fail` with its error."""
    try:
        return Check(name=name, status="ok", detail=test())
    except RetryEngineError as error:
        more = getattr(error, "detail", "")
        return Check(
            name=name, status="fail", detail=f"{error}: {more}" if more else str(error), mend=mend
        )


def check_stripe(
    stripe: Inspected,
    *,
    mode: str,
    writes: Sequence[str],
    api_version: str,
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
        _webhook(stripe, api_version, heard),
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


def _webhook(stripe: Inspected, api_version: str, heard: Sequence[str]) -> Check:
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
    if version not in (None, api_version):
        return Check(
            name=name,
            status="warn",
            detail=f"sends events of API version {version}, this engine reads {api_version}",
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


# Of each way in which an invoice is held: how bad that is, in words, and what mends it.
_HELD = {
    "nothing_planned": (
        "fail",
        "with nobody, and nothing is planned about them",
        "`retry-engine cases hold` a living one; retry a closed one in Stripe, or void it",
    ),
    "past_deadline": (
        "fail",
        "past their deadline for a day",
        "see that a worker runs and Stripe answers; `retry-engine cases release`",
    ),
    "end_refused": (
        "fail",
        "cannot be given back or kept off, Stripe refuses it; it is tried once a day",
        "`retry-engine cases show` says why; do it in Stripe",
    ),
    "end_waits": (
        "warn",
        "are over, and their end waits while the engine is paused or writes nothing",
        "`retry-engine engine resume`, RETRY_ENGINE_MODE=takeover; or end them in Stripe",
    ),
    "kept_from_stripe": (
        "warn",
        "are over, unpaid, and our rules do not let Stripe have them back",
        "ask the customer, charge by hand or void them; after `cases note` they count as decided",
    ),
}


def check_held(found: Mapping[str, Held], *, paused: bool) -> list[Check]:
    """Invoices that Stripe does not retry because of us, and reviews that nobody answers."""
    wrong = [(*_HELD[kind], found[kind]) for kind in _HELD if found[kind].count]
    living, decided = found["living"].count, found["kept_off_by_decision"].count
    detail = f"{living} are worked on, {decided} kept off by decision"
    if paused and living:
        wrong.append(
            (
                "warn",
                "are held while the engine is paused, nobody retries them",
                "`retry-engine engine resume`, or `cases release`; new failures stay with Stripe",
                found["living"],
            )
        )
    return [
        _held(detail, wrong),
        _overdue(found["review_overdue"]),
        _given_up(found["outcome_given_up"]),
    ]


def _held(detail: str, wrong: Sequence[tuple[str, str, str, Held]]) -> Check:
    name = "invoices held"
    if not wrong:
        return Check(name=name, status="ok", detail=detail)
    return Check(
        name=name,
        status="fail" if any(row[0] == "fail" for row in wrong) else "warn",
        detail="; ".join(f"{held.count} {what}: {held.names}" for _, what, _, held in wrong),
        mend="; ".join(mend for _, _, mend, _ in wrong),
    )


def _given_up(unknown: Held) -> Check:
    if not unknown.count:
        return Check(name="outcomes", status="ok", detail="every charge has one, or finds it")
    return Check(
        name="outcomes",
        status="warn",
        detail=f"of {unknown.count} a charge was sent, and nobody can tell what came of it: "
        f"{unknown.names}",
        mend="where the account's access comes back, `events replay acct_…` finds out; else look "
        "there, and `retry-engine cases note` what came of it",
    )


def _overdue(overdue: Held) -> Check:
    if not overdue.count:
        return Check(name="reviews", status="ok", detail="none is overdue")
    return Check(
        name="reviews",
        status="warn",
        detail=f"{overdue.count} wait beyond their deadline: {overdue.names}",
        mend="`retry-engine reviews list`; [review] unanswered says what becomes of them by itself",
    )
