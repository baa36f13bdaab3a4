"""An offer is made, taken, and ended, each exactly once: the intent first, then Stripe.

    open ── the customer takes it ── taking ── Stripe has made it ── taken ── paid: used
      │                                 │                              │
      not in time: expired              refused                        not paid in time:
                                                                       ending ── withdrawn

A discount is a credit note, which lowers the invoice, or, where the policy says so, a coupon, which
lowers the renewal after it. Budgets are used when an offer is made, so that whoever was promised
something can have it. A process may die anywhere in between: what is committed says where the
`offer` and `offer_end` actions go on, under the same idempotency keys.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import Refused, StripeRejected, StripeUnavailable
from retry_engine.domain.offers import OfferState, Way
from retry_engine.domain.policy import Offers
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import OUR_KEYS, Gateway
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, intents, offers, reviews, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.offers import StoredOffer
from retry_engine.store.schedule import Action

log = structlog.get_logger()

TAKEABLE = (CaseState.OPEN, CaseState.NEEDS_CUSTOMER)
# Stripe keeps a key for at least a day.
KEY_LIFETIME = timedelta(hours=23)
_ANOTHER_DAY = timedelta(days=1)


class NeedsAPerson(Refused):
    """The offer is larger than the policy lets pass without somebody's approval."""


def make(
    context: CaseContext, case: Case, *, discount: int, decision_id: int | None, terms: Offers
) -> StoredOffer | None:
    """Promise the discount, in the transaction of the message that says so; None: it may not be.

    Raises:
        NeedsAPerson: a person has to approve it first.
    """
    if 0 < terms.review_above < discount <= case.amount_remaining:
        approved = reviews.approved_offer(context.connection, case.id)
        if approved < discount:
            raise NeedsAPerson(f"an offer of more than {terms.review_above} waits for a person")
    if discount >= case.amount_remaining:
        return None
    if terms.way == Way.COUPON and case.subscription_id is None:
        return None
    until = context.now + timedelta(days=terms.valid_days)
    made = offers.reserve(
        context.connection,
        month_budget=terms.month_budget,
        customer_budget=terms.customer_budget,
        case_id=case.id,
        account=case.account,
        customer_id=case.customer_id,
        decision_id=decision_id,
        at=context.now,
        until=until,
        amount=discount,
        currency=case.currency,
        way=terms.way,
    )
    if made is not None:
        schedule.plan(context.connection, case, ActionKind.OFFER_END, at=until)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountOffers:
    """Gives and takes back; each on a connection that holds the case's lock."""

    database: Database
    gateway: Gateway
    terms_of: Callable[[str], Offers]
    gate: Gate
    clock: Callable[[], datetime]

    def take(self, connection: Connection, case_id: str) -> StoredOffer:
        """The customer wants it: the intent, then the credit note.

        Without an answer from Stripe the offer stays `taking`, and the `offer` action finds out.

        Raises:
            Refused: it cannot be had, or not now; nothing was changed.
        """
        self.database.money_may_move(connection)
        with connection.begin():
            case, paused = rows.get_with_switch(connection, case_id)
            context = self._context(connection, case)
            offer = self._takeable(context, case, paused=paused)
            if offer.state == OfferState.OPEN:
                terms = self.terms_of(case.policy_version)
                offers.change(
                    connection,
                    offer.id,
                    OfferState.TAKING,
                    taken_at=context.now,
                    sent_at=context.real_now,
                    pay_until=context.now + timedelta(days=terms.pay_within_days),
                )
                # whoever comes after a crash goes on from there
                schedule.plan(connection, case, ActionKind.OFFER, at=context.now)
                offer = _present(connection, case_id)
        if offer.state == OfferState.TAKING:
            with suppress(StripeUnavailable):
                self._apply(connection, case, offer)
            offer = _fresh(connection, case_id)
        if offer.state == OfferState.REFUSED:
            raise Refused("the offer cannot be applied to this invoice")
        return offer

    def run(self, connection: Connection, action: Action) -> None:
        """Carry out a claimed `offer` or `offer_end`.

        Raises:
            StripeUnavailable, StripeForbidden: not known or not possible now; it is to be held.
            StripeRejected: Stripe refuses to take a discount back; a person has to look.
        """
        with connection.begin():
            case = rows.get(connection, action.case_id)
            offer = offers.of_case(connection, action.case_id)
        result = "there is no offer"
        if offer is not None:
            self.database.money_may_move(connection)
            with connection.begin():
                if engine_state.read(connection).paused:
                    schedule.put_back(connection, action)
                    return
            if offer.state == OfferState.TAKING:
                self._apply(connection, case, offer)
                offer = _fresh(connection, action.case_id)
            result = f"the offer is {offer.state}"
            if action.kind == ActionKind.OFFER_END:
                again = self._end(connection, case, offer)
                if again is not None:
                    with connection.begin():
                        schedule.finish(connection, action.id, result=result)
                        schedule.plan(connection, case, ActionKind.OFFER_END, at=again)
                    return
                result = f"the offer is {_fresh(connection, action.case_id).state}"
        with connection.begin():
            schedule.finish(connection, action.id, result=result)

    def _takeable(self, context: CaseContext, case: Case, *, paused: bool) -> StoredOffer:
        offer = offers.of_case(context.connection, case.id)
        if offer is None:
            raise Refused("there is no offer")
        if offer.state in (OfferState.TAKING, OfferState.TAKEN):
            return offer  # pressed twice
        if offer.state != OfferState.OPEN or context.now >= offer.until:
            raise Refused("the offer has ended")
        if paused or case.state not in TAKEABLE or self.gate.refusal(case.mode):
            raise Refused("the offer cannot be taken at the moment")
        if intents.open_in(context.connection, case.id) is not None:
            raise Refused("a payment is under way; please look again in a few minutes")
        if offer.amount >= case.amount_remaining:
            raise Refused("less is owed than what was offered")
        return offer

    def _apply(self, connection: Connection, case: Case, offer: StoredOffer) -> None:
        """Give it, or find what was given."""
        given = self._found(case, offer)
        refused = None
        if given is None:
            if offer.sent_at is None or self.clock() - offer.sent_at > KEY_LIFETIME:
                refused = "it never reached Stripe"
            else:
                try:
                    given = self._give(case, offer, self.gate.permit(case.mode))
                except StripeRejected as error:
                    refused = str(error)
        with connection.begin():
            case = rows.get(connection, case.id)
            context = self._context(connection, case)
            if given is None:
                offers.change(
                    connection, offer.id, OfferState.REFUSED, ended_at=context.now,
                    error=(refused or "refused")[:500],
                )  # fmt: skip
            else:
                offers.change(connection, offer.id, OfferState.TAKEN, given_as=given)
                at = offer.pay_until or context.now
                schedule.plan(connection, case, ActionKind.OFFER_END, at=max(at, context.now))
                if not case.is_living:
                    schedule.plan(connection, case, ActionKind.OFFER_END, at=context.now)
            schedule.cancel(connection, case.id, kind=ActionKind.OFFER, result="done")
            if case.is_living:
                schedule.plan(connection, case, ActionKind.REFRESH, at=context.now)
            log.info("offer", state="refused" if given is None else "taken", amount=offer.amount)

    def _give(self, case: Case, offer: StoredOffer, permit: Permit) -> str:
        key = f"{OUR_KEYS}{_name(offer)}:take"
        if offer.way == Way.COUPON:
            return self.gateway.give_coupon(
                case.account,
                _subscription(case),
                amount=offer.amount,
                currency=offer.currency,
                offer_id=_name(offer),
                permit=permit,
                idempotency_key=key,
            )
        return self.gateway.credit_invoice(
            case.account,
            case.invoice_id,
            amount=offer.amount,
            offer_id=_name(offer),
            permit=permit,
            idempotency_key=key,
        )

    def _found(self, case: Case, offer: StoredOffer) -> str | None:
        """The offer's credit note or coupon, where Stripe has it."""
        if offer.way == Way.COUPON:
            return self.gateway.coupon_of(case.account, _subscription(case), offer_id=_name(offer))
        return self.gateway.credit_note_of(case.account, case.invoice_id, offer_id=_name(offer))

    def _take_back(self, case: Case, offer: StoredOffer, *, invoice_is_open: bool) -> str | None:
        """Undo what was given; why that cannot be done any more, else None."""
        key = f"{OUR_KEYS}{_name(offer)}:void"
        if offer.given_as is None:
            return None
        permit = self.gate.permit(case.mode)
        if offer.way == Way.COUPON:
            was_there = self.gateway.take_coupon_back(
                case.account,
                _subscription(case),
                offer.given_as,
                permit=permit,
                idempotency_key=key,
            )
            # a process that died after it was taken back left the state at `ending`
            used = not was_there and offer.state == OfferState.TAKEN
            return "a renewal has used it" if used else None
        if invoice_is_open:
            self.gateway.void_credit_note(
                case.account, offer.given_as, permit=permit, idempotency_key=key
            )
        return None

    def _end(  # noqa: PLR0911  # one return a way out
        self, connection: Connection, case: Case, offer: StoredOffer
    ) -> datetime | None:
        """Let it expire or take it back; a time where that has to wait until then."""
        with connection.begin():
            case = rows.get(connection, case.id)
            context = self._context(connection, case)
            if offer.state == OfferState.OPEN:
                if context.now < offer.until and case.is_living:
                    return offer.until
                offers.change(connection, offer.id, OfferState.EXPIRED, ended_at=context.now)
                return None
            if offer.state not in (OfferState.TAKEN, OfferState.ENDING) or offer.ended_at:
                return None
            if case.is_living and offer.pay_until is not None and context.now < offer.pay_until:
                return offer.pay_until
            under_way = intents.open_in(connection, case.id) is not None
            if under_way or case.state == CaseState.PROCESSING:
                return context.now + _ANOTHER_DAY
        self.gate.permit(case.mode)
        invoice = self.gateway.invoice(case.account, case.invoice_id)
        if invoice.status == InvoiceStatus.PAID:
            return None  # used: that is what it was for
        with connection.begin():
            offers.change(connection, offer.id, OfferState.ENDING)
        kept = self._take_back(case, offer, invoice_is_open=invoice.status == InvoiceStatus.OPEN)
        with connection.begin():
            case = rows.get(connection, case.id)
            context = self._context(connection, case)
            # what a renewal has used is given, paid for or not
            state = OfferState.WITHDRAWN if kept is None else OfferState.TAKEN
            offers.change(connection, offer.id, state, ended_at=context.now, error=kept)
            if case.is_living:
                schedule.plan(connection, case, ActionKind.REFRESH, at=context.now)
        log.info("offer", state=state, amount=offer.amount)
        return None

    def _context(self, connection: Connection, case: Case) -> CaseContext:
        real_now = self.clock()
        now = rows.time_of(connection, case, real_now)
        return CaseContext(connection=connection, now=now, real_now=real_now)


def _subscription(case: Case) -> str:
    assert case.subscription_id is not None, "a coupon is offered to subscribers only"
    return case.subscription_id


def _name(offer: StoredOffer) -> str:
    """What Stripe knows it by; the same in every database that ever held it."""
    return f"offer:{offer.case_id}:{offer.id}"


def _present(connection: Connection, case_id: str) -> StoredOffer:
    found = offers.of_case(connection, case_id)
    assert found is not None, "an offer is never deleted"
    return found


def _fresh(connection: Connection, case_id: str) -> StoredOffer:
    with connection.begin():
        return _present(connection, case_id)
