"""What discounts do is learnt from offers drawn at random."""

from random import Random
from typing import Any

import pandas as pd
import pytest

from retry_engine.decisioning import discounts
from retry_engine.learning import log, uplift

_OWED = 4000


def a_log(invoices: int, *, seed: int, willing: float, needs_it: float) -> pd.DataFrame:
    """A third of the messages each with nothing, 10 % and 20 % off."""
    rng = Random(seed)
    start = pd.Timestamp("2026-01-01", tz="UTC")
    rows = []
    for number in range(invoices):
        at = start + pd.Timedelta(hours=number)
        about = {"invoice_id": f"in_{number}", "customer_id": f"cus_{number}"}
        rows.append({**about, "kind": "attempt", "at": at, "amount": _OWED, "currency": "eur",
                     "outcome": "failed", "decline_code": "insufficient_funds"})  # fmt: skip
        said = {**about, "at": at + pd.Timedelta(days=1), "propensity": 1 / 3}
        off = rng.choice((0, 400, 800))
        if off:
            rows.append({**said, "kind": "offer", "amount": off, "currency": "eur"})
            rows.append({**about, "kind": "message", "at": at + pd.Timedelta(days=1, seconds=30)})
        else:
            rows.append({**said, "kind": "message"})
        luck = rng.random()
        if luck < willing + (needs_it if off else 0.0):
            rows.append({**about, "kind": "attempt", "at": at + pd.Timedelta(days=2),
                         "amount": _OWED - off, "currency": "eur", "outcome": "succeeded",
                         "source": "customer"})  # fmt: skip
    checked, _ = log.validate(pd.DataFrame(rows))
    return checked


def net(share: float, **world: float) -> float:
    """Of a discount of that share, as learnt from that world."""
    units = uplift.units_of(a_log(6000, seed=3, **world))
    return uplift.learn(units).net(units[0].situation, share, worth=1.0)


def test_a_discount_that_moves_nobody_is_learnt_to_be_a_loss() -> None:
    assert net(0.2, willing=0.3, needs_it=0.0) < -0.03


def test_a_discount_that_moves_many_is_learnt_to_pay() -> None:
    # three in ten pay only with it, and four in ten of all then use it
    assert net(0.2, willing=0.1, needs_it=0.3) == pytest.approx(0.3 - 0.4 * 0.2, abs=0.05)


def test_what_remains_of_messages_without_a_known_propensity_is_the_prior() -> None:
    table = a_log(500, seed=1, willing=0.3, needs_it=0.0)
    table["propensity"] = float("nan")
    assert uplift.learn(uplift.units_of(table)) == discounts.PRIOR


def test_a_message_and_its_offer_are_one_unit() -> None:
    units = uplift.units_of(a_log(300, seed=2, willing=0.5, needs_it=0.0))
    assert len(units) == 300
    assert {round(unit.share, 2) for unit in units} == {0.0, 0.1, 0.2}
    assert all(unit.given <= unit.share for unit in units)


def test_what_no_message_showed_stays_as_it_was_believed() -> None:
    units = uplift.units_of(a_log(3000, seed=4, willing=0.3, needs_it=0.0))
    learnt = uplift.learn(units)
    assert learnt.gain["came_and_left=yes"] == discounts.PRIOR.gain["came_and_left=yes"]
    assert learnt.gain[""] < discounts.PRIOR.gain[""]


def _story(*events: dict[str, Any]) -> list[uplift.Unit]:
    start = pd.Timestamp("2026-01-01", tz="UTC")
    about = {"invoice_id": "in_1", "customer_id": "cus_1"}
    failed: dict[str, Any] = {
        "kind": "attempt", "amount": 1000, "currency": "usd", "outcome": "failed",
        "decline_code": "insufficient_funds", "day": 0,
    }  # fmt: skip
    rows = [{**about, **e, "at": start + pd.Timedelta(days=e["day"])} for e in (failed, *events)]
    checked, _ = log.validate(pd.DataFrame(rows))
    return uplift.units_of(checked)


_OFFER = {"kind": "offer", "day": 1, "amount": 200, "currency": "usd", "propensity": 0.3}
_PAID = {"kind": "attempt", "day": 5, "amount": 800, "currency": "usd", "outcome": "succeeded",
         "source": "customer"}  # fmt: skip


@pytest.mark.parametrize("reminders", [0, 1, 3])
def test_who_pays_with_the_discount_after_a_reminder_counts_as_paid(reminders: int) -> None:
    later: list[dict[str, object]] = [
        {"kind": "message", "day": 2 + 0.5 * n} for n in range(reminders)
    ]
    [unit] = _story(_OFFER, *later, _PAID)
    assert (unit.paid, unit.given) == (True, 0.2)


def test_a_message_that_was_drawn_later_takes_the_full_payments_after_it() -> None:
    drawn = {"kind": "message", "day": 3, "propensity": 0.5}
    first, second = _story(_OFFER, drawn, {**_PAID, "amount": 1000})
    assert (first.paid, first.given, second.paid) == (False, 0.0, True)
    first, second = _story(_OFFER, drawn, _PAID)
    assert (first.paid, first.given) == (True, 0.2), "the discount was that of the first"


def test_a_discount_in_another_currency_is_no_share_of_what_is_owed() -> None:
    units = _story({**_OFFER, "currency": "jpy"}, {**_PAID, "currency": "jpy"})
    assert all(unit.share == 0.0 and unit.given == 0.0 for unit in units)
