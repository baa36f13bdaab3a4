"""When wages come."""

from datetime import date, datetime, timedelta


def since_payday(rule: str, phase: int, local: datetime) -> tuple[float, float]:
    """(days since the last payday, days of the whole cycle). Wages are there by 8 o'clock."""
    today = local.date() if local.hour >= 8 else local.date() - timedelta(days=1)
    hours = local.hour + local.minute / 60
    length = {"wk": 7.0, "bw": 14.0, "semi": 15.2}.get(rule, 30.4)
    for back in range(45):
        day = today - timedelta(days=back)
        if _is_payday(rule, phase, day):
            return max(0.0, (local.date() - day).days + (hours - 8) / 24), length
    return length, length


def _is_payday(rule: str, phase: int, day: date) -> bool:
    if rule in ("wk", "bw"):
        weeks = rule == "wk" or (day.toordinal() // 7) % 2 == phase % 2
        return weeks and day.weekday() == (3 + phase % 2 if rule == "wk" else 4)
    if rule == "semi":
        return day in (_business(day.replace(day=15)), _last_business(day))
    if rule == "last":
        return day == _last_business(day)
    if rule == "b5":
        return day.weekday() < 5 and _business_day_number(day) == 5
    # slid to before a weekend, which may lie in the month before
    wanted = min(int(rule[1:]), 28)
    near = (day, day + timedelta(days=3))
    return any(day == _business(month.replace(day=wanted)) for month in near)


def _business(day: date) -> date:
    while day.weekday() >= 5:
        day -= timedelta(days=1)
    return day


def _last_business(day: date) -> date:
    first_of_next = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return _business(first_of_next - timedelta(days=1))


def _business_day_number(day: date) -> int:
    return sum(day.replace(day=n).weekday() < 5 for n in range(1, day.day + 1))
