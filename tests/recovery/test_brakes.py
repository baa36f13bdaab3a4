"""The brakes: what no lost connection, no dead worker and no waiting person may get past."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine_shop import EngineShop, build_engine
from ports import port
from sqlalchemy import text

from retry_engine.domain.errors import (
    Refused,
    RetryEngineError,
    StripeRejected,
    TransitionRefused,
)
from retry_engine.recovery.gateway import PayResult

pytestmark = pytest.mark.integration


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


def claimed_retry(here: EngineShop, customer: Any) -> int:
    """Let time pass until the planned charge waits for a worker; its action's id."""
    query = text(
        "select a.id, a.state, a.due_at - k.frozen_time as left from actions a"
        " join clocks k on k.id = a.test_clock"
        " where a.kind = 'retry' and a.state in ('planned', 'claimed')"
    )
    for _ in range(10):
        with here.engine.database.connection() as connection:
            found = connection.execute(query).one()
        if found.state == "claimed":
            return int(found.id)
        here.shop.advances(customer, seconds=max(1.0, found.left.total_seconds()))
        here.works(leave="retry")
    raise AssertionError("no charge became due")


def lose_the_workers_connection(here: EngineShop) -> None:
    """As when the server, or the way to it, goes away under whoever holds a case's lock."""
    query = text(
        "select pg_terminate_backend(l.pid) from pg_locks l"
        " join pg_database d on d.oid = l.database"
        " where l.locktype = 'advisory' and d.datname = current_database()"
        " and l.pid <> pg_backend_pid()"
    )
    with here.engine.database.apart() as connection:
        assert connection.execute(query).scalars().all() == [True]


class HeldGateway:
    """Stripe, with a charge that is held `before` its request leaves or `after` Stripe answered."""

    def __init__(self, here: EngineShop, where: str) -> None:
        self.here = here
        self.where = where
        self.reached, self.go_on = threading.Event(), threading.Event()
        stripe = port(here.engine.gateway)
        self._pay: Callable[..., PayResult] = stripe.real.pay
        stripe.from_now_on(pay=self._held_pay)

    def _held_pay(self, *of: Any, **how: Any) -> PayResult:
        if self.where == "before":
            self._hold()
            return self._pay(*of, **how)
        result = self._pay(*of, **how)
        self._hold()
        return result

    def _hold(self) -> None:
        self.reached.set()
        assert self.go_on.wait(60)


@contextlib.contextmanager
def at_work(here: EngineShop, action: int, where: str) -> Iterator[HeldGateway]:
    """A worker that carries the charge out and is held there; let go and joined at the end."""
    held = HeldGateway(here, where)

    def work() -> None:
        with contextlib.suppress(RetryEngineError):
            here.engine.worker.run_action(action)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert held.reached.wait(60)
        yield held
    finally:
        held.go_on.set()
        worker.join(60)


def dies_with_the_answer(here: EngineShop, action: int) -> None:
    """The worker charges, and is gone before it can write down what came of it."""
    real = here.engine.gateway.pay

    def dies(*of: Any, **how: Any) -> PayResult:
        real(*of, **how)
        raise Crash

    port(here.engine.gateway).from_now_on(pay=dies)
    with contextlib.suppress(Crash):
        here.engine.worker.run_action(action)


def brake(here: EngineShop, invoice: Any, how: str, tell: Any = None) -> Any:
    """Pull one of the brakes; what it answers, or why not."""
    try:
        if how == "engine":
            return here.engine.operations.set_engine(
                action="pause", reason="stop!", by="ops", progress=tell
            )
        return here.engine.operations.override(
            invoice.id, action=how, reason="stop!", by="ops", progress=tell
        )
    except TransitionRefused as refused:
        return str(refused)


BRAKES = ("engine", "stop", "pause", "hold")


@pytest.mark.parametrize("lost", [False, True], ids=["alive", "connection lost"])
@pytest.mark.parametrize("how", BRAKES)
def test_a_charge_that_has_not_left_when_the_brake_answers_never_leaves(
    engine_shop: EngineShop, how: str, lost: bool
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    with at_work(here, claimed_retry(here, customer), "before"):
        if lost:
            lose_the_workers_connection(here)
        brake(here, invoice, how)
    here.time.passes(minutes=10)
    here.works()
    assert here.engine_charges(invoice) == []
    assert [a["source"] for a in here.case(invoice)["attempts"]] == ["stripe"]
    if how == "engine":
        here.engine.operations.set_engine(action="resume", reason="over", by="ops")
        here.days_pass(customer, 2)
        assert here.case(invoice)["close_reason"] == "recovered_by_engine"


@pytest.mark.parametrize("how", BRAKES)
def test_a_brake_says_what_it_waits_for_and_answers_when_that_has_ended(
    engine_shop: EngineShop, how: str
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    told: list[str] = []
    with at_work(here, claimed_retry(here, customer), "after") as held:

        def tell(texts: list[str]) -> None:
            told.extend(texts)
            state, paused = here.case(invoice)["state"], here.engine.health.status()["paused"]
            assert paused if how == "engine" else state in ("paused", "in_review")
            held.go_on.set()

        answer = brake(here, invoice, how, tell)
        after = here.case(invoice)
    assert any(invoice.id in text for text in told)
    assert (after["state"], after["close_reason"]) == ("closed", "recovered_by_engine")
    if how == "stop":  # what was wanted holds; how it came about is said, and kept
        assert "went through" in answer["warnings"][0]
        assert after["overrides"][-1]["after"]["warnings"] == answer["warnings"]


@pytest.mark.parametrize("how", BRAKES)
def test_a_worker_that_died_with_stripes_answer_is_found_out_by_the_brake(
    engine_shop: EngineShop, how: str
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    dies_with_the_answer(here, claimed_retry(here, customer))
    brake(here, invoice, how)
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "recovered_by_engine")
    assert [a["outcome"] for a in case["attempts"]] == ["failed", "succeeded"]


def test_an_answer_that_came_with_the_connection_lost_is_written_on_another(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    with at_work(here, claimed_retry(here, customer), "after"):
        lose_the_workers_connection(here)
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "recovered_by_engine")


@pytest.mark.parametrize("how", ["stop", "pause", "hold"])
def test_what_takes_a_case_out_of_charging_has_its_open_charge_settled(
    engine_shop: EngineShop, how: str
) -> None:
    """Also long after, when nothing of it can be on its way and the brake has not waited."""
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    dies_with_the_answer(here, claimed_retry(here, customer))
    with here.engine.database.transaction() as connection:
        connection.execute(text("update attempts set sending_until = now() - interval '1 hour'"))
        connection.execute(text("update actions set state = 'cancelled' where state = 'claimed'"))
    brake(here, invoice, how)
    if how == "stop":
        assert here.case(invoice)["close_reason"] == "stopped"
    here.works()
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "recovered_by_engine")
    assert case["attempts"][-1]["outcome"] == "succeeded"


def test_the_engine_can_be_paused_while_everybody_waits_for_a_busy_case(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    _, _, invoice = here.fails("insufficient_funds", "succeeded")
    case_id = here.case(invoice)["id"]
    settings = here.engine.settings
    other = build_engine(here.shop, settings.database_url, settings.redis_url, here.time)
    with other, contextlib.ExitStack() as all_of_the_pool:
        for _ in range(10):
            all_of_the_pool.enter_context(other.database.connection()).exec_driver_sql("select 1")
        with here.engine.database.case_lock(case_id):
            answer = other.operations.set_engine(action="pause", reason="an incident", by="ops")
    assert answer["paused"]


@pytest.mark.parametrize("refused", [1, 3])
def test_only_what_was_sent_and_refused_makes_a_case_one_whose_charges_fail(
    engine_shop: EngineShop, refused: int
) -> None:
    """However often a brake stopped its charge in the last moment."""
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    real, asked = here.engine.gateway.pay, iter([*"bbb", *"r" * refused])

    def pays(*of: Any, before_sending: Any, **how: Any) -> PayResult:
        now = next(asked, "pays")
        if now == "b":  # the switch is turned between the intent and its request
            switched = text("update engine_state set paused = true")
            with here.engine.database.apart() as connection, connection.begin():
                connection.execute(switched)
        if now == "r":
            before_sending()
            raise StripeRejected("no such thing", status=400, code=None)
        return real(*of, before_sending=before_sending, **how)

    port(here.engine.gateway).from_now_on(pay=pays)
    for _ in range(12):
        here.days_pass(customer, 1)
        here.engine.operations.set_engine(action="resume", reason="over", by="ops")
    assert next(asked, None) is None
    found = here.case(invoice)
    if refused < 3:
        assert found["close_reason"] == "recovered_by_engine"
    else:
        assert (found["state"], here.engine_charges(invoice)) == ("in_review", [])


def test_every_turn_of_the_switch_is_kept_with_who_turned_it(engine_shop: EngineShop) -> None:
    engine = engine_shop.engine
    for action, by in (("pause", "ann"), ("resume", "bob"), ("pause", "cy")):
        engine.operations.set_engine(action=action, reason=f"{action} of {by}", by=by)
    log = engine.operations.engine_log()
    assert [(a["action"], a["by"], a["before"]["paused"]) for a in log["data"]] == [
        ("pause", "cy", False),
        ("resume", "bob", True),
        ("pause", "ann", False),
    ]
    assert (log["paused"], log["by"]) == (True, "cy")


# -- reasons to hold


def _disputed(here: EngineShop, customer: Any) -> None:
    act = {"customer": customer.id, "act": "dispute"}
    here.shop.http.post("/_sandbox/act", json=act).raise_for_status()
    here.works()


def _review(here: EngineShop) -> dict[str, Any]:
    [found] = here.engine.operations.list_reviews()["data"]
    return found  # type: ignore[no-any-return]


def test_a_dispute_on_a_held_case_is_one_more_reason_and_asks_anew(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    here.engine.operations.override(invoice.id, action="hold", reason="looks odd", by="ann")
    old = _review(here)
    _disputed(here, customer)
    new = _review(here)
    assert new["id"] != old["id"]
    assert new["reasons"][0] == "looks odd"
    assert "dispute" in new["reason"]
    with pytest.raises(Refused, match=f"a new reason came.*{new['id']}"):
        here.engine.operations.decide_review(old["id"], verdict="approve", reason="fine", by="ann")
    assert here.case(invoice)["state"] == "in_review"
    here.works()
    assert _review(here)["id"] == new["id"], "the same reason is not asked twice"
    here.engine.operations.decide_review(new["id"], verdict="approve", reason="fine", by="ann")
    here.works()
    assert here.case(invoice)["state"] == "open"


def test_a_verdict_clears_only_what_it_showed(engine_shop: EngineShop) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    here.engine.operations.override(invoice.id, action="hold", reason="looks odd", by="ann")
    shown = _review(here)
    with here.engine.database.transaction() as connection:
        connection.execute(
            text(
                "insert into risk_flags (object_id, kind, customer_id, at)"
                " select 'dp_unseen', 'dispute', customer_id, opened_at from cases"
            )
        )
    here.engine.operations.decide_review(shown["id"], verdict="approve", reason="fine", by="ann")
    here.works()
    assert here.case(invoice)["state"] == "in_review"
    assert "dp_unseen" in _review(here)["reason"]
    here.days_pass(customer, 5, step_hours=24)
    assert here.engine_charges(invoice) == []


@pytest.mark.parametrize("verdict", ["approve", "reject"])
@pytest.mark.parametrize("before", ["open", "paused", "paused while held", "claimed"])
def test_every_verdict_in_every_state_is_carried_out_or_refused_in_words(
    engine_shop: EngineShop, before: str, verdict: str
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "insufficient_funds", "succeeded")
    if before == "claimed":
        claimed_retry(here, customer)

    def act(name: str) -> None:
        here.engine.operations.override(invoice.id, action=name, reason=name, by="ann")

    if before == "paused":
        act("pause")
        _disputed(here, customer)
    else:
        act("hold")
    if before == "paused while held":
        act("pause")
    question = _review(here)

    def answer() -> None:
        here.engine.operations.decide_review(question["id"], verdict=verdict, reason="so", by="bob")

    if before == "paused while held" and verdict == "approve":
        with pytest.raises(Refused, match="resume it"):
            answer()
        act("resume")
        assert here.case(invoice)["state"] == "in_review"
    answer()
    state = here.case(invoice)["state"]
    wanted = "open" if verdict == "approve" and before != "paused" else "paused"
    assert state == wanted
    here.works()
    assert here.case(invoice)["state"] in (wanted, "closed")
    if wanted == "paused":
        here.days_pass(customer, 4, step_hours=24)
        assert here.case(invoice)["state"] == "paused"
        assert here.engine_charges(invoice) == []
