"""What all of them are made of."""

from collections.abc import Sequence
from typing import Any

# an object of the API, as its JSON is read
Obj = dict[str, Any]


def nulls(*names: str) -> Obj:
    """Fields that nothing is known of."""
    return dict.fromkeys(names)


def listing(data: Sequence[Obj], url: str, *, has_more: bool = False) -> Obj:
    """Stripe's list object."""
    return {"object": "list", "data": list(data), "has_more": has_more, "url": url}
