"""The customer answers their bank's challenge."""

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing.collection import collectable
from retry_engine.sandbox.checkout.confirmation import invoice_of, take
from retry_engine.sandbox.checkout.setup_intents import set_up, setup_failed
from retry_engine.sandbox.checkout.three_d_secure import not_authenticated
from retry_engine.sandbox.errors import Refused
from retry_engine.sandbox.objects import Obj


def answer_challenge(account: Account, intent: Obj, *, passes: bool) -> Obj:
    """The customer proves to be who they are, or fails to; a decline may follow all the same."""
    account.refuse_while_advancing(intent)
    method = account.tables["payment_method"][intent["payment_method"]]
    if intent["object"] == "setup_intent":
        if passes:
            return set_up(account, intent, method)
        setup_failed(account, intent, not_authenticated("setup_intent_authentication_failure"))
        return intent
    if passes:
        invoice = invoice_of(account, intent)
        intent["next_action"] = None
        if invoice is not None and not collectable(invoice):
            return intent
        try:
            return take(account, intent, invoice, method, source="customer", on_session=True)
        except Refused:
            return intent  # the decline is on the intent
    intent.update(
        status="requires_payment_method",
        payment_method=None,
        next_action=None,
        last_payment_error={
            **not_authenticated("payment_intent_authentication_failure").body["error"],
            "payment_method": account.bare(method),
        },
    )
    account.emit("payment_intent.payment_failed", intent)
    return intent
