"""Whether a discount pays: its effect on who pays, against all who would have paid anyway.

    net(d) = v * u(x) * (1 - exp(-d / D)) - k(x) * d        as a share of what is owed

`d` is the discount's share, `u(x)` how many more pay with a large one, `k(x)` how many take and use
it, whoever they are, and `v` what a payment is worth. `u` and `k` are learnt from randomised offers
(`learning.uplift`); until there are any, from a prior that gives only to those who came to the page
and left without paying. `x` is what the policy's list allows, and nothing else goes in: not the
model's chance of a charge, which knows the customer's country.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from retry_engine.domain import money
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category
from retry_engine.domain.decisions import Decision, DecisionKind, Reason
from retry_engine.domain.offers import discount_of
from retry_engine.domain.policy import Policy

# Half of what 8 % does more or less: the next percent does less than the last.
_SATURATES = 0.12
# An outage does not end by a discount, nor is one owed for the merchant's own misconfiguration.
_NOT_THEIR_DOING = frozenset(
    {Category.ISSUER_TRANSIENT, Category.CONFIGURATION, Category.TEST_MODE}
)
_AMOUNTS = ((10, "below 10"), (30, "10 to 30"), (100, "30 to 100"))
# So many retries have failed before a planned one is called one more of many.
_SEVERAL = 2
_AGES = ((90, "below 3 months"), (365, "3 to 12 months"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Linear in the situation's features; keys are `feature=value`, and "" for everybody.

    `gain`: share more who pay with a large discount; `cost`: share who take one and use it.
    `seen`: messages that this was learnt from, 0 for the prior.
    """

    gain: Mapping[str, float]
    cost: Mapping[str, float]
    seen: int = 0

    def net(self, situation: Mapping[str, str], share: float, *, worth: float) -> float:
        """Expected gain of a discount of that share over none, as a share of what is owed."""
        keys = keys_of(situation)
        gain = sum(self.gain.get(key, 0.0) for key in keys)
        cost = min(max(sum(self.cost.get(key, 0.0) for key in keys), 0.0), 1.0)
        return worth * gain * dose(share) - cost * share


# No published figure could be used: of 1,029 companies a discount late in dunning helped 55 %, did
# nothing at 26 % and hurt at 19 % (churnkey.co). Ours, and cautious: about nothing for whom we know
# nothing of, and something for who looked at the bill and left, unless the saved method may still
# go through by itself; after several retries that failed it hardly will.
PRIOR = Effects(
    gain={
        "": 0.04,
        "came_and_left=yes": 0.15,
        "retry_planned=yes": -0.15,
        "retry_planned=again": -0.05,
    },
    cost={"": 0.22},
)


def dose(share: float) -> float:
    """How much of a large discount's effect one of that share has, 0 to 1."""
    return -math.expm1(-share / _SATURATES)


def situation_of(
    view: CaseView, allowed: tuple[str, ...], *, retry_planned: bool | None
) -> dict[str, str]:
    """The features that an offer may depend on. Training and serving both come here.

    `retry_planned` is None where it is not known, as in a log.
    """
    owed = money.in_major_units(view.amount, view.currency)
    since = view.customer_since
    age = (view.now - since).days if since else None
    known = {
        "amount": next((name for most, name in _AMOUNTS if owed < most), "100 and more"),
        "billing_interval": view.billing_interval or "unknown",
        "came_and_left": "yes" if any(m.visited for m in view.messages) else "no",
        "customer_for": "unknown"
        if age is None
        else next((name for most, name in _AGES if age < most), "a year or more"),
        "decline_category": view.last_category,
        "messages_before": str(min(len(view.messages), 3)),
        "retry_planned": _planned(view, retry_planned),
    }
    return {name: known[name] for name in allowed}


def _planned(view: CaseView, retry_planned: bool | None) -> str:
    if retry_planned is None:
        return "unknown"
    if not retry_planned:
        return "no"
    return "again" if len(view.attempts) - 1 >= _SEVERAL else "yes"


def keys_of(situation: Mapping[str, str]) -> list[str]:
    """As `Effects` names them."""
    return ["", *(f"{name}={value}" for name, value in situation.items())]


def with_offer(view: CaseView, decision: Decision, *, policy: Policy, effects: Effects) -> Decision:
    """The decision with what its message offers: nothing, or the discount worth most."""
    if refusal_of(view, policy) is not None:
        return decision
    terms = policy.offers
    owed, most = (
        view.amount,
        min(terms.case_budget, view.amount * terms.max_discount_percent // 100),
    )
    arms = [0]
    for percent in sorted({terms.max_discount_percent // 2, terms.max_discount_percent}):
        discount = discount_of(percent, owed, view.currency, most=most)
        if discount > arms[-1]:
            arms.append(discount)
    if len(arms) == 1:
        return decision
    planned = decision.kind is DecisionKind.RETRY
    situation = situation_of(view, terms.features, retry_planned=planned)
    worth = policy.value.margin * (1.0 + policy.value.lifetime_value_multiple)
    nets = [effects.net(situation, arm / owed, worth=worth) for arm in arms]
    best = max(range(len(arms)), key=lambda index: (nets[index], -index))
    if nets[best] < terms.least_gain_share:
        best = 0
    chosen, drawn = best, False
    first, second = _dice(view)
    if first < terms.randomised:
        chosen, drawn = min(int(second * len(arms)), len(arms) - 1), True
    propensity = terms.randomised / len(arms) + (1.0 - terms.randomised) * (chosen == best)
    decision = replace(decision, discount=arms[chosen], offer_propensity=propensity)
    if not arms[chosen]:
        return decision
    why = Reason(text=_words(arms[chosen], nets[chosen], view, situation, drawn=drawn))
    return replace(decision, reasons=(*decision.reasons, why))


def refusal_of(view: CaseView, policy: Policy) -> str | None:
    """Why nothing may be offered about the case now, whatever it would bring."""
    terms = policy.offers
    if not terms.enabled:
        return "offers are off"
    if view.offers:
        return "there was an offer about this invoice"
    if len(view.messages) < terms.after_messages:
        return "too early"
    cool_down = timedelta(days=terms.cool_down_days)
    if view.last_offer_at is not None and view.now - view.last_offer_at < cool_down:
        return "there was an offer about another invoice lately"
    if view.last_category in _NOT_THEIR_DOING:
        return "the failure is not the customer's"
    return None


def _dice(view: CaseView) -> tuple[float, float]:
    text = f"offer:{view.case_id}:{len(view.messages)}"
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    first, second = (int.from_bytes(part, "big") / 2.0**64 for part in (digest[:8], digest[8:]))
    return first, second


def _words(
    discount: int, net: float, view: CaseView, situation: Mapping[str, str], *, drawn: bool
) -> str:
    gives = f"{money.plain(discount, view.currency)} off is offered with the next message: "
    if drawn:
        return gives + "drawn at random, to learn what offers do"
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in situation.items())
    return gives + f"worth {net:.1%} of what is owed more than none ({facts})"
