"""Whether an invoice may be given back to Stripe, whose own retries nobody can hold to our rules.

Stripe charges some three times more, on its own days. So an invoice goes back only where the rules
that bind us would let it be charged, and only as it was found: one that Stripe was not going to
retry before we took it stays so.
"""

from datetime import datetime, timedelta

from retry_engine.domain import network_rules
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.policy import Policy
from retry_engine.domain.risk_flags import RiskFlagKind
from retry_engine.recovery import cases
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.planning import view_of
from retry_engine.store import reviews, risk_flags
from retry_engine.store.cases import Case
from retry_engine.store.holdings import THE_POLICY

# Says when in a week, not whether: Stripe keeps to the banks' days itself.
_OF_THE_WEEK = frozenset({"debit_weekend"})


def refusal(context: CaseContext, case: Case, policy: Policy) -> str | None:
    """Why it stays with nobody, in words; None: Stripe may have it back."""
    if case.auto_advance_found is False:
        return "Stripe was not going to retry it before it was taken over"
    if case.pause_cause == cases.PAUSED_IN_STRIPE:
        # Stripe's own retries of an invoice that was open already would go on
        return cases.PAUSED_IN_STRIPE
    since = context.now - timedelta(days=policy.review.dispute_days)
    flags = risk_flags.standing(context.connection, case.account, case.customer_id, since=since)
    if flags:
        flag = flags[-1]
        what = "dispute" if flag.kind is RiskFlagKind.DISPUTE else "early fraud warning"
        return f"there is a {what} on a charge of this customer ({flag.object_id})"
    unanswered = reviews.named_in(
        context.connection, case.id, state="rejected", by=THE_POLICY
    ) - reviews.named_in(context.connection, case.id, state="approved")
    if unanswered:
        return f"nobody has said that it is owed all the same ({', '.join(sorted(unanswered))})"
    return refused_by_rules(view_of(context, case), at=context.now, policy=policy)


def refused_by_rules(view: CaseView, *, at: datetime, policy: Policy) -> str | None:
    """The rule that forbids what Stripe would do next: charge the default method."""
    default = next((m for m in view.payment_methods if m.is_default), None)
    if default is None:
        return None  # Stripe has nothing to charge
    if default.type in network_rules.DEBIT_RULES and any(
        a.payment_method_id == default.id for a in view.attempts
    ):
        return "a bank debit was presented, and nobody keeps Stripe to its scheme's limit"
    spans = network_rules.forbidden(view, default, policy=policy)
    standing = network_rules.longest_at(
        (s for s in network_rules.binding(spans) if s.rule not in _OF_THE_WEEK), at
    )
    return f"{standing.detail} (rule {standing.rule})" if standing is not None else None
