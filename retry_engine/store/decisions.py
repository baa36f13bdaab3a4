"""What the planner decided, from what, and whether it was carried out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.vocabulary import Outcome
from retry_engine.store.tables import actions, attempts, decisions
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """A decision's row; `inputs`, `candidates` and `reasons` as they were written."""

    id: int
    case_id: str
    at: datetime
    kind: DecisionKind
    retry_at: datetime | None
    payment_method_id: str | None
    success_probability: float | None
    expected_value: int
    propensity: float
    policy_version: str
    model_version: str
    inputs: Mapping[str, Any]
    inputs_hash: str
    candidates: list[dict[str, Any]]
    reasons: list[dict[str, Any]]
    carried_out: bool
    message_at: datetime | None
    message_kind: MessageKind | None
    discount: int
    offer_propensity: float | None


_READER = Reader(DecisionRow)
_COLUMNS = _READER.columns(decisions)


def add(
    connection: Connection,
    *,
    case_id: str,
    at: datetime,
    decision: Decision,
    policy_version: str,
    inputs: Mapping[str, Any],
) -> int:
    """Store a decision with what it was made from; its row's id."""
    statement = (
        decisions.insert()
        .values(
            case_id=case_id,
            at=at,
            kind=decision.kind,
            retry_at=decision.retry_at,
            payment_method_id=decision.payment_method_id,
            success_probability=decision.success_probability,
            expected_value=decision.expected_value,
            propensity=decision.propensity,
            policy_version=policy_version,
            model_version=decision.model_version,
            inputs=inputs,
            inputs_hash=hash_of(inputs),
            candidates=[_plain(asdict(c)) for c in decision.candidates],
            reasons=[asdict(r) for r in decision.reasons],
            message_at=decision.message_at,
            message_kind=decision.message_kind,
            discount=decision.discount,
            offer_propensity=decision.offer_propensity,
        )
        .returning(decisions.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def mark_carried_out(connection: Connection, decision_id: int) -> None:
    """The decision became an attempt."""
    connection.execute(
        update(decisions).where(decisions.c.id == decision_id).values(carried_out=True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A charge of the engine's, and what asked for it: a decision of its own, or a person."""

    at: datetime
    payment_method_id: str | None
    outcome: Outcome
    decline_code: str | None
    requested_by: str | None
    decision_id: int | None


_CHARGE = Reader(Charge)


def last_charge(connection: Connection, case_id: str) -> Charge | None:
    """The newest charge of a case that the engine made."""
    statement = (
        select(
            attempts.c.at,
            attempts.c.payment_method_id,
            attempts.c.outcome,
            attempts.c.decline_code,
            actions.c.requested_by,
            actions.c.decision_id,
        )
        .select_from(attempts.outerjoin(actions, actions.c.id == attempts.c.action_id))
        .where(attempts.c.case_id == case_id, ~attempts.c.abandoned)
        .where(attempts.c.action_id.is_not(None))  # the engine's own
        .order_by(attempts.c.at.desc(), attempts.c.id.desc())
    )
    return _CHARGE.first(connection.execute(statement.limit(1)))


def get(connection: Connection, decision_id: int) -> DecisionRow | None:
    """One decision."""
    statement = select(*_COLUMNS).where(decisions.c.id == decision_id)
    return _READER.first(connection.execute(statement))


def last(connection: Connection, case_id: str) -> DecisionRow | None:
    """The newest decision of a case."""
    statement = select(*_COLUMNS).where(decisions.c.case_id == case_id)
    newest = statement.order_by(decisions.c.id.desc()).limit(1)
    return _READER.first(connection.execute(newest))


def of_case(connection: Connection, case_id: str) -> list[DecisionRow]:
    """All decisions of a case, oldest first."""
    statement = select(*_COLUMNS).where(decisions.c.case_id == case_id)
    return _READER.all(connection.execute(statement.order_by(decisions.c.id)))


def hash_of(inputs: Mapping[str, Any]) -> str:
    """A short name for what a decision was made from."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in values.items()}
