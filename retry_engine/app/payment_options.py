"""In which order a customer is shown ways to pay: Stripe's `paymentMethodOrder`.

A ranking of method types, by the chance that a payment now goes through:

1. what went through lately, on this business's failed invoices in the customer's country;
2. drawn towards a default order by country where there is little of that;
3. raised to the model's own chance for a type of which they have a method that may be charged.

Wallets come first where the failure was the card's data or a missing authentication: they confirm
the payer on the device and bring an account that the network keeps up to date. Stripe shows of the
list what the account has switched on. Nothing here loads the model: its chances were stored with
the last decision.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from retry_engine.domain import codes
from retry_engine.domain.errors import NotFound
from retry_engine.domain.offers import OfferState
from retry_engine.store import attempts, decisions, offers, payment_methods
from retry_engine.store import cases as rows
from retry_engine.store.cases import Case

_WALLETS = ("apple_pay", "google_pay", "link")
_DEFAULT = ("card", *_WALLETS, "paypal")
# Ways that are in use beside cards, most common first.
_BY_COUNTRY: Mapping[str, tuple[str, ...]] = {
    "DE": ("card", "paypal", "sepa_debit", *_WALLETS),
    "AT": ("card", "paypal", "sepa_debit", *_WALLETS),
    "NL": ("card", "sepa_debit", "paypal", *_WALLETS),
    "FR": ("card", "paypal", *_WALLETS, "sepa_debit"),
    "ES": ("card", "paypal", *_WALLETS, "sepa_debit"),
    "IT": ("card", "paypal", *_WALLETS, "sepa_debit"),
    "BE": ("card", "paypal", *_WALLETS, "sepa_debit"),
    "IE": ("card", *_WALLETS, "paypal", "sepa_debit"),
    "GB": ("card", *_WALLETS, "paypal", "bacs_debit"),
    "US": ("card", *_WALLETS, "us_bank_account", "cashapp"),
    "CA": ("card", *_WALLETS, "acss_debit"),
    "AU": ("card", *_WALLETS, "au_becs_debit"),
}
_FIRST, _STEP = 0.60, 0.04  # the default order as chances: .60, .56, …
_WEIGHT = 30.0  # as many payments as the default order is worth
_RECENT = 2000  # payments looked at
_WALLETS_HELP = frozenset(
    {codes.Category.AUTHENTICATION, codes.Category.CARD_DATA, codes.Category.HARD_CARD}
)
_WALLETS_AHEAD = 1.0


def options(connection: Connection, customer_id: str, *, now: datetime) -> dict[str, Any]:
    """`payment_method_order` and `offer` for the customer's checkout; `now` is real time.

    Raises:
        NotFound: the engine has never heard of that customer.
    """
    found, _ = rows.page(connection, state=None, customer_id=customer_id, limit=1, cursor=None)
    if not found:
        raise NotFound(f"no case of customer {customer_id!r}")
    (case,) = found
    held = payment_methods.attached(
        connection, case.account, customer_id, default_id=case.default_method_id
    )
    decision = decisions.last(connection, case.id)
    chances = _chances_by_type(
        decision.candidates if decision else (), {method.id: method.type for method in held}
    )
    shares = attempts.shares_by_type(connection, case.customer_country, most=_RECENT)
    code = attempts.last_decline_code(connection, case.id)
    category = codes.lookup(code).category if code else None
    return {
        "payment_method_order": order(case.customer_country, shares, chances, category),
        "offer": _offer(connection, case, now),
    }


def _offer(connection: Connection, case: Case, now: datetime) -> dict[str, Any] | None:
    """What the customer can still take off the open invoice."""
    found = offers.of_case(connection, case.id)
    at = rows.time_of(connection, case, now)
    if found is None or found.state != OfferState.OPEN or at >= found.until:
        return None
    return {
        "invoice": case.invoice_id,
        "amount": found.amount,
        "currency": found.currency,
        "until": found.until.isoformat().replace("+00:00", "Z"),
    }


def order(
    country: str | None,
    shares: Mapping[str, tuple[int, int]],
    chances: Mapping[str, float],
    category: str | None,
) -> list[str]:
    """Types, the likeliest first.

    `shares`: (succeeded, tried) by type; `chances`: the model's, by type; `category`: of the last
    decline.
    """
    default = _BY_COUNTRY.get((country or "").upper(), _DEFAULT)
    scores: dict[str, float] = {}
    for place, kind in enumerate((*default, *sorted({*shares, *chances} - {*default}))):
        believed = _FIRST - _STEP * place
        won, tried = shares.get(kind, (0, 0))
        share = (won + _WEIGHT * believed) / (tried + _WEIGHT)
        helped = _WALLETS_AHEAD if kind in _WALLETS and category in _WALLETS_HELP else 0.0
        scores[kind] = helped + max(share, chances.get(kind, 0.0))
    return sorted(scores, key=lambda kind: -scores[kind])


def _chances_by_type(
    candidates: Iterable[Mapping[str, Any]], types: Mapping[str, str]
) -> dict[str, float]:
    best: dict[str, float] = {}
    for candidate in candidates:
        kind = types.get(candidate["payment_method_id"])
        if kind is None or candidate.get("forbidden_by"):
            continue
        best[kind] = max(best.get(kind, 0.0), float(candidate["success_probability"]))
    return best
