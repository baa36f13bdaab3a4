"""What the host application may answer, and when it is told again what it did not take."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# By real time, whatever clock its case lives on.
TRIED_FOR = timedelta(days=3)
_FIRST_GAP, _LONGEST_GAP = timedelta(seconds=1), timedelta(hours=6)
# While nobody answers at all, a few are tried, this far apart; the others wait for their turn.
_FIRST_SILENCE, _LONGEST_SILENCE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one event's call. `is_silent`: nobody answered, or too late."""

    error: str | None
    is_silent: bool = False


def next_try(*, since: datetime, tries: int, now: datetime) -> datetime | None:
    """After that many tries; the last is at the end of the three days, and then None."""
    end = since + TRIED_FOR
    if now >= end:
        return None
    return min(now + _doubled(_FIRST_GAP, tries - 1, _LONGEST_GAP), end)


def opens_at(*, silences: int, now: datetime) -> datetime:
    """When the receiver is asked again that has not answered so often before."""
    return now + _doubled(_FIRST_SILENCE, silences, _LONGEST_SILENCE)


def _doubled(first: timedelta, times: int, longest: timedelta) -> timedelta:
    return min(first * (1 << min(times, 20)), longest)
