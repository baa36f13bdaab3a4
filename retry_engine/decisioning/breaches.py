"""What an attempt may cost although no rule that we know of forbids it.

The rules are asked before every charge, so an attempt is a breach only by what we do not know: a
code that nobody knows may be a ban, a bank that gives no reason may have meant one, and attempts
that others make on the card count towards its ceiling before we hear of them. How likely each is,
nobody publishes: these are careful guesses, small enough that at the default `rule_breach_cost`
they decide only between attempts that are worth little.
"""

from collections.abc import Sequence
from datetime import timedelta

from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy

UNKNOWN_CODE = 0.01
NO_REASON = 0.0002
NEAR_CEILING = 0.01
# So few attempts below the card's ceiling another's may already have taken the place.
_NEAR = 2
_MONTH = timedelta(days=30)


def chance(view: CaseView, method: PaymentMethod, policy: Policy) -> float:
    """How likely the next attempt on that method is a breach, 0 to 1."""
    found = _by_what_was_said(network_rules.declines_of(view, method))
    ceiling = policy.limits.max_attempts_per_card_30_days
    recent = [a for a in view.attempts_on(method) if view.now - a.at < _MONTH]
    if method.type == "card" and len(recent) >= ceiling - _NEAR:
        found += NEAR_CEILING
    return found


def expected_cost(view: CaseView, method: PaymentMethod, policy: Policy) -> float:
    """What that comes to, in minor units of the case's currency."""
    return policy.value.rule_breach_cost * chance(view, method, policy)


def _by_what_was_said(declines: Sequence[Attempt]) -> float:
    if not declines:
        return 0.0
    last = declines[-1]
    code = codes.lookup(last.decline_code)
    if not code.is_known:
        return UNKNOWN_CODE
    told_more = last.advice_code or last.network_advice_code or last.network_decline_code
    return NO_REASON if code.category is Category.ISSUER_RISK and not told_more else 0.0
