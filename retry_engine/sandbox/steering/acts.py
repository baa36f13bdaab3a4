"""What befalls a customer, said from outside the API.

`POST /_sandbox/act` names a `customer` or one of their invoices and an `act`, which may take more:

- `pay_on_page`, `update_card`, `add_method`: `payment_method` or `card` (a `pm_card_…` name).
- `detach`: `payment_method`. `cancel`: nothing.
- `dispute`: `charge` (the newest paid one), `reason`, `inquiry`. At any time, and more than once.
- `dispute_closed`: `dispute` (the newest open one), `status` (`won`, `lost`, `warning_closed`).
- `early_fraud_warning`: `charge`.
- `other_charge`: `amount`, `currency`, `payment_method` (the customer's default), `on_session`,
  `verdict` (an entry of a script, see `payments.scripts`; what the bank says anyway): money is
  taken for something else; the charge, declined or not.
- `card_automatically_updated`: `payment_method`; `exp_month`, `exp_year` (four years on), with the
  number it had unless `new_number`; `works` (true): whether it can be charged from then on.
"""

from collections.abc import Callable

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing import collection, default_methods, lifecycle
from retry_engine.sandbox.checkout import payment_intents
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import disputes, payment_methods, sources


def act(account: Account, given: Obj) -> Obj:
    """One act: what came of it."""
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
    unpaid = [i for i in of_customer if collection.collectable(i)]
    return unpaid[-1] if unpaid else None


def _card_of(account: Account, customer: Obj, given: Obj) -> Obj:
    """The method an act is about: a given one, or a new card (`card`: a test name)."""
    if given.get("payment_method"):
        method = account.get("payment_method", given["payment_method"], param="payment_method")
        if method["customer"] is None:
            payment_methods.attach_to(account, method, customer)
        return method
    return payment_methods.attach(account, str(given.get("card") or "pm_card_visa"), customer["id"])


def _pays(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    if invoice is None:
        raise invalid("The customer has no open invoice.", param="customer")
    named = given.get("payment_method") or given.get("card")
    method = _card_of(account, customer, given) if named else None
    method = method or collection.method_for(account, invoice)
    if method is None:
        raise invalid("There is no payment method to pay with.", param="payment_method")
    collection.pay_on_page(account, invoice, method)
    return account.bare(invoice)


def _updates(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    method = _card_of(account, customer, given)
    default_methods.new_default(account, customer, method)
    return account.bare(method)


def _adds(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    return account.bare(_card_of(account, customer, given))


def _cancels(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    for subscription in account.of("subscription", customer["id"]):
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            lifecycle.end(account, subscription, reason="cancellation_requested")
    return account.bare(customer)


def _disputes(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    reason = str(given.get("reason") or "subscription_canceled")
    charge = _charge(account, customer, given)
    inquiry = bool(given.get("inquiry"))
    return account.bare(disputes.dispute(account, charge, reason, inquiry=inquiry))


def _ends_dispute(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    if given.get("dispute"):
        made = account.get("dispute", str(given["dispute"]), param="dispute")
    else:
        theirs = [
            d for d in account.newest_first("dispute")
            if disputes.is_open(d) and _owner_of(account, d) == customer["id"]
        ]  # fmt: skip
        if not theirs:
            raise invalid("The customer has no open dispute.", param="customer")
        made = theirs[0]
    return account.bare(disputes.close(account, made, given.get("status")))


def _owner_of(account: Account, made: Obj) -> str | None:
    charge = account.tables["charge"].get(made["charge"])
    return charge["customer"] if charge else None


def _warns(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    return account.bare(disputes.warn_of_fraud(account, _charge(account, customer, given)))


def _charge(account: Account, customer: Obj, given: Obj) -> Obj:
    if given.get("charge"):
        return account.get("charge", str(given["charge"]), param="charge")
    charge = disputes.latest_charge(account, customer["id"])
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
    return payment_intents.charge_for_something_else(account, customer, method, given)


def _renewed(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    chosen = (
        given.get("payment_method")
        or customer["invoice_settings"]["default_payment_method"]
        or customer["default_source"]
        or ""
    )
    method = account.get("payment_method", chosen, param="payment_method")
    before = sources.card_of(account.bare(method)) if sources.is_legacy(method) else None
    payment_methods.updated_by_network(account, customer, method, given)
    if before is not None:
        sources.tell_update(account, method, before)
    return account.bare(method)


def _detaches(account: Account, customer: Obj, invoice: Obj | None, given: Obj) -> Obj:
    chosen = str(given.get("payment_method"))
    return payment_methods.detach(
        account, account.get("payment_method", chosen, param="payment_method")
    )


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
