"""A population whose balance is kept by the day: wages, rent, spending.

Customers fail again and again over a year, and issuers block for a while.
"""

from datetime import UTC, datetime, timedelta
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

_PLACES = (
    ("US", "America/New_York", "usd"), ("GB", "Europe/London", "gbp"),
    ("DE", "Europe/Berlin", "eur"), ("SE", "Europe/Stockholm", "eur"),
    ("MX", "America/Mexico_City", "usd"),
)  # fmt: skip


class DailyBalances:
    """Balances by the day. `since`: the first day; a year and a half are kept."""

    days = 560

    def __init__(self, seed: int, customers: int, since: datetime) -> None:
        self.rng = np.random.default_rng(seed)
        self.since = since
        self.cards: dict[str, Card] = {}
        self.balance: dict[str, np.ndarray] = {}
        self.blocks: dict[str, list[tuple[datetime, datetime, str]]] = {}
        self.dead: dict[str, tuple[datetime, str]] = {}
        self.people = [self._person(f"h{seed}_{n}") for n in range(customers)]

    def _person(self, key: str) -> Row:
        rng = self.rng
        country, zone, currency = _PLACES[rng.choice(len(_PLACES), p=(0.4, 0.2, 0.2, 0.1, 0.1))]
        amount = int(rng.choice((999, 1499, 2499, 4900, 9900)))
        wage = amount * rng.lognormal(2.0, 0.5)
        cycle = rng.choice(("month", "fortnight", "week", "halves"), p=(0.5, 0.3, 0.1, 0.1))
        self.balance[key] = self._balances(cycle, wage, amount)
        cards = [self._card(f"{key}_c{n}", country) for n in range(1 + int(rng.random() < 0.35))]
        return {
            "key": key, "country": country, "zone": zone, "currency": currency, "amount": amount,
            "cards": cards, "day": int(rng.integers(1, 29)),
            "since": self.since - timedelta(days=float(rng.uniform(20, 900))),
        }  # fmt: skip

    def _balances(self, cycle: str, wage: float, amount: int) -> np.ndarray:
        rng = self.rng
        days = [(self.since + timedelta(days=d)) for d in range(self.days)]
        phase, which = int(rng.integers(0, 14)), int(rng.choice((1, 5, 10, 15, 21, 25, 28)))
        paid = {
            "month": [d.day == which for d in days],
            "halves": [d.day in (15, 1) for d in days],
            "fortnight": [(n + phase) % 14 == 0 for n in range(self.days)],
            "week": [(n + phase) % 7 == 0 for n in range(self.days)],
        }[cycle]
        income = np.array(paid) * wage
        rate = income.mean() * rng.uniform(0.93, 1.15)
        spend = rng.exponential(rate, self.days)
        level, out = float(amount * rng.uniform(0, 4)), np.empty(self.days)
        for n in range(self.days):
            level = min(max(level + income[n] - spend[n], -0.2 * wage), 3.0 * wage)
            out[n] = level
        return out

    def _card(self, key: str, country: str) -> str:
        rng = self.rng
        added = self.since - timedelta(days=float(rng.uniform(0, 500)))
        end = self.since + timedelta(days=float(rng.uniform(60, 1500)))
        funding = str(rng.choice(("debit", "credit", "prepaid"), p=(0.6, 0.33, 0.07)))
        self.cards[key] = Card(
            key, str(rng.choice(("visa", "mastercard"))), funding, country, end.year, end.month,
            f"fp_{key}", added, float(rng.exponential(6.0)) if funding == "credit" else 0.0,
        )  # fmt: skip
        blocks = []
        for _ in range(rng.poisson(1.0)):
            begin = self.since + timedelta(days=float(rng.uniform(0, self.days)))
            kind = str(rng.choice(("do_not_honor", "generic_decline", "issuer_not_available")))
            mean = 0.4 if kind == "issuer_not_available" else 12.0
            blocks.append((begin, begin + timedelta(days=float(rng.exponential(mean))), kind))
        self.blocks[key] = blocks
        if rng.random() < 0.10:
            when = self.since + timedelta(days=float(rng.uniform(0, self.days)))
            self.dead[key] = when, str(rng.choice(("lost_card", "stolen_card", "invalid_account")))
        return key

    def charge(self, case: Case, method_id: str, at: datetime) -> Row:
        """The bank's answer."""
        card = self.cards[method_id]
        return as_attempt(card, self._answer(card, case, at), case.row, at)

    def _answer(self, card: Card, case: Case, at: datetime) -> Answer:
        died = self.dead.get(card.key)
        mastercard = card.brand == "mastercard"
        if died is not None and at >= died[0]:
            return Answer("failed", died[1], "do_not_try_again", "03" if mastercard else None)
        if (at.year, at.month) > (card.exp_year, card.exp_month):
            return Answer(
                "failed", "expired_card", "confirm_card_data", "01" if mastercard else None
            )
        for begin, end, code in self.blocks[card.key]:
            if begin <= at < end:
                return Answer("failed", code, "try_again_later")
        local = at.astimezone(ZoneInfo(case.row["customer_timezone"]))
        day = (local.replace(tzinfo=UTC) - self.since) / timedelta(days=1)
        # wages are booked at six in the morning
        index = min(max(int(day - 0.25), 0), self.days - 1)
        balance = self.balance[case.row["customer_id"]][index]
        if balance + card.buffer * case.row["amount"] < case.row["amount"]:
            return Answer("failed", "insufficient_funds", "try_again_later")
        if Random(f"{card.key}{at:%Y%m%d%H}").random() < 0.03:
            return Answer("failed", "generic_decline", "try_again_later")
        return Answer("succeeded")

    def cases(self, first: int, last: int) -> list[Case]:
        """Renewals between two days that fail."""
        found = []
        for person in self.people:
            for day in range(first, last):
                at = self.since + timedelta(days=day, hours=9)
                if at.day != person["day"]:
                    continue
                case = self._case(person, at)
                row = self.charge(case, person["cards"][0], at)
                if row["outcome"] == "succeeded":
                    continue
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
        rng = Random(invoice)
        leaves = timedelta(days=rng.expovariate(1 / 200))
        case = Case(row, at + min(HORIZON, leaves), "churned" if leaves < HORIZON else "exhausted")
        old = self.cards[person["cards"][0]]
        expired = (at.year, at.month) > (old.exp_year, old.exp_month)
        if (expired or old.key in self.dead) and rng.random() < 0.4:
            when = at + timedelta(days=rng.uniform(1, 12))
            new = Card(
                f"{old.key}_{at:%y%m}", old.brand, old.funding, old.country, at.year + 3, at.month,
                f"fp_{old.key}_{at:%y%m}", when, old.buffer,
            )  # fmt: skip
            self.cards[new.key] = new
            self.blocks[new.key] = []
            case.changes.append((when, as_method(new, default=True)))
        return case


def daily_balance(
    seed: int, invoices: int, *, test: int, since: datetime
) -> tuple[list[Case], list[Case], Charge]:
    """About so many failed invoices of history, then so many later ones of the same people."""
    homes = DailyBalances(seed, max(invoices // 4, 150), since)
    found = homes.cases(15, 500)
    late = [c for c in found if c.row["opened_at"] > since + timedelta(days=430)]
    early = [c for c in found if c.row["opened_at"] < since + timedelta(days=395)]
    rng = Random(seed)
    rng.shuffle(late)
    return early[-invoices:], late[:test], homes.charge
