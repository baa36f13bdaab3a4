"""When money comes to a customer, and how long it lasts: learnt from when charges found money.

Each customer is on one of `CYCLES`, or on none, and their money lasts a shorter or a longer while
(`DEPTHS`). Their retries, and the days on which accounts were found empty, move the belief:

    P(cycle, depth | record) ~ share of the cycle in the country * share of the depth
                               * product of P(outcome | cycle, depth)

`P(outcome | cycle, depth)` depends on the days since the cycle's last payday where that lies after
the decline, else on the days since the decline; and on what the decline was, for a bank that gives
no reason may well hide an empty account. Outcomes are money, an empty account, or no reason given.
Shares and chances are learnt together by expectation maximisation (`learn`); the documented mixes
and chances are where it starts, and count as some customers and attempts of their own.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning import paydays
from retry_engine.domain import codes
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.codes import Category
from retry_engine.domain.timezones import zone_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DAY = 86_400.0

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

# How long money lasts: days in which the chance after a payday wears off, and the share at first.
DEPTHS = ("thin", "usual", "deep")
_LASTING = np.array([7.0, 22.0, 70.0])
_FIRST_DEPTHS = np.array([0.3, 0.4, 0.3])

# What the decline before the charge was; `fresh`: the method was not declined in the case.
EMPTY, OPAQUE, FRESH = 0, 1, 2
_KINDS = 3
# What came of it: money, or else a decline of one of these kinds.
_PAID, _WAS_EMPTY = 0, 1 + EMPTY
_OUTCOMES = 3
_OPAQUE_CATEGORIES = frozenset({Category.ISSUER_RISK, Category.UNKNOWN})

# Days, for the chances' bins: each from its edge to the next.
_EDGES = np.array([0.5, 1, 2, 3, 5, 7, 10, 14, 20])
_MIDDLES = np.array([0.25, 0.75, 1.5, 2.5, 4, 6, 8.5, 12, 17, 25])
_BINS = len(_MIDDLES)
# Places of the chances: money came since the decline (by days since), none came (by days since the
# decline), on no cycle (the same).
_SINCE, _WAITING, _FREE = 0, _BINS, 2 * _BINS
_PLACES = 3 * _BINS

_CUSTOMERS, _ATTEMPTS = 5.0, 6.0
# One balance is empty on the same day each month: first failures are worth less than retries.
_FIRST_FAILURE_WEIGHT = 0.25


def kind_of(code: str | None) -> int | None:
    """What a decline tells of the balance: `EMPTY`, `OPAQUE`, or None where it is about else."""
    if code == "insufficient_funds":
        return EMPTY
    return OPAQUE if codes.lookup(code).category in _OPAQUE_CATEGORIES else None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a customer's record tells: moments of charges, what came before them, and the outcome.

    `at`, `since` (n,): UTC epoch seconds of the charge and of the decline before it; `since` is
    nan for an empty account that opened a case. `kind` (n,): that decline's. `outcome` (n,): money,
    an empty account, or no reason given.
    """

    country: str
    zone: ZoneInfo
    at: Floats
    since: Floats
    kind: Ints
    outcome: Ints


def evidence(
    attempts: Iterable[Attempt], *, country: str | None, timezone: str | None, most: int = 40
) -> Evidence:
    """What a customer's attempts, oldest first and over all invoices, tell of their money."""
    last: dict[tuple[str, str | None], Attempt] = {}
    opened: dict[str, Attempt] = {}
    found: list[tuple[float, float, int, int]] = []
    for attempt in attempts:
        key = attempt.invoice_id, attempt.payment_method_id
        opening, before = opened.get(attempt.invoice_id), last.get(key)
        told = _told(attempt)
        at = attempt.at.timestamp()
        if opening is None:
            opened[attempt.invoice_id] = attempt
            if told == _WAS_EMPTY:
                found.append((at, np.nan, EMPTY, told))
        elif told is not None and attempt.source is not Source.CUSTOMER:
            kind = FRESH if before is None else kind_of(before.decline_code)
            if kind is not None:
                found.append((at, (before or opening).at.timestamp(), kind, told))
        last[key] = attempt
    found = found[-most:]
    return Evidence(
        country=(country or "").upper(),
        zone=zone_of(timezone, country),
        at=np.array([f[0] for f in found]),
        since=np.array([f[1] for f in found]),
        kind=np.array([f[2] for f in found], dtype=np.int64),
        outcome=np.array([f[3] for f in found], dtype=np.int64),
    )


def _told(attempt: Attempt) -> int | None:
    if attempt.outcome is Outcome.SUCCEEDED:
        return _PAID
    kind = kind_of(attempt.decline_code) if attempt.outcome is Outcome.FAILED else None
    return None if kind is None else 1 + kind


def _first_chances() -> Floats:
    """Where learning starts, (depths, kinds, places, outcomes): paydays tell most of the empty."""
    paid = np.empty((len(DEPTHS), _KINDS, _PLACES))
    worn = np.exp(-_MIDDLES / _LASTING[:, None])
    waiting = np.array([0.7, 1.0, 1.3])[:, None] * (0.13 + 0.012 * np.minimum(_MIDDLES, 12.0))
    paid[:, EMPTY, _SINCE:_WAITING] = 0.72 * worn + 0.06
    paid[:, EMPTY, _WAITING:_FREE] = waiting
    paid[:, EMPTY, _FREE:] = 1.5 * waiting
    mending = 0.05 + 0.29 * (1.0 - np.exp(-_MIDDLES / 3.0))
    paid[:, OPAQUE, _SINCE:_WAITING] = 0.2 + 0.2 * worn
    paid[:, OPAQUE, _WAITING:] = np.concatenate([mending, mending])
    paid[:, FRESH] = 0.5
    paid[:, FRESH, _SINCE:_WAITING] = 0.4 + 0.2 * worn
    empty = np.array([0.85, 0.15, 0.6])[:, None]
    return np.stack([paid, (1.0 - paid) * empty, (1.0 - paid) * (1.0 - empty)], axis=-1)


def _first_odds() -> Floats:
    """Where learning starts, (depths, bins and one for no cycle)."""
    worn = 1.0 - np.exp(-_MIDDLES / (_LASTING[:, None] / 2.4))
    return np.concatenate([(0.06 + 0.30 * worn) / 0.2, np.ones((len(DEPTHS), 1))], axis=1)


@dataclass(frozen=True, slots=True)
class PayCycles:
    """Shares of the cycles by country and of the depths, chances and odds; immutable.

    `chances` (depths, kinds, places, outcomes); `odds` (depths, bins + 1) of an account found empty
    at first so long after a payday, against any time at all.
    """

    mixes: Mapping[str, Floats] = field(default_factory=dict)
    depths: Floats = field(default_factory=_FIRST_DEPTHS.copy)
    chances: Floats = field(default_factory=_first_chances)
    odds: Floats = field(default_factory=_first_odds)

    def mix(self, country: str) -> Floats:
        """Shares of the cycles among a country's customers, (cycles,), which add up to 1."""
        known = self.mixes.get(country)
        return _first_mix(country) if known is None else known

    def belief(self, told: Evidence) -> Floats:
        """Share of belief in each cycle and depth, (cycles, depths), given a customer's record."""
        before = self.mix(told.country)[:, None] * self.depths
        if not told.at.size:
            return before
        index = _index(told)
        score = np.log(before) + _logs(index, self.chances, self.odds).sum(axis=1).T
        weight = np.exp(score - score.max())
        belief: Floats = weight / weight.sum()
        return belief

    def chance(self, belief: Floats, kind: int, since: Floats, waited: Floats) -> Floats:
        """Chance that a charge finds money, (n,).

        `belief` (cycles, depths); `kind` of the decline before it; `since` (n, cycles) days since
        the last payday, `waited` (n,) days since the decline.
        """
        table = belief @ self.chances[:, kind, :, _PAID]
        places = _places(since, waited) + _PLACES * np.arange(len(CYCLES))
        return np.asarray(table.ravel()[places].sum(axis=1))


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


def _places(since: Floats, waited: Floats) -> Ints:
    """Which chance applies, per moment and cycle."""
    waiting = np.searchsorted(_EDGES, waited, side="right")
    index = np.where(
        since < waited[:, None],
        _SINCE + np.searchsorted(_EDGES, since, side="right"),
        (_WAITING + waiting)[:, None],
    )
    index[:, _NONE] = _FREE + waiting
    return index


@dataclass(frozen=True, slots=True)
class _Index:
    """Where evidence points: retries into the chances (flat), first failures into the odds."""

    cells: Ints
    bins: Ints
    opening: npt.NDArray[np.bool_]


def _index(told: Evidence) -> _Index:
    since = days_since_payday(told.country, told.zone, told.at)
    opening = np.isnan(told.since)
    waited = np.where(opening, 0.0, told.at - told.since) / _DAY
    places = _places(since, waited)
    cells = (told.kind[:, None] * _PLACES + places) * _OUTCOMES + told.outcome[:, None]
    bins = np.searchsorted(_EDGES, since, side="right")
    bins[:, _NONE] = _BINS
    return _Index(cells, bins, opening)


def _logs(index: _Index, chances: Floats, odds: Floats) -> Floats:
    """Log likelihood of each piece of evidence, (depths, n, cycles)."""
    retried = np.log(chances).reshape(len(DEPTHS), -1)[:, index.cells]
    opened = _FIRST_FAILURE_WEIGHT * np.log(odds)[:, index.bins]
    return np.where(index.opening[:, None], opened, retried)


# -- where learning starts


@lru_cache(maxsize=256)
def _first_mix(country: str) -> Floats:
    documented = paydays.mix_of(country or None)
    even = (1.0 - _DOCUMENTED) / len(CYCLES)
    return np.array([even + _DOCUMENTED * documented.get(cycle, 0.0) for cycle in CYCLES])


# -- learning


def learn(customers: Sequence[Evidence], *, rounds: int = 12) -> PayCycles:
    """Shares and chances as those customers' records move the documented ones.

    Expectation maximisation (Dempster, Laird and Rubin 1977) over a latent cycle and depth per
    customer, for a fixed number of rounds; without any record what is documented comes back.
    """
    told = [c for c in customers if c.at.size]
    if not told:
        return PayCycles()
    parts = [_index(c) for c in told]
    index = _Index(
        np.concatenate([p.cells for p in parts]),
        np.concatenate([p.bins for p in parts]),
        np.concatenate([p.opening for p in parts]),
    )
    owner = np.repeat(np.arange(len(told)), [c.at.size for c in told])
    countries: dict[str, list[int]] = defaultdict(list)
    for number, customer in enumerate(told):
        countries[customer.country].append(number)
    starts = np.concatenate([[0], np.cumsum([c.at.size for c in told])[:-1]])
    depths, chances, odds = _FIRST_DEPTHS, _first_chances(), _first_odds()
    mixes = {country: _first_mix(country) for country in countries}
    for _ in range(rounds):
        score = np.add.reduceat(_logs(index, chances, odds), starts, axis=1)
        score += np.log(depths)[:, None, None]
        for country, members in countries.items():
            score[:, members] += np.log(mixes[country])
        belief = np.exp(score - score.max(axis=(0, 2), keepdims=True))
        belief /= belief.sum(axis=(0, 2), keepdims=True)
        for country, members in countries.items():
            total = _CUSTOMERS * _first_mix(country) + belief[:, members].sum(axis=(0, 1))
            mixes[country] = total / total.sum()
        total = _CUSTOMERS * _FIRST_DEPTHS + belief.sum(axis=(1, 2))
        depths = total / total.sum()
        weight = belief[:, owner]
        chances = _new_chances(index, weight)
        odds = _new_odds(index, weight)
    return PayCycles(mixes, depths, chances, odds)


def _new_chances(index: _Index, weight: Floats) -> Floats:
    first = _first_chances()
    cells = index.cells[~index.opening].ravel()
    size = first[0].size
    seen = np.stack(
        [np.bincount(cells, w[~index.opening].ravel(), minlength=size) for w in weight]
    ).reshape(first.shape)
    found = (seen + _ATTEMPTS * first) / (seen.sum(axis=-1, keepdims=True) + _ATTEMPTS)
    found = np.clip(found, 0.003, 0.985)
    return np.asarray(found / found.sum(axis=-1, keepdims=True))


def _new_odds(index: _Index, weight: Floats) -> Floats:
    """How often accounts are found empty so long after payday, against any time at all."""
    odds = _first_odds()
    cycles = slice(0, _NONE)
    bins = index.bins[index.opening][:, cycles].ravel()
    for depth, given in enumerate(weight):
        share = given[index.opening][:, cycles]
        seen = np.bincount(bins, share.ravel(), minlength=_BINS)[:_BINS]
        expected = share.sum(axis=0) @ _measure()[cycles]
        odds[depth, :_BINS] = (seen + _ATTEMPTS * odds[depth, :_BINS]) / (expected + _ATTEMPTS)
    return np.clip(odds, 0.05, 5.0)


@lru_cache(maxsize=1)
def _measure() -> Floats:
    """Share of all time in each bin of days since payday, (cycles, bins)."""
    at = np.arange(0, 365 * _DAY, _DAY / 8) + datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    bins = np.searchsorted(_EDGES, days_since_payday("", ZoneInfo("UTC"), at), side="right")
    return np.stack([np.bincount(bins[:, c], minlength=_BINS) for c in range(len(CYCLES))]) / len(
        at
    )
