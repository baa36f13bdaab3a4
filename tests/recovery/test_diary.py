"""What happens to a failed invoice, told as diaries."""

from datetime import datetime, timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from sandbox_shop import Shop
from sqlalchemy import text

from retry_engine.domain.errors import AttemptRefused, BadRequest, Refused, TransitionRefused
from retry_engine.store import inbox as stored

pytestmark = pytest.mark.integration


def _state(case: dict[str, Any]) -> tuple[str, str | None]:
    return case["state"], case["close_reason"]


def test_an_empty_account_is_charged_after_payday_and_the_case_closes(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    case = engine_shop.case(invoice)
    assert case["state"] == "open"
    assert case["next_action"]["kind"] == "retry"
    assert case["decisions"][-1]["explanation"]

    engine_shop.days_pass(customer, 29)

    case = engine_shop.case(invoice)
    assert _state(case) == ("closed", "recovered_by_engine")
    assert case["attempts_made"] == 1
    assert [t["outcome"] for t in engine_shop.engine_charges(invoice)] == ["succeeded"]


def test_the_invoice_is_taken_over_so_that_stripe_does_not_retry_it_as_well(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("do_not_honor")
    taken = engine_shop.shop.stripe.v1.invoices.retrieve(invoice.id)
    assert taken.auto_advance is False
    engine_shop.days_pass(customer, 10, step_hours=24)
    sources = [t["source"] for t in engine_shop.shop.ledger(invoice)]
    assert sources.count("stripe") == 1


def test_a_declined_retry_is_planned_again_two_days_later_at_the_earliest(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("do_not_honor", "do_not_honor", "do_not_honor")
    engine_shop.days_pass(customer, 28)
    charges = engine_shop.shop.ledger(invoice)
    assert len(charges) >= 3
    gaps = [b["at"] - a["at"] for a, b in pairwise(charges)]
    assert min(gaps) >= 48 * 3600


def test_a_case_that_stays_unpaid_is_given_up_and_handed_back(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("do_not_honor")
    engine_shop.days_pass(customer, 31, step_hours=12)
    assert _state(engine_shop.case(invoice)) == ("closed", "exhausted")
    assert engine_shop.shop.stripe.v1.invoices.retrieve(invoice.id).auto_advance is True


def test_a_lost_card_waits_for_the_customer_and_a_new_one_is_charged_at_once(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("lost_card")
    assert engine_shop.case(invoice)["state"] == "needs_customer"
    engine_shop.days_pass(customer, 3, step_hours=24)
    assert engine_shop.engine_charges(invoice) == []

    new = engine_shop.another_method(customer, "succeeded")
    engine_shop.shop.stripe.v1.customers.update(
        customer.id, {"invoice_settings": {"default_payment_method": new.id}}
    )
    engine_shop.works()
    engine_shop.days_pass(customer, 1)

    assert _state(engine_shop.case(invoice)) == ("closed", "recovered_by_engine")
    assert [t["payment_method"] for t in engine_shop.engine_charges(invoice)] == [new.id]


def test_a_backup_is_charged_after_a_definite_decline(engine_shop: EngineShop) -> None:
    customer, default = engine_shop.shop.customer_with("succeeded", "expired_card")
    backup = engine_shop.another_method(customer, "succeeded")
    engine_shop.shop.subscribed(customer)
    engine_shop.shop.advances(customer, days=31, hours=2)
    engine_shop.works()
    invoice = engine_shop.shop.newest_invoice(customer)
    engine_shop.days_pass(customer, 2)
    assert [t["payment_method"] for t in engine_shop.shop.ledger(invoice)] == [
        default.id,
        backup.id,
    ]
    assert _state(engine_shop.case(invoice)) == ("closed", "recovered_by_engine")


def test_no_backup_is_charged_where_the_policy_forbids_it(
    shop: Shop, database_url: str, redis_url: str, tmp_path: Any
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[methods]\ncharge_backups = false\n")
    time = RealTime()
    with build_engine(
        shop, database_url, redis_url, time, RETRY_ENGINE_CONFIG=str(policy)
    ) as engine:
        here = EngineShop(shop, engine, time)
        customer, _ = shop.customer_with("succeeded", "expired_card")
        here.another_method(customer, "succeeded")
        shop.subscribed(customer)
        shop.advances(customer, days=31, hours=2)
        here.works()
        invoice = shop.newest_invoice(customer)
        here.days_pass(customer, 5, step_hours=24)
        assert here.engine_charges(invoice) == []
        assert here.case(invoice)["state"] == "needs_customer"


def test_authentication_waits_for_the_customer(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("authentication_required")
    assert engine_shop.case(invoice)["state"] == "needs_customer"
    engine_shop.days_pass(customer, 5, step_hours=24)
    assert engine_shop.engine_charges(invoice) == []


def test_a_bank_debit_is_processing_until_its_event_comes(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded", kind="sepa_debit")
    # the first debit itself takes days to come back
    engine_shop.days_pass(customer, 8)
    for _ in range(12):
        if engine_shop.engine_charges(invoice):
            break
        engine_shop.days_pass(customer, 2)
    assert engine_shop.case(invoice)["state"] == "processing"
    with pytest.raises(TransitionRefused):
        engine_shop.engine.operations.override(
            invoice.id, action="retry", reason="again", by="a person"
        )
    engine_shop.days_pass(customer, 8)
    assert _state(engine_shop.case(invoice)) == ("closed", "recovered_by_engine")
    assert len(engine_shop.engine_charges(invoice)) == 1


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("void", "voided"),
        ("mark_uncollectible", "uncollectible"),
        ("pay_elsewhere", "recovered_elsewhere"),
        ("cancel", "subscription_ended"),
    ],
)
def test_what_ends_outside_ends_the_case(engine_shop: EngineShop, act: str, reason: str) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    stripe = engine_shop.shop.stripe.v1
    if act == "void":
        stripe.invoices.void_invoice(invoice.id)
    elif act == "mark_uncollectible":
        stripe.invoices.mark_uncollectible(invoice.id)
    elif act == "pay_elsewhere":
        stripe.invoices.pay(invoice.id, {"paid_out_of_band": True})
    else:
        stripe.subscriptions.cancel(invoice.parent.subscription_details.subscription)
    engine_shop.works()
    assert _state(engine_shop.case(invoice)) == ("closed", reason)
    engine_shop.days_pass(customer, 29, step_hours=24)
    assert engine_shop.engine_charges(invoice) == []


def test_a_dispute_holds_the_customers_cases_for_a_person(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    engine_shop.shop.http.post(
        "/_sandbox/act", json={"customer": customer.id, "act": "dispute"}
    ).raise_for_status()
    engine_shop.works()
    assert engine_shop.case(invoice)["state"] == "in_review"
    engine_shop.days_pass(customer, 20, step_hours=24)
    assert engine_shop.engine_charges(invoice) == []

    [review] = engine_shop.engine.operations.list_reviews()["data"]
    engine_shop.engine.operations.decide_review(
        review["id"], verdict="approve", reason="a misunderstanding", by="a person"
    )
    engine_shop.works()
    assert engine_shop.case(invoice)["state"] == "open"


def test_a_rejected_review_pauses_the_case(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    engine_shop.engine.operations.override(
        invoice.id, action="hold", reason="looks odd", by="a person"
    )
    [review] = engine_shop.engine.operations.list_reviews()["data"]
    assert review["proposal"]["action"] == "retry"
    engine_shop.engine.operations.decide_review(
        review["id"], verdict="reject", reason="leave them alone", by="a person"
    )
    engine_shop.days_pass(customer, 20, step_hours=24)
    assert engine_shop.case(invoice)["state"] == "paused"
    assert engine_shop.engine_charges(invoice) == []


def test_a_paused_case_is_not_charged_and_a_resumed_one_is(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    engine_shop.engine.operations.override(
        invoice.id, action="pause", reason="a call", by="a person"
    )
    engine_shop.days_pass(customer, 12, step_hours=24)
    assert engine_shop.engine_charges(invoice) == []
    assert engine_shop.engine.health.status()["actions_due"] == 0

    engine_shop.engine.operations.override(
        invoice.id, action="resume", reason="done", by="a person"
    )
    engine_shop.days_pass(customer, 17)
    case = engine_shop.case(invoice)
    assert _state(case) == ("closed", "recovered_by_engine")
    assert [o["action"] for o in case["overrides"]] == ["pause", "resume"]
    assert case["overrides"][0]["before"]["state"] == "open"


def test_a_paused_engine_charges_nothing_and_says_that_its_work_is_planned(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    engine_shop.engine.operations.set_engine(action="pause", reason="an incident", by="a person")
    engine_shop.days_pass(customer, 20, step_hours=24)
    status = engine_shop.engine.health.status()
    assert (status["actions_due"], status["paused"]) == (0, True)
    assert engine_shop.engine_charges(invoice) == []
    with pytest.raises(Refused, match="paused"):
        engine_shop.engine.operations.override(
            invoice.id, action="retry", reason="now", by="a person"
        )
    engine_shop.engine.operations.set_engine(action="resume", reason="over", by="a person")
    engine_shop.days_pass(customer, 9)
    assert _state(engine_shop.case(invoice)) == ("closed", "recovered_by_engine")


def test_a_retry_found_days_late_is_planned_anew_rather_than_carried_out(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    planned = engine_shop.case(invoice)["next_action"]["at"]
    now = engine_shop.case(invoice)["clock"]["now"]
    late = datetime.fromisoformat(planned) - datetime.fromisoformat(now) + timedelta(days=2)
    engine_shop.shop.advances(customer, hours=late.total_seconds() / 3600)
    engine_shop.works()
    case = engine_shop.case(invoice)
    if case["attempts_made"]:  # planned anew, and the new plan was to charge at once
        assert len(case["decisions"]) >= 2
    else:
        assert case["next_action"]["at"] != planned


def test_a_person_cannot_retry_against_the_rules(engine_shop: EngineShop) -> None:
    _, _, invoice = engine_shop.fails("lost_card", "succeeded")
    engine_shop.another_method(_customer_of(invoice), "succeeded")
    engine_shop.works()
    lost = engine_shop.case(invoice)["attempts"][0]["payment_method"]
    with pytest.raises(AttemptRefused, match=r"hard_decline|visa_never"):
        engine_shop.engine.operations.override(
            invoice.id, action="retry", reason="now!", by="a person", payment_method=lost
        )
    assert engine_shop.engine_charges(invoice) == []


def _customer_of(invoice: Any) -> Any:
    return SimpleNamespace(id=invoice.customer)


@pytest.mark.parametrize("minutes", [6, 60 * 24 * 365])
def test_a_retry_at_a_past_moment_is_a_mistake(engine_shop: EngineShop, minutes: int) -> None:
    _, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    now = datetime.fromisoformat(engine_shop.case(invoice)["clock"]["now"])
    with pytest.raises(BadRequest, match="is past"):
        engine_shop.engine.operations.override(
            invoice.id,
            action="retry",
            reason="typed",
            by="ops",
            at=now - timedelta(minutes=minutes),
        )
    engine_shop.works()
    assert engine_shop.engine_charges(invoice) == []
    engine_shop.engine.operations.override(
        invoice.id, action="retry", reason="now", by="ops", at=now - timedelta(minutes=4)
    )
    engine_shop.works()
    assert len(engine_shop.engine_charges(invoice)) == 1


def test_a_person_is_warned_of_our_own_pacing_and_done_their_will(engine_shop: EngineShop) -> None:
    _, method, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    found = engine_shop.engine.operations.override(
        invoice.id, action="retry", reason="they rang", by="a person", payment_method=method.id
    )
    assert any("gap_on_card" in warning for warning in found["warnings"])
    assert found["overrides"][-1]["after"]["warnings"] == found["warnings"]
    engine_shop.works()
    assert _state(engine_shop.case(invoice)) == ("closed", "recovered_by_engine")


def test_shadow_writes_nothing_to_stripe_and_records_what_it_would_have_done(
    shop: Shop, database_url: str, redis_url: str
) -> None:
    time = RealTime()
    with build_engine(shop, database_url, redis_url, time, RETRY_ENGINE_MODE="shadow") as engine:
        here = EngineShop(shop, engine, time)
        customer, _, invoice = here.fails("insufficient_funds", "insufficient_funds", "succeeded")
        case = here.case(invoice)
        assert (case["mode"], case["state"]) == ("shadow", "open")
        assert case["decisions"][-1]["kind"] == "retry"
        here.days_pass(customer, 20)
        assert here.engine_charges(invoice) == []
        case = here.case(invoice)
        assert _state(case) == ("closed", "recovered_elsewhere")
        assert {a["source"] for a in case["attempts"]} == {"stripe"}
        assert shop.stripe.v1.invoices.retrieve(invoice.id).auto_advance is not False


def test_nothing_is_planned_near_an_attempt_of_stripes_own(
    shop: Shop, database_url: str, redis_url: str
) -> None:
    time = RealTime()
    with build_engine(shop, database_url, redis_url, time, RETRY_ENGINE_MODE="shadow") as engine:
        here = EngineShop(shop, engine, time)
        _, _, invoice = here.fails("processing_error")
        planned = datetime.fromisoformat(here.case(invoice)["next_action"]["at"])
        theirs = shop.stripe.v1.invoices.retrieve(invoice.id).next_payment_attempt
        assert theirs is not None
        assert abs(planned.timestamp() - theirs) >= 12 * 3600


def test_the_holdout_is_left_to_stripe(
    shop: Shop, database_url: str, redis_url: str, tmp_path: Any
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[comparison]\nholdout = 1.0\n")
    time = RealTime()
    with build_engine(
        shop, database_url, redis_url, time, RETRY_ENGINE_CONFIG=str(policy)
    ) as engine:
        here = EngineShop(shop, engine, time)
        customer, _, invoice = here.fails("insufficient_funds", "succeeded")
        case = here.case(invoice)
        assert (case["mode"], case["decisions"]) == ("holdout", [])
        here.days_pass(customer, 5)
        assert _state(here.case(invoice)) == ("closed", "recovered_elsewhere")
        with pytest.raises(Refused):
            engine.operations.override(invoice.id, action="retry", reason="now", by="a person")


def test_collection_paused_in_stripe_pauses_the_case_until_it_goes_on(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    subscription = invoice.parent.subscription_details.subscription
    subscriptions = engine_shop.shop.stripe.v1.subscriptions
    subscriptions.update(subscription, {"pause_collection": {"behavior": "keep_as_draft"}})
    engine_shop.works()
    assert engine_shop.case(invoice)["state"] == "paused"
    engine_shop.days_pass(customer, 8, step_hours=24)
    assert engine_shop.engine_charges(invoice) == []
    subscriptions.update(subscription, {"pause_collection": ""})
    engine_shop.works()
    assert engine_shop.case(invoice)["state"] == "open"


@pytest.mark.parametrize("fault", ["drop_after", "error_after", "drop_before", "error_before"])
def test_an_answer_that_is_lost_is_found_out_and_never_charged_twice(
    engine_shop: EngineShop, fault: str
) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    engine_shop.shop.faults(api=[{"fault": fault, "on": "*/pay", "times": 4}])
    engine_shop.days_pass(customer, 29)
    for _ in range(6):
        engine_shop.time.passes(minutes=2)
        engine_shop.works()
    engine_shop.days_pass(customer, 1.9)
    case = engine_shop.case(invoice)
    paid = [t for t in engine_shop.shop.ledger(invoice) if t["outcome"] == "succeeded"]
    assert len(paid) == 1
    assert _state(case) == ("closed", "recovered_by_engine")


def test_an_event_that_comes_twice_or_late_changes_nothing(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    engine_shop.days_pass(customer, 29)
    before = engine_shop.case(invoice)
    engine_shop.delivered = 0  # everything is delivered again, under new ids of the same content
    for number, event in enumerate(engine_shop.shop.inbox.events()):
        payload = {**event, "id": f"evt_again{number}"}
        engine_shop.sends(payload)
    engine_shop.works()
    after = engine_shop.case(invoice)
    assert (after["attempts"], after["state"]) == (before["attempts"], before["state"])
    cases = engine_shop.engine.operations.list_cases()["data"]
    assert [c["invoice"] for c in cases] == [invoice.id]


def test_an_event_of_a_connected_account_is_kept_apart(engine_shop: EngineShop) -> None:
    _, _, invoice = engine_shop.fails("insufficient_funds")
    event = next(
        e for e in engine_shop.shop.inbox.events() if e["type"] == "invoice.payment_failed"
    )
    engine_shop.sends({**event, "account": "acct_other"})
    engine_shop.works()
    # that account has no such invoice: nothing is opened, and ours is as it was
    assert len(engine_shop.engine.operations.list_cases()["data"]) == 1
    assert engine_shop.engine.health.status()["inbox_pending"] == 0
    assert engine_shop.case(invoice)["account"] is None


def test_an_event_that_cannot_be_handled_ends_among_the_dead_and_can_be_replayed(
    engine_shop: EngineShop,
) -> None:
    broken = {
        "id": "evt_broken",
        "object": "event",
        "type": "charge.failed",
        "data": {"object": {"id": "ch_1", "object": "charge", "payment_intent": "pi\x01"}},
        "request": ["not", "an", "object"],
    }
    engine_shop.sends(broken)
    for _ in range(10):
        engine_shop.works()
        engine_shop.time.passes(minutes=10)
    [dead] = engine_shop.engine.operations.dead_letters()
    assert dead["event_id"] == "evt_broken"
    assert dead["last_error"]
    engine_shop.engine.operations.replay_event("evt_broken")
    assert engine_shop.engine.health.status()["inbox_pending"] == 1


@pytest.mark.parametrize(
    "payload",
    [
        f'{{"created": {"9" * 5000}}}',
        '{"created": 1e131071}',
        "[1]",
        '"text"',
        "[" * 500 + "]" * 500,
    ],
    ids=["digits", "exponent", "list", "text", "depth"],
)
def test_a_row_that_cannot_be_read_is_dead_with_its_reason_and_holds_up_no_other(
    engine_shop: EngineShop, payload: str
) -> None:
    engine_shop.shop.failed_renewal("insufficient_funds")
    engine_shop.deliver_webhooks()
    with engine_shop.engine.database.transaction() as connection:
        connection.execute(
            text(
                "insert into inbox (id, event_id, type, payload, received_at)"
                " values ('row_0', 'evt_0', 'invoice.paid', cast(:payload as jsonb), '2020-01-01')"
            ),
            {"payload": payload},
        )
    with engine_shop.engine.database.transaction() as connection:
        waiting = stored.waiting(connection, now=engine_shop.time.now, limit=100)
    engine_shop.engine.worker.process_events(waiting)
    status = engine_shop.engine.health.status()
    assert (status["inbox_pending"], status["events_dead"], status["cases_open"]) == (0, 1, 1)
    [dead] = engine_shop.engine.operations.dead_letters()
    assert (dead["event_id"], dead["tries"]) == ("evt_0", 1)
    assert "cannot be read" in dead["last_error"]


def test_old_events_go_and_those_nobody_handled_keep_only_what_they_are_about(
    engine_shop: EngineShop,
) -> None:
    engine_shop.fails("insufficient_funds")
    with engine_shop.engine.database.transaction() as connection:
        for state in ("dead", "pending"):
            connection.execute(
                text(
                    "insert into inbox (id, event_id, type, object_id, state, payload, received_at,"
                    " next_try_at) values (:state, 'evt_1', 'customer.updated', 'cus_1', :state,"
                    """ '{"data": {"object": {"email": "maria@example.com"}}}', '2030-01-01',"""
                    " '2039-01-01')"
                ),
                {"state": state},
            )
        connection.execute(text("update inbox set processed_at = '2030-01-06' where state='done'"))

    def kept(after: float) -> list[tuple[str, bool]]:
        engine_shop.time.passes(days=after)
        engine_shop.engine.worker.housekeeping()
        with engine_shop.engine.database.connection() as connection:
            found = connection.execute(
                text("select state, payload::text like '%maria%' from inbox order by state")
            )
            return list(dict.fromkeys((row[0], row[1]) for row in found))

    everything = [("dead", True), ("done", False), ("pending", True)]
    assert kept(after=80) == everything
    assert kept(after=11) == [("dead", True), ("pending", True)]
    assert kept(after=91) == [("dead", False), ("pending", True)]
    [dead] = engine_shop.engine.operations.dead_letters()
    assert (dead["event_id"], dead["object_id"]) == ("evt_1", "cus_1")
