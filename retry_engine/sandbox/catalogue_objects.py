"""Builders of the smaller objects of catalogue and checkout. Shapes only, as `objects`."""
# ruff: noqa: A002 -- the arguments carry the names of the API's own fields

from retry_engine.sandbox.refusals import Obj


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


def credit_note_line(
    *, id: str, kind: str, amount: int, quantity: int | None, unit_amount: int | None,
    description: str | None, invoice_line: str | None,
) -> Obj:  # fmt: skip
    """One line of a credit note."""
    return {
        "id": id,
        "object": "credit_note_line_item",
        "amount": amount,
        "description": description,
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice_line_item": invoice_line,
        "livemode": False,
        "metadata": {},
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": kind,
        "unit_amount": unit_amount,
        "unit_amount_decimal": None if unit_amount is None else str(unit_amount),
    }


def token(*, id: str, created: int, card: Obj) -> Obj:
    """A card on its way from a page to a server."""
    return {
        "id": id,
        "object": "token",
        "bank_account": None,
        "card": card,
        "client_ip": "127.0.0.1",
        "created": created,
        "livemode": False,
        "type": "card",
        "used": False,
    }
