"""What is not there any more ends, named; what does not answer keeps nobody else waiting."""

from datetime import timedelta
from typing import Any

import pytest
from engine_shop import EngineShop
from ports import port
from sqlalchemy import text

from retry_engine.domain.errors import StripeForbidden, StripeUnavailable
from retry_engine.store import breakers, schedule
from retry_engine.store import inbox as stored

pytestmark = pytest.mark.integration


def _event(name: str, *, account: str = "", livemode: bool = False) -> dict[str, Any]:
    return {
        "id": f"evt_{name}",
        "object": "event",
        **({"account": account} if account else {}),
        "type": "invoice.payment_failed",
        "livemode": livemode,
        "created": 1,
        "data": {"object": {"id": f"in_{name}", "object": "invoice"}},
        "request": {"id": None, "idempotency_key": None},
    }


def _deliver(here: EngineShop, *events: dict[str, Any]) -> None:
    here.sends(*events)


def _hours_pass(here: EngineShop, hours: int) -> None:
    for _ in range(hours):
        here.works()
        here.time.passes(hours=1)


def test_the_cases_of_a_deleted_test_clock_end(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds")
    engine_shop.shop.stripe.v1.test_helpers.test_clocks.delete(customer.test_clock)
    engine_shop.works()

    case = engine_shop.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "subscription_ended")
    assert case["next_action"] is None
    status = engine_shop.engine.health.status()
    assert [status[k] for k in ("inbox_pending", "actions_due", "actions_in_flight")] == [0, 0, 0]


def test_a_deleted_clock_is_found_without_its_event(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds")
    engine_shop.shop.stripe.v1.test_helpers.test_clocks.delete(customer.test_clock)
    engine_shop.shop.until_quiet()
    engine_shop.delivered = len(engine_shop.shop.inbox.events())  # all of it is lost
    engine_shop.time.passes(minutes=5)
    engine_shop.engine.worker.housekeeping()
    engine_shop.works()
    assert engine_shop.case(invoice)["state"] == "closed"


def test_the_cases_of_a_deleted_customer_end(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds")
    engine_shop.shop.stripe.v1.customers.delete(customer.id)
    engine_shop.works()
    case = engine_shop.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "subscription_ended")
    assert engine_shop.engine.health.status()["actions_in_flight"] == 0


def test_a_customer_of_whom_stripe_never_heard_proves_nothing(engine_shop: EngineShop) -> None:
    """The key may be that of another account."""
    _, _, invoice = engine_shop.fails("insufficient_funds")
    with engine_shop.engine.database.transaction() as connection:
        connection.execute(
            text(
                "update cases set invoice_id = 'in_nobody', customer_id = 'cus_nobody',"
                " test_clock = null"
            )
        )
        connection.execute(text("update actions set test_clock = null, due_at = '2026-01-01'"))
    engine_shop.works()
    assert engine_shop.engine.operations.show_case("in_nobody")["state"] != "closed"
    del invoice


def _withdraws(here: EngineShop) -> str:
    """A case of a connected account, which then takes our access away; its id."""
    _, _, invoice = here.fails("insufficient_funds")
    with here.engine.database.transaction() as connection:
        for table in ("cases", "attempts", "payment_methods", "clocks", "actions"):
            connection.execute(text(f"update {table} set account = 'acct_leaving'"))
    here.shop.client(stripe_account="acct_leaving").v1.customers.create({"name": "Somebody"})
    here.shop.http.post("/_sandbox/withdraw", json={"account": "acct_leaving"}).raise_for_status()
    return str(invoice.id)


def test_an_account_that_withdraws_ends_with_its_cases_and_events(engine_shop: EngineShop) -> None:
    invoice_id = _withdraws(engine_shop)
    _deliver(engine_shop, *(_event(f"w{i}", account="acct_leaving") for i in range(5)))
    engine_shop.works()
    assert engine_shop.engine.operations.show_case(invoice_id)["state"] == "open", (
        "one no is not believed"
    )
    _hours_pass(engine_shop, 4)

    case = engine_shop.engine.operations.show_case(invoice_id)
    assert (case["state"], case["close_reason"]) == ("closed", "stopped")
    status = engine_shop.engine.health.status()
    assert (status["inbox_pending"], status["actions_in_flight"], status["actions_due"]) == (
        0,
        0,
        0,
    )
    assert status["events_dead"] >= 5
    dead = engine_shop.engine.operations.dead_letters()
    assert all("withdrew" in event["last_error"] for event in dead)


def test_a_charge_of_an_account_that_withdrew_is_told_of_and_found_out_when_it_is_back(
    engine_shop: EngineShop,
) -> None:
    here, account = engine_shop, "acct_leaving"
    all_of_theirs: Any = {"url": here.shop.inbox.url, "connect": True, "enabled_events": ["*"]}
    here.shop.stripe.v1.webhook_endpoints.create(all_of_theirs)
    here.shop.stripe = here.shop.client(stripe_account=account)
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    real = here.engine.gateway.pay

    def pays_and_is_not_heard(*of: Any, **how: Any) -> Any:
        real(*of, **how)
        here.shop.sandbox.account(account).withdrawn = True
        raise StripeUnavailable("no answer")

    port(here.engine.gateway).from_now_on(pay=pays_and_is_not_heard)
    theirs = here.shop.sandbox.account(account)
    for _ in range(30):
        if not theirs.withdrawn:
            here.days_pass(customer, 0.5)
    assert theirs.withdrawn
    _plan_a_warning(here, account, customer.id)
    _hours_pass(here, 4)

    case = here.engine.operations.show_case(invoice.id)
    assert (case["close_reason"], case["attempts"][-1]["outcome"]) == ("stopped", "unknown")
    [row] = [check for check in here.engine.doctor.examine() if check.name == "outcomes"]
    assert (row.status, invoice.id in row.detail) == ("warn", True)
    assert here.engine.health.status()["outcomes_given_up"] == 1
    assert here.engine.health.totals()["held"]["outcome_given_up"] == 1
    assert _warnings(here) == [("dropped", True)], "nobody there is to be warned of a renewal"
    assert here.engine.health.invariants()["unknown_outcome_on_a_closed_case"] == 0

    theirs.withdrawn = False
    here.engine.operations.replay_event(account)
    here.time.passes(hours=1)
    here.works()
    assert here.engine.operations.show_case(invoice.id)["close_reason"] == "recovered_by_engine"
    assert here.engine.health.status()["outcomes_given_up"] == 0
    [row] = [check for check in here.engine.doctor.examine() if check.name == "outcomes"]
    assert row.status == "ok"


def _plan_a_warning(here: EngineShop, account: str, customer_id: str) -> None:
    with here.engine.database.transaction() as connection:
        connection.execute(
            text(
                "insert into renewals (account, customer_id, subscription_id, renews_at, method_id,"
                " amount, currency, due_at) values (:account, :customer, 'sub_x', '2031-01-01',"
                " 'pm_x', 100, 'eur', '2030-12-01')"
            ),
            {"account": account, "customer": customer_id},
        )


def _warnings(here: EngineShop) -> list[tuple[str, bool]]:
    """Of every planned warning: its state, and whether it says that the account withdrew."""
    with here.engine.database.connection() as connection:
        found = connection.execute(text("select state, result like '%withdrew%' from renewals"))
        return [(row[0], row[1]) for row in found]


@pytest.mark.parametrize("kind", ["retry", "message", "hand_back"])
def test_whatever_first_meets_what_was_deleted_ends_the_case_at_once(
    writing: EngineShop, kind: str
) -> None:
    """And not the next look at it, or the last of many failures."""
    here = writing
    customer, method, invoice = here.fails("insufficient_funds")
    here.days_pass(customer, 0.35)  # into the hours of writing
    plans = (
        "insert into actions (case_id, kind, due_at, test_clock, payment_method_id)"
        " select c.id, :kind, k.frozen_time, c.test_clock, :method"
        " from cases c join clocks k on k.id = c.test_clock returning id"
    )
    with here.engine.database.transaction() as connection:
        connection.execute(text("delete from actions"))
        planned = {"kind": kind, "method": method.id}
        action = connection.execute(text(plans), planned).scalar_one()
    here.shop.stripe.v1.test_helpers.test_clocks.delete(customer.test_clock)
    here.shop.until_quiet()
    here.delivered = len(here.shop.inbox.events())  # nobody says so
    here.engine.worker.dispatch()
    here.engine.worker.run_action(action)
    with here.engine.database.connection() as connection:
        query = "select state, failures, result from actions where id = :id"
        row = connection.execute(text(query), {"id": action}).one()
    assert tuple(row) == ("done", 0, "its test clock was deleted")
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "subscription_ended")
    assert here.engine.health.status()["actions_planned"] == 0


def test_a_connected_account_that_lets_us_do_nothing_for_a_day_has_withdrawn(
    engine_shop: EngineShop,
) -> None:
    engine_shop.shop.faults(forbidden=["invoices"])
    _deliver(engine_shop, _event("x", account="acct_gone"), _event("ours"))
    _hours_pass(engine_shop, 60)
    status = engine_shop.engine.health.status()
    assert status["events_dead"] == 1
    assert status["inbox_pending"] == 1, "our own key waits for its permission, however long"
    checks = {check.name: check for check in engine_shop.engine.doctor.examine()}
    assert checks["accounts"].status == "warn"

    engine_shop.shop.faults()
    engine_shop.engine.operations.replay_event("acct_gone")
    engine_shop.time.passes(hours=1)
    engine_shop.works()
    status = engine_shop.engine.health.status()
    assert (status["events_dead"], status["inbox_pending"]) == (0, 0)


@pytest.mark.parametrize("livemode", [True, False])
def test_events_of_the_other_mode_are_put_aside_aloud(
    engine_shop: EngineShop, livemode: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _deliver(engine_shop, _event("mode", livemode=livemode))
    engine_shop.works()
    status = engine_shop.engine.health.status()
    assert status["inbox_pending"] == 0
    assert status["events_aside"] == int(livemode)
    said = capsys.readouterr()
    assert ("livemode" in said.out + said.err) is livemode
    [check] = [c for c in engine_shop.engine.doctor.examine() if c.name == "events"]
    assert check.status == ("warn" if livemode else "ok")


# -- turns


def _crowd(here: EngineShop, account: str, cases: int, *, minutes_ago: int) -> None:
    with here.engine.database.transaction() as connection:
        version = connection.execute(text("select policy_version from cases limit 1")).scalar()
        values = {"a": account, "n": cases, "v": version, "now": here.time.now}
        connection.execute(
            text(
                "insert into cases (id, account, invoice_id, customer_id, state, mode,"
                " policy_version, amount_remaining, currency, opened_at, deadline_at)"
                " select 'case_'||:a||i, :a, 'in_'||i, 'cus_'||i, 'open', 'takeover', :v, 1000,"
                " 'usd', :now, cast(:now as timestamptz) + interval '30 days'"
                " from generate_series(1, :n) i"
            ),
            values,
        )
        connection.execute(
            text(
                "insert into actions (case_id, kind, due_at, account) select 'case_'||:a||i,"
                " 'refresh', cast(:now as timestamptz) - make_interval(mins => :ago), :a"
                " from generate_series(1, :n) i"
            ),
            {**values, "ago": minutes_ago},
        )


def _claims(here: EngineShop, *, limit: int = 100) -> dict[str, int]:
    with here.engine.database.transaction() as connection:
        ids = schedule.claim_due(
            connection,
            now=here.time.now,
            paused=False,
            shut=False,
            lease=timedelta(seconds=30),
            limit=limit,
        )
        found = connection.execute(
            text("select account, count(*) from actions where id = any(:ids) group by 1"),
            {"ids": ids},
        )
        return {row[0]: row[1] for row in found}


def test_a_crowd_of_one_account_keeps_no_other_waiting(engine_shop: EngineShop) -> None:
    engine_shop.fails("insufficient_funds")
    _crowd(engine_shop, "acct_large", 5000, minutes_ago=60)
    _crowd(engine_shop, "acct_small", 10, minutes_ago=1)
    assert _claims(engine_shop)["acct_small"] == 10
    assert _claims(engine_shop)["acct_large"] == 100, "what nobody else needs is not left lying"


def test_events_of_one_account_keep_no_other_waiting(engine_shop: EngineShop) -> None:
    crowd = [_event(f"l{number}", account="acct_large") for number in range(300)]
    _deliver(engine_shop, *crowd, _event("s", account="acct_small"))
    with engine_shop.engine.database.transaction() as connection:
        waiting = stored.waiting(connection, now=engine_shop.time.now, limit=100)
    assert "acct_small:evt_s" in waiting


def test_an_account_that_refuses_all_is_not_asked_a_thousand_times(engine_shop: EngineShop) -> None:
    engine_shop.fails("insufficient_funds", "succeeded")
    _crowd(engine_shop, "acct_gone", 1000, minutes_ago=60)
    _crowd(engine_shop, "acct_well", 10, minutes_ago=1)
    asked = {"acct_gone": 0, "acct_well": 0}

    def invoice(account: str, _: str) -> Any:
        asked[account] += 1
        raise StripeForbidden("403")

    published: list[int] = []
    port(engine_shop.engine.broker).from_now_on(publish_actions=published.extend)
    port(engine_shop.engine.gateway).from_now_on(invoice=invoice)
    for _ in range(60):
        engine_shop.time.passes(seconds=1)
        engine_shop.engine.worker.dispatch()
        ids, published[:] = list(published), []
        for action_id in ids:
            engine_shop.engine.worker.run_action(action_id)
    assert asked["acct_gone"] < 12
    assert asked["acct_well"] >= 5, "the other account has its own breaker"
    with engine_shop.engine.database.connection() as connection:
        held = connection.execute(text("select count(*) from actions where held")).scalar_one()
    assert held < 20, "what waits for an account lies in nobody's hands"


def test_any_answer_closes_the_breaker(engine_shop: EngineShop) -> None:
    _, _, invoice = engine_shop.fails("insufficient_funds")
    engine_shop.shop.faults(forbidden=["invoices"])
    for number in range(8):
        _deliver(engine_shop, _event(f"f{number}"))
        engine_shop.works()
    with engine_shop.engine.database.transaction() as connection:
        assert breakers.is_closed_to_us(connection, "", now=engine_shop.time.now)
    engine_shop.shop.faults()
    engine_shop.time.passes(minutes=6)
    engine_shop.works()
    engine_shop.time.passes(minutes=6)
    engine_shop.works()
    with engine_shop.engine.database.transaction() as connection:
        assert breakers.open_ones(connection) == []
    assert engine_shop.engine.health.status()["inbox_pending"] == 0
    del invoice


# -- claims are not failures


def test_what_no_worker_took_up_is_no_failure(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    action = None
    while action is None:
        engine_shop.shop.advances(customer, hours=12)
        engine_shop.works(leave="retry")
        with engine_shop.engine.database.connection() as connection:
            action = connection.execute(
                text("select id from actions where kind = 'retry' and state = 'claimed'")
            ).scalar()
    for _ in range(20):
        engine_shop.time.passes(seconds=31)
        engine_shop.engine.worker.dispatch()
    real, times = engine_shop.engine.gateway.invoice, 0

    def hiccup(*arguments: Any) -> Any:
        nonlocal times
        times += 1
        if times == 1:
            raise RuntimeError("a hiccup")
        return real(*arguments)

    port(engine_shop.engine.gateway).from_now_on(invoice=hiccup)
    engine_shop.engine.worker.run_action(action)
    assert engine_shop.case(invoice)["state"] == "open"
    engine_shop.time.passes(seconds=5)
    engine_shop.works()
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"


def test_waiting_for_stripe_does_not_count_towards_an_events_death(
    engine_shop: EngineShop,
) -> None:
    _deliver(engine_shop, _event("patient"))
    with engine_shop.engine.database.transaction() as connection:
        connection.execute(text("update inbox set tries = 40"))
        [event] = stored.claim(
            connection, [":evt_patient"], now=engine_shop.time.now, lease=timedelta(seconds=30)
        )
        state = stored.fail(
            connection, event, error="a hiccup", now=engine_shop.time.now, transient=False
        )
    assert state == "pending"
