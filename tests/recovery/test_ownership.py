"""No invoice is left with nobody: it is paid, Stripe's own again, or a person is told of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from ports import port
from sandbox_shop import Shop
from sqlalchemy import text

from retry_engine.app.checks import Check
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.errors import Refused, StripeRejected
from retry_engine.recovery.gateway import PayResult

pytestmark = pytest.mark.integration

Making = Callable[..., EngineShop]


@pytest.fixture
def with_policy(shop: Shop, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Making]:
    """An engine on that policy file, with further settings."""
    made = []

    def make(policy: str, **environment: Any) -> EngineShop:
        file, time = tmp_path / "policy.toml", RealTime()
        file.write_text(policy)
        environment["RETRY_ENGINE_CONFIG"] = str(file)
        engine = build_engine(shop, database_url, redis_url, time, **environment)
        made.append(engine)
        return EngineShop(shop, engine, time)

    yield make
    for engine in made:
        engine.close()


def _act(here: EngineShop, invoice: Any, action: str) -> None:
    here.engine.operations.override(invoice.id, action=action, reason="a test", by="ann")
    here.works()


def _disputed(here: EngineShop, customer: Any) -> None:
    act = {"customer": customer.id, "act": "dispute"}
    here.shop.http.post("/_sandbox/act", json=act).raise_for_status()
    here.works()


def _is_stripes_own(here: EngineShop, invoice: Any) -> bool:
    return bool(here.shop.stripe.v1.invoices.retrieve(invoice.id).auto_advance)


def _held(here: EngineShop, how: str) -> tuple[str, ...]:
    return here.engine.health.held()[how].invoices


def _row(here: EngineShop, name: str) -> Check:
    (found,) = [check for check in here.engine.doctor.examine() if check.name == name]
    return found


def _nothing_is_broken(here: EngineShop) -> bool:
    return not any(here.engine.health.invariants().values())


# -- reviews that nobody answers


def test_an_unanswered_review_is_shown_as_overdue_and_ends_with_its_case(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds")
    _act(here, invoice, "hold")
    assert here.engine.operations.list_reviews()["data"][0]["overdue"] is False
    here.days_pass(customer, 4, step_hours=96)
    assert here.engine.operations.list_reviews()["data"][0]["overdue"] is True
    assert here.engine.health.living()["reviews_overdue"] == 1
    row = _row(here, "reviews")
    assert row.status == "warn"
    assert invoice.id in row.detail
    here.days_pass(customer, 27, step_hours=24 * 27)
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "stopped")
    assert (case["overrides"][-1]["action"], case["overrides"][-1]["by"]) == (
        "release", "the policy",
    )  # fmt: skip
    assert _is_stripes_own(here, invoice)
    assert here.engine_charges(invoice) == []
    assert invoice.id not in _held(here, "living")
    assert _nothing_is_broken(here)


@pytest.mark.parametrize(
    ("unanswered", "state", "given_back"),
    [("reject", "paused", False), ("release", "closed", True), ("stop", "closed", False)],
)
def test_an_unanswered_review_comes_to_what_the_policy_file_says(
    with_policy: Making, unanswered: str, state: str, given_back: bool
) -> None:
    here = with_policy(f'[review]\nunanswered = "{unanswered}"\n')
    customer, _, invoice = here.fails("insufficient_funds")
    _act(here, invoice, "hold")
    (review,) = here.engine.operations.list_reviews()["data"]
    here.days_pass(customer, 3.1, step_hours=75)
    case = here.case(invoice)
    assert case["state"] == state
    act = case["overrides"][-1]
    assert (act["action"], act["by"]) == (unanswered, "the policy")
    assert (act["before"]["state"], act["after"]["state"]) == ("in_review", state)
    with pytest.raises(Refused, match="rejected"):
        here.engine.operations.decide_review(
            review["id"], verdict="approve", reason="late", by="ann"
        )
    assert _is_stripes_own(here, invoice) is given_back
    here.days_pass(customer, 28, step_hours=24 * 28)
    assert here.case(invoice)["state"] == "closed"
    assert _is_stripes_own(here, invoice) is (unanswered != "stop")
    assert _held(here, "kept_off_by_decision") == ((invoice.id,) if unanswered == "stop" else ())
    assert here.engine_charges(invoice) == []
    assert _nothing_is_broken(here)


def test_a_persons_answer_comes_before_the_policys(with_policy: Making) -> None:
    here = with_policy('[review]\nunanswered = "stop"\n')
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    _act(here, invoice, "hold")
    (review,) = here.engine.operations.list_reviews()["data"]
    here.shop.advances(customer, hours=75)
    here.engine.operations.decide_review(review["id"], verdict="approve", reason="fine", by="ann")
    here.works()
    case = here.case(invoice)
    assert case["state"] != "in_review"
    assert case["close_reason"] != "stopped"
    assert [o["by"] for o in case["overrides"]] == ["ann", "ann"]


@pytest.mark.parametrize("unanswered", ["wait", "reject", "release", "stop"])
def test_a_dispute_that_nobody_looks_at_is_never_approved(
    with_policy: Making, unanswered: str
) -> None:
    here = with_policy(f'[review]\nunanswered = "{unanswered}"\n')
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    _disputed(here, customer)
    here.days_pass(customer, 31, step_hours=24 * 15.5)
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "stopped")
    assert here.engine_charges(invoice) == []
    assert not _is_stripes_own(here, invoice)
    how = "kept_off_by_decision" if unanswered == "stop" else "kept_from_stripe"
    assert _held(here, how) == (invoice.id,)
    assert _nothing_is_broken(here)


# -- pauses that nobody ends


@pytest.mark.parametrize(
    ("code", "policy", "ends_with"),
    [
        ("insufficient_funds", "", "given back"),
        ("lost_card", "", "kept_from_stripe"),
        ("insufficient_funds", "[end]\nhand_back = false\n", "kept_off_by_decision"),
    ],
)
def test_a_pause_that_nobody_ends_lasts_until_the_cases_deadline(
    with_policy: Making, code: str, policy: str, ends_with: str
) -> None:
    here = with_policy(policy)
    customer, _, invoice = here.fails(code)
    _act(here, invoice, "pause")
    here.days_pass(customer, 29, step_hours=24 * 29)
    assert here.case(invoice)["state"] == "paused"
    here.days_pass(customer, 2, step_hours=48)
    assert here.case(invoice)["close_reason"] == "stopped"
    assert _is_stripes_own(here, invoice) is (ends_with == "given back")
    if ends_with != "given back":
        assert _held(here, ends_with) == (invoice.id,)
    row = _row(here, "invoices held")
    assert (row.status, invoice.id in row.detail) == (
        ("warn", True) if ends_with == "kept_from_stripe" else ("ok", False)
    )
    assert _nothing_is_broken(here)


def test_a_collection_paused_in_stripe_does_not_keep_the_invoice_for_ever(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds")
    here.shop.stripe.v1.subscriptions.update(
        here.case(invoice)["subscription"], {"pause_collection": {"behavior": "void"}}
    )
    here.works()
    assert here.case(invoice)["state"] == "paused"
    here.days_pass(customer, 31, step_hours=24 * 31)
    assert here.case(invoice)["close_reason"] == "stopped"
    # whoever paused the collection wants nothing charged, by Stripe either: a person is told
    assert not _is_stripes_own(here, invoice)
    assert _held(here, "kept_from_stripe") == (invoice.id,)


def test_what_a_person_rejected_is_not_given_to_stripe_at_the_deadline(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds")
    _act(here, invoice, "hold")
    (review,) = here.engine.operations.list_reviews()["data"]
    here.engine.operations.decide_review(
        review["id"], verdict="reject", reason="not theirs", by="ann"
    )
    here.days_pass(customer, 31, step_hours=24 * 31)
    assert here.case(invoice)["close_reason"] == "stopped"
    assert not _is_stripes_own(here, invoice)
    assert _held(here, "kept_off_by_decision") == (invoice.id,)


def test_a_note_says_that_somebody_knows(engine_shop: EngineShop) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("lost_card")
    here.days_pass(customer, 31, step_hours=24 * 31)
    assert _held(here, "kept_from_stripe") == (invoice.id,)
    _act(here, invoice, "note")
    assert _held(here, "kept_from_stripe") == ()
    assert _held(here, "kept_off_by_decision") == (invoice.id,)


def test_an_invoice_that_was_kept_off_and_is_paid_later_is_held_no_more(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    _act(here, invoice, "stop")
    assert _held(here, "kept_off_by_decision") == (invoice.id,)
    here.shop.advances(customer, hours=72)
    here.shop.stripe.v1.invoices.pay(invoice.id)
    here.works()
    assert _held(here, "kept_off_by_decision") == ()


# -- an engine that is paused


def test_what_fails_while_the_engine_is_paused_stays_stripes_until_it_is_resumed(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    _, _, before = here.fails("insufficient_funds")
    here.engine.operations.set_engine(action="pause", reason="an incident", by="ops")
    _, _, invoice = here.fails("insufficient_funds", "succeeded")
    assert _is_stripes_own(here, invoice)
    row = _row(here, "invoices held")
    assert (row.status, before.id in row.detail, invoice.id in row.detail) == ("warn", True, False)
    here.engine.operations.set_engine(action="resume", reason="over", by="ops")
    here.works()
    assert not _is_stripes_own(here, invoice)
    assert set(_held(here, "living")) == {before.id, invoice.id}
    assert _nothing_is_broken(here)


@pytest.mark.parametrize("why", ["paused", "shadow"])
def test_an_end_that_waits_for_the_engine_is_counted_and_told(
    with_policy: Making, why: str
) -> None:
    """All was tried, and what was to follow may not be done: the invoice is with nobody."""
    policy = '[end]\nsubscription = "cancel"\n'
    here = with_policy(policy)
    customer, _, invoice = here.fails("lost_card")
    if why == "paused":
        here.engine.operations.set_engine(action="pause", reason="an incident", by="ops")
    else:
        delivered = here.delivered
        here = with_policy(policy, RETRY_ENGINE_MODE="shadow")
        here.delivered = delivered
    here.days_pass(customer, 31, step_hours=24 * 31)
    assert here.case(invoice)["close_reason"] == "exhausted"
    assert _held(here, "end_waits") == (invoice.id,)
    assert here.engine.health.totals()["held"]["end_waits"] == 1
    row = _row(here, "invoices held")
    assert (row.status, "their end waits" in row.detail, invoice.id in row.detail) == (
        "warn", True, True,
    )  # fmt: skip
    assert _nothing_is_broken(here)
    if why == "paused":
        here.engine.operations.set_engine(action="resume", reason="over", by="ops")
        here.works()
        assert _held(here, "end_waits") == ()


def test_stripe_goes_on_while_the_engine_is_paused_for_weeks(engine_shop: EngineShop) -> None:
    here = engine_shop
    here.engine.operations.set_engine(action="pause", reason="an incident", by="ops")
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    here.days_pass(customer, 20, step_hours=120)
    assert here.shop.stripe.v1.invoices.retrieve(invoice.id).status == "paid"
    assert here.engine_charges(invoice) == []
    assert here.case(invoice)["close_reason"] == "recovered_elsewhere"


# -- ends that Stripe refuses


@pytest.mark.parametrize("act", ["stop", "release", "exhausted"])
def test_an_end_that_stripe_keeps_refusing_stays_visible_and_is_tried_daily(
    engine_shop: EngineShop, act: str
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds")
    if act == "stop":
        here.shop.stripe.v1.invoices.update(invoice.id, {"auto_advance": True})
    asked: list[bool] = []

    def no(_account: str, invoice_id: str, *, on: bool, **_: Any) -> Any:
        if invoice_id == invoice.id:
            asked.append(on)
        raise StripeRejected("Stripe invoices.update: 400", code="invoice_not_editable", status=400)

    with port(here.engine.gateway).instead(set_auto_advance=no):
        if act == "exhausted":
            _act(here, invoice, "pause")
            here.days_pass(customer, 31, step_hours=24 * 31)
        else:
            here.engine.operations.override(invoice.id, action=act, reason="x", by="ann")
        for _ in range(10):
            here.works()
            here.time.passes(minutes=6)
        assert asked == [act != "stop"] * 8
        assert _held(here, "end_refused") == (invoice.id,)
        row = _row(here, "invoices held")
        assert (row.status, invoice.id in row.detail) == ("fail", True)
        here.days_pass(customer, 1.1, step_hours=27)
        assert len(asked) == 9
    here.days_pass(customer, 1.1, step_hours=27)
    assert _is_stripes_own(here, invoice) is (act != "stop")
    assert _held(here, "end_refused") == ()
    assert _nothing_is_broken(here)


# -- charges that never were


def _answers_without_a_charge(here: EngineShop, customer: Any, times: int) -> None:
    """Stripe says 200 to the next charges, leaves the invoice open and makes no charge."""
    real, left = here.engine.gateway.pay, [times]

    def pay(*of: Any, before_sending: Callable[[], None], **how: Any) -> PayResult:
        if left[0] == 0:
            return real(*of, before_sending=before_sending, **how)
        left[0] -= 1
        before_sending()
        return PayResult(outcome=Outcome.PROCESSING)

    here.engine.gateway.pay = pay  # type: ignore[method-assign]  # the real one, now and then
    for _ in range(30):
        here.days_pass(customer, 1, step_hours=24)
        if left[0] == 0:
            return


def test_an_answer_without_a_charge_is_no_attempt_and_the_case_goes_on(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    _answers_without_a_charge(here, customer, 1)
    here.days_pass(customer, 6, step_hours=24)
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "recovered_by_engine")
    assert [a["outcome"] for a in case["attempts"]] == ["failed", "succeeded"]
    assert len(here.engine_charges(invoice)) == 1
    assert _nothing_is_broken(here)


def test_answers_without_a_charge_one_after_another_are_shown_to_a_person(
    engine_shop: EngineShop,
) -> None:
    here = engine_shop
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    _answers_without_a_charge(here, customer, 3)
    here.days_pass(customer, 1)
    (review,) = here.engine.operations.list_reviews()["data"]
    assert "shows no charge, 3 times" in review["reason"]
    assert here.engine_charges(invoice) == []


# -- the truths themselves


@pytest.mark.parametrize("closed", [False, True])
def test_an_invoice_that_is_held_with_nothing_planned_breaks_a_truth(
    engine_shop: EngineShop, closed: bool
) -> None:
    here = engine_shop
    _, _, invoice = here.fails("insufficient_funds")
    here.engine.operations.override(
        invoice.id, action="stop" if closed else "pause", reason="x", by="ann"
    )
    assert _nothing_is_broken(here)
    with here.engine.database.transaction() as connection:
        connection.execute(text("update actions set state = 'cancelled'"))
    assert here.engine.health.invariants()["invoice_held_and_nothing_planned"] == 1
    assert here.engine.health.totals()["held"]["nothing_planned"] == 1
    row = _row(here, "invoices held")
    assert (row.status, invoice.id in row.detail) == ("fail", True)


def test_an_outcome_that_nobody_looks_for_breaks_a_truth(engine_shop: EngineShop) -> None:
    here = engine_shop
    _, _, invoice = here.fails("insufficient_funds")
    case = here.case(invoice)
    with here.engine.database.transaction() as connection:
        connection.execute(
            text(
                "insert into attempts (account, customer_id, case_id, sequence, at, sent_at,"
                " source, outcome, amount, currency, payment_method_id, method_type,"
                " idempotency_key) values ('', :customer, :case, 1, :at, :at, 'engine', 'unknown',"
                " 1, 'usd', 'pm_1', 'card', 'key')"
            ),
            {"customer": case["customer"], "case": case["id"], "at": here.time.now},
        )
    here.engine.operations.override(invoice.id, action="stop", reason="x", by="ann")
    assert _nothing_is_broken(here)
    here.time.passes(hours=2)
    assert here.engine.health.invariants()["unknown_outcome_on_a_closed_case"] == 1
