"""What is believed of a card comes from everybody's attempts, at any time, and from its data."""

from typing import Any

import pytest
from engine_shop import EngineShop
from ports import port
from sqlalchemy import text

from retry_engine.domain.errors import StripeUnavailable
from retry_engine.store import inbox as stored

pytestmark = pytest.mark.integration


def bought(here: EngineShop, customer: Any, method: Any, *, hours: float = 1, **said: Any) -> str:
    """Something else was charged on the method, by somebody else, in Stripe's record."""
    tables = here.shop.sandbox.platform.tables
    trail = here.shop.stripe.v1.charges.list({"customer": customer.id, "limit": 1}).data[0]
    charge = tables["charge"][trail.id]
    name = f"ch_other{len(tables['charge']):06d}"
    succeeded = not said
    made = {
        **charge, "id": name, "payment_intent": name.replace("ch_", "pi_"),
        "created": charge["created"] + int(hours * 3600), "payment_method": method.id,
        "failure_code": None if succeeded else "card_declined", "paid": succeeded,
        "status": "succeeded" if succeeded else "failed",
        "outcome": {**charge["outcome"], "type": "authorized" if succeeded else "issuer_declined",
                    "reason": None, "advice_code": None, "network_advice_code": None,
                    "network_decline_code": None, **said},
    }  # fmt: skip
    here.shop.sandbox.platform.put("charge", made)
    return name


def tells(here: EngineShop, kind: str, body: dict[str, Any], **more: Any) -> None:
    """An event comes in by the door."""
    event = {
        "id": f"evt_{kind}_{body['id']}_{len(told(here))}", "object": "event", "type": kind,
        "api_version": "2026-10-28.endive", "created": body.get("created", 0),
        "livemode": False, "data": {"object": body}, "request": {"id": None}, **more,
    }  # fmt: skip
    with here.engine.database.transaction() as connection:
        stored.store(connection, event)
    here.works()


def told(here: EngineShop) -> list[str]:
    with here.engine.database.connection() as connection:
        return list(connection.execute(text("select id from inbox")).scalars())


def recorded(here: EngineShop, charge_id: str) -> list[Any]:
    query = text("select * from attempts where charge_id = :id")
    with here.engine.database.connection() as connection:
        return list(connection.execute(query, {"id": charge_id}))


def charge_of(here: EngineShop, charge_id: str) -> dict[str, Any]:
    return dict(here.shop.sandbox.platform.tables["charge"][charge_id])


LOST: dict[str, Any] = {"reason": "lost_card", "network_decline_code": "41"}


@pytest.mark.parametrize("by_event", [True, False])
def test_a_card_that_was_lost_on_another_invoice_is_not_charged_any_more(
    engine_shop: EngineShop, by_event: bool
) -> None:
    """Whether the event comes or not: before the intent Stripe is asked what else there was."""
    customer, method, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    assert engine_shop.case(invoice)["next_action"]["kind"] == "retry"
    other = bought(engine_shop, customer, method, **LOST)
    if by_event:
        # the body is not believed: by it, all went well
        tells(engine_shop, "charge.failed", charge_of(engine_shop, other) | {"status": "succeeded"})
        assert engine_shop.case(invoice)["state"] == "needs_customer"
    engine_shop.days_pass(customer, 20, step_hours=24)
    (row,) = recorded(engine_shop, other)
    assert (row.decline_code, row.outcome, row.case_id) == ("lost_card", "failed", None)
    assert engine_shop.engine_charges(invoice) == []


@pytest.mark.parametrize("kind", ["charge.failed", "charge.succeeded"])
def test_of_a_charge_that_stripe_does_not_know_only_a_decline_is_believed(
    engine_shop: EngineShop, kind: str
) -> None:
    code = "insufficient_funds" if kind == "charge.failed" else "incorrect_cvc"
    customer, method, invoice = engine_shop.fails(code, "succeeded")
    said = LOST if kind == "charge.failed" else {}
    other = bought(engine_shop, customer, method, **said)
    told = charge_of(engine_shop, other) | {"id": "ch_unknown"}
    del engine_shop.shop.sandbox.platform.tables["charge"][other]
    tells(engine_shop, kind, told)
    assert engine_shop.case(invoice)["state"] == "needs_customer"
    assert len(recorded(engine_shop, "ch_unknown")) == (kind == "charge.failed")
    lacking: list[dict[str, Any]] = [
        {}, {"created": None}, {"amount": None}, {"payment_method_details": []},
    ]  # fmt: skip
    for broken in lacking:
        body = {"id": f"ch_{len(str(broken))}", "object": "charge", "customer": customer.id}
        tells(engine_shop, kind, {**body, **broken})
    assert engine_shop.engine.health.status()["events_dead"] == 0


def test_a_payment_on_another_invoice_frees_a_card_whose_data_were_called_wrong(
    engine_shop: EngineShop,
) -> None:
    customer, method, invoice = engine_shop.fails("incorrect_cvc", "succeeded")
    assert engine_shop.case(invoice)["state"] == "needs_customer"
    other = bought(engine_shop, customer, method)
    tells(engine_shop, "charge.succeeded", charge_of(engine_shop, other))
    assert engine_shop.case(invoice)["state"] == "open"
    engine_shop.days_pass(customer, 10)
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"


def test_charges_for_other_things_fill_the_cards_ceiling_too(engine_shop: EngineShop) -> None:
    customer, method, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    for number in range(14):
        bought(engine_shop, customer, method, hours=1 + number, reason="processing_error")
    at = engine_shop.case(invoice)["opened_at"]
    engine_shop.days_pass(customer, 27, step_hours=24)
    assert engine_shop.engine_charges(invoice) == [], f"15 attempts were made since {at}"


def test_another_customers_charge_on_the_same_card_counts_as_well(engine_shop: EngineShop) -> None:
    customer, method, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    other = bought(engine_shop, customer, method, **LOST)
    stranger = engine_shop.shop.stripe.v1.customers.create({"test_clock": customer.test_clock})
    charge = engine_shop.shop.sandbox.platform.tables["charge"][other]
    charge |= {"customer": stranger.id, "payment_method": "pm_strangers"}
    tells(engine_shop, "charge.failed", charge_of(engine_shop, other))
    (row,) = recorded(engine_shop, other)
    assert row.customer_id == stranger.id
    assert engine_shop.case(invoice)["state"] == "needs_customer"


def test_a_payment_under_way_elsewhere_is_known_by_what_became_of_it(
    engine_shop: EngineShop,
) -> None:
    customer, method, _ = engine_shop.fails("insufficient_funds", "insufficient_funds")
    other = bought(engine_shop, customer, method)
    charge = engine_shop.shop.sandbox.platform.tables["charge"][other]
    charge["status"] = "pending"
    tells(engine_shop, "charge.pending", charge_of(engine_shop, other))
    assert [row.outcome for row in recorded(engine_shop, other)] == ["processing"]
    charge["status"] = "succeeded"
    tells(engine_shop, "charge.updated", charge_of(engine_shop, other))
    tells(engine_shop, "charge.succeeded", charge_of(engine_shop, other))
    assert [row.outcome for row in recorded(engine_shop, other)] == ["succeeded"]


def test_the_engines_own_charge_is_no_other_one_however_its_answer_got_lost(
    engine_shop: EngineShop,
) -> None:
    """Two open invoices on one card: the look at one finds the charge of the other under way."""
    customer, _, first = engine_shop.fails("insufficient_funds", "insufficient_funds", "succeeded")
    engine_shop.shop.subscribed(customer)
    engine_shop.works()
    gateway = port(engine_shop.engine.gateway)
    real = gateway.pay

    def lost(*args: Any, **more: Any) -> Any:
        real(*args, **more)
        raise StripeUnavailable("no answer")

    with gateway.instead(pay=lost):
        engine_shop.days_pass(customer, 6)
    engine_shop.days_pass(customer, 6)
    charges = engine_shop.shop.stripe.v1.charges.list({"customer": customer.id}).data
    query = text("select count(*) from attempts where not abandoned and account = ''")
    with engine_shop.engine.database.connection() as connection:
        assert connection.execute(query).scalar() == len(charges)
    assert len(engine_shop.engine_charges(first)) >= 1


def test_a_card_renewed_under_the_same_number_is_charged_again(engine_shop: EngineShop) -> None:
    """The failed charge has the number, too: only its expiry tells that it was the old card."""
    customer, method, invoice = engine_shop.fails("expired_card", "succeeded")
    assert engine_shop.case(invoice)["state"] == "needs_customer"
    saved = engine_shop.shop.sandbox.platform.tables["payment_method"][method.id]
    saved["card"]["exp_year"] += 4
    tells(
        engine_shop,
        "payment_method.automatically_updated",
        {"id": method.id, "object": "payment_method", "customer": customer.id, "type": "card"},
    )
    engine_shop.days_pass(customer, 6)
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"


def test_a_renewed_card_that_nobody_told_of_is_noticed_before_the_charge(
    engine_shop: EngineShop,
) -> None:
    customer, method, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    saved = engine_shop.shop.sandbox.platform.tables["payment_method"][method.id]
    saved["card"]["exp_year"] += 4
    engine_shop.days_pass(customer, 12)
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"
    query = text("select changed_at, card_exp_year from payment_methods where id = :id")
    with engine_shop.engine.database.connection() as connection:
        row = connection.execute(query, {"id": method.id}).one()
    assert row.changed_at is not None
    assert row.card_exp_year == saved["card"]["exp_year"]


_ORDER = (
    ("invoice", "default_payment_method"), ("invoice", "default_source"),
    ("subscription", "default_payment_method"), ("subscription", "default_source"),
    ("customer", "default_payment_method"), ("customer", "default_source"),
)  # fmt: skip


def test_defaults_are_taken_in_stripes_own_order(engine_shop: EngineShop) -> None:
    customer, method, invoice = engine_shop.fails("insufficient_funds")
    tables = engine_shop.shop.sandbox.platform.tables
    subscription = engine_shop.shop.stripe.v1.subscriptions.list({"customer": customer.id}).data[0]
    objects = {
        "invoice": tables["invoice"][invoice.id],
        "subscription": tables["subscription"][subscription.id],
        "customer": tables["customer"][customer.id],
    }
    for kind, name in _ORDER:
        place = objects[kind]
        if kind == "customer" and name == "default_payment_method":
            place = place["invoice_settings"]
        place[name] = None
    assert defaults(engine_shop, invoice) == []
    # from the last in the order to the first, each goes before all that are set already
    for kind, name in reversed(_ORDER):
        newer = engine_shop.another_method(customer, "succeeded")
        place = objects[kind]
        if kind == "customer" and name == "default_payment_method":
            place = place["invoice_settings"]
        place[name] = newer.id
        assert defaults(engine_shop, invoice) == [newer.id], (kind, name)
    assert method.id


def defaults(here: EngineShop, invoice: Any) -> list[str | None]:
    """What the engine takes for the default after another look."""
    tells(here, "invoice.updated", {"id": invoice.id, "object": "invoice"})
    query = text("select default_method_id from cases where invoice_id = :id")
    with here.engine.database.connection() as connection:
        return [row for row in connection.execute(query, {"id": invoice.id}).scalars() if row]


def test_a_default_that_stripe_does_not_list_is_a_method_all_the_same(
    engine_shop: EngineShop,
) -> None:
    customer, method, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    gateway = port(engine_shop.engine.gateway)
    real = gateway.payment_methods
    gateway.from_now_on(payment_methods=lambda *a: [m for m in real(*a) if m.id != method.id])
    tells(engine_shop, "invoice.updated", {"id": invoice.id, "object": "invoice"})
    assert engine_shop.case(invoice)["next_action"]["payment_method"] == method.id
    assert customer.id


def test_a_networks_ban_of_a_number_does_not_grow_old(engine_shop: EngineShop) -> None:
    customer, method, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    years = -2 * 365 * 24
    soft = bought(engine_shop, customer, method, hours=years, reason="do_not_honor")
    banned = bought(engine_shop, customer, method, hours=years, **LOST)
    for name in (soft, banned):  # so long ago that only the record still holds it
        tells(engine_shop, "charge.failed", charge_of(engine_shop, name))
        assert len(recorded(engine_shop, name)) == 1
    assert engine_shop.case(invoice)["state"] == "needs_customer"
    assert "Visa category 1 (41)" in str(engine_shop.case(invoice)["decisions"][-1])


def test_a_legacy_card_is_a_method_and_its_default_is_charged(engine_shop: EngineShop) -> None:
    """Through Stripe's own old API: a source of the customer, and no payment method anywhere."""
    v1 = engine_shop.shop.stripe.v1
    customer, method = engine_shop.shop.customer_with("succeeded", "insufficient_funds")
    old = v1.customers.payment_sources.create(customer.id, {"source": "tok_visa"})
    assert old.id.startswith("card_")
    engine_shop.shop.subscribed(customer)
    v1.customers.update(
        customer.id, {"invoice_settings": {"default_payment_method": ""}, "default_source": old.id}
    )
    saved = engine_shop.shop.sandbox.platform.tables["payment_method"]
    saved[old.id]["metadata"] = {"sandbox_script": '["insufficient_funds", "succeeded"]'}
    v1.payment_methods.detach(method.id)
    engine_shop.shop.advances(customer, days=31, hours=2)
    engine_shop.works()
    invoice = engine_shop.shop.newest_invoice(customer)
    assert engine_shop.case(invoice)["next_action"]["payment_method"] == old.id
    engine_shop.days_pass(customer, 8)
    assert engine_shop.case(invoice)["close_reason"] == "recovered_by_engine"
