"""What an answer is final for: every code of the tables, before everything that may follow it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import Field, FinalFor, Finality, LiftedBy, Network
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
EXPIRY = (2029, 5)
# Everything else that forbids anything: counts, gaps, and what is asked of the case itself.
_NOT_ABOUT_FINALITY = {
    "gap_on_card", "attempts_per_card", "mastercard_declines_a_day", "case_deadline",
    "mastercard_wait", "velocity_block", "unknown_code", "debit_weekend", "debit_representment",
}  # fmt: skip


@dataclass(frozen=True)
class Said:
    """A code as an attempt carries it, and what its table makes of it."""

    name: str
    brand: str
    details: dict[str, Any]
    finality: Finality
    shows_life: bool


def _said() -> list[Said]:
    found = [
        Said(c.code, "visa", {"decline_code": c.code}, c.finality, c.shows_life)
        for c in codes.table().values()
    ]
    found += [
        Said(f"reason:{c.code}", "amex", {"outcome_reason": c.code}, c.finality, False)
        for c in codes.table().values()
    ]
    for code in codes.network_table().values():
        brand = "amex" if code.network is Network.STRIPE else code.network.value
        column = "advice_code" if code.network is Network.STRIPE else f"network_{code.field}_code"
        details = {column: code.code, "decline_code": "do_not_honor"}
        name = f"{code.network}:{code.field}:{code.code}"
        found.append(Said(name, brand, details, code.finality, code.shows_life))
    return found


SAID = _said()


def attempt(brand: str, *, days: float, invoice: str, **details: Any) -> Attempt:
    known: dict[str, Any] = {
        "at": NOW - timedelta(days=days), "source": Source.STRIPE, "outcome": Outcome.FAILED,
        "amount": 2900, "currency": "eur", "invoice_id": invoice, "payment_method_id": "pm_1",
        "card_brand": brand, "card_fingerprint": "fp_1", "card_exp": EXPIRY,
    }  # fmt: skip
    return Attempt(**{**known, **details})


def forbids(said: Said, *later: Attempt, days: float, invoice: str, **card: Any) -> bool:
    """Whether the code, heard that long ago on that invoice, still stands against the card."""
    first = attempt(said.brand, days=days, invoice=invoice, **said.details)
    known: dict[str, Any] = {
        "id": "pm_1", "card_brand": said.brand, "card_exp": EXPIRY, "card_fingerprint": "fp_1",
        "is_default": True,
    }  # fmt: skip
    method = PaymentMethod(**{**known, **card})
    heard = (first, *later)
    view = CaseView(
        case_id="rc_1", invoice_id="in_1", customer_id="cus_1", account="", now=NOW,
        opened_at=NOW - timedelta(days=400), deadline_at=NOW + timedelta(days=30), amount=2900,
        currency="eur", attempts=tuple(a for a in heard if a.invoice_id == "in_1"),
        card_attempts=tuple(a for a in heard if a.invoice_id != "in_1"), payment_methods=(method,),
    )  # fmt: skip
    spans = network_rules.forbidden(view, method, policy=Policy())
    return any(s.holds_at(NOW) and s.rule not in _NOT_ABOUT_FINALITY for s in spans)


def paid(said: Said, source: Source = Source.ENGINE) -> Attempt:
    return attempt(said.brand, days=1, invoice="in_9", outcome=Outcome.SUCCEEDED, source=source)


def alive(said: Said) -> Attempt:
    return attempt(said.brand, days=1, invoice="in_9", decline_code="insufficient_funds")


@pytest.mark.parametrize("invoice", ["in_1", "in_0"])
@pytest.mark.parametrize("said", SAID, ids=lambda s: s.name)
def test_a_code_stands_against_a_card_as_far_as_its_table_says(said: Said, invoice: str) -> None:
    reach, lifted_by = said.finality.reach, said.finality.lifted_by
    here = invoice == "in_1"
    binds = reach in (FinalFor.CREDENTIAL, FinalFor.NUMBER) or (here and reach is FinalFor.INVOICE)
    ban = reach is FinalFor.NUMBER
    consent = network_rules.consent_withdrawn(
        attempt(said.brand, days=2, invoice=invoice, **said.details)
    )

    assert forbids(said, days=2, invoice=invoice) == binds
    # answers of the same credential since, whoever asked for them
    for source in Source:
        stays = binds and lifted_by is LiftedBy.NEVER
        assert forbids(said, paid(said, source), days=2, invoice=invoice) == stays
    stays = binds and lifted_by is not LiftedBy.ANSWER
    assert forbids(said, alive(said), days=2, invoice=invoice) == stays
    # what came before it answers nothing
    before = replace(paid(said), at=NOW - timedelta(days=3))
    assert forbids(said, before, days=2, invoice=invoice) == binds
    # a bank that gives no reason answers nothing either
    opaque = replace(alive(said), decline_code="do_not_honor")
    assert forbids(said, opaque, days=2, invoice=invoice) == binds
    # other data: a new expiry frees what no network has banned, a new number all but a consent
    assert forbids(said, days=2, invoice=invoice, card_exp=(2031, 5)) == (ban and binds)
    renumbered = forbids(said, days=2, invoice=invoice, card_fingerprint="fp_2")
    assert renumbered == (consent is not None)
    # age
    ages = said.finality.ages_days
    old = 400 if ages is None else ages + 0.01
    assert forbids(said, days=old, invoice=invoice) == (binds and (here or ages is None))
    if ages is not None:
        assert forbids(said, days=ages - 0.01, invoice=invoice)


@pytest.mark.parametrize("said", SAID, ids=lambda s: s.name)
def test_only_what_a_living_card_is_answered_with_lifts_wrong_data(said: Said) -> None:
    wrong = next(s for s in SAID if s.name == "incorrect_cvc")
    later = attempt(said.brand, days=1, invoice="in_9", **said.details)
    as_visa = replace(wrong, brand=said.brand)
    assert forbids(as_visa, later, days=2, invoice="in_0") == (not said.shows_life)


def test_a_decline_that_stripe_made_itself_shows_no_life() -> None:
    wrong = next(s for s in SAID if s.name == "incorrect_cvc")
    blocked = replace(alive(wrong), outcome_type="blocked")
    assert forbids(wrong, blocked, days=2, invoice="in_0")


def test_consent_withdrawn_on_another_invoice_is_given_anew_by_saving_or_paying_with_another_card(
) -> None:  # fmt: skip
    gone = next(s for s in SAID if s.name == "revocation_of_authorization")
    other: dict[str, Any] = {"id": "pm_2", "card_fingerprint": "fp_2"}
    assert forbids(gone, days=9, invoice="in_0", **other)
    assert not forbids(gone, days=9, invoice="in_0", **other, added_at=NOW - timedelta(days=1))
    bought = replace(paid(gone), payment_method_id="pm_2", card_fingerprint="fp_2")
    assert not forbids(gone, bought, days=9, invoice="in_0", **other)
    # not so where it was withdrawn: neither on this invoice nor for that number
    assert forbids(gone, bought, days=9, invoice="in_1", **other)
    assert forbids(gone, paid(gone), days=9, invoice="in_0", added_at=NOW - timedelta(days=1))


def test_the_networks_bans_are_those_that_they_publish() -> None:
    assert len(codes.of_network(Network.VISA, Field.DECLINE, reach=FinalFor.NUMBER)) == 12
    assert {"54", "55", "82", "6P", "N7"} <= set(
        codes.of_network(Network.VISA, Field.DECLINE, reach=FinalFor.CREDENTIAL)
    )
    bans = codes.of_network(Network.MASTERCARD, Field.ADVICE, reach=FinalFor.NUMBER)
    assert set(bans) == {"03", "21"}
