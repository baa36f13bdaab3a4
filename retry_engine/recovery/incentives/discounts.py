"""What was promised is taken and ended, each exactly once: the intent first, then Stripe.

    open ── the customer takes it ── taking ── Stripe has made it ── taken ── paid: used
      │                                 │                              │
      not in time: expired              refused                        not paid in time:
                                                                       ending ── withdrawn

A discount is a credit note, which lowers the invoice, or, where the policy says so, a coupon, which
lowers the renewal after it. A process may die anywhere in between: what is committed says where the
`offer` and `offer_end` actions go on, under the same idempotency keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import Refused
from retry_engine.domain.offers import OfferState, Way
from retry_engine.domain.policy import Offers
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import OUR_KEYS, Gateway
from retry_engine.recovery.incentives.saga import TAKEABLE, Made, NotMade, Saga, Step
from retry_engine.store import cases as rows
from retry_engine.store import intents, offers, schedule
from retry_engine.store.cases import Case
from retry_engine.store.database import Database
from retry_engine.store.offers import StoredOffer
from retry_engine.store.schedule import Action

log = structlog.get_logger()

_ANOTHER_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountOffers:
    """Gives and takes back; each on a connection that holds the case's lock."""

    database: Database
    gateway: Gateway
    terms_of: Callable[[str], Offers]
    gate: Gate
    clock: Callable[[], datetime]

    @property
    def _saga(self) -> Saga:
        return Saga(kind=ActionKind.OFFER, database=self.database, gate=self.gate, clock=self.clock)

    def take(self, connection: Connection, case_id: str) -> StoredOffer:
        """The customer wants it: the intent, then the credit note.

        Without an answer from Stripe the offer stays `taking`, and the `offer` action finds out.

        Raises:
            Refused: it cannot be had, or not now; nothing was changed.
        """
        self._saga.take(connection, case_id, self._intend)
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
        if not self._saga.go_on(connection, action, self._under_way):
            return
        with connection.begin():
            case = rows.get(connection, action.case_id)
            offer = offers.of_case(connection, action.case_id)
        again = None
        if offer is not None and action.kind is ActionKind.OFFER_END:
            again = self._end(connection, case, offer)
        with connection.begin():
            left = offers.of_case(connection, action.case_id)
            result = "there is no offer" if left is None else f"the offer is {left.state}"
            schedule.finish(connection, action.id, result=result)
            if again is not None:
                schedule.plan(connection, case, ActionKind.OFFER_END, at=again)

    def _intend(self, context: CaseContext, case: Case, paused: bool) -> Step | None:
        offer = self._takeable(context, case, paused=paused)
        if offer.state == OfferState.OPEN:
            terms = self.terms_of(case.policy_version)
            offers.change(
                context.connection,
                offer.id,
                OfferState.TAKING,
                taken_at=context.now,
                sent_at=context.real_now,
                pay_until=context.now + timedelta(days=terms.pay_within_days),
            )
            offer = _present(context.connection, case.id)
        return self._step(offer) if offer.state == OfferState.TAKING else None

    def _under_way(self, connection: Connection, case: Case) -> Sequence[Step]:
        offer = offers.of_case(connection, case.id)
        return [self._step(offer)] if offer and offer.state == OfferState.TAKING else []

    def _step(self, offer: StoredOffer) -> Step:
        return Step(
            sent_at=offer.sent_at,
            find=partial(self._found, offer),
            make=partial(self._give, offer),
            settle=partial(_settle, offer),
        )

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

    def _give(self, offer: StoredOffer, case: Case, permit: Permit) -> str:
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

    def _found(self, offer: StoredOffer, case: Case) -> str | None:
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
            context = self._saga.context(connection, case)
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
            context = self._saga.context(connection, case)
            # what a renewal has used is given, paid for or not
            state = OfferState.WITHDRAWN if kept is None else OfferState.TAKEN
            offers.change(connection, offer.id, state, ended_at=context.now, error=kept)
            if case.is_living:
                schedule.plan(connection, case, ActionKind.REFRESH, at=context.now)
        log.info("offer", state=state, amount=offer.amount)
        return None


def _settle(offer: StoredOffer, context: CaseContext, case: Case, outcome: Made | NotMade) -> None:
    if isinstance(outcome, NotMade):
        offers.change(
            context.connection,
            offer.id,
            OfferState.REFUSED,
            ended_at=context.now,
            error=outcome.why,
        )
    else:
        offers.change(context.connection, offer.id, OfferState.TAKEN, given_as=outcome.id)
        # whose case has ended meanwhile takes it back at once
        pay_until = offer.pay_until if case.is_living and offer.pay_until else context.now
        at = max(pay_until, context.now)
        schedule.plan(context.connection, case, ActionKind.OFFER_END, at=at)
    taken = isinstance(outcome, Made)
    log.info("offer", state="taken" if taken else "refused", amount=offer.amount)


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
