"""Messages through a channel of the operator's own: one signed HTTP call a message.

    POST RETRY_ENGINE_MESSAGES_URL
    Idempotency-Key: <the message's id>
    Retry-Engine-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">

The body is JSON: the facts of the message and its words, ready in the customer's language. Where
they are about several open invoices, `further_invoices` has the facts of the others. What answers
must take one id once: a call whose answer was lost is made again. Who sends it on as an e-mail puts
`mail_name` before the @ of its Message-ID: `messages bounce` believes reports about such letters
only.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from retry_engine import presentation
from retry_engine.adapters import signed_call
from retry_engine.domain.errors import MailNotSent, MailRefused, MailUnknown
from retry_engine.domain.names import shown_name
from retry_engine.domain.policy import Messages
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.messaging.channel import DueInvoice, Message

_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
_TRIES = 4
# The receiver knows that this customer is not to be reached there, now or ever.
_GONE = frozenset({404, 410, 422})


class _Again(Exception):
    """Worth the same call again; `left`: it may have reached the receiver."""

    def __init__(self, text: str, *, left: bool) -> None:
        super().__init__(text)
        self.left = left


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """`sleep` waits between tries; `clock` is real time, for the signature."""

    url: str
    secret: str = field(repr=False)
    message_policy: Messages
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]
    name: str = "http"
    needs_address: bool = False
    takes_several: bool = True

    def send(self, message: Message, *, permit: Permit) -> None:
        """Hand it over; errors as `MessageChannel` says, none with the address in it."""
        body = json.dumps(_document(message, self.message_policy), ensure_ascii=False).encode()
        left = False
        retrying = Retrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.5, max=10),
            retry=retry_if_exception_type(_Again),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            for attempt in retrying:
                with attempt:
                    try:
                        self._call(message.message_id, body)
                    except _Again as again:
                        left = left or again.left
                        raise
        except _Again as again:
            if left:
                raise MailUnknown(f"the messages' address: {again}") from None
            raise MailNotSent(f"the messages' address: {again}") from None

    def _call(self, message_id: str, body: bytes) -> None:
        at = int(self.clock().timestamp())
        headers = signed_call.headers(self.secret, at, body, **{"Idempotency-Key": message_id})
        try:
            answer = httpx.post(self.url, content=body, headers=headers, timeout=_TIMEOUT)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise _Again(f"not reached ({type(error).__name__})", left=False) from None
        except httpx.HTTPError as error:
            raise _Again(f"no answer ({type(error).__name__})", left=True) from None
        status = answer.status_code
        if status in (429, 503):  # by their meaning it was not taken
            raise _Again(f"HTTP {status}", left=False)
        if status >= 500:
            raise _Again(f"HTTP {status}", left=True)
        if not answer.is_success:
            raise MailRefused(f"the messages' address: HTTP {status}", address=status in _GONE)


def _document(message: Message, message_policy: Messages) -> dict[str, Any]:
    written = presentation.write(message, message_policy=message_policy)
    return {
        "id": message.message_id,
        "mail_name": message.mail_name,
        "kind": message.kind,
        "account": message.account or None,
        "customer": message.customer_id,
        "invoice": message.invoice_id,
        "email": message.to or None,
        "name": shown_name(message.name),
        "language": written.language,
        "amount": message.amount,
        "currency": message.currency,
        "discount": message.discount,
        "offer_until": message.offer_until.isoformat() if message.offer_until else None,
        "retry_at": message.retry_at.isoformat() if message.retry_at else None,
        "pay_url": message.pay_url,
        "unsubscribe_url": message.unsubscribe_url,
        "further_invoices": [_further(due) for due in message.further],
        "subject": written.subject,
        "text": written.text,
        "html": written.html,
    }


def _further(due: DueInvoice) -> dict[str, Any]:
    """Another open invoice that the words are about as well."""
    return {
        "invoice": due.invoice_id,
        "number": due.number,
        "kind": due.kind,
        "amount": due.amount,
        "currency": due.currency,
        "discount": due.discount,
        "offer_until": due.offer_until.isoformat() if due.offer_until else None,
        "retry_at": due.retry_at.isoformat() if due.retry_at else None,
        "pay_url": due.pay_url,
    }
