"""A case as it is known: read from the record alone, and what of it a decision was made from."""

from datetime import datetime, timedelta
from typing import Any

from retry_engine.domain import card_history
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.messages import MessageKind, SentMessage
from retry_engine.domain.offers import Offer
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.recovery.cases import CaseContext
from retry_engine.store import (
    attempts,
    learning,
    messages,
    offers,
    payment_methods,
)
from retry_engine.store.cases import Case

_SPOKEN_TO = (CaseState.OPEN, CaseState.NEEDS_CUSTOMER)
# The networks look back 30 days, bank debits 180.
_LOOK_BACK = timedelta(days=180)


def read_view(context: CaseContext, case: Case) -> CaseView:
    """The case as known now, from the record alone."""
    connection = context.connection
    methods = payment_methods.attached(
        connection, case.account, case.customer_id, default_id=case.default_method_id
    )
    own = tuple(
        attempts.as_attempt(row, invoice_id=case.invoice_id)
        for row in attempts.of_case(connection, case.id)
    )
    others = attempts.on_cards(
        connection,
        case_id=case.id,
        account=case.account,
        customer_id=case.customer_id,
        method_ids=[m.id for m in methods],
        fingerprints=[m.card_fingerprint for m in methods if m.card_fingerprint],
        since=context.now - _LOOK_BACK,
    )
    imported = learning.past_of(
        connection,
        account=case.account,
        customer_id=case.customer_id,
        invoice_id=case.invoice_id,
        before=context.now,
        recorded_since=context.now - _LOOK_BACK,
    )
    offered = offers.of_case(connection, case.id)
    return CaseView(
        case_id=case.id,
        invoice_id=case.invoice_id,
        customer_id=case.customer_id,
        account=case.account,
        now=context.now,
        opened_at=case.opened_at,
        deadline_at=case.deadline_at,
        amount=case.amount_remaining,
        currency=case.currency,
        attempts=own,
        payment_methods=methods,
        card_attempts=card_history.of_others(
            (attempts.imported_attempt(row) for row in imported),
            (attempts.as_attempt(row, invoice_id=row.payment_intent_id or "") for row in others),
            invoice_id=case.invoice_id,
        ),
        billing_reason=case.billing_reason,
        billing_interval=case.billing_interval,
        invoice_created_at=case.invoice_created_at,
        customer_country=case.customer_country,
        customer_timezone=case.customer_timezone,
        customer_since=case.customer_since,
        stripe_next_attempt_at=case.stripe_next_attempt_at,
        messages=tuple(
            SentMessage(at=row.at, kind=MessageKind(row.kind), visited=row.visited_at is not None)
            for row in messages.of_case(connection, case.id)
            if row.state in messages.SAID
        ),
        offers=(Offer(at=offered.at, amount=offered.amount, state=offered.state),)
        if offered
        else (),
        last_offer_at=offers.last_to_customer(
            connection, case.account, case.customer_id, but=case.id
        ),
    )


def inputs_of(view: CaseView) -> dict[str, Any]:
    """What a decision was made from, as stored beside it; `now` is the decision's own time."""
    return {
        "amount": view.amount,
        "currency": view.currency,
        "deadline_at": _text(view.deadline_at),
        "stripe_next_attempt_at": _text(view.stripe_next_attempt_at),
        "country": view.customer_country,
        "timezone": view.customer_timezone,
        "attempts": [
            [_text(a.at), a.source, a.outcome, a.payment_method_id, a.decline_code, a.advice_code]
            for a in view.attempts
        ],
        "card_attempts": [
            len(view.card_attempts),
            _text(max((a.at for a in view.card_attempts), default=None)),
            *(sum(a.outcome is kind for a in view.card_attempts) for kind in Outcome),
        ],
        "visits": sum(message.visited for message in view.messages),
        "offers": [offer.state for offer in view.offers],
        "payment_methods": [_method_text(m) for m in view.payment_methods],
    }


def _method_text(method: PaymentMethod) -> list[Any]:
    return [
        method.id,
        method.is_default,
        list(method.card_exp) if method.card_exp else None,
        _text(method.changed_at),
        _text(method.authenticated_at),
        method.mandate_active,
        method.blocked_reason,
    ]


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
