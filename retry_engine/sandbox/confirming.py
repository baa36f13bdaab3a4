"""A customer who is there: confirming payment and setup intents, and 3D Secure challenges.

What a page does through Stripe.js, and what Stripe's own pages do. A failed challenge leaves no
charge, as at Stripe: the intent asks for a method again.
"""

from typing import Any

from retry_engine.sandbox import charging, checkout_objects, methods, verdicts
from retry_engine.sandbox.account import Account
from retry_engine.sandbox.charging import Result
from retry_engine.sandbox.collecting import (
    collect,
    collectable,
    has_payment_under_way,
    subscription_of,
)
from retry_engine.sandbox.merging import merged
from retry_engine.sandbox.population import new_default
from retry_engine.sandbox.refusals import Obj, Refused, invalid

_NOT_AUTHENTICATED = (
    "We are unable to authenticate your payment method. Please choose a different payment method "
    "and try again."
)


# -- payment intents


def invoice_of(account: Account, intent: Obj) -> Obj | None:
    """The invoice that an intent pays, if it pays one."""
    wanted = account.hidden.get(intent["id"], {}).get("invoice")
    return account.tables["invoice"].get(wanted or "")


def confirm(account: Account, intent: Obj, params: Obj, *, source: str) -> Obj:
    """`POST /v1/payment_intents/{id}/confirm`.

    The customer is there unless `off_session` says otherwise. `source`: see `charging.attempt`.
    Refuses with Stripe's 402 where the bank declines.
    """
    invoice = invoice_of(account, intent)
    account.refuse_while_advancing(intent)
    _refuse_what_cannot_be_confirmed(account, intent, invoice)
    method = given_method(account, intent["customer"], params) or _known(account, intent)
    if method is None:
        raise invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can "
            "either update the PaymentIntent with a payment method and then confirm it again, or "
            "confirm it again directly with a payment method.",
            code="payment_intent_unexpected_state",
        )
    if invoice is None:
        _describe_own(intent, params)
    if method["type"] == "customer_balance":
        return _await_transfer(account, intent, invoice, method)
    if params.get("off_session") not in (None, "", False, "false"):
        return _take(account, intent, invoice, method, source=source, on_session=False)
    if not _is_challenged(account, intent, method):
        return _take(account, intent, invoice, method, source=source, on_session=True)
    if params.get("error_on_requires_action"):
        return _take(account, intent, invoice, method, source=source, on_session=False)
    _challenge(account, intent, method, params)
    account.emit("payment_intent.requires_action", intent)
    return intent


# what a confirmation may say anew of an intent that is for no invoice
_SAID = ("setup_future_usage", "receipt_email", "shipping", "capture_method")


def _describe_own(intent: Obj, params: Obj) -> None:
    for name in _SAID:
        if name in params:
            intent[name] = params[name] or None
    if params.get("payment_method_options"):
        options = intent["payment_method_options"]
        intent["payment_method_options"] = {**options, **params["payment_method_options"]}


def _refuse_what_cannot_be_confirmed(account: Account, intent: Obj, invoice: Obj | None) -> None:
    state = intent["status"]
    waits = state in ("requires_payment_method", "requires_confirmation", "requires_action")
    owed = invoice is None or (collectable(invoice) and not has_payment_under_way(account, invoice))
    if not waits or not owed:
        raise invalid(
            "You cannot confirm this PaymentIntent because it has already "
            f"{'succeeded' if state == 'succeeded' else 'left that state'}: its status is {state}.",
            code="payment_intent_unexpected_state",
        )


def given_method(account: Account, customer: str | None, params: Obj) -> Obj | None:
    """The method that a request names or describes, if it does."""
    if params.get("payment_method_data"):
        return methods.create(account, params["payment_method_data"])
    wanted = params.get("payment_method")
    if not wanted:
        return None
    if methods.is_test_name(wanted):
        return methods.from_name(account, wanted)
    method = account.get("payment_method", wanted, param="payment_method")
    if method["customer"] not in (None, customer):
        raise invalid(
            "The provided PaymentMethod cannot be used: it belongs to a Customer, who must be "
            "given with it, or was used with another one."
            if customer is None
            else "The provided PaymentMethod was previously used with another customer.",
            code="payment_method_unexpected_state",
            param="payment_method",
        )
    return method


def _known(account: Account, intent: Obj) -> Obj | None:
    return account.tables["payment_method"].get(intent["payment_method"] or "")


def _is_challenged(account: Account, intent: Obj, method: Obj) -> bool:
    return verdicts.wants_authentication(
        account, method, amount=intent["amount"], at=account.now_of(intent)
    )


def _challenge(account: Account, intent: Obj, method: Obj, params: Obj) -> None:
    url = challenge_url(account, intent)
    return_url = params.get("return_url")
    action: Obj = {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": url},
    }
    if return_url and params.get("use_stripe_sdk") not in (True, "true"):
        action = {
            "type": "redirect_to_url",
            "redirect_to_url": {"url": url, "return_url": return_url},
        }
    intent.update(status="requires_action", payment_method=method["id"], next_action=action)
    account.hidden.setdefault(intent["id"], {})["return_url"] = return_url


def challenge_url(account: Account, intent: Obj) -> str:
    """Where the bank asks whether it is really them."""
    return f"{account.terms.pages_at}/challenge/{account.id}/{intent['client_secret']}"


def _await_transfer(account: Account, intent: Obj, invoice: Obj | None, method: Obj) -> Obj:
    """A bank transfer is asked for; `cash` has what becomes of it."""
    if invoice is not None or intent["customer"] is None:
        raise invalid(
            "The sandbox takes bank transfers for a customer's one-off payments only.",
            param="payment_method",
        )
    options = (intent["payment_method_options"] or {}).get("customer_balance") or {}
    kind = str((options.get("bank_transfer") or {}).get("type") or "us_bank_transfer")
    action = checkout_objects.transfer_instructions(
        amount=intent["amount"],
        currency=intent["currency"],
        kind=kind.replace("_bank_account", "_bank_transfer"),
        reference=intent["id"][-12:].upper(),
        url=f"{account.terms.pages_at}/bank_transfers/{intent['id']}",
    )
    intent.update(status="requires_action", payment_method=method["id"], next_action=action)
    account.emit("payment_intent.requires_action", intent)
    return intent


def _take(
    account: Account, intent: Obj, invoice: Obj | None, method: Obj, *, source: str,
    on_session: bool,
) -> Obj:  # fmt: skip
    if invoice is None:
        result = charge_own(account, intent, method, source=source, on_session=on_session)
    else:
        result = collect(account, invoice, method, source=source, on_session=on_session)
    if not result.went_through:
        raise charging.declined(account, result)
    if invoice is None:
        _keep_own(account, intent, method)
    else:
        wanted_again = bool(account.hidden.get(intent["id"], {}).pop("save", False))
        _keep(account, invoice, method, wanted_again=wanted_again)
    return intent


def charge_own(
    account: Account, intent: Obj, method: Obj, *, source: str, on_session: bool
) -> Result:
    """Charge an intent that is for no invoice."""

    def settled(charge: Obj, final: verdicts.Verdict) -> None:
        if final.outcome == "succeeded":
            charging.succeeds(account, intent, charge)
        else:
            charging.fails(account, intent, charge, method, final)

    return charging.attempt(
        account, intent, method, source=source, on_session=on_session, on_settled=settled
    )


def _keep_own(account: Account, intent: Obj, method: Obj) -> None:
    customer = account.tables["customer"].get(intent["customer"] or "")
    if intent["setup_future_usage"] and customer is not None and method["customer"] is None:
        methods.attach_to(account, method, customer)


def _keep(account: Account, invoice: Obj, method: Obj, *, wanted_again: bool) -> None:
    """The intent's `setup_future_usage` keeps what worked; the subscription may want it too."""
    customer = account.tables["customer"].get(invoice["customer"])
    if method["customer"] is None and customer is not None:
        methods.attach_to(account, method, customer)
    subscription = subscription_of(account, invoice)
    if wanted_again and customer is not None:
        new_default(account, customer, method)
        if subscription is not None and subscription["default_payment_method"]:
            before = account.change(subscription, default_payment_method=method["id"])
            account.emit("customer.subscription.updated", subscription, before)
    if subscription is None:
        return
    if subscription["payment_settings"]["save_default_payment_method"] == "on_subscription":
        before = account.change(subscription, default_payment_method=method["id"])
        if before:
            account.emit("customer.subscription.updated", subscription, before)


# -- setup intents


def create_setup(account: Account, params: Obj) -> Obj:
    """`POST /v1/setup_intents`."""
    customer = params.get("customer")
    if customer:
        account.get("customer", customer, param="customer")
    intent = checkout_objects.setup_intent(
        id=account.new_id("setup_intent"),
        created=account.clock_now(_clock_of(account, customer)),
        customer=customer or None,
        usage=params.get("usage") or "off_session",
    )
    _describe_setup(intent, params)
    account.put("setup_intent", intent)
    if not params.get("confirm"):
        method = given_method(account, intent["customer"], params)
        if method is not None:
            intent.update(payment_method=method["id"], status="requires_confirmation")
    account.emit("setup_intent.created", intent)
    if params.get("confirm"):
        return confirm_setup(account, intent, params)
    return intent


def _describe_setup(intent: Obj, params: Obj) -> None:
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


def update_setup(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/setup_intents/{id}`."""
    _refuse_settled_setup(intent, "update")
    if params.get("customer"):
        intent["customer"] = account.get("customer", params["customer"], param="customer")["id"]
    _describe_setup(intent, params)
    method = given_method(account, intent["customer"], params)
    if method is not None:
        intent.update(payment_method=method["id"], status="requires_confirmation")
    return intent


def cancel_setup(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/setup_intents/{id}/cancel`."""
    _refuse_settled_setup(intent, "cancel")
    reason = params.get("cancellation_reason") or None
    if reason not in (None, "abandoned", "duplicate", "requested_by_customer"):
        raise invalid("Invalid cancellation_reason", param="cancellation_reason")
    intent.update(status="canceled", cancellation_reason=reason, next_action=None)
    account.emit("setup_intent.canceled", intent)
    return intent


def _refuse_settled_setup(intent: Obj, what: str) -> None:
    if intent["status"] in ("succeeded", "canceled"):
        raise invalid(
            f"You cannot {what} this SetupIntent: its status is {intent['status']}.",
            code="setup_intent_unexpected_state",
        )


def _clock_of(account: Account, customer: str | None) -> str | None:
    return account.tables["customer"][customer]["test_clock"] if customer else None


def confirm_setup(account: Account, intent: Obj, params: Obj) -> Obj:
    """`POST /v1/setup_intents/{id}/confirm`: the method is the customer's afterwards."""
    account.refuse_while_advancing(intent)
    _refuse_settled_setup(intent, "confirm")
    method = given_method(account, intent["customer"], params) or _known(account, intent)
    if method is None:
        raise invalid("You cannot confirm this SetupIntent: it's missing a payment method.")
    refusal = methods.refuses_attaching(account, method)
    if refusal is not None:
        _setup_failed(account, intent, refusal)
        raise Refused(402, "card_error", str(refusal), stored=True, **_error_of(refusal, intent))
    if methods.challenges_setup(account, method):
        _challenge(account, intent, method, params)
        account.emit("setup_intent.requires_action", intent)
        return intent
    return _set_up(account, intent, method)


def _error_of(refusal: Refused, intent: Obj) -> Obj:
    given = refusal.body["error"]
    return {
        "code": given.get("code"),
        "decline_code": given.get("decline_code"),
        "setup_intent": dict(intent),
    }


def _setup_failed(account: Account, intent: Obj, refusal: Refused) -> None:
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_setup_error=dict(refusal.body["error"]),
    )
    account.emit("setup_intent.setup_failed", intent)


def _set_up(account: Account, intent: Obj, method: Obj) -> Obj:
    customer = account.tables["customer"].get(intent["customer"] or "")
    if customer is not None and method["customer"] is None:
        methods.attach_to(account, method, customer)
    intent.update(
        status="succeeded", payment_method=method["id"], next_action=None, last_setup_error=None
    )
    account.emit("setup_intent.succeeded", intent)
    return intent


# -- the bank's challenge


def challenged(account: Account, client_secret: str) -> Obj | None:
    """The intent that has this secret, if it waits for its customer."""
    intent = account.find(client_secret.partition("_secret_")[0])
    if intent is None or intent.get("client_secret") != client_secret:
        return None
    return intent if intent["status"] == "requires_action" and intent["next_action"] else None


def answer_challenge(account: Account, intent: Obj, *, passes: bool) -> Obj:
    """The customer proves to be who they are, or fails to; a decline may follow all the same."""
    account.refuse_while_advancing(intent)
    method: Any = account.tables["payment_method"][intent["payment_method"]]
    if intent["object"] == "setup_intent":
        if passes:
            return _set_up(account, intent, method)
        _setup_failed(account, intent, _unproven("setup_intent_authentication_failure"))
        return intent
    if passes:
        invoice = invoice_of(account, intent)
        intent["next_action"] = None
        if invoice is not None and not collectable(invoice):
            return intent
        try:
            return _take(account, intent, invoice, method, source="customer", on_session=True)
        except Refused:
            return intent  # the decline is on the intent
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_payment_error={
            **_unproven("payment_intent_authentication_failure").body["error"],
            "payment_method": account.bare(method),
        },
    )
    account.emit("payment_intent.payment_failed", intent)
    return intent


def _unproven(code: str) -> Refused:
    return Refused(402, "invalid_request_error", _NOT_AUTHENTICATED, code=code)


# -- what somebody without a secret key may see

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
