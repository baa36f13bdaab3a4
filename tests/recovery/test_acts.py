"""What a link does: to look changes nothing, and what can be done goes by how it stands."""

import html
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest
from correspondence import (
    ADDRESS,
    PUBLIC,
    Writing,
    comes,
    failed,
    page_of,
    pays_at_stripe,
    reader,
    subscribed,
    words,
)
from engine_shop import EngineShop
from post_office import PostOffice
from sqlalchemy import text

from retry_engine import presentation
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.policy import Messages
from retry_engine.domain.standing import Outlook, Standing, outlook_of, standing_of
from retry_engine.recovery.payment_page import Bill

_INVOICES = ("draft", "open", "paid", "void", "uncollectible")
_SUBSCRIPTIONS = (
    None, "active", "trialing", "past_due", "unpaid", "paused", "incomplete",
    "incomplete_expired", "canceled",
)  # fmt: skip
_CASES: list[tuple[CaseState, CloseReason | None]] = [
    *((state, None) for state in CaseState if state is not CaseState.CLOSED),
    *((CaseState.CLOSED, reason) for reason in CloseReason),
]

# -- how it stands


def _bill(case: Any, invoice: str, subscription: str | None, **more: Any) -> Bill:
    standing = standing_of(
        case_state=case[0], close_reason=case[1], invoice_status=invoice,
        under_way=more.pop("under_way", False), subscription_status=subscription,
        disputed=more.pop("disputed", False),
    )  # fmt: skip
    return Bill(
        standing=standing, outlook=outlook_of(subscription, collection_paused=False),
        case_mode="takeover", language=more.pop("language", "en"), account="",
        customer_id="cus_1", amount=2000, currency="eur", timezone=None, hosted_url=None, **more,
    )  # fmt: skip


@pytest.mark.parametrize("invoice", _INVOICES)
def test_something_is_to_be_paid_here_on_a_living_case_with_an_open_invoice_only(
    invoice: str,
) -> None:
    for case, subscription, disputed in product(_CASES, _SUBSCRIPTIONS, (False, True)):
        standing = _bill(case, invoice, subscription, disputed=disputed).standing
        if standing is Standing.DUE:
            assert invoice == "open"
            assert case[0] in (CaseState.OPEN, CaseState.NEEDS_CUSTOMER, CaseState.PAUSED)
            assert subscription not in ("canceled", "incomplete_expired")
        if invoice == "paid":
            assert standing is Standing.PAID
        if case[0] is CaseState.CLOSED and invoice == "open":
            assert standing in (Standing.OVER, Standing.ENDED, Standing.OWED, Standing.DISPUTED)


@pytest.mark.parametrize("language", presentation.LANGUAGES)
def test_the_page_promises_that_a_subscription_goes_on_only_where_paying_does_that(
    language: str,
) -> None:
    told = presentation.words_by_language()[language]["page"]
    for case, invoice, subscription in product(_CASES, _INVOICES, _SUBSCRIPTIONS):
        bill = _bill(case, invoice, subscription, language=language)
        page = presentation.recovery_page(
            bill, token="t", element=None, alert=None, message_policy=Messages(language=language)
        )
        page = html.unescape(page)
        promised = told["note"] in page
        goes_on = bill.standing is Standing.DUE and bill.outlook is Outlook.GOES_ON
        assert promised == goes_on, (case, invoice, subscription)
        assert promised <= (subscription in ("active", "trialing", "past_due", "incomplete"))
        if subscription in ("canceled", "incomplete_expired") and bill.standing is Standing.ENDED:
            assert told["note_ended"] in page
        if case[0] is CaseState.CLOSED or invoice != "open":
            assert "<form" not in page
            assert "t/seen" in page


def test_a_dispute_and_a_review_are_told_apart_and_offer_nothing() -> None:
    held = (CaseState.IN_REVIEW, None)
    assert _bill(held, "open", "past_due").standing is Standing.CHECKED
    assert _bill(held, "open", "past_due", disputed=True).standing is Standing.DISPUTED
    assert _bill((CaseState.OPEN, None), "open", None, under_way=True).standing == "under_way"


# -- looking, and acting


def dump(here: EngineShop) -> dict[str, list[str]]:
    """Every row of every table; how fast Stripe is asked is no fact about anybody."""
    tables = text("select tablename from pg_tables where schemaname = 'public' order by 1")
    with here.engine.database.connection() as connection:
        return {
            name: list(
                connection.execute(
                    text(f"select row_to_json(t)::text from {name} t order by 1")
                ).scalars()
            )
            for name in connection.execute(tables).scalars()
            if name != "rate_limits"
        }


ALL = (
    "[offers]\nenabled = true\nfree_days = 10\npause_months = 2\n\n[messages]\nportal_link = true\n"
)


@pytest.mark.integration
def test_to_look_changes_no_row_and_nothing_at_stripe(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes(ALL, STRIPE_PUBLISHABLE_KEY="pk_test_shop")
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 1, step_hours=3)
    (mail,) = post_office.to(ADDRESS)
    other, _ = subscribed(here, address="")
    here.shop.stripe.v1.customers.update(other.id, {"email": "paul@example.com"})
    here.days_pass(other, 28, step_hours=12)
    (early,) = post_office.to("paul@example.com")
    card = next(w for w in words(early).split() if w.startswith(f"{PUBLIC}/c/"))
    page, card = page_of(mail), urlsplit(card).path
    out = urlsplit(str(mail["List-Unsubscribe"]).strip("<>")).path
    client, before = reader(here), dump(here)
    told = len(here.shop.stripe.v1.events.list({"limit": 100}).data)
    routes = [page, f"{page}/seen", f"{page}/pay", f"{page}/offer", f"{page}/change/pause",
              f"{page}/change/billing_day", f"{page}/portal", card, f"{card}?added=1",
              f"{card}/portal", out]  # fmt: skip
    for method, path in product(("GET", "HEAD", "OPTIONS"), routes):
        for _ in range(2):
            answer = client.request(method, path, headers={"Sec-Purpose": "prefetch"})
            assert answer.status_code in (200, 405), (method, path)
            assert dump(here) == before, (method, path)
    assert len(here.shop.stripe.v1.events.list({"limit": 100}).data) == told
    assert here.shop.stripe.v1.setup_intents.list({"customer": other.id}).data == []
    here.works()
    assert all(m["visited_at"] is None for m in here.case(invoice)["messages"])
    # who presses for it gets the form for a card, and a portal that does nothing else
    assert "data-secret" in client.post(card).text
    assert len(here.shop.stripe.v1.setup_intents.list({"customer": other.id}).data) == 1
    assert client.post(f"{card}/portal").status_code == 303


@pytest.mark.integration
def test_a_scanner_earns_no_offer_and_the_engine_no_payment(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes(ALL)
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 1, step_hours=3)
    client = reader(here)
    for _ in range(3):
        client.get(page_of(post_office.to(ADDRESS)[0]))
    here.works()
    here.days_pass(customer, 6, step_hours=6)
    assert here.case(invoice)["offers"] == []
    here.shop.stripe.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    here.works()
    assert here.case(invoice)["close_reason"] == "recovered_elsewhere"


@pytest.mark.integration
@pytest.mark.parametrize("how", ["seen", "pay"])
def test_who_touches_the_page_or_presses_its_button_has_come(
    writing: EngineShop, post_office: PostOffice, how: str
) -> None:
    customer, invoice = failed(writing, "lost_card")
    writing.days_pass(customer, 1, step_hours=3)
    page = page_of(post_office.to(ADDRESS)[0])
    answer = reader(writing).post(f"{page}/{how}")
    assert answer.status_code == {"seen": 204, "pay": 303}[how]
    (message,) = writing.case(invoice)["messages"]
    assert message["visited_at"] is not None
    writing.shop.stripe.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    writing.works()
    assert writing.case(invoice)["close_reason"] == "recovered_by_engine"


@pytest.mark.integration
@pytest.mark.parametrize("portal", [False, True])
@pytest.mark.parametrize("ended", ["", "paid", "stopped", "cancelled", "in review", "void"])
def test_each_act_asks_anew_what_is_permitted_and_how_it_stands(
    writes: Writing, post_office: PostOffice, ended: str, portal: bool
) -> None:
    here = writes(ALL if portal else ALL.replace("portal_link = true", "portal_link = false"))
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 1, step_hours=3)
    client, page = reader(here), page_of(post_office.to(ADDRESS)[0])
    v1 = here.shop.stripe.v1
    if ended == "paid":
        assert pays_at_stripe(client, page).status_code == 200
    elif ended == "cancelled":
        (subscription,) = v1.subscriptions.list({"customer": customer.id}).data
        v1.subscriptions.cancel(subscription.id)
    elif ended == "void":
        v1.invoices.void_invoice(invoice.id)
    elif ended:
        action = {"stopped": "stop", "in review": "hold"}[ended]
        here.engine.operations.override(invoice.id, action=action, reason="a test", by="ops")
    here.works()
    done = client.post(f"{page}/portal")
    assert (done.status_code == 303) == (portal and not ended)
    if not ended:
        comes(client, page)
        return
    before = dump(here)
    for act in ("pay", "offer", "change/pause", "change/billing_day", "seen"):
        answer = client.post(f"{page}/{act}")
        assert answer.status_code == (204 if act == "seen" else 200), act
        assert dump(here) == before or ended == "in review", act
    shown = client.get(page)
    assert shown.status_code == 200
    assert "<form" not in shown.text
    assert "geht weiter" not in shown.text
