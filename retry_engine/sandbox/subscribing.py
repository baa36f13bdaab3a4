"""Subscriptions: their start, their renewals and their end."""

import calendar
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from retry_engine.sandbox import (
    catalogue,
    charging,
    collecting,
    discounting,
    documented,
    invoicing,
    objects,
)
from retry_engine.sandbox.account import DAY, HOUR, Account
from retry_engine.sandbox.collecting import has_payment_under_way, subscription_of
from retry_engine.sandbox.merging import merged
from retry_engine.sandbox.refusals import Obj, hash_of, invalid, whole

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


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/subscriptions`: makes the first invoice and charges it, unless there is a trial."""
    if not params.get("customer"):
        raise invalid("Missing required param: customer.", param="customer")
    customer = account.get("customer", params["customer"], param="customer")
    account.refuse_while_advancing(customer)
    price, quantity = _price_of(account, params)
    _refuse_other_terms(params, price)
    now = account.now_of(customer)
    trial_end = _trial_end(params, price, now)
    later_start = trial_end or params.get("billing_cycle_anchor")
    subscription = begin(account, customer, price, quantity=quantity, start=now, end=later_start)
    try:
        invoicing.set_default_method(account, subscription, params)
        _set_plain(subscription, params)
        if params.get("discounts"):
            discounting.set_on(account, subscription, params["discounts"])
        if not later_start:
            _refuse_unpayable(account, customer, subscription, params)
    except Exception:
        _forget(account, subscription)
        raise
    if trial_end:
        subscription.update(status="trialing", trial_start=now, trial_end=trial_end)
    _plan_end(account, subscription, params.get("cancel_at"))
    if not later_start and params.get("payment_behavior") == "error_if_incomplete":
        _first_invoice(account, customer, subscription, "error_if_incomplete")
        account.emit("customer.subscription.created", subscription)
        return subscription
    account.emit("customer.subscription.created", subscription)
    if trial_end:
        _warn_of_trial_end(account, subscription)
    if not later_start:
        _first_invoice(account, customer, subscription, str(params.get("payment_behavior") or ""))
    return subscription


def _refuse_other_terms(params: Obj, price: Obj) -> None:
    wanted = str(params.get("currency") or price["currency"]).lower()
    if wanted != price["currency"]:
        raise invalid(f"The price has no amount in {wanted}.", param="currency")
    if params.get("collection_method") == "send_invoice" and not params.get("days_until_due"):
        raise invalid(
            "You must provide days_until_due when collection_method is send_invoice.",
            param="days_until_due",
        )


def _refuse_unpayable(account: Account, customer: Obj, subscription: Obj, params: Obj) -> None:
    """Stripe makes no subscription that it has to charge at once and cannot."""
    charged = subscription["collection_method"] == "charge_automatically"
    amount = sum(i["price"]["unit_amount"] for i in subscription["items"]["data"])
    waits = params.get("payment_behavior") == "default_incomplete"
    if not charged or waits or not amount:
        return
    if collecting.default_of(account, customer["id"], None, subscription) is None:
        raise invalid(
            "This customer has no attached payment source or default payment method. Please "
            "consider adding a default payment method.",
            code="resource_missing",
        )


def _forget(account: Account, subscription: Obj) -> None:
    del account.tables["subscription"][subscription["id"]]


def _price_of(account: Account, params: Obj) -> tuple[Obj, int]:
    items = params.get("items")
    if not isinstance(items, list) or len(items) != 1:
        raise invalid("The sandbox's subscriptions have exactly one item.", param="items")
    return _of_item(account, hash_of(items[0], "items[0]"))


def _of_item(account: Account, item: Obj) -> tuple[Obj, int]:
    """(price, quantity) of an item; a plan is a price's old name."""
    if "price_data" in item:
        price = catalogue.price_from_data(account, item["price_data"])
    else:
        price = account.get(
            "price", str(item.get("price") or item.get("plan") or ""), param="items[0][price]"
        )
    if price["recurring"] is None:
        raise invalid("The price must be a recurring one.", param="items[0][price]")
    return price, whole(item.get("quantity") or 1, "items[0][quantity]")


def _trial_end(params: Obj, price: Obj, now: int) -> int | None:
    if params.get("trial_from_plan") and price["recurring"]["trial_period_days"]:
        return now + int(price["recurring"]["trial_period_days"]) * DAY
    if params.get("trial_period_days"):
        return now + int(params["trial_period_days"]) * DAY
    end = params.get("trial_end")
    return None if end in (None, "", "now") else whole(end, "trial_end")


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


def _warn_of_trial_end(account: Account, subscription: Obj) -> None:
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


def _plan_end(account: Account, subscription: Obj, given: Any) -> None:
    """`cancel_at`: it ends then, in the middle of a period or not."""
    if given in (None, ""):
        return
    if not str(given).isdigit() or int(given) <= account.now_of(subscription):
        raise invalid("cancel_at must be a time in the future.", param="cancel_at")
    when = int(given)
    subscription["cancel_at"] = when
    account.at(
        subscription["test_clock"],
        when,
        "subscription is canceled",
        lambda: end(account, subscription, reason="cancellation_requested"),
        lambda: subscription["cancel_at"] == when and subscription["status"] != "canceled",
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


def _first_invoice(account: Account, customer: Obj, subscription: Obj, behavior: str) -> None:
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
            _forget(account, subscription)
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
    discounting.apply_to(account, invoice, subscription)
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
    if collecting.default_of(account, subscription["customer"], None, subscription) is not None:
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


_PLAIN = (
    "description", "metadata", "cancel_at_period_end", "collection_method", "days_until_due",
    "payment_settings", "trial_settings", "invoice_settings",
)  # fmt: skip
_MISSING = ("cancel", "create_invoice", "pause")


def _set_plain(subscription: Obj, params: Obj) -> None:
    for name in _PLAIN:
        if name not in params:
            continue
        value = params[name]
        if name == "metadata":
            value = merged(subscription["metadata"], value)
        elif name == "payment_settings":
            value = documented.payment_settings(subscription[name], value or {})
        elif name == "trial_settings":
            value = _trial_settings(value or {})
        elif name == "invoice_settings":
            value = {**subscription[name], **(value or {})}
        subscription[name] = None if value == "" else value


def _trial_settings(given: Obj) -> Obj:
    ending = hash_of(given.get("end_behavior"), "trial_settings[end_behavior]")
    behavior = ending.get("missing_payment_method", "create_invoice")
    if behavior not in _MISSING:
        raise invalid(
            f"missing_payment_method is one of {', '.join(_MISSING)}.",
            param="trial_settings[end_behavior][missing_payment_method]",
        )
    return {"end_behavior": {"missing_payment_method": behavior}}


def update(account: Account, subscription: Obj, params: Obj) -> Obj:
    """`POST /v1/subscriptions/{id}`."""
    account.refuse_while_advancing(subscription)
    if subscription["status"] in ("canceled", "incomplete_expired"):
        raise invalid("A canceled subscription can only update its cancellation_details.")
    _refuse_what_cannot_be_moved(account, subscription, params)
    if "items" in params:
        _refuse_proration(params)
    watched = (
        *_PLAIN, "default_payment_method", "default_source", "pause_collection",
        "discounts", "trial_end", "status", "billing_cycle_anchor", "cancel_at",
        "cancellation_details",
    )  # fmt: skip
    was = {name: deepcopy(subscription[name]) for name in watched}
    invoicing.set_default_method(account, subscription, params)
    _set_plain(subscription, params)
    if "cancel_at_period_end" in params:
        ends = subscription["items"]["data"][0]["current_period_end"]
        subscription["cancel_at"] = ends if params["cancel_at_period_end"] else None
    if params.get("cancellation_details"):
        said = {**subscription["cancellation_details"], **params["cancellation_details"]}
        subscription["cancellation_details"] = said
    if "cancel_at" in params:
        subscription["cancel_at"] = None
        _plan_end(account, subscription, params["cancel_at"])
    items_before = deepcopy(subscription["items"]["data"])
    if "items" in params:
        _change_item(account, subscription, params["items"])
    if "discounts" in params:
        discounting.set_on(account, subscription, params["discounts"])
    if "pause_collection" in params:
        _set_pause(account, subscription, params["pause_collection"])
    if params.get("trial_end") not in (None, "now"):
        _move_to(account, subscription, int(params["trial_end"]))
    before = {name: value for name, value in was.items() if subscription[name] != value}
    if subscription["items"]["data"] != items_before:
        before["items"] = {"data": items_before}
    if before:
        account.emit("customer.subscription.updated", subscription, before)
    if params.get("billing_cycle_anchor") == "now" or params.get("trial_end") == "now":
        _begin_anew(account, subscription)
    return subscription


def _refuse_proration(params: Obj) -> None:
    if params.get("proration_behavior") != "none":
        raise invalid(
            "The sandbox changes items without prorations only; give proration_behavior=none.",
            param="proration_behavior",
        )


def _change_item(account: Account, subscription: Obj, given: Any) -> None:
    """Another price or quantity, from the next invoice on."""
    item = subscription["items"]["data"][0]
    one = isinstance(given, list) and len(given) == 1
    if not one or hash_of(given[0], "items[0]").get("id") != item["id"]:
        raise invalid(
            "The sandbox's subscriptions have exactly one item; name it by its id.", param="items"
        )
    wanted = given[0]
    if {"price", "plan", "price_data"} & set(wanted):
        price, _ = _of_item(account, wanted)
        if price["currency"] != subscription["currency"]:
            raise invalid("The price's currency is not the subscription's.", param="items")
        was, now = item["price"]["recurring"], price["recurring"]
        if any(was[n] != now[n] for n in ("interval", "interval_count")):
            raise invalid("The sandbox does not change a billing interval.", param="items")
        item.update(price=price, plan=objects.plan(price))
    if wanted.get("quantity"):
        item["quantity"] = whole(wanted["quantity"], "items[0][quantity]")


def _refuse_what_cannot_be_moved(account: Account, subscription: Obj, params: Obj) -> None:
    trial_end, anchor = params.get("trial_end"), params.get("billing_cycle_anchor")
    if trial_end is None and anchor is None:
        return
    if anchor not in (None, "now", "unchanged"):
        raise invalid(
            "billing_cycle_anchor is one of now, unchanged.", param="billing_cycle_anchor"
        )
    if trial_end not in (None, "now") and not str(trial_end).isdigit():
        raise invalid("trial_end is a time or now.", param="trial_end")
    if trial_end not in (None, "now") and int(trial_end) <= account.now_of(subscription):
        raise invalid("Invalid timestamp: must be in the future", param="trial_end")
    free = subscription["status"] == "trialing" and trial_end == "now"
    if params.get("proration_behavior") != "none" and anchor != "unchanged" and not free:
        raise invalid(
            "The sandbox moves a billing day without prorations only.", param="proration_behavior"
        )


def _move_to(account: Account, subscription: Obj, until: int) -> None:
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
    _warn_of_trial_end(account, subscription)


def _begin_anew(account: Account, subscription: Obj) -> None:
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


def _set_pause(account: Account, subscription: Obj, given: Any) -> None:
    if not given:
        subscription["pause_collection"] = None
        return
    behavior = hash_of(given, "pause_collection").get("behavior")
    if behavior not in ("keep_as_draft", "mark_uncollectible", "void"):
        raise invalid("Invalid pause_collection[behavior]", param="pause_collection[behavior]")
    resumes_at = None
    if given.get("resumes_at"):
        resumes_at = whole(given["resumes_at"], "pause_collection[resumes_at]")
    pause = {"behavior": behavior, "resumes_at": resumes_at}
    subscription["pause_collection"] = pause
    if resumes_at:
        account.at(
            subscription["test_clock"],
            resumes_at,
            "collection resumes",
            lambda: update(account, subscription, {"pause_collection": ""}),
            lambda: subscription["pause_collection"] is pause,
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
