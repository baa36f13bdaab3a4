"""Payment intents of their own: one-off payments that belong to no invoice."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.checkout import confirmation
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import authorization, charging
from retry_engine.sandbox.payments.outcomes import DEBITS

_WAITING = ("requires_payment_method", "requires_confirmation", "requires_action")
# stored and shown as they were given
_SHOWN = (
    "description", "receipt_email", "shipping", "statement_descriptor",
    "statement_descriptor_suffix", "transfer_group", "setup_future_usage",
    "payment_method_options", "excluded_payment_method_types",
)  # fmt: skip
_METHODS = {"card", "customer_balance", *DEBITS}
_CAPTURED = ("automatic", "automatic_async", "manual")
_CANCELLED_FOR = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/payment_intents`; with `confirm` it is charged at once."""
    customer = params.get("customer") or None
    if customer:
        account.refuse_while_advancing(account.get("customer", customer, param="customer"))
    clock = account.tables["customer"][customer]["test_clock"] if customer else None
    intent = objects.payment_intent(
        id=account.new_id("payment_intent"),
        created=account.clock_now(clock),
        customer=customer,
        amount=_amount(params),
        currency=_currency(params),
    )
    intent.update(
        description=None,
        setup_future_usage=None,
        payment_method_types=_types(params),
        capture_method=_one_of(params, "capture_method", *_CAPTURED),
        confirmation_method=_one_of(params, "confirmation_method", "automatic", "manual"),
    )
    intent["automatic_payment_methods"] = _automatic(params)
    _fill(account, intent, params)
    account.put("payment_intent", intent)
    _name_method(account, intent, params)
    account.emit("payment_intent.created", intent)
    if params.get("confirm"):
        return confirmation.confirm(account, intent, params, source="api")
    return intent


def _amount(params: Obj) -> int:
    amount = params.get("amount")
    if amount is None:
        raise invalid("Missing required param: amount.", code="parameter_missing", param="amount")
    if amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param="amount",
        )
    return int(amount)


def _currency(params: Obj) -> str:
    currency = str(params.get("currency") or "").lower()
    if not currency:
        raise invalid(
            "Missing required param: currency.", code="parameter_missing", param="currency"
        )
    if len(currency) != 3 or not currency.isalpha():
        raise invalid(f"Invalid currency: {currency}", param="currency")
    return currency


def _one_of(params: Obj, name: str, *words: str) -> str:
    given = params.get(name) or words[0]
    if given not in words:
        raise invalid(f"Invalid {name}: must be one of {', '.join(words)}", param=name)
    return str(given)


def _named_types(params: Obj) -> list[str] | None:
    return params.get("allowed_payment_method_types") or params.get("payment_method_types")


def _types(params: Obj) -> list[str]:
    given = _named_types(params) or ["card"]
    foreign = sorted({str(kind) for kind in given} - _METHODS)
    if foreign:
        raise invalid(
            f"The sandbox does not simulate payment methods of the type {', '.join(foreign)}; it "
            f"has {', '.join(sorted(_METHODS))}.",
            param="payment_method_types",
        )
    return list(given)


def _automatic(params: Obj) -> Obj | None:
    given = params.get("automatic_payment_methods")
    if not isinstance(given, dict):
        return None
    return {
        "enabled": given.get("enabled") in (True, "true"),
        "allow_redirects": given.get("allow_redirects") or "always",
    }


def _fill(account: Account, intent: Obj, params: Obj) -> Obj:
    before: Obj = {}
    for name in _SHOWN:
        if name in params:
            before |= account.change(intent, **{name: params[name] or None})
    if "payment_method_options" in params:
        intent["payment_method_options"] = params["payment_method_options"] or {}
    if "metadata" in params:
        given = merged(intent["metadata"], params["metadata"])
        before |= account.change(intent, metadata=given)
    return before


def _name_method(account: Account, intent: Obj, params: Obj) -> None:
    """The method that a confirmation will charge, if one is named."""
    method = confirmation.given_method(account, intent["customer"], params)
    if method is None:
        return
    intent.update(payment_method=method["id"], status="requires_confirmation")
    # what names it again in the same request means this one
    params["payment_method"] = method["id"]
    params.pop("payment_method_data", None)


def update(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/payment_intents/{id}`."""
    _refuse_invoices(account, intent)
    _refuse_elsewhere(intent, _WAITING, "update")
    if "amount" in params:
        intent["amount"] = _amount(params)
    if "currency" in params:
        intent["currency"] = _currency(params)
    if params.get("customer"):
        intent["customer"] = account.get("customer", params["customer"], param="customer")["id"]
    if params.get("capture_method"):
        intent["capture_method"] = _one_of(params, "capture_method", *_CAPTURED)
    if _named_types(params):
        intent["payment_method_types"] = _types(params)
    _fill(account, intent, params)
    _name_method(account, intent, params)
    return intent


def _refuse_invoices(account: Account, intent: Obj) -> None:
    if confirmation.invoice_of(account, intent) is not None:
        raise invalid(
            "You cannot perform this action on this PaymentIntent because it was created by an "
            "Invoice. Act on the Invoice instead.",
            code="payment_intent_unexpected_state",
        )


def _refuse_elsewhere(intent: Obj, states: tuple[str, ...], what: str) -> None:
    if intent["status"] not in states:
        raise invalid(
            f"You cannot {what} this PaymentIntent because it has a status of {intent['status']}. "
            f"Only a PaymentIntent with one of the following statuses allows that: "
            f"{', '.join(states)}.",
            code="payment_intent_unexpected_state",
        )


def capture(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/payment_intents/{id}/capture`: all of what is held, or a part of it."""
    account.refuse_while_advancing(intent)
    _refuse_elsewhere(intent, ("requires_capture",), "capture")
    held = intent["amount_capturable"]
    wanted = params.get("amount_to_capture")
    amount = held if wanted is None else int(wanted)
    if not 0 < amount <= held:
        raise invalid(
            f"The amount to capture must be positive and at most {held}.",
            code="amount_too_large",
            param="amount_to_capture",
        )
    charge = account.tables["charge"][intent["latest_charge"]]
    charging.take(account, intent, charge, amount)
    if amount < charge["amount"]:
        charge["amount_refunded"] = charge["amount"] - amount
    if "metadata" in params:
        intent["metadata"] = merged(intent["metadata"], params["metadata"])
    account.emit("charge.captured", charge)
    account.emit("payment_intent.succeeded", intent)
    return intent


def cancel(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/payment_intents/{id}/cancel`: final; what was held is let go."""
    account.refuse_while_advancing(intent)
    _refuse_invoices(account, intent)
    reason = params.get("cancellation_reason") or None
    if reason not in (None, *_CANCELLED_FOR):
        raise invalid(
            f"Invalid cancellation_reason: must be one of {', '.join(_CANCELLED_FOR)}",
            param="cancellation_reason",
        )
    _refuse_elsewhere(intent, (*_WAITING, "requires_capture"), "cancel")
    charge = account.tables["charge"].get(intent["latest_charge"] or "")
    if intent["status"] == "requires_capture" and charge is not None:
        charge.update(refunded=True, amount_refunded=charge["amount"])
        account.emit("charge.refunded", charge)
    intent.update(
        status="canceled",
        canceled_at=account.now_of(intent),
        cancellation_reason=reason,
        amount_capturable=0,
        next_action=None,
    )
    account.emit("payment_intent.canceled", intent)
    return intent


def charge_for_something_else(account: Account, customer: Obj, method: Obj, given: Obj) -> Obj:
    """Somebody takes money from the customer's card by other means; a decline is no error here."""
    intent = objects.payment_intent(
        id=account.new_id("payment_intent"),
        created=account.now_of(customer),
        customer=customer["id"],
        amount=int(given.get("amount") or 1000),
        currency=str(given.get("currency") or customer["currency"] or "usd"),
    )
    intent.update(description="Something else", setup_future_usage=None)
    if given.get("verdict"):
        authorization.say_once(account, method, given["verdict"])
    account.put("payment_intent", intent)
    account.emit("payment_intent.created", intent)
    result = confirmation.charge_own(
        account, intent, method, source="api", on_session=bool(given.get("on_session"))
    )
    return account.bare(result.charge)
