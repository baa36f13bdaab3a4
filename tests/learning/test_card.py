"""What a card says of itself."""

import pytest

from retry_engine.learning import card


def _with(low: float, high: float) -> dict[str, object]:
    gain = {"net_per_case": (low + high) / 2, "low": low, "high": high}
    return {"version": "hazard-1", "backtest": {"differences": {"learnt - prior": gain}}}


def test_a_model_that_its_backtest_has_below_the_prior_is_not_promoted_by_itself() -> None:
    told = card.below_the_prior(_with(-63.0, -14.0))
    assert told is not None
    assert "hazard-1 is stored and not promoted" in told
    assert "-38.5 minor units a case (-63.0 to -14.0)" in told


@pytest.mark.parametrize(
    "document",
    [_with(-20.0, 3.0), _with(1.0, 9.0), {"version": "v"}, {"version": "v", "backtest": None}],
    ids=["not sure", "better", "no backtest", "too few cases for one"],
)
def test_nothing_speaks_against_another_model(document: dict[str, object]) -> None:
    assert card.below_the_prior(document) is None
