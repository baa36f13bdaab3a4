"""Coupons, promotion codes and discounts."""

from retry_engine.sandbox.objects.base import Obj


def coupon(
    *, id: str, created: int, duration: str, months: int | None, percent_off: float | None,
    amount_off: int | None, currency: str | None,
) -> Obj:  # fmt: skip
    """A discount that can be given, to anybody."""
    return {
        "id": id,
        "object": "coupon",
        "amount_off": amount_off,
        "created": created,
        "currency": currency,
        "duration": duration,
        "duration_in_months": months,
        "livemode": False,
        "max_redemptions": None,
        "metadata": {},
        "name": None,
        "percent_off": percent_off,
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": True,
    }


def promotion_code(*, id: str, created: int, coupon: str, code: str, customer: str | None) -> Obj:
    """A word that brings a coupon."""
    return {
        "id": id,
        "object": "promotion_code",
        "active": True,
        "code": code,
        "created": created,
        "customer": customer,
        "customer_account": None,
        "expires_at": None,
        "livemode": False,
        "max_redemptions": None,
        "metadata": {},
        "promotion": {"coupon": coupon, "type": "coupon"},
        "restrictions": {
            "first_time_transaction": False,
            "minimum_amount": None,
            "minimum_amount_currency": None,
        },
        "times_redeemed": 0,
    }


def discount(
    *, id: str, start: int, end: int | None, coupon: str, customer: str, subscription: str | None,
    promotion_code: str | None,
) -> Obj:  # fmt: skip
    """A coupon as it was given to a subscription."""
    return {
        "id": id,
        "object": "discount",
        "checkout_session": None,
        "customer": customer,
        "customer_account": None,
        "end": end,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": promotion_code,
        "source": {"coupon": coupon, "type": "coupon"},
        "start": start,
        "subscription": subscription,
        "subscription_item": None,
    }
