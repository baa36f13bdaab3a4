"""The review queue: what waits for a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NotRequired, TypedDict, Unpack

from sqlalchemy import Connection, func, select, tuple_, update

from retry_engine.domain.errors import BadRequest, NotFound
from retry_engine.domain.vocabulary import ReviewState
from retry_engine.store.tables import reviews
from retry_engine.store.typed_rows import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One question to a person. `proposal` is what is done when they approve.

    `reasons` are all that stood when it was asked, each {"text", "about"}; `about` names the
    dispute, warning or other subscription that it speaks of. `reason` is all of them in words.
    """

    id: str
    case_id: str
    reason: str
    reasons: Sequence[Mapping[str, str | None]]
    amount: int
    currency: str
    opened_at: datetime
    deadline_at: datetime
    proposal: Mapping[str, Any] | None
    state: ReviewState
    decided_at: datetime | None
    decided_by: str | None
    verdict_reason: str | None


class NewReview(TypedDict, total=False):
    """The columns of a review as it is asked."""

    id: str
    case_id: str
    reason: str
    reasons: Sequence[Mapping[str, str | None]]
    amount: int
    currency: str
    opened_at: datetime
    deadline_at: datetime
    proposal: Mapping[str, Any] | None


class Decided(TypedDict):
    """What a verdict writes; nobody decides what is withdrawn."""

    state: ReviewState
    decided_at: datetime
    decided_by: NotRequired[str]
    verdict_reason: str


_READER = Reader(Review)
_COLUMNS = _READER.columns(reviews)


def add(connection: Connection, **values: Unpack[NewReview]) -> None:
    """Open a review."""
    connection.execute(reviews.insert().values(**values))


def get(connection: Connection, review_id: str) -> Review:
    """By id.

    Raises:
        NotFound: there is no such review.
    """
    statement = select(*_COLUMNS).where(reviews.c.id == review_id)
    found = _READER.first(connection.execute(statement))
    if found is None:
        raise NotFound(f"no review {review_id!r}; `retry-engine reviews list` lists them")
    return found


def open_of(connection: Connection, case_id: str) -> Review | None:
    """The open review of a case."""
    statement = select(*_COLUMNS).where(
        reviews.c.case_id == case_id, reviews.c.state == ReviewState.OPEN
    )
    return _READER.first(connection.execute(statement))


def named_in(
    connection: Connection, case_id: str, *, state: ReviewState, by: str | None = None
) -> set[str]:
    """What the case's reviews in that state spoke of: disputes, warnings, other subscriptions.

    `by`: only those that were decided so by that one.
    """
    statement = select(reviews.c.reasons).where(
        reviews.c.case_id == case_id, reviews.c.state == state
    )
    if by is not None:
        statement = statement.where(reviews.c.decided_by == by)
    found = connection.execute(statement).scalars()
    return {r["about"] for reasons in found for r in reasons if r.get("about")}


def approved_offer(connection: Connection, case_id: str) -> int:
    """The largest discount of the case that a person has approved, minor units."""
    statement = select(reviews.c.proposal).where(
        reviews.c.case_id == case_id, reviews.c.state == ReviewState.APPROVED
    )
    proposals = [dict(found or {}) for found in connection.execute(statement).scalars()]
    return max((int(p.get("discount", 0)) for p in proposals), default=0)


def decide(connection: Connection, review_id: str, **values: Unpack[Decided]) -> None:
    """Write the verdict."""
    connection.execute(
        update(reviews)
        .where(reviews.c.id == review_id, reviews.c.state == ReviewState.OPEN)
        .values(**values)
    )


def page(
    connection: Connection, *, state: str | None, limit: int, cursor: str | None
) -> tuple[list[Review], str | None]:
    """Oldest first: who has waited longest comes first."""
    statement = select(*_COLUMNS).order_by(reviews.c.opened_at, reviews.c.id)
    if state is not None:
        statement = statement.where(reviews.c.state == state)
    if cursor is not None:
        try:
            after = get(connection, cursor)
        except NotFound:
            raise BadRequest(f"unknown cursor {cursor!r}; expected an earlier page's") from None
        statement = statement.where(
            tuple_(reviews.c.opened_at, reviews.c.id) > tuple_(after.opened_at, after.id)
        )
    rows = _READER.all(connection.execute(statement.limit(limit + 1)))
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


def open_count(connection: Connection) -> int:
    """How many wait."""
    return int(
        connection.execute(
            select(func.count()).select_from(reviews).where(reviews.c.state == ReviewState.OPEN)
        ).scalar_one()
    )
