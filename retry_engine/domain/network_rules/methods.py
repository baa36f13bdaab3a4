"""Rules about the payment method itself."""

from datetime import timedelta

from retry_engine.domain.network_rules.spans import Forbidden, Spans, until_after
from retry_engine.domain.network_rules.subject import Subject

_INDIA_GAP = timedelta(hours=36)


def backup(s: Subject) -> Spans:
    if s.method.is_default:
        return
    if not s.policy.methods.charge_backups:
        detail = "the policy allows the default method only"
        yield Forbidden("backup_not_allowed", s.start, None, detail)


def backup_before_decline(s: Subject) -> Spans:
    if s.method.is_default or not s.policy.methods.charge_backups:
        return
    if not any(a.is_resolved for a in s.view.attempts):
        detail = "a backup is charged only after a definite decline"
        if not s.view.attempts and not any(m.is_default for m in s.view.payment_methods):
            detail = f"no method is the default, so that none was charged, and {detail}"
        yield Forbidden("backup_before_decline", s.start, None, detail)


def mandate(s: Subject) -> Spans:
    if s.method.mandate_active is False:
        yield Forbidden("mandate_inactive", s.start, None, "its mandate is no longer active")


def blocked_account(s: Subject) -> Spans:
    if s.method.blocked_reason is not None:
        detail = f"Stripe blocks this account ({s.method.blocked_reason})"
        yield Forbidden("account_blocked", s.start, None, detail)


def india(s: Subject) -> Spans:
    if s.method.card_country != "IN" and s.method.type != "upi":
        return
    if not s.policy.methods.retry_indian_cards:
        detail = "an Indian issuer announces every debit; the customer pays by the invoice's link"
        yield Forbidden("india_mandate", s.start, None, detail)
        return
    for attempt in s.on_card[-1:]:
        yield until_after("india_mandate", attempt, _INDIA_GAP, "36 hours between Indian debits")
