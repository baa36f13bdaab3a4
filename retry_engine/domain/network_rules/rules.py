"""The table of rules, and asking it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from retry_engine.domain.case_view import CaseView
from retry_engine.domain.network_rules import counting, debits, invoices, methods
from retry_engine.domain.network_rules.spans import Forbidden, Kind, Spans, longest_at
from retry_engine.domain.network_rules.subject import Subject, subject_of
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy


def forbidden(view: CaseView, method: PaymentMethod, *, policy: Policy) -> tuple[Forbidden, ...]:
    """All spans, from the case's now on, in which that method must not be charged."""
    subject = subject_of(view, method, policy)
    return tuple(
        span if rule.kind is Kind.BINDING else replace(span, kind=rule.kind)
        for rule in RULES
        for span in rule.spans(subject)
        if span.until is None or span.until > view.now
    )


def check(
    view: CaseView, method: PaymentMethod, *, at: datetime, policy: Policy
) -> Forbidden | None:
    """What forbids charging that method at that moment; the longest of several; None: allowed."""
    return longest_at(forbidden(view, method, policy=policy), at)


def earliest(
    view: CaseView, method: PaymentMethod, *, after: datetime, policy: Policy
) -> datetime | None:
    """The first allowed moment from `after` on, or None."""
    spans = forbidden(view, method, policy=policy)
    at = after
    while (standing := longest_at(spans, at)) is not None:
        if standing.until is None:
            return None
        at = standing.until
    return at


# -- the table


def _rules_told(*names: str) -> Callable[[Subject], Spans]:
    """The spans function of what declines say under these names."""

    def spans(s: Subject) -> Spans:
        return (span for span in s.told if span.rule in names)

    return spans


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: what it says, where that comes from, and the function that knows."""

    name: str
    says: str
    source: str
    spans: Callable[[Subject], Spans]
    kind: Kind = Kind.BINDING


_OURS = "this engine"
RULES: tuple[Rule, ...] = (
    Rule("attempt_in_flight", "nothing while an outcome is unknown", _OURS, invoices.in_flight),
    Rule("already_paid", "nothing on a paid invoice", _OURS, invoices.paid),
    Rule("case_deadline", "nothing after the horizon", "policy", invoices.deadline, Kind.PACING),
    Rule(
        "attempts_per_invoice",
        "8 attempts, everybody's",
        "Stripe's advice",
        invoices.attempts_per_invoice,
        Kind.PACING,
    ),
    Rule(
        "first_invoice", "first invoices within 23 hours", "Stripe Billing", invoices.first_invoice
    ),
    Rule(
        "quiet_zone",
        "nothing near Stripe's own attempt",
        "policy",
        invoices.quiet_zone,
        Kind.PACING,
    ),
    Rule(
        "below_minimum", "Stripe's smallest charge", "docs.stripe.com/currencies", invoices.minimum
    ),
    Rule(
        "consent_withdrawn",
        "never after a revocation",
        "Visa R0 R1 R3, MAC 21",
        invoices.consent_gone,
    ),
    Rule("backup", "other methods by consent", "policy", methods.backup),
    Rule(
        "backup_before_decline",
        "the default first",
        _OURS,
        methods.backup_before_decline,
        Kind.PACING,
    ),
    Rule("mandate_inactive", "no debit without a mandate", "SEPA, Nacha, Bacs", methods.mandate),
    Rule("account_blocked", "not what Stripe blocks", "Stripe", methods.blocked_account),
    Rule("india_mandate", "no unannounced Indian debits", "RBI e-mandates 2026", methods.india),
    Rule(
        "hard_decline",
        "never after a hard decline, unless it has paid since",
        "docs.stripe.com/declines",
        _rules_told("hard_decline"),
    ),
    Rule(
        "needs_change",
        "only with new data or another answer",
        "docs.stripe.com/declines",
        _rules_told("needs_change"),
    ),
    Rule(
        "authentication_needed",
        "only with the customer",
        "SCA",
        _rules_told("authentication_needed"),
    ),
    Rule(
        "visa",
        "category 1 never, category 3 with new data",
        "Visa table 7-2",
        _rules_told("visa_never", "visa_data"),
    ),
    Rule(
        "advice",
        "Stripe's advice codes",
        "docs.stripe.com/declines/card",
        _rules_told("advice_do_not_try_again", "advice_confirm_card_data"),
    ),
    Rule(
        "mastercard_advice",
        "merchant advice codes",
        "Mastercard",
        _rules_told("mastercard_never", "mastercard_new_data"),
    ),
    Rule("mastercard_wait", "waits by advice code", "Mastercard", counting.mastercard_wait),
    Rule(
        "velocity_block",
        "72 hours after a velocity block",
        "Stripe support",
        counting.velocity_block,
    ),
    Rule("gap_on_card", "24, or 48 hours apart", _OURS, counting.gap, Kind.PACING),
    Rule("unknown_code", "one retry on an unknown code", _OURS, counting.unknown_code, Kind.PACING),
    Rule(
        "attempts_per_card",
        "15 in 30 days, all invoices",
        _OURS,
        counting.card_ceiling,
        Kind.PACING,
    ),
    Rule(
        "network_ceiling",
        "in 30 days, all invoices",
        "Visa 20, Mastercard 35",
        counting.network_ceiling,
    ),
    Rule("mastercard_day", "10 declines a day", "Mastercard", counting.mastercard_day),
    Rule("debit_representment", "how often a debit comes again", "Nacha, SEPA, Bacs", debits.debit),
    Rule("debit_weekend", "debits on working days", _OURS, debits.weekend, Kind.PACING),
)
