"""What stands in the tables of codes is asked by somebody: a column that changes nothing goes."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from diary import Diary, card

from retry_engine.decisioning import planner
from retry_engine.domain import codes
from retry_engine.domain.codes import DeclineCode, Finality
from retry_engine.domain.decisions import Decision
from retry_engine.domain.policy import Policy
from retry_engine.domain.vocabulary import Category, CustomerAction, Field, Network, Retryable

_CHANGED: dict[str, Callable[[DeclineCode], Any]] = {
    "category": lambda row: (
        Category.FRAUD if row.category is not Category.FRAUD else Category.INSUFFICIENT_FUNDS
    ),
    "retryable": lambda row: Retryable.NO if row.retryable is not Retryable.NO else Retryable.YES,
    "finality": lambda _: Finality(),
    "customer_action": lambda row: (
        CustomerAction.AUTHENTICATE
        if row.customer_action is not CustomerAction.AUTHENTICATE
        else CustomerAction.WAIT_OR_NEW_METHOD
    ),
    "discloses_reason": lambda row: not row.discloses_reason,
    "shows_life": lambda row: not row.shows_life,
}


_KINDS = {replace(row, code=""): code for code, row in codes.table().items()}


@pytest.fixture
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Tables are read once; here they change."""
    yield monkeypatch
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    codes.lookup.cache_clear()
    codes.banning.cache_clear()


def _shape(decision: Decision) -> tuple[Any, ...]:
    return (
        decision.kind, decision.retry_at, decision.payment_method_id, decision.message_kind,
        decision.message_at, decision.success_probability, str(decision.reasons),
    )  # fmt: skip


def _decides(diary: Diary, *before: str) -> tuple[Any, ...]:
    """With what the card answered for another invoice, oldest first."""
    view = diary.view(hours=5)
    asked = [
        replace(attempt, invoice_id="in_before")
        for number, code in enumerate(before)
        for attempt in Diary().declined(code, hours=-99 + number).attempts
    ]
    return _shape(planner.decide(replace(view, card_attempts=tuple(asked)), policy=Policy()))


def _all_that_follows() -> list[Any]:
    two = (card(), card("backup"))
    here = Diary().declined("insufficient_funds")
    return [
        (
            _decides(Diary(methods=two).declined(code)),
            _decides(here, code),
            _decides(here, "expired_card", code),
            codes.as_told(code).code,
            codes.asks_for_customer(code),
        )
        for code in _KINDS.values()
    ]


@pytest.mark.parametrize("column", _CHANGED)
def test_every_column_of_the_decline_codes_steers_something(
    column: str, nothing_remembered: pytest.MonkeyPatch
) -> None:
    assert set(_CHANGED) == {f.name for f in fields(DeclineCode)} - {"code", "is_known"}
    usual = _all_that_follows()
    other = {
        code: replace(row, **{column: _CHANGED[column](row)}) for code, row in codes.table().items()
    }
    nothing_remembered.setattr(codes, "table", lambda: other)
    _forget()
    assert _all_that_follows() != usual


def test_a_networks_wait_steers_the_charge_that_it_is_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key, row = next(
        (key, row)
        for key, row in codes.network_table().items()
        if row.network is Network.MASTERCARD
        and row.field is Field.ADVICE
        and row.wait_hours
        and row.shows_life
    )
    theirs = (card(card_brand="mastercard"),)
    diary = Diary(methods=theirs).declined("insufficient_funds", network_advice_code=row.code)
    usual = diary.decides(hours=5)
    longer = {**codes.network_table(), key: replace(row, wait_hours=(row.wait_hours or 0) + 240)}
    monkeypatch.setattr(codes, "network_table", lambda: longer)
    later = diary.decides(hours=5)
    assert usual.retry_at is not None
    assert later.retry_at is None or later.retry_at > usual.retry_at + timedelta(hours=1)
