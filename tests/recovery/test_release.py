"""To stop a case is one act, to give its invoice back to Stripe another; rules bind both."""

from pathlib import Path
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from sandbox_shop import Shop

from retry_engine.domain import network_rules

pytestmark = pytest.mark.integration


def _auto_advance(here: EngineShop, invoice: Any) -> bool:
    return bool(here.shop.stripe.v1.invoices.retrieve(invoice.id).auto_advance)


def _act(here: EngineShop, invoice: Any, action: str) -> dict[str, Any]:
    found = here.engine.operations.override(
        invoice.id, action=action, reason="asked to", by="a person"
    )
    here.works()
    return found


def test_after_a_stop_nobody_charges(engine_shop: EngineShop) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    _act(engine_shop, invoice, "stop")
    tried = len(engine_shop.shop.ledger(invoice))
    assert _auto_advance(engine_shop, invoice) is False
    engine_shop.days_pass(customer, 12, step_hours=72)
    assert len(engine_shop.shop.ledger(invoice)) == tried
    assert engine_shop.case(invoice)["close_reason"] == "stopped"


def test_a_stop_takes_stripes_retries_away_where_they_were_still_on(
    engine_shop: EngineShop,
) -> None:
    _, _, invoice = engine_shop.fails("insufficient_funds")
    engine_shop.shop.stripe.v1.invoices.update(invoice.id, {"auto_advance": True})
    _act(engine_shop, invoice, "stop")
    assert _auto_advance(engine_shop, invoice) is False


@pytest.mark.parametrize(
    ("code", "given_back"),
    [
        ("insufficient_funds", True),
        ("processing_error", True),
        ("stop_payment_order", False),
        ("fraudulent", False),
        ("lost_card", False),
        ("expired_card", False),
        ("authentication_required", False),
    ],
)
def test_a_release_gives_back_what_the_rules_would_let_be_charged(
    engine_shop: EngineShop, code: str, given_back: bool
) -> None:
    _, _, invoice = engine_shop.fails(code)
    found = _act(engine_shop, invoice, "release")
    assert (found["state"], found["close_reason"]) == ("closed", "stopped")
    assert _auto_advance(engine_shop, invoice) is given_back
    assert bool(found["warnings"]) is not given_back


def test_an_invoice_that_stripe_was_not_going_to_retry_is_released_as_it_was(
    engine_shop: EngineShop,
) -> None:
    _, _, invoice = engine_shop.shop.failed_renewal("insufficient_funds")
    engine_shop.shop.stripe.v1.invoices.update(invoice.id, {"auto_advance": False})
    engine_shop.works()
    _act(engine_shop, invoice, "release")
    assert _auto_advance(engine_shop, invoice) is False


def test_a_case_closed_for_a_dispute_goes_to_nobody(
    shop: Shop, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[review]\non_dispute = "close"\n')
    time = RealTime()
    with build_engine(shop, database_url, redis_url, time, RETRY_ENGINE_CONFIG=str(policy)) as e:
        here = EngineShop(shop, e, time)
        customer, _, invoice = here.fails("insufficient_funds")
        act = {"customer": customer.id, "act": "dispute"}
        shop.http.post("/_sandbox/act", json=act).raise_for_status()
        here.works()
        assert here.case(invoice)["close_reason"] == "disputed"
        assert _auto_advance(here, invoice) is False


def test_what_binds_and_what_only_paces_are_told_apart() -> None:
    pacing = {r.name for r in network_rules.RULES if r.kind is network_rules.Kind.PACING}
    assert pacing == {
        "attempts_per_card", "attempts_per_invoice", "backup_before_decline", "case_deadline",
        "debit_weekend", "gap_on_card", "quiet_zone", "unknown_code",
    }  # fmt: skip


def test_a_declined_sign_up_is_not_recovered(engine_shop: EngineShop) -> None:
    customer, _ = engine_shop.shop.customer_with("insufficient_funds", "succeeded")
    engine_shop.another_method(customer, "succeeded")
    engine_shop.shop.subscribed(customer)
    engine_shop.works()
    invoice = engine_shop.shop.newest_invoice(customer)
    assert invoice.billing_reason == "subscription_create"
    engine_shop.days_pass(customer, 0.9)
    assert engine_shop.engine_charges(invoice) == []
    assert engine_shop.engine.operations.list_cases()["data"] == []
    assert engine_shop.engine.health.status()["inbox_pending"] == 0


def test_an_exhausted_debit_is_not_handed_back_to_be_presented_again(
    engine_shop: EngineShop,
) -> None:
    v1 = engine_shop.shop.stripe.v1
    customer, card = engine_shop.shop.customer_with("succeeded")
    account: Any = {
        "type": "us_bank_account",
        "us_bank_account": {
            "account_number": "000111111116",
            "routing_number": "110000000",
            "account_holder_type": "individual",
        },
        "billing_details": {"name": "M", "email": "m@example.com"},
    }
    debit = v1.payment_methods.create(account)
    v1.payment_methods.attach(debit.id, {"customer": customer.id})
    engine_shop.shop.subscribed(customer)
    default: Any = {"invoice_settings": {"default_payment_method": debit.id}}
    v1.customers.update(customer.id, default)
    v1.payment_methods.detach(card.id)
    engine_shop.shop.advances(customer, days=31, hours=2)
    engine_shop.works()
    invoice = engine_shop.shop.newest_invoice(customer)
    engine_shop.days_pass(customer, 38, step_hours=24)
    assert len(engine_shop.shop.ledger(invoice)) <= 3
