"""Stripe through its own library: requests, answers, errors, and the limits all workers share."""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import stripe
import structlog
import urllib3
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from retry_engine.domain import money
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.errors import (
    AccountWithdrew,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
)
from retry_engine.domain.stripe_states import CollectionMethod, InvoiceStatus, SubscriptionStatus
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.gateway import (
    OUR_KEYS,
    ChargeFacts,
    ChargePage,
    CustomerFacts,
    InvoiceFacts,
    InvoiceToPay,
    MethodFacts,
    PaymentTrail,
    PayResult,
    SigmaRun,
    SubscriptionFacts,
)

_Json = Mapping[str, Any]

log = structlog.get_logger()
_T = TypeVar("_T")
_State = TypeVar("_State", InvoiceStatus, SubscriptionStatus, CollectionMethod)

# The version whose shapes are read here. The library pins the same one; saying it keeps an
# upgrade of the library from changing what we read without anybody noticing.
API_VERSION = "2026-10-28.endive"

# Stripe may hold a payment open for long; a shorter wait only makes more outcomes unknown.
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0

# How often one call is repeated, with the same idempotency key, before its outcome is unknown.
_TRIES = 4

# Declines that ask for the customer and nothing else.
_AUTHENTICATION = {"authentication_required", "authentication_not_handled"}


class Transient(StripeUnavailable):
    """An error that is worth the same call again."""


class StripeGateway:
    """`pace(endpoint)` is called before every request and waits until Stripe's limits allow it.

    Example:
        gateway = StripeGateway(key="sk_test_…", base=None, pace=lambda endpoint: None)
        gateway.invoice("", "in_123").amount_remaining
    """

    def __init__(
        self,
        *,
        key: str,
        base: str | None,
        pace: Callable[[str], None],
        sleep: Callable[[float], None],
    ) -> None:
        stripe.enable_telemetry = False
        self._pace = pace
        self._sleep = sleep
        self.answers = 0  # how often Stripe has answered: a no counts, a closed door does not
        self._key = key
        self._files = (base or stripe.DEFAULT_UPLOAD_API_BASE).rstrip("/")
        self._file_wire = _Wire(self._files)
        self._client = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            base_addresses={"api": base.rstrip("/")} if base else {},
            http_client=_Wire(base or stripe.DEFAULT_API_BASE),
            # one layer repeats, and it is ours: the library does not repeat a 429
            max_network_retries=0,
        )

    # -- reading

    def invoice(self, account: str, invoice_id: str) -> InvoiceFacts:
        """The invoice, with its subscription where Stripe expands it."""
        expand = ["parent.subscription_details.subscription"]
        found = self._call(
            "invoices.read",
            lambda: self._client.v1.invoices.retrieve(
                invoice_id, {"expand": expand}, self._options(account)
            ),
        )
        return _invoice(found.to_dict())

    def invoice_to_pay(self, account: str, invoice_id: str) -> InvoiceToPay:
        """The invoice with its confirmation secret and its payment."""
        expand = [
            "confirmation_secret",
            "payments.data.payment.payment_intent",
            "parent.subscription_details.subscription",
        ]
        found = self._call(
            "invoices.read",
            lambda: self._client.v1.invoices.retrieve(
                invoice_id, {"expand": expand}, self._options(account)
            ),
        ).to_dict()
        payments = (found.get("payments") or {}).get("data") or []
        intents = [(p.get("payment") or {}).get("payment_intent") for p in payments]
        return InvoiceToPay(
            status=_state(InvoiceStatus, found["status"]),
            amount_remaining=int(found["amount_remaining"]),
            currency=money.known_currency(found.get("currency"), of=invoice_id),
            hosted_url=found.get("hosted_invoice_url"),
            under_way=any(
                isinstance(i, Mapping) and i.get("status") == "processing" for i in intents
            ),
            client_secret=(found.get("confirmation_secret") or {}).get("client_secret"),
            subscription=_subscription_in(found),
        )

    def payment_trail(self, account: str, invoice_id: str) -> PaymentTrail:
        """The invoice's payment intents, and every charge of each."""
        payments = self._call(
            "invoice_payments.read",
            lambda: list(
                self._client.v1.invoice_payments.list(
                    {
                        "invoice": invoice_id,
                        "limit": 100,
                        "expand": ["data.payment.payment_intent"],
                    },
                    self._options(account),
                ).auto_paging_iter()
            ),
        )
        found = [p.to_dict() for p in payments]
        found.sort(key=lambda p: not p.get("is_default"))
        intents = [i for i in ((p.get("payment") or {}).get("payment_intent") for p in found) if i]
        charges: list[ChargeFacts] = []
        for intent in intents:
            charges += self._charges(account, {"payment_intent": _id(intent)}, intent)
        charges.sort(key=lambda c: c.created_at)
        waiting = next((i for i in intents if _awaits_customer(i)), None)
        return PaymentTrail(
            payment_intent_id=_id(intents[0]) if intents else None,
            charges=tuple(charges),
            awaits_customer=waiting is not None,
            awaiting_method_id=_awaiting_method(waiting),
        )

    def customer_charges(
        self, account: str, customer_id: str, *, since: datetime
    ) -> Sequence[ChargeFacts]:
        """All charges of a customer from `since` on, oldest first."""
        query = {"customer": customer_id, "created": {"gte": int(since.timestamp())}}
        return sorted(self._charges(account, query, None), key=lambda c: c.created_at)

    def _charges(
        self, account: str, query: dict[str, Any], intent: _Json | str | None
    ) -> list[ChargeFacts]:
        found = self._call(
            "charges.read",
            lambda: list(
                self._client.v1.charges.list(
                    {**query, "limit": 100},  # type: ignore[arg-type]  # built per caller
                    self._options(account),
                ).auto_paging_iter()
            ),
        )
        return [charge_facts(c.to_dict(), intent) for c in found]

    def charge(self, account: str, charge_id: str) -> ChargeFacts:
        """One charge."""
        found = self._call(
            "charges.read",
            lambda: self._client.v1.charges.retrieve(charge_id, {}, self._options(account)),
        )
        return charge_facts(found.to_dict(), None)

    def charge_told(self, body: _Json) -> ChargeFacts | None:
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
        found = self._call(
            "charges.read",
            lambda: self._client.v1.charges.list(
                query,  # type: ignore[arg-type]  # built above
                self._options(account),
            ),
        )
        charges = tuple(charge_facts(c.to_dict(), None) for c in found.data)
        return ChargePage(
            charges=charges, after=charges[-1].id if charges and found.has_more else None
        )

    def invoices_of(self, account: str, payment_intent_id: str) -> Sequence[str]:
        """The invoices that a payment intent is to pay; none for a payment without an invoice."""
        payment: Any = {"type": "payment_intent", "payment_intent": payment_intent_id}
        found = self._call(
            "invoice_payments.read",
            lambda: (
                self._client.v1.invoice_payments.list(
                    {"payment": payment, "limit": 100}, self._options(account)
                ).data
            ),
        )
        ids = [_id(p.to_dict().get("invoice")) for p in found]
        return list(dict.fromkeys(i for i in ids if i is not None))

    def invoice_charges(self, account: str, invoice_id: str) -> Sequence[ChargeFacts]:
        """Every charge of an invoice, oldest first, by what stands on the charge itself.

        A payment intent may know more of its last charge, but only until the next one: what is
        read here is the same whenever it is read.
        """
        payments = self._call(
            "invoice_payments.read",
            lambda: list(
                self._client.v1.invoice_payments.list(
                    {"invoice": invoice_id, "limit": 100}, self._options(account)
                ).auto_paging_iter()
            ),
        )
        found = [(p.to_dict().get("payment") or {}).get("payment_intent") for p in payments]
        intents = dict.fromkeys(_id(intent) for intent in found if intent)
        charges = [
            charge
            for intent in intents
            for charge in self._charges(account, {"payment_intent": intent}, None)
        ]
        return sorted(charges, key=lambda c: (c.created_at, c.id))

    def customer(self, account: str, customer_id: str) -> CustomerFacts:
        """The customer, deleted ones included."""
        found = self._call(
            "customers.read",
            lambda: self._client.v1.customers.retrieve(customer_id, {}, self._options(account)),
        )
        return _customer(found.to_dict())

    def payment_methods(self, account: str, customer_id: str) -> Sequence[MethodFacts]:
        """All saved payment methods of a customer."""
        found = self._call(
            "payment_methods.read",
            lambda: list(
                self._client.v1.payment_methods.list(
                    {"customer": customer_id, "limit": 100}, self._options(account)
                ).auto_paging_iter()
            ),
        )
        return [method_facts(m.to_dict()) for m in found]

    def payment_method(self, account: str, method_id: str) -> MethodFacts:
        """One payment method, detached ones included."""
        found = self._call(
            "payment_methods.read",
            lambda: self._client.v1.payment_methods.retrieve(method_id, {}, self._options(account)),
        )
        return method_facts(found.to_dict())

    def mandate_active(self, account: str, mandate_id: str) -> bool | None:
        """Whether Stripe reports the mandate as usable; None where it knows none."""
        try:
            found = self._call(
                "mandates.read",
                lambda: self._client.v1.mandates.retrieve(mandate_id, {}, self._options(account)),
            )
        except StripeRejected:
            return None
        return bool(found.status != "inactive")

    def subscription(self, account: str, subscription_id: str) -> SubscriptionFacts:
        """The subscription."""
        found = self._call(
            "subscriptions.read",
            lambda: self._client.v1.subscriptions.retrieve(
                subscription_id, {}, self._options(account)
            ),
        )
        return _subscription(found.to_dict())

    def subscriptions_of(self, account: str, customer_id: str) -> Sequence[SubscriptionFacts]:
        """All of a customer's that are not canceled; none where the customer is gone."""
        try:
            found = self._call(
                "subscriptions.read",
                lambda: list(
                    self._client.v1.subscriptions.list(
                        {"customer": customer_id, "limit": 100}, self._options(account)
                    ).auto_paging_iter()
                ),
            )
        except StripeRejected as error:
            if error.status == 404:
                return []
            raise
        return [_subscription(s.to_dict()) for s in found]

    def has_paid_since(self, account: str, subscription_id: str, *, after: datetime) -> bool:
        """Whether a later invoice of the subscription is paid."""
        found = self._call(
            "invoices.read",
            lambda: self._client.v1.invoices.list(
                {
                    "subscription": subscription_id,
                    "status": "paid",
                    "created": {"gt": int(after.timestamp())},
                    "limit": 1,
                },
                self._options(account),
            ),
        )
        return bool(found.data)

    def clock(self, account: str, clock_id: str) -> tuple[datetime, str]:
        """A test clock's time and status."""
        found = self._call(
            "test_clocks.read",
            lambda: self._client.v1.test_helpers.test_clocks.retrieve(
                clock_id, {}, self._options(account)
            ),
        )
        return _time(found.frozen_time), str(found.status)

    def sigma_run(self, account: str, run_id: str) -> SigmaRun:
        """One run of a scheduled Sigma query."""
        found = self._call(
            "sigma.read",
            lambda: self._client.v1.sigma.scheduled_query_runs.retrieve(
                run_id, {}, self._options(account)
            ),
        )
        run = found.to_dict()
        return SigmaRun(
            id=run["id"],
            title=run.get("title") or "",
            status=run.get("status") or "",
            file_id=_id(run.get("file")),
            error=(run.get("error") or {}).get("message"),
        )

    def download(self, account: str, file_id: str, into: Path) -> None:
        """Write a file's contents to `into`; all of it, or an error.

        The address is made from the id: the key goes to Stripe and nowhere else, whatever address
        an event names. The library reads answers as JSON, and so cannot read these.
        """
        headers = {"Authorization": f"Bearer {self._key}", "Stripe-Version": API_VERSION}
        if account:
            headers["Stripe-Account"] = account
        url = f"{self._files}/v1/files/{quote(file_id, safe='')}/contents"
        self._call("files.read", lambda: self._file_wire.fetch(url, headers, into))

    def account(self) -> _Json:
        """Our own account: what the key belongs to."""
        return self._call(
            "account.read", lambda: self._client.v1.accounts.retrieve_current().to_dict()
        )

    def webhook_endpoints(self) -> list[_Json]:
        """The webhook endpoints of the account."""
        found = self._call(
            "webhook_endpoints.read",
            lambda: self._client.v1.webhook_endpoints.list({"limit": 100}).data,
        )
        return [w.to_dict() for w in found]

    def recent_invoices(self, *, limit: int) -> list[_Json]:
        """The newest open invoices."""
        found = self._call(
            "invoices.read",
            lambda: self._client.v1.invoices.list({"status": "open", "limit": limit}).data,
        )
        return [i.to_dict() for i in found]

    def stripe_time(self) -> datetime | None:
        """Stripe's own time, from the header of an answer."""
        found = self._call("invoices.read", lambda: self._client.v1.invoices.list({"limit": 1}))
        header = (found.last_response.headers if found.last_response else {}).get("Date")
        return parsedate_to_datetime(header) if header else None

    def may(self, permission: str) -> bool:
        """Whether the key has a permission, found out by asking for what does not exist."""
        probe = "doctor_probe_000000000000"
        v1 = self._client.v1
        asks: dict[str, Callable[[], object]] = {
            "invoices": lambda: v1.invoices.retrieve(f"in_{probe}"),
            "invoice_payments": lambda: v1.invoice_payments.retrieve(f"inpay_{probe}"),
            "charges": lambda: v1.charges.retrieve(f"ch_{probe}"),
            "customers": lambda: v1.customers.retrieve(f"cus_{probe}"),
            "payment_methods": lambda: v1.payment_methods.retrieve(f"pm_{probe}"),
            "subscriptions": lambda: v1.subscriptions.retrieve(f"sub_{probe}"),
            "events": lambda: v1.events.retrieve(f"evt_{probe}"),
            "invoices:write": lambda: v1.invoices.update(f"in_{probe}", {"auto_advance": False}),
            "credit_notes:write": lambda: v1.credit_notes.void_credit_note(f"cn_{probe}"),
            "coupons:write": lambda: v1.coupons.update(f"none_{probe}", {"metadata": {}}),
            "subscriptions:write": lambda: v1.subscriptions.update(
                f"sub_{probe}", {"metadata": {}}
            ),
        }
        try:
            self._call("doctor", asks[permission])
        except StripeForbidden:
            return False
        except StripeRejected:
            return True
        return True

    # -- writing

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
        options = self._options(account)
        options["idempotency_key"] = idempotency_key

        def send() -> Any:
            before_sending()
            return self._client.v1.invoices.pay(
                invoice_id, {"payment_method": method_id, "off_session": True}, options
            )

        try:
            invoice = self._call("invoices.pay", send)
        except _Declined as declined:
            return declined.result
        # 200 with an open invoice: a bank debit is on its way, its result comes as an event
        paid = invoice.status == InvoiceStatus.PAID
        return PayResult(outcome=Outcome.SUCCEEDED if paid else Outcome.PROCESSING)

    def set_auto_advance(
        self, account: str, invoice_id: str, *, permit: Permit, on: bool
    ) -> InvoiceFacts:
        """Sets a value: doing it twice is doing it once. The key only marks the call as ours."""
        options = self._options(account)
        options["idempotency_key"] = f"{OUR_KEYS}auto_advance:{uuid.uuid4().hex}"
        found = self._call(
            "invoices.update",
            lambda: self._client.v1.invoices.update(invoice_id, {"auto_advance": on}, options),
        )
        return _invoice(found.to_dict())

    def cancel_subscription(
        self, account: str, subscription_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """End it at once; `invoice_now` and `prorate` are off."""
        options: Any = {**self._options(account), "idempotency_key": idempotency_key}
        self._call(
            "subscriptions.cancel",
            lambda: self._client.v1.subscriptions.cancel(
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
        options: Any = {**self._options(account), "idempotency_key": idempotency_key}
        self._call(
            "subscriptions.update",
            lambda: self._client.v1.subscriptions.update(subscription_id, changed, options),
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
        found = self._call(
            "billing_portal.sessions.create",
            lambda: self._client.v1.billing_portal.sessions.create(wanted, self._options(account)),
        )
        return str(found.url)

    def setup_secret(
        self, account: str, customer_id: str, *, permit: Permit, idempotency_key: str
    ) -> str:
        """The client secret of a SetupIntent for charges off-session."""
        options: Any = {**self._options(account), "idempotency_key": idempotency_key}
        found = self._call(
            "setup_intents.create",
            lambda: self._client.v1.setup_intents.create(
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
        options: Any = {**self._options(account), "idempotency_key": idempotency_key}
        found = self._call(
            "credit_notes.create",
            lambda: self._client.v1.credit_notes.create(
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

    def credit_note_of(self, account: str, invoice_id: str, *, offer_id: str) -> str | None:
        """By the metadata that `credit_invoice` gives it."""
        found = self._call(
            "credit_notes.read",
            lambda: list(
                self._client.v1.credit_notes.list(
                    {"invoice": invoice_id, "limit": 100}, self._options(account)
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

    def void_credit_note(
        self, account: str, note_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """Void it, unless it is."""
        options: Any = {**self._options(account), "idempotency_key": idempotency_key}
        found = self._call(
            "credit_notes.read",
            lambda: self._client.v1.credit_notes.retrieve(note_id, {}, self._options(account)),
        )
        if found.status != "void":
            self._call(
                "credit_notes.void",
                lambda: self._client.v1.credit_notes.void_credit_note(note_id, {}, options),
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
        coupon_id = _coupon_id(offer_id)
        options: Any = {**self._options(account), "idempotency_key": f"{idempotency_key}:coupon"}
        self._call(
            "coupons.create",
            lambda: self._client.v1.coupons.create(
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
        there = [{"discount": name} for name, _ in self._discounts(account, subscription_id)]
        self._change_subscription(
            account,
            subscription_id,
            {"discounts": [*there, {"coupon": coupon_id}]},
            idempotency_key,
        )
        return coupon_id

    def coupon_of(self, account: str, subscription_id: str, *, offer_id: str) -> str | None:
        """By its id, which is made of the offer's."""
        coupon_id = _coupon_id(offer_id)
        carried = {coupon for _, coupon in self._discounts(account, subscription_id)}
        return coupon_id if coupon_id in carried else None

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
        found = self._discounts(account, subscription_id)
        kept: Any = [{"discount": name} for name, coupon in found if coupon != coupon_id]
        if len(kept) == len(found):
            return False
        self._change_subscription(
            account, subscription_id, {"discounts": kept or ""}, idempotency_key
        )
        return True

    def _discounts(self, account: str, subscription_id: str) -> list[tuple[str, str | None]]:
        """(discount, its coupon) of a subscription."""
        found = self._call(
            "subscriptions.read",
            lambda: self._client.v1.subscriptions.retrieve(
                subscription_id, {"expand": ["discounts"]}, self._options(account)
            ),
        ).to_dict()
        return [
            (str(d["id"]), _id((d.get("source") or {}).get("coupon")))
            for d in found.get("discounts") or ()
        ]

    def send_invoice(
        self, account: str, invoice_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """Stripe's own e-mail, with its hosted page; in test mode it sends none."""
        options: Any = {**self._options(account), "idempotency_key": idempotency_key}
        self._call(
            "invoices.send",
            lambda: self._client.v1.invoices.send_invoice(invoice_id, {}, options),
        )

    def mark_uncollectible(
        self, account: str, invoice_id: str, *, permit: Permit, idempotency_key: str
    ) -> None:
        """Mark it."""
        options: Any = {**self._options(account), "idempotency_key": idempotency_key}
        self._call(
            "invoices.mark_uncollectible",
            lambda: self._client.v1.invoices.mark_uncollectible(invoice_id, {}, options),
        )

    # -- how a call is made

    def _options(self, account: str) -> Any:
        return {"stripe_account": account} if account else {}

    def _call(self, endpoint: str, send: Callable[[], _T]) -> _T:
        retrying = Retrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.3, max=5),
            retry=retry_if_exception_type(Transient),
            sleep=self._sleep,
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                self._pace(endpoint)
                with _errors_of_ours(endpoint):
                    try:
                        answer = send()
                    except (stripe.InvalidRequestError, stripe.CardError):
                        self.answers += 1  # a no is an answer too
                        raise
                    self.answers += 1
                    return answer
        raise AssertionError("tenacity either returns or raises")


class _Wire(stripe.HTTPClient):
    """HTTP over connections that are kept alive.

    The library's own client goes through `requests`, which looks up proxies and rebuilds much for
    every request: that took more of a worker's time than all else about a call.
    """

    name = "urllib3"

    def __init__(self, base: str) -> None:
        super().__init__()
        self._pool = _connections_to(base)

    def request(  # type: ignore[override]  # the body as bytes, as the library's own clients give it
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        **_: Any,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request and read its whole answer."""
        try:
            answer = self._pool.request(
                method.upper(),
                url,
                headers={"Accept-Encoding": "gzip, deflate", **(headers or {})},
                body=post_data,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            text = f"no answer from Stripe: {type(error).__name__}"
            raise stripe.APIConnectionError(text) from error  # type: ignore[no-untyped-call]
        return answer.data, answer.status, answer.headers

    def fetch(self, url: str, headers: Mapping[str, str], into: Path) -> None:
        """Write the body of an answer to a file, however long it is."""
        try:
            answer = self._pool.request(
                "GET", url, headers=headers, preload_content=False, retries=False
            )
            try:
                _refuse_unless_200(answer)
                with into.open("wb") as file:
                    for chunk in answer.stream(1 << 16):
                        file.write(chunk)
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:  # also where the body breaks off
            text = f"no answer from Stripe: {type(error).__name__}"
            raise stripe.APIConnectionError(text) from error  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _connections_to(base: str) -> urllib3.PoolManager:
    """Kept-alive connections to that host, through the environment's proxy where it names one."""
    common: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        "cert_reqs": "CERT_REQUIRED",
        "ca_certs": stripe.ca_bundle_path,
        "maxsize": 10,
    }
    found = urlsplit(base)
    proxies = getproxies()
    proxy = proxies.get(found.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(found.netloc):
        return urllib3.PoolManager(**common)
    if proxy.startswith("socks"):
        from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415  # wants PySocks

        return SOCKSProxyManager(proxy, **common)
    address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    credentials = (
        f"{unquote(address.username)}:{unquote(address.password or '')}"
        if (address.username)
        else None
    )
    return urllib3.ProxyManager(
        address.geturl(),
        proxy_headers=urllib3.make_headers(proxy_basic_auth=credentials),
        **common,
    )


def _refuse_unless_200(answer: urllib3.BaseHTTPResponse) -> None:
    """The library's own errors for what is no file."""
    status = answer.status
    if status == 200:
        return
    made: Any = {"http_status": status}
    if status == 401:
        raise stripe.AuthenticationError(None, **made)
    if status == 403:
        raise stripe.PermissionError(None, **made)
    if status == 429:
        raise stripe.RateLimitError(None, **made)
    if status < 500:
        raise stripe.InvalidRequestError(None, None, **made)  # type: ignore[no-untyped-call]
    raise stripe.APIError(None, **made)


class _Declined(Exception):
    def __init__(self, result: PayResult) -> None:
        self.result = result


@contextmanager
def _errors_of_ours(endpoint: str) -> Iterator[None]:
    """Stripe's errors as ours. Their texts may quote input: only codes and ids are passed on."""
    try:
        yield
    except stripe.CardError as error:
        raise _Declined(_decline(error)) from error
    except stripe.RateLimitError as error:
        code = getattr(error.error, "code", None) or "rate_limit"
        raise Transient(f"Stripe {endpoint}: 429 {code}") from error
    except stripe.IdempotencyError as error:
        raise StripeRejected(
            f"Stripe {endpoint}: the idempotency key was used with other parameters",
            code="idempotency_error",
            status=400,
        ) from error
    except stripe.InvalidRequestError as error:
        text = f"Stripe {endpoint}: {error.http_status} {error.code or 'invalid_request'}"
        if error.param:
            text += f" ({error.param})"
        if error.http_status == 429 or error.code in ("lock_timeout", "rate_limit"):
            raise Transient(text) from error
        raise StripeRejected(text, code=error.code, status=error.http_status) from error
    except stripe.AuthenticationError as error:
        raise StripeForbidden(f"Stripe {endpoint}: 401, the API key is not accepted") from error
    except stripe.PermissionError as error:
        if getattr(error.error, "code", None) == "account_invalid":
            raise AccountWithdrew(
                f"Stripe {endpoint}: 403 account_invalid, the account gives our key no access"
            ) from error
        raise StripeForbidden(
            f"Stripe {endpoint}: 403, the API key lacks the permission for it"
        ) from error
    except stripe.APIConnectionError as error:
        raise Transient(f"Stripe {endpoint}: no answer ({type(error).__name__})") from error
    except stripe.StripeError as error:  # 409 and 5xx come as plain APIError
        raise Transient(f"Stripe {endpoint}: HTTP {error.http_status}") from error


def _decline(error: stripe.CardError) -> PayResult:
    detail = error.error.to_dict() if error.error else {}
    needs_customer = (
        error.code == "invoice_payment_intent_requires_action"
        or detail.get("decline_code") in _AUTHENTICATION
        or error.code == "authentication_required"
    )
    return PayResult(
        outcome=Outcome.REQUIRES_ACTION if needs_customer else Outcome.FAILED,
        charge_id=_id(detail.get("charge")),
        payment_intent_id=_id(detail.get("payment_intent")),
        decline_code=_decline_code(detail.get("decline_code"), error.code),
        advice_code=detail.get("advice_code"),
        network_advice_code=detail.get("network_advice_code"),
        network_decline_code=detail.get("network_decline_code"),
    )


def _decline_code(decline_code: str | None, code: str | None) -> str | None:
    """The finer of the two; `card_declined` alone says nothing."""
    if decline_code:
        return decline_code
    if code == "invoice_payment_intent_requires_action":
        return "authentication_required"
    return None if code in (None, "", "card_declined") else code


def _subscription_in(invoice: _Json) -> SubscriptionFacts | None:
    """The invoice's subscription, where it came along in the same answer."""
    details = ((invoice.get("parent") or {}).get("subscription_details")) or {}
    found = details.get("subscription")
    return _subscription(found) if isinstance(found, dict) else None


def _state(states: type[_State], value: str) -> _State:
    """The member that Stripe's word names; its `UNKNOWN`, said aloud, where none does."""
    try:
        return states(value)
    except ValueError:
        log.warning("unknown_state_of_stripe", of=states.__name__, value=str(value)[:60])
        return states("unknown")


def _invoice(invoice: _Json) -> InvoiceFacts:
    details = ((invoice.get("parent") or {}).get("subscription_details")) or {}
    subscription = details.get("subscription")
    passed = invoice.get("status_transitions") or {}
    return InvoiceFacts(
        id=invoice["id"],
        status=_state(InvoiceStatus, invoice.get("status") or "draft"),
        customer_id=_id(invoice.get("customer")) or "",
        subscription_id=_id(subscription),
        amount_remaining=invoice.get("amount_remaining") or 0,
        currency=money.known_currency(invoice.get("currency"), of=invoice["id"]),
        created_at=_time(invoice["created"]),
        collection_method=_state(
            CollectionMethod, invoice.get("collection_method") or "charge_automatically"
        ),
        auto_advance=bool(invoice.get("auto_advance")),
        attempted=bool(invoice.get("attempted")),
        next_payment_attempt=_time_or_none(invoice.get("next_payment_attempt")),
        billing_reason=invoice.get("billing_reason"),
        default_payment_method_id=_id(invoice.get("default_payment_method")),
        default_source_id=_id(invoice.get("default_source")),
        subscription=_subscription_in(invoice),
        paid_at=_time_or_none(passed.get("paid_at")),
        voided_at=_time_or_none(passed.get("voided_at")),
        uncollectible_at=_time_or_none(passed.get("marked_uncollectible_at")),
        hosted_url=invoice.get("hosted_invoice_url"),
    )


def _subscription(subscription: _Json) -> SubscriptionFacts:
    items = (subscription.get("items") or {}).get("data") or []
    price = (items[0].get("price") or {}) if items else {}
    return SubscriptionFacts(
        id=subscription["id"],
        status=_state(SubscriptionStatus, subscription.get("status") or "active"),
        default_payment_method_id=_id(subscription.get("default_payment_method")),
        default_source_id=_id(subscription.get("default_source")),
        collection_paused=bool(subscription.get("pause_collection")),
        interval=(price.get("recurring") or {}).get("interval"),
        ended_at=_time_or_none(subscription.get("ended_at")),
        period_starts_at=_time_or_none(items[0].get("current_period_start") if items else None),
        period_ends_at=_time_or_none(items[0].get("current_period_end") if items else None),
        trial_ends_at=_time_or_none(subscription.get("trial_end")),
        created_at=_time_or_none(subscription.get("created")),
        sells=frozenset(sold for item in items for sold in _sold(item)),
    )


def _sold(item: _Json) -> Iterator[str]:
    """The price of a subscription's item, and its product."""
    price = item.get("price") or {}
    product = price.get("product") if isinstance(price, Mapping) else None
    yield from (sold for sold in (_id(price or None), _id(product)) if sold is not None)


def _coupon_id(offer_id: str) -> str:
    """What the offer's coupon is called at Stripe, where its letters are restricted."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", f"retry-engine-{offer_id}")


def _customer(customer: _Json) -> CustomerFacts:
    address = customer.get("address") or {}
    shipping = (customer.get("shipping") or {}).get("address") or {}
    metadata = customer.get("metadata") or {}
    settings = customer.get("invoice_settings") or {}
    created = customer.get("created")
    return CustomerFacts(
        id=customer["id"],
        deleted=bool(customer.get("deleted")),
        country=address.get("country") or shipping.get("country"),
        timezone=metadata.get("timezone"),
        created_at=_time_or_none(created),
        default_payment_method_id=_id(settings.get("default_payment_method")),
        default_source_id=_id(customer.get("default_source")),
        test_clock=_id(customer.get("test_clock")),
        email=customer.get("email"),
        name=customer.get("name"),
        language=next(iter(customer.get("preferred_locales") or []), None),
    )


def method_facts(method: _Json) -> MethodFacts:
    """A payment method of the API."""
    kind = method.get("type") or "card"
    detail = method.get(kind) or {}
    blocked = ((detail.get("status_details") or {}).get("blocked")) or {}
    return MethodFacts(
        id=method["id"],
        customer_id=_id(method.get("customer")),
        type=kind,
        created_at=_time(method.get("created") or 0),
        card_brand=detail.get("brand"),
        card_funding=detail.get("funding"),
        card_country=detail.get("country"),
        card_exp_year=detail.get("exp_year"),
        card_exp_month=detail.get("exp_month"),
        card_fingerprint=detail.get("fingerprint"),
        blocked_reason=blocked.get("network_code") or blocked.get("reason"),
    )


def charge_facts(charge: _Json, intent: _Json | str | None) -> ChargeFacts:
    """A charge of the API; `intent`, where it came along, may know more of its decline."""
    details = charge.get("payment_method_details") or {}
    kind = details.get("type") or "card"
    method = details.get(kind) or {}
    outcome = charge.get("outcome") or {}
    error = _last_error_of(intent, charge["id"])
    return ChargeFacts(
        id=charge["id"],
        created_at=_time(charge["created"]),
        amount=charge["amount"],
        currency=charge["currency"],
        outcome=_charge_outcome(charge, error),
        customer_id=_id(charge.get("customer")),
        payment_intent_id=_id(charge.get("payment_intent")),
        payment_method_id=_id(charge.get("payment_method")),
        disputed=bool(charge.get("disputed")),
        method_type=kind,
        card_brand=method.get("brand"),
        card_funding=method.get("funding"),
        card_country=method.get("country"),
        card_exp_year=method.get("exp_year"),
        card_exp_month=method.get("exp_month"),
        card_fingerprint=method.get("fingerprint"),
        mandate_id=_id(method.get("mandate")),
        decline_code=_charge_decline(charge, error),
        advice_code=outcome.get("advice_code") or error.get("advice_code"),
        network_advice_code=(
            outcome.get("network_advice_code") or error.get("network_advice_code")
        ),
        network_decline_code=(
            outcome.get("network_decline_code") or error.get("network_decline_code")
        ),
        outcome_type=outcome.get("type"),
        outcome_reason=outcome.get("reason"),
        risk_level=outcome.get("risk_level"),
    )


def _charge_outcome(charge: _Json, error: _Json) -> Outcome:
    status = charge.get("status")
    if status == "succeeded":
        return Outcome.SUCCEEDED
    if status == "pending":
        return Outcome.PROCESSING
    if _charge_decline(charge, error) in _AUTHENTICATION:
        return Outcome.REQUIRES_ACTION
    return Outcome.FAILED


def _charge_decline(charge: _Json, error: _Json) -> str | None:
    """The payment intent's error is the finest, then the issuer's reason, then the coarse code."""
    if charge.get("status") != "failed":
        return None
    if error.get("decline_code"):
        return str(error["decline_code"])
    outcome = charge.get("outcome") or {}
    reason = outcome.get("reason")
    if reason:
        return str(reason).removeprefix("partner_") if _is_local(charge) else str(reason)
    return _decline_code(None, charge.get("failure_code")) or "generic_decline"


def _is_local(charge: _Json) -> bool:
    """Whether a local payment method was charged, whose reasons carry a `partner_` prefix."""
    return ((charge.get("payment_method_details") or {}).get("type") or "card") != "card"


def _last_error_of(intent: _Json | str | None, charge_id: str) -> _Json:
    if not isinstance(intent, dict):
        return {}
    error = intent.get("last_payment_error") or {}
    return error if _id(error.get("charge")) == charge_id else {}


def _awaits_customer(intent: _Json | str) -> bool:
    if not isinstance(intent, dict):
        return False
    error = intent.get("last_payment_error") or {}
    return intent.get("status") == "requires_action" or (
        intent.get("status") == "requires_payment_method"
        and (error.get("code") in _AUTHENTICATION or error.get("decline_code") in _AUTHENTICATION)
    )


def _awaiting_method(intent: _Json | str | None) -> str | None:
    if not isinstance(intent, dict):
        return None
    error = intent.get("last_payment_error") or {}
    return _id(intent.get("payment_method")) or _id(error.get("payment_method"))


def _id(value: Any) -> str | None:
    """The id of what may be expanded or not."""
    if value is None or isinstance(value, str):
        return value or None
    return str(value["id"])


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _time_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
