"""Whether a customer is in recovery: what the business's own application asks before it acts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from retry_engine.app.documents import text
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import NotFound
from retry_engine.domain.modes import Mode
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.messaging.links import RECOVER, LinkKeys
from retry_engine.store import customers
from retry_engine.store.customers import Known, LivingCase
from retry_engine.store.database import Database

# Where a customer is written to, and so may be led to the page.
_LED_TO_THE_PAGE = (CaseState.OPEN, CaseState.NEEDS_CUSTOMER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """Answers from the record alone. `pages` is where the links of letters lead, None: nowhere.

    In recovery is whoever has a case that is not closed, in whatever mode: in shadow and in the
    holdout Stripe's retries do the work, but the payment has failed all the same, and a business
    that treated those customers otherwise could not compare the two any more.
    """

    database: Database
    keys: LinkKeys
    gate: Gate
    pages: str | None
    clock: Callable[[], datetime]

    def of_customer(self, customer_id: str, *, account: str | None = None) -> dict[str, Any]:
        """The document of `GET /api/customers/{CUSTOMER}/standing`.

        Raises:
            NotFound: there is no case and no record of that customer.
        """
        real_now = self.clock()
        with self.database.transaction() as connection:
            known = customers.standing(connection, customer_id, account=account)
            if known is None:
                raise NotFound(f"nothing is known of customer {customer_id!r}")
            if not known.cases:
                return dict(_NOT_IN_RECOVERY)
            link = self._link(connection, known.cases, real_now)
        first = known.cases[0]
        tries = (self._next_try(case, known, real_now) for case in known.cases)
        return {
            "in_recovery": True,
            "since": text(first.opened_at),
            "amount": sum(
                case.amount_remaining for case in known.cases if case.currency == first.currency
            ),
            "currency": first.currency,
            "next_try": text(min((at for at in tries if at is not None), default=None)),
            "gives_up_at": text(max(case.deadline_at for case in known.cases)),
            "link": link,
            "cases": [case.id for case in known.cases],
        }

    def _next_try(self, case: LivingCase, known: Known, real_now: datetime) -> datetime | None:
        """When the saved method is charged next, by whoever does that; None: nobody will."""
        if case.mode is not Mode.TAKEOVER:
            at = case.stripe_next_attempt_at
            return at if at is not None and at > (case.clock_time or real_now) else None
        waits = known.engine_is_paused or self.gate.is_shut or case.state is not CaseState.OPEN
        return None if waits else case.retry_at

    def _link(
        self, connection: Connection, cases: tuple[LivingCase, ...], real_now: datetime
    ) -> str | None:
        """The page of the oldest case that a letter was written about and that may be paid there.

        It is a letter's link made anew: who comes by it has come by that letter.
        """
        if self.pages is None or self.gate.is_shut:
            return None
        for case in cases:
            is_led = case.mode is Mode.TAKEOVER and case.state in _LED_TO_THE_PAGE
            if is_led and case.letter is not None:
                token = self.keys.sign(connection, RECOVER, case.letter, now=real_now)
                return f"{self.pages}/r/{token}"
        return None


_NOT_IN_RECOVERY: dict[str, Any] = {
    "in_recovery": False,
    "since": None,
    "amount": None,
    "currency": None,
    "next_try": None,
    "gives_up_at": None,
    "link": None,
    "cases": [],
}
