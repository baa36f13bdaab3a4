"""What a breach would cost steers attempts that may be one, and no others."""

import pytest
from diary import Diary, card

from retry_engine.domain import codes
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.policy import Limits, Value


def _decides(diary: Diary, cost: int, *, hours: float = 5) -> Decision:
    return diary.under(value=Value(rule_breach_cost=cost)).decides(hours=hours)


RISKY = {
    "a code that nobody knows": Diary().declined("a_code_of_next_year"),
    "a bank that gives no reason": Diary().declined("do_not_honor"),
    "a card near its ceiling": Diary()
    .declined("insufficient_funds")
    .under(limits=Limits(max_attempts_per_card_30_days=3)),
}


@pytest.mark.parametrize("what", RISKY)
def test_what_may_be_a_breach_is_left_where_a_breach_is_dear(what: str) -> None:
    diary = RISKY[what]
    assert _decides(diary, 0).kind == DecisionKind.RETRY
    assert _decides(diary, 10_000).kind == DecisionKind.RETRY
    assert _decides(diary, 10**9).kind != DecisionKind.RETRY


def test_a_dear_breach_moves_the_charge_to_a_method_about_which_nothing_is_unclear() -> None:
    diary = Diary(methods=(card(), card("backup"))).declined("a_code_of_next_year")
    decision = _decides(diary, 10**9)
    assert (decision.kind, decision.payment_method_id) == (DecisionKind.RETRY, "pm_backup")


@pytest.mark.parametrize("code", sorted(codes.table()))
def test_where_nothing_is_unclear_the_cost_of_a_breach_decides_nothing(code: str) -> None:
    diary = Diary().declined(code, advice_code="try_again_later")
    free, usual, dear = (_decides(diary, cost) for cost in (0, 10_000, 10**9))
    assert free == usual == dear


@pytest.mark.parametrize("code", sorted(codes.table()))
def test_the_usual_cost_leaves_usual_decisions_as_they_are(code: str) -> None:
    diary = Diary(methods=(card(), card("backup"))).declined(code)
    free, usual = _decides(diary, 0), _decides(diary, 10_000)
    assert (free.kind, free.retry_at, free.payment_method_id) == (
        usual.kind,
        usual.retry_at,
        usual.payment_method_id,
    )
