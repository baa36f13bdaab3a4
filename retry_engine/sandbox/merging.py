"""Metadata, as Stripe merges it."""

from typing import Any

from retry_engine.sandbox.refusals import Obj


def merged(metadata: Obj, given: Any) -> Obj:
    """Keys are added, an empty value takes one away, nothing at all clears."""
    if not isinstance(given, dict):
        return {}
    both = {**metadata, **{k: str(v) for k, v in given.items()}}
    return {k: v for k, v in both.items() if v != ""}
