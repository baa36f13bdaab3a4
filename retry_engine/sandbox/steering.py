"""What can be done to an account from outside the API: see `app`.

`POST /_sandbox/act` names a `customer` or one of their invoices and an `act`, which may take more:

- `pay_on_page`, `update_card`, `add_method`: `payment_method` or `card` (a `pm_card_…` name).
- `detach`: `payment_method`. `cancel`: nothing.
- `dispute`: `charge` (the newest paid one), `reason`, `inquiry`. At any time, and more than once.
- `dispute_closed`: `dispute` (the newest open one), `status` (`won`, `lost`, `warning_closed`).
- `early_fraud_warning`: `charge`.
- `other_charge`: `amount`, `currency`, `payment_method` (the customer's default), `on_session`,
  `verdict` (an entry of a script, see `verdicts`; what the bank says anyway): money is taken for
  something else; the charge, declined or not.
- `card_automatically_updated`: `payment_method`; `exp_month`, `exp_year` (four years on), with the
  number it had unless `new_number`; `works` (true): whether it can be charged from then on.
"""

from collections.abc import Callable
from datetime import datetime

from retry_engine.sandbox import (
    clocks,
    collecting,
    intents,
    methods,
    population,
    reversals,
    sigma,
    sources,
    subscribing,
)
from retry_engine.sandbox.account import DAY, Account
from retry_engine.sandbox.baseline import summarise
from retry_engine.sandbox.refusals import Obj, invalid


def steer(account: Account, method: str, what: str, given: Obj) -> Obj:
    """One steering request."""
    found = _DEEDS.get((method, what))
    if found is None:
        known = ", ".join(sorted(f"{verb} /_sandbox/{name}" for verb, name in _DEEDS))
        raise invalid(f"There is no {method} /_sandbox/{what}; there is {known}", status=404)
    return found(account, given)


def _populate(account: Account, given: Obj) -> Obj:
    seed, invoices, days = (int(given.get(n, d)) for n, d in _POPULATION.items())
    start = _start(account, given)
    if given.get("clock"):
        clock = account.get("test_helpers.test_clock", str(given["clock"]), param="clock")
    else:
        named = {"frozen_time": int(start.timestamp()), "name": f"population {seed}"}
        clock = clocks.create(account, named)
    before = len(account.tables["customer"])
    population.settle(account, seed=seed, invoices=invoices, days=days, start=start, clock=clock)
    begins = int(start.timestamp())
    return {
        "clock": clock["id"],
        "customers": len(account.tables["customer"]) - before,
        "start": begins,
        "end": begins + days * DAY,
    }


_POPULATION = {"seed": 1, "invoices": 100, "days": 30}


def _start(account: Account, given: Obj) -> datetime:
    start = given.get("start")
    if start is None:
        clock = given.get("clock")
        return account.moment(account.clock_now(str(clock) if clock else None))
    if isinstance(start, str) and not start.isdigit():
        moment = datetime.fromisoformat(start)
        if moment.tzinfo is None:
            raise invalid("start: a time with its zone is expected", param="start")
        return moment
    return account.moment(int(start))


def _next(account: Account, given: Obj) -> Obj:
    due = account.next_due(given.get("clock"))
    return {"at": due.at if due else None, "what": due.what if due else None}


def _ledger(account: Account, given: Obj) -> Obj:
    rows = [entry.as_json() for entry in account.ledger]
    wanted = given.get("invoice")
    return {"data": [r for r in rows if wanted in (None, r["invoice"])]}


def _summary(account: Account, given: Obj) -> Obj:
    return summarise(account).as_json()


def _people(account: Account, given: Obj) -> Obj:
    wanted = given.get("clock")
    reports = [people.report() for people in account.people]
    return {"data": [r for r in reports if wanted in (None, r["clock"])]}


def _settings(account: Account, given: Obj) -> Obj:
    if "retry_days" in given:
        account.terms.retry_days = tuple(float(day) for day in given["retry_days"])
    return {"retry_days": list(account.terms.retry_days)}


def _act(account: Account, given: Obj) -> Obj:
    act = str(given.get("act"))
    found = _ACTS.get(act)
    if found is None:
        raise invalid(f"Unknown act {act!r}; known: {', '.join(_ACTS)}", param="act")
    invoice = _invoice_of(account, given)
    owner = invoice["customer"] if invoice else given.get("customer") or ""
    customer = account.get("customer", owner, param="customer")
    return found(account, customer, invoice, given)


def _invoice_of(account: Account, given: Obj) -> Obj | None:
    if given.get("invoice"):
        return account.get("invoice", str(given["invoice"]), param="invoice")
    of_customer = account.of("invoice", str(given.get("customer")))
    unpaid = [i for i in of_customer if collecting.collectable(i)]
    return unpaid[-1] if unpaid else None


def _card_of(account: Account, customer: Obj, given: Obj) -> Obj:
    """The method an act is about: a given one, or a new card (`card`: a test name)."""
    if given.get("payment_method"):
        method = account.get("payment_method", given["payment_method"], param="payment_method")
        if method["customer"] is None:
            methods.attach_to(account, method, customer)
        return method
    return methods.attach(account, str(given.get("card") or "pm_card_visa"), customer["id"])


def _pays(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    if invoice is None:
        raise invalid("The customer has no open invoice.", param="customer")
    named = given.get("payment_method") or given.get("card")
    method = _card_of(account, customer, given) if named else None
    method = method or collecting.method_for(account, invoice)
    if method is None:
        raise invalid("There is no payment method to pay with.", param="payment_method")
    population.pay_on_page(account, invoice, method)
    return account.bare(invoice)


def _updates(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    method = _card_of(account, customer, given)
    population.new_default(account, customer, method)
    return account.bare(method)


def _adds(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    return account.bare(_card_of(account, customer, given))


def _cancels(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    for subscription in account.of("subscription", customer["id"]):
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            subscribing.end(account, subscription, reason="cancellation_requested")
    return account.bare(customer)


def _disputes(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    reason = str(given.get("reason") or "subscription_canceled")
    charge = _charge(account, customer, given)
    inquiry = bool(given.get("inquiry"))
    return account.bare(reversals.dispute(account, charge, reason, inquiry=inquiry))


def _ends_dispute(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    if given.get("dispute"):
        made = account.get("dispute", str(given["dispute"]), param="dispute")
    else:
        theirs = [
            d for d in account.newest_first("dispute")
            if reversals.is_open(d) and _owner_of(account, d) == customer["id"]
        ]  # fmt: skip
        if not theirs:
            raise invalid("The customer has no open dispute.", param="customer")
        made = theirs[0]
    return account.bare(reversals.close_dispute(account, made, given.get("status")))


def _owner_of(account: Account, made: Obj) -> str | None:
    charge = account.tables["charge"].get(made["charge"])
    return charge["customer"] if charge else None


def _warns(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    return account.bare(reversals.warn_of_fraud(account, _charge(account, customer, given)))


def _charge(account: Account, customer: Obj, given: Obj) -> Obj:
    if given.get("charge"):
        return account.get("charge", str(given["charge"]), param="charge")
    charge = reversals.latest_charge(account, customer["id"])
    if charge is None:
        raise invalid("The customer has no charge that went through.", param="customer")
    return charge


def _charged_elsewhere(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    wanted = (
        given.get("payment_method")
        or customer["invoice_settings"]["default_payment_method"]
        or customer["default_source"]
        or ""
    )
    method = account.get("payment_method", wanted, param="payment_method")
    return intents.charge_for_something_else(account, customer, method, given)


def _renewed(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    chosen = (
        given.get("payment_method")
        or customer["invoice_settings"]["default_payment_method"]
        or customer["default_source"]
        or ""
    )
    method = account.get("payment_method", chosen, param="payment_method")
    before = sources.card_of(account.bare(method)) if sources.is_legacy(method) else None
    methods.updated_by_network(account, customer, method, given)
    if before is not None:
        sources.tell_update(account, method, before)
    return account.bare(method)


def _detaches(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    chosen = str(given.get("payment_method"))
    return methods.detach(account, account.get("payment_method", chosen, param="payment_method"))


_Act = Callable[[Account, Obj, Obj | None, Obj], Obj]
_ACTS: dict[str, _Act] = {
    "pay_on_page": _pays,
    "update_card": _updates,
    "add_method": _adds,
    "cancel": _cancels,
    "dispute": _disputes,
    "dispute_closed": _ends_dispute,
    "other_charge": _charged_elsewhere,
    "early_fraud_warning": _warns,
    "card_automatically_updated": _renewed,
    "detach": _detaches,
}
_DEEDS: dict[tuple[str, str], Callable[[Account, Obj], Obj]] = {
    ("POST", "population"): _populate,
    ("GET", "next"): _next,
    ("GET", "ledger"): _ledger,
    ("GET", "summary"): _summary,
    ("GET", "people"): _people,
    ("POST", "settings"): _settings,
    ("POST", "act"): _act,
    ("POST", "sigma"): sigma.run,
}
