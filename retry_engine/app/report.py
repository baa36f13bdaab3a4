"""The report: what was recovered of what failed. One definition for terminal, files and `/api`.

A rate is of the cases that are over: an open one is in neither of its sides. What the engine did is
told of the cases in takeover; those that it only watched (shadow) or left to Stripe (holdout) stand
apart. Whoever brought the money, a paid invoice counts as recovered.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

from sqlalchemy import Connection

from retry_engine.app.documents import text
from retry_engine.domain import money
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.lift import FEWEST, Arm, Stratum, lift
from retry_engine.domain.policy import Report as ReportPolicy
from retry_engine.domain.vocabulary import CaseResult, Mode
from retry_engine.store import reporting
from retry_engine.store.database import Database
from retry_engine.store.reporting import AttemptNumber, Drawn, Group, Window

Document = dict[str, Any]
MATURES_AFTER = timedelta(days=30)
_ACCOUNT = re.compile(r"acct_[A-Za-z0-9_]+")
_APART = (Mode.SHADOW, Mode.HOLDOUT)
_MONEY = ("failed", "recovered", "cost", "discounts")
DENOMINATORS = {
    "rate": (
        "recovered of the cases that are over, which are recovered or lost (ended unpaid); open "
        "ones are in neither"
    ),
    "money": "of the cases that are over; failed is what was owed when they opened",
    "by.decline_code": "cases that are over, by the failure that opened them",
    "by.method": "cases that are over, by the method of the failure that opened them",
    "by.attempt": "cases that are over and had that attempt; the first is what opened them",
    "by.country": "cases that are over, by the customer's country",
    "recovered_through": "cases that were recovered",
    "lift": (
        "customers, each once, by their first case, 30 days after its opening, as they were drawn "
        f"and whoever brought the money; nothing is told below {FEWEST} recovered, and as many "
        "not, in the smaller arm"
    ),
    "cohorts": "all cases that opened in that month (UTC), open ones too",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """Reads the record, and changes nothing."""

    database: Database
    policy: ReportPolicy
    clock: Callable[[], datetime]

    def report(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        account: str | None = None,
    ) -> Document:
        """What came of the cases that opened in that time; of all accounts where none is named.

        Raises:
            BadRequest: the time ends before it begins, or that is no account.
        """
        if since is not None and until is not None and until <= since:
            raise BadRequest(f"until is {text(until)}; expected a time after since, {text(since)}")
        if account is not None and not _ACCOUNT.fullmatch(account):
            raise BadRequest(f"account is {account[:50]!r}; expected one of Stripe's, acct_…")
        window = Window(since=since, until=until, account=account)
        now = self.clock()
        with self.database.transaction() as connection:
            return self._report(connection, window, now)

    def _report(self, connection: Connection, window: Window, now: datetime) -> Document:
        found = reporting.groups(connection, window, now=now, matures_after=MATURES_AFTER)
        numbers = reporting.attempt_numbers(connection, window)
        drawn = reporting.drawn_customers(connection, window, now=now, matures_after=MATURES_AFTER)
        newest = reporting.last_opened(connection, window) or now
        own = [group for group in found if group.mode is Mode.TAKEOVER]
        return {
            "since": text(window.since),
            # a test clock may be ahead of the real one
            "until": text(window.until or max(now, newest.astimezone(UTC))),
            "account": window.account,
            **_figures(own),
            "total": _total(_money(own), self.policy),
            "lift": _lift(drawn),
            "by": _by(own, numbers),
            "recovered_through": _through(own),
            "cohorts": _cohorts(own),
            "apart": {m: _figures(g for g in found if g.mode is m) for m in _APART},
            "denominators": DENOMINATORS,
        }


def page(*, heading: str, sections: Sequence[Mapping[str, Any]]) -> str:
    """The report as a page that stands alone; each section has texts only."""
    from retry_engine import presentation  # noqa: PLC0415  # jinja2, for one format

    return presentation.report_page(heading=heading, sections=sections)


def _figures(groups: Iterable[Group]) -> Document:
    """The counts, the rate and the money of these."""
    groups = list(groups)
    counted = {result: _count(g for g in groups if g.result is result) for result in CaseResult}
    return {
        "cases": {"failed": _count(groups), **counted},
        "rate": _rate(counted[CaseResult.RECOVERED], _count(_over(groups))),
        "money": _money(groups),
    }


def _over(groups: Iterable[Group]) -> list[Group]:
    return [group for group in groups if group.result is not CaseResult.OPEN]


def _count(groups: Iterable[Group]) -> int:
    return sum(group.cases for group in groups)


def _recovered(groups: Iterable[Group]) -> int:
    return _count(group for group in groups if group.result is CaseResult.RECOVERED)


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _money(groups: Iterable[Group]) -> dict[str, dict[str, int]]:
    """By currency, of the cases that are over."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_MONEY, 0))
    for group in _over(groups):
        for name in _MONEY:
            sums[group.currency][name] += getattr(group, name)
    return {currency: sums[currency] for currency in sorted(sums)}


def _total(by_currency: dict[str, dict[str, int]], policy: ReportPolicy) -> Document | None:
    """All of it in the reporting currency; None where there is none.

    A currency without a rate leaves no total that could be trusted: it is named instead.
    """
    if not policy.currency:
        return None
    rates = {**policy.rates, policy.currency: 1.0}
    without_rate = sorted(set(by_currency) - set(rates))
    sums: dict[str, int | None] = dict.fromkeys(_MONEY)
    if not without_rate:
        for name in _MONEY:
            parts = (
                money.in_major_units(amounts[name], currency) * Decimal(str(rates[currency]))
                for currency, amounts in by_currency.items()
            )
            worth = sum(parts, Decimal(0)).scaleb(money.exponent(policy.currency))
            sums[name] = int(worth.to_integral_value())
    return {"currency": policy.currency, **sums, "without_rate": without_rate}


def _by(own: Sequence[Group], numbers: Sequence[AttemptNumber]) -> Document:
    over = _over(own)
    attempts = [_row(str(n.number), failed=n.made, recovered=n.paid) for n in numbers]
    return {
        "decline_code": _split(over, lambda group: group.decline_code),
        "method": _split(over, lambda group: group.method),
        "attempt": attempts,
        "country": _split(over, lambda group: group.country),
    }


def _split(groups: Sequence[Group], key: Callable[[Group], str]) -> list[Document]:
    """One row for each key, the most failures first."""
    parts: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        parts[key(group)].append(group)
    rows = [_row(k, failed=_count(part), recovered=_recovered(part)) for k, part in parts.items()]
    return sorted(rows, key=lambda row: (-row["failed"], row["key"]))


def _row(key: str, *, failed: int, recovered: int) -> Document:
    return {
        "key": key,
        "failed": failed,
        "recovered": recovered,
        "rate": _rate(recovered, failed),
    }


def _through(own: Sequence[Group]) -> list[Document]:
    paid = [group for group in own if group.result is CaseResult.RECOVERED]
    rows = _split(paid, lambda group: group.through)
    return [
        {"key": r["key"], "recovered": r["recovered"], "share": _rate(r["recovered"], _count(paid))}
        for r in rows
    ]


def _lift(drawn: Sequence[Drawn]) -> Document | None:
    """Against the holdout; None where no case opened while there was one."""
    if not drawn:
        return None
    shares = sorted({group.share for group in drawn})
    found = lift(
        [
            Stratum(
                holdout=share,
                treated=_arm(g for g in drawn if g.share == share and g.mode is Mode.TAKEOVER),
                held_out=_arm(g for g in drawn if g.share == share and g.mode is Mode.HOLDOUT),
            )
            for share in shares
        ]
    )
    low, high = found.interval
    cases_a_customer = sum(g.cases for g in drawn) / sum(g.customers for g in drawn)
    return {
        "verdict": found.verdict,
        "rate_difference": None if found.difference is None else round(found.difference, 6),
        "interval": [round(low, 6), round(high, 6)],
        "customers": {"treated": found.treated, "holdout": found.held_out},
        "more_cases_needed": ceil(found.more_needed * cases_a_customer),
        "sample_ratio_p": found.sample_ratio_p,
        "maturing": sum(g.customers for g in drawn if not g.mature),
        "recovered": {"treated": found.treated_recovered, "holdout": found.held_out_recovered},
    }


def _arm(groups: Iterable[Drawn]) -> Arm:
    groups = list(groups)
    return Arm(
        drawn=sum(g.customers for g in groups),
        mature=sum(g.customers for g in groups if g.mature),
        recovered=sum(g.customers for g in groups if g.mature and g.recovered),
    )


def _cohorts(own: Sequence[Group]) -> list[Document]:
    """By the month of the failure; mature once each of its cases has had its 30 days."""
    months: dict[str, list[Group]] = defaultdict(list)
    for group in own:
        months[group.month].append(group)
    return [
        {
            "month": month,
            "failed": _count(part),
            "recovered": _recovered(part),
            "open": _count(g for g in part if g.result is CaseResult.OPEN),
            "mature": all(group.mature for group in part),
        }
        for month, part in sorted(months.items())
    ]
