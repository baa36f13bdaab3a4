"""What people pay with, as payment methods at the merchant's."""

from random import Random

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import payment_methods
from retry_engine.sandbox.population.subscribers import Instrument


class Wallets:
    """The instruments of a population on one clock, and the payment method that each of them is."""

    def __init__(self, account: Account, *, clock: Obj) -> None:
        self._account = account
        self._clock = clock
        self._instrument_of: dict[str, str] = {}
        self._method_of: dict[str, str] = {}
        self._by_number: dict[str, Instrument] = {}
        self._typed_in: dict[str, Instrument] = {}

    def key_behind(self, method: Obj) -> str | None:
        """The instrument behind a payment method; None where it is none of theirs."""
        return self._instrument_of.get(method["id"])

    def typed_in(self, key: str) -> Instrument | None:
        """The instrument, if its owner typed its number into a page."""
        return self._typed_in.get(key)

    def method_id(self, key: str) -> str | None:
        """The payment method that an instrument is at the merchant's."""
        return self._method_of.get(key)

    def method(self, instrument: Instrument | None) -> Obj | None:
        """The payment method that an instrument is, if the merchant has it."""
        known = self._method_of.get(instrument.key) if instrument is not None else None
        return self._account.tables["payment_method"].get(known) if known else None

    def number_of(self, instrument: Instrument) -> str:
        """The number on a card, with which its owner pays on a page."""
        rng = Random(f"number {instrument.key}")  # noqa: S311 -- a simulation
        body = "400000" + "".join(rng.choices("0123456789", k=9))
        number = body + _check_digit(body)
        self._by_number[number] = instrument
        self._typed_in[instrument.key] = instrument
        return number

    def method_behind(self, number: str) -> Obj | None:
        """A new method for a card number of one of theirs."""
        return self.used_once(self._by_number.get(number))

    def had_before(self, customer: Obj, instrument: Instrument) -> Obj:
        """A customer's method from before anybody listened: nothing is told of it."""
        method = self._plant(instrument, created=int(instrument.added_at.timestamp()))
        self._method_of[instrument.key] = method["id"]
        method["customer"] = customer["id"]
        return self._account.put("payment_method", method)

    def used_once(self, instrument: Instrument | None) -> Obj | None:
        """A method used once on the page, without being kept for the customer."""
        if instrument is None:
            return None
        return self._plant(instrument, created=self._account.clock_now(self._clock["id"]))

    def attached(self, customer: Obj, instrument: Instrument | None) -> Obj | None:
        """The customer's method; a new one is attached where they did not have it."""
        method = self.method(instrument)
        if method is not None and method["customer"] == customer["id"]:
            return method
        method = self.used_once(instrument)
        if method is None or instrument is None:
            return None
        self._method_of[instrument.key] = method["id"]
        return payment_methods.attach_to(self._account, method, customer)

    def put_behind(self, method: Obj, instrument: Instrument) -> None:
        """The same payment method, another card behind it."""
        method[method["type"]] = _detail(instrument)
        self._instrument_of[method["id"]] = instrument.key

    def _plant(self, instrument: Instrument, *, created: int) -> Obj:
        method = payment_methods.plant(
            self._account,
            kind=instrument.type,
            detail=_detail(instrument),
            created=created,
            country=instrument.country,
        )
        self._instrument_of[method["id"]] = instrument.key
        return method


def _check_digit(body: str) -> str:
    """Luhn's."""
    doubled = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body))]
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def _detail(instrument: Instrument) -> Obj:
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
        return objects.us_bank_account(
            fingerprint=mark, last4=last4, bank_name=instrument.bank_name
        )
    return objects.bacs_debit(fingerprint=mark, last4=last4)
