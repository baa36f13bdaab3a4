"""Connected accounts that answer nothing: how often they are asked, and when they are given up.

Their work ends, named, with the reason; what only does not answer for a while waits, and does not
keep others waiting.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from retry_engine.domain.case_states import CloseReason
from retry_engine.domain.errors import (
    AccountWithdrew,
    RetryEngineError,
    StripeForbidden,
)
from retry_engine.domain.vocabulary import Cause
from retry_engine.recovery import cases
from retry_engine.store import breakers, inbox, intents, renewals, schedule
from retry_engine.store import cases as rows
from retry_engine.store.breakers import Breaker
from retry_engine.store.database import CaseBusy, Database

log = structlog.get_logger()

# So many cases of an account that is given up end at a time; its next probe goes on with the rest.
_CASES_AT_A_TIME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """After how many failures an account is not asked, how often then, and when it is given up."""

    opens_after: int
    first: timedelta
    longest: timedelta
    give_up_after: timedelta | None
    probes: int = 3


# A key without a permission is mended by its owner, so our own account is never given up; a
# connected one that lets us do nothing for a day has withdrawn, whatever the wording.
PATIENCE = {
    Cause.WITHDREW: Patience(
        opens_after=1,
        first=timedelta(minutes=1),
        longest=timedelta(minutes=15),
        give_up_after=timedelta(minutes=15),
    ),
    Cause.FORBIDDEN: Patience(
        opens_after=5,
        first=timedelta(seconds=30),
        longest=timedelta(minutes=5),
        give_up_after=timedelta(days=1),
    ),
    Cause.UNAVAILABLE: Patience(
        opens_after=20,
        first=timedelta(seconds=2),
        longest=timedelta(seconds=30),
        give_up_after=None,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentAccounts:
    """Keeps count of who does not answer, and ends what belongs to who will not any more."""

    database: Database
    clock: Callable[[], datetime]

    def answered(self, account: str) -> None:
        """Stripe has answered for that account: whatever is noted of it is over."""
        with self.database.transaction() as connection:
            breakers.reset(connection, account)
            if account:
                cases.find_out_after_all(connection, account, real_now=self.clock())

    def failed(self, account: str, error: RetryEngineError) -> None:
        """Nothing was answered for that account."""
        cause = _cause_of(account, error)
        patience, now = PATIENCE[cause], self.clock()
        with self.database.transaction() as connection:
            breaker = breakers.note(
                connection,
                account,
                cause,
                error=str(error),
                now=now,
                opens_after=patience.opens_after,
                first=patience.first,
                longest=patience.longest,
            )
        if breaker.failures == patience.opens_after:
            log.warning("account_does_not_answer", account=account, cause=cause, error=str(error))
        if _is_hopeless(breaker, patience, now):
            self._give_up(breaker, now)

    def _give_up(self, breaker: Breaker, now: datetime) -> None:
        account = breaker.account
        why = f"the account {account} withdrew its access ({breaker.error})"
        with self.database.transaction() as connection:
            breakers.give_up(connection, breaker, now=now)
            events = inbox.give_up(connection, account, error=why)
            renewals.drop(connection, account, result=why)
            living = rows.living_ids(connection, account)
        for case_id in living[:_CASES_AT_A_TIME]:
            try:
                with self.database.case_lock(case_id) as connection, connection.begin():
                    cases.end_unreachable(
                        connection, case_id, CloseReason.STOPPED, cause=why, real_now=now
                    )
            except CaseBusy:
                continue  # somebody is just finding out the same
        with self.database.transaction() as connection:
            schedule.withdraw_of_closed(connection, account, result=why)
            intents.give_up(connection, account, why=why)
        log.warning("account_given_up", account=account, events=events, cases=len(living))


def _cause_of(account: str, error: RetryEngineError) -> Cause:
    if isinstance(error, AccountWithdrew) and account:
        return Cause.WITHDREW
    return Cause.FORBIDDEN if isinstance(error, StripeForbidden) else Cause.UNAVAILABLE


def _is_hopeless(breaker: Breaker, patience: Patience, now: datetime) -> bool:
    if not breaker.account or patience.give_up_after is None:
        return False
    return breaker.failures >= patience.probes and now - breaker.since >= patience.give_up_after
