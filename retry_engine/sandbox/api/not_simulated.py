"""Documented parameters and payment methods that are not simulated.

Whatever Stripe documents for a route is taken by it, or refused here by name: a newcomer should
never be told that a parameter is unknown which they have read about.
"""

from collections.abc import Mapping

from retry_engine.sandbox.errors import Refused

_TAX = ("automatic_tax", "default_tax_rates", "tax", "tax_id_data", "tax_rates", "tax_code")
_CONNECT = ("application_fee_amount", "application_fee_percent", "on_behalf_of", "transfer_data")
_V2 = ("customer_account", "confirmation_token", "hooks", "payment_details", "amount_details")
_OTHERS = ("payment_method_configuration", "radar_options", "mandate")

# any of these is refused wherever Stripe documents it and the route does not take it
NOT_SIMULATED = frozenset(
    {
        *_TAX, *_CONNECT, *_V2, *_OTHERS,
        # customers
        "business_name", "individual_name", "cash_balance",
        # products, prices, coupons
        "tax_details", "type", "currency_options", "custom_unit_amount", "tiers", "tiers_mode",
        "billing_scheme", "transform_quantity", "transfer_lookup_key", "applies_to", "ids",
        "lookup_keys", "recurring", "restrictions",
        # subscriptions
        "backdate_start_date", "billing_cycle_anchor_config", "billing_schedules",
        "billing_thresholds", "pending_invoice_item_interval", "proration_date",
        "add_invoice_items", "billing_mode", "current_period_end", "current_period_start", "plan",
        "payment_behavior",
        # invoices and what is on them
        "discounts", "from_invoice", "shipping_cost", "rendering", "account_tax_ids", "issuer",
        "subscription", "tax_behavior", "effective_at", "automatically_finalizes_at", "due_date",
        # credit notes, refunds
        "credit_amount", "out_of_band_amount", "refund_amount", "refunds", "customer", "currency",
        "instructions_email", "origin", "refund_application_fee", "reverse_transfer",
        # payments
        "amount_to_confirm", "excluded_payment_method_types", "quantity_decimal", "invoicing_rules",
        "pricing", "price_data", "statement_descriptor", "statement_descriptor_suffix",
        "final_capture", "intended_submission_method", "attach_to_self",
        "flow_directions", "single_use", "destination", "application_fee", "us_bank_account",
        "payment_method", "allow_redisplay", "transfer_group",
    }
)  # fmt: skip

# methods that Stripe knows and the sandbox has not
FOREIGN_METHODS = frozenset(
    {
        "acss_debit", "affirm", "afterpay_clearpay", "alipay", "alma", "amazon_pay",
        "au_becs_debit", "bancontact", "billie", "bizum", "blik", "boleto", "cashapp", "crypto",
        "custom", "customer_balance", "eps", "fpx", "giropay", "grabpay", "ideal",
        "interac_present", "kakao_pay", "klarna", "konbini", "kr_card", "link", "mb_way",
        "mobilepay", "multibanco", "naver_pay", "nz_bank_account", "oxxo", "p24", "pay_by_bank",
        "payco", "paynow", "paypal", "paypay", "payto", "pix", "promptpay", "revolut_pay",
        "samsung_pay", "satispay", "scalapay", "sequra", "sofort", "sunbit", "swish", "twint",
        "upi", "wechat_pay", "zip",
    }
)  # fmt: skip


def refuse_not_simulated(params: Mapping[str, object], taken: Mapping[str, object]) -> None:
    """Say so where a documented parameter would change something that is not simulated."""
    for name in sorted(set(params) - set(taken)):
        if name in NOT_SIMULATED or name in FOREIGN_METHODS:
            raise Refused(
                400,
                "invalid_request_error",
                f"The sandbox does not simulate the parameter {name} here. Stripe takes it.",
                code="parameter_not_simulated",
                param=name,
            )
