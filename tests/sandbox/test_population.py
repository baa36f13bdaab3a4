"""A population on a clock: its renewals fail, its people act, Stripe's schedule recovers some."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.accounts.issuers import IssuerAnswer
from retry_engine.sandbox.billing import clocks
from retry_engine.sandbox.population.population import Population
from retry_engine.sandbox.population.report import summarise
from retry_engine.sandbox.population.subscribers import Instrument, OwnAct, Person

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
END = START + timedelta(days=20)


def card(key: str, *, is_default: bool = True) -> Instrument:
    return Instrument(
        key=key, type="card", brand="visa", funding="credit", country="US", exp_year=2030,
        exp_month=1, fingerprint="fp_1", last4="4242", is_default=is_default,
        added_at=START - timedelta(days=90),
    )  # fmt: skip


ADA = Person(
    instruments=(card("card"),),
    key="ada",
    country="US",
    timezone="America/New_York",
    customer_since=START - timedelta(days=90),
    currency="usd",
    amount=1500,
    interval="month",
    renewal_at=START + timedelta(hours=5),
    subscription_default=False,
)


def after_a_day(kind: str, instrument: Instrument | None = None) -> OwnAct:
    return OwnAct(at=START + timedelta(days=1), kind=kind, instrument=instrument)


@dataclass
class Town:
    """One person whose account is empty until `payday`."""

    people: Sequence[Person] = (ADA,)
    payday: datetime = END + timedelta(days=1)
    acts: tuple[OwnAct, ...] = ()
    asked: list[tuple[str, datetime]] = field(default_factory=list)

    def authorize(
        self, instrument_key: str, *, amount: int, at: datetime, on_session: bool,
        previous: Sequence[datetime],
    ) -> IssuerAnswer:  # fmt: skip
        self.asked.append((instrument_key, at))
        if at >= self.payday or instrument_key == "good":
            return IssuerAnswer(outcome="succeeded")
        return IssuerAnswer(
            outcome="failed",
            decline_code="insufficient_funds",
            advice_code="try_again_later",
            network_decline_code="51",
        )

    def own_acts(
        self, person_key: str, *, failed_at: datetime, horizon_end: datetime
    ) -> Sequence[OwnAct]:
        return self.acts


def lives(town: Town) -> Account:
    """The account after the town has lived to its end."""
    account = Account("acct_1", now=lambda: START, rng=Random(1))
    clock = clocks.create(account, {"frozen_time": int(START.timestamp())})
    population = Population(account, town, clock=clock, horizon_end=END)
    population.settle_in()
    clocks.advance(account, clock, int(END.timestamp()))
    return account


def kinds(account: Account) -> set[Any]:
    return {event["type"] for event in account.tables["event"].values()}


def test_the_first_attempt_is_at_the_renewal_to_the_second() -> None:
    town = Town()
    lives(town)
    assert town.asked[0] == ("card", START + timedelta(hours=5))


def test_the_fixed_schedule_recovers_who_has_money_on_its_days() -> None:
    account = lives(Town(payday=START + timedelta(days=4)))
    report = summarise(account)
    assert (report.failed, report.recovered, report.attempts) == (1, 1, 2)
    assert dict(report.money_recovered) == {"usd": 1500}
    assert dict(report.by_attempt) == {2: 1}
    assert dict(report.by_source) == {"stripe": 1}
    assert report.by_decline_code == {"insufficient_funds": (1, 1)}


def test_who_never_has_money_is_tried_four_times_and_stays_past_due() -> None:
    account = lives(Town())
    assert len(account.ledger) == 4
    (subscription,) = account.tables["subscription"].values()
    assert subscription["status"] == "past_due"


def test_a_person_pays_on_the_page() -> None:
    act = after_a_day("pays_on_page", card("good", is_default=False))
    account = lives(Town(acts=(act,)))
    assert [entry.source for entry in account.ledger] == ["stripe", "customer"]
    assert summarise(account).recovered == 1


def test_a_new_default_is_charged_by_stripes_next_retry() -> None:
    act = after_a_day("updates_card", card("good"))
    account = lives(Town(acts=(act,)))
    assert {"payment_method.attached", "customer.updated"} <= kinds(account)
    assert account.ledger[-1].outcome == "succeeded"


def test_a_subscriptions_own_default_wins_over_the_customers() -> None:
    act = after_a_day("updates_card", card("good"))
    person = replace(ADA, subscription_default=True)
    account = lives(Town(people=(person,), acts=(act,)))
    assert summarise(account).recovered == 0


def test_the_card_updater_puts_another_card_behind_the_same_method() -> None:
    act = after_a_day("card_automatically_updated", card("good"))
    account = lives(Town(acts=(act,)))
    assert "payment_method.automatically_updated" in kinds(account)
    assert len({entry.payment_method for entry in account.ledger}) == 1
    assert summarise(account).recovered == 1


def test_who_cancels_is_not_charged_again() -> None:
    account = lives(Town(acts=(after_a_day("cancels"),)))
    assert "customer.subscription.deleted" in kinds(account)
    assert len(account.ledger) == 1
