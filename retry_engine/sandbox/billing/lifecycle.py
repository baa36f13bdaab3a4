"""How subscriptions pause, resume and end."""

from collections.abc import Mapping

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing.collection import subscription_of
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


def plan_end(account: Account, subscription: Obj, given: object) -> None:
    """`cancel_at`: it ends then, in the middle of a period or not."""
    if given in (None, ""):
        return
    text = str(given)
    if not text.isdigit() or int(text) <= account.now_of(subscription):
        raise invalid("cancel_at must be a time in the future.", param="cancel_at")
    when = int(text)
    subscription["cancel_at"] = when
    account.at(
        subscription["test_clock"],
        when,
        "subscription is canceled",
        lambda: end(account, subscription, reason="cancellation_requested"),
        lambda: subscription["cancel_at"] == when and subscription["status"] != "canceled",
    )


def pause(account: Account, subscription: Obj) -> Obj:
    """`POST /v1/subscriptions/{id}/pause`: no more invoices; open ones stay collectible."""
    account.refuse_while_advancing(subscription)
    if subscription["status"] not in ("active", "past_due", "trialing"):
        raise invalid(f"A subscription that is {subscription['status']} can't be paused.")
    before = account.change(subscription, status="paused")
    account.emit("customer.subscription.updated", subscription, before)
    account.emit("customer.subscription.paused", subscription)
    return subscription


def resume(account: Account, subscription: Obj) -> Obj:
    """`POST /v1/subscriptions/{id}/resume`."""
    account.refuse_while_advancing(subscription)
    if subscription["status"] != "paused":
        raise invalid("Only paused subscriptions can be resumed.")
    before = account.change(subscription, status="active")
    account.emit("customer.subscription.updated", subscription, before)
    account.emit("customer.subscription.resumed", subscription)
    return subscription


def cancel(account: Account, subscription: Obj, params: Obj) -> Obj:
    """`DELETE /v1/subscriptions/{id}`."""
    account.refuse_while_advancing(subscription)
    if params.get("prorate"):
        raise invalid("The sandbox cancels without prorations only.", param="prorate")
    if subscription["status"] in ("canceled", "incomplete_expired"):
        raise invalid(f"No such subscription: '{subscription['id']}'", code="resource_missing")
    return end(
        account,
        subscription,
        reason="cancellation_requested",
        said=params.get("cancellation_details") or {},
    )


def end(
    account: Account, subscription: Obj, *, reason: str, said: Mapping[str, str] | None = None
) -> Obj:
    """It ends now. Its open invoices can still be paid, but Stripe stops collecting them."""
    now = account.now_of(subscription)
    subscription.update(
        status="canceled",
        canceled_at=now,
        ended_at=now,
        cancellation_details={"comment": None, "feedback": None, **(said or {}), "reason": reason},
    )
    account.emit("customer.subscription.deleted", subscription)
    for invoice in account.of("invoice", subscription["customer"]):
        if (
            invoice["status"] in ("open", "draft")
            and subscription_of(account, invoice) is subscription
        ):
            before = account.change(invoice, auto_advance=False, next_payment_attempt=None)
            account.emit("invoice.updated", invoice, before)
    return subscription
