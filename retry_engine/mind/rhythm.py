"""When money comes to a customer: a mixture of pay cycles, learnt from when charges found money.

Each customer is on one of `CYCLES`, or on none. Their retries after an empty account, and the days
on which accounts were found empty, move the belief about which one:

    P(cycle | record) ~ share of the cycle in the country * product of P(outcome | cycle)

`P(outcome | cycle)` depends on the days since the cycle's last payday where that lies after the
decline, else on the days since the decline. Shares and chances are learnt together by expectation
maximisation (`learn`); the documented mixes and chances are where it starts, and count as some
customers and attempts of their own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.mind import paydays

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DAY = 86_400.0
_EMPTY = "insufficient_funds"

CYCLES = (
    *(f"month:{day}" for day in range(1, 29)),
    "month:last",
    "halves",
    *(f"week:{day}" for day in range(5)),
    *(f"fortnight:{day}:{parity}" for day in range(5) for parity in (0, 1)),
    "none",
)
_NONE = len(CYCLES) - 1
# The documented mix has this share of what is believed at first; the rest is spread evenly.
_DOCUMENTED = 0.75

# Days, for the chances' bins: each from its edge to the next.
_EDGES = np.array([0.5, 1, 2, 3, 5, 7, 10, 14, 20])
_MIDDLES = np.array([0.25, 0.75, 1.5, 2.5, 4, 6, 8.5, 12, 17, 25])
_BINS = len(_MIDDLES)
# Cells of the chances: paid since the decline (by days since), not paid since (by days since the
# decline), on no cycle (the same); and of an opening failure's odds, by days since payday.
_PAID, _UNPAID, _FREE, _OPENED = 0, _BINS, 2 * _BINS, 3 * _BINS

_CUSTOMERS, _ATTEMPTS = 40.0, 20.0
# One purse fails on the same day month after month: openings are worth less than as many retries.
_OPENING_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a customer's record tells: moments of charges, what came before them, and the outcome.

    `at`, `since` (n,): UTC epoch seconds of the charge and of the decline before it; `since` is
    nan for the failure that opened a case. `paid` (n,): whether it found money.
    """

    country: str
    zone: ZoneInfo
    at: Floats
    since: Floats
    paid: npt.NDArray[np.bool_]


def evidence(
    attempts: Iterable[Attempt], *, country: str | None, timezone: str | None, most: int = 40
) -> Evidence:
    """What a customer's attempts, oldest first and over all invoices, tell of their money."""
    last: dict[tuple[str, str | None], Attempt] = {}
    seen: set[str] = set()
    found: list[tuple[float, float, bool]] = []
    for attempt in attempts:
        key = attempt.invoice_id, attempt.payment_method_id
        before = last.get(key)
        empty = attempt.decline_code == _EMPTY
        paid = attempt.outcome is Outcome.SUCCEEDED
        if attempt.invoice_id not in seen and empty:
            found.append((attempt.at.timestamp(), np.nan, False))
        elif (
            before is not None
            and before.decline_code == _EMPTY
            and (empty or paid)
            and attempt.source is not Source.CUSTOMER
        ):
            found.append((attempt.at.timestamp(), before.at.timestamp(), paid))
        seen.add(attempt.invoice_id)
        last[key] = attempt
    found = found[-most:]
    return Evidence(
        country=(country or "").upper(),
        zone=paydays.zone_of(timezone, country),
        at=np.array([f[0] for f in found]),
        since=np.array([f[1] for f in found]),
        paid=np.array([f[2] for f in found], dtype=bool),
    )


def _first_cells() -> Floats:
    paid = 0.72 * np.exp(-_MIDDLES / 22.0) + 0.06
    waiting = 0.13 + 0.012 * np.minimum(_MIDDLES, 12.0)
    opened = 0.06 + 0.30 * (1.0 - np.exp(-_MIDDLES / 9.0))
    return np.concatenate([paid, waiting, waiting * 1.5, opened / 0.2, [1.0]])


@dataclass(frozen=True, slots=True)
class Rhythms:
    """Shares of the cycles by country, and the chances and odds per cell; immutable."""

    mixes: Mapping[str, Floats] = field(default_factory=dict)
    cells: Floats = field(default_factory=_first_cells)

    def mix(self, country: str) -> Floats:
        """Shares of the cycles among a country's customers."""
        known = self.mixes.get(country)
        return _first_mix(country) if known is None else known

    def belief(self, told: Evidence) -> Floats:
        """Share of belief in each cycle, given a customer's record."""
        mix = self.mix(told.country)
        if not told.at.size:
            return mix
        score = np.log(mix) + _log_likelihoods(told, self.cells).sum(axis=0)
        weight = np.exp(score - score.max())
        belief: Floats = weight / weight.sum()
        return belief

    def chance(self, since: Floats, waited: Floats) -> Floats:
        """Chance that a charge finds money, per moment and cycle.

        `since` (n, cycles) days since the last payday, `waited` (n,) days since the decline.
        """
        return self.cells[_cells(since, waited)]


def days_since_payday(country: str, zone: ZoneInfo, at: Floats) -> Floats:
    """Days since each cycle's last payday, (n, cycles), by the clock on the customer's wall."""
    local = at + _offsets(zone, at)
    # wages are there from that hour on
    shifted = local / _DAY - paydays.PAID_BY_HOUR / 24.0
    day = np.floor(shifted).astype(np.int64)
    first = int(day.min())
    table = _last_paydays(country, first, int(day.max()))
    return np.asarray(shifted[:, None] - table[day - first])


def _offsets(zone: ZoneInfo, at: Floats) -> Floats | float:
    first, last = _offset(zone, float(at.min())), _offset(zone, float(at.max()))
    if first == last and at.max() - at.min() < 60 * _DAY:
        return first
    return np.array([_offset(zone, float(moment)) for moment in at])


def _offset(zone: ZoneInfo, at: float) -> float:
    offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    return offset.total_seconds() if offset else 0.0


def _last_paydays(country: str, first: int, last: int) -> Floats:
    """Per day (epoch days) and cycle the last payday; `none` has one each day."""
    years = range(
        (date(1970, 1, 1) + timedelta(days=first)).year,
        (date(1970, 1, 1) + timedelta(days=last)).year + 1,
    )
    tables = [_year(country, year) for year in years]
    whole = tables[0] if len(tables) == 1 else np.concatenate(tables)
    begin = first - (date(years[0], 1, 1) - date(1970, 1, 1)).days
    return whole[begin : begin + last - first + 1]


@lru_cache(maxsize=1024)
def _year(country: str, year: int) -> Floats:
    begin = date(year, 1, 1) - timedelta(days=45)
    days = (date(year + 1, 1, 1) - begin).days
    start = (begin - date(1970, 1, 1)).days
    table = np.empty((days, len(CYCLES)))
    for column, cycle in enumerate(CYCLES[:-1]):
        paid = np.full(days, -1, dtype=np.int64)
        for day in paydays.days_between(cycle, country, begin, date(year + 1, 1, 1)):
            paid[(day - begin).days] = (day - begin).days
        table[:, column] = np.maximum.accumulate(paid) + start
    table[:, _NONE] = np.arange(days) + start
    return table[45:]


def _cells(since: Floats, waited: Floats) -> Ints:
    """Which chance applies, per moment and cycle."""
    waiting = np.searchsorted(_EDGES, waited, side="right")
    index = np.where(
        since < waited[:, None],
        _PAID + np.searchsorted(_EDGES, since, side="right"),
        (_UNPAID + waiting)[:, None],
    )
    index[:, _NONE] = _FREE + waiting
    return index


def _cells_of(told: Evidence) -> Ints:
    since = days_since_payday(told.country, told.zone, told.at)
    opening = np.isnan(told.since)
    waited = np.where(opening, 0.0, told.at - told.since) / _DAY
    index = _cells(since, waited)
    opened = _OPENED + np.searchsorted(_EDGES, since, side="right")
    opened[:, _NONE] = _OPENED + _BINS
    return np.where(opening[:, None], opened, index)


def _log_likelihoods(told: Evidence, cells: Floats) -> Floats:
    index = _cells_of(told)
    opening = np.isnan(told.since)
    value = cells[index]
    chance = np.where(told.paid[:, None], value, 1.0 - value)
    return np.asarray(
        np.where(
            opening[:, None],
            _OPENING_WEIGHT * np.log(value),
            np.log(np.maximum(chance, 1e-9)),
        )
    )


# -- where learning starts


@lru_cache(maxsize=256)
def _first_mix(country: str) -> Floats:
    documented = paydays.mix_of(country or None)
    even = (1.0 - _DOCUMENTED) / len(CYCLES)
    return np.array([even + _DOCUMENTED * documented.get(cycle, 0.0) for cycle in CYCLES])


# -- learning


def learn(customers: Sequence[Evidence], *, rounds: int = 12) -> Rhythms:
    """Shares and chances as those customers' records move the documented ones."""
    told = [c for c in customers if c.at.size]
    if not told:
        return Rhythms()
    index = np.concatenate([_cells_of(c) for c in told])
    paid = np.concatenate([c.paid for c in told])
    opening = np.concatenate([np.isnan(c.since) for c in told])
    owner = np.repeat(np.arange(len(told)), [c.at.size for c in told])
    countries: dict[str, list[int]] = defaultdict(list)
    for number, customer in enumerate(told):
        countries[customer.country].append(number)
    starts = np.concatenate([[0], np.cumsum([c.at.size for c in told])[:-1]])
    cells = _first_cells()
    mixes = {country: _first_mix(country) for country in countries}
    for _ in range(rounds):
        value = cells[index]
        likely = np.where(paid[:, None], value, 1.0 - value)
        logs = np.where(
            opening[:, None], _OPENING_WEIGHT * np.log(value), np.log(np.maximum(likely, 1e-9))
        )
        score = np.add.reduceat(logs, starts, axis=0)
        for country, members in countries.items():
            score[members] += np.log(mixes[country])
        belief = np.exp(score - score.max(axis=1, keepdims=True))
        belief /= belief.sum(axis=1, keepdims=True)
        for country, members in countries.items():
            total = _CUSTOMERS * _first_mix(country) + belief[members].sum(axis=0)
            mixes[country] = total / total.sum()
        cells = _new_cells(index, belief[owner], paid, opening)
    return Rhythms(mixes, cells)


def _new_cells(
    index: Ints, weight: Floats, paid: npt.NDArray[np.bool_], opening: npt.NDArray[np.bool_]
) -> Floats:
    first = _first_cells()
    size = len(first)
    retried = ~opening
    total = np.bincount(index[retried].ravel(), weight[retried].ravel(), minlength=size)
    won = retried & paid
    wins = np.bincount(index[won].ravel(), weight[won].ravel(), minlength=size)
    cells = (wins + _ATTEMPTS * first) / (total + _ATTEMPTS)
    # how often accounts are found empty so long after payday, against any time at all
    cycles = slice(0, _NONE)
    seen = np.bincount(
        index[opening][:, cycles].ravel(), weight[opening][:, cycles].ravel(), minlength=size
    )[_OPENED : _OPENED + _BINS]
    expected = weight[opening][:, cycles].sum(axis=0) @ _measure()[cycles]
    cells[_OPENED : _OPENED + _BINS] = (seen + _ATTEMPTS * first[_OPENED : _OPENED + _BINS]) / (
        expected + _ATTEMPTS
    )
    cells[_OPENED + _BINS] = 1.0
    chances = np.clip(cells[:_OPENED], 0.003, 0.985)
    return np.concatenate([chances, np.clip(cells[_OPENED:], 0.05, 5.0)])


@lru_cache(maxsize=1)
def _measure() -> Floats:
    """Share of all time in each bin of days since payday, (cycles, bins)."""
    at = np.arange(0, 365 * _DAY, _DAY / 8) + datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    bins = np.searchsorted(_EDGES, days_since_payday("", ZoneInfo("UTC"), at), side="right")
    return np.stack([np.bincount(bins[:, c], minlength=_BINS) for c in range(len(CYCLES))]) / len(
        at
    )
