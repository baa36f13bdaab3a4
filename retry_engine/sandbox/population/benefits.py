"""What a person is given when an invoice is lowered or put off, as they see it."""

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing import collection, discounts
from retry_engine.sandbox.objects import Obj

# renewals that a discount for ever counts as
_EVER = 6

# what a pause of collection is worth to who is short, as a discount
_PAUSE_IS_WORTH = 0.15


def share_given(account: Account, invoice: Obj, *, values_later: float) -> float:
    """The share off that they see: of what is owed, and what coming renewals bring."""
    asked = invoice["subtotal"] or 1
    now_off = (
        sum(entry["amount"] for entry in invoice["total_discount_amounts"])
        + invoice["pre_payment_credit_notes_amount"]
    ) / asked
    later = 0.0
    subscription = collection.subscription_of(account, invoice)
    for discount_id in (subscription or {}).get("discounts", ()):
        discount = account.tables["discount"][discount_id]
        later += _worth(account, discount, asked)
    paused = bool((subscription or {}).get("pause_collection"))
    return float(now_off + values_later * later + (_PAUSE_IS_WORTH if paused else 0.0))


def _worth(account: Account, discount: Obj, asked: int) -> float:
    coupon = discounts.coupon_of(account, discount["source"]["coupon"])
    off = (coupon["percent_off"] or 0) / 100 or (coupon["amount_off"] or 0) / asked
    times = {"once": 1, "forever": _EVER}.get(coupon["duration"])
    return float(off * (times or min(coupon["duration_in_months"] or 1, _EVER)))
