"""Orders of visits, payments, crashes and days: what is given never passes a budget."""

import contextlib
from typing import Any

import pytest
from correspondence import Writing, comes, failed, page_of, pays_at_stripe, reader
from engine_shop import EngineShop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from post_office import PostOffice
from sqlalchemy import text

from retry_engine.domain.errors import RetryEngineError
from retry_engine.domain.offers import COMMITTED
from retry_engine.store import offers

pytestmark = pytest.mark.integration

# of 2000 a fifth is offered: one offer fits, two do not
BUDGET = 700
POLICY = f"[offers]\nenabled = true\nmonth_budget = {BUDGET}\nvalid_days = 4\npay_within_days = 2\n"
STEPS = st.lists(
    st.sampled_from(
        ["days", "days", "visit", "take", "take and die before", "take and die after",
         "die taking back", "pay", "stop", "pause", "resume", "again"]
    ),
    min_size=5,
    max_size=7,
)  # fmt: skip


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


def given_away(here: EngineShop, invoices: list[Any]) -> int:
    """What stands at Stripe, minor units; at most one credit note an invoice."""
    total = 0
    for invoice in invoices:
        notes = here.shop.stripe.v1.credit_notes.list({"invoice": invoice.id}).data
        standing = [note.amount for note in notes if note.status == "issued"]
        assert len(standing) <= 1
        total += sum(standing)
    return total


def promised(here: EngineShop) -> int:
    with here.engine.database.connection() as connection:
        return sum(total for state, _, _, total in offers.counts(connection) if state in COMMITTED)


@contextlib.contextmanager
def dying(gateway: Any, call: str, *, after: bool) -> Any:
    real = getattr(gateway, call)

    def dies(*args: Any, **more: Any) -> Any:
        if after:
            real(*args, **more)
        raise Crash

    with gateway.instead(**{call: dies}), contextlib.suppress(Crash):
        yield


@given(steps=STEPS)
@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_order_of_things_gives_more_than_the_budget(
    writes: Writing, post_office: PostOffice, steps: list[str]
) -> None:
    post_office.mails.clear()
    here = writes(POLICY)
    with here.engine.database.transaction() as connection:
        connection.execute(text("truncate offers"))
    here.engine.operations.set_engine(action="resume", reason="a new story", by="test")
    client, people = reader(here), []
    for name in ("maria", "paul"):
        customer, invoice = failed(here, "lost_card", address=f"{name}@example.com")
        people.append((f"{name}@example.com", customer, invoice))
        here.days_pass(customer, 1, step_hours=4)
        comes(client, page_of(post_office.to(f"{name}@example.com")[0]))
        here.works()
    invoices = [invoice for _, _, invoice in people]
    for number, step in enumerate(["days", *steps]):
        address, customer, invoice = people[number % 2]
        page = page_of(post_office.to(address)[-1])
        if step == "days":
            for _, somebody, _ in people:
                here.days_pass(somebody, 4, step_hours=8)
        elif step == "visit":
            client.post(f"{page}/pay")
        elif step == "take":
            client.post(f"{page}/offer")
        elif step.startswith("take and die"):
            with (
                dying(here.engine.gateway, "credit_invoice", after=step.endswith("after")),
                contextlib.suppress(RetryEngineError),
            ):
                here.engine.customers.take_offer(page.removeprefix("/r/"))
        elif step == "die taking back":
            with dying(here.engine.gateway, "void_credit_note", after=number % 2 == 0):
                here.days_pass(customer, 3, step_hours=8)
            here.time.passes(minutes=20)
        elif step == "pay" and here.case(invoice)["state"] != "closed":
            pays_at_stripe(client, page)
        elif step == "stop" and here.case(invoice)["state"] != "closed":
            here.engine.operations.override(invoice.id, action="stop", reason="asked", by="test")
        elif step in ("pause", "resume"):
            here.engine.operations.set_engine(action=step, reason="asked", by="test")
        elif step == "again":
            here.delivered = 0
        here.works()
        assert number or promised(here) > 0
        assert given_away(here, invoices) <= promised(here) <= BUDGET, step
    here.engine.operations.set_engine(action="resume", reason="the end", by="test")
    for _, customer, _ in people:
        here.days_pass(customer, 14)
    assert here.engine.health.invariants() == dict.fromkeys(here.engine.health.invariants(), 0)
    for invoice in invoices:
        paid = here.shop.stripe.v1.invoices.retrieve(invoice.id).status == "paid"
        assert paid or given_away(here, [invoice]) == 0
