"""A simulated population behind an account: its people become customers, and act by themselves."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import HOUR, Account
from retry_engine.sandbox.accounts.issuers import IssuerAnswer
from retry_engine.sandbox.billing import catalog, renewals
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.population.identities import identity_of
from retry_engine.sandbox.population.own_acts import OwnActs
from retry_engine.sandbox.population.subscribers import Instrument, Person, Simulation
from retry_engine.sandbox.population.wallets import Wallets


class HeldBack(Protocol):
    """What a bank answers for somebody who learnt to fail; None: what it answers to all."""

    def __call__(self, customer: str, at: datetime, *, on_session: bool) -> IssuerAnswer | None:
        """The answer at that time."""


class Population:
    """Puts a world's people on a test clock and lets their banks answer for their methods."""

    def __init__(
        self, account: Account, world: Simulation, *, clock: Obj, horizon_end: datetime
    ) -> None:
        self._account = account
        self._world = world
        self._clock = clock
        self._person_of: dict[str, str] = {}
        self.wallets = Wallets(account, clock=clock)
        # set by who plays the people's own will: see `people`
        self.held_back: HeldBack = _never
        self.asks_to_prove: Callable[[Instrument], bool] = lambda _: False
        account.issuers.append(self)
        OwnActs(
            account, world, self.wallets, person_of=self._person_of, clock=clock,
            horizon_end=horizon_end,
        )  # fmt: skip

    def settle_in(self) -> None:
        """Make everybody a customer with methods and a subscription about to renew.

        Nothing is told of it: these customers were there before anybody listened.
        """
        for person in self._world.people:
            self._settle(person)

    def answer(
        self, method: Obj, *, amount: int, at: datetime, on_session: bool,
        previous: Sequence[datetime],
    ) -> IssuerAnswer | None:  # fmt: skip
        """The bank's answer, for the people's own methods."""
        key = self.wallets.key_behind(method)
        if key is None:
            return None
        owner = method["customer"]
        held_back = self.held_back(owner, at, on_session=on_session) if owner else None
        return held_back or self._world.authorize(
            key, amount=amount, at=at, on_session=on_session, previous=previous
        )

    def challenges(
        self, method: Obj, *, amount: int, at: datetime, previous: Sequence[datetime]
    ) -> bool | None:
        """Whether the bank wants a customer who is there to prove themselves."""
        key = self.wallets.key_behind(method)
        if key is None:
            return None
        answer = self._world.authorize(
            key, amount=amount, at=at, on_session=False, previous=previous
        )
        typed_in = self.wallets.typed_in(key)
        asked = typed_in is not None and self.asks_to_prove(typed_in)
        return answer.outcome == "requires_action" or asked

    def method_behind(self, number: str) -> Obj | None:
        """A new method for a card number of one of theirs."""
        return self.wallets.method_behind(number)

    def customers(self) -> list[tuple[str, Person]]:
        """(customer, person) of everybody."""
        known = {person.key: person for person in self._world.people}
        return [(customer, known[key]) for customer, key in self._person_of.items()]

    def _settle(self, person: Person) -> None:
        account = self._account
        customer = objects.customer(
            id=account.new_id("customer"),
            created=_seconds(person.customer_since),
            clock=self._clock["id"],
            prefix=f"P{len(self._person_of):06d}",
        )
        customer["address"] = {**objects.billing_details(person.country)["address"]}
        customer["metadata"] = {"timezone": str(person.timezone)}
        identity = identity_of(person.key, person.country)
        customer.update(
            name=identity.name, email=identity.email, preferred_locales=[identity.locale]
        )
        account.put("customer", customer)
        self._person_of[customer["id"]] = person.key
        default = None
        for instrument in person.instruments:
            method = self.wallets.had_before(customer, instrument)
            default = method if default is None or instrument.is_default else default
        subscription = self._subscribe(customer, person)
        if default is not None:
            chosen = default["id"]
            customer["invoice_settings"]["default_payment_method"] = chosen
            if person.subscription_default:
                subscription["default_payment_method"] = chosen

    def _subscribe(self, customer: Obj, person: Person) -> Obj:
        price = catalog.price_from_data(
            self._account,
            {
                "currency": person.currency,
                "unit_amount": person.amount,
                "recurring": {"interval": person.interval},
            },
        )
        # Stripe charges about an hour after the period has ended
        ends = _seconds(person.renewal_at) - self._account.terms.finalize_after
        started = min(_seconds(person.customer_since), ends - HOUR)
        subscription = renewals.begin(
            self._account, customer, price, quantity=1, start=started, end=ends
        )
        subscription["status"] = "active"
        return subscription


def _never(customer: str, at: datetime, *, on_session: bool) -> IssuerAnswer | None:
    return None


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
