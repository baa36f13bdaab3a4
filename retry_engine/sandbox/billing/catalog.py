"""What is sold: products, prices, the plans of older days, tax rates."""

from typing import Any

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

# stored and shown as they were given
_OF_PRODUCT = (
    "description", "images", "shippable", "statement_descriptor", "tax_code", "unit_label", "url",
    "package_dimensions", "marketing_features",
)  # fmt: skip
_OF_PRICE = ("nickname", "lookup_key", "tax_behavior")
_OF_TAX_RATE = ("country", "description", "jurisdiction", "state", "tax_type")


def _set(account: Account, thing: Obj, params: Obj, names: tuple[str, ...]) -> Obj:
    """Store what is given under its own name; what was there before."""
    before: Obj = {}
    for name in names:
        if name in params:
            given = None if params[name] == "" else params[name]
            before |= account.change(thing, **{name: given})
    if "metadata" in params:
        before |= account.change(thing, metadata=merged(thing["metadata"], params["metadata"]))
    return before


# -- products


def create_product(account: Account, params: Obj) -> Obj:
    """`POST /v1/products`; with `default_price_data` its price is made along with it."""
    if not params.get("name"):
        raise invalid("Missing required param: name.", code="parameter_missing", param="name")
    wanted = params.get("id") or account.new_id("product")
    if wanted in account.tables["product"]:
        raise invalid(f"Product already exists: {wanted}", code="resource_already_exists")
    made = objects.product(id=wanted, created=account.real_now(), name=params["name"])
    _set(account, made, params, (*_OF_PRODUCT, "active"))
    account.put("product", made)
    account.emit("product.created", made)
    if params.get("default_price_data"):
        price = create_price(account, {**params["default_price_data"], "product": wanted})
        made["default_price"] = price["id"]
    return made


def update_product(account: Account, product: Obj, params: Obj) -> Obj:
    """`POST /v1/products/{id}`."""
    if params.get("default_price"):
        account.get("price", params["default_price"], param="default_price")
    before = _set(account, product, params, (*_OF_PRODUCT, "active", "name", "default_price"))
    if before:
        account.emit("product.updated", product, before)
    return product


def delete_product(account: Account, product: Obj) -> Obj:
    """`DELETE /v1/products/{id}`: only one without prices."""
    if any(p["product"] == product["id"] for p in account.tables["price"].values()):
        raise invalid(
            "This product cannot be deleted because it has one or more user-created prices."
        )
    del account.tables["product"][product["id"]]
    account.emit("product.deleted", product)
    return {"id": product["id"], "object": "product", "deleted": True}


# -- prices


def create_price(account: Account, params: Obj) -> Obj:
    """`POST /v1/prices`."""
    if params.get("product"):
        account.get("product", params["product"], param="product")
    price = price_from_data(account, params, tell=True)
    account.emit("price.created", price)
    return price


def price_from_data(
    account: Account, data: Any, *, tell: bool = False, table: str = "price"
) -> Obj:
    """A price, from the parameters of `POST /v1/prices` or an item's `price_data`."""
    if not isinstance(data, dict) or not data.get("currency"):
        raise invalid(
            "Missing required param: currency.", code="parameter_missing", param="currency"
        )
    now = account.real_now()
    recurring = data.get("recurring") or {}
    price = objects.price(
        id=account.new_id(table),
        created=now,
        product=str(data.get("product") or _product_of(account, data, tell=tell)),
        currency=str(data["currency"]).lower(),
        unit_amount=_amount_of(data),
        interval=recurring.get("interval"),
        interval_count=int(recurring.get("interval_count") or 1),
    )
    if recurring.get("trial_period_days"):
        price["recurring"]["trial_period_days"] = int(recurring["trial_period_days"])
    _set(account, price, data, (*_OF_PRICE, "active"))
    return account.put("price", price)


def _product_of(account: Account, data: Obj, *, tell: bool) -> str:
    given = data.get("product_data") or {}
    made = objects.product(
        id=account.new_id("product"),
        created=account.real_now(),
        name=str(given.get("name") or "Product"),
    )
    _set(account, made, given, ("statement_descriptor", "tax_code", "unit_label"))
    account.put("product", made)
    if tell:
        account.emit("product.created", made)
    return str(made["id"])


def _amount_of(data: Obj) -> int:
    if data.get("unit_amount_decimal") and data.get("unit_amount") is None:
        shown = str(data["unit_amount_decimal"])
        if not shown.isdigit():
            raise invalid("The sandbox has whole minor units only.", param="unit_amount_decimal")
        return int(shown)
    try:
        return int(data.get("unit_amount") or 0)
    except (TypeError, ValueError):
        raise invalid(
            f"Invalid integer: {data['unit_amount']}",
            code="parameter_invalid_integer",
            param="unit_amount",
        ) from None


def update_price(account: Account, price: Obj, params: Obj) -> Obj:
    """`POST /v1/prices/{id}`; what it costs cannot be changed."""
    before = _set(account, price, params, (*_OF_PRICE, "active"))
    if before:
        account.emit("price.updated", price, before)
    return price


# -- plans: prices under their old name


def create_plan(account: Account, params: Obj) -> Obj:
    """`POST /v1/plans`."""
    if not params.get("interval"):
        raise invalid(
            "Missing required param: interval.", code="parameter_missing", param="interval"
        )
    product = params.get("product")
    price = price_from_data(
        account,
        {
            "currency": params.get("currency"),
            "unit_amount": params.get("amount"),
            "nickname": params.get("nickname"),
            "metadata": params.get("metadata") or {},
            "recurring": {n: params.get(n) for n in ("interval", "interval_count")},
            "product_data" if isinstance(product, dict) else "product": product,
        },
        tell=True,
        table="plan",
    )
    account.emit("price.created", price)
    account.emit("plan.created", objects.plan(price))
    return objects.plan(price)


def retrieve_plan(account: Account, wanted: str) -> Obj:
    """`GET /v1/plans/{id}`: any recurring price is one."""
    price = account.get("price", wanted)
    if price["recurring"] is None:
        raise invalid(f"No such plan: '{wanted}'", code="resource_missing", status=404)
    return objects.plan(price)


def plans(account: Account) -> list[Obj]:
    """All recurring prices as plans, newest first."""
    return [objects.plan(p) for p in account.newest_first("price") if p["recurring"]]


def update_plan(account: Account, wanted: str, params: Obj) -> Obj:
    """`POST /v1/plans/{id}`."""
    retrieve_plan(account, wanted)
    price = account.get("price", wanted)
    before = _set(account, price, params, ("nickname", "active"))
    if before:
        account.emit("plan.updated", objects.plan(price), before)
        account.emit("price.updated", price, before)
    return objects.plan(price)


def delete_plan(account: Account, wanted: str) -> Obj:
    """`DELETE /v1/plans/{id}`: no new subscription gets it; those that have it keep it."""
    plan = retrieve_plan(account, wanted)
    price = account.tables["price"].pop(wanted)
    account.emit("plan.deleted", plan)
    account.emit("price.deleted", price)
    return {"id": wanted, "object": "plan", "deleted": True}


# -- tax rates: kept, and never applied


def create_tax_rate(account: Account, params: Obj) -> Obj:
    """`POST /v1/tax_rates`."""
    for name in ("display_name", "inclusive", "percentage"):
        if params.get(name) in (None, ""):
            raise invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
    made = objects.tax_rate(
        id=account.new_id("tax_rate"),
        created=account.real_now(),
        name=params["display_name"],
        inclusive=params["inclusive"],
        percentage=params["percentage"],
    )
    _set(account, made, params, (*_OF_TAX_RATE, "active"))
    account.put("tax_rate", made)
    account.emit("tax_rate.created", made)
    return made


def update_tax_rate(account: Account, made: Obj, params: Obj) -> Obj:
    """`POST /v1/tax_rates/{id}`."""
    before = _set(account, made, params, (*_OF_TAX_RATE, "active", "display_name"))
    if before:
        account.emit("tax_rate.updated", made, before)
    return made
