"""One Stripe account: its objects, what happened, what is due, and who tried to take money."""

import itertools
import string
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any, Protocol

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.agenda import Agenda, Due
from retry_engine.sandbox.accounts.issuers import Issuer
from retry_engine.sandbox.accounts.ledger import Try
from retry_engine.sandbox.errors import invalid, missing
from retry_engine.sandbox.objects import Obj

API_VERSION = "2026-10-28.endive"
DAY = 86_400
HOUR = 3_600

_ALPHABET = string.ascii_letters + string.digits

# table -> prefix of its ids
PREFIXES = {
    "customer": "cus",
    "payment_method": "pm",
    "card": "card",
    "token": "tok",
    "product": "prod",
    "price": "price",
    "plan": "plan",
    "tax_rate": "txr",
    "credit_note_line_item": "cnli",
    "subscription": "sub",
    "subscription_item": "si",
    "invoice": "in",
    "invoiceitem": "ii",
    "line_item": "il",
    "invoice_payment": "inpay",
    "payment_intent": "pi",
    "charge": "ch",
    "event": "evt",
    "test_helpers.test_clock": "clock",
    "webhook_endpoint": "we",
    "dispute": "dp",
    "radar.early_fraud_warning": "issfr",
    "refund": "re",
    "mandate": "mandate",
    "credit_note": "cn",
    "coupon": "coupon",
    "promotion_code": "promo",
    "discount": "di",
    "setup_intent": "seti",
    "customer_session": "cuss",
    "billing_portal.session": "bps",
    "balance_transaction": "txn",
    "scheduled_query_run": "sqr",
    "file": "file",
    "customer_cash_balance_transaction": "ccsbtxn",
}
_TABLE_OF_PREFIX = {prefix: table for table, prefix in PREFIXES.items()}

# Left out of snapshots and plain answers: Stripe sends them only to who asks with `expand`.
EXPAND_ONLY = {"invoice": ("payments", "confirmation_secret")}


@dataclass(slots=True)
class Cause:
    """The API request that is being carried out; empty where Stripe acts by itself."""

    request: str | None = None
    idempotency_key: str | None = None


@dataclass(slots=True, kw_only=True)
class Terms:
    """How this account is set up. `retry_days`: days after the first failure; () = off."""

    retry_days: tuple[float, ...] = (3, 5, 7)
    event_api_version: str = API_VERSION
    country: str = "US"
    default_currency: str = "usd"
    finalize_after: int = HOUR
    # where the pages for customers are; the sandbox's door puts its own address here
    pages_at: str = "https://invoice.stripe.com"


class Inhabitants(Protocol):
    """A population, as the account knows of it."""

    def report(self) -> Obj:
        """What each of them did and paid, and the sums."""


class Account:
    """The objects of one account as plain dicts in the API's present shapes.

    Example:
        account = Account("acct_sandbox", now=clock, rng=Random(1))
        account.now_of(customer)  # the customer's test clock, or real time
    """

    def __init__(
        self,
        account_id: str,
        *,
        now: Callable[[], datetime],
        rng: Random,
        terms: Terms | None = None,
    ) -> None:
        self.id = account_id
        self.rng = rng
        self.terms = terms or Terms()
        self.tables: dict[str, dict[str, Obj]] = {table: {} for table in PREFIXES}
        self.ledger: list[Try] = []
        # called with each new event: (event)
        self.listeners: list[Callable[[Obj], None]] = []
        # asked first whether a method is theirs to answer for (a population's world)
        self.issuers: list[Issuer] = []
        # called when an invoice's first attempt has failed: (invoice)
        self.on_failure: list[Callable[[Obj], None]] = []
        # called with each letter that reaches one of the customers: (customer, letter)
        self.on_mail: list[Callable[[Obj, Any], None]] = []
        # the populations that live here, as readers of mail
        self.people: list[Inhabitants] = []
        # what people set out to do over HTTP; who plays the clock lets them, one after another
        self.visits: deque[Callable[[], Awaitable[None]]] = deque()
        self.cause = Cause()
        # the account's owner took the platform's access back
        self.withdrawn = False
        # facts that Stripe knows and the API does not show, by object id
        self.hidden: dict[str, Obj] = {}
        self._now = now
        self._agendas: dict[str, Agenda] = {}
        self._playing: dict[str, int] = {}
        self._order = itertools.count()
        self._created_order: dict[str, int] = {}
        self._index: dict[tuple[str, str], list[str]] = {}

    # -- objects

    def new_id(self, table: str) -> str:
        """A fresh id in Stripe's form."""
        length = 14 if table in ("customer", "product", "subscription_item") else 24
        if table == "coupon":
            return "".join(self.rng.choices(_ALPHABET, k=8))
        return f"{PREFIXES[table]}_{''.join(self.rng.choices(_ALPHABET, k=length))}"

    def put(self, table: str, thing: Obj) -> Obj:
        """Keep a new object."""
        self.tables[table][thing["id"]] = thing
        self._created_order[thing["id"]] = next(self._order)
        for name in ("customer", "invoice", "payment_intent", "subscription"):
            if isinstance(thing.get(name), str):
                self._index.setdefault((table, thing[name]), []).append(thing["id"])
        return thing

    def of(self, table: str, owner: str) -> list[Obj]:
        """The objects of a table that belong to a customer, invoice or the like, oldest first."""
        rows = self.tables[table]
        return [rows[i] for i in self._index.get((table, owner), ()) if i in rows]

    def disown(self, table: str, owner: str, wanted: str) -> None:
        """The object no longer belongs to that owner."""
        ids = self._index.get((table, owner), [])
        ids[:] = [i for i in ids if i != wanted]

    def get(self, table: str, wanted: str, *, param: str = "id") -> Obj:
        """The object, or Stripe's 404."""
        found = self.tables[table].get(wanted)
        if found is None or (table == "customer" and found.get("deleted")):
            status = missing(table, wanted, param=param)
            if param != "id":  # named in a parameter, not in the path
                status.status = 400
            raise status
        return found

    def find(self, wanted: str) -> Obj | None:
        """Whatever has this id."""
        if wanted in self.tables["coupon"]:  # their ids are whatever the merchant likes
            return self.tables["coupon"][wanted]
        if wanted.startswith("plan_"):  # a plan is a price
            return self.tables["price"].get(wanted)
        if wanted.startswith("card_"):  # a legacy card is kept as a payment method
            return self.tables["payment_method"].get(wanted)
        table = _TABLE_OF_PREFIX.get(wanted.split("_", 1)[0])
        return self.tables[table].get(wanted) if table else None

    def newest_first(self, table: str, owner: str | None = None) -> list[Obj]:
        """A table's objects, or an owner's alone, in the order of Stripe's lists."""
        rows = self.of(table, owner) if owner else self.tables[table].values()
        order = self._created_order
        return sorted(rows, key=lambda o: (o.get("created", 0), order[o["id"]]), reverse=True)

    # -- time

    def real_now(self) -> int:
        """Seconds, by the clock on the wall."""
        return int(self._now().timestamp())

    def clock_now(self, clock_id: str | None) -> int:
        """Seconds by that test clock; real time where there is none."""
        if not clock_id:
            return self.real_now()
        if clock_id in self._playing:
            return self._playing[clock_id]
        clock = self.tables["test_helpers.test_clock"].get(clock_id)
        return int(clock["frozen_time"]) if clock else self.real_now()

    def clock_of(self, thing: Obj) -> str | None:
        """The test clock that an object lives on."""
        if "test_clock" in thing:
            clock: str | None = thing["test_clock"]
            return clock
        for name in ("customer", "invoice", "charge"):
            owner = thing.get(name)
            found = self.find(owner) if isinstance(owner, str) else None
            if found is not None:
                return self.clock_of(found)
        return None

    def now_of(self, thing: Obj) -> int:
        """Seconds, by the clock the object lives on."""
        return self.clock_now(self.clock_of(thing))

    def moment(self, seconds: int) -> datetime:
        """Seconds as an aware time."""
        return datetime.fromtimestamp(seconds, UTC)

    # -- what happens by itself

    def at(
        self, clock_id: str | None, when: int, what: str, act: Callable[[], object],
        live: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        """Plan something on a clock."""
        due = Due(at=when, what=what, act=act, live=live)
        self._agenda(clock_id).plan(due, number=next(self._order))

    def next_due(self, clock_id: str | None) -> Due | None:
        """What happens next on a clock."""
        return self._agenda(clock_id).next()

    def play_next(self, clock_id: str | None, until: int) -> bool:
        """Let the next thing happen if it is due by then; False when nothing is."""
        due = self._agenda(clock_id).take(until=until)
        if due is None:
            return False
        if clock_id:
            self._playing[clock_id] = max(due.at, self.clock_now(clock_id))
        with self.caused_by(Cause()):
            due.act()
        return True

    def _agenda(self, clock_id: str | None) -> Agenda:
        return self._agendas.setdefault(clock_id or "", Agenda())

    def forget_agenda(self, clock_id: str) -> None:
        """Nothing more happens on a clock that is gone."""
        self._agendas.pop(clock_id, None)

    def is_playing(self, clock_id: str) -> bool:
        """Whether the clock is on its way, be it that it pauses for somebody's visit."""
        return clock_id in self._playing

    def stop_playing(self, clock_id: str) -> None:
        """The clock has arrived; its time is `frozen_time` again."""
        self._playing.pop(clock_id, None)

    def refuse_while_advancing(self, thing: Obj) -> None:
        """Stripe changes nothing on a clock that is advancing."""
        clock_id = self.clock_of(thing)
        clock = self.tables["test_helpers.test_clock"].get(clock_id or "")
        if clock and clock["status"] == "advancing" and self.cause.request:
            raise invalid(
                "Test clock advancement underway - cannot perform modifications",
                status=429,
                code="lock_timeout",
            )

    # -- events

    @contextmanager
    def caused_by(self, cause: Cause) -> Iterator[None]:
        """Events inside name that request as their cause."""
        before, self.cause = self.cause, cause
        try:
            yield
        finally:
            self.cause = before

    def emit(self, kind: str, thing: Obj, previous: Obj | None = None) -> None:
        """Record an event with a snapshot of the object and tell the listeners."""
        created = self.now_of(thing)
        if thing["object"] == "test_helpers.test_clock":
            created = self.real_now()
        event = objects.event(
            id=self.new_id("event"),
            kind=kind,
            created=created,
            api_version=self.terms.event_api_version,
            snapshot=self.bare(thing),
            previous=previous,
            request=self.cause.request,
            idempotency_key=self.cause.idempotency_key,
        )
        self.put("event", event)
        for listener in self.listeners:
            listener(event)

    def bare(self, thing: Obj) -> Obj:
        """A copy without what only `expand` shows."""
        hidden = EXPAND_ONLY.get(thing["object"], ())
        return deepcopy({name: value for name, value in thing.items() if name not in hidden})

    def change(self, thing: Obj, **values: object) -> Obj:
        """Set fields; the values before, of those that changed."""
        before = {k: deepcopy(thing.get(k)) for k, v in values.items() if thing.get(k) != v}
        thing.update(values)
        return before
