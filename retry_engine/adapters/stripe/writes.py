"""What is changed at Stripe: every request here lies behind the gate's permit."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from retry_engine.adapters.stripe.client import Declined, Part
from retry_engine.adapters.stripe.mapping import coupon_id_of, invoice_facts
from retry_engine.adapters.stripe.reads import discounts_of
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.gateway import OUR_KEYS, InvoiceFacts, PayResult


class Writes(Part):
    """The part of the gateway that acts."""

    def pay(
        self,
        account: str,
        invoice_id: str,
        *,
        permit: Permit,
        method_id: str,
        idempotency_key: str,
        before_sending: Callable[[], None],
    ) -> PayResult:
        """Charge what remains of the invoice on that method, off-session."""
        options = self._stripe.options(account, key=idempotency_key)

        def send() -> Any:
            before_sending()
            return self._stripe.v1.invoices.pay(
                invoice_id, {"payment_method": method_id, "off_session": True}, options
            )

        try:
            invoice = self._stripe.call("invoices.pay", send)
        except Declined as declined:
            return declined.result
        # 200 with an open invoice: a bank debit is on its way, its result comes as an event
        paid = invoice.status == InvoiceStatus.PAID
        return PayResult(outcome=Outcome.SUCCEEDED if paid else Outcome.PROCESSING)

    def set_auto_advance(
        self, account: str, invoice_id: str, *, permit: Permit, on: bool
    ) -> InvoiceFacts:
        """Sets a value: doing it twice is doing it once. The key only marks the call as ours."""
        options = self._stripe.options(account, key=f"{OUR_KEYS}auto_advance:{uuid.uuid4().hex}")
        found = self._stripe.call(
            "invoices.update",
            lambda: self._stripe.v1.invoices.update(invoice_id, {"auto_advance": on}, options),
        )
        return invoice_facts(found.to_dict())

    def cancel_subscription(
        self, account: str, subscription_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """End it at once; `invoice_now` and `prorate` are off."""
        options = self._stripe.options(account, key=idempotency_key)
        self._stripe.call(
            "subscriptions.cancel",
            lambda: self._stripe.v1.subscriptions.cancel(
                subscription_id, {"invoice_now": False, "prorate": False}, options
            ),
        )

    def pause_subscription(
        self,
        account: str,
        subscription_id: str,
        *,
        permit: Permit,
        until: datetime | None = None,
        idempotency_key: str,
    ) -> None:
        """`pause_collection` with the behaviour `void`."""
        pause: Any = {"behavior": "void"}
        if until is not None:
            pause["resumes_at"] = int(until.timestamp())
        self._change_subscription(
            account, subscription_id, {"pause_collection": pause}, idempotency_key
        )

    def move_renewals(
        self,
        account: str,
        subscription_id: str,
        *,
        permit: Permit,
        to: datetime,
        idempotency_key: str,
    ) -> None:
        """A trial until then, without prorations: what the days between are worth is given."""
        moved = {"trial_end": int(to.timestamp()), "proration_behavior": "none"}
        self._change_subscription(account, subscription_id, moved, idempotency_key)

    def _change_subscription(
        self, account: str, subscription_id: str, changed: Any, idempotency_key: str
    ) -> None:
        options = self._stripe.options(account, key=idempotency_key)
        self._stripe.call(
            "subscriptions.update",
            lambda: self._stripe.v1.subscriptions.update(subscription_id, changed, options),
        )

    def portal_session(
        self,
        account: str,
        customer_id: str,
        *,
        permit: Permit,
        return_url: str,
        only_method: bool = False,
    ) -> str:
        """A session of the customer portal."""
        wanted: Any = {"customer": customer_id, "return_url": return_url}
        if only_method:
            wanted["flow_data"] = {"type": "payment_method_update"}
        found = self._stripe.call(
            "billing_portal.sessions.create",
            lambda: self._stripe.v1.billing_portal.sessions.create(
                wanted, self._stripe.options(account)
            ),
        )
        return str(found.url)

    def setup_secret(
        self, account: str, customer_id: str, *, permit: Permit, idempotency_key: str
    ) -> str:
        """The client secret of a SetupIntent for charges off-session."""
        options = self._stripe.options(account, key=idempotency_key)
        found = self._stripe.call(
            "setup_intents.create",
            lambda: self._stripe.v1.setup_intents.create(
                {
                    "customer": customer_id,
                    "usage": "off_session",
                    "automatic_payment_methods": {"enabled": True},
                },
                options,
            ),
        )
        return str(found.client_secret)

    def set_default_method(
        self,
        account: str,
        subscription_id: str,
        method_id: str,
        *,
        permit: Permit,
        idempotency_key: str,
    ) -> None:
        """`default_payment_method` of the subscription."""
        self._change_subscription(
            account, subscription_id, {"default_payment_method": method_id}, idempotency_key
        )

    def credit_invoice(
        self,
        account: str,
        invoice_id: str,
        *,
        permit: Permit,
        amount: int,
        offer_id: str,
        idempotency_key: str,
    ) -> str:
        """A credit note with `email_type` none: a finalised invoice cannot be discounted."""
        options = self._stripe.options(account, key=idempotency_key)
        found = self._stripe.call(
            "credit_notes.create",
            lambda: self._stripe.v1.credit_notes.create(
                {
                    "invoice": invoice_id,
                    "amount": amount,
                    "reason": "order_change",
                    "email_type": "none",
                    "metadata": {"retry_engine_offer": offer_id},
                },
                options,
            ),
        )
        return str(found.id)

    def void_credit_note(
        self, account: str, note_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """Void it, unless it is."""
        options = self._stripe.options(account, key=idempotency_key)
        found = self._stripe.call(
            "credit_notes.read",
            lambda: self._stripe.v1.credit_notes.retrieve(
                note_id, {}, self._stripe.options(account)
            ),
        )
        if found.status != "void":
            self._stripe.call(
                "credit_notes.void",
                lambda: self._stripe.v1.credit_notes.void_credit_note(note_id, {}, options),
            )

    def give_coupon(
        self,
        account: str,
        subscription_id: str,
        *,
        permit: Permit,
        amount: int,
        currency: str,
        offer_id: str,
        idempotency_key: str,
    ) -> str:
        """A coupon that can be redeemed once, added to the discounts that are there."""
        coupon_id = coupon_id_of(offer_id)
        options = self._stripe.options(account, key=f"{idempotency_key}:coupon")
        self._stripe.call(
            "coupons.create",
            lambda: self._stripe.v1.coupons.create(
                {
                    "id": coupon_id,
                    "amount_off": amount,
                    "currency": currency,
                    "duration": "once",
                    "max_redemptions": 1,
                    "metadata": {"retry_engine_offer": offer_id},
                },
                options,
            ),
        )
        there = [
            {"discount": name} for name, _ in discounts_of(self._stripe, account, subscription_id)
        ]
        self._change_subscription(
            account,
            subscription_id,
            {"discounts": [*there, {"coupon": coupon_id}]},
            idempotency_key,
        )
        return coupon_id

    def take_coupon_back(
        self,
        account: str,
        subscription_id: str,
        coupon_id: str,
        *,
        permit: Permit,
        idempotency_key: str,
    ) -> bool:
        """The other discounts stay."""
        found = discounts_of(self._stripe, account, subscription_id)
        kept: Any = [{"discount": name} for name, coupon in found if coupon != coupon_id]
        if len(kept) == len(found):
            return False
        self._change_subscription(
            account, subscription_id, {"discounts": kept or ""}, idempotency_key
        )
        return True

    def send_invoice(
        self, account: str, invoice_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """Stripe's own e-mail, with its hosted page; in test mode it sends none."""
        options = self._stripe.options(account, key=idempotency_key)
        self._stripe.call(
            "invoices.send",
            lambda: self._stripe.v1.invoices.send_invoice(invoice_id, {}, options),
        )

    def mark_uncollectible(
        self, account: str, invoice_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """Mark it."""
        options = self._stripe.options(account, key=idempotency_key)
        self._stripe.call(
            "invoices.mark_uncollectible",
            lambda: self._stripe.v1.invoices.mark_uncollectible(invoice_id, {}, options),
        )
