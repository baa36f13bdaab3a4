"""What to do next with a case: the retry worth most over the rest of the case, or none at all.

A dynamic program over (time, attempts left). With `p(t)` the best chance of any permitted method
at slot `t`, `S(t)` the chance that the customer is still there, `A` what a recovery is worth and
`c` what an attempt costs:

    W_k(t) = S(t) (p_k(t) A - c) + (1 - p_k(t)) V_{k+1}(t + gap)
    V_k(s) = max(0, max_{t >= s} W_k(t))

A failure assumed on the way lowers later chances (`p_k`). Only the first step is carried out; then
the case is asked about again.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Candidate, Decision, DecisionKind, Reason
from retry_engine.domain.network_rules import Forbidden
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy
from retry_engine.mind.prior import PriorModel, SuccessModel, describe

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SLOT = 3 * 3600.0
_DAY = 86_400.0
_STEPS = 8

# Whoever says these wants no more charges; a person decides what becomes of the customer.
_REVIEW_ACTIONS = frozenset({"none_review"})
# Whoever may not owe this is not charged on another of their cards without a person's look.
_REVIEW_CATEGORIES = frozenset({"fraud"})


@dataclass(frozen=True, slots=True)
class _Option:
    """A method with its chance and permission per slot."""

    method: PaymentMethod
    spans: tuple[Forbidden, ...]
    chance: Floats
    permitted: Bools


def decide(
    view: CaseView, *, policy: Policy, model: SuccessModel | None = None, explain: bool = True
) -> Decision:
    """The next step of a case. A pure function: the same view and policy, the same decision.

    Without `explain` the decision is the same and carries no reasons for its moment.
    """
    return decide_many([view], policy=policy, model=model, explain=explain)[0]


def decide_many(
    views: Sequence[CaseView],
    *,
    policy: Policy,
    model: SuccessModel | None = None,
    explain: bool = True,
) -> list[Decision]:
    """The next step of each case, with one question to the model for all of them."""
    model = model or PriorModel()
    early = [_without_model(view, model.version) for view in views]
    slots = [_slots(view) for view in views]
    asked = [
        (view, method, times)
        for view, times, settled in zip(views, slots, early, strict=True)
        if settled is None
        for method in view.payment_methods
    ]
    chances = iter(model.success_probabilities(asked))
    return [
        settled or _decide(view, times, chances, policy, model, explain=explain)
        for view, times, settled in zip(views, slots, early, strict=True)
    ]


def _without_model(view: CaseView, version: str) -> Decision | None:
    if view.now >= view.deadline_at:
        return _without_retry(DecisionKind.STOP, "the case's horizon has passed", (), version)
    person = _needs_a_person(view)
    if person is not None:
        return _without_retry(DecisionKind.REVIEW, person, (), version)
    return None


def _decide(
    view: CaseView,
    slots: Floats,
    chances: Iterator[Floats],
    policy: Policy,
    model: SuccessModel,
    *,
    explain: bool,
) -> Decision:
    options = [
        _option(view, method, slots, policy, next(chances)) for method in view.payment_methods
    ]
    if not any(option.permitted.any() for option in options):
        return _nothing_permitted(view, options, slots, policy, model.version)
    return _best_retry(view, options, slots, policy, model, explain=explain)


@dataclass(frozen=True, slots=True)
class Curve:
    """A method's chance at moments 3 hours apart, and whether a charge is permitted then."""

    method: PaymentMethod
    at: Floats
    chance: Floats
    permitted: Bools


def curves(
    view: CaseView, *, policy: Policy, model: SuccessModel | None = None
) -> tuple[Curve, ...]:
    """What a decision about the case sees: one curve a method, from now to the deadline."""
    slots = _slots(view)
    if not slots.size:
        return ()
    model = model or PriorModel()
    chances = model.success_probabilities([(view, m, slots) for m in view.payment_methods])
    options = (
        _option(view, method, slots, policy, chance)
        for method, chance in zip(view.payment_methods, chances, strict=True)
    )
    return tuple(Curve(o.method, slots, o.chance, o.permitted) for o in options)


# -- the dynamic program


def _slots(view: CaseView) -> Floats:
    """From now to the deadline, 3 hours apart, as UTC epoch seconds."""
    start, end = view.now.timestamp(), view.deadline_at.timestamp()
    return np.arange(start, end, _SLOT, dtype=np.float64)


def _option(
    view: CaseView, method: PaymentMethod, slots: Floats, policy: Policy, chance: Floats
) -> _Option:
    spans = network_rules.forbidden(view, method, policy=policy)
    permitted = np.ones(slots.shape, dtype=bool)
    for span in spans:
        inside = slots >= span.since.timestamp()
        if span.until is not None:
            inside &= slots < span.until.timestamp()
        permitted &= ~inside
    return _Option(method, spans, chance, permitted)


def _best_retry(
    view: CaseView,
    options: Sequence[_Option],
    slots: Floats,
    policy: Policy,
    model: SuccessModel,
    *,
    explain: bool,
) -> Decision:
    worth = view.amount * policy.value.margin * (1.0 + policy.value.lifetime_value_multiple)
    cost = policy.value.attempt_cost + policy.value.attempt_shadow_price_share * view.amount
    left = min(_STEPS, policy.limits.max_attempts - len(view.attempts))
    alive = np.exp(-policy.value.churn_per_day * (slots - slots[0]) / _DAY)
    masked = np.stack([np.where(o.permitted, o.chance, -1.0) for o in options])
    chances = masked.max(axis=0)
    # with a second method the next try need not wait for the first one's gap
    gap = int(np.ceil(policy.limits.min_gap_after_decline_hours * 3600 / _SLOT))
    if sum(o.permitted.any() for o in options) > 1:
        gap = max(1, gap // 2)
    later = np.zeros(slots.shape)
    values = later
    for step in reversed(range(left)):
        values = _step_value(
            chances,
            later,
            alive=alive,
            worth=worth,
            cost=cost,
            damping=model.damping**step,
            gap=gap,
        )
        later = np.maximum(np.maximum.accumulate(values[::-1])[::-1], 0.0)
    best = int(np.argmax(values))
    if values[best] <= 0:
        reason = "no further attempt is worth what it costs"
        candidates = _candidates(view, options, slots, values, best)
        return _without_retry(DecisionKind.STOP, reason, candidates, model.version)
    chosen = options[int(np.argmax(masked[:, best]))]
    at = _moment(view, chosen, slots, best)
    reasons = model.reasons(view, chosen.method, at) if explain else ()
    return _as_decision(
        view,
        options,
        slots,
        values,
        best=best,
        chosen=chosen,
        at=at,
        policy=policy,
        told=reasons,
        version=model.version,
    )


def _step_value(
    chances: Floats,
    later: Floats,
    *,
    alive: Floats,
    worth: float,
    cost: float,
    damping: float,
    gap: int,
) -> Floats:
    after = np.zeros(later.shape)
    if gap < later.size:
        after[: later.size - gap] = later[gap:]
    chance = np.where(chances >= 0, chances * damping, 0.0)
    value = alive * (chance * worth - cost) + (1.0 - chance) * after
    return np.where(chances >= 0, value, -np.inf)


def _moment(view: CaseView, option: _Option, slots: Floats, index: int) -> datetime:
    """Within the chosen slot, spread over cases so that not all of them come at once."""
    start = datetime.fromtimestamp(float(slots[index]), UTC)
    if index == 0:
        return view.now
    digest = hashlib.blake2b(f"{view.case_id}:{len(view.attempts)}".encode(), digest_size=4)
    spread = timedelta(minutes=int.from_bytes(digest.digest(), "big") % 60)
    later = start + spread
    blocked = network_rules.longest_at(option.spans, later) is not None
    return start if blocked else later


# -- what it amounts to


def _as_decision(
    view: CaseView,
    options: Sequence[_Option],
    slots: Floats,
    values: Floats,
    *,
    best: int,
    chosen: _Option,
    at: datetime,
    policy: Policy,
    told: Sequence[Reason],
    version: str,
) -> Decision:
    chance = float(chosen.chance[best])
    now_chance = float(chosen.chance[0])
    reasons = list(told)
    if best > 0 and chance > now_chance:
        points = 100 * (chance - now_chance)
        reasons.append(
            Reason(text=f"waiting until {at:%-d %b %H:%M} UTC beats trying now", points=points)
        )
    limit = policy.review.amount_above
    kind = DecisionKind.RETRY
    if 0 < limit < view.amount:
        kind = DecisionKind.REVIEW
        reasons.insert(0, Reason(text=f"more than {limit} is owed: a person approves the charge"))
    return Decision(
        kind=kind,
        reasons=tuple(reasons),
        candidates=_candidates(view, options, slots, values, best),
        model_version=version,
        retry_at=at,
        payment_method_id=chosen.method.id,
        success_probability=chance,
        expected_value=round(float(values[best])),
    )


def _candidates(
    view: CaseView, options: Sequence[_Option], slots: Floats, values: Floats, best: int
) -> tuple[Candidate, ...]:
    """For the record: each method at its best moment, at the chosen one, and what was forbidden."""
    found: list[Candidate] = []
    for option in options:
        moments = {best, int(np.argmax(option.chance))}
        if option.permitted.any():
            moments.add(int(np.argmax(np.where(option.permitted, option.chance, -1.0))))
        for index in sorted(moments):
            at = datetime.fromtimestamp(float(slots[index]), UTC)
            span = network_rules.longest_at(option.spans, at)
            value = values[index] if np.isfinite(values[index]) else 0.0
            found.append(
                Candidate(
                    payment_method_id=option.method.id,
                    at=at,
                    success_probability=round(float(option.chance[index]), 4),
                    expected_value=round(float(value)),
                    forbidden_by=span.rule if span else None,
                )
            )
    return tuple(found)


def _nothing_permitted(
    view: CaseView, options: Sequence[_Option], slots: Floats, policy: Policy, version: str
) -> Decision:
    """Nothing may be charged any more as things are: wait for the customer, or stop."""
    at = view.now
    record = _candidates(view, options, slots, np.zeros(slots.shape), 0)
    used_up = next(
        (
            span
            for option in options
            for span in option.spans
            if span.rule in ("attempts_per_invoice", "below_minimum")
        ),
        None,
    )
    if used_up is not None or len(view.attempts) >= policy.limits.max_attempts:
        reason = used_up.detail if used_up else "all attempts are used up"
        return _without_retry(DecisionKind.STOP, reason, record, version)
    if view.billing_reason == "subscription_create" and options:
        reason = "a first invoice cannot be retried any more"
        return _without_retry(DecisionKind.STOP, reason, record, version)
    if not options:
        reason = "the customer has no payment method"
        return _without_retry(DecisionKind.WAIT_FOR_CUSTOMER, reason, record, version)
    standing = [(o, network_rules.longest_at(o.spans, at)) for o in options]
    texts = [f"{describe(o.method)}: {s.detail}" for o, s in standing if s is not None]
    reason = "; ".join(texts) or "no permitted moment is left within the horizon"
    return _without_retry(DecisionKind.WAIT_FOR_CUSTOMER, reason, record, version)


def _without_retry(
    kind: DecisionKind, reason: str, candidates: tuple[Candidate, ...], version: str
) -> Decision:
    return Decision(
        kind=kind,
        reasons=(Reason(text=reason),),
        candidates=candidates,
        model_version=version,
    )


def _needs_a_person(view: CaseView) -> str | None:
    """What no machine should answer: withdrawn consent, fraud, sanctions, death."""
    for attempt in reversed(view.attempts):
        told = _told_to_stop(attempt)
        if told is not None:
            return told
    return None


def _told_to_stop(attempt: Attempt) -> str | None:
    for name in (attempt.decline_code, attempt.outcome_reason):
        if name is None:
            continue
        code = codes.lookup(name)
        if (
            code.customer_action in _REVIEW_ACTIONS
            or code.category in _REVIEW_CATEGORIES
            or code.code in network_rules.CONSENT_GONE
        ):
            return f"declined with {name}: a person decides"
    if attempt.card_brand == "mastercard" and attempt.network_advice_code in ("21", "42"):
        return f"Mastercard advice {attempt.network_advice_code}: a person decides"
    return None
