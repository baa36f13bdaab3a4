"""Two populations in which policies are played against each other, through tables alone.

The sandbox's own, and a second one built otherwise: there a balance is kept by the day (wages,
rent, spending), customers fail again and again over a year, and issuers block for a while. A policy
sees only what `retry_engine.evaluation` shows it: an attempt log, and tables of open cases.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from retry_engine.domain import network_rules
from retry_engine.domain.policy import Policy as Rules
from retry_engine.evaluation import view_of
from retry_engine.learning import replay
from retry_engine.sandbox.population.world import World

HORIZON = timedelta(days=30)
Row = dict[str, Any]


@dataclass
class Case:
    """An invoice that failed: what a policy is shown, and what ends it from outside."""

    row: Row
    ends_at: datetime
    ends_by: str = "exhausted"
    changes: list[tuple[datetime, Row]] = field(default_factory=list)
    tries: list[datetime] = field(default_factory=list)


Charge = Callable[[Case, str, datetime], Row]


class Decider(Protocol):
    """Whatever answers tables of open cases."""

    def decide(self, cases: pd.DataFrame) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Result:
    """Money in minor units. `promised` and `came` are of each charge: its chance, its outcome."""

    net: float
    recovered: float
    attempts: float
    breaches: int
    promised: np.ndarray
    came: np.ndarray


def play(
    cases: Iterable[Case], charge: Charge, policy: Decider, log: list[Row] | None = None
) -> Result:
    """Each case to its end under the policy; rounds of one decision for all that are open."""
    live = [_anew(case) for case in cases]
    count, net, won, tries, breaches = len(live), 0.0, 0, 0, 0
    promised, came = [], []
    for _ in range(60):
        if not live:
            break
        plans = policy.decide(pd.DataFrame([c.row for c in live])).to_dict("records")
        still = []
        for case, plan in zip(live, plans, strict=True):
            at = plan["retry_at"]
            planned = None if pd.isna(at) or plan["review"] else at.to_pydatetime()
            changed = case.changes[0][0] if case.changes else None
            if changed is not None and (planned is None or changed < planned):
                _change(case)
                if changed < case.ends_at and changed < case.row["deadline_at"]:
                    still.append(case)
                continue
            if plan["stop"] or planned is None:
                continue
            if planned >= min(case.ends_at, case.row["deadline_at"]):
                continue
            case.row["now"] = planned
            breaches += _breaks(case.row, plan["payment_method_id"])
            row = charge(case, plan["payment_method_id"], planned)
            case.tries.append(planned)
            case.row["attempts"].append(row)
            tries += 1
            promised.append(plan["success_probability"])
            came.append(row["outcome"] == "succeeded")
            if log is not None:
                log.append(_as_log(case, row))
            net -= 10
            if row["outcome"] == "succeeded":
                won += 1
                net += case.row["amount"]
            else:
                case.row["now"] = planned + timedelta(minutes=1)
                still.append(case)
        live = still
    return Result(
        net, won / count, tries / count, breaches,
        np.array(promised, dtype=float), np.array(came, dtype=float),
    )  # fmt: skip


def clairvoyant(cases: Iterable[Case], charge: Charge) -> float:
    """Net of one charge each at the first 3-hourly moment and method that works."""
    net = 0.0
    for given in cases:
        case = _anew(given)
        at = case.row["opened_at"] + timedelta(hours=24)
        while at < min(case.ends_at, case.row["deadline_at"]):
            while case.changes and case.changes[0][0] <= at:
                _change(case)
            case.row["now"] = at
            if any(
                charge(case, m["payment_method_id"], at)["outcome"] == "succeeded"
                for m in case.row["payment_methods"]
            ):
                net += case.row["amount"] - 10
                break
            at += timedelta(hours=3)
    return net


def mixed_history(cases: Iterable[Case], charge: Charge, seed: int) -> list[Row]:
    """An attempt log of mixed schedules: fixed days, daily, spread with backups, random."""
    rng = Random(seed)
    log: list[Row] = []
    for given in cases:
        case = _anew(given)
        log.append(_as_log(case, case.row["attempts"][0]))
        style = rng.choice(("fixed", "spread", "random", "random"))
        days = {
            "fixed": [3.0, 5.0, 7.0],
            "spread": [1.0, 4.0, 8.0, 13.0, 20.0, 27.0],
            "random": sorted(rng.uniform(1, 28) for _ in range(rng.randint(2, 5))),
        }[style]
        for number, day in enumerate(days):
            at = case.row["opened_at"] + timedelta(days=day, minutes=rng.randint(0, 600))
            if at >= case.ends_at:
                continue
            while case.changes and case.changes[0][0] <= at:
                log.append(_changed(case))
            case.row["now"] = at
            methods = case.row["payment_methods"]
            use = methods[number % len(methods)] if style != "fixed" else methods[0]
            if _breaks(case.row, use["payment_method_id"]):
                continue
            row = charge(case, use["payment_method_id"], at)
            case.tries.append(at)
            case.row["attempts"].append(row)
            log.append(_as_log(case, row))
            if row["outcome"] == "succeeded":
                log.append(_closed(case, at, "recovered"))
                break
        else:
            log.append(_closed(case, case.ends_at, case.ends_by))
    return log


def _closed(case: Case, at: datetime, reason: str) -> Row:
    base = {k: case.row[k] for k in ("invoice_id", "customer_id")}
    return base | {"kind": "closed", "at": at, "close_reason": reason}


def _anew(case: Case) -> Case:
    """The case as it was when it opened, to be played once more."""
    return Case(_copy(case.row), case.ends_at, case.ends_by, list(case.changes))


def _copy(row: Row) -> Row:
    return row | {
        "attempts": list(row["attempts"]),
        "payment_methods": [dict(m) for m in row["payment_methods"]],
    }


def _breaks(row: Row, method_id: str) -> bool:
    view = view_of(row, replay.Record())
    method = view.method(method_id)
    return method is None or bool(network_rules.check(view, method, at=row["now"], policy=Rules()))


def _change(case: Case) -> None:
    at, method = case.changes.pop(0)
    methods = [m for m in case.row["payment_methods"] if not m["is_default"]]
    case.row["payment_methods"] = [method, *methods]
    case.row["now"] = max(case.row["now"], at)


def _changed(case: Case) -> Row:
    at, method = case.changes[0]
    _change(case)
    base = {k: case.row[k] for k in ("invoice_id", "customer_id")}
    shown = {k: v for k, v in method.items() if k not in ("is_default", "added_at")}
    return base | shown | {"kind": "method_changed", "at": at}


def _as_log(case: Case, row: Row) -> Row:
    about = (
        "invoice_id", "customer_id", "customer_country", "customer_timezone", "customer_since",
        "billing_reason", "billing_interval",
    )  # fmt: skip
    return {k: case.row[k] for k in about} | row | {"kind": "attempt"}


# -- the sandbox's population

# What people do that ends a case, and what the log says of it.
_ENDS = {"cancels": "churned", "pays_on_page": "recovered", "disputes": "voided"}


def sandbox(seed: int, count: int, start: datetime) -> tuple[list[Case], Charge]:
    """The sandbox's people, one failed renewal each."""
    world = World.generate(seed=seed, failing_invoices=count, start=start, days=30)
    instruments: dict[str, Any] = {}

    def charge(case: Case, method_id: str, at: datetime) -> Row:
        one = instruments[method_id]
        answer = world.authorize(
            one.key, amount=case.row["amount"], at=at, on_session=False, previous=case.tries
        )
        return as_attempt(one, answer.settles_as or answer, case.row, at)

    cases = []
    for person in world.people:
        instruments.update((i.key, i) for i in person.instruments)
        failed = person.renewal_at
        row = case_row(
            person.key, person.key, failed, person.amount, person.currency,
            country=person.country, zone=person.timezone, since=person.customer_since,
        )  # fmt: skip
        row["payment_methods"] = [
            as_method(i, default=n == 0) for n, i in enumerate(person.instruments)
        ]
        case = Case(row, failed + HORIZON)
        for act in world.own_acts(person.key, failed_at=failed, horizon_end=failed + HORIZON):
            if act.kind in _ENDS and act.at < case.ends_at:
                case.ends_at, case.ends_by = act.at, _ENDS[act.kind]
            elif act.instrument is not None:
                instruments[act.instrument.key] = act.instrument
                case.changes.append((act.at, as_method(act.instrument, default=True)))
        first = charge(case, person.instruments[0].key, failed)
        if first["outcome"] != "succeeded":
            row["attempts"].append(first | {"source": "stripe"})
            cases.append(case)
    return cases, charge


def case_row(
    invoice: str, customer: str, at: datetime, amount: int, currency: str, *,
    country: str, zone: str, since: datetime,
) -> Row:  # fmt: skip
    return {
        "case_id": invoice, "invoice_id": invoice, "customer_id": customer,
        "now": at + timedelta(minutes=5), "opened_at": at, "deadline_at": at + HORIZON,
        "amount": amount, "currency": currency, "attempts": [], "payment_methods": [],
        "messages": [], "offers": [], "customer_country": country, "customer_timezone": zone,
        "customer_since": since, "billing_reason": "subscription_cycle",
        "billing_interval": "month", "account": "",
    }  # fmt: skip


def as_method(one: Any, *, default: bool) -> Row:
    expiry = f"{one.exp_year}-{one.exp_month:02d}" if one.exp_year else ""
    return {
        "payment_method_id": one.key, "method_type": one.type, "card_brand": one.brand,
        "card_funding": one.funding, "card_country": one.country, "card_exp": expiry,
        "card_fingerprint": one.fingerprint, "is_default": default, "added_at": one.added_at,
    }  # fmt: skip


def as_attempt(one: Any, answer: Any, row: Row, at: datetime) -> Row:
    shown = {
        k: v
        for k, v in as_method(one, default=False).items()
        if k not in ("is_default", "added_at")
    }
    return shown | {
        "at": at, "amount": row["amount"], "currency": row["currency"], "source": "engine",
        "outcome": answer.outcome, "decline_code": answer.decline_code or "",
        "advice_code": answer.advice_code or "",
        "network_advice_code": answer.network_advice_code or "",
        "network_decline_code": answer.network_decline_code or "",
        "risk_level": answer.risk_level,
    }  # fmt: skip


# -- the second population


@dataclass(frozen=True)
class Plastic:
    """A card of the second population."""

    key: str
    brand: str
    funding: str
    country: str
    exp_year: int
    exp_month: int
    fingerprint: str
    added_at: datetime
    buffer: float
    type: str = "card"


@dataclass(frozen=True)
class Answer:
    """A bank's answer, as the sandbox's has it."""

    outcome: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    risk_level: str = "normal"


_PLACES = (
    ("US", "America/New_York", "usd"), ("GB", "Europe/London", "gbp"),
    ("DE", "Europe/Berlin", "eur"), ("SE", "Europe/Stockholm", "eur"),
    ("MX", "America/Mexico_City", "usd"),
)  # fmt: skip


class Households:
    """Balances by the day. `since`: the first day; a year and a half are kept."""

    days = 560

    def __init__(self, seed: int, customers: int, since: datetime) -> None:
        self.rng = np.random.default_rng(seed)
        self.since = since
        self.cards: dict[str, Plastic] = {}
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
        self.cards[key] = Plastic(
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

    def _answer(self, card: Plastic, case: Case, at: datetime) -> Answer:
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
            new = Plastic(
                f"{old.key}_{at:%y%m}", old.brand, old.funding, old.country, at.year + 3, at.month,
                f"fp_{old.key}_{at:%y%m}", when, old.buffer,
            )  # fmt: skip
            self.cards[new.key] = new
            self.blocks[new.key] = []
            case.changes.append((when, as_method(new, default=True)))
        return case


def households(
    seed: int, invoices: int, *, test: int, since: datetime
) -> tuple[list[Case], list[Case], Charge]:
    """About so many failed invoices of history, then so many later ones of the same people."""
    homes = Households(seed, max(invoices // 4, 150), since)
    found = homes.cases(15, 500)
    late = [c for c in found if c.row["opened_at"] > since + timedelta(days=430)]
    early = [c for c in found if c.row["opened_at"] < since + timedelta(days=395)]
    rng = Random(seed)
    rng.shuffle(late)
    return early[-invoices:], late[:test], homes.charge
