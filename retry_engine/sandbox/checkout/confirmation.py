"""Confirming payment intents: what the API, a page with Stripe.js and Stripe's own pages do."""

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing.collection import (
    collect,
    collectable,
    has_payment_under_way,
    subscription_of,
)
from retry_engine.sandbox.billing.default_methods import new_default
from retry_engine.sandbox.checkout.three_d_secure import challenge, wants_challenge
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import charging, outcomes, payment_methods
from retry_engine.sandbox.payments.charging import Result


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
    method = given_method(account, intent["customer"], params) or known_method(account, intent)
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
        return take(account, intent, invoice, method, source=source, on_session=False)
    if not wants_challenge(account, intent, method):
        return take(account, intent, invoice, method, source=source, on_session=True)
    if params.get("error_on_requires_action"):
        return take(account, intent, invoice, method, source=source, on_session=False)
    challenge(account, intent, method, params)
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
        return payment_methods.create(account, params["payment_method_data"])
    wanted = params.get("payment_method")
    if not wanted:
        return None
    if payment_methods.is_test_name(wanted):
        return payment_methods.from_name(account, wanted)
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


def known_method(account: Account, intent: Obj) -> Obj | None:
    """The method that the intent has already, if it has one."""
    return account.tables["payment_method"].get(intent["payment_method"] or "")


def _await_transfer(account: Account, intent: Obj, invoice: Obj | None, method: Obj) -> Obj:
    """A bank transfer is asked for; `cash_balance` has what becomes of it."""
    if invoice is not None or intent["customer"] is None:
        raise invalid(
            "The sandbox takes bank transfers for a customer's one-off payments only.",
            param="payment_method",
        )
    options = (intent["payment_method_options"] or {}).get("customer_balance") or {}
    kind = str((options.get("bank_transfer") or {}).get("type") or "us_bank_transfer")
    action = objects.transfer_instructions(
        amount=intent["amount"],
        currency=intent["currency"],
        kind=kind.replace("_bank_account", "_bank_transfer"),
        reference=intent["id"][-12:].upper(),
        url=f"{account.terms.pages_at}/bank_transfers/{intent['id']}",
    )
    intent.update(status="requires_action", payment_method=method["id"], next_action=action)
    account.emit("payment_intent.requires_action", intent)
    return intent


def take(
    account: Account, intent: Obj, invoice: Obj | None, method: Obj, *, source: str,
    on_session: bool,
) -> Obj:  # fmt: skip
    """Charge it, and keep the method where that was wanted; refuses with Stripe's 402."""
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

    def settled(charge: Obj, final: outcomes.Verdict) -> None:
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
        payment_methods.attach_to(account, method, customer)


def _keep(account: Account, invoice: Obj, method: Obj, *, wanted_again: bool) -> None:
    """The intent's `setup_future_usage` keeps what worked; the subscription may want it too."""
    customer = account.tables["customer"].get(invoice["customer"])
    if method["customer"] is None and customer is not None:
        payment_methods.attach_to(account, method, customer)
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
