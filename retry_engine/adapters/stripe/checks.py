"""What `doctor` asks of Stripe about the account and its key."""

from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

from retry_engine.adapters.stripe.client import Part
from retry_engine.adapters.stripe.mapping import Json
from retry_engine.domain.errors import StripeForbidden, StripeRejected


class Checks(Part):
    """The part of the gateway that finds out what it can do."""

    def account(self) -> Json:
        """Our own account: what the key belongs to."""
        return self._stripe.call(
            "account.read", lambda: self._stripe.v1.accounts.retrieve_current().to_dict()
        )

    def webhook_endpoints(self) -> list[Json]:
        """The webhook endpoints of the account."""
        found = self._stripe.call(
            "webhook_endpoints.read",
            lambda: self._stripe.v1.webhook_endpoints.list({"limit": 100}).data,
        )
        return [w.to_dict() for w in found]

    def recent_invoices(self, *, limit: int) -> list[Json]:
        """The newest open invoices."""
        found = self._stripe.call(
            "invoices.read",
            lambda: self._stripe.v1.invoices.list({"status": "open", "limit": limit}).data,
        )
        return [i.to_dict() for i in found]

    def stripe_time(self) -> datetime | None:
        """Stripe's own time, from the header of an answer."""
        found = self._stripe.call(
            "invoices.read", lambda: self._stripe.v1.invoices.list({"limit": 1})
        )
        header = (found.last_response.headers if found.last_response else {}).get("Date")
        return parsedate_to_datetime(header) if header else None

    def may(self, permission: str) -> bool:
        """Whether the key has a permission, found out by asking for what does not exist."""
        probe = "doctor_probe_000000000000"
        v1 = self._stripe.v1
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
            self._stripe.call("doctor", asks[permission])
        except StripeForbidden:
            return False
        except StripeRejected:
            return True
        return True
