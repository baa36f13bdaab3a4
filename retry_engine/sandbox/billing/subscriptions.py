"""Subscriptions, as they are asked for and changed."""

from copy import deepcopy

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts import fields
from retry_engine.sandbox.accounts.account import DAY, Account
from retry_engine.sandbox.accounts.fields import hash_of, merged, whole
from retry_engine.sandbox.billing import catalog, collection, default_methods, discounts
from retry_engine.sandbox.billing.lifecycle import plan_end
from retry_engine.sandbox.billing.renewals import (
    begin,
    begin_anew,
    first_invoice,
    forget,
    trial_until,
    warn_of_trial_end,
)
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


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
        default_methods.set_default_method(account, subscription, params)
        _set_plain(subscription, params)
        if params.get("discounts"):
            discounts.set_on(account, subscription, params["discounts"])
        if not later_start:
            _refuse_unpayable(account, customer, subscription, params)
    except Exception:
        forget(account, subscription)
        raise
    if trial_end:
        subscription.update(status="trialing", trial_start=now, trial_end=trial_end)
    plan_end(account, subscription, params.get("cancel_at"))
    if not later_start and params.get("payment_behavior") == "error_if_incomplete":
        first_invoice(account, customer, subscription, "error_if_incomplete")
        account.emit("customer.subscription.created", subscription)
        return subscription
    account.emit("customer.subscription.created", subscription)
    if trial_end:
        warn_of_trial_end(account, subscription)
    if not later_start:
        first_invoice(account, customer, subscription, str(params.get("payment_behavior") or ""))
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
    if collection.default_of(account, customer["id"], None, subscription) is None:
        raise invalid(
            "This customer has no attached payment source or default payment method. Please "
            "consider adding a default payment method.",
            code="resource_missing",
        )


def _price_of(account: Account, params: Obj) -> tuple[Obj, int]:
    items = params.get("items")
    if not isinstance(items, list) or len(items) != 1:
        raise invalid("The sandbox's subscriptions have exactly one item.", param="items")
    return _of_item(account, hash_of(items[0], "items[0]"))


def _of_item(account: Account, item: Obj) -> tuple[Obj, int]:
    """(price, quantity) of an item; a plan is a price's old name."""
    if "price_data" in item:
        price = catalog.price_from_data(account, item["price_data"])
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
            value = fields.payment_settings(subscription[name], value or {})
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
    default_methods.set_default_method(account, subscription, params)
    _set_plain(subscription, params)
    if "cancel_at_period_end" in params:
        ends = subscription["items"]["data"][0]["current_period_end"]
        subscription["cancel_at"] = ends if params["cancel_at_period_end"] else None
    if params.get("cancellation_details"):
        said = {**subscription["cancellation_details"], **params["cancellation_details"]}
        subscription["cancellation_details"] = said
    if "cancel_at" in params:
        subscription["cancel_at"] = None
        plan_end(account, subscription, params["cancel_at"])
    items_before = deepcopy(subscription["items"]["data"])
    if "items" in params:
        _change_item(account, subscription, params["items"])
    if "discounts" in params:
        discounts.set_on(account, subscription, params["discounts"])
    if "pause_collection" in params:
        _set_pause(account, subscription, params["pause_collection"])
    if params.get("trial_end") not in (None, "now"):
        trial_until(account, subscription, int(params["trial_end"]))
    before = {name: value for name, value in was.items() if subscription[name] != value}
    if subscription["items"]["data"] != items_before:
        before["items"] = {"data": items_before}
    if before:
        account.emit("customer.subscription.updated", subscription, before)
    if params.get("billing_cycle_anchor") == "now" or params.get("trial_end") == "now":
        begin_anew(account, subscription)
    return subscription


def _refuse_proration(params: Obj) -> None:
    if params.get("proration_behavior") != "none":
        raise invalid(
            "The sandbox changes items without prorations only; give proration_behavior=none.",
            param="proration_behavior",
        )


def _change_item(account: Account, subscription: Obj, given: object) -> None:
    """Another price or quantity, from the next invoice on."""
    item = subscription["items"]["data"][0]
    one = given if isinstance(given, list) and len(given) == 1 else [{}]
    wanted = hash_of(one[0], "items[0]")
    if wanted.get("id") != item["id"]:
        raise invalid(
            "The sandbox's subscriptions have exactly one item; name it by its id.", param="items"
        )
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


def _set_pause(account: Account, subscription: Obj, given: object) -> None:
    if not given:
        subscription["pause_collection"] = None
        return
    asked = hash_of(given, "pause_collection")
    behavior = asked.get("behavior")
    if behavior not in ("keep_as_draft", "mark_uncollectible", "void"):
        raise invalid("Invalid pause_collection[behavior]", param="pause_collection[behavior]")
    resumes_at = None
    if asked.get("resumes_at"):
        resumes_at = whole(asked["resumes_at"], "pause_collection[resumes_at]")
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
