"""The states of a case: one table, of which every walk is a legal life."""

import json
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.domain.case_states import TRANSITIONS, CaseState, CloseReason, apply
from retry_engine.domain.errors import TransitionRefused

S = CaseState


def reachable(start: CaseState) -> set[CaseState]:
    seen, queue = {start}, deque([start])
    while queue:
        state = queue.popleft()
        for way in TRANSITIONS.values():
            if state in way.sources and way.target not in seen:
                seen.add(way.target)
                queue.append(way.target)
    return seen


def test_the_states_and_ends_are_the_published_ones() -> None:
    assert {str(s) for s in S} == {
        "open", "processing", "needs_customer", "in_review", "paused", "closed",
    }  # fmt: skip
    assert {str(r) for r in CloseReason} == {
        "recovered_by_engine", "recovered_elsewhere", "voided", "uncollectible",
        "subscription_ended", "disputed", "exhausted", "stopped",
    }  # fmt: skip
    assert json.dumps({"state": S.OPEN}) == '{"state": "open"}'


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("name", list(TRANSITIONS))
def test_a_transition_works_from_its_sources_and_is_refused_elsewhere(
    state: CaseState, name: str
) -> None:
    way = TRANSITIONS[name]
    if state in way.sources:
        assert apply(state, name) is way.target
        return
    with pytest.raises(TransitionRefused) as refused:
        apply(state, name)
    text = str(refused.value)
    assert str(state) in text
    assert name in text
    assert "\n" not in text


def test_no_way_leads_out_of_closed() -> None:
    assert reachable(S.CLOSED) == {S.CLOSED}
    assert all(S.CLOSED not in way.sources for way in TRANSITIONS.values())


@pytest.mark.parametrize("state", [s for s in S if s is not S.CLOSED])
def test_from_every_living_state_all_states_can_be_reached(state: CaseState) -> None:
    assert reachable(state) == set(S)


def test_no_transition_stays_where_it_is() -> None:
    assert all(way.target not in way.sources for way in TRANSITIONS.values())


def test_only_a_person_leads_a_case_out_of_review_and_pause_into_open() -> None:
    into_open = {n: w.sources for n, w in TRANSITIONS.items() if w.target is S.OPEN}
    assert [n for n, sources in into_open.items() if S.IN_REVIEW in sources] == ["approved"]
    assert [n for n, sources in into_open.items() if S.PAUSED in sources] == ["resumed"]


@given(st.lists(st.sampled_from(sorted(TRANSITIONS)), max_size=40))
def test_a_refused_transition_leaves_the_case_where_it_was(names: list[str]) -> None:
    state, closed = S.OPEN, False
    for name in names:
        try:
            state = apply(state, name)
        except TransitionRefused:
            assert state not in TRANSITIONS[name].sources
            continue
        assert not closed, "nothing happens to a case after its end"
        closed = state is S.CLOSED


def test_the_table_cannot_be_changed_at_run_time() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS["opened"] = TRANSITIONS["closed"]  # type: ignore[index]


def test_every_transition_says_what_it_means() -> None:
    assert all(way.meaning and way.sources for way in TRANSITIONS.values())
