"""The line that charges. Whatever is charged, and whoever asked for it, is charged here."""

from retry_engine.recovery.fence import Fence
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.gateway import Gateway, PayResult
from retry_engine.store.cases import Case
from retry_engine.store.intents import Intent


def charge(
    gateway: Gateway, case: Case, intent: Intent, *, permit: Permit, fence: Fence
) -> PayResult:
    """Ask Stripe to pay the case's invoice with the intent's method, under the intent's key.

    The intent is committed, and only it says what is charged. Asked again within the key's lifetime
    Stripe answers as it did, so that a repeat never charges twice. The fence is asked before each
    request.

    Raises:
        SendingForbidden: a brake was pulled; `fence.has_sent` says whether a request had begun.
        StripeUnavailable: there was no answer: the outcome is unknown.
        StripeRejected: Stripe refuses the request as such, and has charged nothing.
    """
    return gateway.pay(
        case.account,
        case.invoice_id,
        method_id=intent.payment_method_id,
        permit=permit,
        idempotency_key=intent.idempotency_key,
        before_sending=fence,
    )
