"""What customers see and do: the pages behind their links, their checkout, their letters."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from retry_engine import presentation
from retry_engine.app import payment_options
from retry_engine.domain.errors import BadRequest, NotFound, Refused, RetryEngineError
from retry_engine.domain.offers import Change
from retry_engine.domain.policy import Policy
from retry_engine.recovery.dispatch import Dispatcher
from retry_engine.recovery.messaging import suppression
from retry_engine.recovery.messaging.links import LinkKeys
from retry_engine.recovery.messaging.pre_dunning import PreDunning
from retry_engine.recovery.payment_page import PaymentPage
from retry_engine.settings import Settings
from retry_engine.store.database import Database

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A page; `leads_to` is where its button to pay leads on to."""

    page: str
    leads_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerService:
    """Says in the customer's words what `recovery` knows."""

    database: Database
    payment_page: PaymentPage
    pre_dunning: PreDunning
    settings: Settings
    policy: Policy
    keys: LinkKeys
    clock: Callable[[], datetime]
    dispatcher: Dispatcher

    def payment_options(self, customer_id: str) -> dict[str, Any]:
        """In which order a customer is shown ways to pay."""
        with self.database.transaction() as connection:
            return payment_options.options(connection, customer_id, now=self.clock())

    def unsubscribe(self, token: str, *, write: bool) -> str | None:
        """The language of the message that the link came with; None where it is not ours.

        With `write`, its address is not written to again.
        """
        with self.database.transaction() as connection:
            return suppression.unsubscribe(
                connection, token, keys=self.keys, now=self.clock(), write=write
            )

    def preview_message(self, file: Path, *, kind: str, language: str, discount: int) -> None:
        """Write a message with made-up facts, `discount` percent off: HTML, plain text beside it.

        Raises:
            BadRequest: no such kind or language, or the file cannot be written.
        """
        written = presentation.preview(
            kind, language, policy=self.policy, discount=discount, now=self.clock()
        )
        try:
            file.write_text(written.html, encoding="utf-8")
            file.with_suffix(".txt").write_text(
                f"{written.subject}\n\n{written.text}", encoding="utf-8"
            )
        except OSError as error:
            raise BadRequest(f"{file} cannot be written: {error.strerror}") from None

    def recovery_page(self, token: str, *, alert: str | None = None) -> "Shown | None":
        """The page behind a message's link; None where the link is none of ours, or has ended.

        Raises:
            StripeUnavailable, StripeForbidden: it cannot be shown at the moment.
        """
        bill = self.payment_page.bill(token)
        if bill is None:
            return None
        key = self.settings.stripe_publishable_key
        element = None
        if key and bill.client_secret:
            with suppress(NotFound):
                order = self.payment_options(bill.customer_id)["payment_method_order"]
                element = presentation.Element(
                    key=key, script=self.settings.stripe_js, order=",".join(order)
                )
        page = presentation.recovery_page(
            bill, token=token, element=element, alert=alert, message_policy=self.policy.messages
        )
        return Shown(page=page, leads_to=bill.hosted_url if bill.pays_here else None)

    def has_come(self, token: str) -> bool:
        """The holder of the link did something on its page; False where it is none of ours."""
        return self._acted(self.payment_page.has_come(token))

    def pay(self, token: str) -> str | None:
        """Where the holder of the link pays; None where it is none of ours.

        Raises:
            Refused: there is nothing to pay (any more).
        """
        return self._acted(self.payment_page.pay(token))

    def _acted(self, answer: _T) -> _T:
        """What they did is carried out at once, not at the next tick."""
        with suppress(RetryEngineError):
            self.dispatcher.dispatch()
        return answer

    def later_page(self) -> str:
        """In place of the page, while it cannot be shown."""
        return presentation.later_page(message_policy=self.policy.messages)

    def take_offer(self, token: str) -> bool:
        """The holder of the link takes its offer; False where the link is none of ours.

        Raises:
            Refused: it cannot be had (any more).
        """
        return self._acted(self.payment_page.take_offer(token))

    def change_subscription(self, token: str, kind: str, *, day: str | None) -> bool:
        """The holder of the link changes it; `day` is a date and time in ISO 8601.

        Raises:
            Refused: it cannot be changed (any more).
        """
        try:
            wanted, at = Change(kind), datetime.fromisoformat(day) if day else None
        except ValueError:
            raise Refused("there is nothing of that kind to change") from None
        return self._acted(self.payment_page.change(token, wanted, day=at))

    def card_page(self, token: str, *, added: bool) -> str | None:
        """Where a customer adds a card before a renewal; None where the link is none of ours.

        `added`: they say that they have.
        """
        return self._card_page(token, added=added, secret=None)

    def card_form(self, token: str) -> str | None:
        """The same with the form for a card, for who has pressed for it.

        Raises:
            Refused: no card is wanted any more.
        """
        secret = self.pre_dunning.setup(token)
        return None if secret is None else self._card_page(token, added=False, secret=secret)

    def _card_page(self, token: str, *, added: bool, secret: str | None) -> str | None:
        found = self.pre_dunning.behind(token)
        if found is None:
            return None
        renewal, is_wanted = found
        key = self.settings.stripe_publishable_key
        element = None
        if key:
            order = ",".join(payment_options.order(None, {}, {}, None))
            element = presentation.Element(key=key, script=self.settings.stripe_js, order=order)
        return presentation.card_page(
            renewal, token=token, secret=secret, element=element, added=added,
            is_wanted=is_wanted, message_policy=self.policy.messages,
        )  # fmt: skip

    def card_portal(self, token: str) -> str | None:
        """Where Stripe lets the customer of a link add a card.

        Raises:
            Refused: none is wanted any more.
        """
        back = f"{self.settings.public_url}/c/{token}"
        return self.pre_dunning.portal(token, return_url=back)

    def portal(self, token: str) -> str | None:
        """Stripe's portal for the link's customer.

        Raises:
            Refused: the policy does not open it, or there is nothing to pay (any more).
        """
        back = f"{self.settings.public_url}/r/{token}"
        return self._acted(self.payment_page.portal(token, return_url=back))

    def unsubscribe_page(self, language: str, *, done: bool) -> str:
        """What the link shows."""
        return presentation.unsubscribe_page(
            language, done=done, message_policy=self.policy.messages
        )
