"""When a customer is written to, and about what."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from diary import OPENED, Diary
from hypothesis import given, settings
from hypothesis import strategies as st
from test_planner_properties import diaries

from retry_engine.decisioning import dunning, planner
from retry_engine.domain import codes
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.messages import MessageKind, SentMessage
from retry_engine.domain.policy import Messages, Value


def _told(story: Diary, *hours: float) -> Diary:
    """The same after messages at those hours."""
    at = (OPENED + timedelta(hours=h) for h in hours)
    return story.but(messages=tuple(SentMessage(at=moment) for moment in at))


def test_whoever_must_act_is_told_at_once() -> None:
    decision = Diary().declined("expired_card").decides(hours=1)
    assert decision.kind is DecisionKind.WAIT_FOR_CUSTOMER
    assert decision.message_kind is MessageKind.UPDATE_METHOD
    assert decision.message_at == OPENED + timedelta(hours=1)


def test_an_authentication_is_asked_for_by_its_name() -> None:
    decision = Diary().declined("authentication_required").decides(hours=1)
    assert decision.message_kind is MessageKind.AUTHENTICATE


@pytest.mark.parametrize("code", codes.table().values(), ids=lambda c: c.code)
@pytest.mark.parametrize("disclose", ["yes", "no"])
def test_a_message_says_no_more_of_a_decline_than_its_table_discloses(
    code: codes.DeclineCode, disclose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table as it is, and with the other word for this code in it."""
    wait = Decision(
        kind=DecisionKind.WAIT_FOR_CUSTOMER, reasons=(), candidates=(), model_version="prior-1"
    )
    opaque = dunning.kind_of(Diary().declined("generic_decline").view(), wait)
    other = replace(code, discloses_reason=disclose == "yes")
    with monkeypatch.context() as patch:
        patch.setitem(codes.table(), code.code, other)
        codes.lookup.cache_clear()
        said = dunning.kind_of(Diary().declined(code.code).view(), wait)
    codes.lookup.cache_clear()
    tells = disclose == "yes" and code.category is codes.Category.AUTHENTICATION
    assert said is (MessageKind.AUTHENTICATE if tells else opaque)


def test_a_retry_that_comes_soon_is_waited_for_before_anybody_is_written_to() -> None:
    decision = Diary().declined("processing_error").decides(hours=1)
    assert decision.kind is DecisionKind.RETRY
    assert decision.retry_at is not None
    assert decision.message_at is None or decision.message_at > decision.retry_at


def test_there_are_days_between_two_messages_and_an_end_to_them() -> None:
    story = Diary().declined("expired_card")
    second = _told(story, 1).decides(hours=2)
    assert second.message_at is not None
    assert second.message_at >= OPENED + timedelta(hours=73)
    third = _told(story, 1, 80).decides(hours=81)
    assert third.message_at is not None
    assert third.message_at >= OPENED + timedelta(hours=80 + 144)
    assert _told(story, 1, 80, 160, 240).decides(hours=241).message_at is None


def test_what_is_not_worth_a_message_gets_none() -> None:
    story = Diary().declined("expired_card").under(value=Value(message_cost=10_000))
    assert story.decides(hours=1).message_at is None
    off = Diary().declined("expired_card").under(messages=Messages(enabled=False))
    assert off.decides(hours=1).message_at is None


@settings(max_examples=80, deadline=None)
@given(diaries(), st.lists(st.floats(0, 400), max_size=3))
def test_nobody_is_written_to_at_night_too_often_or_too_late(
    story: tuple[Diary, float], earlier: list[float]
) -> None:
    diary, hours = story
    before = sorted(h for h in earlier if h < hours)
    view = _told(diary, *before).view(hours=hours)
    decision = planner.decide(view, policy=diary.policy)
    if decision.message_at is None:
        assert decision.message_kind is None
        return
    assert view.now <= decision.message_at < view.deadline_at
    assert not dunning.is_quiet(view, decision.message_at, diary.policy.messages)
    if view.messages:
        assert decision.message_at - view.messages[-1].at >= timedelta(hours=72)


@pytest.mark.parametrize(("hour", "quiet"), [(7, True), (8, False), (20, False), (21, True)])
def test_quiet_hours_are_the_customers_own(hour: int, quiet: bool) -> None:
    view = Diary().but(customer_timezone="Asia/Tokyo").view()
    local = OPENED.astimezone(ZoneInfo("Asia/Tokyo")).replace(hour=hour)
    assert dunning.is_quiet(view, local, Messages()) is quiet


def test_where_a_country_has_many_zones_only_hours_that_all_share_are_used() -> None:
    view = Diary().but(customer_country="US", customer_timezone=None).view()
    chicago = OPENED.astimezone(ZoneInfo("America/Chicago"))
    assert dunning.is_quiet(view, chicago.replace(hour=9), Messages())
    assert not dunning.is_quiet(view, chicago.replace(hour=12), Messages())
    known = replace(view, customer_timezone="America/Chicago")
    assert not dunning.is_quiet(known, chicago.replace(hour=9), Messages())
