"""What somebody without a secret key may see of an intent."""

from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj

_PRIVATE = ("customer", "customer_account", "metadata", "latest_charge", "application", "review")


def with_secret(intent: Obj, given: str | None) -> Obj:
    """The intent, for who knows its secret; for all others there is none."""
    if given != intent["client_secret"]:
        kind = "payment_intent" if intent["object"] == "payment_intent" else "setup_intent"
        raise invalid(
            f"No such {kind}: '{intent['id']}'", code="resource_missing", param="intent", status=404
        )
    return intent


def publicly(intent: Obj) -> Obj:
    """What a publishable key is shown of it."""
    return {name: value for name, value in intent.items() if name not in _PRIVATE}
