"""Setup intents: a payment method is kept for later, its customer being there."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import merged
from retry_engine.sandbox.checkout.confirmation import given_method, known_method
from retry_engine.sandbox.checkout.three_d_secure import challenge
from retry_engine.sandbox.errors import Refused, invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import payment_methods


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/setup_intents`."""
    customer = params.get("customer")
    if customer:
        account.get("customer", customer, param="customer")
    intent = objects.setup_intent(
        id=account.new_id("setup_intent"),
        created=account.clock_now(_clock_of(account, customer)),
        customer=customer or None,
        usage=params.get("usage") or "off_session",
    )
    _describe(intent, params)
    account.put("setup_intent", intent)
    if not params.get("confirm"):
        method = given_method(account, intent["customer"], params)
        if method is not None:
            intent.update(payment_method=method["id"], status="requires_confirmation")
    account.emit("setup_intent.created", intent)
    if params.get("confirm"):
        return confirm(account, intent, params)
    return intent


def _describe(intent: Obj, params: Obj) -> None:
    if "description" in params:
        intent["description"] = params["description"] or None
    if "metadata" in params:
        intent["metadata"] = merged(intent["metadata"], params["metadata"])
    if "payment_method_options" in params:
        intent["payment_method_options"] = params["payment_method_options"] or {}
    types = params.get("allowed_payment_method_types") or params.get("payment_method_types")
    if types:
        intent["payment_method_types"] = list(types)
        intent["automatic_payment_methods"] = None


def update(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/setup_intents/{id}`."""
    _refuse_settled(intent, "update")
    if params.get("customer"):
        intent["customer"] = account.get("customer", params["customer"], param="customer")["id"]
    _describe(intent, params)
    method = given_method(account, intent["customer"], params)
    if method is not None:
        intent.update(payment_method=method["id"], status="requires_confirmation")
    return intent


def cancel(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/setup_intents/{id}/cancel`."""
    _refuse_settled(intent, "cancel")
    reason = params.get("cancellation_reason") or None
    if reason not in (None, "abandoned", "duplicate", "requested_by_customer"):
        raise invalid("Invalid cancellation_reason", param="cancellation_reason")
    intent.update(status="canceled", cancellation_reason=reason, next_action=None)
    account.emit("setup_intent.canceled", intent)
    return intent


def _refuse_settled(intent: Obj, what: str) -> None:
    if intent["status"] in ("succeeded", "canceled"):
        raise invalid(
            f"You cannot {what} this SetupIntent: its status is {intent['status']}.",
            code="setup_intent_unexpected_state",
        )


def _clock_of(account: Account, customer: str | None) -> str | None:
    return account.tables["customer"][customer]["test_clock"] if customer else None


def confirm(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/setup_intents/{id}/confirm`: the method is the customer's afterwards."""
    account.refuse_while_advancing(intent)
    _refuse_settled(intent, "confirm")
    method = given_method(account, intent["customer"], params) or known_method(account, intent)
    if method is None:
        raise invalid("You cannot confirm this SetupIntent: it's missing a payment method.")
    refusal = payment_methods.refuses_attaching(account, method)
    if refusal is not None:
        setup_failed(account, intent, refusal)
        raise Refused(402, "card_error", str(refusal), stored=True, **_error_of(refusal, intent))
    if payment_methods.challenges_setup(account, method):
        challenge(account, intent, method, params)
        account.emit("setup_intent.requires_action", intent)
        return intent
    return set_up(account, intent, method)


def _error_of(refusal: Refused, intent: Obj) -> Obj:
    given = refusal.body["error"]
    return {
        "code": given.get("code"),
        "decline_code": given.get("decline_code"),
        "setup_intent": dict(intent),
    }


def setup_failed(account: Account, intent: Obj, refusal: Refused) -> None:
    """The intent asks for another method, and says why."""
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_setup_error=dict(refusal.body["error"]),
    )
    account.emit("setup_intent.setup_failed", intent)


def set_up(account: Account, intent: Obj, method: Obj) -> Obj:
    """The method is the customer's from now on."""
    customer = account.tables["customer"].get(intent["customer"] or "")
    if customer is not None and method["customer"] is None:
        payment_methods.attach_to(account, method, customer)
    intent.update(
        status="succeeded", payment_method=method["id"], next_action=None, last_setup_error=None
    )
    account.emit("setup_intent.succeeded", intent)
    return intent
