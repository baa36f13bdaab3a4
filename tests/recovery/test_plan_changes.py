"""Coupons on coming renewals, and what customers change by themselves; each exactly once."""

import re
from typing import Any

import pytest
from correspondence import ADDRESS, Writing, comes, failed, page_of, pays_at_stripe, reader
from engine_shop import EngineShop
from ports import port
from post_office import PostOffice

from retry_engine.domain.errors import StripeUnavailable

pytestmark = pytest.mark.integration

COUPONS = '[offers]\nenabled = true\nway = "coupon"\n'
CHANGES = "[offers]\nfree_days = 10\npause_months = 2\n"


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


def subscription_of(here: EngineShop, customer: Any) -> Any:
    (found,) = here.shop.stripe.v1.subscriptions.list(
        {"customer": customer.id, "expand": ["data.discounts"]}
    ).data
    return found


def coupons(here: EngineShop, customer: Any) -> list[str]:
    return [d.source.coupon for d in subscription_of(here, customer).discounts]


def offered(here: EngineShop, post: PostOffice) -> tuple[Any, Any, str]:
    """(customer, invoice, page) of somebody who came, left, and is offered something."""
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 1, step_hours=3)
    comes(reader(here), page_of(post.to(ADDRESS)[0]))
    here.works()
    here.days_pass(customer, 4, step_hours=3)
    return customer, invoice, page_of(post.to(ADDRESS)[1])


def short_of_money(here: EngineShop, post: PostOffice) -> tuple[Any, Any, str]:
    """(customer, invoice, page) of somebody whose account was empty."""
    customer, invoice = failed(here, "insufficient_funds", "insufficient_funds")
    here.days_pass(customer, 1, step_hours=3)
    return customer, invoice, page_of(post.to(ADDRESS)[0])


def days(page: str) -> list[str]:
    return re.findall(r'<option value="([^"]+)"', page)


def changes(here: EngineShop, invoice: Any) -> list[tuple[str, str]]:
    return [(change["kind"], change["state"]) for change in here.case(invoice)["changes"]]


def test_a_coupon_makes_the_renewal_after_the_payment_cheaper_beside_other_discounts(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes(COUPONS)
    customer, invoice, page = offered(here, post_office)
    v1 = here.shop.stripe.v1
    loyal = v1.coupons.create({"percent_off": 10, "duration": "forever"})
    v1.subscriptions.update(
        subscription_of(here, customer).id, {"discounts": [{"coupon": loyal.id}]}
    )
    client = reader(here)
    shown = client.get(page).text.replace("\xa0", " ")
    assert "4,00 $ weniger bei der nächsten Zahlung" in shown
    assert client.post(f"{page}/offer").status_code == 303
    here.works()
    assert client.post(f"{page}/offer").status_code == 303  # pressed twice
    first, ours = coupons(here, customer)
    assert (first, v1.coupons.retrieve(ours).amount_off) == (loyal.id, 400)
    assert v1.invoices.retrieve(invoice.id).amount_remaining == 2000

    assert pays_at_stripe(client, page).status_code == 200
    here.works()
    here.days_pass(customer, 35)
    renewed = here.shop.newest_invoice(customer)
    assert renewed.id != invoice.id
    assert renewed.total == 2000 - 200 - 400
    assert coupons(here, customer) == [loyal.id]
    (offer,) = here.case(invoice)["offers"]
    assert (offer["state"], offer["way"], offer["given_as"]) == ("taken", "coupon", ours)
    assert here.engine.health.invariants() == dict.fromkeys(here.engine.health.invariants(), 0)


def test_a_coupon_goes_again_where_the_invoice_is_not_paid(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes(COUPONS)
    customer, invoice, page = offered(here, post_office)
    assert reader(here).post(f"{page}/offer").status_code == 303
    here.works()
    assert len(coupons(here, customer)) == 1
    here.days_pass(customer, 4)
    assert coupons(here, customer) == []
    assert here.case(invoice)["offers"][0]["detail"] == "withdrawn"


@pytest.mark.parametrize("reaches_stripe", [False, True])
def test_a_process_that_dies_while_it_gives_a_coupon_gives_one(
    writes: Writing,
    post_office: PostOffice,
    reaches_stripe: bool,
) -> None:
    here = writes(COUPONS)
    customer, invoice, page = offered(here, post_office)
    gateway = port(here.engine.gateway)
    real = gateway.give_coupon

    def dies(*args: Any, **more: Any) -> str:
        if reaches_stripe:
            real(*args, **more)
        raise Crash

    with gateway.instead(give_coupon=dies), pytest.raises(Crash):
        here.engine.customers.take_offer(page.removeprefix("/r/"))
    here.works()
    assert len(coupons(here, customer)) == 1
    assert here.case(invoice)["offers"][0]["detail"] == "taken"


def test_who_is_short_of_money_moves_the_renewals_to_another_day(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes(CHANGES)
    customer, invoice, page = short_of_money(here, post_office)
    client = reader(here)
    choices = days(client.get(page).text)
    assert 1 <= len(choices) <= 10
    before = subscription_of(here, customer)
    ends = before["items"].data[0].current_period_end
    for _ in range(2):  # pressed twice
        assert client.post(f"{page}/change/billing_day", data={"day": choices[-1]}).status_code == (
            303
        )
    here.works()
    moved = subscription_of(here, customer)
    assert moved.trial_end > ends
    assert moved.trial_end - ends <= 10 * 86_400
    assert changes(here, invoice) == [("billing_day", "taken")]
    (change,) = here.case(invoice)["changes"]
    # of a month's price as many days as are given
    assert 0 < change["worth"] <= 2000 * 10 / 28 + 1
    shown = client.get(page).text
    assert "Ihre nächste Zahlung ist am" in shown
    assert 'data-change="billing_day"' not in shown
    here.days_pass(customer, 31)
    newest = here.shop.newest_invoice(customer)
    assert newest.id == invoice.id  # nothing was asked for on the old day


@pytest.mark.parametrize("reaches_stripe", [False, True])
@pytest.mark.parametrize("death", [Crash, StripeUnavailable])
def test_a_process_that_dies_while_it_moves_the_day_moves_it_once(
    writes: Writing,
    post_office: PostOffice,
    reaches_stripe: bool,
    death: type[BaseException],
) -> None:
    here = writes(CHANGES)
    customer, invoice, page = short_of_money(here, post_office)
    day = days(reader(here).get(page).text)[0]
    gateway = port(here.engine.gateway)
    real = gateway.move_renewals

    def dies(*args: Any, **more: Any) -> None:
        if reaches_stripe:
            real(*args, **more)
        raise death("no answer")

    with gateway.instead(move_renewals=dies):
        token = page.removeprefix("/r/")
        if death is Crash:
            with pytest.raises(Crash):
                here.engine.customers.change_subscription(token, "billing_day", day=day)
        else:
            assert here.engine.customers.change_subscription(token, "billing_day", day=day)
        assert changes(here, invoice) == [("billing_day", "taking")]
    calls = []

    def counted(*args: Any, **more: Any) -> None:
        calls.append(args)
        real(*args, **more)

    gateway.from_now_on(move_renewals=counted)
    here.works()
    assert changes(here, invoice) == [("billing_day", "taken")]
    assert len(calls) == (0 if reaches_stripe else 1)
    assert subscription_of(here, customer).trial_end is not None


def test_a_paused_subscription_is_not_charged_and_goes_on_afterwards(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes(CHANGES)
    customer, invoice, page = short_of_money(here, post_office)
    assert reader(here).post(f"{page}/change/pause").status_code == 303
    here.works()
    paused = subscription_of(here, customer).pause_collection
    assert paused.behavior == "void"
    assert here.case(invoice)["state"] == "paused"
    charges = len(here.shop.ledger(invoice))
    here.days_pass(customer, 20)
    assert len(here.shop.ledger(invoice)) == charges
    assert changes(here, invoice) == [("pause", "taken")]


@pytest.mark.parametrize(
    ("policy", "code"), [("", "insufficient_funds"), ("[offers]\nfree_days = 10\n", "lost_card")]
)
def test_nothing_can_be_changed_where_the_policy_or_the_failure_does_not_say_so(
    writes: Writing, post_office: PostOffice, policy: str, code: str
) -> None:
    here = writes(policy)
    customer, invoice = failed(here, code, code)
    here.days_pass(customer, 1, step_hours=3)
    page = page_of(post_office.to(ADDRESS)[0])
    client = reader(here)
    assert "data-change" not in client.get(page).text
    for kind in ("billing_day", "pause", "nonsense"):
        refused = client.post(f"{page}/change/{kind}", data={"day": "2026-03-28T06:00:00+00:00"})
        assert "lässt sich gerade nicht ändern" in refused.text
    assert subscription_of(here, customer).trial_end is None
    assert changes(here, invoice) == []


@pytest.mark.parametrize("why", ["budget", "case budget", "paused", "no choice"])
def test_a_day_is_not_moved_beyond_budgets_or_choices_or_while_paused(
    writes: Writing, post_office: PostOffice, why: str
) -> None:
    more = {"budget": "month_budget = 10\n", "case budget": "case_budget = 10\n"}.get(why, "")
    here = writes(CHANGES + more)
    customer, invoice, page = short_of_money(here, post_office)
    client = reader(here)
    day = days(client.get(page).text)[0]
    if why == "paused":
        here.engine.operations.set_engine(action="pause", reason="a test", by="ops")
        assert "data-change" not in client.get(page).text
    if why == "no choice":
        day = "2031-01-01T00:00:00+00:00"
    assert "lässt sich gerade nicht ändern" in client.post(
        f"{page}/change/billing_day", data={"day": day}
    ).text  # fmt: skip
    here.works()
    assert subscription_of(here, customer).trial_end is None
    assert changes(here, invoice) == []
