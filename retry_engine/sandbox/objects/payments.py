"""Payment intents, setup intents and charges."""

from retry_engine.sandbox.objects.base import Obj, nulls


def payment_intent(
    *, id: str, created: int, customer: str | None, amount: int, currency: str
) -> Obj:
    """An intent that waits for a payment method."""
    return {
        "id": id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "capture_method": "automatic",
        "client_secret": f"{id}_secret_{id[-12:]}",
        "confirmation_method": "automatic",
        "created": created,
        "currency": currency,
        "customer": customer,
        "description": "Subscription update",
        "livemode": False,
        "metadata": {},
        "payment_method_options": {},
        "payment_method_types": ["card", "sepa_debit", "us_bank_account", "bacs_debit"],
        "setup_future_usage": "off_session",
        "status": "requires_payment_method",
        **nulls(
            "application", "application_fee_amount", "automatic_payment_methods",
            "canceled_at", "cancellation_reason", "customer_account",
            "excluded_payment_method_types", "last_payment_error", "latest_charge",
            "next_action", "on_behalf_of", "payment_method",
            "payment_method_configuration_details", "processing", "receipt_email", "review",
            "shipping", "source", "statement_descriptor", "statement_descriptor_suffix",
            "transfer_data", "transfer_group",
        ),
    }  # fmt: skip


def charge(*, id: str, created: int, intent: Obj, method: Obj, amount: int, details: Obj) -> Obj:
    """A charge before its outcome is written on it."""
    return {
        "id": id,
        "object": "charge",
        "amount": amount,
        "amount_captured": 0,
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "SANDBOX",
        "captured": False,
        "created": created,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": {},
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": details,
        "refunded": False,
        "status": "pending",
        **nulls(
            "application", "application_fee", "application_fee_amount", "balance_transaction",
            "failure_balance_transaction", "failure_code", "failure_message", "on_behalf_of",
            "outcome", "presentment_details", "receipt_email", "receipt_number", "receipt_url",
            "review", "shipping", "source", "source_transfer", "statement_descriptor",
            "statement_descriptor_suffix", "transfer_data", "transfer_group",
        ),
    }  # fmt: skip


def payment_error(
    *, code: str, message: str, charge: str, method: Obj, **issuer_codes: str | None
) -> Obj:
    """`last_payment_error` of an intent; of the issuer's codes those that there are."""
    error: Obj = {
        "type": "card_error",
        "code": code,
        "doc_url": f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}",
        "message": message,
        "charge": charge,
        "payment_method": method,
    }
    return {**error, **{name: said for name, said in issuer_codes.items() if said}}


def setup_intent(*, id: str, created: int, customer: str | None, usage: str) -> Obj:
    """An intent to keep a method for later."""
    return {
        "id": id,
        "object": "setup_intent",
        "application": None,
        "attach_to_self": False,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "cancellation_reason": None,
        "client_secret": f"{id}_secret_{id[-12:]}",
        "created": created,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card", "sepa_debit", "us_bank_account", "bacs_debit"],
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": usage,
    }
