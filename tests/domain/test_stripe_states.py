"""What Stripe says of its objects, in our words."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from retry_engine.adapters.stripe import mapping
from retry_engine.domain.stripe_states import (
    CollectionMethod,
    InvoiceStatus,
    SubscriptionStatus,
)


def _invoice(**more: Any) -> dict[str, Any]:
    return {"id": "in_1", "currency": "usd", "created": 1, **more}


@pytest.mark.parametrize("state", InvoiceStatus)
def test_an_invoices_states_are_read_as_they_are(state: InvoiceStatus) -> None:
    found = mapping.invoice_facts(_invoice(status=state.value))
    assert found.status is state


def test_a_state_that_nobody_knows_is_met_at_the_border_and_said_aloud() -> None:
    with capture_logs() as logs:
        invoice = mapping.invoice_facts(_invoice(status="half_paid", collection_method="by_pigeon"))
        subscription = mapping.subscription_facts({"id": "sub_1", "status": "dreaming"})
    assert invoice.status is InvoiceStatus.UNKNOWN
    assert invoice.collection_method is CollectionMethod.UNKNOWN
    assert subscription.status is SubscriptionStatus.UNKNOWN
    assert not subscription.status.is_ended
    assert [log["value"] for log in logs] == ["half_paid", "by_pigeon", "dreaming"]


def test_only_what_stripe_ends_for_good_is_ended() -> None:
    assert {s for s in SubscriptionStatus if s.is_ended} == {"canceled", "incomplete_expired"}
