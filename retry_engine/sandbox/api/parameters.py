"""Parameters: form-encoded as they come, and typed as their route takes them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from retry_engine.sandbox.api import not_simulated
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

Kind = Literal["text", "number", "share", "flag", "map", "list", "range", "any"]
Spec = Mapping[str, Kind]


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


def _lists(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if value and all(name.isdigit() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(inner) for name, inner in value.items()}


def typed(params: Obj, spec: Spec) -> Obj:
    """The parameters with their types; unknown and malformed ones are refused by name."""
    not_simulated.refuse_not_simulated(params, spec)
    unknown = sorted(set(params) - set(spec))
    if unknown:
        raise invalid(
            f"Received unknown parameter{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}",
            code="parameter_unknown",
            param=unknown[0],
        )
    return {name: _READ[spec[name]](value, name) for name, value in params.items()}


def _text(value: object, name: str) -> str:
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


def _flag(value: object, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def _map(value: object, name: str) -> object:
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


def _any(value: object, name: str) -> object:
    return value


_READ: Mapping[Kind, Callable[[Any, str], object]] = {
    "text": _text, "number": _number, "share": _share, "flag": _flag, "map": _map, "list": _list,
    "range": _range, "any": _any,
}  # fmt: skip
