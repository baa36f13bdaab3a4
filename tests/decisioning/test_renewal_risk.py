"""What a coming charge on a method that was declined last is expected to do."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from diary import OPENED, Diary, card

from retry_engine.decisioning import renewal_risk
from retry_engine.decisioning.features import Rates
from retry_engine.decisioning.pay_cycles import PayCycles
from retry_engine.decisioning.prior import PriorModel
from retry_engine.decisioning.success_model import Calibrator, LearntModel
from retry_engine.domain.renewal_risk import RenewalRisk

AMONTH = OPENED + timedelta(days=30)


def look(diary: Diary, *, amount: int = 2900) -> RenewalRisk | None:
    """A week before the renewal that comes a month after the decline."""
    view = replace(
        diary.view(hours=23 * 24), deadline_at=AMONTH + timedelta(hours=1), amount=amount
    )
    return renewal_risk.of_charge(view, diary.methods[0], AMONTH, policy=diary.policy)


def test_the_chance_is_what_the_prior_says_of_that_moment() -> None:
    diary = Diary().declined("do_not_honor")
    found = look(diary)
    assert found is not None
    slots = np.array([AMONTH.timestamp()])
    view = diary.view()
    chance = PriorModel().success_probability(view, view.payment_methods[0], slots)
    assert found.chance == pytest.approx(float(chance[0]))
    assert 0.2 < found.chance < 0.35
    assert (found.model_version, "do_not_honor" in found.reason) == ("prior-1", True)


def test_a_technical_error_is_over_by_then() -> None:
    found = look(Diary().declined("issuer_not_available"))
    assert found is not None
    assert found.chance > 0.7


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("lost_card", {}),
        ("stolen_card", {}),
        ("expired_card", {}),
        ("invalid_account", {}),
        ("do_not_honor", {"network_decline_code": "41"}),
        ("do_not_honor", {"network_decline_code": "04"}),
    ],
)
def test_what_the_networks_forbid_for_good_has_no_chance(code: str, more: dict[str, Any]) -> None:
    found = look(Diary().declined(code, **more))
    assert found is not None
    assert found.chance == 0.0
    assert found.model_version == "prior-1"


def test_a_bank_that_asked_for_the_customer_a_month_ago_is_asked_again() -> None:
    found = look(Diary().declined("authentication_required"))
    assert found is not None
    assert 0.0 < found.chance < 0.1


def test_what_was_forbidden_about_the_old_invoice_alone_is_not_forbidden_now() -> None:
    diary = Diary().declined("do_not_honor", advice_code="do_not_try_again")
    for _ in range(9):  # all attempts of that invoice are used up, and its horizon has passed
        diary = diary.declined("issuer_not_available", hours=60)
    found = look(diary)
    assert found is not None
    assert found.chance > 0.0


def test_neither_a_wait_nor_the_amount_nor_an_indian_card_makes_it_hopeless() -> None:
    waits = replace(
        Diary(methods=(card(card_brand="mastercard", card_country="IN"),)).declined(
            "insufficient_funds", network_advice_code="30"
        )
    )
    found = look(waits, amount=10)
    assert found is not None
    assert found.chance > 0.0


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("fraudulent", {}),
        ("merchant_blacklist", {}),
        ("revocation_of_authorization", {}),
        ("recipient_deceased", {}),
        ("do_not_honor", {"network_decline_code": "R0"}),
        ("generic_decline", {"outcome_reason": "fraudulent"}),
    ],
)
def test_who_is_suspected_or_has_said_no_is_not_spoken_of(code: str, more: dict[str, Any]) -> None:
    assert look(Diary().declined(code, **more)) is None
    assert look(Diary().declined(code, **more).declined("do_not_honor", hours=50)) is None


class _Stumps:
    """Trees that give every charge the same log hazard."""

    def log_hazard(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        assert np.isfinite(rows).all()
        return np.full(len(rows), -1.0)

    def contributions(self, row: Any, background: Any) -> Any:
        raise AssertionError("nothing is compared")


def test_a_learnt_model_is_asked_the_same_question() -> None:
    model = LearntModel(
        version="learnt-7", trees=_Stumps(), calibrator=Calibrator(0.0, 1.0, 0.0), rates=Rates(),
        pay_cycles=PayCycles(), group_rows={"tried:issuer_risk": [1e9] * 5},
    )  # fmt: skip
    diary = Diary().declined("do_not_honor")
    view = replace(diary.view(hours=23 * 24), deadline_at=AMONTH + timedelta(hours=1))
    method = diary.methods[0]
    found = renewal_risk.of_charge(view, method, AMONTH, policy=diary.policy, model=model)
    assert found is not None
    assert found.chance == pytest.approx(float(-np.expm1(-np.exp(-1.0))))
    assert found.model_version == "learnt-7"
    assert "do_not_honor" in found.reason
