"""Why a case was charged when it was, what comes next, and why not at another moment."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from retry_engine.app import documents, moments
from retry_engine.app.decisions import PRIOR_VERSION, Decisions
from retry_engine.domain import network_rules
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.modes import Mode
from retry_engine.domain.network_rules import Kind
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy
from retry_engine.domain.timezones import zone_of
from retry_engine.domain.vocabulary import DecisionKind
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.policies import Policies
from retry_engine.store import cases as rows
from retry_engine.store import decisions, engine_state, learning, schedule
from retry_engine.store.cases import Case
from retry_engine.store.decisions import DecisionRow

if TYPE_CHECKING:  # numpy
    from retry_engine.decisioning.planner import Curve

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Why not then, or on that: at least one of them."""

    at: datetime | None
    payment_method: str | None


@dataclass(frozen=True, slots=True)
class _Charge:
    method: PaymentMethod
    at: datetime


def explain(
    connection: Connection,
    case: Case,
    question: Question | None,
    *,
    policies: Policies,
    decider: Decisions,
    real_now: datetime,
) -> Document:
    """The last decision, the last charge and what was behind it, the chances as they look now.

    Raises:
        BadRequest: the question is about the past, or about a method that is not the customer's.
    """
    now = rows.time_of(connection, case, real_now)
    view = read_view(CaseContext(connection=connection, now=now, real_now=real_now), case)
    policy = policies.of(case.policy_version)
    last = decisions.last(connection, case.id)
    version, curves = decider.curves(view, policy)
    document: Document = {
        "case": case.id,
        "state": case.state,
        "timezone": zone_of(view.customer_timezone, view.customer_country).key,
        "decision": documents.decision(last) if last else None,
        "last_charge": _last_charge(connection, case),
        "model_version": version,
        "deciding_model": learning.active_version(connection) or PRIOR_VERSION,
        "curves": [_curve(curve, decider) for curve in curves],
    }
    if question is not None:
        document["asked"] = _answer(
            view,
            question,
            chosen=_chosen(connection, case, view, last),
            against=_of_the_case(connection, case),
            policy=policy,
            decider=decider,
        )
    return document


def _curve(curve: "Curve", decider: Decisions) -> Document:
    return {
        "payment_method": curve.method.id,
        "method": decider.in_words(curve.method),
        "at": [documents.text(datetime.fromtimestamp(t, UTC)) for t in curve.at],
        "success_probability": [round(float(p), 4) for p in curve.chance],
        "permitted": [bool(p) for p in curve.permitted],
    }


def _last_charge(connection: Connection, case: Case) -> Document | None:
    found = decisions.last_charge(connection, case.id)
    if found is None:
        return None
    behind = decisions.get(connection, found.decision_id) if found.decision_id else None
    return {
        "at": documents.text(found.at),
        "payment_method": found.payment_method_id,
        "outcome": found.outcome,
        "decline_code": found.decline_code,
        "requested_by": found.requested_by,
        "decision": documents.decision(behind) if behind else None,
    }


# -- the moment that was asked about


def _chosen(
    connection: Connection, case: Case, view: CaseView, last: DecisionRow | None
) -> _Charge | None:
    """The charge that stands in the schedule, or waits for a person's approval."""
    planned = schedule.planned_retry(connection, case.id)
    if planned is not None:
        method, at = view.method(planned.payment_method_id), planned.due_at
    elif last is not None and last.kind is DecisionKind.REVIEW and last.retry_at is not None:
        method, at = view.method(last.payment_method_id), last.retry_at
    else:
        return None
    return _Charge(method, max(at, view.now)) if method is not None else None


def _of_the_case(connection: Connection, case: Case) -> tuple[str, str] | None:
    """(name, sentence) of what forbids every charge of the case, whatever the rules say."""
    if case.state is CaseState.CLOSED:
        return "case_closed", f"the case is closed ({case.close_reason}): nothing is charged"
    if case.state is CaseState.PAUSED:
        return "case_paused", f"the case is paused ({case.pause_cause}) until somebody resumes it"
    if case.state is CaseState.IN_REVIEW:
        return "case_in_review", "the case waits for a person's verdict"
    if case.mode is Mode.HOLDOUT:
        return "holdout", "the case is left to Stripe's own retries, for comparison"
    engine = engine_state.read(connection)
    if engine.paused:
        return "engine_paused", f"the engine is paused by {engine.by}: {engine.reason}"
    return None


def _answer(
    view: CaseView,
    question: Question,
    *,
    chosen: _Charge | None,
    against: tuple[str, str] | None,
    policy: Policy,
    decider: Decisions,
) -> Document:
    at = _asked_at(view, question, chosen)
    method = _asked_method(view, question, chosen)
    answer: Document = {
        "at": documents.text(at),
        "payment_method": method.id if method else None,
        "success_probability": None,
        "permitted": False,
        "forbidden_by": None,
        "forbidden_until": None,
        "difference": None,
        "reason": None,
        "overridable": False,
        "chosen": None,
        "explanation": [],
    }
    if method is None:
        return answer | {
            "forbidden_by": "no_payment_method",
            "reason": "the customer has no payment method",
        }
    if at < view.deadline_at:
        answer |= _chances(view, _Charge(method, at), chosen, decider)
    if against is not None:
        return answer | {"forbidden_by": against[0], "reason": against[1]}
    return answer | _leave(view, method, at, policy)


def _asked_at(view: CaseView, question: Question, chosen: _Charge | None) -> datetime:
    at = question.at or (chosen.at if chosen else view.now)
    return moments.to_come(moments.with_zone(at), view.now)


def _asked_method(
    view: CaseView, question: Question, chosen: _Charge | None
) -> PaymentMethod | None:
    if question.payment_method is None:
        usual = view.payment_methods[0] if view.payment_methods else None
        return chosen.method if chosen else usual
    method = view.method(question.payment_method)
    if method is None:
        theirs = ", ".join(m.id for m in view.payment_methods) or "none"
        raise BadRequest(
            f"{question.payment_method[:50]!r} is no payment method of this customer;"
            f" theirs: {theirs}"
        )
    return method


def _chances(
    view: CaseView, asked: _Charge, chosen: _Charge | None, decider: Decisions
) -> Document:
    other = (chosen.method, chosen.at) if chosen else None
    there, here, why = decider.compared(view, (asked.method, asked.at), other)
    found: Document = {
        "success_probability": round(there, 4),
        "explanation": [{"text": r.text, "points": r.points} for r in why],
    }
    if chosen is not None and here is not None:
        found["difference"] = round(100 * (there - here), 1)
        found["chosen"] = {
            "at": documents.text(chosen.at),
            "payment_method": chosen.method.id,
            "success_probability": round(here, 4),
        }
    return found


def _leave(view: CaseView, method: PaymentMethod, at: datetime, policy: Policy) -> Document:
    """Whether a charge is permitted then: the rules that bind everybody come before our own."""
    spans = network_rules.forbidden(view, method, policy=policy)
    binding = network_rules.longest_at(network_rules.binding(spans), at)
    span = binding or network_rules.longest_at(spans, at)
    if span is None:
        return {"permitted": True}
    until = network_rules.earliest(view, method, after=at, policy=policy)
    zone = zone_of(view.customer_timezone, view.customer_country)
    when = f" until {until.astimezone(zone):%a %-d %b %Y %H:%M} ({zone.key})" if until else ""
    who = "the bank's or the network's rules forbid it"
    if span.kind is Kind.PACING:
        who = "the engine's own pacing holds it back"
    return {
        "permitted": False,
        "forbidden_by": span.rule,
        "forbidden_until": documents.text(until),
        "reason": f"{who}{when}: {span.detail}",
        "overridable": binding is None,
    }
