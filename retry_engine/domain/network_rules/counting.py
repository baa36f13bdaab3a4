"""Gaps and ceilings: these count everybody's attempts, and a change of data resets no ceiling."""

from collections.abc import Mapping
from datetime import timedelta

from retry_engine.domain import codes
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.codes import Field, Network
from retry_engine.domain.network_rules.evidence import is_about, network_code
from retry_engine.domain.network_rules.spans import Forbidden, Spans, until_after
from retry_engine.domain.network_rules.subject import Subject, brand_of, is_plain_decline

# Attempts a card may see in 30 days, by anybody. Visa has raised its own from 15 to 20; brands
# that publish nothing get this engine's ceiling.
NETWORK_CEILINGS: Mapping[str, int] = {"visa": 20, "mastercard": 35}
_OWN_CEILING = 15
_MASTERCARD_DECLINES_A_DAY = 10

_BLOCKED_ON_VELOCITY = "previously_declined_do_not_retry"
_VELOCITY_WAIT = timedelta(hours=72)
_MONTH = timedelta(days=30)


# -- gaps after what an answer said


def mastercard_wait(s: Subject) -> Spans:
    for attempt in s.informative:
        if brand_of(s, attempt) != Network.MASTERCARD:
            continue
        said = network_code(Network.MASTERCARD, Field.ADVICE, attempt.network_advice_code)
        if said is not None and said.wait_hours is not None:
            detail = f"Mastercard advice {said.code}: {said.says}"
            yield until_after("mastercard_wait", attempt, timedelta(hours=said.wait_hours), detail)


def velocity_block(s: Subject) -> Spans:
    for attempt in s.informative:
        if _BLOCKED_ON_VELOCITY in (attempt.outcome_reason, attempt.decline_code):
            detail = "Stripe blocked a retry that came too soon"
            yield until_after("velocity_block", attempt, _VELOCITY_WAIT, detail)


def gap(s: Subject) -> Spans:
    """At most one attempt a card and day, and two days after a decline that was not technical.

    A charge of another invoice whose outcome is open, or that went well, counts as an attempt too.
    Every attempt has its own gap: a technical decline since does not shorten an earlier one's.
    """
    limits = s.policy.limits
    for attempt in s.on_card:
        if not is_about(attempt, s.method):
            continue
        gap = limits.min_gap_hours
        if is_plain_decline(s, attempt):
            gap = max(gap, limits.min_gap_after_decline_hours)
        detail = f"{gap:g} hours between attempts on one card"
        yield until_after("gap_on_card", attempt, timedelta(hours=gap), detail)


def unknown_code(s: Subject) -> Spans:
    limits = s.policy.limits
    unknown = [a for a in s.informative_here if not codes.lookup(a.decline_code).is_known]
    if len(unknown) > limits.unknown_code_retries:
        detail = f"{unknown[-1].decline_code} is a code nobody knows, and a retry did not help"
        yield Forbidden("unknown_code", s.start, None, detail)
    elif unknown:
        gap = timedelta(hours=limits.unknown_code_gap_hours)
        yield until_after(
            "unknown_code", unknown[-1], gap, "a code nobody knows: wait before the retry"
        )


# -- ceilings


def card_ceiling(s: Subject) -> Spans:
    if s.method.type != "card":
        return
    network = NETWORK_CEILINGS.get(s.method.card_brand or "", _OWN_CEILING)
    most = min(s.policy.limits.max_attempts_per_card_30_days, network)
    yield from _at_most(s, most, "attempts_per_card")


def network_ceiling(s: Subject) -> Spans:
    most = NETWORK_CEILINGS.get(s.method.card_brand or "")
    if s.method.type == "card" and most is not None:
        yield from _at_most(s, most, "network_ceiling")


def _at_most(s: Subject, most: int, rule: str) -> Spans:
    if len(s.on_card) >= most:
        detail = f"{most} attempts on this card in 30 days"
        yield until_after(rule, s.on_card[-most], _MONTH, detail)


def mastercard_day(s: Subject) -> Spans:
    if s.method.card_brand != "mastercard":
        return
    declines = [a for a in s.on_card if a.outcome is Outcome.FAILED]
    if len(declines) < _MASTERCARD_DECLINES_A_DAY:
        return
    tenth_last, last = declines[-_MASTERCARD_DECLINES_A_DAY], declines[-1]
    detail = "10 declines on this Mastercard in a day"
    yield until_after("mastercard_declines_a_day", tenth_last, timedelta(days=1), detail)
    # one acquirer reads "rolling", another "calendar day": the later end holds
    if tenth_last.at.date() == last.at.date():
        midnight = last.at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        yield Forbidden("mastercard_declines_a_day", last.at, midnight, detail)
