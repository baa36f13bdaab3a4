"""What to do next with a case: the retry worth most over the rest of the case, or none at all.

A dynamic program over (time, method tried last, attempts left). With `p(m, t)` the chance of method
`m` at slot `t`, `S(t)` the chance that the customer is still there, `A` what a recovery is worth
and `c` what an attempt costs:

    W_k(m, t) = S(t) (p_k(m, t) A - c) + (1 - p_k(m, t)) V_{k+1}(m, t)
    V_k(m, t) = max(0, W_k(m, t') for t' >= t + gap, W_k(m', t') for m' != m and t' >= t + pause)

A failure assumed on the way lowers later chances (`p_k`). Only the first step is carried out; then
the case is asked about again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning import breaches, dunning
from retry_engine.decisioning import reasons as explanation
from retry_engine.decisioning.prior import PriorModel, SuccessModel
from retry_engine.decisioning.reasons import Charge, describe
from retry_engine.domain import codes, money, network_rules
from retry_engine.domain.attempts import Attempt
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category, CustomerAction
from retry_engine.domain.decisions import Candidate, Decision, DecisionKind, Reason
from retry_engine.domain.network_rules import Forbidden
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SLOT = 3 * 3600.0
_DAY = 86_400.0
_STEPS = 8
# Share a day by which later charges count for less, beside customers who leave: the further away,
# the less is known, a curve's peaks are promised too high, and a failure tells something at once.
_IMPATIENCE = 0.012

# Whoever says these wants no more charges; a person decides what becomes of the customer.
_REVIEW_ACTIONS = frozenset({CustomerAction.REVIEW})
# Whoever may not owe this is not charged on another of their cards without a person's look.
_REVIEW_CATEGORIES = frozenset({Category.FRAUD})


@dataclass(frozen=True, slots=True)
class _Leave:
    """When a method may be charged, and why not else."""

    method: PaymentMethod
    spans: tuple[Forbidden, ...]
    permitted: Bools


@dataclass(frozen=True, slots=True)
class _Option:
    """A method with its leave, and its chance per slot."""

    leave: _Leave
    chance: Floats

    @property
    def method(self) -> PaymentMethod:
        return self.leave.method

    @property
    def spans(self) -> tuple[Forbidden, ...]:
        return self.leave.spans

    @property
    def permitted(self) -> Bools:
        return self.leave.permitted

    def since(self, slot: int) -> "_Option":
        """The same without the slots before that one."""
        leave = replace(self.leave, permitted=self.permitted[slot:])
        return _Option(leave, self.chance[slot:])


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
    since = [_asked_since(view, policy) for view in views]
    slots = [_slots(view, since=then) for view, then in zip(views, since, strict=True)]
    leaves = [
        []
        if settled
        else [_leave(replace(view, now=then), m, times, policy) for m in view.payment_methods]
        for view, then, times, settled in zip(views, since, slots, early, strict=True)
    ]
    # of a method that may not be charged at all, one moment is enough for the record
    asked = [
        (view, leave.method, times if leave.permitted.any() else times[:1])
        for view, times, found in zip(views, slots, leaves, strict=True)
        for leave in found
    ]
    chances = iter(model.success_probabilities(asked))
    decisions = [
        settled
        or _decide(
            view,
            [_Option(leave, np.broadcast_to(next(chances), times.shape)) for leave in found],
            times,
            policy,
            model,
            explain=explain,
        )
        for view, times, found, settled in zip(views, slots, leaves, early, strict=True)
    ]
    return [
        dunning.with_message(view, decision, policy=policy, effects=model.offer_effects)
        for view, decision in zip(views, decisions, strict=True)
    ]


def _without_model(view: CaseView, version: str) -> Decision | None:
    if view.now >= view.deadline_at:
        return _without_retry(DecisionKind.STOP, "the case's horizon has passed", (), version)
    person = needs_a_person(view.attempts)
    if person is not None:
        return _without_retry(DecisionKind.REVIEW, person, (), version)
    return None


def _decide(
    view: CaseView,
    options: Sequence[_Option],
    slots: Floats,
    policy: Policy,
    model: SuccessModel,
    *,
    explain: bool,
) -> Decision:
    ahead = _first_to_come(view, slots)
    if not any(option.permitted[ahead:].any() for option in options):
        coming = [option.since(ahead) for option in options]
        return _nothing_permitted(view, coming, slots[ahead:], policy, model.version)
    return _best_retry(view, options, slots, policy, model, explain=explain)


@dataclass(frozen=True, slots=True)
class Curve:
    """A method's `chance` `at` moments 3 hours apart, and whether it is `permitted`, (n,) each.

    `at` is in UTC epoch seconds; a chance stands also where no charge is permitted.
    """

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
    leaves = (_leave(view, method, slots, policy) for method in view.payment_methods)
    return tuple(
        Curve(leave.method, slots, chance, leave.permitted)
        for leave, chance in zip(leaves, chances, strict=True)
    )


def compared(
    view: CaseView, asked: Charge, chosen: Charge | None, *, model: SuccessModel | None = None
) -> tuple[float, float | None, tuple[Reason, ...]]:
    """The chances of two charges of a case, and why they are not the same.

    The points of the reasons are of `asked` against `chosen`: they have the sign of the difference.
    """
    model = model or PriorModel()
    charges = [charge for charge in (asked, chosen) if charge is not None]
    found = model.success_probabilities(
        [(view, method, np.array([at.timestamp()])) for method, at in charges]
    )
    there, *here = (float(np.broadcast_to(chance, (1,))[0]) for chance in found)
    reasons = explanation.of_charge(view, *asked, model=model, other=chosen)
    return there, here[0] if here else None, reasons


# -- the dynamic program


def _slots(view: CaseView, *, since: datetime | None = None) -> Floats:
    """From then (None: now) to the deadline, 3 hours apart, as UTC epoch seconds.

    The slot that is running begins now.
    """
    start, now = (since or view.now).timestamp(), view.now.timestamp()
    slots = np.arange(start, view.deadline_at.timestamp(), _SLOT, dtype=np.float64)
    if slots.size:
        slots[min(int((now - start) // _SLOT), slots.size - 1)] = now
    return slots


def _first_to_come(view: CaseView, slots: Floats) -> int:
    """The place of the first slot that is not past."""
    return int(np.searchsorted(slots, view.now.timestamp()))


def _asked_since(view: CaseView, policy: Policy) -> datetime:
    """Since when the question has been what it is: the last attempt, where choices are drawn.

    A draw among all moments since then comes out alike however often it is asked for (after a
    message, say), so that the chance it had is its propensity. Drawn anew among what is left, a
    late moment would be chosen more often than its propensity says.
    """
    if policy.value.explore <= 0:
        return view.now
    return min(max((a.at for a in view.attempts), default=view.opened_at), view.now)


def _leave(view: CaseView, method: PaymentMethod, slots: Floats, policy: Policy) -> _Leave:
    spans = network_rules.forbidden(view, method, policy=policy)
    permitted = np.ones(slots.shape, dtype=bool)
    for span in spans:
        inside = slots >= span.since.timestamp()
        if span.until is not None:
            inside &= slots < span.until.timestamp()
        permitted &= ~inside
    return _Leave(method, spans, permitted)


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
    risks = [breaches.expected_cost(view, option.method, policy) for option in options]
    cost = (
        policy.value.attempt_cost
        + policy.value.attempt_shadow_price_share * view.amount
        + np.array(risks)[:, None]
    )
    left = min(_STEPS, policy.limits.max_attempts - len(view.attempts))
    ages = (slots - view.opened_at.timestamp()) / _DAY
    alive = model.churn.staying(ages, policy.value.churn_per_day)
    alive *= np.exp(-_IMPATIENCE * (ages - ages[0]))
    permitted = np.stack([o.permitted for o in options])
    chances = np.where(permitted, np.stack([o.chance for o in options]), 0.0)
    limits = policy.limits
    gap, pause = (
        max(1, int(np.ceil(hours * 3600 / _SLOT)))
        for hours in (limits.min_gap_after_decline_hours, limits.min_gap_hours)
    )
    later = np.zeros(chances.shape)
    values = later
    for step in reversed(range(left)):
        chance = chances * model.damping**step
        values = alive * (chance * worth - cost) + (1.0 - chance) * later
        values[~permitted] = -np.inf
        later = _value_after(values, gap, pause)
    ahead = _first_to_come(view, slots)
    all_values, values = values, values[:, ahead:] / alive[ahead]  # as things are worth now
    slots, options = slots[ahead:], [option.since(ahead) for option in options]
    best = np.unravel_index(int(np.argmax(values)), values.shape)
    if values[best] <= 0:
        reason = "no further attempt is worth what it costs"
        candidates = _candidates(view, options, slots, values, int(best[1]))
        return _without_retry(DecisionKind.STOP, reason, candidates, model.version)
    choice = _Choice(int(best[0]), int(best[1]), 1.0)
    if policy.value.explore > 0:
        choice = _explored(view, all_values, ahead, choice, policy)
    return _as_decision(view, options, slots, values, choice, policy, model, explain=explain)


def _value_after(values: Floats, gap: int, pause: int) -> Floats:
    """What the rest is worth after a failure of each method at each slot, (methods, slots).

    The same method waits `gap` slots; another one `pause`, to see what becomes of the first.
    """
    from_then = np.maximum(np.maximum.accumulate(values[:, ::-1], axis=1)[:, ::-1], 0.0)
    after = _put_off(from_then, gap)
    for method in range(len(values) if len(values) > 1 else 0):
        others = np.delete(from_then, method, axis=0).max(axis=0, keepdims=True)
        after[method] = np.maximum(after[method], _put_off(others, pause)[0])
    return after


def _put_off(values: Floats, slots: int) -> Floats:
    later = np.zeros(values.shape)
    if slots < values.shape[1]:
        later[:, :-slots] = values[:, slots:]
    return later


@dataclass(frozen=True, slots=True)
class _Choice:
    """A method and a slot, with the propensity of their choice."""

    method: int
    slot: int
    propensity: float
    drawn: bool = False


def _explored(view: CaseView, values: Floats, ahead: int, best: _Choice, policy: Policy) -> _Choice:
    """With a chance of `explore` a draw among all permitted moments, likelier the more worth.

    Its propensity is a density an hour. The case, its attempts and the method are the dice.
    `values` are of all moments since the last attempt; those from `ahead` on are still to come.
    The draw is a race: each moment has a number of its own, and the largest sum of that and its log
    odds wins. So a moment that is past, or a method that is gone, changes nothing among the others.
    """
    scale = policy.value.explore_scale * view.amount
    odds = np.exp((values - values.max()) / scale)
    odds /= odds.sum()
    numbers = np.stack([_numbers(view, m.id, odds.shape[1]) for m in view.payment_methods])
    with np.errstate(divide="ignore"):
        race = np.log(odds) + numbers
    first = int(np.argmax(race.max(axis=0)))
    odds, race = odds[:, ahead:], race[:, ahead:]
    if first < ahead:  # its moment passed without it: a draw among the rest
        odds = odds / odds.sum()
    chosen = best
    if _number(view, "whether") < policy.value.explore:
        method, slot = np.unravel_index(int(np.argmax(race)), race.shape)
        chosen = _Choice(int(method), int(slot), 1.0, drawn=True)
    mass = policy.value.explore * float(odds[chosen.method, chosen.slot])
    if (chosen.method, chosen.slot) == (best.method, best.slot):
        mass += 1.0 - policy.value.explore
    return replace(chosen, propensity=mass / (_SLOT / 3600.0))


def _number(view: CaseView, what: str) -> float:
    """Evenly spread over cases, in [0, 1), and always the same for the same question."""
    return _die(view, what) / 2.0**64


def _numbers(view: CaseView, method_id: str, count: int) -> Floats:
    """One number a slot for that method, after Gumbel's law; more slots change none of them."""
    return np.random.Generator(np.random.PCG64(_die(view, method_id))).gumbel(size=count)


def _die(view: CaseView, what: str) -> int:
    text = f"explore:{view.case_id}:{len(view.attempts)}:{what}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _moment(
    view: CaseView, option: _Option, slots: Floats, index: int, *, minutes: int
) -> datetime:
    """Within the slot's first so many minutes, spread over cases: not all of them come at once."""
    start = datetime.fromtimestamp(float(slots[index]), UTC)
    digest = hashlib.blake2b(f"{view.case_id}:{len(view.attempts)}".encode(), digest_size=4)
    spread = timedelta(minutes=int.from_bytes(digest.digest(), "big") % minutes)
    later = start + spread
    blocked = later >= view.deadline_at or network_rules.longest_at(option.spans, later) is not None
    return start if blocked else later


# -- what it amounts to


def _worth(gain: float, view: CaseView) -> str:
    """Why a lower chance may be preferred: what comes after a failure counts too."""
    if round(gain) <= 0:
        return ""
    more = money.plain(round(gain), view.currency)
    return f": worth {more} more over the rest of the case, later attempts counted"


def _as_decision(  # noqa: PLR0917 - what a decision is made of
    view: CaseView,
    options: Sequence[_Option],
    slots: Floats,
    values: Floats,
    choice: _Choice,
    policy: Policy,
    model: SuccessModel,
    *,
    explain: bool,
) -> Decision:
    option = options[choice.method]
    minutes = 60 if choice.slot else 1
    if policy.value.explore > 0:  # a propensity an hour holds for what is left of the slot
        after = slots[choice.slot + 1] if choice.slot + 1 < slots.size else slots[-1] + _SLOT
        minutes = max(int(after - slots[choice.slot]) // 60, 1)
    at = _moment(view, option, slots, choice.slot, minutes=minutes)
    chance = float(option.chance[choice.slot])
    other = _alternative(values, choice)
    reasons: list[Reason] = []
    if explain:
        rival = _charge(options, slots, other) if other else None
        chosen = _charge(options, slots, choice)
        reasons = list(explanation.of_charge(view, *chosen, model=model, other=rival))
        if rival and other:
            there = float(options[other.method].chance[other.slot])
            gain = float(values[choice.method, choice.slot] - values[other.method, other.slot])
            reasons.append(
                Reason(
                    text=f"{chance:.0%}, preferred to {there:.0%} on {describe(rival[0])} "
                    f"at {rival[1]:%-d %b %H:%M} UTC, the best alternative{_worth(gain, view)}"
                )
            )
    if choice.drawn:
        share = f"{policy.value.explore:.0%}"
        reasons.insert(0, Reason(text=f"drawn at random, as {share} of decisions are, to learn"))
    limit = policy.review.amount_above
    kind = DecisionKind.RETRY
    if 0 < limit < view.amount:
        kind = DecisionKind.REVIEW
        reasons.insert(0, Reason(text=f"more than {limit} is owed: a person approves the charge"))
    return Decision(
        kind=kind,
        reasons=tuple(reasons),
        candidates=_candidates(view, options, slots, values, choice.slot),
        model_version=model.version,
        retry_at=at,
        payment_method_id=option.method.id,
        success_probability=chance,
        expected_value=round(float(values[choice.method, choice.slot])),
        propensity=choice.propensity,
    )


def _charge(options: Sequence[_Option], slots: Floats, choice: _Choice) -> Charge:
    at = datetime.fromtimestamp(float(slots[choice.slot]), UTC)
    return options[choice.method].method, at


def _alternative(values: Floats, choice: _Choice) -> _Choice | None:
    """The best that is another thing to do: another method, or a day or more apart."""
    others = values.copy()
    others[choice.method, max(0, choice.slot - 8) : choice.slot + 9] = -np.inf
    best = np.unravel_index(int(np.argmax(others)), others.shape)
    if not np.isfinite(others[best]):
        return None
    return _Choice(int(best[0]), int(best[1]), 0.0)


def _candidates(
    view: CaseView, options: Sequence[_Option], slots: Floats, values: Floats, best: int
) -> tuple[Candidate, ...]:
    """For the record: each method at its best moment, at the chosen one, and what was forbidden."""
    found: list[Candidate] = []
    for option, worths in zip(options, values, strict=True):
        moments = {best, int(np.argmax(option.chance))}
        if option.permitted.any():
            moments.add(int(np.argmax(np.where(option.permitted, option.chance, -1.0))))
        for index in sorted(moments):
            at = datetime.fromtimestamp(float(slots[index]), UTC)
            span = network_rules.longest_at(option.spans, at)
            value = worths[index] if np.isfinite(worths[index]) else 0.0
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
    record = _candidates(view, options, slots, np.zeros((len(options), slots.size)), 0)
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


def needs_a_person(attempts: Sequence[Attempt]) -> str | None:
    """What no machine should answer: withdrawn consent, fraud, sanctions, death."""
    for attempt in reversed(attempts):
        told = _told_to_stop(attempt)
        if told is not None:
            return told
    return None


def _told_to_stop(attempt: Attempt) -> str | None:
    for name in (attempt.decline_code, attempt.outcome_reason):
        if name is None:
            continue
        code = codes.lookup(name)
        if code.customer_action in _REVIEW_ACTIONS or code.category in _REVIEW_CATEGORIES:
            return f"declined with {name}: a person decides"
    withdrawn = network_rules.consent_withdrawn(attempt)
    if withdrawn is not None:
        return f"consent was withdrawn ({withdrawn}): a person decides"
    if attempt.card_brand == "mastercard" and attempt.network_advice_code == "42":
        return f"Mastercard advice {attempt.network_advice_code}: a person decides"
    return None
