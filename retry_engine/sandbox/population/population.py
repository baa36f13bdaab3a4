"""A simulated population behind an account: its people become customers, and act by themselves."""

from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any, Protocol

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import HOUR, Account
from retry_engine.sandbox.billing import catalog, collection, lifecycle, renewals
from retry_engine.sandbox.billing.collection import pay_on_page
from retry_engine.sandbox.billing.customers import new_default
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import disputes, payment_methods
from retry_engine.sandbox.population.identities import identity_of


class World(Protocol):
    """Who the people are, what their banks answer, and what they do unasked."""

    @property
    def people(self) -> Sequence[Any]: ...

    def authorize(
        self, instrument_key: str, *, amount: int, at: datetime, on_session: bool,
        previous: Sequence[datetime],
    ) -> Any: ...  # fmt: skip

    def own_acts(
        self, person_key: str, *, failed_at: datetime, horizon_end: datetime
    ) -> Sequence[Any]: ...


class Population:
    """Puts a world's people on a test clock and lets their banks answer for their methods."""

    def __init__(
        self, account: Account, world: World, *, clock: Obj, horizon_end: datetime
    ) -> None:
        self._account = account
        self._world = world
        self._clock = clock
        self._horizon_end = horizon_end
        self._instrument_of: dict[str, str] = {}
        self._method_of: dict[str, str] = {}
        self._person_of: dict[str, str] = {}
        self._acting: set[str] = set()
        self._numbers: dict[str, Any] = {}
        self._instruments: dict[str, Any] = {}
        # set by who plays the people's own will: see `people`
        self.held_back: Callable[..., Any] = _never
        self.asks_to_prove: Callable[[Any], bool] = _never
        account.issuers.append(self)
        account.on_failure.append(self._somebody_failed)

    def settle_in(self) -> None:
        """Make everybody a customer with methods and a subscription about to renew.

        Nothing is told of it: these customers were there before anybody listened.
        """
        for person in self._world.people:
            self._settle(person)

    def answer(
        self, method: Obj, *, amount: int, at: datetime, on_session: bool,
        previous: Sequence[datetime],
    ) -> Any:  # fmt: skip
        """The bank's answer, for the people's own methods."""
        key = self._instrument_of.get(method["id"])
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
        key = self._instrument_of.get(method["id"])
        if key is None:
            return None
        answer = self._world.authorize(
            key, amount=amount, at=at, on_session=False, previous=previous
        )
        asked = key in self._instruments and self.asks_to_prove(self._instruments[key])
        return bool(answer.outcome == "requires_action" or asked)

    # -- for people who act on their own

    def customers(self) -> list[tuple[str, Any]]:
        """(customer, person) of everybody."""
        known = {person.key: person for person in self._world.people}
        return [(customer, known[key]) for customer, key in self._person_of.items()]

    def method_id(self, instrument_key: str) -> str | None:
        """The payment method that an instrument is at the merchant's."""
        return self._method_of.get(instrument_key)

    def number_of(self, instrument: Any) -> str:
        """The number on a card, with which its owner pays on a page."""
        rng = Random(f"number {instrument.key}")  # noqa: S311 -- a simulation
        body = "400000" + "".join(rng.choices("0123456789", k=9))
        number = body + _check_digit(body)
        self._numbers[number] = instrument
        self._instruments[instrument.key] = instrument
        return number

    def method_behind(self, number: str) -> Obj | None:
        """A new method for a card number of one of theirs."""
        instrument = self._numbers.get(number)
        return self._new(instrument) if instrument is not None else None

    def keeps(self, customer_id: str, instrument: Any) -> None:
        """The customer saves one more method."""
        self._attached(self._account.tables["customer"][customer_id], instrument)

    def _settle(self, person: Any) -> None:
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
            method = self._plant(customer, instrument)
            default = method if default is None or instrument.is_default else default
        subscription = self._subscribe(customer, person)
        if default is not None:
            chosen = default["id"]
            customer["invoice_settings"]["default_payment_method"] = chosen
            if person.subscription_default:
                subscription["default_payment_method"] = chosen

    def _plant(self, customer: Obj, instrument: Any) -> Obj:
        method = payment_methods.plant(
            self._account,
            kind=instrument.type,
            detail=_detail(instrument),
            created=_seconds(instrument.added_at),
            country=instrument.country,
        )
        self._instrument_of[method["id"]] = instrument.key
        self._method_of[instrument.key] = method["id"]
        method["customer"] = customer["id"]
        return self._account.put("payment_method", method)

    def _subscribe(self, customer: Obj, person: Any) -> Obj:
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

    def _somebody_failed(self, invoice: Obj) -> None:
        person_key = self._person_of.get(invoice["customer"])
        # one troubled renewal at a time: the world knows one story per person
        if person_key is None or person_key in self._acting:
            return
        self._acting.add(person_key)
        failed_at = self._account.moment(self._account.now_of(invoice))
        acts = self._world.own_acts(person_key, failed_at=failed_at, horizon_end=self._horizon_end)
        for act in acts:
            self._plan(invoice, act)

    def _plan(self, invoice: Obj, own: Any) -> None:
        # a person disputes what was charged; all the rest ends when the invoice is settled
        live = (
            (lambda: True) if own.kind == "disputes" else (lambda: collection.collectable(invoice))
        )
        self._account.at(
            self._clock["id"],
            max(_seconds(own.at), self._account.now_of(invoice) + 1),
            own.kind,
            lambda: self._does(invoice, own.kind, own.instrument),
            live,
        )

    def _does(self, invoice: Obj, kind: str, instrument: Any) -> None:
        account = self._account
        customer = account.tables["customer"].get(invoice["customer"])
        if customer is None:
            return
        method = self._method(instrument)
        if kind == "pays_on_page":
            chosen = method or self._new(instrument) or collection.method_for(account, invoice)
            if chosen is not None:
                pay_on_page(account, invoice, chosen)
        elif kind == "updates_card":
            new_default(account, customer, self._attached(customer, instrument))
        elif kind == "adds_method":
            self._attached(customer, instrument)
        elif kind == "cancels":
            subscription = collection.subscription_of(account, invoice)
            if subscription is not None and subscription["status"] != "canceled":
                lifecycle.end(account, subscription, reason="cancellation_requested")
        elif kind == "card_automatically_updated":
            self._renewed_by_the_network(customer, invoice, instrument)
        elif kind == "disputes":
            disputes.dispute_latest(account, customer["id"])

    def _method(self, instrument: Any) -> Obj | None:
        known = self._method_of.get(instrument.key) if instrument is not None else None
        return self._account.tables["payment_method"].get(known) if known else None

    def _new(self, instrument: Any) -> Obj | None:
        """A method used once on the page, without being kept for the customer."""
        if instrument is None:
            return None
        method = payment_methods.plant(
            self._account,
            kind=instrument.type,
            detail=_detail(instrument),
            created=self._account.clock_now(self._clock["id"]),
            country=instrument.country,
        )
        self._instrument_of[method["id"]] = instrument.key
        return method

    def _attached(self, customer: Obj, instrument: Any) -> Obj | None:
        method = self._method(instrument)
        if method is not None and method["customer"] == customer["id"]:
            return method
        method = self._new(instrument)
        if method is None:
            return None
        self._method_of[instrument.key] = method["id"]
        return payment_methods.attach_to(self._account, method, customer)

    def _renewed_by_the_network(self, customer: Obj, invoice: Obj, instrument: Any) -> None:
        """The card updater: the same payment method, another card behind it."""
        last = self._account.hidden.get(invoice["id"], {}).get("last_method")
        method = self._account.tables["payment_method"].get(last or "")
        if method is None or instrument is None or method["customer"] != customer["id"]:
            return
        before = {"card": dict(method.get("card") or {})}
        method[method["type"]] = _detail(instrument)
        self._instrument_of[method["id"]] = instrument.key
        self._account.emit("payment_method.automatically_updated", method, before)


def _never(*_: Any, **__: Any) -> Any:
    return None


def _check_digit(body: str) -> str:
    """Luhn's."""
    doubled = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body))]
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def _detail(instrument: Any) -> Obj:
    if instrument.type == "card":
        return objects.card(
            brand=instrument.brand,
            country=instrument.country,
            exp_month=instrument.exp_month,
            exp_year=instrument.exp_year,
            fingerprint=instrument.fingerprint,
            funding=instrument.funding,
            last4=instrument.last4,
        )
    mark, last4 = instrument.fingerprint, instrument.last4
    if instrument.type == "sepa_debit":
        return objects.sepa_debit(country=instrument.country, fingerprint=mark, last4=last4)
    if instrument.type == "us_bank_account":
        bank = getattr(instrument, "bank_name", None)
        return objects.us_bank_account(fingerprint=mark, last4=last4, bank_name=bank)
    return objects.bacs_debit(fingerprint=mark, last4=last4)


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
