"""A customer comes by a link of ours: what they see, what they may do, and that they came."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.errors import Refused, StripeRejected
from retry_engine.domain.offers import Change, OfferState
from retry_engine.domain.policy import Messages
from retry_engine.domain.standing import Outlook, Standing, outlook_of, standing_of
from retry_engine.domain.timezones import zone_of
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.gateway import Gateway, InvoiceToPay
from retry_engine.recovery.incentives.discounts import DiscountOffers
from retry_engine.recovery.incentives.plan_changes import Choices, PlanChanges
from retry_engine.recovery.incentives.saga import TAKEABLE
from retry_engine.recovery.messaging.links import RECOVER, LinkKeys
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, messages, offers, risk_flags, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.messages import MessageRow
from retry_engine.store.offers import StoredOffer

_WAIT_SECONDS = 20.0
_DISPUTES_COUNT = timedelta(days=120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What the page shows. Whose it is, it does not say: whoever holds the link may see it.

    `client_secret` is for Stripe's Payment Element; `pays_here`: the page leads to the payment.
    `hosted_url` alone is Stripe's page about an invoice that can still be paid there.
    """

    standing: Standing
    outlook: Outlook
    case_mode: str
    language: str
    account: str
    customer_id: str
    amount: int
    currency: str
    timezone: str | None
    hosted_url: str | None
    pays_here: bool = False
    portal: bool = False
    client_secret: str | None = field(default=None, repr=False)
    offer: StoredOffer | None = None
    choices: Choices = field(default_factory=Choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentPage:
    """Receives who comes by a link. To look writes nothing: mail scanners look too.

    Who acts has come, which may earn them an offer and us the payment. Each act asks anew what the
    policy lets them do and how it stands.
    """

    database: Database
    gateway: Gateway
    discounts: DiscountOffers
    plan_changes: PlanChanges
    message_policy: Messages
    keys: LinkKeys
    gate: Gate
    clock: Callable[[], datetime]

    def bill(self, token: str) -> Bill | None:
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
            offer = offers.of_case(connection, case.id)
            shut = self.gate.refusal(case.mode) is not None
            waits = shut or engine_state.read(connection).paused
            since = now - _DISPUTES_COUNT
            flags = risk_flags.standing(connection, case.account, case.customer_id, since=since)
        try:
            invoice = self.gateway.invoice_to_pay(case.account, case.invoice_id)
        except StripeRejected:
            return None
        bill = _bill(case, message.language or "", invoice, disputed=bool(flags))
        if bill.standing is not Standing.DUE:
            return bill
        return replace(
            bill,
            offer=_shown(case, offer, invoice, now=now, waits=waits),
            choices=self.plan_changes.choices(case.id),
            portal=self.message_policy.portal_link and not shut,
        )

    def has_come(self, token: str) -> bool:
        """The holder did something that no machine does; False where the link is none of ours."""
        with self.database.transaction() as connection:
            message = self._message(connection, token)
            if message is None:
                return False
            case = rows.get(connection, message.case_id)
            now = rows.time_of(connection, case, self.clock())
            assert message.message_id is not None, "it was found by it"
            if not case.is_living or not messages.visited(connection, message.message_id, at=now):
                return True
            if case.state in TAKEABLE:
                # what the next message says may depend on it
                schedule.plan(connection, case, ActionKind.REFRESH, at=now)
        return True

    def pay(self, token: str) -> str | None:
        """Stripe's page where the link's bill is paid; None where the link is none of ours.

        Raises:
            Refused: there is nothing to pay here (any more).
        """
        return self._due(token).hosted_url if self.has_come(token) else None

    def take_offer(self, token: str) -> bool:
        """The holder takes what the link's case was offered; False where the link is none of ours.

        Raises:
            Refused: the offer cannot be had (any more); nothing was changed.
        """
        if not self.has_come(token):
            return False
        with self._case(token) as (connection, case_id):
            self.discounts.take(connection, case_id)
        return True

    def change(self, token: str, kind: Change, *, day: datetime | None) -> bool:
        """The holder changes the subscription; False where the link is none of ours.

        Raises:
            Refused: it cannot be changed (any more); nothing was.
        """
        if not self.has_come(token):
            return False
        with self._case(token) as (connection, case_id):
            self.plan_changes.take(connection, case_id, kind, day=day)
        return True

    def portal(self, token: str, *, return_url: str) -> str | None:
        """The address of Stripe's portal for the link's customer, made now: it soon goes stale.

        Raises:
            Refused: the policy opens it to nobody, or there is nothing to pay here (any more).
        """
        if not self.has_come(token):
            return None
        bill = self._due(token)
        if not bill.portal:
            raise Refused("saved payment methods cannot be changed here")
        return self.gateway.portal_session(
            bill.account,
            bill.customer_id,
            permit=self.gate.permit(bill.case_mode),
            return_url=return_url,
        )

    def _due(self, token: str) -> Bill:
        bill = self.bill(token)
        if bill is None or bill.standing is not Standing.DUE:
            raise Refused("there is nothing to pay here (any more)")
        return bill

    @contextmanager
    def _case(self, token: str) -> Iterator[tuple[Connection, str]]:
        """The lock of the link's case, which is still to be paid."""
        self._due(token)
        with self.database.transaction() as connection:
            message = self._message(connection, token)
        assert message is not None, "its bill was just read"
        with self.database.case_lock(message.case_id, wait_seconds=_WAIT_SECONDS) as connection:
            yield connection, message.case_id

    def _message(self, connection: Connection, token: str) -> MessageRow | None:
        message_id = self.keys.read(connection, RECOVER, token, now=self.clock())
        return messages.by_message_id(connection, message_id) if message_id else None


def _bill(case: Case, language: str, invoice: InvoiceToPay, *, disputed: bool) -> Bill:
    subscription = invoice.subscription
    status = subscription.status if subscription else None
    standing = standing_of(
        case_state=CaseState(case.state),
        close_reason=CloseReason(case.close_reason) if case.close_reason else None,
        invoice_status=invoice.status,
        under_way=invoice.under_way,
        subscription_status=status,
        disputed=disputed,
    )
    is_due = standing is Standing.DUE
    can_be_paid = is_due or standing in (Standing.ENDED, Standing.OWED)
    return Bill(
        standing=standing,
        outlook=outlook_of(
            status, collection_paused=subscription is not None and subscription.collection_paused
        ),
        case_mode=case.mode,
        language=language,
        account=case.account,
        customer_id=case.customer_id,
        amount=invoice.amount_remaining,
        currency=invoice.currency,
        timezone=zone_of(case.customer_timezone, case.customer_country).key,
        hosted_url=invoice.hosted_url if can_be_paid else None,
        pays_here=is_due and invoice.hosted_url is not None,
        client_secret=invoice.client_secret if is_due else None,
    )


def _shown(
    case: Case, offer: StoredOffer | None, invoice: InvoiceToPay, *, now: datetime, waits: bool
) -> StoredOffer | None:
    """The offer, where it can be taken or was."""
    if offer is None or offer.state in (OfferState.TAKING, OfferState.TAKEN):
        return offer
    takeable = case.state in TAKEABLE and not waits
    is_open = offer.state == OfferState.OPEN and now < offer.until
    return offer if is_open and takeable and offer.amount < invoice.amount_remaining else None
