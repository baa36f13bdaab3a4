"""What is said to a customer, and the port through which it goes.

A channel is one file of `adapters/` that keeps to `MessageChannel`, and one block of settings.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from retry_engine.domain import mailbox
from retry_engine.domain.errors import CannotBeWrittenTo, MailNotSent, MailRefused, MailUnknown
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.offers import Way
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.gateway import CustomerFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class DueInvoice:
    """An invoice as a letter names it; `amount` and `discount` as in `Message`."""

    message_id: str
    invoice_id: str
    number: str | None  # as its customer knows it
    issued_at: datetime
    kind: MessageKind
    amount: int
    currency: str
    retry_at: datetime | None
    pay_url: str | None
    discount: int = 0
    offer_until: datetime | None = None
    way: Way = Way.CREDIT_NOTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """All that a message says. `amount` in minor units; `retry_at` where a charge is planned.

    `discount`, minor units, is what the page behind `pay_url` offers until `offer_until`: off what
    is owed or, as a coupon, off the renewal after it. `further` are the customer's other open
    invoices, the most owed first.
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
    number: str | None = None
    issued_at: datetime | None = None
    further: tuple[DueInvoice, ...] = ()


class MessageChannel(Protocol):
    """A channel to customers.

    `needs_address`: it reaches nobody without an e-mail address. `takes_several`: one message of it
    may be about several invoices.
    """

    @property
    def name(self) -> str: ...
    @property
    def needs_address(self) -> bool: ...
    @property
    def takes_several(self) -> bool: ...

    def send(self, message: Message, *, permit: Permit) -> None:
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


def hand_over(
    channel: MessageChannel, message: Message, *, permit: Permit
) -> tuple[str, str | None]:
    """What became of it: sent, not_sent (nothing left), refused, bounced or unknown; and why."""
    try:
        channel.send(message, permit=permit)
    except MailNotSent as failure:
        return "not_sent", str(failure)
    except MailRefused as failure:
        return ("bounced" if failure.address else "refused"), str(failure)
    except MailUnknown as failure:
        return "unknown", str(failure)
    return "sent", None
