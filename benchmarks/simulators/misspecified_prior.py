"""A population that contradicts the documented prior on purpose.

Money is there from a payday for some days and again after a chance top-up; paydays follow customs
of each country that no public calendar tells; issuers decline more at night, punish a second try
within three days, and hide empty accounts behind vague codes; a card may stay blocked until its
owner calls the bank; half of the second cards draw on the same account.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import numpy as np

from simulators.rollout import (
    HORIZON,
    Answer,
    Card,
    Case,
    Charge,
    Row,
    as_attempt,
    as_method,
    case_row,
)

_DAY = timedelta(days=1)
_PLACES = {
    "US": ("America/Chicago", "usd", (("weekday", 3), ("weekday", 4), ("monthday", 3))),
    "BR": ("America/Sao_Paulo", "usd", (("monthday", 7), ("monthday", 20))),
    "FR": ("Europe/Paris", "eur", (("monthday", 29), ("monthday", 12))),
    "PL": ("Europe/Warsaw", "eur", (("monthday", 10), ("monthday", 26))),
    "AU": ("Australia/Sydney", "usd", (("fortnight", 2), ("weekday", 1))),
}
_VAGUE = ("do_not_honor", "generic_decline")


@dataclass(frozen=True)
class Account:
    """When money is there: spans of UTC epoch seconds, by their starts and ends."""

    starts: list[float]
    ends: list[float]

    def filled(self, at: datetime) -> bool:
        """Whether a charge finds money."""
        when = at.timestamp()
        index = bisect_right(self.starts, when) - 1
        return index >= 0 and when < self.ends[index]


class MisspecifiedPrior:
    """`days` from `since`; each customer renews monthly."""

    days = 500

    def __init__(self, seed: int, customers: int, since: datetime) -> None:
        self.rng = np.random.default_rng(seed)
        self.since = since
        self.cards: dict[str, Card] = {}
        self.accounts: dict[str, Account] = {}
        self.blocks: dict[str, list[tuple[datetime, datetime]]] = {}
        self.dead: dict[str, tuple[datetime, str]] = {}
        self.issuers: dict[str, str] = {}
        self.outages = {
            f"{country}{n}": [
                since + timedelta(days=float(d)) for d in self.rng.uniform(0, self.days, 25)
            ]
            for country in _PLACES
            for n in range(3)
        }
        self.people = [self._person(f"s{seed}_{n}") for n in range(customers)]

    def _person(self, key: str) -> Row:
        rng = self.rng
        country = str(rng.choice(list(_PLACES)))
        zone, currency, customs = _PLACES[country]
        lasting = float(rng.lognormal(1.6, 0.8))
        custom = customs[rng.integers(len(customs))]
        own = self._account(zone, custom, lasting)
        cards = []
        for n in range(1 + int(rng.random() < 0.4)):
            name = f"{key}_c{n}"
            other = n and rng.random() < 0.5
            self.accounts[name] = self._account(zone, custom, 2.0 * lasting) if other else own
            self._card(name, country)
            cards.append(name)
        return {
            "key": key, "country": country, "zone": zone, "currency": currency, "cards": cards,
            "amount": int(np.clip(rng.lognormal(7.6, 0.8), 300, 40_000)),
            "day": int(rng.integers(1, 29)), "leaves": float(rng.exponential(90.0)),
            "since": self.since - timedelta(days=float(rng.uniform(20, 900))),
        }  # fmt: skip

    def _account(self, zone: str, custom: tuple[str, int], lasting: float) -> Account:
        rng = self.rng
        kind, which = custom
        hour, phase = float(rng.uniform(2, 11)), int(rng.integers(0, 2))
        spans = []
        for n in range(self.days):
            day = self.since.date() + n * _DAY
            paid = {
                "monthday": day.day == which,
                "weekday": day.weekday() == which,
                "fortnight": day.weekday() == which and day.toordinal() // 7 % 2 == phase,
            }[kind]
            if paid or rng.random() < 0.02:
                local = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
                begin = local.timestamp() + hour * 3600
                mean = lasting if paid else 1.5
                spans.append((begin, begin + float(rng.exponential(mean)) * 86_400))
        return _merged(spans)

    def _card(self, key: str, country: str) -> None:
        rng = self.rng
        end = self.since + timedelta(days=float(rng.uniform(30, 1600)))
        self.cards[key] = Card(
            key, str(rng.choice(("visa", "mastercard"))), str(rng.choice(("debit", "credit"))),
            country, end.year, end.month, f"fp_{key}",
            self.since - timedelta(days=float(rng.uniform(0, 500))), 0.0,
        )  # fmt: skip
        self.issuers[key] = f"{country}{rng.integers(3)}"
        self.blocks[key] = []
        for _ in range(rng.poisson(1.2)):
            begin = self.since + timedelta(days=float(rng.uniform(0, self.days)))
            lasts = timedelta(days=float(rng.exponential(6.0)))
            self.blocks[key].append((begin, begin + lasts))
        if rng.random() < 0.1:
            code = str(rng.choice(("lost_card", "pickup_card", "invalid_account")))
            self.dead[key] = self.since + timedelta(days=float(rng.uniform(0, self.days))), code

    def charge(self, case: Case, method_id: str, at: datetime) -> Row:
        """The bank's answer."""
        card = self.cards[method_id]
        return as_attempt(card, self._answer(card, case, at), case.row, at)

    def _answer(self, card: Card, case: Case, at: datetime) -> Answer:
        luck = Random(f"{card.key}{at:%Y%m%d%H}")
        died = self.dead.get(card.key)
        if died is not None and at >= died[0]:
            return Answer("failed", died[1], "do_not_try_again")
        if (at.year, at.month) > (card.exp_year, card.exp_month):
            return Answer("failed", "expired_card", "confirm_card_data")
        if any(o <= at < o + timedelta(hours=9) for o in self.outages[self.issuers[card.key]]):
            return Answer("failed", "issuer_not_available", "try_again_later")
        if any(begin <= at < end for begin, end in self.blocks[card.key]):
            return Answer("failed", luck.choice(_VAGUE), "try_again_later")
        if not self.accounts[card.key].filled(at):
            vague = luck.random() < 0.3
            code = luck.choice(_VAGUE) if vague else "insufficient_funds"
            return Answer("failed", code, "try_again_later")
        local = at.astimezone(ZoneInfo(case.row["customer_timezone"]))
        refused = 0.35 if local.hour < 6 else 0.04
        if any(timedelta(0) < at - t < timedelta(hours=72) for t in case.tries):
            refused += 0.3
        if luck.random() < refused:
            return Answer("failed", "do_not_honor", "try_again_later")
        return Answer("succeeded")

    def cases(self, first: int, last: int) -> list[Case]:
        """Renewals between two days that fail, in time."""
        found = []
        for person in self.people:
            luck = Random(person["key"])
            for day in range(first, last):
                at = self.since + timedelta(days=day, hours=luck.uniform(0, 24))
                if at.day != person["day"]:
                    continue
                case = self._case(person, at)
                row = self.charge(case, person["cards"][0], at)
                if row["outcome"] != "succeeded":
                    case.row["attempts"].append(row | {"source": "stripe"})
                    found.append(case)
        return sorted(found, key=lambda c: c.row["opened_at"])

    def _case(self, person: Row, at: datetime) -> Case:
        invoice = f"{person['key']}_{at:%Y%m}"
        row = case_row(
            invoice, person["key"], at, person["amount"], person["currency"],
            country=person["country"], zone=person["zone"], since=person["since"],
        )  # fmt: skip
        row["payment_methods"] = [
            as_method(self.cards[c], default=n == 0) for n, c in enumerate(person["cards"])
        ]
        luck = Random(invoice)
        leaves = timedelta(days=luck.expovariate(1 / person["leaves"]))
        case = Case(row, at + min(HORIZON, leaves), "churned" if leaves < HORIZON else "exhausted")
        old = self.cards[person["cards"][0]]
        if (at.year, at.month) > (old.exp_year, old.exp_month) and luck.random() < 0.5:
            self._replace(case, old, at + timedelta(days=luck.uniform(0.5, 15)))
        return case

    def _replace(self, case: Case, old: Card, when: datetime) -> None:
        key = f"{old.key}_{when:%y%m}"
        new = Card(
            key, old.brand, old.funding, old.country, when.year + 3, when.month, f"fp_{key}",
            when, 0.0,
        )  # fmt: skip
        self.cards[key] = new
        self.accounts[key], self.issuers[key] = self.accounts[old.key], self.issuers[old.key]
        self.blocks[key] = []
        case.changes.append((when, as_method(new, default=True)))


def _merged(spans: list[tuple[float, float]]) -> Account:
    starts: list[float] = []
    ends: list[float] = []
    for begin, end in sorted(spans):
        if ends and begin <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(begin)
            ends.append(end)
    return Account(starts, ends)


def misspecified_prior(
    seed: int, invoices: int, *, test: int, since: datetime
) -> tuple[list[Case], list[Case], Charge]:
    """About so many failed invoices of history, then so many later ones of the same people."""
    town = MisspecifiedPrior(seed, max(invoices // 7, test // 2, 100), since)
    found = town.cases(15, 460)
    late = [c for c in found if c.row["opened_at"] > since + timedelta(days=425)]
    early = [c for c in found if c.row["opened_at"] < since + timedelta(days=390)]
    Random(seed).shuffle(late)
    return early[-invoices:], late[:test], town.charge
