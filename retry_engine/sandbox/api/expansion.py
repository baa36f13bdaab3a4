"""What an answer shows: the object as it is, and what was asked to be expanded in it."""

from collections.abc import Sequence
from typing import Any

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj, listing
from retry_engine.sandbox.payments import sources

_DEEPEST = 4


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
