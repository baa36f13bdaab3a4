"""One attempt to take money by a payment intent: the charge, its outcome, and what is told of it.

What the money is for is the business of whoever asks: `billing.collection` for invoices,
`checkout` and `charges` for all else.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.ledger import Try
from retry_engine.sandbox.errors import Refused
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import authorization, outcomes, sources
from retry_engine.sandbox.payments.disputes import aftermath
from retry_engine.sandbox.payments.outcomes import Verdict
from retry_engine.sandbox.payments.payment_methods import mandate_of

_SHOWN = {
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "incorrect_number": "Your card number is incorrect.",
    "insufficient_funds": "Your card has insufficient funds.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "card_velocity_exceeded": "Your card was declined for making repeated attempts too frequently "
    "or exceeding its amount limit.",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attempt."""

    verdict: Verdict
    charge: Obj
    intent: Obj

    @property
    def went_through(self) -> bool:
        """Whether the money came, or is on its way."""
        return self.verdict.outcome in ("succeeded", "processing")


# told of a debit's end: (the charge, how it ended)
OnSettled = Callable[[Obj, Verdict], None]


def attempt(
    account: Account, intent: Obj, method: Obj, *, source: str, on_session: bool,
    on_settled: OnSettled, invoice: str | None = None,
) -> Result:  # fmt: skip
    """Charge the intent's amount. `source`: stripe, api or customer.

    `on_settled` is called when a debit's end is known, which then writes it with `succeeds` or
    `fails`.
    """
    now = account.now_of(intent)
    verdict = authorization.decide(
        account, method, amount=intent["amount"], at=now, on_session=on_session
    )
    if invoice is None and verdict.outcome == "requires_action":
        # an invoice's intent goes on waiting for its customer, any other is declined
        verdict = replace(verdict, outcome="failed")
    charge = _charge(account, intent, method, verdict, now)
    entry = Try(
        invoice=invoice,
        customer=intent["customer"],
        payment_method=method["id"],
        fingerprint=method[method["type"]].get("fingerprint"),
        at=now,
        amount=charge["amount"],
        currency=charge["currency"],
        outcome=verdict.outcome,
        decline_code=ledger_code(verdict),
        source=source,
        charge=charge["id"],
        idempotency_key=account.cause.idempotency_key,
    )
    account.ledger.append(entry)
    if verdict.outcome == "succeeded":
        succeeds(account, intent, charge)
    elif verdict.outcome == "processing":
        _waits(account, intent, charge, verdict, entry=entry, on_settled=on_settled)
    else:
        fails(account, intent, charge, method, verdict)
    return Result(verdict, charge, intent)


def ledger_code(verdict: Verdict) -> str | None:
    """The finest name of a decline; Stripe's own blocks by their reason."""
    if verdict.outcome_type == "blocked":
        return verdict.reason
    return verdict.decline_code


def _charge(account: Account, intent: Obj, method: Obj, verdict: Verdict, now: int) -> Obj:
    details = objects.method_details(method, mandate_of(account, method))
    charge = objects.charge(
        id=account.new_id("charge"),
        created=now,
        intent=intent,
        method=method,
        amount=intent["amount"],
        details=details,
    )
    charge["payment_intent"] = intent["id"] or None
    if sources.is_legacy(method):
        charge["source"] = sources.card_of(method)
    charge["outcome"] = _outcome(verdict)
    if verdict.outcome in ("failed", "requires_action"):
        write_failure(charge, verdict)
    intent["latest_charge"] = charge["id"]
    return account.put("charge", charge)


def _outcome(verdict: Verdict) -> Obj:
    return {
        "advice_code": verdict.advice_code,
        "network_advice_code": verdict.network_advice_code,
        "network_decline_code": verdict.network_decline_code,
        "network_status": verdict.network_status,
        "reason": verdict.reason,
        "risk_level": "not_assessed" if verdict.debit else verdict.risk_level,
        "seller_message": _seller_message(verdict),
        "type": verdict.outcome_type,
    }


def _seller_message(verdict: Verdict) -> str:
    if verdict.outcome_type == "blocked":
        return "Stripe blocked this payment."
    if verdict.outcome in ("failed", "requires_action"):
        return f"The bank returned the decline code `{verdict.decline_code}`."
    return "Payment complete."


def message_of(verdict: Verdict) -> str:
    """What a customer is told."""
    if verdict.debit:
        return "The customer's bank did not honour the debit."
    return _SHOWN.get(verdict.decline_code or "", "Your card was declined.")


def write_failure(charge: Obj, verdict: Verdict) -> None:
    """The charge failed."""
    charge.update(status="failed", failure_code=verdict.code, failure_message=message_of(verdict))


def succeeds(account: Account, intent: Obj, charge: Obj) -> None:
    """The bank gives the money, or holds it until it is captured."""
    charge.update(status="succeeded", paid=True)
    intent.update(
        last_payment_error=None,
        next_action=None,
        payment_method=charge["payment_method"],
        processing=None,
    )
    if intent["capture_method"] == "manual":
        intent.update(status="requires_capture", amount_capturable=charge["amount"])
        account.emit("charge.succeeded", charge)
        _tell(account, "amount_capturable_updated", intent)
        return
    take(account, intent, charge, charge["amount"])
    account.emit("charge.succeeded", charge)
    _tell(account, "succeeded", intent)
    aftermath(account, charge)


def _tell(account: Account, what: str, intent: Obj) -> None:
    if intent["id"]:  # a charge that was made directly has none that anybody knows of
        account.emit(f"payment_intent.{what}", intent)


def take(account: Account, intent: Obj, charge: Obj, amount: int) -> None:
    """The money is ours."""
    charge.update(
        captured=True,
        amount_captured=amount,
        balance_transaction=account.new_id("balance_transaction"),
    )
    intent.update(status="succeeded", amount_received=amount, amount_capturable=0)


def _waits(
    account: Account, intent: Obj, charge: Obj, verdict: Verdict, *, entry: Try,
    on_settled: OnSettled,
) -> None:  # fmt: skip
    """A bank debit is on its way."""
    charge["outcome"] = {**_outcome(verdict), "type": "authorized", "reason": None}
    kind = charge["payment_method_details"]["type"]
    intent.update(
        status="processing",
        payment_method=charge["payment_method"],
        last_payment_error=None,
        next_action=None,
        processing={"type": kind} if kind == "card" else None,
    )
    account.emit("charge.pending", charge)
    _tell(account, "processing", intent)
    final = verdict.settles_as or outcomes.SUCCEEDED

    def settle() -> None:
        entry.outcome, entry.decline_code = final.outcome, ledger_code(final)
        entry.settled_at = account.now_of(charge)
        charge["outcome"] = _outcome(final)
        if final.outcome != "succeeded":
            write_failure(charge, final)
        on_settled(charge, final)

    when = account.now_of(charge) + (verdict.settles_after or 0)
    account.at(account.clock_of(charge), when, "debit settles", settle)


def fails(account: Account, intent: Obj, charge: Obj, method: Obj, verdict: Verdict) -> None:
    """The bank says no, or asks for its customer."""
    needs_customer = verdict.outcome == "requires_action"
    error = objects.payment_error(
        code=verdict.code,
        message=message_of(verdict),
        charge=charge["id"],
        method=account.bare(method),
        decline_code=verdict.decline_code,
        advice_code=verdict.advice_code,
        network_advice_code=verdict.network_advice_code,
        network_decline_code=verdict.network_decline_code,
    )
    action: Obj = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    intent.update(
        status="requires_action" if needs_customer else "requires_payment_method",
        payment_method=method["id"] if needs_customer else None,
        last_payment_error=error,
        next_action=action if needs_customer else None,
        processing=None,
    )
    account.emit("charge.failed", charge)
    _tell(account, "payment_failed", intent)
    if needs_customer:
        _tell(account, "requires_action", intent)


def declined(account: Account, result: Result, *, code: str | None = None) -> Refused:
    """Stripe's 402 for an attempt that failed."""
    verdict = result.verdict
    return Refused(
        402,
        "card_error",
        message_of(verdict),
        code=code or verdict.code,
        stored=True,
        decline_code=verdict.decline_code,
        advice_code=verdict.advice_code,
        network_advice_code=verdict.network_advice_code,
        network_decline_code=verdict.network_decline_code,
        charge=result.charge["id"],
        payment_intent=account.bare(result.intent) if result.intent["id"] else None,
        payment_method=(result.intent["last_payment_error"] or {}).get("payment_method"),
    )
