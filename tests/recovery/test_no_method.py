"""A renewal that failed because nothing is saved to charge."""

import pytest
from correspondence import ADDRESS, Writing, page_of, pays_at_stripe, reader
from post_office import PostOffice

from retry_engine.entrypoints.rendering import cases as rendering

pytestmark = pytest.mark.integration


def test_who_has_no_method_at_all_is_waited_for_and_written_to(
    writes: Writing, post_office: PostOffice
) -> None:
    """Nothing is saved, so nothing was charged: no decline, no attempt, and still a case."""
    here = writes("")
    customer, method = here.shop.customer_with("succeeded")
    v1 = here.shop.stripe.v1
    v1.customers.update(customer.id, {"email": ADDRESS, "name": "Maria"})
    here.shop.subscribed(customer)
    v1.payment_methods.detach(method.id)
    here.shop.advances(customer, days=31, hours=2)
    here.works()
    invoice = here.shop.newest_invoice(customer)
    assert here.shop.ledger(invoice) == []
    case = here.case(invoice)
    assert (case["state"], case["attempts"]) == ("needs_customer", [])
    why = here.engine.operations.explain_case(invoice.id)
    assert why["curves"] == []
    rendering.show_case(case)
    rendering.show_explanation(why)

    here.days_pass(customer, 2, step_hours=3)
    letter = post_office.to(ADDRESS)[0]
    client = reader(here)
    assert client.get(page_of(letter)).status_code == 200
    assert pays_at_stripe(client, page_of(letter)).status_code == 200
    here.works()
    assert here.case(invoice)["close_reason"] == "recovered_by_engine"
    assert here.engine.health.status()["events_dead"] == 0


def test_a_saved_card_is_charged_only_once_it_or_another_is_the_default(
    writes: Writing, post_office: PostOffice
) -> None:
    """Stripe charges nothing either: no card was declined that another could stand in for."""
    here = writes("")
    customer, method = here.shop.customer_with("succeeded", "succeeded")
    v1 = here.shop.stripe.v1
    v1.customers.update(customer.id, {"email": ADDRESS, "name": "Maria"})
    here.shop.subscribed(customer)
    v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": ""}})
    here.shop.advances(customer, days=31, hours=2)
    here.works()
    invoice = here.shop.newest_invoice(customer)
    case = here.case(invoice)
    assert (case["state"], case["attempts"]) == ("needs_customer", [])
    rendering.show_explanation(here.engine.operations.explain_case(invoice.id))
    here.days_pass(customer, 6, step_hours=12)
    assert here.shop.ledger(invoice) == []
    assert len(post_office.to(ADDRESS)) >= 1
    v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": method.id}})
    here.days_pass(customer, 3)
    assert here.case(invoice)["close_reason"] == "recovered_by_engine"
