"""Who goes first where invoices of one customer wait for the same card."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.domain.policy import Limits
from retry_engine.domain.turns import CardCharge, waits_for

NOW = datetime(2026, 4, 2, 8, tzinfo=UTC)
LIMITS = Limits()


def charge(
    name: str, *, due: float = 0, age: float = 5, left: float = 25, **more: Any
) -> CardCharge:
    """Due in `due` hours; opened `age` days ago, with `left` days to its deadline."""
    return CardCharge(
        case_id=name,
        invoice_id=f"in_{name}",
        due_at=NOW + timedelta(hours=due),
        opened_at=NOW - timedelta(days=age),
        deadline_at=NOW + timedelta(days=left),
        **{"amount": 2000, "currency": "usd", "expected_value": 500, **more},
    )


def first(mine: CardCharge, *others: CardCharge) -> str:
    """Whose turn it is now, as far as `mine` is concerned."""
    other = waits_for(mine, others, now=NOW, limits=LIMITS)
    return mine.case_id if other is None else other.case_id


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ({"expected_value": 500}, {"expected_value": 501, "amount": 1, "age": 1}),
        ({"amount": 2000}, {"amount": 2001, "age": 1}),
        ({"age": 5}, {"age": 6}),
        ({}, {"by_person": True, "expected_value": 0, "currency": "eur"}),
    ],
)
def test_what_is_worth_more_goes_first_then_the_larger_then_the_older(
    mine: dict[str, Any], other: dict[str, Any]
) -> None:
    small, large = charge("small", **mine), charge("large", **other)
    assert first(small, large) == "large"
    assert first(large, small) == "large"


@pytest.mark.parametrize(
    "other",
    [
        {"due": 48},  # by then the gap is over
        {"due": -25},  # so late that it will be planned anew
        {"tried_at": NOW - timedelta(days=2)},  # it had its turn
        {"currency": "eur"},  # nobody can say which is worth more
    ],
)
def test_nobody_waits_for_what_they_are_not_in_the_way_of(other: dict[str, Any]) -> None:
    assert first(charge("mine"), charge("other", **{"expected_value": 900, **other})) == "mine"


def test_who_would_have_no_time_left_after_the_other_does_not_wait() -> None:
    rich = charge("rich", due=5, expected_value=900)
    assert first(charge("poor", left=3), rich) == "rich"
    assert first(charge("poor", left=2), rich) == "poor"


def test_what_a_person_asked_for_waits_for_nobody() -> None:
    assert first(charge("mine", by_person=True), charge("other", expected_value=900)) == "mine"


CHARGES = st.builds(
    charge,
    st.uuids().map(str),
    due=st.floats(-30, 60),
    age=st.floats(0, 20),
    left=st.floats(0, 10),
    amount=st.integers(1, 3),
    expected_value=st.integers(0, 2),
    currency=st.sampled_from(["usd", "eur"]),
    by_person=st.booleans(),
    tried_at=st.none() | st.just(NOW - timedelta(days=3)),
)


@given(st.lists(CHARGES, min_size=1, max_size=6, unique_by=lambda c: c.case_id))
def test_somebody_is_always_next(charges: list[CardCharge]) -> None:
    assert any(first(one, *(c for c in charges if c is not one)) == one.case_id for one in charges)
