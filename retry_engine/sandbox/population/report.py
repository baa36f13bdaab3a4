"""What a collection brought, read off the ledger."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.ledger import Try
from retry_engine.sandbox.objects import Obj


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of one run. Money in minor units by currency.

    `attempts` leaves out the first failure of each invoice; `by_attempt` counts what was
    recovered by the number of such further attempts it took. `by_source`: who made the attempt
    that recovered it.
    """

    failed: int
    recovered: int
    attempts: int
    money_failed: Mapping[str, int]
    money_recovered: Mapping[str, int]
    by_decline_code: Mapping[str, tuple[int, int]]  # (failed, recovered)
    by_attempt: Mapping[int, int]
    by_source: Mapping[str, int]
    attempts_by_source: Mapping[str, int]

    @property
    def share(self) -> float:
        """Recovered invoices of the failed ones."""
        return self.recovered / self.failed if self.failed else 0.0

    def as_json(self) -> Obj:
        """The report as JSON has it."""
        return {
            "failed": self.failed,
            "recovered": self.recovered,
            "share": self.share,
            "attempts": self.attempts,
            "money_failed": dict(self.money_failed),
            "money_recovered": dict(self.money_recovered),
            "by_decline_code": {
                code: {"failed": failed, "recovered": recovered}
                for code, (failed, recovered) in self.by_decline_code.items()
            },
            "by_attempt": {str(number): n for number, n in self.by_attempt.items()},
            "by_source": dict(self.by_source),
            "attempts_by_source": dict(self.attempts_by_source),
        }


def summarise(account: Account) -> Report:
    """Read the figures off the ledger: of every invoice whose first attempt failed."""
    tries: dict[str, list[Try]] = defaultdict(list)
    for entry in account.ledger:
        if entry.invoice is not None:  # what was charged for something else fails nobody's renewal
            tries[entry.invoice].append(entry)
    failed: Counter[str] = Counter()
    recovered: Counter[str] = Counter()
    money_failed: Counter[str] = Counter()
    money_recovered: Counter[str] = Counter()
    by_attempt: Counter[int] = Counter()
    by_source: Counter[str] = Counter()
    attempts: Counter[str] = Counter()
    for invoice_tries in tries.values():
        first, *further = invoice_tries
        if first.outcome not in ("failed", "requires_action"):
            continue
        code = first.decline_code or "unknown"
        failed[code] += 1
        money_failed[first.currency] += first.amount
        attempts.update(entry.source for entry in further)
        won = next((i for i, t in enumerate(further, 1) if t.outcome == "succeeded"), None)
        if won is not None:
            recovered[code] += 1
            money_recovered[first.currency] += further[won - 1].amount
            by_attempt[won] += 1
            by_source[further[won - 1].source] += 1
    return Report(
        failed=failed.total(),
        recovered=recovered.total(),
        attempts=attempts.total(),
        money_failed=money_failed,
        money_recovered=money_recovered,
        by_decline_code={code: (n, recovered[code]) for code, n in failed.most_common()},
        by_attempt=dict(sorted(by_attempt.items())),
        by_source=by_source,
        attempts_by_source=attempts,
    )
