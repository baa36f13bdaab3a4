"""A planned message is sent, once: everything read again, the intent committed, then the post.

claimed ── look again ── intent committed ── sent ── what became of it, the next planned
             │                                 │
             paid, held, unsubscribed, quiet:  no answer: nobody knows whether it arrived,
             not now or not at all             so it is never sent again
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, Row

from retry_engine.domain import mailbox
from retry_engine.domain.actions import ActionKind, ActionState
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.errors import CannotBeWrittenTo, MailNotSent, MailRefused, MailUnknown
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.modes import Mode
from retry_engine.domain.names import shown_name
from retry_engine.domain.offers import OfferState, Way
from retry_engine.domain.policy import Messages
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.domain.timezones import zone_of
from retry_engine.recovery import cases, links
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import CustomerFacts, Gateway, InvoiceFacts
from retry_engine.recovery.incentives import discounts
from retry_engine.recovery.incentives.discounts import NeedsAPerson
from retry_engine.recovery.links import RECOVER, UNSUBSCRIBE, LinkKeys
from retry_engine.recovery.planning import Planner, view_of
from retry_engine.recovery.suppression import BY_CUSTOMER, BY_MAIL_SERVER
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, messages, offers, renewals, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.offers import StoredOffer
from retry_engine.store.renewals import Renewal
from retry_engine.store.schedule import Action

log = structlog.get_logger()

_TRY_AGAIN = timedelta(hours=1)  # then twice as long each time
_ASK_FOR_ADDRESS = timedelta(days=1)  # the same, where theirs cannot be written to
_MOST_TRIES = 6
_LATE = timedelta(hours=24)
_SPOKEN_TO = (CaseState.OPEN, CaseState.NEEDS_CUSTOMER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """All that a message says. `amount` in minor units; `retry_at` where a charge is planned.

    `discount`, minor units, is what the page behind `pay_url` offers until `offer_until`: off what
    is owed or, as a coupon, off the renewal after it.
    """

    message_id: str
    mail_name: str  # of its Message-ID what stands before the @: signed, so that reports name ours
    account: str
    customer_id: str
    invoice_id: str | None  # None: what it is about has not failed yet
    to: str
    kind: MessageKind
    language: str
    name: str | None
    amount: int
    currency: str
    retry_at: datetime | None
    timezone: str | None
    pay_url: str | None
    unsubscribe_url: str | None
    discount: int = 0
    offer_until: datetime | None = None
    way: Way = Way.CREDIT_NOTE


class Post(Protocol):
    """A channel to customers. `needs_address`: it reaches nobody without an e-mail address."""

    @property
    def channel(self) -> str: ...
    @property
    def needs_address(self) -> bool: ...

    def send(self, letter: Letter, *, permit: Permit) -> None:
        """Send it.

        Raises:
            MailNotSent: nothing has left; it may be tried again.
            MailRefused: the address, or the message, is refused for good.
            MailUnknown: it may or may not have left.
        """


def address_of(customer: CustomerFacts) -> tuple[str, str | None]:
    """The one mailbox of a customer, '' where there is none; and why theirs cannot be used."""
    if not (customer.email or "").strip():
        return "", None
    try:
        return mailbox.parse(customer.email or "").canonical, None
    except CannotBeWrittenTo as why:
        return "", f"the customer's address cannot be written to: {why}"


def hand_over(post: Post, letter: Letter, *, permit: Permit) -> tuple[str, str | None]:
    """What became of it: sent, not_sent (nothing left), refused, bounced or unknown; and why."""
    try:
        post.send(letter, permit=permit)
    except MailNotSent as failure:
        return "not_sent", str(failure)
    except MailRefused as failure:
        return ("bounced" if failure.address else "refused"), str(failure)
    except MailUnknown as failure:
        return "unknown", str(failure)
    return "sent", None


@dataclass(frozen=True, slots=True, kw_only=True)
class Messenger:
    """Sends the messages of one case at a time, on a connection that holds the case's lock.

    `is_quiet` says whether the customer is not to be written to at that moment. `public_url` is
    where this engine's own pages are reached from outside, None where they are not.
    """

    database: Database
    gateway: Gateway
    post: Post
    planner: Planner
    is_quiet: Callable[[CaseView, datetime, Messages], bool]
    public_url: str | None
    keys: LinkKeys
    gate: Gate
    clock: Callable[[], datetime]

    def run(self, connection: Connection, case_id: str, action: Action) -> None:
        """Carry out one claimed message.

        Raises:
            StripeUnavailable, StripeForbidden: nothing was sent; the action is to be held.
        """
        with connection.begin():
            case = rows.get(connection, case_id)
            begun = messages.of_action(connection, action.id)
            if begun is not None:
                # its process died between the intent and the answer
                messages.finish(connection, action.id, state="unknown", error="its process ended")
                self._done(connection, case, action, "not known whether it was sent")
                return
            kept = self._kept_back(connection, case, action)
        if kept is not None:
            return
        permit = self.gate.permit(case.mode)
        invoice = self.gateway.invoice(case.account, case.invoice_id)
        customer = self.gateway.customer(case.account, case.customer_id)
        letter = self._commit_intent(connection, case, action, invoice, customer)
        if letter is not None:
            self._send(connection, case, action, letter, permit)

    def _kept_back(self, connection: Connection, case: Case, action: Action) -> str | None:
        """Why nothing is sent now, already written down; None: go ahead."""
        context = self._context(connection, case)
        policy = self.planner.policy_of(case.policy_version)
        since = context.now - timedelta(days=30)
        said = messages.said_to_customer(connection, case.account, case.customer_id, since=since)
        if case.state not in _SPOKEN_TO or case.mode == Mode.HOLDOUT:
            why = f"the case is {case.state}"
        elif said >= policy.messages.most_per_customer_30_days:
            why = f"{said} messages to this customer in 30 days"
        elif context.now - action.due_at > _LATE:
            why = "found too late to be sent blindly"
        else:
            return self._not_now(context, case, action, policy.messages)
        schedule.finish(connection, action.id, result=why, state=ActionState.CANCELLED)
        if why.startswith("found too late"):
            self.planner.plan_message(context, case)
        return why

    def _not_now(
        self, context: CaseContext, case: Case, action: Action, policy: Messages
    ) -> str | None:
        if self.is_quiet(view_of(context, case), context.now, policy):
            schedule.finish(
                context.connection, action.id, result="quiet hours", state=ActionState.CANCELLED
            )
            self.planner.plan_message(context, case)
            return "quiet hours"
        if case.mode == Mode.SHADOW:
            self._begin(context, case, action, state="shadow")
            self._done(context.connection, case, action, "shadow: would have been sent now")
            return "shadow"
        return None

    def _commit_intent(
        self,
        connection: Connection,
        case: Case,
        action: Action,
        invoice: InvoiceFacts,
        customer: CustomerFacts,
    ) -> Letter | None:
        """The last check and the intent, in one transaction; None where it may not be."""
        with connection.begin():
            case, paused = rows.get_with_switch(connection, case.id)
            context = self._context(connection, case)
            if paused or engine_state.read(connection).paused:
                schedule.put_back(connection, action)
                return None
            address, unwritable = address_of(customer)
            hashed = links.hash_of(messages.address_key(connection), address or case.customer_id)
            why = None
            if case.state not in _SPOKEN_TO:
                why = f"the case is {case.state}"
            elif invoice.status != InvoiceStatus.OPEN or invoice.amount_remaining == 0:
                why = f"the invoice is {invoice.status}"
            elif customer.deleted:
                why = "the customer is deleted"
            elif self.post.needs_address and unwritable is not None:
                self._begin(context, case, action, state="not_sent", error=unwritable)
                why = unwritable
            elif self.post.needs_address and not address:
                why = "the customer has no e-mail address"
            else:
                why = messages.suppression_of(connection, case.account, hashed)
            if why is not None:
                schedule.finish(connection, action.id, result=why, state=ActionState.CANCELLED)
                if why == unwritable:  # they may put it right
                    self._once_more(context, case, action, gap=_ASK_FOR_ADDRESS)
                if invoice.status != InvoiceStatus.OPEN:
                    schedule.plan(connection, case, ActionKind.REFRESH, at=context.now)
                return None
            message_id = f"{case.id}.{action.id}"
            try:
                offer = self._offer(context, case, action)
            except NeedsAPerson as question:
                self._ask(context, case, action, question)
                return None
            kind = self._begin(
                context, case, action, state="sending", message_id=message_id,
                address_hash=hashed, language=customer.language,
            )  # fmt: skip
            planned = schedule.planned_retry(connection, case.id)
            policy = self.planner.policy_of(case.policy_version).messages
            return Letter(
                message_id=message_id,
                mail_name=self.keys.name_letter(connection, message_id),
                account=case.account,
                customer_id=case.customer_id,
                invoice_id=case.invoice_id,
                to=address,
                kind=kind,
                language=customer.language or "",
                name=shown_name(customer.name),
                amount=invoice.amount_remaining,
                currency=invoice.currency,
                retry_at=planned.due_at if planned else None,
                timezone=zone_of(case.customer_timezone, case.customer_country).key,
                pay_url=self._pay_url(policy, context, message_id) or invoice.hosted_url,
                unsubscribe_url=self._unsubscribe_url(context, message_id),
                discount=offer.amount if offer else 0,
                offer_until=offer.until if offer else None,
                way=offer.way if offer else Way.CREDIT_NOTE,
            )

    def _offer(self, context: CaseContext, case: Case, action: Action) -> StoredOffer | None:
        _, discount = self.planner.decided_message(context, action)
        standing = offers.of_case(context.connection, case.id)
        if standing is not None:  # said again as long as it can be taken
            can_be_taken = standing.state == OfferState.OPEN and context.now < standing.until
            return standing if can_be_taken else None
        policy = self.planner.policy_of(case.policy_version)
        if not discount or self.public_url is None or policy.messages.way_back != "page":
            return None
        return discounts.make(
            context, case, discount=discount, decision_id=action.decision_id, terms=policy.offers
        )

    def _ask(
        self, context: CaseContext, case: Case, action: Action, question: NeedsAPerson
    ) -> None:
        _, discount = self.planner.decided_message(context, action)
        schedule.finish(
            context.connection, action.id, result=str(question), state=ActionState.CANCELLED
        )
        cases.hold(
            context,
            case,
            reason=str(question),
            proposal={"action": "offer", "discount": discount},
            policy=self.planner.policy_of(case.policy_version),
        )

    def _begin(
        self, context: CaseContext, case: Case, action: Action, *, state: str, **values: str | None
    ) -> MessageKind:
        decided, _ = self.planner.decided_message(context, action)
        kind = decided or MessageKind.UPDATE_METHOD
        messages.begin(
            context.connection,
            case_id=case.id,
            action_id=action.id,
            account=case.account,
            customer_id=case.customer_id,
            kind=kind,
            channel=self.post.channel,
            state=state,
            at=context.now,
            begun_at=context.real_now,
            decision_id=action.decision_id,
            **values,
        )
        return kind

    def _pay_url(self, policy: Messages, context: CaseContext, message_id: str) -> str | None:
        if self.public_url is None or policy.way_back != "page":
            return None
        token = self.keys.sign(context.connection, RECOVER, message_id, now=context.real_now)
        return f"{self.public_url}/r/{token}"

    def _unsubscribe_url(self, context: CaseContext, message_id: str) -> str | None:
        if self.public_url is None:
            return None
        token = self.keys.sign(context.connection, UNSUBSCRIBE, message_id, now=context.real_now)
        return f"{self.public_url}/u/{token}"

    def _send(
        self, connection: Connection, case: Case, action: Action, letter: Letter, permit: Permit
    ) -> None:
        state, error = hand_over(self.post, letter, permit=permit)
        state = "not_sent" if state == "refused" else state
        log.info("message", state=state, kind=letter.kind, error=error)
        with connection.begin():
            case = rows.get(connection, case.id)
            context = self._context(connection, case)
            messages.finish(connection, action.id, state=state, error=error)
            if state == "bounced":
                begun = messages.of_action(connection, action.id)
                if begun is not None:
                    messages.suppress(
                        connection, case.account, begun.address_hash,
                        reason="bounced", by=BY_MAIL_SERVER, note=error, at=context.real_now,
                    )  # fmt: skip
            if state == "not_sent":
                schedule.finish(connection, action.id, result=f"not sent: {error}")
                self._once_more(context, case, action)
                return
            self._done(connection, case, action, state)

    def _once_more(
        self, context: CaseContext, case: Case, action: Action, *, gap: timedelta = _TRY_AGAIN
    ) -> None:
        tries = sum(m.state == "not_sent" for m in messages.of_case(context.connection, case.id))
        if case.state in _SPOKEN_TO and tries < _MOST_TRIES:
            at = context.now + gap * 2 ** (tries - 1)
            schedule.plan(
                context.connection, case, ActionKind.MESSAGE, at=at, decision_id=action.decision_id
            )

    def _done(self, connection: Connection, case: Case, action: Action, result: str) -> None:
        schedule.finish(connection, action.id, result=result)
        self.planner.plan_message(self._context(connection, case), case)

    def _context(self, connection: Connection, case: Case) -> CaseContext:
        real_now = self.clock()
        return CaseContext(
            connection=connection,
            now=rows.time_of(connection, case, real_now),
            real_now=real_now,
        )


def unsubscribe(
    connection: Connection, token: str, *, keys: LinkKeys, now: datetime, write: bool
) -> str | None:
    """The language of the message that the token came with; None where it is none of ours.

    With `write`, its address is never written to again.
    """
    message_id = keys.read(connection, UNSUBSCRIBE, token, now=now)
    found: Row[Any] | Renewal | None = None
    if message_id:
        found = messages.by_message_id(connection, message_id) or renewals.by_message_id(
            connection, message_id
        )
    if found is None or found.address_hash is None:
        return None
    if write:
        messages.suppress(
            connection,
            found.account,
            found.address_hash,
            reason="unsubscribed",
            by=BY_CUSTOMER,
            note=f"by the link of {message_id}",
            at=now,
        )
    return found.language or ""
