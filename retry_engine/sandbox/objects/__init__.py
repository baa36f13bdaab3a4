"""The API's objects, with every field that its present version has for them.

Only shapes live here: no rule, no time, no chance.
"""

from retry_engine.sandbox.objects.accounts import account, application, test_clock, webhook_endpoint
from retry_engine.sandbox.objects.base import Obj, listing
from retry_engine.sandbox.objects.cash import cash_balance, cash_transaction, transfer_instructions
from retry_engine.sandbox.objects.catalog import plan, price, pricing, product, tax_rate
from retry_engine.sandbox.objects.customers import billing_details, customer
from retry_engine.sandbox.objects.discounts import coupon, discount, promotion_code
from retry_engine.sandbox.objects.disputes import dispute, early_fraud_warning, refund
from retry_engine.sandbox.objects.events import event
from retry_engine.sandbox.objects.invoices import (
    credit_note,
    credit_note_line,
    invoice,
    invoice_item,
    invoice_payment,
    line_item,
)
from retry_engine.sandbox.objects.payment_methods import (
    bacs_debit,
    card,
    legacy_card,
    mandate,
    method_details,
    payment_method,
    sepa_debit,
    token,
    us_bank_account,
)
from retry_engine.sandbox.objects.payments import (
    charge,
    payment_error,
    payment_intent,
    setup_intent,
)
from retry_engine.sandbox.objects.reporting import file, scheduled_query_run
from retry_engine.sandbox.objects.sessions import customer_session, portal_flow, portal_session
from retry_engine.sandbox.objects.subscriptions import subscription, subscription_item

__all__ = [
    "Obj",
    "account",
    "application",
    "bacs_debit",
    "billing_details",
    "card",
    "cash_balance",
    "cash_transaction",
    "charge",
    "coupon",
    "credit_note",
    "credit_note_line",
    "customer",
    "customer_session",
    "discount",
    "dispute",
    "early_fraud_warning",
    "event",
    "file",
    "invoice",
    "invoice_item",
    "invoice_payment",
    "legacy_card",
    "line_item",
    "listing",
    "mandate",
    "method_details",
    "payment_error",
    "payment_intent",
    "payment_method",
    "plan",
    "portal_flow",
    "portal_session",
    "price",
    "pricing",
    "product",
    "promotion_code",
    "refund",
    "scheduled_query_run",
    "sepa_debit",
    "setup_intent",
    "subscription",
    "subscription_item",
    "tax_rate",
    "test_clock",
    "token",
    "transfer_instructions",
    "us_bank_account",
    "webhook_endpoint",
]
