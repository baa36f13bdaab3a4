"""The table of decline codes, and what is made of codes that nobody has seen."""

import csv
from collections.abc import Callable, Mapping
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.domain import codes, network_rules


def test_every_row_is_read_and_none_comes_twice() -> None:
    text = (files("retry_engine.domain") / "decline_codes.csv").read_text(encoding="utf-8")
    rows = [row["code"] for row in csv.DictReader(text.splitlines())]
    assert len(rows) == len(set(rows)) == len(codes.table()) == 85


@pytest.mark.parametrize("code", codes.table().values(), ids=lambda c: c.code)
def test_each_row_makes_sense_by_itself(code: codes.DeclineCode) -> None:
    assert code.category is not codes.Category.UNKNOWN
    assert code.is_known
    is_final = code.finality.reach is not codes.FinalFor.NOTHING
    assert is_final == (code.retryable is not codes.Retryable.YES)
    if code.shows_life:
        assert not is_final, "a card that lives is not done with"
    if code.retryable is codes.Retryable.NO and code.finality.reach is codes.FinalFor.CREDENTIAL:
        assert code.finality.lifted_by is codes.LiftedBy.PAYMENT
    if code.code in network_rules.CONSENT_GONE:
        assert code.finality.reach is codes.FinalFor.NUMBER


_GOOD = {
    "code": "x", "category": "limits", "retryable_same_method": "no", "final_for": "credential",
    "lifted_by": "payment", "ages_days": "", "shows_life": "no", "customer_action": "none",
    "disclose_reason": "yes", "source": "", "network": "visa", "field": "decline", "says": "no",
    "wait_hours": "",
}  # fmt: skip


@pytest.mark.parametrize("read", [codes.decline_code, codes.network_code])
@pytest.mark.parametrize(
    ("column", "word"),
    [("category", "limit"), ("retryable_same_method", "maybe"), ("final_for", "card"),
     ("final_for", "nothing"), ("final_for", "number"), ("lifted_by", "time"),
     ("lifted_by", "nothing"), ("ages_days", "soon"), ("shows_life", ""),
     ("customer_action", "pray"), ("disclose_reason", "perhaps"), ("network", "amex"),
     ("field", "reason"), ("wait_hours", "long")],
)  # fmt: skip
def test_a_misspelt_or_contradictory_row_fails_when_its_table_is_read(
    read: Callable[[Mapping[str, str]], object], column: str, word: str
) -> None:
    read(_GOOD)
    others = {"network", "field", "wait_hours"}
    theirs = {"category", "retryable_same_method", "customer_action", "disclose_reason"}
    if column in (others if read is codes.decline_code else theirs):
        return  # not a column of that table
    with pytest.raises(ValueError):  # noqa: PT011 - each vocabulary says it in its own words
        read(_GOOD | {column: word})


@pytest.mark.parametrize("code", ["fraudulent", "lost_card", "stolen_card", "merchant_blacklist"])
def test_the_reason_stays_hidden_where_stripe_asks_for_it(code: str) -> None:
    assert not codes.lookup(code).discloses_reason


@pytest.mark.parametrize("code", [*codes.table(), None, "never_seen_before"])
def test_of_a_hidden_reason_a_customer_is_told_as_much_as_of_none(code: str | None) -> None:
    told = codes.as_told(code)
    assert told.discloses_reason
    assert told == (
        codes.lookup(code) if codes.lookup(code).discloses_reason else codes.lookup(None)
    )


@pytest.mark.parametrize("name", ["decline_codes.csv", "network_codes.csv"])
def test_every_row_names_where_it_comes_from(name: str) -> None:
    text = (files("retry_engine.domain") / name).read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        assert row["source"].strip(), row["code"]
        aged = row["ages_days"]
        assert not aged or f"{aged} days on other invoices" in row["source"], row["code"]


@pytest.mark.parametrize(
    "code",
    "incorrect_number lost_card pickup_card stolen_card revocation_of_authorization"
    " revocation_of_all_authorizations highest_risk_level transaction_not_allowed"
    " stop_payment_order invalid_account fraudulent".split(),
)
def test_what_stripe_or_visa_call_final_is_final_here(code: str) -> None:
    assert codes.lookup(code).retryable == "no"


def test_no_code_and_the_bare_error_code_read_as_a_generic_decline() -> None:
    assert codes.lookup(None).code == codes.lookup("card_declined").code == "generic_decline"


def test_a_partners_prefix_is_seen_through() -> None:
    assert codes.lookup("partner_insufficient_funds") == codes.lookup("insufficient_funds")
    assert codes.lookup("partner_high_risk_customer").code == "partner_high_risk_customer"


@given(st.text(max_size=40))
def test_any_other_text_is_a_soft_unknown_code(text: str) -> None:
    known = codes.table()
    found = codes.lookup(text)
    if text in known or text.removeprefix("partner_") in known or text == "card_declined":
        assert found.is_known
        return
    assert not found.is_known
    assert (found.code, found.retryable) == (text, codes.Retryable.YES)
    assert found.finality.reach is codes.FinalFor.NOTHING
    assert not found.is_technical
