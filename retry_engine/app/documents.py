"""Cases, attempts, decisions and reviews as documents: the same for the CLI and for `/api`."""

from datetime import datetime

from sqlalchemy import Connection

from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.offers import OfferState
from retry_engine.domain.vocabulary import ReviewState
from retry_engine.recovery import case_document
from retry_engine.recovery.case_document import Document
from retry_engine.store import (
    attempts,
    decisions,
    engine_state,
    messages,
    offers,
    overrides,
    reviews,
)
from retry_engine.store import cases as rows
from retry_engine.store.attempts import AttemptRow
from retry_engine.store.cases import Case, TransitionRow
from retry_engine.store.decisions import DecisionRow
from retry_engine.store.engine_state import ActRow, EngineState
from retry_engine.store.messages import MessageOfCase
from retry_engine.store.overrides import OverrideRow
from retry_engine.store.reviews import Review

_LIMIT = 200

# one case, as in a list; and a time, RFC 3339 in UTC
case, text = case_document.one, case_document.text


def list_cases(
    connection: Connection,
    *,
    state: str | None,
    customer: str | None,
    limit: int,
    cursor: str | None,
    real_now: datetime,
) -> Document:
    """One page of cases, newest first."""
    if state is not None and state not in set(CaseState):
        raise BadRequest(f"unknown state {state!r}; expected one of {', '.join(CaseState)}")
    _check_limit(limit)
    found, next_cursor = rows.page(
        connection, state=state, customer_id=customer, limit=limit, cursor=cursor
    )
    return _page(case_document.many(connection, found, real_now), next_cursor)


def list_reviews(
    connection: Connection,
    *,
    state: str | None,
    limit: int,
    cursor: str | None,
    real_now: datetime,
) -> Document:
    """One page of reviews, oldest first."""
    states = ("open", "approved", "rejected", "withdrawn")
    if state is not None and state not in states:
        raise BadRequest(f"unknown state {state!r}; expected one of {', '.join(states)}")
    _check_limit(limit)
    found, next_cursor = reviews.page(connection, state=state, limit=limit, cursor=cursor)
    times = rows.times_of(connection, [r.case_id for r in found], real_now)
    return _page([review(r, now=times[r.case_id]) for r in found], next_cursor)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= _LIMIT:
        raise BadRequest(f"limit is {limit}; expected 1 to {_LIMIT}")


def _page(data: list[Document], next_cursor: str | None) -> Document:
    return {"data": data, "has_more": next_cursor is not None, "next_cursor": next_cursor}


def whole_case(connection: Connection, case_: Case, real_now: datetime) -> Document:
    """One case with everything that happened to it, oldest first."""
    return {
        **case(connection, case_, real_now),
        "attempts": [
            _attempt(number, row)
            for number, row in enumerate(attempts.of_case(connection, case_.id), start=1)
        ],
        "decisions": decisions_of(connection, case_),
        "messages": [_message(row) for row in messages.of_case(connection, case_.id)],
        "offers": offers_of(connection, case_),
        "changes": [
            {
                "at": text(change.at),
                "kind": change.kind,
                "until": text(change.until),
                "worth": change.amount,
                "currency": change.currency,
                "state": change.state,
                "error": change.error,
            }
            for change in offers.changes_of_case(connection, case_.id)
        ],
        "overrides": [_override(row) for row in overrides.of_case(connection, case_.id)],
        "transitions": [_transition(t) for t in rows.transitions(connection, case_.id)],
    }


# The contract knows three.
_OFFER_STATES = {
    OfferState.OPEN: "open",
    OfferState.TAKING: "taken",
    OfferState.TAKEN: "taken",
    OfferState.ENDING: "taken",
}


def offers_of(connection: Connection, case: Case) -> list[Document]:
    """What was offered about the case."""
    found = offers.of_case(connection, case.id)
    if found is None:
        return []
    return [
        {
            "at": text(found.at),
            "amount": found.amount,
            "currency": found.currency,
            "state": _OFFER_STATES.get(found.state, "expired"),
            "detail": found.state,
            "until": text(found.until),
            "taken_at": text(found.taken_at),
            "pay_until": text(found.pay_until),
            "way": found.way,
            "given_as": found.given_as,
            "error": found.error,
        }
    ]


def _message(row: MessageOfCase) -> Document:
    return {
        "at": text(row.at),
        "kind": row.kind,
        "channel": row.channel,
        "language": row.language,
        "state": row.state,
        "error": row.error,
        "letter_of": row.letter_of,
        "visited_at": text(row.visited_at),
    }


def _attempt(number: int, row: AttemptRow) -> Document:
    return {
        "number": number,
        "at": text(row.at),
        "payment_method": row.payment_method_id,
        "source": row.source,
        "outcome": row.outcome,
        "decline_code": row.decline_code,
        "advice_code": row.advice_code,
        "network_advice_code": row.network_advice_code,
        "network_decline_code": row.network_decline_code,
        "idempotency_key": row.idempotency_key,
        "charge": row.charge_id,
        "amount": row.amount,
        "currency": row.currency,
    }


def decisions_of(connection: Connection, case: Case) -> list[Document]:
    """The case's decisions, oldest first."""
    return [decision(row) for row in decisions.of_case(connection, case.id)]


def decision(row: DecisionRow) -> Document:
    """One decision with its explanation."""
    return {
        "at": text(row.at),
        "kind": row.kind,
        "retry_at": text(row.retry_at),
        "payment_method": row.payment_method_id,
        "success_probability": row.success_probability,
        "expected_value": row.expected_value,
        "propensity": row.propensity,
        "policy_version": row.policy_version,
        "model_version": row.model_version,
        "carried_out": row.carried_out,
        "message_at": text(row.message_at),
        "discount": row.discount,
        "explanation": row.reasons,
        "candidates": row.candidates,
        "inputs_hash": row.inputs_hash,
    }


def _override(row: OverrideRow) -> Document:
    return {
        "at": text(row.at),
        "by": row.by,
        "action": row.action,
        "reason": row.reason,
        "before": row.before,
        "after": row.after,
    }


def _transition(row: TransitionRow) -> Document:
    return {
        "at": text(row.at),
        "name": row.name,
        "from": row.from_state,
        "to": row.to_state,
        "cause": row.cause,
        "by": row.by,
    }


def engine(state: EngineState) -> Document:
    """The switch as somebody set it."""
    return {
        "paused": state.paused,
        "reason": state.reason,
        "by": state.by,
        "at": text(state.at),
    }


def engine_log(connection: Connection, *, limit: int, cursor: str | None) -> Document:
    """The switch as it stands, and one page of who turned it before, newest first."""
    _check_limit(limit)
    found, next_cursor = engine_state.acts_page(connection, limit=limit, cursor=cursor)
    page = _page([_act(row) for row in found], next_cursor)
    return {**engine(engine_state.read(connection)), **page}


def _act(row: ActRow) -> Document:
    names = ("by", "action", "subject", "reason", "before", "after")
    return {"at": text(row.at), **{name: getattr(row, name) for name in names}}


def review(review: Review, *, now: datetime) -> Document:
    """One review; `now` is its case's."""
    return {
        "id": review.id,
        "case": review.case_id,
        "reason": review.reason,
        "reasons": [r["text"] for r in review.reasons],
        "amount": review.amount,
        "currency": review.currency,
        "opened_at": text(review.opened_at),
        "deadline_at": text(review.deadline_at),
        "overdue": review.state is ReviewState.OPEN and review.deadline_at <= now,
        "proposal": review.proposal,
        "state": review.state,
        "decided_at": text(review.decided_at),
        "decided_by": review.decided_by,
        "verdict_reason": review.verdict_reason,
    }
