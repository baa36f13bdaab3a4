"""A simulated population of subscribers whose renewals fail, and the banks that answer for them.

Every answer is a function of the seed, the instrument and the time, not of who asked before or how
often: two policies that are played against the same world meet the same luck. Shares and speeds
are set by hand to lie inside what is published about failed payments (recovery on a fixed
schedule, time to recovery, mix of decline codes); none of them is measured, and none was chosen
with any retry policy in view.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from random import Random
from zoneinfo import ZoneInfo

# -- what the sandbox asks of a world


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """Something to pay with; `fingerprint` names the card or account behind it."""

    key: str
    type: str
    brand: str | None
    funding: str | None
    country: str
    exp_year: int | None
    exp_month: int | None
    fingerprint: str
    last4: str
    is_default: bool
    added_at: datetime
    bank_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A subscriber with a renewal that fails at `renewal_at`. `amount` in minor units."""

    key: str
    country: str
    timezone: str
    customer_since: datetime
    currency: str
    amount: int
    interval: str
    renewal_at: datetime
    instruments: tuple[Instrument, ...]
    subscription_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A bank's answer, in Stripe's words. `settles_as`: what an accepted debit becomes later."""

    outcome: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_decline_code: str | None = None
    network_advice_code: str | None = None
    outcome_type: str = "authorized"
    outcome_reason: str | None = None
    network_status: str = "approved_by_network"
    risk_level: str = "normal"
    settles_after: timedelta | None = None
    settles_as: "Answer | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAct:
    """What a person does unasked."""

    at: datetime
    kind: str
    instrument: Instrument | None = None


# -- countries

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
_SETTLING_DAYS = {"bacs_debit": 4.0, "us_bank_account": 4.0, "sepa_debit": 6.0}

_VISA_CODE = {
    "insufficient_funds": "51", "do_not_honor": "05", "generic_decline": "05",
    "issuer_not_available": "91", "processing_error": "96", "reenter_transaction": "19",
    "expired_card": "54", "lost_card": "41", "stolen_card": "43", "pickup_card": "04",
    "invalid_account": "14", "transaction_not_allowed": "57", "card_velocity_exceeded": "65",
    "incorrect_cvc": "N7", "incorrect_number": "14", "authentication_required": "1A",
    "call_issuer": "01", "restricted_card": "62",
}  # fmt: skip
_HARD = ("lost_card", "stolen_card", "pickup_card", "invalid_account", "transaction_not_allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """What is wrong with an instrument, until when, and how its owner's purse fills."""

    trouble: str | None
    code: str
    ends_at: datetime | None
    pay_rule: str
    phase: int
    tightness: float
    zone: str


class World:
    """A population and its banks.

    Example:
        world = World.generate(seed=1, failing_invoices=200, start=start, days=30)
    """

    def __init__(
        self, *, seed: int, people: tuple[Person, ...], stories: dict[str, _Story]
    ) -> None:
        self._seed = seed
        self.people = people
        self._stories = stories
        self._persons = {person.key: person for person in people}
        self._owners = {i.key: person for person in people for i in person.instruments}
        self._instruments = {i.key: i for person in people for i in person.instruments}

    @classmethod
    def generate(cls, *, seed: int, failing_invoices: int, start: datetime, days: int) -> "World":
        """People enough for that many renewals to fail in the first days of the span."""
        people: list[Person] = []
        stories: dict[str, _Story] = {}
        spread = min(7.0, days / 4)
        for number in range(failing_invoices):
            rng = Random(f"{seed} person {number}")  # noqa: S311  # a simulation
            person, own = _make_person(rng, f"p{seed}_{number}", start, spread)
            people.append(person)
            stories.update(own)
        return cls(seed=seed, people=tuple(people), stories=stories)

    def authorize(
        self,
        instrument_key: str,
        *,
        amount: int,
        at: datetime,
        on_session: bool,
        previous: Sequence[datetime],
    ) -> Answer:
        """The bank's answer to a charge; a debit is accepted first and settles later."""
        instrument = self._instruments[instrument_key]
        story = self._stories[instrument_key]
        code = self._declined_with(instrument, story, at, on_session=on_session, previous=previous)
        if instrument.type == "card":
            return self._answer(instrument, story, code, at)
        wait = timedelta(days=_SETTLING_DAYS[instrument.type])
        later = self._declined_with(
            instrument, story, at + wait, on_session=on_session, previous=()
        )
        settled = self._answer(instrument, story, later, at + wait)
        return Answer(outcome="processing", settles_after=wait, settles_as=settled)

    def own_acts(
        self, person_key: str, *, failed_at: datetime, horizon_end: datetime
    ) -> tuple[OwnAct, ...]:
        """What the person, and the card updater, do about it by themselves."""
        person = self._persons[person_key]
        default = person.instruments[0]
        trouble = self._stories[default.key].trouble
        rng = Random(f"{self._seed} acts {person_key}")  # noqa: S311  # a simulation
        acts = [
            *self._updater(rng, default, trouble, failed_at),
            *self._customer(rng, person, trouble, failed_at),
        ]
        return tuple(sorted((a for a in acts if a.at < horizon_end), key=lambda a: a.at))

    def clairvoyant(
        self, person_key: str, *, horizon: timedelta, methods: bool = True
    ) -> datetime | None:
        """The first moment, 3 hours apart, at which some instrument of theirs would be good."""
        person = self._persons[person_key]
        chosen = person.instruments if methods else person.instruments[:1]
        for step in range(1, int(horizon / timedelta(hours=3))):
            at = person.renewal_at + step * timedelta(hours=3)
            for one in chosen:
                story = self._stories[one.key]
                if self._declined_with(one, story, at, on_session=False, previous=()) is None:
                    return at
        return None

    # -- what people know of themselves, and do only when somebody writes to them

    def trouble_of(self, instrument_key: str) -> str | None:
        """What is wrong with an instrument, other than an empty purse."""
        return self._stories[instrument_key].trouble

    def is_short(self, instrument_key: str, at: datetime) -> bool:
        """Whether its owner knows that there is too little on it."""
        story = self._stories[instrument_key]
        return self._is_empty(self._instruments[instrument_key], story, at)

    def money_comes(self, instrument_key: str, after: datetime) -> datetime | None:
        """When there is enough on it again, to 3 hours; None if not within two weeks."""
        for step in range(1, 14 * 8):
            at = after + step * timedelta(hours=3)
            if not self.is_short(instrument_key, at):
                return at
        return None

    def another_card(self, person_key: str, *, key: str, at: datetime) -> Instrument:
        """A card of theirs that the merchant has not seen, in good order."""
        rng = Random(f"{self._seed} card {key}")  # noqa: S311  # a simulation
        default = self._persons[person_key].instruments[0]
        return self._replacement(rng, default, at, "new", key=key)

    # -- the bank

    def _declined_with(
        self,
        instrument: Instrument,
        story: _Story,
        at: datetime,
        *,
        on_session: bool,
        previous: Sequence[datetime],
    ) -> str | None:
        if story.trouble == "authentication" and not on_session:
            return "authentication_required"
        if story.trouble in ("expired", "hard", "data"):
            return story.code
        if story.trouble in ("opaque", "technical", "limits", "blocked"):
            delayed = self._delayed_end(story, previous)
            if delayed is None or at < delayed:
                return story.code
        if self._is_empty(instrument, story, at):
            return "insufficient_funds"
        return self._bad_luck(instrument, at)

    @staticmethod
    def _delayed_end(story: _Story, previous: Sequence[datetime]) -> datetime | None:
        """Bursts of tries make issuers stricter: each pair within two days costs another day."""
        if story.ends_at is None:
            return None
        bursts = sum(b - a < timedelta(hours=47) for a, b in pairwise(previous))
        if story.trouble in ("opaque", "blocked"):
            return story.ends_at + bursts * timedelta(days=1)
        return story.ends_at

    def _is_empty(self, instrument: Instrument, story: _Story, at: datetime) -> bool:
        """Whether the purse is too empty at that moment: by days since payday, and by the day."""
        local = at.astimezone(ZoneInfo(story.zone))
        since, length = _since_payday(story.pay_rule, story.phase, local)
        drained = (since / length) ** 0.8
        weight = 0.45 if instrument.funding == "credit" else 0.75
        luck = self._luck(instrument.fingerprint, "day", local.date().isoformat())
        need = story.tightness + weight * drained + 0.30 * (luck - 0.5)
        return bool(need > 1.0)

    def _bad_luck(self, instrument: Instrument, at: datetime) -> str | None:
        hour = at.strftime("%Y%m%d%H")
        if (
            self._luck(instrument.bank_name or "", "outage", at.strftime("%Y%m%d"), at.hour // 6)
            < 0.008
        ):
            return "issuer_not_available"
        luck = self._luck(instrument.fingerprint, "hour", hour)
        if luck < 0.02:
            return "do_not_honor"
        return "processing_error" if luck < 0.025 else None

    def _answer(
        self, instrument: Instrument, story: _Story, code: str | None, at: datetime
    ) -> Answer:
        if code is None:
            return Answer(outcome="succeeded")
        if instrument.type != "card":
            return Answer(
                outcome="failed",
                decline_code=code if code == "insufficient_funds" else "refer_to_customer",
                outcome_type="issuer_declined",
                network_status="declined_by_network",
            )
        if story.trouble == "blocked" and code == story.code:
            return Answer(
                outcome="failed",
                decline_code="generic_decline",
                outcome_type="blocked",
                outcome_reason="previously_declined_do_not_retry",
                network_status="not_sent_to_network",
            )
        network, merchant_advice = self._network_codes(instrument, story, code, at)
        return Answer(
            outcome="requires_action" if code == "authentication_required" else "failed",
            decline_code=code,
            advice_code=_advice(code),
            network_decline_code=network,
            network_advice_code=merchant_advice,
            outcome_type="issuer_declined",
            outcome_reason=code,
            network_status="declined_by_network",
            risk_level="elevated" if code == "do_not_honor" else "normal",
        )

    def _network_codes(
        self, instrument: Instrument, story: _Story, code: str, at: datetime
    ) -> tuple[str | None, str | None]:
        if instrument.brand == "visa":
            return _VISA_CODE.get(code, "05"), None
        if instrument.brand != "mastercard":
            return None, None
        if code == "insufficient_funds":
            return "51", self._funds_advice(instrument, story, at)
        if code in _HARD:
            return "79" if code == "invalid_account" else "82", "03"
        if code == "expired_card":
            return "79", "01"
        return ("91", "02") if code == "issuer_not_available" else ("05", None)

    def _funds_advice(self, instrument: Instrument, story: _Story, at: datetime) -> str | None:
        """Some issuers know when money comes, and say so in Mastercard's waits."""
        if self._luck(instrument.fingerprint, "advises") > 0.35:
            return None
        waits = ((1, "24"), (24, "25"), (48, "26"), (96, "27"), (144, "28"), (192, "29"))
        for hours, advice in waits:
            if not self._is_empty(instrument, story, at + timedelta(hours=hours)):
                return advice
        return "30"

    # -- what happens by itself

    def _updater(
        self, rng: Random, default: Instrument, trouble: str | None, failed_at: datetime
    ) -> list[OwnAct]:
        reach = {"expired": 0.35, "hard": 0.18}.get(trouble or "", 0.0)
        if default.type != "card" or rng.random() >= reach:
            return []
        at = failed_at + timedelta(days=rng.uniform(0.5, 9.0))
        renewed = self._replacement(rng, default, at, "updated", key=f"{default.key}_updated")
        return [OwnAct(at=at, kind="card_automatically_updated", instrument=renewed)]

    def _customer(
        self, rng: Random, person: Person, trouble: str | None, failed_at: datetime
    ) -> list[OwnAct]:
        acts: list[OwnAct] = []
        default = person.instruments[0]
        must_act = trouble in ("expired", "hard", "data")
        if rng.random() < (0.30 if must_act else 0.03):
            at = failed_at + timedelta(days=rng.expovariate(1 / 6.0) + 0.2)
            new = self._replacement(rng, default, at, "new", key=f"{default.key}_new")
            acts.append(OwnAct(at=at, kind="updates_card", instrument=new))
        if rng.random() < {"authentication": 0.40, "funds": 0.05}.get(trouble or "", 0.07):
            at = failed_at + timedelta(days=rng.expovariate(1 / 5.0) + 0.1)
            new = self._replacement(rng, default, at, "page", key=f"{default.key}_page")
            acts.append(OwnAct(at=at, kind="pays_on_page", instrument=new))
        # who is not paid up leaves more readily the longer it lasts
        leaves = rng.expovariate(1 / 260.0)
        acts.append(OwnAct(at=failed_at + timedelta(days=leaves), kind="cancels"))
        if rng.random() < 0.004:
            at = failed_at + timedelta(days=rng.uniform(1, 25))
            acts.append(OwnAct(at=at, kind="disputes"))
        return acts

    def _replacement(
        self, rng: Random, old: Instrument, at: datetime, what: str, *, key: str
    ) -> Instrument:
        """A card in place of an old one, in good order, from the same purse."""
        new = replace(
            old,
            key=key,
            type="card",
            brand=old.brand or "visa",
            funding=old.funding or "debit",
            exp_year=at.year + 3,
            exp_month=rng.randint(1, 12),
            fingerprint=_fingerprint(rng),
            last4=f"{rng.randint(0, 9999):04d}",
            added_at=at,
        )
        self._instruments[key] = new
        self._stories[key] = replace(
            self._stories[old.key],
            trouble=None,
            tightness=min(self._stories[old.key].tightness, 0.45) if what != "updated" else 0.5,
        )
        return new

    def _luck(self, *parts: object) -> float:
        """A uniform number in [0, 1) that belongs to these words under this seed."""
        text = " ".join(str(part) for part in (self._seed, *parts))
        digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


# -- how a person is made


def _make_person(
    rng: Random, key: str, start: datetime, spread_days: float
) -> tuple[Person, dict[str, _Story]]:
    country = _pick(rng, [(name, entry[0]) for name, entry in _COUNTRIES.items()])
    _, currency, zones, price = _COUNTRIES[country]
    zone = rng.choice(zones)
    trouble = _pick(rng, _TROUBLES)
    renewal = start + timedelta(days=rng.uniform(0.05, spread_days))
    since = renewal - timedelta(days=30 * rng.randint(1, 30))
    pay_rule, phase, renewal = _purse(rng, country, zone, trouble, renewal)
    story = _Story(
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
        since, length = _since_payday(rule, phase, renewal.astimezone(ZoneInfo(zone)))
        if since / length > rng.random():
            break
        rule, phase = _pick(rng, _PAY[country]), rng.randint(0, 13)
    return rule, phase, renewal


def _certainly_empty(person: Person, default: Instrument, story: _Story) -> _Story:
    """Tight enough to fail at the renewal, as it is known to."""
    tightness = story.tightness
    for _ in range(40):
        tried = replace(story, tightness=tightness)
        world = World(seed=_seed_of(person.key), people=(), stories={})
        if world._is_empty(default, tried, person.renewal_at):
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
        "hard": tuple((code, 0.2) for code in _HARD),
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
        fingerprint=_fingerprint(rng),
        last4=f"{rng.randint(0, 9999):04d}",
        is_default=default,
        added_at=since,
        bank_name=f"bank {country} {rng.randint(0, 7)}",
    )


def _backup(
    rng: Random, key: str, country: str, renewal: datetime, story: _Story
) -> tuple[Instrument, _Story]:
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


def _advice(code: str) -> str | None:
    if code in _HARD:
        return "do_not_try_again"
    if code in ("incorrect_number", "incorrect_cvc", "expired_card"):
        return "confirm_card_data"
    if code in ("insufficient_funds", "issuer_not_available", "processing_error"):
        return "try_again_later"
    return None


def _fingerprint(rng: Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(rng.choice(letters) for _ in range(16))


def _pick(rng: Random, choices: Sequence[tuple[str, float]]) -> str:
    names, weights = zip(*choices, strict=True)
    return str(rng.choices(names, weights)[0])


# -- wages


def _since_payday(rule: str, phase: int, local: datetime) -> tuple[float, float]:
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
