"""Paydays by country: business days, holidays, and the customer's own clock."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.decisioning import paydays
from retry_engine.domain.timezones import zone_of

BERLIN = ZoneInfo("Europe/Berlin")


def days(cycle: str, country: str, zone: ZoneInfo, start: str, end: str) -> list[str]:
    """That cycle's paydays within a span, as local dates."""
    first, last = (datetime.fromisoformat(t).replace(tzinfo=UTC) for t in (start, end))
    found = paydays.paydays(cycle, country, zone, start=first, end=last)
    local = [datetime.fromtimestamp(float(s), zone) for s in found]
    return [d.date().isoformat() for d in local if first <= d <= last]


def test_a_payday_on_a_weekend_comes_on_the_friday_before() -> None:
    # 15 March 2026 is a Sunday
    assert days("month:15", "DE", BERLIN, "2026-03-01", "2026-03-31") == ["2026-03-13"]


def test_a_payday_on_a_holiday_comes_on_the_business_day_before() -> None:
    # 25 and 26 December are holidays in Germany; 1 January too, before it New Year's Eve is worked
    assert days("month:25", "DE", BERLIN, "2026-12-01", "2026-12-31") == ["2026-12-24"]
    assert days("month:1", "DE", BERLIN, "2026-12-20", "2027-01-10") == ["2026-12-31"]


def test_the_last_business_day_is_found_in_short_and_long_months() -> None:
    found = days("month:last", "DE", BERLIN, "2028-01-01", "2028-03-31T23:00")
    assert found == ["2028-01-31", "2028-02-29", "2028-03-31"]


def test_a_fortnight_keeps_its_rhythm_across_the_year() -> None:
    chicago = ZoneInfo("America/Chicago")
    start, end = (datetime(2026, m, 1, tzinfo=UTC) for m in (3, 12))
    found = paydays.paydays("fortnight:4:0", "US", chicago, start=start, end=end)
    dates = [datetime.fromtimestamp(float(s), chicago).date() for s in found]
    assert {(b - a).days for a, b in pairwise(dates)} == {14}
    assert {d.weekday() for d in dates} == {4}


def test_wages_come_at_the_same_local_hour_in_winter_and_in_summer() -> None:
    start, end = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)
    found = paydays.paydays("month:last", "DE", BERLIN, start=start, end=end)
    hours_utc = {datetime.fromtimestamp(float(s), UTC).hour for s in found}
    hours_local = {datetime.fromtimestamp(float(s), BERLIN).hour for s in found}
    assert (hours_utc, hours_local) == ({7, 8}, {9})


@pytest.mark.parametrize("name", ["America", "Nowhere/Else", "../etc/passwd", "\0", "x" * 300, ""])
def test_a_timezone_that_does_not_exist_falls_back_to_the_countrys(name: str) -> None:
    assert zone_of(name, "DE") == BERLIN
    assert zone_of(name, None) == ZoneInfo("UTC")


@pytest.mark.parametrize(
    "country", ["US", "CA", "DE", "FR", "GB", "NL", "BR", "JP", "IN", "AU", ""]
)
def test_the_shares_of_a_country_add_up_to_all_its_earners(country: str) -> None:
    assert sum(paydays.mix_of(country).values()) == pytest.approx(1.0)


@given(
    st.sampled_from(["US", "DE", "BR", "JP", "XX", ""]),
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
)
def test_paydays_come_in_order_and_reach_back_before_the_start(
    country: str, start: datetime
) -> None:
    zone = zone_of(None, country)
    for cycle in paydays.mix_of(country):
        found = paydays.paydays(cycle, country, zone, start=start, end=start)
        assert (np.diff(found) > 0).all()
        assert found[0] < start.timestamp()
