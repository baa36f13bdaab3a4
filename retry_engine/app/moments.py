"""Moments that people name, on a case's own clock."""

from datetime import datetime, timedelta

from retry_engine.app.documents import text
from retry_engine.domain.errors import BadRequest

# A time this much in the past was meant as now: clocks differ, and people take a moment.
_JUST_NOW = timedelta(minutes=5)


def to_come(at: datetime, now: datetime) -> datetime:
    """That moment; one that has only just passed is now.

    Raises:
        BadRequest: it is past.
    """
    if at < now - _JUST_NOW:
        raise BadRequest(
            f"{text(at)} is past; expected a time from {text(now)} on, the case's own now"
        )
    return max(at, now)


def with_zone(at: datetime) -> datetime:
    """That moment.

    Raises:
        BadRequest: it says nothing of its zone.
    """
    if at.tzinfo is None:
        raise BadRequest("the time has no zone; expected RFC 3339, such as 2026-03-01T09:00:00Z")
    return at
