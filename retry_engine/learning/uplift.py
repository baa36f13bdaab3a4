"""What discounts do, learnt from messages whose offer was drawn at random.

A message with a known propensity is one unit: what was offered with it (nothing too), and whether
the invoice was paid after it, and for how much less. Two Bayesian linear regressions, weighted by
the inverse propensity and drawn towards the prior:

    paid   = a x + dose(d) * g x          g: the gain, centred on the prior's
    given  = d * k x  (where d > 0)       k: the cost, centred on the prior's
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from retry_engine.decisioning import discounts
from retry_engine.decisioning.discounts import Effects
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.messages import SentMessage
from retry_engine.domain.policy import OFFER_FEATURES
from retry_engine.learning import replay
from retry_engine.learning.log import COLUMNS, columns_of

Floats = npt.NDArray[np.float64]

# Fewer randomised offers say nothing against the prior.
LEAST = 30
_HORIZON = timedelta(days=30)
_MOST_WEIGHT = 20.0
# An offer and its message are one event, written down at about the same time.
_TOGETHER = timedelta(minutes=5)
_NOISE = 0.2  # variance of 0 or 1 at a rate of 0.3 or so
_BASE_SD, _COMMON_SD, _OWN_SD = 1.0, 0.10, 0.06


@dataclass(slots=True)
class Unit:
    """One message: the situation, the discount's share (0: none), its propensity, what came."""

    situation: dict[str, str]
    share: float
    propensity: float
    paid: bool = False
    given: float = 0.0


@dataclass(slots=True)
class _InvoiceHistory:
    """An invoice on the way through the log."""

    attempts: list[Attempt] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    messages: list[SentMessage] = field(default_factory=list)
    last: Unit | None = None
    last_at: datetime | None = None
    drawn: Unit | None = None  # the newest whose offer was drawn at random
    offered: Unit | None = None  # the newest that offered something: it holds until it is used


def units_of(log: pd.DataFrame) -> list[Unit]:
    """The log's messages that could carry an offer, each with what was known just before it."""
    columns = columns_of(log, COLUMNS)
    histories: dict[str, _InvoiceHistory] = {}
    units: list[Unit] = []
    for index in range(len(log)):
        row = {name: values[index] for name, values in columns.items()}
        history = histories.setdefault(row["invoice_id"], _InvoiceHistory())
        if row["kind"] == "attempt":
            _take_attempt(history, row)
        elif row["kind"] in ("message", "offer") and history.attempts:
            _take_said(history, row, units)
    return units


def _take_attempt(history: _InvoiceHistory, row: dict[str, Any]) -> None:
    attempt = replay.attempt_of(row)
    for name in ("customer_since", "billing_interval", "customer_id"):
        history.facts.setdefault(name, row[name])
    if attempt.outcome is Outcome.SUCCEEDED and history.last is not None:
        _take_payment(history, attempt)
    if attempt.outcome is not Outcome.SUCCEEDED or not history.attempts:
        history.attempts.append(attempt)


def _take_payment(history: _InvoiceHistory, attempt: Attempt) -> None:
    """What was paid counts for the last message that was drawn: reminders without a draw follow it.

    Whoever paid less used the offer, with whichever message it came.
    """
    owed = history.attempts[0]
    (history.drawn or history.last or Unit({}, 0.0, 0.0)).paid = True
    if history.offered is not None and attempt.currency == owed.currency and owed.amount:
        less = max(owed.amount - attempt.amount, 0) / owed.amount
        # whoever paid the whole did not use it
        history.offered.given = min(less, history.offered.share)
        history.offered.paid |= less > 0


def _take_said(history: _InvoiceHistory, row: dict[str, Any], units: list[Unit]) -> None:
    at = row["at"].to_pydatetime()
    first = history.attempts[0]
    # minor units of two currencies are not parts of each other
    is_offer = row["kind"] == "offer" and row["currency"] == first.currency and first.amount > 0
    share = float(row["amount"]) / first.amount if is_offer else 0.0
    known = not pd.isna(row["propensity"])
    same = history.last_at is not None and at - history.last_at <= _TOGETHER
    if not same:
        unit = Unit(_situation(history, row, at), 0.0, 0.0)
        history.last, history.last_at = unit, at
        history.messages.append(SentMessage(at=at))
    if history.last is None:
        return
    if row["kind"] == "offer" or not history.last.share:
        history.last.share = max(history.last.share, share)
        if known and not history.last.propensity:
            units.append(history.last)
        if history.last.share:
            history.offered = history.last
        if known:
            history.last.propensity = float(row["propensity"])
            if 0.0 < history.last.propensity < 1.0:
                history.drawn = history.last


def _situation(history: _InvoiceHistory, row: dict[str, Any], at: datetime) -> dict[str, str]:
    opening = history.attempts[0]
    view = CaseView(
        case_id=row["invoice_id"],
        invoice_id=row["invoice_id"],
        customer_id=row["customer_id"],
        account=row["account"],
        now=at,
        opened_at=opening.at,
        deadline_at=opening.at + _HORIZON,
        amount=opening.amount,
        currency=opening.currency,
        attempts=tuple(a for a in history.attempts if a.source is not Source.CUSTOMER)
        or tuple(history.attempts),
        payment_methods=(),
        billing_interval=history.facts.get("billing_interval") or None,
        customer_since=replay.time_of(history.facts.get("customer_since")),
        messages=tuple(history.messages),
    )
    return discounts.situation_of(view, OFFER_FEATURES, retry_planned=None)


def learn(units: Sequence[Unit], prior: Effects = discounts.PRIOR) -> Effects:
    """The prior moved by what the randomised messages show; the prior itself where they are few."""
    chosen = [unit for unit in units if 0.0 < unit.propensity < 1.0]
    if sum(unit.share > 0 for unit in chosen) < LEAST:
        return prior
    names = sorted({key for unit in chosen for key in discounts.keys_of(unit.situation)})
    place = {name: index for index, name in enumerate(names)}
    x = np.zeros((len(chosen), len(names)))
    for row, unit in enumerate(chosen):
        x[row, [place[key] for key in discounts.keys_of(unit.situation)]] = 1.0
    share = np.array([unit.share for unit in chosen])
    propensity = np.array([unit.propensity for unit in chosen])
    weight = np.minimum(1.0 / propensity, _MOST_WEIGHT)
    weight = weight * (weight.sum() / np.square(weight).sum())  # as many as they are worth
    doses = np.array([discounts.dose(s) for s in share])
    spread = np.where(np.array(names) == "", _COMMON_SD, _OWN_SD)
    gain_prior = np.array([prior.gain.get(name, 0.0) for name in names])
    cost_prior = np.array([prior.cost.get(name, 0.0) for name in names])
    # without an offer some pay too: that share has features of its own, about which nothing is said
    both = np.hstack([x, x * doses[:, None]])
    paid = np.array([unit.paid for unit in chosen], dtype=np.float64)
    found = _posterior(
        both,
        paid,
        weight,
        np.concatenate([np.zeros(len(names)), gain_prior]),
        np.concatenate([np.full(len(names), _BASE_SD), spread]),
    )
    offered = share > 0
    used = np.array([unit.given for unit in chosen])[offered] / share[offered]
    cost = _posterior(x[offered], used, weight[offered], cost_prior, spread)
    # of what no message showed, as a log knows no visits, the prior is all that is known
    gain = dict(zip(names, (float(v) for v in found[len(names) :]), strict=True))
    given = dict(zip(names, (float(v) for v in cost), strict=True))
    return Effects(gain={**prior.gain, **gain}, cost={**prior.cost, **given}, seen=len(chosen))


def _posterior(x: Floats, y: Floats, weight: Floats, mean: Floats, spread: Floats) -> Floats:
    """The mean of the coefficients after the data, normal all through."""
    precision = np.diag(1.0 / np.square(spread))
    seen = x.T @ (x * weight[:, None]) / _NOISE
    pull = x.T @ (weight * y) / _NOISE + precision @ mean
    return np.asarray(np.linalg.solve(seen + precision, pull), dtype=np.float64)
