"""Coupons, promotion codes, and the discounts that subscriptions carry into their renewals."""

import calendar
from typing import Any

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.errors import invalid, missing
from retry_engine.sandbox.objects import Obj

_CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def create_coupon(account: Account, params: Obj) -> Obj:
    """`POST /v1/coupons`: a share or an amount off, once, for some months, or for ever."""
    percent, amount = params.get("percent_off"), params.get("amount_off")
    if (percent is None) == (amount is None):
        raise invalid("You must pass exactly one of percent_off and amount_off.")
    if percent is not None and not 0 < percent <= 100:
        raise invalid("percent_off must be more than 0 and at most 100.", param="percent_off")
    if amount is not None and (amount <= 0 or not params.get("currency")):
        raise invalid("amount_off must be positive and needs a currency.", param="amount_off")
    duration = params.get("duration") or "once"
    if duration not in ("once", "repeating", "forever"):
        raise invalid("duration is one of forever, once, repeating.", param="duration")
    months = params.get("duration_in_months")
    if (duration == "repeating") != bool(months):
        raise invalid("duration_in_months belongs to repeating.", param="duration_in_months")
    wanted = params.get("id") or account.new_id("coupon")
    if wanted in account.tables["coupon"]:
        raise invalid(f"Coupon already exists: {wanted}", code="resource_already_exists")
    made = objects.coupon(
        id=wanted,
        created=account.real_now(),
        duration=duration,
        months=months,
        percent_off=percent,
        amount_off=amount,
        currency=(params.get("currency") or None) if amount is not None else None,
    )
    plain = ("max_redemptions", "metadata", "name", "redeem_by")
    made.update({n: params[n] for n in plain if n in params})
    account.put("coupon", made)
    account.emit("coupon.created", made)
    return made


def delete_coupon(account: Account, coupon: Obj) -> Obj:
    """`DELETE /v1/coupons/{id}`: nobody new gets it; who has it keeps it."""
    del account.tables["coupon"][coupon["id"]]
    # discounts given before keep reading it
    account.hidden.setdefault("deleted_coupons", {})[coupon["id"]] = coupon
    account.emit("coupon.deleted", coupon)
    return {"id": coupon["id"], "object": "coupon", "deleted": True}


def create_promotion_code(account: Account, params: Obj) -> Obj:
    """`POST /v1/promotion_codes`."""
    promotion = params.get("promotion") or {}
    if params.get("coupon"):  # as it was called before it moved
        promotion = {"type": "coupon", "coupon": params["coupon"]}
    if promotion.get("type") != "coupon":
        raise invalid("Missing required param: promotion[type].", param="promotion[type]")
    coupon = account.get("coupon", promotion.get("coupon") or "", param="promotion[coupon]")
    if params.get("customer"):
        account.get("customer", params["customer"], param="customer")
    code = params.get("code") or "".join(account.rng.choices(_CODE_LETTERS, k=8))
    active = [c for c in account.tables["promotion_code"].values() if c["active"]]
    if any(c["code"].lower() == code.lower() for c in active):
        raise invalid("An active promotion code with that code exists already.", param="code")
    made = objects.promotion_code(
        id=account.new_id("promotion_code"),
        created=account.real_now(),
        coupon=coupon["id"],
        code=code,
        customer=params.get("customer"),
    )
    plain = ("active", "expires_at", "max_redemptions", "metadata")
    made.update({n: params[n] for n in plain if n in params})
    account.put("promotion_code", made)
    account.emit("promotion_code.created", made)
    return made


def update_promotion_code(account: Account, made: Obj, params: Obj) -> Obj:
    """`POST /v1/promotion_codes/{id}`: only `active` and metadata can change."""
    before = account.change(made, **{n: params[n] for n in ("active", "metadata") if n in params})
    if before:
        account.emit("promotion_code.updated", made, before)
    return made


def set_on(account: Account, subscription: Obj, given: Any) -> None:
    """`discounts` of a subscription: what is given replaces all it had; nothing clears."""
    now = account.now_of(subscription)
    kept: list[str] = []
    for index, entry in enumerate(given or ()):
        param = f"discounts[{index}]"
        if not isinstance(entry, dict) or len(entry) != 1:
            raise invalid("Give one of coupon, promotion_code and discount.", param=param)
        ((kind, wanted),) = entry.items()
        if kind == "discount":
            if wanted not in subscription["discounts"]:
                raise invalid(f"No such discount: '{wanted}'", code="resource_missing", param=param)
            kept.append(wanted)
        elif kind == "promotion_code":
            code = account.get("promotion_code", wanted, param=param)
            _refuse_unusable_code(code, subscription, now)
            kept.append(_given(account, subscription, code["promotion"]["coupon"], code, now))
        elif kind == "coupon":
            account.get("coupon", wanted, param=param)
            kept.append(_given(account, subscription, wanted, None, now))
        else:
            raise invalid(f"Received unknown parameter: {param}[{kind}]", code="parameter_unknown")
    for gone in set(subscription["discounts"]) - set(kept):
        account.emit("customer.discount.deleted", account.tables["discount"][gone])
    subscription["discounts"] = kept


def _refuse_unusable_code(code: Obj, subscription: Obj, now: int) -> None:
    limit = code["max_redemptions"]
    used_up = limit is not None and code["times_redeemed"] >= limit
    expired = code["expires_at"] is not None and code["expires_at"] <= now
    if not code["active"] or used_up or expired:
        raise invalid("This promotion code is not active.", code="promotion_code_invalid")
    if code["customer"] not in (None, subscription["customer"]):
        raise invalid("This promotion code is another customer's.", code="promotion_code_invalid")


def _given(account: Account, subscription: Obj, coupon_id: str, code: Obj | None, now: int) -> str:
    coupon = coupon_of(account, coupon_id)
    _refuse_unusable_coupon(account, coupon, subscription, now)
    end = None
    if coupon["duration"] == "repeating":
        end = _months_on(account, now, coupon["duration_in_months"])
    made = objects.discount(
        id=account.new_id("discount"),
        start=now,
        end=end,
        coupon=coupon_id,
        customer=subscription["customer"],
        subscription=subscription["id"],
        promotion_code=code["id"] if code else None,
    )
    account.put("discount", made)
    for redeemed in (coupon, code):
        if redeemed is not None:
            redeemed["times_redeemed"] += 1
    account.emit("customer.discount.created", made)
    return str(made["id"])


def _refuse_unusable_coupon(account: Account, coupon: Obj, subscription: Obj, now: int) -> None:
    limit = coupon["max_redemptions"]
    late = coupon["redeem_by"] is not None and coupon["redeem_by"] <= now
    if late or (limit is not None and coupon["times_redeemed"] >= limit):
        raise invalid(f"Coupon expired: {coupon['id']}", code="coupon_expired")
    if coupon["currency"] not in (None, subscription["currency"]):
        raise invalid("The coupon's currency is not the subscription's.", param="discounts")


def _months_on(account: Account, start: int, months: int) -> int:
    moment = account.moment(start)
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return int(moment.replace(year=year, month=month + 1, day=day).timestamp())


def coupon_of(account: Account, coupon_id: str) -> Obj:
    """The coupon, also one that was deleted after it had been given."""
    found = account.tables["coupon"].get(coupon_id)
    found = found or account.hidden.get("deleted_coupons", {}).get(coupon_id)
    if found is None:
        raise missing("coupon", coupon_id)
    return dict(found) if coupon_id not in account.tables["coupon"] else found


def apply_to(account: Account, invoice: Obj, subscription: Obj) -> None:
    """Take the subscription's discounts off a draft; what is used up goes from it."""
    start, left = invoice["created"], invoice["subtotal"]
    amounts: list[Obj] = []
    staying: list[str] = []
    for discount_id in subscription["discounts"]:
        given = account.tables["discount"][discount_id]
        if given["end"] is not None and given["end"] <= start:
            account.emit("customer.discount.deleted", given)
            continue
        coupon = coupon_of(account, given["source"]["coupon"])
        off = min(left, _worth(coupon, left))
        left -= off
        amounts.append({"amount": off, "discount": discount_id})
        if coupon["duration"] != "once":
            staying.append(discount_id)
    subscription["discounts"] = staying
    if not amounts:
        amounts, left = _customers_own(account, invoice, left)
    if not amounts:
        return
    invoice["discounts"] = [entry["discount"] for entry in amounts]
    invoice["total_discount_amounts"] = amounts
    for name in ("total", "total_excluding_tax"):
        invoice[name] = left
    invoice["amount_due"] = invoice["amount_remaining"] = left
    line = invoice["lines"]["data"][0]
    line["discount_amounts"] = [dict(entry) for entry in amounts]


def _customers_own(account: Account, invoice: Obj, left: int) -> tuple[list[Obj], int]:
    """A customer's discount counts where the subscription has none."""
    customer = account.tables["customer"].get(invoice["customer"]) or {}
    given = customer.get("discount")
    if not given:
        return [], left
    if given["end"] is not None and given["end"] <= invoice["created"]:
        set_on_customer(account, customer, None)
        return [], left
    coupon = coupon_of(account, given["source"]["coupon"])
    off = min(left, _worth(coupon, left))
    if coupon["duration"] == "once":
        set_on_customer(account, customer, None)
    return [{"amount": off, "discount": given["id"]}], left - off


def set_on_customer(account: Account, customer: Obj, coupon_id: str | None) -> Obj:
    """A coupon in place of the one that a customer had, or none; what was before.

    Stripe's present version has no such parameter any more; older ones call it `coupon`.
    """
    was = customer["discount"]
    if not coupon_id:
        if was is None:
            return {}
        customer["discount"] = None
        account.emit("customer.discount.deleted", was)
        return {"discount": was}
    coupon = account.get("coupon", coupon_id, param="coupon")
    now = account.now_of(customer)
    _refuse_unusable_coupon(account, coupon, {"currency": coupon["currency"]}, now)
    end = None
    if coupon["duration"] == "repeating":
        end = _months_on(account, now, coupon["duration_in_months"])
    made = objects.discount(
        id=account.new_id("discount"), start=now, end=end, coupon=coupon_id,
        customer=customer["id"], subscription=None, promotion_code=None,
    )  # fmt: skip
    account.put("discount", made)
    coupon["times_redeemed"] += 1
    customer["discount"] = made
    if was is None:
        account.emit("customer.discount.created", made)
    else:
        account.emit("customer.discount.updated", made, {"source": was["source"]})
    return {"discount": was}


def update_coupon(account: Account, coupon: Obj, params: Obj) -> Obj:
    """`POST /v1/coupons/{id}`: its name and metadata."""
    before: Obj = {}
    if "name" in params:
        before |= account.change(coupon, name=params["name"] or None)
    if "metadata" in params:
        before |= account.change(coupon, metadata=merged(coupon["metadata"], params["metadata"]))
    if before:
        account.emit("coupon.updated", coupon, before)
    return coupon


def _worth(coupon: Obj, amount: int) -> int:
    if coupon["amount_off"] is not None:
        return int(coupon["amount_off"])
    share: float = coupon["percent_off"]
    return round(amount * share / 100)


def take_from_customer(account: Account, customer: Obj) -> Obj:
    """`DELETE /v1/customers/{id}/discount`."""
    held = customer["discount"]
    if held is None:
        raise invalid("No active discount.", code="resource_missing", status=404)
    set_on_customer(account, customer, None)
    return {"id": held["id"], "object": "discount", "deleted": True}
