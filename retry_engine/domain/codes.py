"""What a decline says: the tables `decline_codes.csv` and `network_codes.csv`, parsed into types.

Each row says what its answer is final *for*, what lifts it, and after how many days it no longer
counts against other invoices. A word that is no member of its vocabulary fails when the table is
read. Only Mastercard's advice codes carry waits; nobody publishes any for decline codes.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from retry_engine.domain.vocabulary import (
    Category,
    CustomerAction,
    Field,
    FinalFor,
    LiftedBy,
    Network,
    Retryable,
)

__all__ = [
    "AUTHENTICATION_REQUIRED",
    "Category",
    "CustomerAction",
    "DeclineCode",
    "Field",
    "FinalFor",
    "Finality",
    "LiftedBy",
    "Network",
    "NetworkCode",
    "Retryable",
    "as_told",
    "asks_for_customer",
    "banning",
    "decline_code",
    "lookup",
    "network_code",
    "network_table",
    "of_network",
    "official_wait",
    "table",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finality:
    """What an answer is final for.

    `ages_days`: on other invoices than its own it counts so long; None: it does not age.
    """

    reach: FinalFor = FinalFor.NOTHING
    lifted_by: LiftedBy = LiftedBy.NOTHING
    ages_days: int | None = None

    def __post_init__(self) -> None:
        """A row that contradicts itself is refused when its table is read."""
        nothing = self.reach is FinalFor.NOTHING
        if nothing != (self.lifted_by is LiftedBy.NOTHING):
            raise ValueError("what is final for nothing is lifted by nothing, and nothing else is")
        if self.reach is FinalFor.NUMBER and self.lifted_by is not LiftedBy.NEVER:
            raise ValueError("what is final for a number is never lifted")
        if self.ages_days is not None and self.reach is not FinalFor.CREDENTIAL:
            raise ValueError("only what is final for a credential ages")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclineCode:
    """One of Stripe's codes.

    `shows_life`: only a living card with the right data is declined so. `discloses_reason`: False
    where the customer is to be told no more than "declined".
    """

    code: str
    category: Category
    retryable: Retryable
    finality: Finality
    customer_action: CustomerAction
    discloses_reason: bool
    shows_life: bool = False
    is_known: bool = True

    @property
    def is_technical(self) -> bool:
        """An error on the way or at the issuer, not about the card or its owner."""
        return self.category is Category.ISSUER_TRANSIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCode:
    """A code of a network, or an advice of Stripe's. `wait_hours`: not to be tried before."""

    network: Network
    field: Field
    code: str
    says: str
    finality: Finality
    wait_hours: float | None
    shows_life: bool


@cache
def table() -> Mapping[str, DeclineCode]:
    """All known decline codes."""
    return {row["code"]: decline_code(row) for row in _rows("decline_codes.csv")}


@cache
def network_table() -> Mapping[tuple[Network, Field, str], NetworkCode]:
    """All codes of the networks, and Stripe's advice, that say anything for a retry."""
    found = (network_code(row) for row in _rows("network_codes.csv"))
    return {(code.network, code.field, code.code): code for code in found}


def of_network(
    network: Network, field: Field, *, reach: FinalFor | None = None
) -> Mapping[str, NetworkCode]:
    """One network's codes, of one reach where that is asked for."""
    return {
        code.code: code
        for code in network_table().values()
        if code.network is network
        and code.field is field
        and (reach is None or code.finality.reach is reach)
    }


def official_wait(brand: str | None, advice: str | None) -> float | None:
    """Hours that Mastercard itself names, beside an empty account and nothing else."""
    if brand != Network.MASTERCARD or advice is None:
        return None
    said = network_table().get((Network.MASTERCARD, Field.ADVICE, advice))
    return said.wait_hours if said is not None and said.shows_life else None


# What stands for the bank's question where it gives no finer reason.
AUTHENTICATION_REQUIRED = "authentication_required"


def asks_for_customer(code: str | None) -> bool:
    """Whether the bank wants to hear the customer, and nothing else stands in the way."""
    return code is not None and lookup(code).customer_action is CustomerAction.AUTHENTICATE


@cache
def banning() -> list[str]:
    """Every code that is final for a number, whoever says it; what it means depends on who."""
    found = [code.code for code in table().values() if _bans(code.finality)]
    return found + [code.code for code in network_table().values() if _bans(code.finality)]


def _bans(finality: Finality) -> bool:
    return finality.reach is FinalFor.NUMBER


@cache
def lookup(code: str | None) -> DeclineCode:
    """The code's row; no code at all reads as `generic_decline`.

    Enums are open: an unknown code is soft, worth little, and soon a case for another method.
    """
    known = table()
    if code is None or code == "card_declined":
        return known["generic_decline"]
    found = known.get(code) or known.get(code.removeprefix("partner_"))
    return found or DeclineCode(
        code=code,
        category=Category.UNKNOWN,
        retryable=Retryable.YES,
        finality=Finality(),
        customer_action=CustomerAction.WAIT_OR_NEW_METHOD,
        discloses_reason=False,
        is_known=False,
    )


def as_told(code: str | None) -> DeclineCode:
    """What a customer may be told of a decline: its own code's, or no more than "declined"."""
    found = lookup(code)
    return found if found.discloses_reason else lookup(None)


def decline_code(row: Mapping[str, str]) -> DeclineCode:
    """A row of the table of decline codes, or `ValueError`."""
    return DeclineCode(
        code=row["code"],
        category=Category(row["category"]),
        retryable=Retryable(row["retryable_same_method"]),
        finality=_finality(row),
        customer_action=CustomerAction(row["customer_action"]),
        discloses_reason=_yes(row["disclose_reason"]),
        shows_life=_yes(row["shows_life"]),
    )


def network_code(row: Mapping[str, str]) -> NetworkCode:
    """A row of the table of network codes, or `ValueError`."""
    return NetworkCode(
        network=Network(row["network"]),
        field=Field(row["field"]),
        code=row["code"],
        says=row["says"],
        finality=_finality(row),
        wait_hours=float(row["wait_hours"]) if row["wait_hours"] else None,
        shows_life=_yes(row["shows_life"]),
    )


def _finality(row: Mapping[str, str]) -> Finality:
    return Finality(
        reach=FinalFor(row["final_for"]),
        lifted_by=LiftedBy(row["lifted_by"]),
        ages_days=int(row["ages_days"]) if row["ages_days"] else None,
    )


def _yes(word: str) -> bool:
    if word not in ("yes", "no"):
        raise ValueError(f"expected yes or no, found {word!r}")
    return word == "yes"


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("retry_engine.domain") / name).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    keys = [tuple(row.get(k, "") for k in ("network", "field", "code")) for row in rows]
    if len(keys) != len(set(keys)):
        raise ValueError(f"{name}: a code stands twice")
    return rows
