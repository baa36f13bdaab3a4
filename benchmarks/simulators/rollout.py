"""Policies played through tables alone: cases to their end, an attempt log of mixed schedules."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

import numpy as np
import pandas as pd

from retry_engine.domain import network_rules
from retry_engine.domain.policy import Policy as Rules
from retry_engine.evaluation import view_of
from retry_engine.learning import replay

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
                log.append(as_log(case, row))
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
    """An attempt log of mixed schedules: fixed days, daily, spread over methods, random."""
    rng = Random(seed)
    log: list[Row] = []
    for given in cases:
        case = _anew(given)
        log.append(as_log(case, case.row["attempts"][0]))
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
            log.append(as_log(case, row))
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
    return Case(copy_of(case.row), case.ends_at, case.ends_by, list(case.changes))


def copy_of(row: Row) -> Row:
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


def as_log(case: Case, row: Row) -> Row:
    about = (
        "invoice_id", "customer_id", "customer_country", "customer_timezone", "customer_since",
        "billing_reason", "billing_interval",
    )  # fmt: skip
    return {k: case.row[k] for k in about} | row | {"kind": "attempt"}


# -- what cards and banks look like in the tables


@dataclass(frozen=True)
class Card:
    """A card of a simulated customer. `buffer`: credit, in invoices."""

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
