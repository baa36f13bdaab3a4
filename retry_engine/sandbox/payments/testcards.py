"""Stripe's test cards and bank accounts, by the names and numbers that its documentation gives.

What each of them does; that it does so is the business of `payment_methods`,
`authorization`, `disputes` and `refunds`.
"""

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCard:
    """`script`: see `scripts`. `after`: what befalls a charge that went through."""

    __test__ = False  # not a test case, for test runners

    number: str
    script: tuple[object, ...] = ("succeeded",)
    challenges_setup: bool = False
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    refuses_attaching: str | None = None
    after: tuple[str, ...] = ()
    checks: dict[str, str] = field(default_factory=dict)


def _declining(number: str, code: str, **more: Any) -> TestCard:
    """A card that already fails when it is attached, as Stripe's decline cards do."""
    return TestCard(number=number, script=(code,), refuses_attaching=code, **more)


def _asking(number: str, country: str = "IE", then: str = "succeeded", **more: Any) -> TestCard:
    """A card whose bank asks its customer each time; `then`: what follows when they prove it."""
    entry: dict[str, object] = {"outcome": "requires_action", "then": then}
    more.setdefault("challenges_setup", True)
    return TestCard(number=number, country=country, script=(entry,), **more)


_ELEVATED = {"outcome": "succeeded", "risk_level": "elevated"}
_CVC_FAILS = {"cvc_check": "fail"}
_ZIP_FAILS = {"address_postal_code_check": "fail"}

# the name without `pm_card_` / `tok_`
BY_NAME: dict[str, TestCard] = {
    "visa": TestCard(number="4242424242424242"),
    "visa_debit": TestCard(number="4000056655665556", funding="debit"),
    "mastercard": TestCard(number="5555555555554444", brand="mastercard"),
    "mastercard_debit": TestCard(number="5200828282828210", brand="mastercard", funding="debit"),
    "mastercard_prepaid": TestCard(
        number="5105105105105100", brand="mastercard", funding="prepaid"
    ),
    "amex": TestCard(number="378282246310005", brand="amex"),
    "discover": TestCard(number="6011111111111117", brand="discover"),
    "diners": TestCard(number="3056930009020004", brand="diners"),
    "jcb": TestCard(number="3566002020360505", brand="jcb", country="JP"),
    "unionpay": TestCard(number="6200000000000005", brand="unionpay", country="CN"),
    "visa_cartesBancaires": TestCard(number="4000002500001001", country="FR"),
    "mastercard_cartesBancaires": TestCard(
        number="5555552500001001", brand="mastercard", country="FR"
    ),
    "visa_debit_eftposAuCoBranded": TestCard(
        number="4000050360000001", funding="debit", country="AU"
    ),
    "mastercard_debit_eftposAuCoBranded": TestCard(
        number="5555050360000080", brand="mastercard", funding="debit", country="AU"
    ),
    # declines
    "chargeCustomerFail": TestCard(number="4000000000000341", script=("generic_decline",)),
    "chargeDeclined": _declining("4000000000000002", "generic_decline"),
    "chargeDeclinedInsufficientFunds": _declining("4000000000009995", "insufficient_funds"),
    "chargeDeclinedLostCard": _declining("4000000000009987", "lost_card"),
    "chargeDeclinedStolenCard": _declining("4000000000009979", "stolen_card"),
    "chargeDeclinedExpiredCard": _declining("4000000000000069", "expired_card"),
    "chargeDeclinedIncorrectCvc": _declining("4000000000000127", "incorrect_cvc"),
    "chargeDeclinedProcessingError": _declining("4000000000000119", "processing_error"),
    "chargeDeclinedIncorrectNumber": _declining("4242424242424241", "incorrect_number"),
    "chargeDeclinedVelocityLimitExceeded": _declining("4000000000006975", "card_velocity_exceeded"),
    # fraud prevention
    "radarBlock": _declining("4100000000000019", "highest_risk_level"),
    "riskLevelHighest": TestCard(number="4000000000004954", script=("highest_risk_level",)),
    "riskLevelElevated": TestCard(number="4000000000009235", script=(_ELEVATED,)),
    "cvcCheckFail": _declining("4000000000000101", "incorrect_cvc", checks=_CVC_FAILS),
    "cvcCheckFailElevatedRisk": TestCard(
        number="4000058400307872", script=(_ELEVATED,), checks=_CVC_FAILS
    ),
    "avsZipFail": TestCard(number="4000000000000036", checks=_ZIP_FAILS),
    "avsZipFailElevatedRisk": TestCard(
        number="4000058400306072", script=(_ELEVATED,), checks=_ZIP_FAILS
    ),
    "avsLine1Fail": TestCard(number="4000000000000028", checks={"address_line1_check": "fail"}),
    "avsFail": TestCard(
        number="4000000000000010", checks={"address_line1_check": "fail", **_ZIP_FAILS}
    ),
    "avsUnchecked": TestCard(
        number="4000000000000044",
        checks={
            "address_line1_check": "unavailable",
            "address_postal_code_check": "unavailable",
        },
    ),
    # disputes
    "createDispute": TestCard(number="4000000000000259", after=("fraudulent",)),
    "createDisputeProductNotReceived": TestCard(
        number="4000000000002685", after=("product_not_received",)
    ),
    "createDisputeInquiry": TestCard(number="4000000000001976", after=("inquiry",)),
    "createIssuerFraudRecord": TestCard(number="4000000000005423", after=("fraud_warning",)),
    "createMultipleDisputes": TestCard(
        number="4000000404000079", after=("product_not_received", "fraudulent")
    ),
    "createCe3EligibleDispute": TestCard(number="4000000404000038", after=("fraudulent",)),
    "createComplianceDispute": TestCard(number="4000008400000779", after=("noncompliant",)),
    # refunds, and what is at once available
    "pendingRefund": TestCard(number="4000000000007726", after=("refund_pending",)),
    "refundFail": TestCard(number="4000000000005126", after=("refund_fails",)),
    "bypassPending": TestCard(number="4000000000000077"),
    "bypassPendingInternational": TestCard(number="4000003720000278", country="IE"),
    # authentication
    "authenticationRequired": _asking("4000002760003184", "DE"),
    "authenticationRequiredOnSetup": TestCard(
        number="4000002500003155", country="FR", challenges_setup=True
    ),
    # set up long ago: the bank asks a customer who is there, and lets renewals pass
    "authenticationRequiredSetupForOffSession": _asking(
        "4000003800000446", "IT", challenges_setup=False
    ),
    "authenticationRequiredChargeDeclinedInsufficientFunds": _asking(
        "4000008260003178", "GB", "insufficient_funds"
    ),
    "threeDSecure2Required": _asking("4000000000003220"),
    "threeDSecureRequired": _asking("4000000000003063"),
    "threeDSecureRequiredChargeDeclined": _asking("4000008400001629", "US", "generic_decline"),
    "threeDSecureRequiredProcessingError": _asking("4000008400001280", "US", "processing_error"),
    "threeDSecureOptional": TestCard(number="4000000000003055"),
    "threeDSecureOptionalProcessingError": TestCard(number="4000000000003097"),
    "amex_threeDSecureNotSupported": TestCard(number="378282246310005", brand="amex"),
}
BY_NAME["authenticationRequiredSetupForOffSession"] = replace(
    BY_NAME["authenticationRequiredSetupForOffSession"],
    script=({"outcome": "succeeded", "asks_on_session": True},),
)
# other names that are, or were, documented for the same cards
BY_NAME |= {
    **{f"visa_{name}": BY_NAME[name] for name in tuple(BY_NAME) if name.startswith("chargeDecl")},
    "chargeDeclinedFraudulent": BY_NAME["radarBlock"],
    "visa_chargeDeclinedFraudulent": BY_NAME["radarBlock"],
    "cvcDecline": BY_NAME["chargeDeclinedIncorrectCvc"],
}

_BY_COUNTRY = {
    "us": "4242424242424242", "ar": "4000000320000021", "br": "4000000760000002",
    "ca": "4000001240000000", "cl": "4000001520000001", "co": "4000001700000003",
    "cr": "4000001880000005", "ec": "4000002180000000", "mx": "4000004840008001",
    "pa": "4000005910000000", "py": "4000006000000066", "pe": "4000006040000068",
    "uy": "4000008580000003", "ae": "4000007840000001", "at": "4000000400000008",
    "be": "4000000560000004", "bg": "4000001000000000", "by": "4000001120000005",
    "hr": "4000001910000009", "cy": "4000001960000008", "cz": "4000002030000002",
    "dk": "4000002080000001", "ee": "4000002330000009", "fi": "4000002460000001",
    "fr": "4000002500000003", "de": "4000002760000016", "gi": "4000002920000005",
    "gr": "4000003000000030", "hu": "4000003480000005", "ie": "4000003720000005",
    "it": "4000003800000008", "lv": "4000004280000005", "li": "4000004380000004",
    "lt": "4000004400000000", "lu": "4000004420000006", "mt": "4000004700000007",
    "nl": "4000005280000002", "no": "4000005780000007", "pl": "4000006160000005",
    "pt": "4000006200000007", "ro": "4000006420000001", "sa": "4000006820000007",
    "si": "4000007050000006", "sk": "4000007030000001", "es": "4000007240000007",
    "se": "4000007520000008", "ch": "4000007560000009", "gb": "4000008260000000",
    "au": "4000000360000006", "cn": "4000001560000002", "hk": "4000003440000004",
    "in": "4000003560000008", "jp": "4000003920000003", "my": "4000004580000002",
    "nz": "4000005540000008", "sg": "4000007020000003", "tw": "4000001580000008",
}  # fmt: skip
BY_NAME |= {
    name: TestCard(number=number, country=name.upper()) for name, number in _BY_COUNTRY.items()
}
BY_NAME |= {
    "ae_mastercard": TestCard(number="5200007840000022", brand="mastercard", country="AE"),
    "gb_debit": TestCard(number="4000058260000005", funding="debit", country="GB"),
    "gb_mastercard": TestCard(number="5555558265554449", brand="mastercard", country="GB"),
    "jp_jcb": TestCard(number="3530111333300000", brand="jcb", country="JP"),
    "th_credit": TestCard(number="4000007640000003", country="TH"),
    "th_debit": TestCard(number="4000057640000008", funding="debit", country="TH"),
}

# numbers that have no name of their own
_NAMELESS = (
    TestCard(number="2223003122003222", brand="mastercard"),
    TestCard(number="371449635398431", brand="amex"),
    TestCard(number="6011000990139424", brand="discover"),
    TestCard(number="6011981111111113", brand="discover", funding="debit"),
    TestCard(number="36227206271667", brand="diners"),
    TestCard(number="6555900000604105", brand="discover"),
    TestCard(number="6200000000000047", brand="unionpay", funding="debit", country="CN"),
    TestCard(number="6205500000000000004", brand="unionpay", country="CN"),
    TestCard(number="6026507838377928", brand="discover", after=("fraudulent",)),
)
BY_NUMBER = {card.number: card for card in (*_NAMELESS, *reversed(BY_NAME.values()))}

# last four of Stripe's test accounts -> how a debit ends
DEBITS: dict[str, tuple[object, ...]] = {
    "3000": ("succeeded",),  # DE89370400440532013000
    "3001": ({"outcome": "processing", "settles_after_hours": 0.05},),
    "3002": ("refer_to_customer",),
    "3003": (
        {"outcome": "processing", "settles_after_hours": 0.05, "settles_as": "insufficient_funds"},
    ),
    "3004": ("debit_disputed",),
    "3005": ("insufficient_funds",),
    "6789": ("succeeded",),  # ACH 000123456789
    "1116": ("insufficient_funds",),  # ACH 000111111116
    "1113": ("account_closed",),
    "2345": ("succeeded",),  # Bacs 00012345
    "2229": ("insufficient_funds",),
}
