"""A customer comes by a link of ours: what they see, what they may do, and that they came."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import StripeRejected
from retry_engine.domain.offers import Change, OfferState
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.gateway import Gateway, InvoiceToPay
from retry_engine.recovery.links import RECOVER, LinkKeys
from retry_engine.recovery.offering import TAKEABLE, Giver
from retry_engine.recovery.self_service import Choices, SelfService
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, messages, offers, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.offers import StoredOffer

_WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What the page shows. Whose it is, it does not say: whoever holds the link may see it.

    `state`: `due`, `under_way`, `paid` or `over`. `client_secret` is for Stripe's Payment Element.
    """

    state: str
    language: str
    account: str
    customer_id: str
    amount: int
    currency: str
    timezone: str | None
    hosted_url: str | None
    client_secret: str | None = field(default=None, repr=False)
    offer: StoredOffer | None = None
    choices: Choices = field(default_factory=Choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Receives who comes by a link."""

    database: Database
    gateway: Gateway
    giver: Giver
    self_service: SelfService
    gate: Gate
    keys: LinkKeys
    clock: Callable[[], datetime]

    def bill(self, token: str, *, note_visit: bool) -> Bill | None:
        """What the link's holder owes; None where the link is none of ours, or has ended.

        Raises:
            StripeUnavailable: it cannot be said at the moment.
        """
        with self.database.transaction() as connection:
            message = self._message(connection, token)
            if message is None:
                return None
            case = rows.get(connection, message.case_id)
            now = rows.time_of(connection, case, self.clock())
            if (
                note_visit
                and messages.visited(connection, message.message_id, at=now)
                and case.state in TAKEABLE
            ):
                # what the next message says may depend on it
                schedule.plan(connection, case, "refresh", at=now)
            offer = offers.of_case(connection, case.id)
            paused = engine_state.read(connection).paused
        try:
            invoice = self.gateway.invoice_to_pay(case.account, case.invoice_id)
        except StripeRejected:
            return None
        waits = paused or self.gate.refusal(case.mode) is not None
        bill = _bill(case, message.language or "", invoice, offer, now=now, waits=waits)
        if bill.state != "due":
            return bill
        return replace(bill, choices=self.self_service.choices(case.id))

    def take_offer(self, token: str) -> bool:
        """The holder takes what the link's case was offered; False where the link is none of ours.

        Raises:
            Refused: the offer cannot be had (any more); nothing was changed.
        """
        with self.database.transaction() as connection:
            message = self._message(connection, token)
        if message is None:
            return False
        with self.database.case_lock(message.case_id, wait_seconds=_WAIT_SECONDS) as connection:
            self.giver.take(connection, message.case_id)
        return True

    def change(self, token: str, kind: Change, *, day: datetime | None) -> bool:
        """The holder changes the subscription; False where the link is none of ours.

        Raises:
            Refused: it cannot be changed (any more); nothing was.
        """
        with self.database.transaction() as connection:
            message = self._message(connection, token)
        if message is None:
            return False
        with self.database.case_lock(message.case_id, wait_seconds=_WAIT_SECONDS) as connection:
            self.self_service.take(connection, message.case_id, kind, day=day)
        return True

    def portal(self, token: str, *, return_url: str) -> str | None:
        """The address of Stripe's portal for the link's customer, made now: it soon goes stale."""
        with self.database.transaction() as connection:
            message = self._message(connection, token)
            if message is None:
                return None
            permit = self.gate.permit(rows.get(connection, message.case_id).mode)
        return self.gateway.portal_session(
            message.account, message.customer_id, permit=permit, return_url=return_url
        )

    def _message(self, connection: Connection, token: str) -> Row[Any] | None:
        message_id = self.keys.read(connection, RECOVER, token, now=self.clock())
        return messages.by_message_id(connection, message_id) if message_id else None


def _bill(
    case: Case,
    language: str,
    invoice: InvoiceToPay,
    offer: StoredOffer | None,
    *,
    now: datetime,
    waits: bool,
) -> Bill:
    state = {"open": "due", "paid": "paid"}.get(invoice.status, "over")
    if state == "due" and (invoice.under_way or case.state == CaseState.PROCESSING):
        state = "under_way"
    shown = None
    if state == "due" and offer is not None:
        takeable = case.state in TAKEABLE and not waits
        is_open = offer.state == OfferState.OPEN and now < offer.until
        if (is_open and takeable and offer.amount < invoice.amount_remaining) or (
            offer.state in (OfferState.TAKING, OfferState.TAKEN)
        ):
            shown = offer
    return Bill(
        state=state,
        language=language,
        account=case.account,
        customer_id=case.customer_id,
        amount=invoice.amount_remaining,
        currency=invoice.currency,
        timezone=case.customer_timezone,
        hosted_url=invoice.hosted_url if state == "due" else None,
        client_secret=invoice.client_secret if state == "due" else None,
        offer=shown,
    )
