"""Pay cycles, learnt from when charges found money."""

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import numpy as np

from retry_engine.decisioning import pay_cycles
from retry_engine.decisioning.pay_cycles import (
    CYCLES,
    DEPTHS,
    Evidence,
    PayCycles,
    days_since_payday,
    evidence,
)
from retry_engine.domain.attempts import Attempt, Outcome, Source

START = datetime(2025, 3, 3, 12, tzinfo=UTC)


def _try(at: datetime, invoice: str, *, paid: bool, code: str = "insufficient_funds") -> Attempt:
    return Attempt(
        at=at,
        source=Source.ENGINE,
        outcome=Outcome.SUCCEEDED if paid else Outcome.FAILED,
        amount=1000,
        currency="eur",
        invoice_id=invoice,
        payment_method_id="pm_1",
        decline_code=None if paid else code,
    )


def _town(payday: int, people: int, code: str = "insufficient_funds") -> list[Evidence]:
    """People paid on that day of the month, tried at random until money is there."""
    luck = Random(7)
    told = []
    for _ in range(people):
        attempts = []
        for month in range(6):
            opened = START + timedelta(days=30 * month + luck.uniform(0, 30))
            attempts.append(_try(opened, f"in_{month}", paid=False, code=code))
            for day in sorted(luck.uniform(1, 28) for _ in range(3)):
                at = opened + timedelta(days=day)
                # money lasts a week
                paid = (at.day - payday) % 30 < 7
                attempts.append(_try(at, f"in_{month}", paid=paid, code=code))
                if paid:
                    break
        told.append(evidence(attempts, country="PL", timezone="Europe/Warsaw"))
    return told


def test_a_payday_that_no_table_lists_is_found() -> None:
    learnt = pay_cycles.learn(_town(13, 300))
    best = CYCLES[int(np.argmax(learnt.mix("PL")))]
    assert best in {"month:12", "month:13", "month:14"}
    assert (
        learnt.mix("PL")[CYCLES.index("month:last")]
        < PayCycles().mix("PL")[CYCLES.index("month:last")]
    )


def _after_payday(learnt: PayCycles, days: float, kind: int = pay_cycles.EMPTY) -> float:
    """Chance of somebody paid monthly so long after a payday that followed the decline."""
    belief = np.zeros((len(CYCLES), len(pay_cycles.DEPTHS)))
    belief[CYCLES.index("month:13")] = learnt.depths
    since = np.full((1, len(CYCLES)), days)
    return float(learnt.chance(belief, kind, since, np.array([25.0]))[0])


def test_money_is_found_more_often_just_after_the_payday_that_was_learnt() -> None:
    learnt = pay_cycles.learn(_town(13, 300))
    # one day and twenty days after a payday that followed the decline
    assert _after_payday(learnt, 1.0) > 0.8 > 0.3 > _after_payday(learnt, 20.5)


def test_one_customers_record_moves_the_belief_about_them_alone() -> None:
    learnt = pay_cycles.learn(_town(13, 300))
    other = _town(25, 1)[0]
    before, after = learnt.mix("PL"), learnt.belief(other).sum(axis=1)
    column = CYCLES.index("month:25")
    assert after[column] > 3 * before[column]
    assert np.isclose(after.sum(), 1.0)


def test_without_any_record_the_documented_mix_stands() -> None:
    assert pay_cycles.learn([]).mixes == {}
    nobody = evidence([], country="GB", timezone=None)
    assert np.allclose(PayCycles().belief(nobody).sum(axis=1), PayCycles().mix("GB"))
    assert CYCLES[int(np.argmax(PayCycles().mix("GB")))] == "month:last"


def test_declines_that_say_nothing_of_money_are_left_out() -> None:
    told = evidence(
        [
            _try(START, "in_1", paid=False, code="issuer_not_available"),
            _try(START + timedelta(days=2), "in_1", paid=True),
        ],
        country="US",
        timezone=None,
    )
    assert told.at.size == 0


def test_a_bank_that_hides_empty_accounts_behind_no_reason_is_seen_through() -> None:
    hiding = pay_cycles.learn(_town(13, 300, code="do_not_honor"))
    fresh, stale = (_after_payday(hiding, days, pay_cycles.OPAQUE) for days in (1.0, 20.5))
    assert fresh > 0.8 > 0.3 > stale
    # before any log it is believed that such declines hide little
    first = PayCycles()
    assert _after_payday(first, 1.0, pay_cycles.OPAQUE) < 0.5


def test_who_is_found_empty_soon_after_payday_is_believed_to_have_a_thin_balance() -> None:
    def record(*, paid: bool) -> Evidence:
        attempts = []
        for month in (4, 5, 6):
            opened = datetime(2025, month, 20, 12, tzinfo=UTC)
            attempts.append(_try(opened, f"in_{month}", paid=False))
            # ten days after wages on the last of the month
            attempts.append(_try(opened + timedelta(days=20), f"in_{month}", paid=paid))
        return evidence(attempts, country="ES", timezone=None)

    thin = DEPTHS.index("thin")
    empty, full = (
        PayCycles().belief(record(paid=paid)).sum(axis=0)[thin] for paid in (False, True)
    )
    assert empty > PayCycles().depths[thin] > full


def test_paydays_are_counted_on_the_customers_own_clock_and_before_weekends() -> None:
    zone = ZoneInfo("America/New_York")
    # 1 June 2025 is a Sunday: wages come on Friday, 30 May, at nine in the morning
    at = np.array(
        [
            datetime(2025, 5, 30, 9, tzinfo=zone).timestamp(),
            datetime(2025, 5, 31, 9, tzinfo=zone).timestamp(),
        ]
    )
    since = days_since_payday("US", zone, at)[:, CYCLES.index("month:1")]
    assert np.allclose(since, [0.0, 1.0])
