"""How subscribers are made, with what is wrong with their instruments."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from retry_engine.sandbox.population.issuers import HARD_DECLINES, Issuers
from retry_engine.sandbox.population.paydays import since_payday
from retry_engine.sandbox.population.subscribers import Instrument, Person, Story

# country -> (share, currency, timezones, usual price in minor units)
_COUNTRIES: dict[str, tuple[float, str, tuple[str, ...], int]] = {
    "US": (0.36, "usd", ("America/New_York", "America/Chicago", "America/Los_Angeles"), 2400),
    "GB": (0.12, "gbp", ("Europe/London",), 1900),
    "DE": (0.12, "eur", ("Europe/Berlin",), 2200),
    "FR": (0.09, "eur", ("Europe/Paris",), 2100),
    "NL": (0.05, "eur", ("Europe/Amsterdam",), 2100),
    "ES": (0.06, "eur", ("Europe/Madrid",), 1800),
    "CA": (0.06, "cad", ("America/Toronto", "America/Vancouver"), 2900),
    "BR": (0.05, "brl", ("America/Sao_Paulo",), 7900),
    "AU": (0.04, "aud", ("Australia/Sydney",), 3300),
    "JP": (0.05, "jpy", ("Asia/Tokyo",), 2800),
}

# How wages come: (rule, share). "d25": on the 25th, "last": last business day, "bw": fortnightly,
# "wk": weekly, "semi": 15th and last, "b5": fifth business day.
_PAY: dict[str, tuple[tuple[str, float], ...]] = {
    "US": (("bw", 0.52), ("semi", 0.22), ("wk", 0.12), ("last", 0.14)),
    "GB": (("last", 0.45), ("d25", 0.15), ("d28", 0.20), ("wk", 0.20)),
    "DE": (("last", 0.45), ("d1", 0.20), ("d15", 0.20), ("d27", 0.15)),
    "FR": (("last", 0.45), ("d28", 0.25), ("d3", 0.15), ("d10", 0.15)),
    "NL": (("d24", 0.40), ("d25", 0.30), ("last", 0.30)),
    "ES": (("last", 0.60), ("d28", 0.25), ("d5", 0.15)),
    "CA": (("bw", 0.60), ("semi", 0.30), ("last", 0.10)),
    "BR": (("b5", 0.60), ("d20", 0.20), ("last", 0.20)),
    "AU": (("bw", 0.60), ("wk", 0.20), ("d15", 0.20)),
    "JP": (("d25", 0.70), ("d15", 0.12), ("last", 0.18)),
}

# Why a renewal fails: (trouble, share). Published mixes put funds and opaque declines far ahead.
_TROUBLES: tuple[tuple[str, float], ...] = (
    ("funds", 0.44),
    ("opaque", 0.24),
    ("technical", 0.07),
    ("expired", 0.09),
    ("hard", 0.06),
    ("limits", 0.03),
    ("authentication", 0.03),
    ("data", 0.02),
    ("blocked", 0.02),
)

_DEBIT_OF = {"GB": "bacs_debit", "US": "us_bank_account", "DE": "sepa_debit", "NL": "sepa_debit",
             "FR": "sepa_debit", "ES": "sepa_debit"}  # fmt: skip


def make_person(
    rng: Random, key: str, start: datetime, spread_days: float
) -> tuple[Person, dict[str, Story]]:
    """A subscriber with a renewal that fails, and the story of each of their instruments by key."""
    country = _pick(rng, [(name, entry[0]) for name, entry in _COUNTRIES.items()])
    _, currency, zones, price = _COUNTRIES[country]
    zone = rng.choice(zones)
    trouble = _pick(rng, _TROUBLES)
    renewal = start + timedelta(days=rng.uniform(0.05, spread_days))
    since = renewal - timedelta(days=30 * rng.randint(1, 30))
    pay_rule, phase, renewal = _purse(rng, country, zone, trouble, renewal)
    story = Story(
        trouble=None if trouble == "funds" else trouble,
        code=_code_of(rng, trouble),
        ends_at=_end_of(rng, trouble, renewal),
        pay_rule=pay_rule,
        phase=phase,
        tightness=_tightness(rng, trouble),
        zone=zone,
    )
    default = _instrument(rng, f"{key}_0", country, renewal, trouble, since=since, default=True)
    stories = {default.key: story}
    instruments = [default]
    if rng.random() < 0.26:
        backup, its = _backup(rng, f"{key}_1", country, renewal, story)
        instruments.append(backup)
        stories[backup.key] = its
    amount = max(100, round(price * math.exp(rng.gauss(0.0, 0.55)) / 100) * 100)
    person = Person(
        key=key,
        country=country,
        timezone=zone,
        customer_since=since,
        currency=currency,
        amount=amount,
        interval="month",
        renewal_at=renewal,
        instruments=tuple(instruments),
        subscription_default=rng.random() < 0.35,
    )
    if trouble == "funds":
        stories[default.key] = _certainly_empty(person, default, story)
    return person, stories


def _purse(
    rng: Random, country: str, zone: str, trouble: str, renewal: datetime
) -> tuple[str, int, datetime]:
    """A pay rule, and for who is short of money a renewal late in its cycle."""
    rule = _pick(rng, _PAY[country])
    phase = rng.randint(0, 13)
    if trouble != "funds":
        return rule, phase, renewal
    for _ in range(60):
        since, length = since_payday(rule, phase, renewal.astimezone(ZoneInfo(zone)))
        if since / length > rng.random():
            break
        rule, phase = _pick(rng, _PAY[country]), rng.randint(0, 13)
    return rule, phase, renewal


def _certainly_empty(person: Person, default: Instrument, story: Story) -> Story:
    """Tight enough to fail at the renewal, as it is known to."""
    tightness = story.tightness
    issuers = Issuers(_seed_of(person.key))
    for _ in range(40):
        tried = replace(story, tightness=tightness)
        if issuers.is_empty(default, tried, person.renewal_at):
            return tried
        tightness += 0.05
    return replace(story, tightness=tightness)


def _seed_of(key: str) -> int:
    return int(key[1:].partition("_")[0])


def _tightness(rng: Random, trouble: str) -> float:
    """How little is left over: 0 plenty, 1 nothing at any time."""
    return rng.betavariate(4, 4) * 0.9 if trouble == "funds" else rng.betavariate(2, 6) * 0.8


def _code_of(rng: Random, trouble: str) -> str:
    choices: dict[str, tuple[tuple[str, float], ...]] = {
        "opaque": (("do_not_honor", 0.45), ("generic_decline", 0.45), ("call_issuer", 0.10)),
        "technical": (
            ("issuer_not_available", 0.4),
            ("processing_error", 0.4),
            ("reenter_transaction", 0.2),
        ),
        "expired": (("expired_card", 1.0),),
        "hard": tuple((code, 0.2) for code in HARD_DECLINES),
        "limits": (("card_velocity_exceeded", 1.0),),
        "data": (("incorrect_number", 0.5), ("incorrect_cvc", 0.5)),
        "authentication": (("authentication_required", 1.0),),
        "blocked": (("generic_decline", 1.0),),
        "funds": (("insufficient_funds", 1.0),),
    }
    return _pick(rng, choices[trouble])


def _end_of(rng: Random, trouble: str, renewal: datetime) -> datetime | None:
    """When a passing trouble passes; None: not within anybody's patience."""
    if trouble == "opaque":
        if rng.random() < 0.48:
            return None
        return renewal + timedelta(days=0.3 + rng.expovariate(1 / 5.5))
    hours = {
        "technical": math.exp(rng.gauss(math.log(7.0), 0.9)),
        "limits": rng.uniform(8, 150),
        "blocked": rng.uniform(30, 240),
    }.get(trouble)
    return None if hours is None else renewal + timedelta(hours=min(hours, 400.0))


def _instrument(
    rng: Random,
    key: str,
    country: str,
    renewal: datetime,
    trouble: str,
    *,
    since: datetime,
    default: bool,
) -> Instrument:
    passing = trouble in ("funds", "opaque")
    is_debit = passing and country in _DEBIT_OF and rng.random() < (0.05 if default else 0.12)
    ahead = -rng.randint(1, 3) if trouble == "expired" else rng.randint(1, 40)
    month = renewal.year * 12 + renewal.month - 1 + ahead
    brand = _pick(rng, (("visa", 0.56), ("mastercard", 0.34), ("amex", 0.07), ("discover", 0.03)))
    funding = _pick(rng, (("debit", 0.58), ("credit", 0.36), ("prepaid", 0.06)))
    return Instrument(
        key=key,
        type=_DEBIT_OF[country] if is_debit else "card",
        brand=None if is_debit else brand,
        funding=None if is_debit else ("credit" if brand == "amex" else funding),
        country=country,
        exp_year=None if is_debit else month // 12,
        exp_month=None if is_debit else month % 12 + 1,
        fingerprint=fingerprint(rng),
        last4=f"{rng.randint(0, 9999):04d}",
        is_default=default,
        added_at=since,
        bank_name=f"bank {country} {rng.randint(0, 7)}",
    )


def _backup(
    rng: Random, key: str, country: str, renewal: datetime, story: Story
) -> tuple[Instrument, Story]:
    """Another method of the same person: often good, sometimes out of the same purse."""
    trouble = _pick(rng, (("none", 0.60), ("opaque", 0.18), ("expired", 0.14), ("hard", 0.08)))
    added = renewal - timedelta(days=rng.uniform(20, 500))
    instrument = _instrument(rng, key, country, renewal, trouble, since=added, default=False)
    its = replace(
        story,
        trouble=None if trouble == "none" else trouble,
        code=_code_of(rng, trouble) if trouble != "none" else "",
        ends_at=_end_of(rng, trouble, renewal) if trouble != "none" else None,
        tightness=story.tightness if rng.random() < 0.35 else rng.betavariate(2, 6) * 0.8,
    )
    return instrument, its


def fingerprint(rng: Random) -> str:
    """A card's or account's mark, as Stripe shows it."""
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(rng.choice(letters) for _ in range(16))


def _pick(rng: Random, choices: Sequence[tuple[str, float]]) -> str:
    names, weights = zip(*choices, strict=True)
    return str(rng.choices(names, weights)[0])
