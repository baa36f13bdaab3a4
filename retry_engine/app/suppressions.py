"""To whom nobody writes any more: said by a person, a customer, or a mail that came back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retry_engine.app import documents
from retry_engine.recovery.messaging import suppression
from retry_engine.recovery.messaging.links import LinkKeys
from retry_engine.recovery.messaging.suppression import check_account, checked, checked_address
from retry_engine.store import messages
from retry_engine.store.database import Database

# what may be asked before anything is started for it
__all__ = ["Suppressions", "check_account", "checked", "checked_address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppressions:
    """`keys` sign our letters: a report is heeded where it names one of them."""

    database: Database
    keys: LinkKeys
    clock: Callable[[], datetime]

    def suppress(
        self, address: str, *, reason: str, by: str, account: str = "", note: str | None = None
    ) -> dict[str, Any]:
        """Never write to that address again; saying it twice changes nothing.

        Raises:
            BadRequest: that is no address, no reason, or no account.
        """
        with self.database.transaction() as connection:
            suppression.suppress(
                connection,
                address,
                reason=reason,
                account=account,
                by=by,
                note=note,
                now=self.clock(),
            )
        return {"suppressed": True}

    def lift(
        self,
        address: str,
        *,
        reason: str,
        by: str,
        account: str = "",
        against_their_wish: bool = False,
    ) -> dict[str, Any]:
        """That address may be written to again.

        Raises:
            BadRequest: that is no address or no account.
            NotFound: it may be already.
            Refused: the customer asked for it, and `against_their_wish` was not said.
        """
        with self.database.transaction() as connection:
            suppression.lift(
                connection,
                address,
                account=account,
                by=by,
                note=reason,
                against_their_wish=against_their_wish,
                now=self.clock(),
            )
        return {"suppressed": False}

    def history(self, address: str, *, account: str = "") -> list[dict[str, Any]]:
        """All that was said about writing to that address, oldest first."""
        with self.database.transaction() as connection:
            found = suppression.acts_of(connection, address, account=account)
        return [{**act, "at": documents.text(act["at"])} for act in found]

    def heed(self, report: suppression.Report, *, account: str | None) -> dict[str, Any]:
        """Never write again to whom the letter went to that a bounce or a complaint is about.

        Raises:
            InvalidInput: it names no letter that this engine has signed.
        """
        with self.database.transaction() as connection:
            return suppression.heed(
                connection, report, keys=self.keys, account=account, now=self.clock()
            )

    def counts(self) -> dict[str, int]:
        """How many addresses are not written to, by reason."""
        with self.database.transaction() as connection:
            found = messages.suppressed(connection)
        return {reason: found.get(reason, 0) for reason in suppression.REASONS}
