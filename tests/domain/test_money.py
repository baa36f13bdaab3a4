"""Stripe's minor units: where they are not cents, and the smallest charge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.domain import money

CURRENCIES = "usd eur gbp jpy krw mga isk ugx kwd bhd huf twd clp".split()


@pytest.mark.parametrize(
    ("currency", "exponent", "step"),
    [
        ("usd", 2, 1),
        ("jpy", 0, 1),
        ("mga", 0, 1),  # ISO 4217 says 2
        ("isk", 2, 100),  # no decimals in fact, sent with two
        ("ugx", 2, 100),  # on Stripe's list without decimals, and yet sent with two
        ("kwd", 3, 10),  # the last digit must be 0
        ("huf", 2, 1),
        ("twd", 2, 1),
    ],
)
def test_the_minor_unit_is_stripes_not_isos(currency: str, exponent: int, step: int) -> None:
    assert (money.exponent(currency), money.step(currency)) == (exponent, step)


@pytest.mark.parametrize(
    ("currency", "least"),
    [("usd", 50), ("gbp", 30), ("huf", 17500), ("jpy", 50), ("thb", 1000), ("zzz", 0)],
)
def test_the_smallest_charge(currency: str, least: int) -> None:
    assert money.minimum_charge(currency) == least


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1234, "eur", "12.34 EUR"),
        (5, "usd", "0.05 USD"),
        (-5, "usd", "-0.05 USD"),
        (500, "jpy", "500 JPY"),
        (0, "jpy", "0 JPY"),
        (5120, "kwd", "5.120 KWD"),
        (500, "ugx", "5.00 UGX"),
    ],
)
def test_an_amount_reads_plainly(amount: int, currency: str, text: str) -> None:
    assert money.plain(amount, currency) == text


@given(st.integers(-(10**12), 10**12), st.sampled_from(CURRENCIES))
def test_no_digit_of_an_amount_is_lost(amount: int, currency: str) -> None:
    number, sign = money.plain(amount, currency).split()
    assert sign == currency.upper()
    assert int(number.replace(".", "")) == amount


@pytest.mark.parametrize("currency", CURRENCIES)
def test_the_smallest_charge_can_be_sent(currency: str) -> None:
    assert money.minimum_charge(currency) % money.step(currency) == 0
