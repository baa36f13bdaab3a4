"""When people are paid: by country a mix of pay cycles, and each cycle's days in local time.

The shares are this engine's prior, put together from common knowledge of payrolls; nobody
publishes them. They are only where the belief about one customer starts: each of their payments
and failures moves it (see `prior`).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

# Wages are on the account by this local hour.
PAID_BY_HOUR = 9

# cycle -> share of earners; shares of a country add up to 1
_DEFAULT: Mapping[str, float] = {
    "month:1": 0.17, "month:15": 0.13, "month:25": 0.20, "month:28": 0.12, "month:last": 0.30,
    "fortnight:4:0": 0.04, "fortnight:4:1": 0.04,
}  # fmt: skip
_MIXES: Mapping[str, Mapping[str, float]] = {
    "US": {
        "fortnight:4:0": 0.24, "fortnight:4:1": 0.24, "halves": 0.24, "week:4": 0.12,
        "month:last": 0.09, "month:1": 0.07,
    },
    "GB": {
        "month:last": 0.42, "month:28": 0.18, "month:25": 0.14, "month:15": 0.06, "month:1": 0.06,
        "week:4": 0.14,
    },
    "DE": {
        "month:last": 0.40, "month:1": 0.22, "month:15": 0.16, "month:25": 0.12, "month:28": 0.1,
    },
    "FR": {"month:last": 0.40, "month:28": 0.25, "month:25": 0.10, "month:1": 0.15, "month:5": 0.1},
    "NL": {"month:25": 0.50, "month:last": 0.20, "month:23": 0.15, "fortnight:4:0": 0.08,
           "fortnight:4:1": 0.07},
    "BR": {
        "month:5": 0.45, "month:1": 0.20, "month:15": 0.10, "month:20": 0.10, "month:last": 0.15,
    },
    "JP": {"month:25": 0.65, "month:last": 0.15, "month:15": 0.10, "month:20": 0.10},
    "IN": {"month:1": 0.40, "month:last": 0.35, "month:7": 0.25},
    "AU": {
        "fortnight:3:0": 0.30, "fortnight:3:1": 0.30, "week:3": 0.20, "month:15": 0.15,
        "month:last": 0.05,
    },
}  # fmt: skip
_LIKE = {"CA": "US", "NZ": "AU", "IE": "GB", "AT": "DE", "CH": "DE", "BE": "FR", "LU": "FR"}


def mix_of(country: str | None) -> Mapping[str, float]:
    """Pay cycles of a country with their shares."""
    code = (country or "").upper()
    return _MIXES.get(_LIKE.get(code, code), _DEFAULT)


def is_day_off(country: str | None, day: date) -> bool:
    """A weekend or a public holiday."""
    return day.weekday() >= 5 or day in _holidays(country, day.year)


def paydays(
    cycle: str, country: str | None, zone: ZoneInfo, *, start: datetime, end: datetime
) -> npt.NDArray[np.float64]:
    """The cycle's paydays from 45 days before `start` to `end`, (n,): UTC epoch seconds."""
    first = start.date() - timedelta(days=45)
    months = tuple(_months(first, end.date() + timedelta(days=2)))
    found = [_payday_seconds(cycle, country, zone, year, month) for year, month in months]
    return np.concatenate(found)


@lru_cache(maxsize=4096)
def _payday_seconds(
    cycle: str, country: str | None, zone: ZoneInfo, year: int, month: int
) -> npt.NDArray[np.float64]:
    days = sorted(_days(cycle, country, year, month))
    at = [datetime(d.year, d.month, d.day, PAID_BY_HOUR, tzinfo=zone) for d in days]
    return np.array([a.astimezone(UTC).timestamp() for a in at], dtype=np.float64)


def days_between(cycle: str, country: str | None, first: date, end: date) -> Iterator[date]:
    """The cycle's paydays, by the calendar, from `first` to the day before `end`."""
    for year, month in _months(first, end):
        yield from (day for day in _days(cycle, country, year, month) if first <= day < end)


def _days(cycle: str, country: str | None, year: int, month: int) -> Iterator[date]:
    kind, *rest = cycle.split(":")
    if kind == "month":
        yield _monthly(rest[0], country, year, month)
    elif kind == "halves":
        yield _monthly("1", country, year, month)
        yield _monthly("15", country, year, month)
    else:
        weekday, parity = int(rest[0]), int(rest[1]) if kind == "fortnight" else None
        for day in _days_of(year, month):
            if day.weekday() == weekday and parity in (None, (day.toordinal() // 7) % 2):
                yield day


def _monthly(which: str, country: str | None, year: int, month: int) -> date:
    """That day of the month, or the business day before it."""
    last = (date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)).day
    day = date(year, month, last if which == "last" else min(int(which), last))
    while day.weekday() >= 5 or day in _holidays(country, day.year):
        day -= timedelta(days=1)
    return day


@cache
def _holidays(country: str | None, year: int) -> frozenset[date]:
    import holidays  # noqa: PLC0415  # 0.2 s that only a deciding process needs

    try:
        return frozenset(holidays.country_holidays((country or "").upper(), years=year))
    except (NotImplementedError, KeyError):
        return frozenset()


def _months(first: date, last: date) -> Iterator[tuple[int, int]]:
    year, month = first.year, first.month
    while (year, month) <= (last.year, last.month):
        yield year, month
        year, month = year + month // 12, month % 12 + 1


def _days_of(year: int, month: int) -> Iterator[date]:
    bounds = pairwise([date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)])
    for first, after in bounds:
        for number in range((after - first).days):
            yield first + timedelta(days=number)
