"""The product catalog: products, prices, plans, tax rates."""

from retry_engine.sandbox.objects.base import Obj, nulls


def product(*, id: str, created: int, name: str) -> Obj:
    """A product."""
    return {
        "id": id,
        "object": "product",
        "active": True,
        "created": created,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "type": "service",
        "updated": created,
        **nulls(
            "default_price", "description", "package_dimensions", "shippable",
            "statement_descriptor", "tax_code", "unit_label", "url",
        ),
    }  # fmt: skip


def price(
    *, id: str, created: int, product: str, currency: str, unit_amount: int,
    interval: str | None, interval_count: int,
) -> Obj:  # fmt: skip
    """A price, recurring where an interval is given."""
    recurring = {
        "interval": interval,
        "interval_count": interval_count,
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
    return {
        "id": id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": created,
        "currency": currency,
        "livemode": False,
        "metadata": {},
        "product": product,
        "recurring": recurring if interval else None,
        "tax_behavior": "unspecified",
        "type": "recurring" if interval else "one_time",
        "unit_amount": unit_amount,
        "unit_amount_decimal": str(unit_amount),
        **nulls("custom_unit_amount", "lookup_key", "nickname", "tiers_mode", "transform_quantity"),
    }


def plan(price: Obj) -> Obj:
    """A recurring price under its old name."""
    recurring = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": True,
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": "per_unit",
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }


def pricing(price: Obj) -> Obj:
    """How a line names its price."""
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def tax_rate(*, id: str, created: int, name: str, inclusive: bool, percentage: float) -> Obj:
    """A share that is added, or is in the price already."""
    return {
        "id": id,
        "object": "tax_rate",
        "active": True,
        "country": None,
        "created": created,
        "description": None,
        "display_name": name,
        "effective_percentage": percentage,
        "flat_amount": None,
        "inclusive": inclusive,
        "jurisdiction": None,
        "jurisdiction_level": None,
        "livemode": False,
        "metadata": {},
        "percentage": percentage,
        "rate_type": "percentage",
        "state": None,
        "tax_type": None,
    }
