"""Rules about the invoice and the payer's consent."""

from datetime import timedelta

from retry_engine.domain import money
from retry_engine.domain.attempts import Attempt, Outcome
from retry_engine.domain.network_rules.evidence import is_same_number
from retry_engine.domain.network_rules.spans import Forbidden, Spans
from retry_engine.domain.network_rules.subject import Subject

# The cardholder stopped this payment, or all of them.
_VISA_CONSENT_GONE = frozenset("R0 R1 R3".split())
_MAC_CONSENT_GONE = "21"
# The payer has said no, or is no more: nothing of theirs is charged without a new consent.
CONSENT_GONE = frozenset(
    "revocation_of_authorization revocation_of_all_authorizations stop_payment_order"
    " authorization_revoked recipient_deceased".split()
)


def in_flight(s: Subject) -> Spans:
    if any(not a.is_resolved for a in s.view.attempts):
        yield Forbidden("attempt_in_flight", s.start, None, "an attempt's outcome is not known yet")


def paid(s: Subject) -> Spans:
    if any(a.outcome is Outcome.SUCCEEDED for a in s.view.attempts):
        yield Forbidden("already_paid", s.start, None, "an attempt on this invoice has succeeded")


def deadline(s: Subject) -> Spans:
    yield Forbidden("case_deadline", s.view.deadline_at, None, "the case's horizon has passed")


def attempts_per_invoice(s: Subject) -> Spans:
    most = s.policy.limits.max_attempts
    if len(s.view.attempts) >= most:
        yield Forbidden("attempts_per_invoice", s.start, None, f"{most} attempts were made by all")


def first_invoice(s: Subject) -> Spans:
    if s.view.billing_reason != "subscription_create":
        return
    created = s.view.invoice_created_at or s.view.opened_at
    until = created + timedelta(hours=s.policy.limits.first_invoice_hours)
    yield Forbidden("first_invoice", max(until, s.start), None, "a first invoice lives 23 hours")


def quiet_zone(s: Subject) -> Spans:
    planned = s.view.stripe_next_attempt_at
    if planned is not None:
        zone = timedelta(hours=s.policy.limits.quiet_zone_hours)
        detail = "Stripe itself tries around then"
        yield Forbidden("quiet_zone", planned - zone, planned + zone, detail)


def minimum(s: Subject) -> Spans:
    least = money.minimum_charge(s.view.currency)
    if s.view.amount < least:
        detail = f"less than Stripe's minimum of {money.plain(least, s.view.currency)}"
        yield Forbidden("below_minimum", s.start, None, detail)


def consent_gone(s: Subject) -> Spans:
    for attempt in (*s.view.attempts, *s.view.card_attempts):
        reason = consent_withdrawn(attempt)
        here = attempt.invoice_id == s.view.invoice_id
        if reason is None or (not here and _has_consented_since(s, attempt)):
            continue
        detail = f"consent was withdrawn ({reason})"
        yield Forbidden("consent_withdrawn", s.start, None, detail)
        return


def consent_withdrawn(attempt: Attempt) -> str | None:
    """The code by which the payer has withdrawn their consent, or is no more."""
    if attempt.decline_code in CONSENT_GONE:
        return attempt.decline_code
    if attempt.outcome is Outcome.SUCCEEDED:
        return None
    if attempt.card_brand == "mastercard" and attempt.network_advice_code == _MAC_CONSENT_GONE:
        return f"advice code {_MAC_CONSENT_GONE}"
    if attempt.card_brand == "visa" and attempt.network_decline_code in _VISA_CONSENT_GONE:
        return f"Visa {attempt.network_decline_code}"
    return None


def _has_consented_since(s: Subject, withdrawn: Attempt) -> bool:
    """Whether another method than the one it was said of was saved, or has paid, since then."""
    if withdrawn in s.on_card and is_same_number(withdrawn, s.method):
        return False
    if s.method.added_at is not None and s.method.added_at > withdrawn.at:
        return True
    return any(a.outcome is Outcome.SUCCEEDED and a.at > withdrawn.at for a in s.on_card)
