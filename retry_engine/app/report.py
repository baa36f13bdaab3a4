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
from typing import Any

from sqlalchemy import Connection

from retry_engine.app.documents import text
from retry_engine.domain import money
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.policy import Report as ReportPolicy
from retry_engine.domain.vocabulary import CaseResult, Mode
from retry_engine.store import reporting
from retry_engine.store.database import Database
from retry_engine.store.reporting import AttemptNumber, Group, Window

Document = dict[str, Any]
MATURES_AFTER = timedelta(days=30)
_ACCOUNT = re.compile(r"acct_[A-Za-z0-9_]+")
_APART = (Mode.SHADOW, Mode.HOLDOUT)
_MONEY = ("failed", "recovered", "cost", "discounts")
DENOMINATORS = {
    "rate": "recovered of the cases that are over (recovered and lost); open ones are in neither",
    "money": "of the cases that are over; failed is what was owed when they opened",
    "by.decline_code": "cases that are over, by the failure that opened them",
    "by.method": "cases that are over, by the method of the failure that opened them",
    "by.attempt": "cases that are over and had that attempt; the first is what opened them",
    "by.country": "cases that are over, by the customer's country",
    "recovered_through": "cases that were recovered",
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
        newest = reporting.last_opened(connection, window) or now
        own = [group for group in found if group.mode is Mode.TAKEOVER]
        return {
            "since": text(window.since),
            # a test clock may be ahead of the real one
            "until": text(window.until or max(now, newest.astimezone(UTC))),
            "account": window.account,
            **_figures(own),
            "total": _total(_money(own), self.policy),
            "lift": None,
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
