"""Payment methods: Stripe's test cards and accounts, attaching, detaching, updating."""

from typing import Any

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.fields import hash_of
from retry_engine.sandbox.errors import Refused, invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import testcards
from retry_engine.sandbox.payments.outcomes import DEBITS
from retry_engine.sandbox.payments.scripts import read_script
from retry_engine.sandbox.payments.testcards import TestCard


def is_test_name(wanted: str) -> bool:
    """Whether it is one of Stripe's `pm_card_…` names."""
    return wanted.startswith("pm_card_") and wanted[8:] in testcards.BY_NAME


def is_token(account: Account, wanted: str) -> bool:
    """Whether it is one of Stripe's `tok_…` names, or a token that was made here."""
    named = wanted.startswith("tok_") and wanted[4:] in testcards.BY_NAME
    return named or wanted in account.tables["token"]


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/payment_methods`."""
    kind = params.get("type")
    if kind == "card":
        return _create_card(account, params)
    if kind in DEBITS:
        return _create_debit(account, str(kind), params)
    if kind == "customer_balance":
        return _keep(account, kind, {}, created=account.real_now(), country=None)
    raise invalid(
        f"The sandbox has no payment methods of type {kind!r}; it has card, sepa_debit, "
        "us_bank_account and bacs_debit",
        param="type",
    )


def _create_card(account: Account, params: Obj) -> Obj:
    method = card_from(account, params.get("card") or {})
    _describe(account, method, params)
    return method


def card_from(account: Account, given: Obj) -> Obj:
    """A new card payment method, from a number or a token."""
    number = str(given.get("number", "")).replace(" ", "")
    for issuer in account.issuers if number else ():
        method = issuer.method_behind(number)
        if method is not None:
            return method
    kept = account.tables["token"].get(str(given.get("token")))
    if kept is not None:
        return _spend(account, kept)
    if "token" in given:
        card = testcards.BY_NAME.get(str(given["token"]).removeprefix("tok_"))
        if card is None:
            raise invalid(
                f"No such token: '{given['token']}'", code="resource_missing", param="card[token]"
            )
    else:
        card = testcards.BY_NUMBER.get(number)
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
    return from_test_card(account, card, exp=(given.get("exp_month"), given.get("exp_year")))


def _spend(account: Account, token: Obj) -> Obj:
    """A token is good for once."""
    if token["used"]:
        raise invalid(
            f"You cannot use a Stripe token more than once: {token['id']}.",
            code="token_already_used",
        )
    token["used"] = True
    return account.tables["payment_method"][account.hidden[token["id"]]["method"]]


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
    return from_test_card(account, testcards.BY_NAME[name.removeprefix("pm_card_")])


def from_test_card(account: Account, card: TestCard, *, exp: tuple[Any, Any] = (None, None)) -> Obj:
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
    detail["checks"].update(card.checks)
    method = _keep(account, "card", detail, created=now, country=None)
    account.hidden[method["id"]] = {
        "script": list(card.script),
        "refuses_attaching": card.refuses_attaching,
        "challenges_setup": card.challenges_setup,
        "after": card.after,
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
    account.hidden[method["id"]] = {"script": list(testcards.DEBITS.get(last4, ("succeeded",)))}
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
    if "metadata" in params:
        set_metadata(account, method, params["metadata"])
    if params.get("allow_redisplay"):
        method["allow_redisplay"] = params["allow_redisplay"]
    for name, value in (params.get("billing_details") or {}).items():
        details = method["billing_details"]
        is_address = name == "address"
        details[name] = {**details[name], **hash_of(value, name)} if is_address else value


def set_metadata(account: Account, method: Obj, given: object) -> None:
    """Add to the metadata as Stripe does; a `sandbox_script` in it is read first."""
    given = given if isinstance(given, dict) else {}
    if given.get("sandbox_script"):
        read_script(given["sandbox_script"])
        account.hidden[method["id"]]["refuses_attaching"] = None
    both = {**method["metadata"], **{k: str(v) for k, v in given.items()}}
    method["metadata"] = {k: v for k, v in both.items() if v != ""} if given else {}


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
    if method["customer"] is None:
        raise invalid(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible."
        )
    account.refuse_while_advancing(method)
    before = {"customer": method["customer"]}
    untie(account, method)
    account.emit("payment_method.detached", method, before)
    return method


def untie(account: Account, method: Obj) -> None:
    """Take the method from its customer; nothing of theirs names it as a default any more."""
    owner = method["customer"]
    method["customer"] = None
    account.disown("payment_method", owner, method["id"])
    customer = account.tables["customer"][owner]
    settings = customer.get("invoice_settings") or {}
    if settings.get("default_payment_method") == method["id"]:
        settings["default_payment_method"] = None
    if customer.get("default_source") == method["id"]:
        customer["default_source"] = None
    for table in ("subscription", "invoice"):
        for thing in account.of(table, owner):
            for name in ("default_payment_method", "default_source"):
                if thing[name] == method["id"]:
                    thing[name] = None


def rename(account: Account, method: Obj, new_id: str) -> Obj:
    """The same thing under another id; not told, as nobody has seen it yet."""
    drop(account, method)
    account.hidden[new_id] = account.hidden.pop(method["id"], {})
    method["id"] = new_id
    return account.put("payment_method", method)


def drop(account: Account, method: Obj) -> None:
    """A method that came to nothing."""
    account.tables["payment_method"].pop(method["id"], None)


def update(account: Account, method: Obj, params: Obj) -> Obj:
    """`POST /v1/payment_methods/{id}`: a new expiry, an address, metadata."""
    kind = method["type"]
    was = account.bare(method)
    given = params.get("card") or {}
    for name in given:
        if kind != "card" or name not in ("exp_month", "exp_year", "networks"):
            raise invalid(f"Received unknown parameter: card[{name}]", code="parameter_unknown")
    if "exp_month" in given or "exp_year" in given:
        renew(method, given.get("exp_month"), given.get("exp_year"))
    if given.get("networks"):
        method["card"]["networks"]["preferred"] = given["networks"].get("preferred")
    _describe(account, method, params)
    before = {name: value for name, value in was.items() if method[name] != value}
    account.emit("payment_method.updated", method, before)
    return method


def renew(method: Obj, month: Any, year: Any) -> None:
    """Another expiry on the same card: number and fingerprint stay."""
    if month:
        if not str(month).isdigit() or not 1 <= int(month) <= 12:
            raise _invalid_expiry("month")
        method["card"]["exp_month"] = int(month)
    if year:
        if not str(year).isdigit():
            raise _invalid_expiry("year")
        method["card"]["exp_year"] = int(year) + (2000 if int(year) < 100 else 0)


def updated_by_network(account: Account, customer: Obj, method: Obj, given: Obj) -> Obj:
    """The card updater's news: another expiry; with `new_number` another number as well.

    The card works again from then on, unless `works` says otherwise.
    """
    before = {"card": dict(method.get("card") or {})}
    if method["type"] == "card":
        month, year = given.get("exp_month"), given.get("exp_year")
        renew(method, month, year if month or year else method["card"]["exp_year"] + 4)
        if given.get("new_number"):
            number = "".join(account.rng.choices("0123456789", k=16))
            method["card"].update(fingerprint=_fingerprint(number), last4=number[-4:])
    if given.get("works", True):
        method["metadata"].pop("sandbox_script", None)
        account.hidden[method["id"]] = {"script": ["succeeded"]}
    account.emit("payment_method.automatically_updated", method, before)
    return method
