"""What people, and the card updater, do unasked about a payment that failed."""

from collections.abc import Mapping
from datetime import datetime

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing import collection, lifecycle
from retry_engine.sandbox.billing.default_methods import new_default
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments import disputes
from retry_engine.sandbox.population.subscribers import Instrument, OwnAct, Simulation
from retry_engine.sandbox.population.wallets import Wallets


class OwnActs:
    """Plans a world's own acts on the clock when somebody's payment has failed.

    `person_of`: the key of the person that a customer is.
    """

    def __init__(
        self, account: Account, world: Simulation, wallets: Wallets, *,
        person_of: Mapping[str, str], clock: Obj, horizon_end: datetime,
    ) -> None:  # fmt: skip
        self._account = account
        self._world = world
        self._wallets = wallets
        self._person_of = person_of
        self._clock = clock
        self._horizon_end = horizon_end
        self._acting: set[str] = set()
        account.on_failure.append(self._somebody_failed)

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

    def _plan(self, invoice: Obj, own: OwnAct) -> None:
        # a person disputes what was charged; all the rest ends when the invoice is settled
        live = (
            (lambda: True) if own.kind == "disputes" else (lambda: collection.collectable(invoice))
        )
        self._account.at(
            self._clock["id"],
            max(int(own.at.timestamp()), self._account.now_of(invoice) + 1),
            own.kind,
            lambda: self._does(invoice, own.kind, own.instrument),
            live,
        )

    def _does(self, invoice: Obj, kind: str, instrument: Instrument | None) -> None:
        account = self._account
        customer = account.tables["customer"].get(invoice["customer"])
        if customer is None:
            return
        method = self._wallets.method(instrument)
        if kind == "pays_on_page":
            chosen = (
                method
                or self._wallets.used_once(instrument)
                or collection.method_for(account, invoice)
            )
            if chosen is not None:
                collection.pay_on_page(account, invoice, chosen)
        elif kind == "updates_card":
            new_default(account, customer, self._wallets.attached(customer, instrument))
        elif kind == "adds_method":
            self._wallets.attached(customer, instrument)
        elif kind == "cancels":
            subscription = collection.subscription_of(account, invoice)
            if subscription is not None and subscription["status"] != "canceled":
                lifecycle.end(account, subscription, reason="cancellation_requested")
        elif kind == "card_automatically_updated":
            self._renewed_by_the_network(customer, invoice, instrument)
        elif kind == "disputes":
            disputes.dispute_latest(account, customer["id"])

    def _renewed_by_the_network(
        self, customer: Obj, invoice: Obj, instrument: Instrument | None
    ) -> None:
        """The card updater: the same payment method, another card behind it."""
        last = self._account.hidden.get(invoice["id"], {}).get("last_method")
        method = self._account.tables["payment_method"].get(last or "")
        if method is None or instrument is None or method["customer"] != customer["id"]:
            return
        before = {"card": dict(method.get("card") or {})}
        self._wallets.put_behind(method, instrument)
        self._account.emit("payment_method.automatically_updated", method, before)
