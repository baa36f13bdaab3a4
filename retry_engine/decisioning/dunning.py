"""Whether, when and about what to write to a customer.

A message is worth what it brings beyond the retries that are planned anyway:

    effect(kind, messages before) * (1 - chance of the planned retry) * amount - cost

The effects are a prior: mails one to four are said to recover 13, 9, 6 and 3 % (rekko.io and
savemrr.co, vendors' figures); expired cards and data errors 5 to 15 % without a word and 35 to 60 %
with one. Soft declines mend by themselves more often, so words add less.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from retry_engine.decisioning import discounts, paydays
from retry_engine.decisioning.discounts import Effects
from retry_engine.domain import codes
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Category
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.policy import Messages, Policy
from retry_engine.domain.timezones import zone_of

# Share of customers who pay because of the first, second, … message.
_EFFECT_WHERE_ONLY_THEY_CAN = (0.20, 0.12, 0.08, 0.04)
_EFFECT_ELSEWHERE = (0.06, 0.04, 0.03, 0.02)
# A retry that comes this soon is waited for before anybody is written to.
_SOON = timedelta(days=3)
# Countries with several time zones: without the customer's own, only hours that all of them share.
_WIDE = frozenset({"US", "CA", "AU", "BR", "MX", "RU", "ID"})
_WIDE_MARGIN_HOURS = 3


def with_message(
    view: CaseView, decision: Decision, *, policy: Policy, effects: Effects = discounts.PRIOR
) -> Decision:
    """The decision with its next message, where one is worth its cost, and what that offers."""
    if decision.kind not in (DecisionKind.RETRY, DecisionKind.WAIT_FOR_CUSTOMER):
        return decision
    kind = kind_of(view, decision)
    count, messages = len(view.messages), policy.messages
    if not messages.enabled or count >= messages.most_per_case:
        return decision
    if worth(view, decision, policy=policy) <= 0:
        return decision
    at = next(_permitted(view, _earliest(view, decision, messages), messages), None)
    if at is None:
        return decision
    decision = replace(decision, message_at=at, message_kind=kind)
    return discounts.with_offer(view, decision, policy=policy, effects=effects)


def kind_of(view: CaseView, decision: Decision) -> MessageKind:
    """What the customer is asked for."""
    if decision.kind is DecisionKind.RETRY:
        return MessageKind.PAYMENT_FAILED
    if codes.as_told(view.last_code).category is Category.AUTHENTICATION:
        return MessageKind.AUTHENTICATE
    return MessageKind.UPDATE_METHOD


def worth(view: CaseView, decision: Decision, *, policy: Policy) -> float:
    """Expected net value of the next message, minor units."""
    value = policy.value
    retried = decision.kind is DecisionKind.RETRY
    effects = _EFFECT_ELSEWHERE if retried else _EFFECT_WHERE_ONLY_THEY_CAN
    effect = effects[min(len(view.messages), len(effects) - 1)]
    owed = view.amount * value.margin * (1.0 + value.lifetime_value_multiple)
    still_open = 1.0 - (decision.success_probability or 0.0)
    return effect * still_open * owed - value.message_cost


def is_quiet(view: CaseView, at: datetime, messages: Messages) -> bool:
    """Whether nobody should be written to then, by the customer's own clock."""
    return is_quiet_there(view.customer_timezone, view.customer_country, at, messages)


def is_quiet_there(
    timezone: str | None, country: str | None, at: datetime, messages: Messages
) -> bool:
    """The same for who lives in that country, on that clock (IANA), where either is known."""
    local = at.astimezone(zone_of(timezone, country))
    margin = 0
    if not timezone and (country or "").upper() in _WIDE:
        margin = _WIDE_MARGIN_HOURS
    awake = messages.quiet_until_hour + margin <= local.hour < messages.quiet_from_hour - margin
    day_off = messages.quiet_on_days_off and paydays.is_day_off(country, local.date())
    return not awake or day_off


def _earliest(view: CaseView, decision: Decision, messages: Messages) -> datetime:
    times = [view.now]
    if view.messages:
        # longer each time: most of what retries mend is mended in the first days, and who is still
        # to be told something then has not been reached by then
        gap = timedelta(hours=messages.min_gap_hours) * len(view.messages)
        times.append(view.messages[-1].at + gap)
    if decision.retry_at is not None and decision.retry_at - view.now <= _SOON:
        # asked again once its outcome is known: then there is something to say, or nothing
        times.append(decision.retry_at + timedelta(hours=1))
    return max(times)


def _permitted(view: CaseView, earliest: datetime, messages: Messages) -> Iterator[datetime]:
    """Moments from then on that are not quiet, by the hour."""
    at = earliest
    while at < view.deadline_at:
        if not is_quiet(view, at, messages):
            yield at
        at = at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
