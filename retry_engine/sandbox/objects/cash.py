"""Cash that customers sent by bank transfer."""

from retry_engine.sandbox.objects.base import Obj


def cash_transaction(
    *, id: str, created: int, customer: str, amount: int, currency: str, ending: int
) -> Obj:
    """A bank transfer that came."""
    return {
        "id": id,
        "object": "customer_cash_balance_transaction",
        "created": created,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "ending_balance": ending,
        "funded": {"bank_transfer": {"reference": None, "type": f"{currency[:2]}_bank_transfer"}},
        "livemode": False,
        "net_amount": amount,
        "type": "funded",
    }


def cash_balance(*, customer: str, available: Obj) -> Obj:
    """What a customer has sent and has not been used."""
    return {
        "object": "cash_balance",
        "available": {currency: amount for currency, amount in available.items() if amount} or None,
        "customer": customer,
        "customer_account": None,
        "livemode": False,
        "settings": {"reconciliation_mode": "automatic", "using_merchant_default": True},
    }


def transfer_instructions(
    *, amount: int, currency: str, kind: str, reference: str, url: str
) -> Obj:
    """How a payment intent asks for a bank transfer."""
    return {
        "type": "display_bank_transfer_instructions",
        "display_bank_transfer_instructions": {
            "amount_remaining": amount,
            "currency": currency,
            "financial_addresses": [],
            "hosted_instructions_url": url,
            "reference": reference,
            "type": kind,
        },
    }
