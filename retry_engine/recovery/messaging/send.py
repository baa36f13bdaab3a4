"""A planned message is sent, once: everything read again, the intent committed, then the post.

claimed ── look again ── intent committed ── sent ── what became of it, the next planned
             │                                 │
             paid, held, unsubscribed, quiet:  no answer: nobody knows whether it arrived,
             not now or not at all             so it is never sent again

A customer gets one letter about all their open invoices. Whichever is due first takes along what
is planned to be said of the others; each of these finds, when its own message is due, that it has
been said, and is planned anew. Letters to one customer are `min_gap_hours` apart, whatever about.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind, ActionState
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.errors import (
    StripeRejected,
)
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.modes import Mode
from retry_engine.domain.names import shown_name
from retry_engine.domain.offers import OfferState, Way
from retry_engine.domain.policy import Messages
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.domain.timezones import zone_of
from retry_engine.domain.vocabulary import OutboundType
from retry_engine.recovery import case_document, cases, promises, telling
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import CustomerFacts, Gateway, InvoiceFacts
from retry_engine.recovery.messaging import links
from retry_engine.recovery.messaging.channel import (
    DueInvoice,
    Message,
    MessageChannel,
    address_of,
    hand_over,
)
from retry_engine.recovery.messaging.links import RECOVER, UNSUBSCRIBE, LinkKeys
from retry_engine.recovery.messaging.suppression import BY_MAIL_SERVER
from retry_engine.recovery.planning import Planner
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, messages, offers, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.offers import StoredOffer
from retry_engine.store.schedule import Action

log = structlog.get_logger()

_TRY_AGAIN = timedelta(hours=1)  # then twice as long each time
_ASK_FOR_ADDRESS = timedelta(days=1)  # the same, where theirs cannot be written to
_MOST_TRIES = 6
_LATE = timedelta(hours=24)
_NEVER = datetime.min.replace(tzinfo=UTC)
_SPOKEN_TO = (CaseState.OPEN, CaseState.NEEDS_CUSTOMER)
_MOST_INVOICES = 20  # in one letter; who has more is told of the others in the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Messenger:
    """Sends the messages of one case at a time, on a connection that holds the case's lock.

    `is_quiet` says whether the customer is not to be written to at that moment. `public_url` is
    where this engine's own pages are reached from outside, None where they are not.
    """

    database: Database
    gateway: Gateway
    channel: MessageChannel
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
            if self._kept_back(connection, case, action):
                return
            further = self._further(connection, case)
        if case.mode == Mode.SHADOW:
            self._note(connection, case, action)
            return
        permit = self.gate.permit(case.mode)
        invoice = self.gateway.invoice(case.account, case.invoice_id)
        customer = self.gateway.customer(case.account, case.customer_id)
        found = {other.id: self._invoice(other) for other in further}
        message = self._commit_intent(connection, case, action, invoice, customer, further=found)
        if message is not None:
            self._send(connection, case, action, message, permit)

    def _further(self, connection: Connection, case: Case) -> list[Case]:
        """The customer's other cases of which something is to be said in the same letter."""
        if not self.channel.takes_several:
            return []
        planned = schedule.further_messages(connection, case, most=_MOST_INVOICES - 1)
        return [rows.find(connection, action.case_id) for action in planned]

    def _invoice(self, case: Case) -> InvoiceFacts | None:
        """None where Stripe does not show it: that costs the customer's other invoices nothing."""
        try:
            return self.gateway.invoice(case.account, case.invoice_id)
        except StripeRejected:
            return None

    def _kept_back(self, connection: Connection, case: Case, action: Action) -> bool:
        """Whether nothing is sent now; then that is already written down."""
        context = self._context(connection, case)
        policy = self.planner.policy_of(case.policy_version).messages
        if case.state not in _SPOKEN_TO or case.mode == Mode.HOLDOUT:
            self._drop(context, action, f"the case is {case.state}")
        elif context.now - action.due_at > _LATE:
            self._plan_anew(context, case, action, "found too late to be sent blindly")
        elif self.is_quiet(read_view(context, case), context.now, policy):
            self._plan_anew(context, case, action, "quiet hours")
        else:
            return False
        return True

    def _is_not_its_turn(self, context: CaseContext, case: Case, action: Action) -> bool:
        """Whether it was said in another letter, or the customer has had letters enough for now.

        Then that is written down. Asked while no other letter to the customer can be begun.
        """
        connection = context.connection
        policy = self.planner.policy_of(case.policy_version).messages
        said = messages.of_decision(connection, case.id, action.decision_id)
        of = (connection, case.account, case.customer_id)
        count = messages.said_to_customer(*of, since=context.now - timedelta(days=30))
        last = messages.last_to_customer(*of)
        gap = timedelta(hours=policy.min_gap_hours)
        if said == "sending":  # brought forward once it is known what became of that letter
            schedule.put_back(connection, action, at=context.now + _TRY_AGAIN)
        elif said is not None:
            self._plan_anew(context, case, action, "said in the letter about another invoice")
        elif count >= policy.most_per_customer_30_days:
            self._drop(context, action, f"{count} messages to this customer in 30 days")
        elif last is not None and context.now < last + gap:
            # not planned anew: of letters about other invoices the planner knows nothing
            schedule.put_back(connection, action, at=last + gap)
        elif not self.channel.takes_several and self._lets_another_go_first(context, case):
            schedule.put_back(connection, action, at=context.now + _TRY_AGAIN)
        else:
            return False
        return True

    def _lets_another_go_first(self, context: CaseContext, case: Case) -> bool:
        """Whether another invoice's message is due too, and its turn is before the case's.

        First whose last message was longest ago, so that nobody waits for the other's second turn;
        then what is owed most, within one currency.
        """

        def turn(one: Case) -> tuple[datetime, str, int, str]:
            said = (m for m in messages.of_case(connection, one.id) if m.state in messages.SAID)
            last = max((m.at for m in said), default=_NEVER)
            return last, one.currency, -one.amount_remaining, one.id

        connection = context.connection
        planned = schedule.further_messages(connection, case, most=_MOST_INVOICES - 1)
        due = (its for its in planned if its.due_at <= context.now)
        mine = turn(case)
        return any(turn(rows.find(connection, its.case_id)) < mine for its in due)

    def _drop(self, context: CaseContext, action: Action, why: str) -> None:
        schedule.finish(context.connection, action.id, result=why, state=ActionState.CANCELLED)

    def _plan_anew(self, context: CaseContext, case: Case, action: Action, why: str) -> None:
        self._drop(context, action, why)
        self.planner.plan_message(context, case)

    def _note(self, connection: Connection, case: Case, action: Action) -> None:
        """In shadow: write down what would have been said now, and in one letter with what."""
        with connection.begin():
            messages.lock_customer(connection, case.account, case.customer_id)
            case = rows.get(connection, case.id)
            context = self._context(connection, case)
            if case.state not in _SPOKEN_TO:
                self._drop(context, action, f"the case is {case.state}")
            if case.state not in _SPOKEN_TO or self._is_not_its_turn(context, case, action):
                return
            begun, _ = self._begin(context, case, action, state="shadow")
            if self.channel.takes_several:
                for its in schedule.further_messages(connection, case, most=_MOST_INVOICES - 1):
                    other = rows.find(connection, its.case_id)
                    self._begin(context, other, its, state="shadow", said_in=begun)
            self._done(connection, case, action, "shadow: would have been sent now")

    def _commit_intent(
        self,
        connection: Connection,
        case: Case,
        action: Action,
        invoice: InvoiceFacts,
        customer: CustomerFacts,
        *,
        further: Mapping[str, InvoiceFacts | None],
    ) -> Message | None:
        """The last check and the intent, in one transaction; None where it may not be."""
        with connection.begin():
            messages.lock_customer(connection, case.account, case.customer_id)
            for case_id in sorted({case.id, *further}):
                rows.get(connection, case_id)  # locked, in an order that is everybody's
            case, paused = rows.get_with_switch(connection, case.id)
            context = self._context(connection, case)
            if paused or engine_state.read(connection).paused:
                schedule.put_back(connection, action)
                return None
            address, unwritable = address_of(customer)
            hashed = links.hash_of(messages.address_key(connection), address or case.customer_id)
            why = self._why_not(case, invoice, customer) or messages.suppression_of(
                connection, case.account, hashed
            )
            if why is not None:
                self._drop(context, action, why)
                if why == unwritable:  # they may put it right
                    self._begin(context, case, action, state="not_sent", error=unwritable)
                    self._once_more(context, case, action, gap=_ASK_FOR_ADDRESS)
                if invoice.status != InvoiceStatus.OPEN:
                    schedule.plan(connection, case, ActionKind.REFRESH, at=context.now)
                return None
            if self._is_not_its_turn(context, case, action):
                return None
            message_id = f"{case.id}.{action.id}"
            try:
                offer = self._offer(context, case, action)
            except promises.NeedsAPerson as question:
                self._ask(context, case, action, question)
                return None
            to = {"address_hash": hashed, "language": customer.language}
            begun, own = self._say(
                context, case, action, invoice, message_id=message_id, offer=offer, to=to
            )
            others = self._say_along(
                context, case, action, further, to=to, said_in=begun, offered=offer is not None
            )
            return Message(
                message_id=message_id,
                mail_name=self.keys.name_letter(connection, message_id),
                account=case.account,
                customer_id=case.customer_id,
                invoice_id=case.invoice_id,
                to=address,
                kind=own.kind,
                language=customer.language or "",
                name=shown_name(customer.name),
                amount=own.amount,
                currency=own.currency,
                retry_at=own.retry_at,
                timezone=zone_of(case.customer_timezone, case.customer_country).key,
                pay_url=own.pay_url,
                unsubscribe_url=self._unsubscribe_url(context, message_id),
                discount=own.discount,
                offer_until=own.offer_until,
                way=own.way,
                number=own.number,
                issued_at=own.issued_at,
                further=others,
            )

    def _why_not(self, case: Case, invoice: InvoiceFacts, customer: CustomerFacts) -> str | None:
        """Why this customer is not written to about this invoice, as both stand at Stripe."""
        address, unwritable = address_of(customer)
        if case.state not in _SPOKEN_TO:
            return f"the case is {case.state}"
        if invoice.status != InvoiceStatus.OPEN or invoice.amount_remaining == 0:
            return f"the invoice is {invoice.status}"
        if customer.deleted:
            return "the customer is deleted"
        if self.channel.needs_address and not address:
            return unwritable or "the customer has no e-mail address"
        return None

    def _say(
        self,
        context: CaseContext,
        case: Case,
        action: Action,
        invoice: InvoiceFacts,
        *,
        message_id: str,
        offer: StoredOffer | None,
        to: dict[str, str | None],
        said_in: int | None = None,
    ) -> tuple[int, DueInvoice]:
        """The intent to say it, in that letter or as one: its id, and what is said."""
        connection = context.connection
        begun, kind = self._begin(
            context, case, action, state="sending", said_in=said_in, message_id=message_id, **to
        )
        planned = schedule.planned_retry(connection, case.id)
        policy = self.planner.policy_of(case.policy_version).messages
        return begun, DueInvoice(
            message_id=message_id,
            invoice_id=case.invoice_id,
            number=invoice.number,
            issued_at=invoice.created_at,
            kind=kind,
            amount=invoice.amount_remaining,
            currency=invoice.currency,
            retry_at=planned.due_at if planned else None,
            pay_url=self._pay_url(policy, context, message_id) or invoice.hosted_url,
            discount=offer.amount if offer else 0,
            offer_until=offer.until if offer else None,
            way=offer.way if offer else Way.CREDIT_NOTE,
        )

    def _say_along(
        self,
        context: CaseContext,
        case: Case,
        action: Action,
        further: Mapping[str, InvoiceFacts | None],
        *,
        to: dict[str, str | None],
        said_in: int,
        offered: bool,
    ) -> tuple[DueInvoice, ...]:
        """The intents for the customer's other open invoices, as they stand now, the rows locked.

        A letter makes one new offer at most; what was offered before is said again.
        """
        connection, said = context.connection, []
        for its in schedule.further_messages(connection, case, most=_MOST_INVOICES - 1):
            invoice = further.get(its.case_id)
            if invoice is None:  # planned since, or not to be read
                continue
            other = rows.get(connection, its.case_id)
            if invoice.status != InvoiceStatus.OPEN or invoice.amount_remaining == 0:
                schedule.plan(connection, other, ActionKind.REFRESH, at=context.now)
                continue
            offer = None
            if not offered or offers.of_case(connection, other.id) is not None:
                try:
                    offer = self._offer(context, other, its)
                except promises.NeedsAPerson:  # who is asked when its own letter is due
                    continue
            offered = offered or offer is not None
            message_id = f"{other.id}.{action.id}"
            _, due = self._say(
                context, other, its, invoice,
                message_id=message_id, offer=offer, to=to, said_in=said_in,
            )  # fmt: skip
            said.append(due)
        return tuple(sorted(said, key=lambda due: (due.currency, -due.amount, due.issued_at)))

    def _offer(self, context: CaseContext, case: Case, action: Action) -> StoredOffer | None:
        _, discount = self.planner.decided_message(context, action)
        standing = offers.of_case(context.connection, case.id)
        if standing is not None:  # said again as long as it can be taken
            can_be_taken = standing.state == OfferState.OPEN and context.now < standing.until
            return standing if can_be_taken else None
        policy = self.planner.policy_of(case.policy_version)
        if not discount or self.public_url is None or policy.messages.way_back != "page":
            return None
        return promises.promise(
            context, case, discount=discount, decision_id=action.decision_id, terms=policy.offers
        )

    def _ask(
        self, context: CaseContext, case: Case, action: Action, question: promises.NeedsAPerson
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
        self,
        context: CaseContext,
        case: Case,
        action: Action,
        *,
        state: str,
        said_in: int | None = None,
        **values: str | None,
    ) -> tuple[int, MessageKind]:
        decided, _ = self.planner.decided_message(context, action)
        kind = decided or MessageKind.UPDATE_METHOD
        begun = messages.begin(
            context.connection,
            case_id=case.id,
            action_id=action.id if said_in is None else None,
            said_in=said_in,
            account=case.account,
            customer_id=case.customer_id,
            kind=kind,
            channel=self.channel.name,
            state=state,
            at=context.now,
            begun_at=context.real_now,
            decision_id=action.decision_id,
            **values,
        )
        return begun, kind

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
        self, connection: Connection, case: Case, action: Action, message: Message, permit: Permit
    ) -> None:
        state, error = hand_over(self.channel, message, permit=permit)
        state = "not_sent" if state == "refused" else state
        log.info("message", state=state, kind=message.kind, error=error)
        with connection.begin():
            case = rows.get(connection, case.id)
            context = self._context(connection, case)
            messages.finish(connection, action.id, state=state, error=error)
            if state == "bounced":
                begun = messages.of_action(connection, action.id)
                if begun is not None and begun.address_hash is not None:
                    messages.suppress(
                        connection, case.account, begun.address_hash,
                        reason="bounced", by=BY_MAIL_SERVER, note=error, at=context.real_now,
                    )  # fmt: skip
            if state == "not_sent":
                schedule.finish(connection, action.id, result=f"not sent: {error}")
                self._once_more(context, case, action)
                return
            if state == "sent":
                self._tell(context, action)
            self._done(connection, case, action, state)

    def _tell(self, context: CaseContext, action: Action) -> None:
        """The host application hears of it, for each of the invoices that the letter is about."""
        for said in messages.in_letter(context.connection, action.id):
            document = {
                "at": case_document.text(said.at),
                "kind": said.kind,
                "channel": said.channel,
                "language": said.language,
            }
            telling.tell(
                context.connection,
                rows.find(context.connection, said.case_id),
                OutboundType.MESSAGE_SENT,
                at=said.at,
                real_now=context.real_now,
                about=str(said.id),
                message=document,
            )

    def _once_more(
        self, context: CaseContext, case: Case, action: Action, *, gap: timedelta = _TRY_AGAIN
    ) -> None:
        tries = sum(
            m.state == "not_sent" and m.said_in is None
            for m in messages.of_case(context.connection, case.id)
        )
        if case.state in _SPOKEN_TO and tries < _MOST_TRIES:
            at = context.now + gap * 2 ** (tries - 1)
            schedule.plan(
                context.connection, case, ActionKind.MESSAGE, at=at, decision_id=action.decision_id
            )

    def _done(self, connection: Connection, case: Case, action: Action, result: str) -> None:
        context = self._context(connection, case)
        schedule.finish(connection, action.id, result=result)
        self.planner.plan_message(context, case)
        # what was said of the others is theirs to note: each plans its next message by itself
        others = messages.also_about(connection, action.id)
        schedule.bring_forward(connection, others, ActionKind.MESSAGE, at=context.now)

    def _context(self, connection: Connection, case: Case) -> CaseContext:
        real_now = self.clock()
        return CaseContext(
            connection=connection,
            now=rows.time_of(connection, case, real_now),
            real_now=real_now,
        )
