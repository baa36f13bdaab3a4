"""Times as people write them."""

from datetime import UTC, datetime

from retry_engine.domain.errors import BadRequest


def moment(text: str, *, of: str) -> datetime:
    """A time with its zone, or the beginning of a day in UTC.

    >>> moment("2026-01-31", of="since").isoformat()
    '2026-01-31T00:00:00+00:00'

    Raises:
        BadRequest: it is neither; `of` names what was asked.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is None and len(text) == len("2026-01-31"):
        return at.replace(tzinfo=UTC)
    if at is None or at.tzinfo is None:
        raise BadRequest(
            f"{of} is {text[:50]!r}; expected a day such as 2026-01-31, or RFC 3339 with a zone"
        )
    try:
        return at.astimezone(UTC)
    except OverflowError:  # at the ends of the calendar
        raise BadRequest(f"{of} is {text[:50]!r}; expected a time of our era") from None
