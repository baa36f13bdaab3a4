"""What goes over the wire: form-encoded requests, expansions, pages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from retry_engine.sandbox import documented, sources
from retry_engine.sandbox.account import Account
from retry_engine.sandbox.objects import listing
from retry_engine.sandbox.refusals import Obj, invalid

Kind = Literal["text", "number", "share", "flag", "map", "list", "range", "any"]
Spec = Mapping[str, Kind]

_DEEPEST = 4


def decode(pairs: Iterable[tuple[str, str]]) -> Obj:
    """Stripe's nested brackets as nested values.

    >>> decode([("items[0][price]", "price_1"), ("expand[]", "customer"), ("limit", "3")])
    {'items': [{'price': 'price_1'}], 'expand': ['customer'], 'limit': '3'}
    """
    root: Obj = {}
    for key, value in pairs:
        _place(root, key, value)
    return {name: _lists(value) for name, value in root.items()}


def _place(root: Obj, key: str, value: str) -> None:
    head, *rest = key.replace("]", "").split("[")
    node = root
    path = [head, *rest]
    for here in path[:-1]:
        step = here if here != "" else str(len(node))
        following = node.setdefault(step, {})
        if not isinstance(following, dict):
            raise invalid(f"Invalid request: {key} is given twice", param=key)
        node = following
    last = path[-1] if path[-1] != "" else str(len(node))
    node[last] = value


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(name.isdigit() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(inner) for name, inner in value.items()}


def typed(params: Obj, spec: Spec) -> Obj:
    """The parameters with their types; unknown and malformed ones are refused by name."""
    documented.refuse_not_simulated(params, spec)
    unknown = sorted(set(params) - set(spec))
    if unknown:
        raise invalid(
            f"Received unknown parameter{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}",
            code="parameter_unknown",
            param=unknown[0],
        )
    return {name: _READ[spec[name]](value, name) for name, value in params.items()}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise invalid(f"Invalid string: {value}", param=name)
    return value


def _number(value: Any, name: str) -> int | None:
    if value == "":
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise invalid(
            f"Invalid integer: {value}", code="parameter_invalid_integer", param=name
        ) from None


def _share(value: Any, name: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise invalid(f"Invalid decimal: {value}", param=name) from None


def _flag(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def _map(value: Any, name: str) -> Any:
    if value == "" or isinstance(value, dict):
        return value
    raise invalid(f"Invalid object: {name}", param=name)


def _list(value: Any, name: str) -> list[Any]:
    if value == "":
        return []
    if not isinstance(value, list):
        raise invalid(f"Invalid array: {name}", param=name)
    return value


def _range(value: Any, name: str) -> dict[str, int]:
    bounds = {"gte": value, "lte": value} if isinstance(value, str) else value
    if not isinstance(bounds, dict) or set(bounds) - {"gt", "gte", "lt", "lte"}:
        raise invalid(f"Invalid {name}", param=name)
    return {bound: int(_number(edge, name) or 0) for bound, edge in bounds.items()}


def _any(value: Any, name: str) -> Any:
    return value


_READ: Mapping[Kind, Callable[[Any, str], Any]] = {
    "text": _text, "number": _number, "share": _share, "flag": _flag, "map": _map, "list": _list,
    "range": _range, "any": _any,
}  # fmt: skip


def within(seconds: int, bounds: Mapping[str, int]) -> bool:
    """Whether a time lies in a `created[gte]=…` range."""
    checks = {
        "gt": lambda edge: seconds > edge,
        "gte": lambda edge: seconds >= edge,
        "lt": lambda edge: seconds < edge,
        "lte": lambda edge: seconds <= edge,
    }
    return all(checks[bound](edge) for bound, edge in bounds.items())


def page(rows: Sequence[Obj], params: Obj, url: str) -> Obj:
    """One page of a list that is newest first."""
    limit = params.get("limit")
    limit = 10 if limit is None else limit
    if not 1 <= limit <= 100:
        raise invalid(
            f"This value must be between 1 and 100, not {limit}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    if "ending_before" in params:
        before = rows[: _place_of(rows, params["ending_before"], "ending_before")]
        return listing(before[-limit:], url, has_more=len(before) > limit)
    start = 0
    if "starting_after" in params:
        start = _place_of(rows, params["starting_after"], "starting_after") + 1
    return listing(rows[start : start + limit], url, has_more=len(rows) > start + limit)


def _place_of(rows: Sequence[Obj], wanted: str, param: str) -> int:
    for index, row in enumerate(rows):
        if row["id"] == wanted:
            return index
    raise invalid(f"No such object: '{wanted}'", code="resource_missing", param=param)


def refuse_too_deep(expand: Sequence[str]) -> None:
    """Stripe expands four levels and says so before it does anything."""
    for path in expand:
        if str(path).count(".") >= _DEEPEST:
            raise invalid(
                f"You cannot expand more than {_DEEPEST} levels of a property: {path}",
                param="expand",
            )


def answer(account: Account, thing: Obj, expand: Sequence[str]) -> Obj:
    """A copy for the wire with what was asked to be expanded."""
    shown = account.bare(thing)
    if thing.get("object") == "list":
        shown["data"] = [account.bare(row) for row in thing["data"]]
    for path in expand:
        _expand(account, shown, str(path).split("."), path)
    return shown


def _expand(account: Account, node: Any, steps: Sequence[str], path: str) -> None:
    if not steps or node is None:
        return
    if isinstance(node, list):
        for row in node:
            _expand(account, row, steps, path)
        return
    head, *rest = steps
    if head not in node and not _fill(account, node, head):
        raise invalid(f"This property cannot be expanded ({path}).", param="expand")
    value = node[head]
    if isinstance(value, str):
        node[head] = _found(account, value, path, head)
    elif isinstance(value, list):
        node[head] = [_found(account, v, path, head) if isinstance(v, str) else v for v in value]
    _expand(account, node[head], rest, path)


def _found(account: Account, wanted: str, path: str, field: str) -> Obj:
    found = account.find(wanted)
    if found is None:
        raise invalid(f"This property cannot be expanded ({path}).", param="expand")
    if found.get("object") == "payment_method" and field in ("default_source", "source"):
        return sources.card_of(account.bare(found))
    if found.get("deleted"):
        return {name: found[name] for name in ("id", "object", "deleted")}
    return account.bare(found)


def _fill(account: Account, node: Obj, name: str) -> bool:
    """Properties that are only there when asked for."""
    kind = node.get("object")
    if kind == "invoice" and name == "payments":
        rows = [account.bare(p) for p in account.of("invoice_payment", node["id"])]
        node[name] = listing(rows, f"/v1/invoice_payments?invoice={node['id']}")
        return True
    if kind == "invoice" and name == "confirmation_secret":
        payments = account.of("invoice_payment", node["id"])
        intent = account.find(payments[0]["payment"]["payment_intent"]) if payments else None
        secret = (
            {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None
        )
        node[name] = secret
        return True
    if kind == "customer" and name == "sources":
        url = f"/v1/customers/{node['id']}/sources"
        node[name] = listing(sources.cards(account, node), url)
        return True
    if kind == "customer" and name == "subscriptions":
        living = [s for s in account.newest_first("subscription", node["id"])
                  if s["status"] not in ("canceled", "incomplete_expired")]  # fmt: skip
        node[name] = listing(
            [account.bare(s) for s in living], f"/v1/customers/{node['id']}/subscriptions"
        )
        return True
    if kind == "charge" and name == "refunds":
        rows = [r for r in account.tables["refund"].values() if r["charge"] == node["id"]]
        node[name] = listing(rows, f"/v1/charges/{node['id']}/refunds")
        return True
    # a null reference that this kind of object may have
    return name in ("charge", "payment_record") and "payment_intent" in node
