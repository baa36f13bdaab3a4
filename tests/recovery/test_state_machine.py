"""Orders of events, crashes and time that nobody wrote down, against what may never happen."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from engine_shop import EngineShop
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from retry_engine.domain.errors import RetryEngineError
from retry_engine.recovery.gateway import PayResult
from retry_engine.store import inbox as stored

pytestmark = pytest.mark.integration

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
OVERRIDES = ["pause", "resume", "stop", "hold", "retry", "note"]


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


class WatchedGateway:
    """Stripe as the engine reaches it, with a witness at the till, and deaths on the way."""

    def __init__(self, real: Any, engine: Any) -> None:
        self._real = real
        self._engine = engine
        self.die: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

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
        assert known == 1, "charged without a committed intent"
        when, self.die = self.die, None
        if when == "before":
            raise Crash
        try:
            return self._real.pay(account, invoice_id, **how)  # type: ignore[no-any-return]
        finally:
            if when == "after":
                raise Crash


class Machine(RuleBasedStateMachine):
    """One merchant, a few customers, and anything that may happen."""

    here: EngineShop

    def __init__(self) -> None:
        super().__init__()
        self.customers: list[Any] = []
        self.undelivered: list[dict[str, Any]] = []
        here = self.here
        with here.engine.database.transaction() as connection:
            connection.execute(
                text(
                    "truncate inbox, cases, case_transitions, attempts, payment_methods, actions,"
                    " decisions, overrides, reviews, risk_flags, clocks restart identity cascade"
                )
            )
            connection.execute(text("update engine_state set paused = false"))
        here.shop.faults()
        executor = here.engine._executor
        real = getattr(executor.gateway, "_real", executor.gateway)
        self.gateway = WatchedGateway(real, here.engine)
        here.engine.__dict__["_executor"] = replace(executor, gateway=self.gateway)
        here.hears()
        with here.engine.database.transaction() as connection:
            connection.execute(text("truncate inbox"))

    # -- what happens

    @initialize(script=SCRIPTS, backup=st.sampled_from([None, "succeeded", "do_not_honor"]))
    def a_renewal_fails(self, script: tuple[str, ...], backup: str | None) -> None:
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
        self.here.sends(*(self.undelivered[index] for index in chosen))
        if not twice:
            self.undelivered = [e for i, e in enumerate(self.undelivered) if i not in chosen]

    @rule()
    def workers_work(self) -> None:
        self._work(rounds=3)

    @rule(when=st.sampled_from(["before", "after"]))
    def a_worker_dies_at_the_next_charge(self, when: str) -> None:
        self.gateway.die = when

    @rule(fault=st.sampled_from(["drop_before", "drop_after", "error_before", "rate_limit"]))
    def stripe_has_a_bad_moment(self, fault: str) -> None:
        self.here.shop.faults(api=[{"fault": fault, "on": "*/pay", "times": 2}])

    @rule(hours=st.sampled_from([1, 7, 24, 60, 120]))
    def the_clocks_move_on(self, hours: int) -> None:
        for customer in self.customers:
            self._advance(customer, hours)

    @rule(minutes=st.sampled_from([1, 4, 30, 1500]))
    def real_time_passes(self, minutes: int) -> None:
        self.here.time.passes(minutes=minutes)

    @rule(data=st.data(), action=st.sampled_from(OVERRIDES))
    def a_person_steps_in(self, data: st.DataObject, action: str) -> None:
        cases = self.here.engine.list_cases()["data"]
        if cases:
            case = data.draw(st.sampled_from(sorted(c["invoice"] for c in cases)))
            with contextlib.suppress(RetryEngineError):
                self.here.engine.override(case, action=action, reason="why not", by="a person")

    @rule(verdict=st.sampled_from(["approve", "reject"]))
    def a_person_reviews(self, verdict: str) -> None:
        for review in self.here.engine.list_reviews()["data"][:1]:
            self.here.engine.decide_review(
                review["id"], verdict=verdict, reason="looked", by="a person"
            )

    @rule(action=st.sampled_from(["pause", "resume", "resume"]))
    def somebody_turns_the_switch(self, action: str) -> None:
        self.here.engine.set_engine(action=action, reason="why not", by="a person")

    @rule(data=st.data(), act=st.sampled_from(["pay", "new_card", "cancel", "dispute", "void"]))
    def the_world_turns(self, data: st.DataObject, act: str) -> None:
        customer = data.draw(st.sampled_from(self.customers))
        stripe = self.here.shop.stripe.v1
        invoice = self.here.shop.newest_invoice(customer)
        with contextlib.suppress(Exception):  # whatever Stripe refuses did not happen
            if act == "pay":
                stripe.invoices.pay(invoice.id, {"paid_out_of_band": True})
            elif act == "new_card":
                self.here.another_method(customer, "succeeded")
            elif act == "cancel":
                stripe.subscriptions.cancel(invoice.parent.subscription_details.subscription)
            elif act == "dispute":
                self.here.shop.http.post(
                    "/_sandbox/act", json={"customer": customer.id, "act": "dispute"}
                )
            else:
                stripe.invoices.void_invoice(invoice.id)

    # -- what may never be

    @invariant()
    def nobody_is_charged_twice(self) -> None:
        paid: dict[str, int] = {}
        keys: dict[str, int] = {}
        for entry in self._ledger():
            if entry["outcome"] == "succeeded":
                paid[entry["invoice"]] = paid.get(entry["invoice"], 0) + 1
            if entry["source"] == "api" and entry["idempotency_key"]:
                key = entry["idempotency_key"]
                keys[key] = keys.get(key, 0) + 1
        assert all(count == 1 for count in paid.values())
        assert all(count == 1 for count in keys.values())

    @invariant()
    def the_rules_hold(self) -> None:
        cards: dict[str, dict[str, Any]] = {}
        # of another customer's clock, and by an event that may be late, nobody knows in time
        declined: dict[tuple[str, str], list[dict[str, Any]]] = {}
        tries: dict[str, int] = {}
        for entry in sorted(self._ledger(), key=lambda e: e["at"]):
            card = entry["fingerprint"] or entry["payment_method"]
            whose = entry["customer"], card
            tries[entry["invoice"]] = tries.get(entry["invoice"], 0) + 1
            if entry["source"] == "api":
                standing = [d for d in declined.get(whose, ()) if _stands(d, entry)]
                assert standing == [], "a hard decline was retried on the same card"
                last = cards.get(card)
                if last is not None and last["outcome"] == "failed":
                    assert entry["at"] - last["at"] >= 24 * 3600, "two tries on a card in a day"
                assert tries[entry["invoice"]] <= 8
            cards[card] = entry
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
        broken = {name: n for name, n in self.here.engine.invariants().items() if n}
        assert broken == {}

    def teardown(self) -> None:
        """Everything is delivered and done in the end, and every case comes to one."""
        here = self.here
        self.gateway.die = None
        here.shop.faults()
        here.engine.set_engine(action="resume", reason="the end", by="a person")
        self._hear()
        here.sends(*self.undelivered)
        for _ in range(8):
            here.time.passes(minutes=10)
            self._work(rounds=40)
        for _ in range(9):
            for customer in self.customers:
                self._advance(customer, 96)
            here.sends(*self.undelivered)
            here.time.passes(minutes=10)
            self._work(rounds=40)
        status = here.engine.status()
        assert (status["inbox_pending"], status["actions_due"]) == (0, 0)
        assert status["events_dead"] == 0
        first = {c.id for c in self.customers}
        for case in here.engine.list_cases(limit=200)["data"]:
            if case["customer"] in first and case["deadline_at"] < case["clock"]["now"]:
                assert case["state"] in ("closed", "paused", "in_review"), case
        self.nobody_is_charged_twice()
        self.the_rules_hold()
        self.no_case_is_forgotten()

    # -- parts

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
            here.engine.process_events(waiting)
            here.engine.dispatch()
            claimed = here.claimed()
            for action_id in claimed:
                with contextlib.suppress(Crash):
                    here.engine.run_action(action_id)
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
def machine(engine_shop: EngineShop) -> type[Machine]:
    class Here(Machine):
        here = engine_shop

    # a held call is repeated at once: the sandbox's bad moments are counted, not timed
    engine_shop.engine.gateway._sleep = lambda _seconds: None
    return Here


def test_no_order_of_things_charges_twice_breaks_a_rule_or_loses_a_case(
    machine: type[Machine],
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            # a failing history is told as it was found: each step is slow, and shrinking takes many
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
