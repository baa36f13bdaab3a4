"""Payment methods: Stripe's test cards and accounts, attaching, detaching, updating."""

from dataclasses import dataclass
from typing import Any, cast

from retry_engine.sandbox import objects
from retry_engine.sandbox.account import Account
from retry_engine.sandbox.refusals import Obj, Refused, invalid
from retry_engine.sandbox.verdicts import DEBITS, read_script


@dataclass(frozen=True, slots=True, kw_only=True)
class _TestCard:
    number: str
    script: tuple[Any, ...] = ("succeeded",)
    challenges_setup: bool = False
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    refuses_attaching: str | None = None


def _declining(number: str, code: str, **more: Any) -> _TestCard:
    """A card that already fails when it is attached, as Stripe's decline cards do."""
    return _TestCard(number=number, script=(code,), refuses_attaching=code, **more)


# Stripe's test cards; the name without `pm_card_` / `tok_`.
_TEST_CARDS = {
    "visa": _TestCard(number="4242424242424242"),
    "visa_debit": _TestCard(number="4000056655665556", funding="debit"),
    "mastercard": _TestCard(number="5555555555554444", brand="mastercard"),
    "mastercard_debit": _TestCard(number="5200828282828210", brand="mastercard", funding="debit"),
    "mastercard_prepaid": _TestCard(
        number="5105105105105100", brand="mastercard", funding="prepaid"
    ),
    "amex": _TestCard(number="378282246310005", brand="amex"),
    "discover": _TestCard(number="6011111111111117", brand="discover"),
    "us": _TestCard(number="4242424242424242"),
    "gb": _TestCard(number="4000008260000000", country="GB"),
    "de": _TestCard(number="4000002760000016", country="DE"),
    "fr": _TestCard(number="4000002500000003", country="FR"),
    "in": _TestCard(number="4000003560000008", country="IN"),
    "br": _TestCard(number="4000000760000002", country="BR"),
    "jp": _TestCard(number="4000003920000003", country="JP"),
    "chargeCustomerFail": _TestCard(number="4000000000000341", script=("generic_decline",)),
    "visa_chargeDeclined": _declining("4000000000000002", "generic_decline"),
    "chargeDeclined": _declining("4000000000000002", "generic_decline"),
    "chargeDeclinedInsufficientFunds": _declining("4000000000009995", "insufficient_funds"),
    "chargeDeclinedLostCard": _declining("4000000000009987", "lost_card"),
    "chargeDeclinedStolenCard": _declining("4000000000009979", "stolen_card"),
    "chargeDeclinedExpiredCard": _declining("4000000000000069", "expired_card"),
    "chargeDeclinedIncorrectCvc": _declining("4000000000000127", "incorrect_cvc"),
    "chargeDeclinedProcessingError": _declining("4000000000000119", "processing_error"),
    "chargeDeclinedFraudulent": _declining("4100000000000019", "highest_risk_level"),
    "authenticationRequired": _TestCard(
        number="4000002760003184", country="DE", script=("requires_action",), challenges_setup=True
    ),
    "threeDSecure2Required": _TestCard(
        number="4000000000003220", country="IE", script=("requires_action",), challenges_setup=True
    ),
    "authenticationRequiredOnSetup": _TestCard(
        number="4000002500003155", country="FR", challenges_setup=True
    ),
}
for _name in ("InsufficientFunds", "LostCard", "StolenCard"):
    _TEST_CARDS[f"visa_chargeDeclined{_name}"] = _TEST_CARDS[f"chargeDeclined{_name}"]
_CARD_OF_NUMBER = {card.number: card for card in reversed(_TEST_CARDS.values())}

# last four of Stripe's test accounts -> how a debit ends
_TEST_DEBITS: dict[str, tuple[Any, ...]] = {
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


def is_test_name(wanted: str) -> bool:
    """Whether it is one of Stripe's `pm_card_…` names."""
    return wanted.startswith("pm_card_") and wanted[8:] in _TEST_CARDS


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/payment_methods`."""
    kind = params.get("type")
    if kind == "card":
        return _create_card(account, params)
    if kind in DEBITS:
        return _create_debit(account, str(kind), params)
    raise invalid(
        f"The sandbox has no payment methods of type {kind!r}; it has card, sepa_debit, "
        "us_bank_account and bacs_debit",
        param="type",
    )


def _create_card(account: Account, params: Obj) -> Obj:
    given = params.get("card") or {}
    number = str(given.get("number", "")).replace(" ", "")
    for issuer in account.issuers if number else ():
        method = issuer.method_behind(number)
        if method is not None:
            return cast("Obj", method)
    if "token" in given:
        card = _TEST_CARDS.get(str(given["token"]).removeprefix("tok_"))
    else:
        card = _CARD_OF_NUMBER.get(number)
    if card is None:
        raise Refused(
            402,
            "card_error",
            "Your card was declined. The sandbox knows Stripe's test cards only.",
            code="card_declined",
            decline_code="test_mode_live_card",
            param="card",
        )
    _refuse_past_expiry(account, given)
    method = from_test_card(account, card, exp=(given.get("exp_month"), given.get("exp_year")))
    _describe(account, method, params)
    return method


def _refuse_past_expiry(account: Account, given: Obj) -> None:
    month, year = str(given.get("exp_month") or ""), str(given.get("exp_year") or "")
    if not month and not year:
        return
    if not month.isdigit() or not 1 <= int(month) <= 12:
        raise _invalid_expiry("month")
    if not year.isdigit():
        raise _invalid_expiry("year")
    full = int(year) + (2000 if int(year) < 100 else 0)
    now = account.moment(account.real_now())
    # a test clock may stand anywhere: only what is over by the wall's clock is surely over
    if (full, int(month)) < (now.year, now.month):
        raise _invalid_expiry("year")
    given["exp_year"] = full


def _invalid_expiry(what: str) -> Refused:
    return Refused(
        402, "card_error", f"Your card's expiration {what} is invalid.",
        code=f"invalid_expiry_{what}", param=f"exp_{what}",
    )  # fmt: skip


def from_name(account: Account, name: str) -> Obj:
    """A new payment method of the kind that `pm_card_…` names."""
    return from_test_card(account, _TEST_CARDS[name.removeprefix("pm_card_")])


def from_test_card(
    account: Account, card: _TestCard, *, exp: tuple[Any, Any] = (None, None)
) -> Obj:
    """A new payment method made of one of Stripe's test cards."""
    now = account.real_now()
    detail = objects.card(
        brand=card.brand,
        country=card.country,
        exp_month=int(exp[0] or 12),
        exp_year=int(exp[1] or account.moment(now).year + 5),
        fingerprint=_fingerprint(card.number),
        funding=card.funding,
        last4=card.number[-4:],
    )
    method = _keep(account, "card", detail, created=now, country=None)
    account.hidden[method["id"]] = {
        "script": list(card.script),
        "refuses_attaching": card.refuses_attaching,
        "challenges_setup": card.challenges_setup,
    }
    return method


def _create_debit(account: Account, kind: str, params: Obj) -> Obj:
    given = params.get(kind) or {}
    number = str(given.get("iban") or given.get("account_number") or "3000").replace(" ", "")
    last4 = number[-4:]
    mark = _fingerprint(number)
    if kind == "sepa_debit":
        detail = objects.sepa_debit(country=number[:2], fingerprint=mark, last4=last4)
    elif kind == "us_bank_account":
        detail = objects.us_bank_account(fingerprint=mark, last4=last4, bank_name=None)
    else:
        detail = objects.bacs_debit(fingerprint=mark, last4=last4)
    method = _keep(account, kind, detail, created=account.real_now(), country=None)
    account.hidden[method["id"]] = {"script": list(_TEST_DEBITS.get(last4, ("succeeded",)))}
    _describe(account, method, params)
    return method


def _keep(account: Account, kind: str, detail: Obj, *, created: int, country: str | None) -> Obj:
    method = objects.payment_method(
        id=account.new_id("payment_method"),
        created=created,
        kind=kind,
        detail=detail,
        country=country,
    )
    account.put("payment_method", method)
    if kind in DEBITS:
        mandate = objects.mandate(id=account.new_id("mandate"), method=method, at=created)
        account.put("mandate", mandate)
    return method


def _describe(account: Account, method: Obj, params: Obj) -> None:
    metadata = params.get("metadata") or {}
    if "sandbox_script" in metadata:
        read_script(metadata["sandbox_script"])
        account.hidden[method["id"]]["refuses_attaching"] = None
    method["metadata"] = dict(metadata)
    if params.get("allow_redisplay"):
        method["allow_redisplay"] = params["allow_redisplay"]
    for name, value in (params.get("billing_details") or {}).items():
        method["billing_details"][name] = (
            {**method["billing_details"]["address"], **value} if name == "address" else value
        )


def _fingerprint(number: str) -> str:
    """The same number has the same fingerprint, as at Stripe."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
    value = int.from_bytes(number.encode(), "big") * 2_654_435_761
    out = []
    for _ in range(16):
        value, rest = divmod(value, len(letters))
        out.append(letters[rest])
    return "".join(out)


def plant(account: Account, *, kind: str, detail: Obj, created: int, country: str | None) -> Obj:
    """A payment method whose issuer is the population's world."""
    return _keep(account, kind, detail, created=created, country=country)


def mandate_of(account: Account, method: Obj) -> str | None:
    """The mandate of a bank account."""
    if method["type"] not in DEBITS:
        return None
    for mandate in account.tables["mandate"].values():
        if mandate["payment_method"] == method["id"]:
            return str(mandate["id"])
    return None


def attach(account: Account, wanted: str, customer_id: str) -> Obj:
    """`POST /v1/payment_methods/{id}/attach`; a `pm_card_…` name makes a new one first."""
    customer = account.get("customer", customer_id, param="customer")
    account.refuse_while_advancing(customer)
    if is_test_name(wanted):
        method = from_name(account, wanted)
    else:
        method = account.get("payment_method", wanted)
    if method["customer"] == customer_id:
        return method
    refusal = refuses_attaching(account, method)
    if refusal is not None:
        raise refusal
    if method["customer"] not in (None, customer_id):
        raise invalid(
            "The payment method you provided has already been attached to a customer.",
            code="payment_method_unexpected_state",
        )
    return attach_to(account, method, customer)


def refuses_attaching(account: Account, method: Obj) -> Refused | None:
    """Why the card's bank does not let it be kept, if it does not."""
    code = account.hidden.get(method["id"], {}).get("refuses_attaching")
    return _declined_on_attach(code) if code else None


def challenges_setup(account: Account, method: Obj) -> bool:
    """Whether the bank asks its customer before the card is kept."""
    return bool(account.hidden.get(method["id"], {}).get("challenges_setup"))


def attach_to(account: Account, method: Obj, customer: Obj) -> Obj:
    """Tie the method to the customer and tell."""
    method["customer"] = customer["id"]
    if customer["test_clock"]:
        method["created"] = account.now_of(customer)
    account.put("payment_method", method)
    account.emit("payment_method.attached", method)
    return method


def _declined_on_attach(code: str) -> Refused:
    shown = "generic_decline" if code == "highest_risk_level" else code
    plain = code in ("expired_card", "incorrect_cvc", "processing_error")
    return Refused(
        402,
        "card_error",
        "Your card was declined.",
        code=code if plain else "card_declined",
        decline_code=None if plain else shown,
        stored=True,
    )


def detach(account: Account, method: Obj) -> Obj:
    """`POST /v1/payment_methods/{id}/detach`: gone for good from its customer."""
    owner = method["customer"]
    if owner is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible."
        )
    account.refuse_while_advancing(method)
    customer = account.tables["customer"][owner]
    before = account.change(method, customer=None)
    ids = account._index[("payment_method", owner)]
    ids[:] = [i for i in ids if i != method["id"]]
    settings = customer["invoice_settings"]
    if settings["default_payment_method"] == method["id"]:
        settings["default_payment_method"] = None
    for table in ("subscription", "invoice"):
        for thing in account.of(table, owner):
            if thing["default_payment_method"] == method["id"]:
                thing["default_payment_method"] = None
    account.emit("payment_method.detached", method, before)
    return method


def update(account: Account, method: Obj, params: Obj) -> Obj:
    """`POST /v1/payment_methods/{id}`: a new expiry, an address, metadata."""
    kind = method["type"]
    before = {kind: dict(method[kind])}
    for name, value in (params.get("card") or {}).items():
        if kind != "card" or name not in ("exp_month", "exp_year"):
            raise invalid(f"Received unknown parameter: card[{name}]", code="parameter_unknown")
        method["card"][name] = int(value)
    metadata = {**method["metadata"], **(params.get("metadata") or {})}
    billing = {"billing_details": params.get("billing_details") or {}}
    shown = {n: params[n] for n in ("allow_redisplay",) if n in params}
    _describe(account, method, {"metadata": metadata, **billing, **shown})
    account.emit("payment_method.updated", method, before)
    return method
