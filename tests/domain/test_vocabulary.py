"""The closed sets of words: what the contract lists, what the tables hold, what a row may be."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from retry_engine.domain import codes, vocabulary
from retry_engine.domain.policy import Policy, from_content
from retry_engine.domain.vocabulary import (
    BillingInterval,
    CaseState,
    Category,
    CloseReason,
    CustomerAction,
    EndCause,
    FinalFor,
    LiftedBy,
    LoggedEnd,
    LogKind,
    Mode,
    OutboundType,
    Outcome,
    OverrideAction,
    Retryable,
    Role,
    Source,
    Verdict,
)
from retry_engine.store.typed_rows import Reader

IN_THE_CONTRACT: dict[type[StrEnum], str] = {
    CaseState: "open processing needs_customer in_review paused closed",
    CloseReason: "recovered_by_engine recovered_elsewhere voided uncollectible subscription_ended"
    " disputed exhausted stopped",
    Source: "stripe engine customer manual",
    Outcome: "succeeded failed requires_action processing unknown",
    Mode: "takeover shadow holdout",
    Role: "viewer operator admin",
    Verdict: "approve reject",
    LogKind: "attempt message offer method_changed closed",
    LoggedEnd: "recovered voided uncollectible churned exhausted",
    BillingInterval: "day week month year",
    OutboundType: "recovery.opened recovery.needs_customer recovery.message_sent"
    " recovery.recovered recovery.given_up recovery.closed",
}


@pytest.mark.parametrize("words", IN_THE_CONTRACT)
def test_what_the_contract_lists_is_what_there_is(words: type[StrEnum]) -> None:
    assert [word.value for word in words] == IN_THE_CONTRACT[words].split()


def test_a_person_may_do_all_that_the_contract_names() -> None:
    named = {"retry", "pause", "resume", "stop", "release", "hold"}
    assert named <= {action.value for action in OverrideAction}


def test_every_word_is_said_once() -> None:
    sets = [kind for kind in vars(vocabulary).values() if _is_words(kind)]
    assert len(sets) > 40
    for kind in sets:
        assert len({word.value for word in kind}) == len(kind.__members__), kind


def _is_words(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            Category,
            {code.category for code in (*codes.table().values(), codes.lookup("of tomorrow"))},
        ),
        (Retryable, {code.retryable for code in codes.table().values()}),
        (CustomerAction, {code.customer_action for code in codes.table().values()}),
        (FinalFor, {code.finality.reach for code in codes.table().values()}),
        (LiftedBy, {code.finality.lifted_by for code in codes.table().values()}),
    ],
)
def test_the_table_of_declines_uses_every_word_there_is_for_it(
    words: type[StrEnum], said: set[StrEnum]
) -> None:
    assert said == set(words)


def test_every_end_has_one_meaning_for_whoever_learns() -> None:
    paid = {reason for reason in CloseReason if reason.is_paid}
    assert paid == {CloseReason.RECOVERED_BY_ENGINE, CloseReason.RECOVERED_ELSEWHERE}
    assert {reason for reason in CloseReason if reason.logged_as is LoggedEnd.CHURNED} == {
        CloseReason.SUBSCRIPTION_ENDED
    }
    assert {reason.logged_as for reason in CloseReason} == set(LoggedEnd)
    assert {end.competes_as for end in LoggedEnd} == set(EndCause)
    assert not any(reason.is_paid and reason.is_given_up for reason in CloseReason)


def test_a_policy_that_was_stored_is_read_as_it_was_written() -> None:
    stored = {
        "version": "policy-1",
        "review": {"on_dispute": "close", "unanswered": "stop"},
        "end": {"subscription": "cancel"},
        "cases": {"billing_reasons": ["subscription_cycle"]},
        "removed": {"since": "long ago"},
    }
    policy = from_content(stored)
    assert policy.review.on_dispute is vocabulary.OnDispute.CLOSE
    assert policy.review.unanswered is vocabulary.Unanswered.STOP
    assert policy.end.subscription is vocabulary.SubscriptionEnd.CANCEL
    assert policy.cases.billing_reasons == (vocabulary.BillingReason.SUBSCRIPTION_CYCLE,)
    assert policy.limits == Policy().limits
    with pytest.raises(ValueError, match="shrug"):
        from_content({"version": "policy-1", "review": {"on_dispute": "shrug"}})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    state: CaseState
    close_reason: CloseReason | None
    mode: str


def test_a_row_with_a_word_that_nobody_knows_is_met_where_it_is_read() -> None:
    reader = Reader(_Row)
    with create_engine("sqlite://").connect() as connection:
        query = "select 'x' as more, :state as state, null as close_reason, 'odd' as mode"
        found = reader.one(connection.execute(text(query), {"state": "open"}))
        assert found == _Row(state=CaseState.OPEN, close_reason=None, mode="odd")
        assert found.state is CaseState.OPEN
        with pytest.raises(ValueError, match="dreaming"):
            reader.first(connection.execute(text(query), {"state": "dreaming"}))
