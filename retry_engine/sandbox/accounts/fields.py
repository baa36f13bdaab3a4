"""What is given for an object's fields: read, merged, and kept."""

from typing import Any

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


def merged(metadata: Obj, given: object) -> Obj:
    """Keys are added, an empty value takes one away, nothing at all clears."""
    if not isinstance(given, dict):
        return {}
    both = {**metadata, **{k: str(v) for k, v in given.items()}}
    return {k: v for k, v in both.items() if v != ""}


def whole(value: Any, param: str) -> int:
    """A whole number out of a form, or Stripe's 400."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise invalid(
            f"Invalid integer: {value}", code="parameter_invalid_integer", param=param
        ) from None


def hash_of(value: object, param: str) -> Obj:
    """Named values out of a form, or Stripe's 400; an empty value is none."""
    if value in (None, ""):
        return {}
    if not isinstance(value, dict):
        raise invalid(f"Invalid object: {value}", param=param)
    return value


def store(account: Account, thing: Obj, params: Obj, names: tuple[str, ...]) -> Obj:
    """Keep what is given under its own name, an empty value clearing it; what was before."""
    before: Obj = {}
    for name in names:
        if name in params:
            given = None if params[name] == "" else params[name]
            before |= account.change(thing, **{name: given})
    return before


def payment_settings(shown: Obj, given: Obj) -> Obj:
    """`payment_settings` of an invoice or subscription after a change."""
    after = {**shown}
    for name, value in given.items():
        if name not in shown:
            raise invalid(
                f"Received unknown parameter: payment_settings[{name}]", code="parameter_unknown"
            )
        after[name] = None if value == "" else value
    return after
