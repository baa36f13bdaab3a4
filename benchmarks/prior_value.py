"""What the prior is worth: the planner against Stripe's fixed schedule, on the same populations.

    python benchmarks/prior_value.py --seeds 10 --invoices 400

Plays the sandbox's world without HTTP, database or broker: the planner decides by the same code as
in production, the networks' rules are asked at each attempt, and everything else (customers who
pay, leave, renew their cards) happens to both alike. Net: recovered amounts less 10 minor units an
attempt, in currencies of equal size of unit only (usd, eur, gbp, cad, aud).
"""

import argparse
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from retry_engine.adapters.stripe.mapping import charge_facts, method_facts
from retry_engine.decisioning import planner
from retry_engine.domain import network_rules
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Decision, DecisionKind
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy
from retry_engine.sandbox.accounts.account import Account, Terms
from retry_engine.sandbox.billing import clocks, collection
from retry_engine.sandbox.population import baseline, settling
from retry_engine.sandbox.population.report import Report, summarise

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
STEP = timedelta(hours=3)
_ATTEMPT_COST = 10
_COMPARABLE = ("usd", "eur", "gbp", "cad", "aud")
_SOURCES = {"api": Source.ENGINE, "stripe": Source.STRIPE, "customer": Source.CUSTOMER}


@dataclass
class Case:
    """What the player remembers of an invoice between two looks."""

    opened_at: datetime
    decision: Decision | None = None
    seen: tuple[Any, ...] = ()
    methods: dict[str, PaymentMethod] = field(default_factory=dict)


class Player:
    """The engine's part, without its machinery."""

    def __init__(self, account: Account, policy: Policy) -> None:
        self.account = account
        self.policy = policy
        self.cases: dict[str, Case] = {}
        self.breaches = 0

    def look(self, now: datetime) -> None:
        """Decide what has changed, and carry out what is due."""
        for invoice in list(self.account.tables["invoice"].values()):
            if invoice["status"] != "open" or not invoice["attempted"]:
                continue
            subscription = collection.subscription_of(self.account, invoice)
            if subscription is None or subscription["status"] == "canceled":
                continue
            self._case(invoice, now)

    def _case(self, invoice: dict[str, Any], now: datetime) -> None:
        tries = [t for t in self.account.ledger if t.invoice == invoice["id"]]
        opened = datetime.fromtimestamp(tries[0].at, UTC)
        case = self.cases.setdefault(invoice["id"], Case(opened_at=opened))
        view = self._view(invoice, case, now)
        facts = (len(view.attempts), view.payment_methods)
        if any(not a.is_resolved for a in view.attempts):
            return
        if case.decision is None or case.seen != facts:
            case.decision, case.seen = planner.decide(view, policy=self.policy), facts
        decision = case.decision
        if decision.kind is not DecisionKind.RETRY or decision.retry_at is None:
            return
        if decision.retry_at > now:
            return
        method = view.method(decision.payment_method_id)
        case.decision = None
        if method is None or network_rules.check(view, method, at=now, policy=self.policy):
            return
        row = self.account.tables["payment_method"][method.id]
        collection.collect(self.account, invoice, row, source="api")

    def _view(self, invoice: dict[str, Any], case: Case, now: datetime) -> CaseView:
        account = self.account
        customer = account.tables["customer"][invoice["customer"]]
        subscription = collection.subscription_of(account, invoice) or {}
        default = (
            invoice["default_payment_method"]
            or subscription.get("default_payment_method")
            or customer["invoice_settings"]["default_payment_method"]
        )
        methods = [
            self._method(case, row, default, now)
            for row in account.tables["payment_method"].values()
            if row["customer"] == customer["id"]
        ]
        attempts = tuple(
            self._attempt(t, invoice) for t in account.ledger if t.invoice == invoice["id"]
        )
        return CaseView(
            case_id=invoice["id"],
            invoice_id=invoice["id"],
            customer_id=customer["id"],
            account="",
            now=now,
            opened_at=case.opened_at,
            deadline_at=case.opened_at + timedelta(days=self.policy.limits.horizon_days),
            amount=invoice["amount_remaining"],
            currency=invoice["currency"],
            attempts=attempts,
            payment_methods=tuple(sorted(methods, key=lambda m: (not m.is_default, m.id))),
            billing_reason=invoice["billing_reason"],
            customer_country=customer["address"]["country"],
            customer_timezone=customer["metadata"].get("timezone"),
            customer_since=datetime.fromtimestamp(customer["created"], UTC),
        )

    def _method(
        self, case: Case, row: dict[str, Any], default: str | None, now: datetime
    ) -> PaymentMethod:
        facts = method_facts(row)
        known = case.methods.get(facts.id)
        expires = (
            (facts.card_exp_year, facts.card_exp_month)
            if facts.card_exp_year and facts.card_exp_month
            else None
        )
        replaced = known is not None and known.card_fingerprint != facts.card_fingerprint
        method = PaymentMethod(
            id=facts.id,
            type=facts.type,
            card_brand=facts.card_brand,
            card_funding=facts.card_funding,
            card_country=facts.card_country,
            card_exp=expires,
            card_fingerprint=facts.card_fingerprint,
            is_default=facts.id == default,
            added_at=facts.created_at,
            changed_at=now - timedelta(seconds=1)
            if replaced
            else (known.changed_at if known else None),
        )
        case.methods[facts.id] = method
        return method

    def _attempt(self, entry: Any, invoice: dict[str, Any]) -> Attempt:
        charge = charge_facts(self.account.tables["charge"][entry.charge], None)
        return Attempt(
            at=datetime.fromtimestamp(entry.at, UTC),
            source=_SOURCES[entry.source],
            outcome=Outcome(entry.outcome),
            amount=entry.amount,
            currency=entry.currency,
            invoice_id=invoice["id"],
            payment_method_id=entry.payment_method,
            method_type=charge.method_type,
            card_brand=charge.card_brand,
            card_country=charge.card_country,
            card_fingerprint=charge.card_fingerprint,
            decline_code=entry.decline_code,
            advice_code=charge.advice_code,
            network_advice_code=charge.network_advice_code,
            network_decline_code=charge.network_decline_code,
            outcome_type=charge.outcome_type,
            outcome_reason=charge.outcome_reason,
        )


def play(seed: int, invoices: int, days: int, policy: Policy) -> tuple[Report, int]:
    """The planner on one population; its figures, and how often it broke a rule."""
    account = Account(
        "acct_1Prior0000000000", now=lambda: START, rng=Random(seed), terms=Terms(retry_days=())
    )
    begins = int(START.timestamp())
    clock = clocks.create(account, {"frozen_time": begins, "name": "prior"})
    settling.settle(account, seed=seed, invoices=invoices, days=days, start=START, clock=clock)
    player = Player(account, policy)
    now, end = START, START + timedelta(days=days)
    while now < end:
        now += STEP
        clocks.advance(account, clock, int(now.timestamp()))
        player.look(now)
    return summarise(account), breaches(account)


def breaches(account: Account) -> int:
    """Counted over the ledger alone: gaps and ceilings per card, attempts per invoice."""
    found = 0
    cards: dict[str, list[int]] = {}
    made: dict[str | None, int] = {}
    for entry in sorted(account.ledger, key=lambda t: t.at):
        card = entry.fingerprint or entry.payment_method
        before = cards.setdefault(card, [])
        made[entry.invoice] = made.get(entry.invoice, 0) + 1
        if entry.source == "api":
            found += bool(before and entry.at - before[-1] < 24 * 3600)
            found += sum(entry.at - at < 30 * 86_400 for at in before) >= 15
            found += made[entry.invoice] > 8
        before.append(entry.at)
    return found


def net(report: Report) -> float:
    """Recovered money less what the attempts cost, in minor units."""
    money = sum(report.money_recovered.get(c, 0) for c in _COMPARABLE)
    return money - _ATTEMPT_COST * report.attempts


def main() -> None:
    """Print a row a seed, then the means."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=101)
    parser.add_argument("--invoices", type=int, default=400)
    parser.add_argument("--days", type=int, default=30)
    given = parser.parse_args()
    print("seed   recovered      attempts a case   net (1000)     breaches")
    print("       prior  +3/5/7  prior  +3/5/7     prior  +3/5/7")
    rows = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        ours, broken = play(seed, given.invoices, given.days, Policy())
        fixed = baseline.fixed_schedule(
            seed=seed, invoices=given.invoices, days=given.days, start=START
        )
        row = (
            ours.share, fixed.share, ours.attempts / ours.failed, fixed.attempts / fixed.failed,
            net(ours) / 100_000, net(fixed) / 100_000, broken,
        )  # fmt: skip
        rows.append(row)
        _print(str(seed), row)
    _print("mean", tuple(statistics.fmean(column) for column in zip(*rows, strict=True)))


def _print(name: str, row: tuple[float, ...]) -> None:
    ours, fixed, tries, fixed_tries, value, fixed_value, broken = row
    print(
        f"{name:5}  {ours:5.1%}  {fixed:5.1%}   {tries:4.2f}   {fixed_tries:4.2f}   "
        f"    {value:5.2f}  {fixed_value:5.2f}     {broken:4.0f}"
    )


if __name__ == "__main__":
    main()
