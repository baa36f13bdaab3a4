"""Messages as Stripe's own e-mail about the open invoice, in Stripe's words and look."""

from dataclasses import dataclass

from retry_engine.domain.errors import (
    MailNotSent,
    MailRefused,
    MailUnknown,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
)
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.gateway import OUR_KEYS, Gateway
from retry_engine.recovery.messaging.channel import Message


@dataclass(frozen=True, slots=True)
class StripeEmailChannel:
    """Says no more than that the invoice is due: no offer, and no way out of messages."""

    gateway: Gateway
    name: str = "stripe"
    needs_address: bool = True
    takes_several: bool = False  # each is about its invoice

    def send(self, message: Message, *, permit: Permit) -> None:
        """Have it sent; errors as `MessageChannel` says."""
        if message.invoice_id is None:
            raise MailRefused("Stripe writes about invoices only", address=False)
        try:
            self.gateway.send_invoice(
                message.account,
                message.invoice_id,
                permit=permit,
                idempotency_key=f"{OUR_KEYS}message:{message.message_id}",
            )
        except StripeUnavailable as error:
            raise MailUnknown(f"no answer from Stripe: {error}") from None
        except StripeForbidden as error:
            raise MailNotSent(str(error)) from None
        except StripeRejected as error:
            raise MailRefused(str(error), address=False) from None
