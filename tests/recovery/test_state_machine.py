"""Orders of events, crashes and time that nobody wrote down, against what may never happen.

Some histories are the same in every run, others are new in each. One that fails is told step by
step with its number; `RETRY_ENGINE_HISTORY=<number> pytest <this file>` plays that one again.
"""

import contextlib
import inspect
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sandbox_shop import Shop
from sqlalchemy import text

from retry_engine.app.overrides import ACTIONS
from retry_engine.bootstrap import Engine
from retry_engine.domain.errors import Refused, RetryEngineError
from retry_engine.recovery.gateway import OUR_KEYS, Gateway, PayResult
from retry_engine.store import inbox as stored

pytestmark = pytest.mark.integration

# Every call that changes something at Stripe wants a permit.
WRITES = {
    name
    for name, method in inspect.getmembers(Gateway, inspect.isfunction)
    if "permit" in inspect.signature(method).parameters
}
CODES = [
    "insufficient_funds",
    "do_not_honor",
    "issuer_not_available",
    "expired_card",
    "lost_card",
    "authentication_required",
    "a_code_nobody_knows",
]
SCRIPTS = st.tuples(st.sampled_from(CODES), st.sampled_from([*CODES, "succeeded"])).map(
    lambda codes: (*codes, "succeeded")
)
OVERRIDES = [*(action for action in ACTIONS if action != "retry"), "retry", "retry"]
# How a card changes hands or data, by what the sandbox calls it.
CARD_CHANGES = ["new_default", "another", "renewed", "gone"]

# Histories that are new in each run: so many seconds of them.
FRESH_SECONDS = 30.0
REPLAY = "RETRY_ENGINE_HISTORY"


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


@dataclass
class Mishaps:
    """What is to go wrong next."""

    next_look: str | None = None
    next_charge: str | None = None


class WatchedGateway:
    """Stripe as the engine reaches it, with a witness at the till, and deaths on the way."""

    def __init__(self, real: Any, engine: Callable[[], Engine], mishaps: Mishaps) -> None:
        self._real = real
        self._engine_of_it = engine
        self._mishaps = mishaps

    @property
    def _engine(self) -> Engine:
        return self._engine_of_it()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in WRITES:
            return found
        mode = self._engine.settings.mode
        assert mode == "takeover", f"{name}: written to Stripe by an engine in {mode}"
        return found

    def invoice(self, account: str, invoice_id: str) -> Any:
        if self._mishaps.next_look == "connection_lost":
            self._mishaps.next_look = None
            self._lose_connections()
        return self._real.invoice(account, invoice_id)

    def pay(self, account: str, invoice_id: str, **how: Any) -> PayResult:
        query = text(
            "select c.state, c.mode, e.paused from cases c, engine_state e where c.invoice_id = :i"
        )
        with self._engine.database.connection() as connection:
            state, mode, paused = connection.execute(query, {"i": invoice_id}).one()
            known = connection.execute(
                text("select count(*) from attempts where idempotency_key = :key"),
                {"key": how["idempotency_key"]},
            ).scalar_one()
        assert (state, mode, paused) == ("open", "takeover", False), "charged where nobody may"
        assert self._engine.settings.mode == "takeover", "charged by an engine that only watches"
        assert known == 1, "charged without a committed intent"
        when, self._mishaps.next_charge = self._mishaps.next_charge, None
        if when == "dies_before":
            raise Crash
        if when == "connection_lost":
            self._lose_connections()
        try:
            return self._real.pay(account, invoice_id, **how)  # type: ignore[no-any-return]
        finally:
            if when == "dies_after":
                raise Crash

    def _lose_connections(self) -> None:
        """All of the engine's connections at once, as when the database's host restarts."""
        with self._engine.database.transaction() as connection:
            connection.execute(
                text(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
            )


class Machine(RuleBasedStateMachine):
    """One merchant, a few customers, and anything that may happen."""

    here: EngineShop
    engines: dict[str, Any]
    mishaps: Mishaps
    told: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.customers: list[Any] = []
        self.ended: set[str] = set()
        self.undelivered: list[dict[str, Any]] = []
        self.renewed: dict[tuple[str, str], int] = {}
        self.told.clear()
        here = self.here
        self.mishaps.next_look = self.mishaps.next_charge = None
        here.engine = self.engines["takeover"]
        with here.engine.database.transaction() as connection:
            tables = connection.execute(
                text(
                    "select string_agg(quote_ident(tablename), ', ') from pg_tables"
                    " where schemaname = 'public'"
                    " and tablename not in ('alembic_version', 'engine_state')"
                )
            ).scalar_one()
            connection.execute(text(f"truncate {tables} restart identity cascade"))
            connection.execute(text("update engine_state set paused = false"))
        here.shop.faults()
        here.deliver_webhooks()
        with here.engine.database.transaction() as connection:
            connection.execute(text("truncate inbox"))

    # -- what happens

    @initialize(script=SCRIPTS, backup=st.sampled_from([None, "succeeded", "do_not_honor"]))
    def a_renewal_fails(self, script: tuple[str, ...], backup: str | None) -> None:
        self._tell("a renewal fails", script, backup)
        customer, _ = self.here.shop.customer_with("succeeded", *script)
        if backup is not None:
            self.here.another_method(customer, backup)
        self.here.shop.subscribed(customer)
        self.customers.append(customer)
        self._advance(customer, 24 * 31 + 2)

    @precondition(lambda self: len(self.customers) < 2)
    @rule(script=SCRIPTS)
    def another_renewal_fails(self, script: tuple[str, ...]) -> None:
        self.a_renewal_fails(script, None)

    @rule(data=st.data(), twice=st.booleans())
    def some_webhooks_come(self, data: st.DataObject, *, twice: bool) -> None:
        if not self.undelivered:
            return
        order = data.draw(st.permutations(range(len(self.undelivered))))
        chosen = order[: data.draw(st.integers(1, len(order)))]
        self._tell("webhooks come", [self.undelivered[i]["type"] for i in chosen], twice)
        self.here.sends(*(self.undelivered[index] for index in chosen))
        if not twice:
            self.undelivered = [e for i, e in enumerate(self.undelivered) if i not in chosen]

    @rule()
    def workers_work(self) -> None:
        self._tell("workers work")
        self._work(rounds=3)

    @rule(when=st.sampled_from(["dies_before", "dies_after", "connection_lost"]))
    def the_next_charge_meets_a_mishap(self, when: str) -> None:
        self._tell("at the next charge", when)
        self.mishaps.next_charge = when

    @rule()
    def the_next_look_loses_its_connection(self) -> None:
        self._tell("at the next look the connection is lost")
        self.mishaps.next_look = "connection_lost"

    @rule(fault=st.sampled_from(["drop_before", "drop_after", "error_before", "rate_limit"]))
    def stripe_has_a_bad_moment(self, fault: str) -> None:
        self._tell("a bad moment of Stripe's", fault)
        self.here.shop.faults(api=[{"fault": fault, "on": "*/pay", "times": 2}])

    @rule(hours=st.sampled_from([1, 7, 24, 60, 120]))
    def the_clocks_move_on(self, hours: int) -> None:
        self._tell("the clocks move on", hours)
        for customer in self._those_with_clocks():
            self._advance(customer, hours)

    @rule(minutes=st.sampled_from([1, 4, 30, 1500]))
    def real_time_passes(self, minutes: int) -> None:
        self._tell("real time passes", minutes)
        self.here.time.passes(minutes=minutes)

    @rule(mode=st.sampled_from(["takeover", "shadow"]))
    def the_engine_is_restarted_in_a_mode(self, mode: str) -> None:
        self._tell("restarted in", mode)
        self.here.engine = self.engines[mode]

    @rule(
        data=st.data(),
        action=st.sampled_from(OVERRIDES),
        hours=st.sampled_from([None, -48, 0, 1, 30, 400]),
    )
    def a_person_steps_in(self, data: st.DataObject, action: str, hours: int | None) -> None:
        cases = self.here.engine.operations.list_cases()["data"]
        if not cases:
            return
        case = data.draw(st.sampled_from(sorted(cases, key=lambda c: str(c["invoice"]))))
        more: dict[str, Any] = {}
        if action == "retry" and hours is not None:
            at = datetime.fromisoformat(case["clock"]["now"]) + timedelta(hours=hours)
            more["at"] = at
        self._tell("a person steps in", action, case["invoice"], hours)
        before = len(self._ledger())
        with contextlib.suppress(RetryEngineError):
            self.here.engine.operations.override(
                case["invoice"], action=action, reason="why not", by="a person", **more
            )
        assert len(self._ledger()) == before, "an act is planned, never carried out in passing"

    @rule(verdict=st.sampled_from(["approve", "reject"]))
    def a_person_reviews(self, verdict: str) -> None:
        self._tell("a person reviews", verdict)
        for review in self.here.engine.operations.list_reviews()["data"][:1]:
            with contextlib.suppress(Refused):
                self.here.engine.operations.decide_review(
                    review["id"], verdict=verdict, reason="looked", by="a person"
                )

    @rule(action=st.sampled_from(["pause", "resume", "resume"]))
    def somebody_turns_the_switch(self, action: str) -> None:
        self._tell("the switch", action)
        self.here.engine.operations.set_engine(action=action, reason="why not", by="a person")

    @rule(data=st.data(), act=st.sampled_from(["pay", "buy", "cancel", "dispute", "warn", "void"]))
    def the_world_turns(self, data: st.DataObject, act: str) -> None:
        customer = data.draw(st.sampled_from(self.customers))
        self._tell("the world turns", act, customer.id)
        stripe = self.here.shop.stripe.v1
        with contextlib.suppress(Exception):  # whatever Stripe refuses did not happen
            invoice = self.here.shop.newest_invoice(customer)
            if act == "pay":
                stripe.invoices.pay(invoice.id, {"paid_out_of_band": True})
            elif act == "buy":
                self._act(customer, "other_charge")
            elif act == "cancel":
                stripe.subscriptions.cancel(invoice.parent.subscription_details.subscription)
            elif act == "dispute":
                self._act(customer, "dispute")
            elif act == "warn":
                self._act(customer, "early_fraud_warning")
            else:
                stripe.invoices.void_invoice(invoice.id)

    @rule(data=st.data(), how=st.sampled_from(CARD_CHANGES))
    def a_card_changes(self, data: st.DataObject, how: str) -> None:
        customer = data.draw(st.sampled_from(self.customers))
        self._tell("a card changes", how, customer.id)
        with contextlib.suppress(Exception):
            if how == "another":
                self.here.another_method(customer, "succeeded")
            elif how == "new_default":
                self._act(customer, "update_card")
            elif how == "renewed":
                self._act(customer, "card_automatically_updated")
                self._note_renewal(customer)
            else:
                saved = self.here.shop.stripe.v1.payment_methods.list({"customer": customer.id})
                method = data.draw(st.sampled_from(sorted(saved.data, key=lambda m: str(m.id))))
                self.here.shop.stripe.v1.payment_methods.detach(method.id)

    @precondition(lambda self: not self.ended)
    @rule(data=st.data())
    def a_clock_is_deleted(self, data: st.DataObject) -> None:
        customer = data.draw(st.sampled_from(self.customers))
        self._tell("its clock is deleted", customer.id)
        self.ended.add(customer.id)
        self.here.shop.stripe.v1.test_helpers.test_clocks.delete(customer.test_clock)
        self._hear()

    # -- what may never be

    @invariant()
    def nobody_is_charged_twice(self) -> None:
        paid: dict[str, int] = {}
        keys: dict[str, int] = {}
        for entry in self._ledger():
            if entry["outcome"] == "succeeded" and entry["invoice"]:
                paid[entry["invoice"]] = paid.get(entry["invoice"], 0) + 1
            if entry["source"] == "api" and entry["idempotency_key"]:
                key = entry["idempotency_key"]
                keys[key] = keys.get(key, 0) + 1
        assert all(count == 1 for count in paid.values())
        assert all(count == 1 for count in keys.values())

    @invariant()
    def the_rules_hold(self) -> None:
        cards: dict[tuple[str, str], dict[str, Any]] = {}
        # of another customer's clock, and by an event that may be late, nobody knows in time
        declined: dict[tuple[str, str], list[dict[str, Any]]] = {}
        tries: dict[str, int] = {}
        wanted = self._wanted_by_people()
        for place, entry in enumerate(self._ledger()):
            card = entry["fingerprint"] or entry["payment_method"]
            whose = entry["customer"], card
            if self.renewed.get(whose, place + 1) <= place:
                declined.pop(whose, None)
            tries[entry["invoice"]] = tries.get(entry["invoice"], 0) + 1
            if (entry["idempotency_key"] or "").startswith(OUR_KEYS):
                standing = [d for d in declined.get(whose, ()) if _stands(d, entry)]
                assert standing == [], "a hard decline was retried on the same card"
                last = cards.get(whose)
                # a person's word is held back by the networks' rules alone
                if entry["idempotency_key"] not in wanted:
                    if last is not None and last["outcome"] == "failed":
                        gap = entry["at"] - last["at"]
                        assert gap >= 24 * 3600, "two tries on a card in a day"
                    assert tries[entry["invoice"]] <= 8
            cards[whose] = entry
            # the card's latest answer counts: it has paid since, or its data cannot be wrong
            if entry["outcome"] == "succeeded":
                declined[whose] = []
            elif entry["decline_code"] == "insufficient_funds":
                lost = [d for d in declined.get(whose, ()) if d["decline_code"] == "lost_card"]
                declined[whose] = lost
            elif entry["decline_code"] in _FINAL:
                declined.setdefault(whose, []).append(entry)

    @invariant()
    def no_case_is_forgotten(self) -> None:
        broken = {name: n for name, n in self.here.engine.health.invariants().items() if n}
        assert broken == {}

    def teardown(self) -> None:
        """Everything is delivered and done in the end, and every case comes to one."""
        here = self.here
        self.mishaps.next_look = self.mishaps.next_charge = None
        here.engine = self.engines["takeover"]
        here.shop.faults()
        here.engine.operations.set_engine(action="resume", reason="the end", by="a person")
        self._hear()
        here.sends(*self.undelivered)
        for _ in range(8):
            here.time.passes(minutes=10)
            self._work(rounds=40)
        for _ in range(9):
            for customer in self._those_with_clocks():
                self._advance(customer, 96)
            here.sends(*self.undelivered)
            here.time.passes(minutes=10)
            self._work(rounds=40)
        status = here.engine.health.status()
        assert (status["inbox_pending"], status["actions_due"]) == (0, 0)
        assert status["events_dead"] == 0
        first = {c.id for c in self._those_with_clocks()}
        for case in here.engine.operations.list_cases(limit=200)["data"]:
            if case["customer"] in first and case["deadline_at"] < case["clock"]["now"]:
                assert case["state"] in ("closed", "paused", "in_review"), case
            if case["customer"] in self.ended:
                assert case["state"] == "closed", "the clock is gone, and with it the customer"
        self.nobody_is_charged_twice()
        self.the_rules_hold()
        self.no_case_is_forgotten()

    # -- parts

    def _tell(self, *words: Any) -> None:
        self.told.append(" ".join(str(word) for word in words))

    def _act(self, customer: Any, act: str) -> None:
        document = {"customer": customer.id, "act": act}
        self.here.shop.http.post("/_sandbox/act", json=document).raise_for_status()

    def _those_with_clocks(self) -> list[Any]:
        return [customer for customer in self.customers if customer.id not in self.ended]

    def _note_renewal(self, customer: Any) -> None:
        """From that place of the ledger on it is another credential of the same number."""
        method_id = customer.invoice_settings.default_payment_method
        now: Any = self.here.shop.stripe.v1.customers.retrieve(customer.id)
        method_id = now.invoice_settings.default_payment_method or method_id
        method: Any = self.here.shop.stripe.v1.payment_methods.retrieve(method_id)
        self.renewed[(customer.id, method.card.fingerprint)] = len(self._ledger())

    def _wanted_by_people(self) -> set[str]:
        query = text(
            "select t.idempotency_key from attempts t join actions a on a.id = t.action_id"
            " where a.requested_by is not null"
        )
        with self.here.engine.database.connection() as connection:
            return set(connection.execute(query).scalars())

    def _ledger(self) -> list[dict[str, Any]]:
        mine = {c.id for c in self.customers}
        return [e for e in self.here.shop.ledger() if e["customer"] in mine]

    def _advance(self, customer: Any, hours: float) -> None:
        self.here.shop.advances(customer, hours=hours)
        self._hear()

    def _hear(self) -> None:
        self.here.shop.until_quiet()
        events = self.here.shop.inbox.events()
        self.undelivered += events[self.here.delivered :]
        self.here.delivered = len(events)

    def _work(self, *, rounds: int) -> None:
        here = self.here
        for _ in range(rounds):
            with here.engine.database.transaction() as connection:
                waiting = stored.waiting(connection, now=here.time.now, limit=100)
            here.engine.worker.process_events(waiting)
            here.engine.worker.dispatch()
            claimed = here.claimed()
            for action_id in claimed:
                with contextlib.suppress(Crash):
                    here.engine.worker.run_action(action_id)
            if not waiting and not claimed:
                break
        self._hear()


# Days in which a decline counts against other invoices; None: for good.
_FINAL = {"lost_card": None, "expired_card": 45, "authentication_required": 20}


def _stands(decline: dict[str, Any], charge: dict[str, Any]) -> bool:
    days = _FINAL[decline["decline_code"]]
    here = decline["invoice"] == charge["invoice"]
    return here or days is None or charge["at"] - decline["at"] < days * 86_400


@pytest.fixture
def machine(shop: Shop, database_url: str, redis_url: str) -> Iterator[type[Machine]]:
    time = RealTime()
    wrong = Mishaps()
    engines: dict[str, Engine] = {}

    def start(mode: str) -> Engine:
        return build_engine(
            shop,
            database_url,
            redis_url,
            time,
            around=lambda real: WatchedGateway(real, lambda: engines[mode], wrong),
            # a held call is repeated at once: the sandbox's bad moments are counted, not timed
            sleep=lambda _seconds: None,
            RETRY_ENGINE_MODE=mode,
        )

    for mode in ("takeover", "shadow"):
        engines[mode] = start(mode)

    class Here(Machine):
        here = EngineShop(shop, engines["takeover"], time)
        mishaps = wrong
        told: list[str] = []  # noqa: RUF012  # of the history that is being played

    Here.engines = engines
    yield Here
    for engine in engines.values():
        engine.close()


def play(machine: type[Machine], name: str, *, histories: int, **how: Any) -> None:
    """Histories against all invariants; one that fails is told step by step."""
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=histories,
                stateful_step_count=25,
                deadline=None,
                database=None,
                # told as it was found: each step is slow, and shrinking takes many
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
                **how,
            ),
        )
    except Exception as error:
        steps = "\n  ".join(machine.told)
        pytest.fail(f"{name}: {type(error).__name__}: {error}\n  {steps}")


def test_no_order_of_things_charges_twice_breaks_a_rule_or_loses_a_case(
    machine: type[Machine],
) -> None:
    play(machine, "a known history", histories=8, derandomize=True)


def test_nor_does_any_order_that_was_never_played_before(machine: type[Machine]) -> None:
    given = os.environ.get(REPLAY)
    until = monotonic() + FRESH_SECONDS
    while True:
        number = int(given) if given else secrets.randbits(32)
        play(seed(number)(machine), f"{REPLAY}={number}", histories=1)
        if given or monotonic() >= until:
            return
