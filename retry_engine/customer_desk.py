"""What customers see and do: the pages behind their links, their checkout, their letters."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from retry_engine.adapters import letters
from retry_engine.domain.errors import BadRequest, NotFound, Refused
from retry_engine.domain.offers import Change
from retry_engine.domain.policy import Policy
from retry_engine.oversight import payment_options
from retry_engine.recovery import messaging
from retry_engine.recovery.links import LinkKeys
from retry_engine.recovery.renewals import Lookout
from retry_engine.recovery.visiting import Reception
from retry_engine.settings import Settings
from retry_engine.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDesk:
    """Says in the customer's words what `recovery` knows. `nudge` tells the workers to look."""

    database: Database
    reception: Reception
    lookout: Lookout
    settings: Settings
    policy: Policy
    keys: LinkKeys
    clock: Callable[[], datetime]
    nudge: Callable[[], None]

    def payment_options(self, customer_id: str) -> dict[str, Any]:
        """In which order a customer is shown ways to pay."""
        with self.database.transaction() as connection:
            return payment_options.options(connection, customer_id, now=self.clock())

    def unsubscribe(self, token: str, *, write: bool) -> str | None:
        """The language of the message that the link came with; None where it is not ours.

        With `write`, its address is not written to again.
        """
        with self.database.transaction() as connection:
            return messaging.unsubscribe(
                connection, token, keys=self.keys, now=self.clock(), write=write
            )

    def preview_message(self, file: Path, *, kind: str, language: str, discount: int) -> None:
        """Write a message with made-up facts, `discount` percent off: HTML, plain text beside it.

        Raises:
            BadRequest: no such kind or language, or the file cannot be written.
        """
        written = letters.preview(
            kind, language, policy=self.policy, discount=discount, now=self.clock()
        )
        try:
            file.write_text(written.html, encoding="utf-8")
            file.with_suffix(".txt").write_text(
                f"{written.subject}\n\n{written.text}", encoding="utf-8"
            )
        except OSError as error:
            raise BadRequest(f"{file} cannot be written: {error.strerror}") from None

    def recovery_page(
        self, token: str, *, note_visit: bool, alert: str | None = None
    ) -> str | None:
        """The page behind a message's link; None where the link is none of ours, or has ended.

        Raises:
            StripeUnavailable, StripeForbidden: it cannot be shown at the moment.
        """
        bill = self.reception.bill(token, note_visit=note_visit)
        if bill is None:
            return None
        if note_visit:
            self.nudge()
        key = self.settings.stripe_publishable_key
        element = None
        if key and bill.client_secret:
            with suppress(NotFound):
                order = self.payment_options(bill.customer_id)["payment_method_order"]
                element = letters.Element(
                    key=key, script=self.settings.stripe_js, order=",".join(order)
                )
        portal = self.policy.messages.portal_link
        return letters.recovery_page(
            bill, token=token, element=element, portal=portal, alert=alert,
            manners=self.policy.messages,
        )  # fmt: skip

    def later_page(self) -> str:
        """In place of the page, while it cannot be shown."""
        return letters.later_page(manners=self.policy.messages)

    def take_offer(self, token: str) -> bool:
        """The holder of the link takes its offer; False where the link is none of ours.

        Raises:
            Refused: it cannot be had (any more).
        """
        taken = self.reception.take_offer(token)
        self.nudge()
        return taken

    def change_subscription(self, token: str, kind: str, *, day: str | None) -> bool:
        """The holder of the link changes it; `day` is a date and time in ISO 8601.

        Raises:
            Refused: it cannot be changed (any more).
        """
        try:
            wanted, at = Change(kind), datetime.fromisoformat(day) if day else None
        except ValueError:
            raise Refused("there is nothing of that kind to change") from None
        changed = self.reception.change(token, wanted, day=at)
        self.nudge()
        return changed

    def card_page(self, token: str, *, added: bool) -> str | None:
        """Where a customer adds a card before a renewal; None where the link is none of ours.

        `added`: they say that they have.
        """
        found = self.lookout.card_page(token)
        if found is None:
            return None
        renewal, secret = found
        key = self.settings.stripe_publishable_key
        element = None
        if key:
            order = ",".join(payment_options.order(None, {}, {}, None))
            element = letters.Element(key=key, script=self.settings.stripe_js, order=order)
        return letters.card_page(
            renewal, token=token, secret=secret, element=element, added=added,
            manners=self.policy.messages,
        )  # fmt: skip

    def card_portal(self, token: str) -> str | None:
        """Stripe's portal for the customer of a link to add a card."""
        back = f"{self.settings.public_url}/c/{token}"
        return self.lookout.portal(token, return_url=back)

    def portal(self, token: str) -> str | None:
        """Stripe's portal for the link's customer."""
        back = f"{self.settings.public_url}/r/{token}"
        return self.reception.portal(token, return_url=back)

    def unsubscribe_page(self, language: str, *, done: bool) -> str:
        """What the link shows."""
        return letters.unsubscribe_page(language, done=done, manners=self.policy.messages)
