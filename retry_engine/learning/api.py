"""Learning and deciding without Stripe, database or Celery, on tables.

    policy = train_policy(log)              # an attempt log, one row an event
    plans = policy.decide(cases)            # one row an open case in, one row out

`decide` runs the planner and the success model of production.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import pandas as pd

from retry_engine.decisioning import fixed_schedule as schedule
from retry_engine.decisioning import planner
from retry_engine.decisioning.prior import PriorModel
from retry_engine.decisioning.success_model import LearntModel
from retry_engine.domain import card_history
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.errors import BadRequest, CannotLearn
from retry_engine.domain.messages import SentMessage
from retry_engine.domain.offers import Offer, OfferState
from retry_engine.domain.policy import Limits, Offers, Value
from retry_engine.domain.policy import Policy as PolicyFile
from retry_engine.learning import replay, training
from retry_engine.learning.log import events_of, validate

_VALUE = (
    "attempt_cost", "message_cost", "rule_breach_cost", "margin", "lifetime_value_multiple",
    "explore",
)  # fmt: skip
_LIMITS = ("horizon_days", "max_attempts")
_OFFERS = ("offers_enabled", "max_discount_percent")
COLUMNS = (
    "case_id", "retry_at", "payment_method_id", "message_at", "discount", "stop", "review",
    "success_probability", "expected_value", "propensity", "model_version",
)  # fmt: skip


class Policy(Protocol):
    """Whatever answers tables of open cases."""

    def decide(self, cases: pd.DataFrame) -> pd.DataFrame:
        """One row in, one row out, in order."""


def train_policy(
    log: pd.DataFrame, *, config: Mapping[str, Any] | None = None, seed: int = 0
) -> "LearntPolicy":
    """Fit the success model on an attempt log and put the planner on it.

    A log too small to carry a model gives a policy on the documented prior (`model_version` says
    so). Raises `InvalidInput` for a malformed log, `BadRequest` for an unknown key of `config`.
    """
    policy = policy_of(config)
    checked = events_of(validate(log)[0])
    try:
        trained = training.train(checked, seed=seed)
    except CannotLearn:
        return LearntPolicy(policy, None, replay.record_of(checked))
    return LearntPolicy(policy, trained.model, trained.rows.record)


def prior_policy(
    config: Mapping[str, Any] | None = None, *, log: pd.DataFrame | None = None
) -> "LearntPolicy":
    """The planner on the documented prior; of a log it knows what happened, and learns nothing."""
    record = replay.Record() if log is None else replay.record_of(events_of(validate(log)[0]))
    return LearntPolicy(policy_of(config), None, record)


def fixed_schedule(days: Sequence[float] = schedule.DAYS) -> "FixedSchedule":
    """Retries on the default method those days after the opening failure, inside the rules."""
    return FixedSchedule(tuple(sorted(days)))


def policy_of(config: Mapping[str, Any] | None) -> PolicyFile:
    """The policy file's default with `config` laid over it; `BadRequest` names an unknown key."""
    given = dict(config or {})
    unknown = sorted(set(given) - {*_VALUE, *_LIMITS, *_OFFERS})
    if unknown:
        known = ", ".join((*_VALUE, *_LIMITS, *_OFFERS))
        raise BadRequest(f"config: unknown key(s) {', '.join(unknown)}; known: {known}")
    value = {k: v for k, v in given.items() if k in _VALUE}
    limits = {k: v for k, v in given.items() if k in _LIMITS}
    offers = replace(
        Offers(),
        enabled=bool(given.get("offers_enabled", False)),
        max_discount_percent=int(given.get("max_discount_percent", 20)),
        # what is drawn at random is drawn in offers too: else nothing is learnt of them
        randomised=float(given.get("explore", 0.0)),
    )
    return replace(
        PolicyFile(),
        value=replace(Value(), **value),
        limits=replace(Limits(), **limits),
        offers=offers,
    )


@dataclass(frozen=True, slots=True)
class LearntPolicy:
    """The planner on a success model; `model` None is the documented prior."""

    policy: PolicyFile
    model: LearntModel | None
    record: replay.Record = field(repr=False)

    def decide(self, cases: pd.DataFrame) -> pd.DataFrame:
        """One row in, one row out, in order."""
        views = [self._view(row) for row in cases.to_dict("records")]
        model = self.model or PriorModel()
        decisions = planner.decide_many(views, policy=self.policy, model=model, explain=False)
        return _table([_plan(v, d) for v, d in zip(views, decisions, strict=True)])

    def _view(self, row: Mapping[Any, Any]) -> CaseView:
        return view_of(row, self.record)


def view_of(row: Mapping[Any, Any], record: replay.Record) -> CaseView:
    """A row of the cases' table as the planner sees it, with what the log knew of the customer."""
    now, opened = _time(row, "now"), _time(row, "opened_at")
    invoice = str(row["invoice_id"])
    attempts = tuple(
        replace(replay.attempt_of(a), invoice_id=invoice) for a in _dicts(row, "attempts")
    )
    methods = []
    for given in _dicts(row, "payment_methods"):
        added = replay.time_of(given.get("added_at"))
        changed = record.changed.get(str(given.get("payment_method_id")))
        if changed is not None and changed > now:
            changed = None
        methods.append(
            replay.method_of(
                given, is_default=bool(given.get("is_default")), changed=changed, added=added
            )
        )
    known = record.before(
        str(row["customer_id"]), iter([m.card_fingerprint for m in methods]), now, invoice
    )
    others = (replay.attempt_of(a) for a in _dicts(row, "other_attempts"))
    return CaseView(
        case_id=str(row["case_id"]),
        invoice_id=invoice,
        customer_id=str(row["customer_id"]),
        account=_text(row, "account") or "",
        now=now,
        opened_at=opened,
        deadline_at=_time(row, "deadline_at"),
        amount=int(row["amount"]),
        currency=str(row["currency"]).lower(),
        attempts=attempts,
        payment_methods=tuple(methods),
        card_attempts=card_history.of_others(known, others, invoice_id=invoice),
        billing_reason=_text(row, "billing_reason"),
        billing_interval=_text(row, "billing_interval"),
        customer_country=_text(row, "customer_country"),
        customer_timezone=_text(row, "customer_timezone"),
        customer_since=replay.time_of(row.get("customer_since")),
        messages=tuple(SentMessage(at=_time(m, "at")) for m in _dicts(row, "messages")),
        offers=tuple(
            Offer(at=_time(o, "at"), amount=int(o["amount"]), state=OfferState(o["state"]))
            for o in _dicts(row, "offers")
        ),
        last_offer_at=record.last_offer(str(row["customer_id"]), now, invoice),
    )


@dataclass(frozen=True, slots=True)
class FixedSchedule:
    """The baseline: the default method on fixed days, nothing learnt."""

    days: tuple[float, ...]

    def decide(self, cases: pd.DataFrame) -> pd.DataFrame:
        """One row in, one row out, in order."""
        return _table([self._plan(row) for row in cases.to_dict("records")])

    def _plan(self, row: Mapping[Any, Any]) -> dict[str, Any]:
        view = view_of(row, replay.Record())
        found = schedule.next_charge(view, self.days)
        if found is None:
            has_method = any(m.is_default for m in view.payment_methods)
            return _nothing(view) | {"stop": has_method or not schedule.days_left(view, self.days)}
        return _nothing(view) | {"retry_at": found[0], "payment_method_id": found[1]}


def _plan(view: CaseView, decision: Decision) -> dict[str, Any]:
    return _nothing(view) | {
        "retry_at": decision.retry_at if decision.kind is not DecisionKind.STOP else None,
        "payment_method_id": decision.payment_method_id,
        "message_at": decision.message_at,
        "discount": decision.discount,
        "stop": decision.kind is DecisionKind.STOP,
        "review": decision.kind is DecisionKind.REVIEW,
        "success_probability": decision.success_probability,
        "expected_value": decision.expected_value,
        "propensity": decision.propensity * (decision.offer_propensity or 1.0),
        "model_version": decision.model_version,
    }


def _nothing(view: CaseView) -> dict[str, Any]:
    return {
        "case_id": view.case_id,
        "retry_at": None,
        "payment_method_id": None,
        "message_at": None,
        "discount": 0,
        "stop": False,
        "review": False,
        "success_probability": None,
        "expected_value": 0,
        "propensity": 1.0,
        "model_version": "fixed",
    }


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = {name: pd.Series([row[name] for row in rows], dtype=object) for name in COLUMNS}
    table = pd.DataFrame(columns)
    for column in ("retry_at", "message_at"):
        table[column] = pd.to_datetime(table[column], utc=True).astype("datetime64[us, UTC]")
    for column in ("success_probability", "expected_value", "propensity"):
        table[column] = table[column].astype("float64")
    return table.astype({"stop": bool, "review": bool, "discount": "int64"})


def _dicts(row: Mapping[Any, Any], name: str) -> list[dict[str, Any]]:
    found = row.get(name)
    return [] if found is None or isinstance(found, float) else list(found)


def _time(row: Mapping[Any, Any], name: str) -> datetime:
    found = replay.time_of(row[name])
    if found is None:
        raise BadRequest(f"cases: {name} is empty; expected a time in UTC")
    return found


def _text(row: Mapping[Any, Any], name: str) -> str | None:
    found = row.get(name)
    return found if isinstance(found, str) and found else None


__all__ = [
    "FixedSchedule", "LearntPolicy", "Policy", "fixed_schedule", "policy_of", "prior_policy",
    "train_policy", "view_of",
]  # fmt: skip
