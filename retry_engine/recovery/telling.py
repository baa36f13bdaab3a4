"""What the host application is told of a case, kept in the transaction that it tells of.

    a case is opened                          recovery.opened
    it comes to wait for its customer         recovery.needs_customer, each time
    a letter about it has left                recovery.message_sent, each letter
    it closes, the invoice paid               recovery.recovered, recovery.closed
    it closes, and we leave the invoice owed  recovery.given_up, recovery.closed
    it closes otherwise                       recovery.closed
    a closed case turns out to be paid        recovery.recovered, unless it was told

Of cases in whatever mode, as `standing` answers of them too: in shadow, and in the holdout, Stripe
retries, but the payment has failed all the same, and a business that treated those customers
otherwise could not compare the two any more. The case's `mode` tells them apart.

An event's id is made of what it tells of. So the same thing, found out twice, is told once.
"""

import hashlib
import json
from datetime import datetime

from sqlalchemy import Connection

from retry_engine.domain.vocabulary import CloseReason, OutboundType
from retry_engine.recovery import case_document
from retry_engine.recovery.case_document import Document
from retry_engine.store import outbox
from retry_engine.store.cases import Case

# What an event's id begins with; Stripe's begin with `evt_`.
OUTBOUND_ID = "revt_"


def tell(
    connection: Connection,
    case: Case,
    *types: OutboundType,
    at: datetime,
    real_now: datetime,
    about: str = "",
    **more: Document,
) -> None:
    """Keep an event of each type, with the case as it is now, for delivery.

    `about` tells apart what may happen to a case more than once; `more` stands beside the case.
    """
    if not outbox.is_wanted(connection):
        return
    document = case_document.one(connection, case, real_now)
    for kind in types:
        event_id = id_of(kind, case.id, about)
        event = {
            "id": event_id,
            "type": kind,
            "created": case_document.text(at),
            "account": case.account or None,
            "data": {"case": document, **more},
        }
        outbox.add(
            connection,
            id=event_id,
            type=kind,
            account=case.account,
            case_id=case.id,
            created=at,
            body=json.dumps(event, ensure_ascii=False),
            now=real_now,
        )


def id_of(kind: OutboundType, case_id: str, about: str = "") -> str:
    """The event's id: the same for the same thing."""
    digest = hashlib.blake2b(f"{kind} {case_id} {about}".encode(), digest_size=12)
    return f"{OUTBOUND_ID}{digest.hexdigest()}"


def of_end(reason: CloseReason) -> tuple[OutboundType, ...]:
    """What is told where a case ends so."""
    if reason.is_paid:
        return OutboundType.RECOVERED, OutboundType.CLOSED
    if reason.is_given_up:
        return OutboundType.GIVEN_UP, OutboundType.CLOSED
    return (OutboundType.CLOSED,)
