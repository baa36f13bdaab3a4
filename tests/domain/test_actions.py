"""What kinds of actions there are: which wait, which write, and which must come to pass."""

from retry_engine.domain.actions import ENDS, LAST_DUTIES, WAIT_WHILE_PAUSED, WRITE, ActionKind


def test_while_the_engine_is_paused_it_only_looks_and_keeps_its_hands_off() -> None:
    assert set(ActionKind) - WAIT_WHILE_PAUSED == {
        ActionKind.REFRESH,
        ActionKind.SETTLE,
        ActionKind.HAND_BACK,
        ActionKind.KEEP_OFF,
    }


def test_in_shadow_it_only_looks() -> None:
    assert set(ActionKind) - WRITE == {ActionKind.REFRESH, ActionKind.SETTLE}


def test_what_ends_a_case_writes_and_is_not_given_up() -> None:
    assert ENDS <= WRITE
    assert ENDS < LAST_DUTIES
