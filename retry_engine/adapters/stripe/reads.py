"""What is asked of Stripe, and nothing changed by it."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from retry_engine.adapters.stripe.client import Client, Part
from retry_engine.adapters.stripe.mapping import (
    Json,
    awaiting_method,
    awaits_customer,
    charge_facts,
    coupon_id_of,
    customer_facts,
    id_of,
    invoice_facts,
    invoice_to_pay,
    method_facts,
    sigma_run,
    subscription_facts,
    time_of,
)
from retry_engine.domain.errors import StripeRejected
from retry_engine.recovery.gateway import (
    ChargeFacts,
    ChargePage,
    CustomerFacts,
    InvoiceFacts,
    InvoiceToPay,
    MethodFacts,
    PaymentTrail,
    SigmaRun,
    SubscriptionFacts,
)


class Reads(Part):
    """The part of the gateway that looks."""

    def invoice(self, account: str, invoice_id: str) -> InvoiceFacts:
        """The invoice, with its subscription where Stripe expands it."""
        expand = ["parent.subscription_details.subscription"]
        found = self._stripe.call(
            "invoices.read",
            lambda: self._stripe.v1.invoices.retrieve(
                invoice_id, {"expand": expand}, self._stripe.options(account)
            ),
        )
        return invoice_facts(found.to_dict())

    def invoice_to_pay(self, account: str, invoice_id: str) -> InvoiceToPay:
        """The invoice with its confirmation secret and its payment."""
        expand = [
            "confirmation_secret",
            "payments.data.payment.payment_intent",
            "parent.subscription_details.subscription",
        ]
        found = self._stripe.call(
            "invoices.read",
            lambda: self._stripe.v1.invoices.retrieve(
                invoice_id, {"expand": expand}, self._stripe.options(account)
            ),
        ).to_dict()
        return invoice_to_pay(found)

    def payment_trail(self, account: str, invoice_id: str) -> PaymentTrail:
        """The invoice's payment intents, and every charge of each."""
        payments = self._stripe.call(
            "invoice_payments.read",
            lambda: list(
                self._stripe.v1.invoice_payments.list(
                    {
                        "invoice": invoice_id,
                        "limit": 100,
                        "expand": ["data.payment.payment_intent"],
                    },
                    self._stripe.options(account),
                ).auto_paging_iter()
            ),
        )
        found = [p.to_dict() for p in payments]
        found.sort(key=lambda p: not p.get("is_default"))
        intents = [i for i in ((p.get("payment") or {}).get("payment_intent") for p in found) if i]
        charges: list[ChargeFacts] = []
        for intent in intents:
            charges += self._charges(account, {"payment_intent": id_of(intent)}, intent)
        charges.sort(key=lambda c: c.created_at)
        waiting = next((i for i in intents if awaits_customer(i)), None)
        return PaymentTrail(
            payment_intent_id=id_of(intents[0]) if intents else None,
            charges=tuple(charges),
            awaits_customer=waiting is not None,
            awaiting_method_id=awaiting_method(waiting),
        )

    def customer_charges(
        self, account: str, customer_id: str, *, since: datetime
    ) -> Sequence[ChargeFacts]:
        """All charges of a customer from `since` on, oldest first."""
        query = {"customer": customer_id, "created": {"gte": int(since.timestamp())}}
        return sorted(self._charges(account, query, None), key=lambda c: c.created_at)

    def _charges(
        self, account: str, query: dict[str, Any], intent: Json | str | None
    ) -> list[ChargeFacts]:
        found = self._stripe.call(
            "charges.read",
            lambda: list(
                self._stripe.v1.charges.list(
                    {**query, "limit": 100},  # type: ignore[arg-type]  # built per caller
                    self._stripe.options(account),
                ).auto_paging_iter()
            ),
        )
        return [charge_facts(c.to_dict(), intent) for c in found]

    def charge(self, account: str, charge_id: str) -> ChargeFacts:
        """One charge."""
        found = self._stripe.call(
            "charges.read",
            lambda: self._stripe.v1.charges.retrieve(charge_id, {}, self._stripe.options(account)),
        )
        return charge_facts(found.to_dict(), None)

    def charge_told(self, body: Json) -> ChargeFacts | None:
        """A charge out of an event's body, whatever shape that has."""
        try:
            return charge_facts(body, None)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return None

    def charges_page(
        self, account: str, *, since: datetime, after: str | None, limit: int = 100
    ) -> ChargePage:
        """The next charges of the account that are not older than `since`, newest first."""
        query: dict[str, Any] = {"created": {"gte": int(since.timestamp())}, "limit": limit}
        if after is not None:
            query["starting_after"] = after
        found = self._stripe.call(
            "charges.read",
            lambda: self._stripe.v1.charges.list(
                query,  # type: ignore[arg-type]  # built above
                self._stripe.options(account),
            ),
        )
        charges = tuple(charge_facts(c.to_dict(), None) for c in found.data)
        return ChargePage(
            charges=charges, after=charges[-1].id if charges and found.has_more else None
        )

    def invoices_of(self, account: str, payment_intent_id: str) -> Sequence[str]:
        """The invoices that a payment intent is to pay; none for a payment without an invoice."""
        payment: Any = {"type": "payment_intent", "payment_intent": payment_intent_id}
        found = self._stripe.call(
            "invoice_payments.read",
            lambda: (
                self._stripe.v1.invoice_payments.list(
                    {"payment": payment, "limit": 100}, self._stripe.options(account)
                ).data
            ),
        )
        ids = [id_of(p.to_dict().get("invoice")) for p in found]
        return list(dict.fromkeys(i for i in ids if i is not None))

    def invoice_charges(self, account: str, invoice_id: str) -> Sequence[ChargeFacts]:
        """Every charge of an invoice, oldest first, by what stands on the charge itself.

        A payment intent may know more of its last charge, but only until the next one: what is
        read here is the same whenever it is read.
        """
        payments = self._stripe.call(
            "invoice_payments.read",
            lambda: list(
                self._stripe.v1.invoice_payments.list(
                    {"invoice": invoice_id, "limit": 100}, self._stripe.options(account)
                ).auto_paging_iter()
            ),
        )
        found = [(p.to_dict().get("payment") or {}).get("payment_intent") for p in payments]
        intents = dict.fromkeys(id_of(intent) for intent in found if intent)
        charges = [
            charge
            for intent in intents
            for charge in self._charges(account, {"payment_intent": intent}, None)
        ]
        return sorted(charges, key=lambda c: (c.created_at, c.id))

    def customer(self, account: str, customer_id: str) -> CustomerFacts:
        """The customer, deleted ones included."""
        found = self._stripe.call(
            "customers.read",
            lambda: self._stripe.v1.customers.retrieve(
                customer_id, {}, self._stripe.options(account)
            ),
        )
        return customer_facts(found.to_dict())

    def payment_methods(self, account: str, customer_id: str) -> Sequence[MethodFacts]:
        """All saved payment methods of a customer."""
        found = self._stripe.call(
            "payment_methods.read",
            lambda: list(
                self._stripe.v1.payment_methods.list(
                    {"customer": customer_id, "limit": 100}, self._stripe.options(account)
                ).auto_paging_iter()
            ),
        )
        return [method_facts(m.to_dict()) for m in found]

    def payment_method(self, account: str, method_id: str) -> MethodFacts:
        """One payment method, detached ones included."""
        found = self._stripe.call(
            "payment_methods.read",
            lambda: self._stripe.v1.payment_methods.retrieve(
                method_id, {}, self._stripe.options(account)
            ),
        )
        return method_facts(found.to_dict())

    def mandate_active(self, account: str, mandate_id: str) -> bool | None:
        """Whether Stripe reports the mandate as usable; None where it knows none."""
        try:
            found = self._stripe.call(
                "mandates.read",
                lambda: self._stripe.v1.mandates.retrieve(
                    mandate_id, {}, self._stripe.options(account)
                ),
            )
        except StripeRejected:
            return None
        return bool(found.status != "inactive")

    def subscription(self, account: str, subscription_id: str) -> SubscriptionFacts:
        """The subscription."""
        found = self._stripe.call(
            "subscriptions.read",
            lambda: self._stripe.v1.subscriptions.retrieve(
                subscription_id, {}, self._stripe.options(account)
            ),
        )
        return subscription_facts(found.to_dict())

    def subscriptions_of(self, account: str, customer_id: str) -> Sequence[SubscriptionFacts]:
        """All of a customer's that are not canceled; none where the customer is gone."""
        try:
            found = self._stripe.call(
                "subscriptions.read",
                lambda: list(
                    self._stripe.v1.subscriptions.list(
                        {"customer": customer_id, "limit": 100}, self._stripe.options(account)
                    ).auto_paging_iter()
                ),
            )
        except StripeRejected as error:
            if error.status == 404:
                return []
            raise
        return [subscription_facts(s.to_dict()) for s in found]

    def has_paid_since(self, account: str, subscription_id: str, *, after: datetime) -> bool:
        """Whether a later invoice of the subscription is paid."""
        found = self._stripe.call(
            "invoices.read",
            lambda: self._stripe.v1.invoices.list(
                {
                    "subscription": subscription_id,
                    "status": "paid",
                    "created": {"gt": int(after.timestamp())},
                    "limit": 1,
                },
                self._stripe.options(account),
            ),
        )
        return bool(found.data)

    def credit_note_of(self, account: str, invoice_id: str, *, offer_id: str) -> str | None:
        """By the metadata that `credit_invoice` gives it."""
        found = self._stripe.call(
            "credit_notes.read",
            lambda: list(
                self._stripe.v1.credit_notes.list(
                    {"invoice": invoice_id, "limit": 100}, self._stripe.options(account)
                ).auto_paging_iter()
            ),
        )
        notes = (note.to_dict() for note in found)
        return next(
            (
                str(note["id"])
                for note in notes
                if note["status"] == "issued"
                and (note.get("metadata") or {}).get("retry_engine_offer") == offer_id
            ),
            None,
        )

    def coupon_of(self, account: str, subscription_id: str, *, offer_id: str) -> str | None:
        """By its id, which is made of the offer's."""
        coupon_id = coupon_id_of(offer_id)
        carried = {coupon for _, coupon in discounts_of(self._stripe, account, subscription_id)}
        return coupon_id if coupon_id in carried else None

    def clock(self, account: str, clock_id: str) -> tuple[datetime, str]:
        """A test clock's time and status."""
        found = self._stripe.call(
            "test_clocks.read",
            lambda: self._stripe.v1.test_helpers.test_clocks.retrieve(
                clock_id, {}, self._stripe.options(account)
            ),
        )
        return time_of(found.frozen_time), str(found.status)

    def sigma_run(self, account: str, run_id: str) -> SigmaRun:
        """One run of a scheduled Sigma query."""
        found = self._stripe.call(
            "sigma.read",
            lambda: self._stripe.v1.sigma.scheduled_query_runs.retrieve(
                run_id, {}, self._stripe.options(account)
            ),
        )
        return sigma_run(found.to_dict())

    def download(self, account: str, file_id: str, into: Path) -> None:
        """Write a file's contents to `into`; all of it, or an error.

        The address is made from the id: the key goes to Stripe and nowhere else, whatever address
        an event names.
        """
        path = f"/v1/files/{quote(file_id, safe='')}/contents"
        self._stripe.fetch("files.read", account, path, into)


def discounts_of(
    client: Client, account: str, subscription_id: str
) -> list[tuple[str, str | None]]:
    """(discount, its coupon) of a subscription."""
    found = client.call(
        "subscriptions.read",
        lambda: client.v1.subscriptions.retrieve(
            subscription_id, {"expand": ["discounts"]}, client.options(account)
        ),
    ).to_dict()
    return [
        (str(d["id"]), id_of((d.get("source") or {}).get("coupon")))
        for d in found.get("discounts") or ()
    ]
