"""The periods of subscriptions: the first invoice, renewals, and the end of trials."""

import calendar
from typing import Any

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import DAY, HOUR, Account
from retry_engine.sandbox.billing import collection, discounts, invoicing
from retry_engine.sandbox.billing.collection import has_payment_under_way
from retry_engine.sandbox.billing.lifecycle import end, pause
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import charging

_FIRST_INVOICE_LIVES = 23 * HOUR

_ANNOUNCED_BEFORE = 7 * DAY


def later(account: Account, start: int, *, interval: str, count: int, anchor: int) -> int:
    """The end of a period; months keep the anchor's day where the month has it."""
    moment = account.moment(start)
    if interval in ("day", "week"):
        return start + count * (DAY if interval == "day" else 7 * DAY)
    months = count * (12 if interval == "year" else 1)
    index = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(index, 12)
    day = min(account.moment(anchor).day, calendar.monthrange(year, month + 1)[1])
    return int(moment.replace(year=year, month=month + 1, day=day).timestamp())


def forget(account: Account, subscription: Obj) -> None:
    """A subscription whose making came to nothing."""
    del account.tables["subscription"][subscription["id"]]


def begin(
    account: Account, customer: Obj, price: Obj, *, quantity: int, start: int, end: Any = None
) -> Obj:
    """A subscription with its current period and its renewal planned; nothing is charged."""
    recurring = price["recurring"]
    anchor = int(end) if end else start
    subscription = objects.subscription(
        id=account.new_id("subscription"),
        created=start,
        customer=customer,
        currency=price["currency"],
        anchor=anchor,
    )
    until = int(end) if end else later(
        account, start, interval=recurring["interval"], count=recurring["interval_count"],
        anchor=start,
    )  # fmt: skip
    item = objects.subscription_item(
        id=account.new_id("subscription_item"),
        created=start,
        subscription=subscription["id"],
        price=price,
        quantity=quantity,
        start=start,
        end=until,
    )
    subscription["items"]["data"] = [item]
    subscription["items"]["total_count"] = 1
    customer["currency"] = price["currency"]
    account.put("subscription", subscription)
    _plan_renewal(account, subscription)
    return subscription


_TRIAL_WARNING = 3 * DAY


def warn_of_trial_end(account: Account, subscription: Obj) -> None:
    """Three days before, or at once where the trial is shorter."""
    until = subscription["trial_end"]
    when = until - _TRIAL_WARNING
    if when <= account.now_of(subscription):
        account.emit("customer.subscription.trial_will_end", subscription)
        return
    account.at(
        subscription["test_clock"],
        when,
        "trial will end",
        lambda: account.emit("customer.subscription.trial_will_end", subscription),
        lambda: subscription["status"] == "trialing" and subscription["trial_end"] == until,
    )


def _plan_renewal(account: Account, subscription: Obj) -> None:
    item = subscription["items"]["data"][0]
    end = item["current_period_end"]
    announced = end - _ANNOUNCED_BEFORE
    customer = account.tables["customer"].get(subscription["customer"])
    if customer is not None and announced > account.now_of(customer):
        account.at(
            subscription["test_clock"],
            announced,
            "renewal is announced",
            lambda: _announce(account, subscription),
            lambda: (
                item["current_period_end"] == end
                and subscription["status"] in ("active", "trialing", "past_due")
                and not subscription["cancel_at_period_end"]
            ),
        )
    account.at(
        subscription["test_clock"],
        end,
        "subscription renews",
        lambda: _renew(account, subscription),
        lambda: (
            item["current_period_end"] == end
            and subscription["status"] not in ("canceled", "incomplete_expired")
        ),
    )


def first_invoice(account: Account, customer: Obj, subscription: Obj, behavior: str) -> None:
    """Make and charge it as `payment_behavior` says; the subscription's status follows."""
    item = subscription["items"]["data"][0]
    period = (item["current_period_start"], item["current_period_end"])
    invoice = _invoice(account, customer, subscription, "subscription_create", period)
    if subscription["collection_method"] == "send_invoice":
        invoicing.plan_finalizing(account, invoice)
        return
    subscription["status"] = "incomplete"
    invoicing.finalize(account, invoice)
    if behavior != "default_incomplete" and invoice["status"] == "open":
        result = invoicing.attempt(account, invoice)
        if behavior == "error_if_incomplete" and result and not result.went_through:
            invoicing.void(account, invoice)
            forget(account, subscription)
            raise charging.declined(account, result)
    # a bank debit that is under way is good enough to begin with
    if invoice["status"] == "paid" or has_payment_under_way(account, invoice):
        subscription["status"] = "active"
        return
    account.at(
        subscription["test_clock"],
        account.now_of(customer) + _FIRST_INVOICE_LIVES,
        "first invoice expires",
        lambda: _expire(account, subscription, invoice),
        lambda: subscription["status"] == "incomplete",
    )


def _expire(account: Account, subscription: Obj, invoice: Obj) -> None:
    before = account.change(subscription, status="incomplete_expired")
    subscription["ended_at"] = account.now_of(subscription)
    account.emit("customer.subscription.updated", subscription, before)
    if invoice["status"] == "open":
        invoicing.void(account, invoice)


def _invoice(
    account: Account, customer: Obj, subscription: Obj, reason: str, period: tuple[int, int]
) -> Obj:
    item = subscription["items"]["data"][0]
    invoice = invoicing.draft(
        account,
        customer,
        currency=subscription["currency"],
        reason=reason,
        subscription=subscription,
        period=period,
    )
    invoicing.add_line(
        account,
        invoice,
        amount=item["price"]["unit_amount"] * item["quantity"],
        description="Subscription",
        period=period,
        subscription_item=item,
    )
    if subscription["collection_method"] == "send_invoice":
        invoicing.ask_until(account, invoice, days=subscription["days_until_due"])
    discounts.apply_to(account, invoice, subscription)
    account.emit("invoice.created", invoice)
    return invoice


def _announce(account: Account, subscription: Obj) -> None:
    """`invoice.upcoming`: an invoice that does not exist yet."""
    customer = account.tables["customer"].get(subscription["customer"])
    if customer is None:
        return
    item = subscription["items"]["data"][0]
    end = item["current_period_end"]
    due = item["price"]["unit_amount"] * item["quantity"]
    upcoming = objects.invoice(
        id=f"upcoming_{account.new_id('invoice')}",
        created=end,
        customer=customer,
        currency=item["price"]["currency"],
        reason="upcoming",
        subscription=subscription,
        country=account.terms.country,
        period=(item["current_period_start"], end),
    )
    upcoming.update(amount_due=due, amount_remaining=due, total=due, subtotal=due)
    upcoming["next_payment_attempt"] = end + 3600
    account.emit("invoice.upcoming", upcoming)


def _renew(account: Account, subscription: Obj) -> None:
    if subscription["cancel_at_period_end"]:
        end(account, subscription, reason="cancellation_requested")
        return
    item = subscription["items"]["data"][0]
    recurring = item["price"]["recurring"]
    start = item["current_period_end"]
    before = {"items": {"data": [{**item}]}}
    item["current_period_start"] = start
    item["current_period_end"] = later(
        account, start, interval=recurring["interval"], count=recurring["interval_count"],
        anchor=subscription["billing_cycle_anchor"],
    )  # fmt: skip
    _plan_renewal(account, subscription)
    if subscription["status"] == "paused" or _trial_ends_without_method(account, subscription):
        return
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    account.emit("customer.subscription.updated", subscription, before)
    customer = account.tables["customer"].get(subscription["customer"])
    if customer is None:
        return
    period = (start, item["current_period_end"])
    invoice = _invoice(account, customer, subscription, "subscription_cycle", period)
    _let_it_be_collected(account, subscription, invoice)


def _trial_ends_without_method(account: Account, subscription: Obj) -> bool:
    """What `trial_settings` want done where there is nothing to charge; whether it was done."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if subscription["status"] != "trialing" or behavior == "create_invoice":
        return False
    if subscription["collection_method"] != "charge_automatically":
        return False
    if collection.default_of(account, subscription["customer"], None, subscription) is not None:
        return False
    if behavior == "cancel":
        end(account, subscription, reason="cancellation_requested")
    else:
        pause(account, subscription)
    return True


def _let_it_be_collected(account: Account, subscription: Obj, invoice: Obj) -> None:
    pause = subscription["pause_collection"]
    if pause is None and subscription["status"] != "unpaid":
        invoicing.plan_finalizing(account, invoice)
        return
    invoice["auto_advance"] = False
    behavior = (pause or {}).get("behavior")
    if behavior in ("void", "mark_uncollectible"):
        invoicing.finalize(account, invoice)
        if invoice["status"] == "open" and behavior == "void":
            invoicing.void(account, invoice)
        elif invoice["status"] == "open":
            invoicing.mark_uncollectible(account, invoice)


def trial_until(account: Account, subscription: Obj, until: int) -> None:
    """A trial until then: nothing is asked for before, and renewals are on that day from now on.

    Stripe also makes an invoice of nothing for the trial; the sandbox leaves it out.
    """
    item = subscription["items"]["data"][0]
    item["current_period_end"] = until
    subscription.update(
        status="trialing",
        trial_start=account.now_of(subscription),
        trial_end=until,
        billing_cycle_anchor=until,
    )
    _plan_renewal(account, subscription)
    warn_of_trial_end(account, subscription)


def begin_anew(account: Account, subscription: Obj) -> None:
    """A period that starts now, with an invoice that is charged at once."""
    if _trial_ends_without_method(account, subscription):
        return
    customer = account.tables["customer"][subscription["customer"]]
    item = subscription["items"]["data"][0]
    now, recurring = account.now_of(subscription), item["price"]["recurring"]
    before = {"billing_cycle_anchor": subscription["billing_cycle_anchor"]}
    subscription["billing_cycle_anchor"] = now
    item["current_period_start"] = now
    item["current_period_end"] = later(
        account, now, interval=recurring["interval"], count=recurring["interval_count"], anchor=now
    )
    if subscription["status"] == "trialing":
        subscription.update(status="active", trial_end=now)
    _plan_renewal(account, subscription)
    account.emit("customer.subscription.updated", subscription, before)
    period = (now, item["current_period_end"])
    invoice = _invoice(account, customer, subscription, "subscription_update", period)
    invoicing.finalize(account, invoice)
    invoicing.attempt(account, invoice)
