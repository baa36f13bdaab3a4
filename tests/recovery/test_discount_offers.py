"""Offers as customers meet them: made, taken, used, taken back; each once, and within budgets."""

import csv
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from correspondence import ADDRESS, Writing, comes, failed, page_of, pays_at_stripe, reader, words
from engine_shop import EngineShop
from ports import port
from post_office import PostOffice
from sqlalchemy import text

from retry_engine.domain.errors import StripeUnavailable
from retry_engine.domain.offers import OfferState
from retry_engine.store import offers

pytestmark = pytest.mark.integration

ON = "[offers]\nenabled = true\n"


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


@pytest.fixture
def giving(writes: Writing) -> EngineShop:
    return writes(ON)


def offered(here: EngineShop, post: PostOffice) -> tuple[Any, Any, EmailMessage]:
    """Somebody looks at the bill, leaves, and is offered a fifth off in the second mail."""
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 1, step_hours=3)
    (mail,) = post.to(ADDRESS)
    comes(reader(here), page_of(mail))
    here.works()
    here.days_pass(customer, 4, step_hours=3)
    return customer, invoice, post.to(ADDRESS)[1]


def notes(here: EngineShop, invoice: Any) -> list[Any]:
    return list(here.shop.stripe.v1.credit_notes.list({"invoice": invoice.id}).data)


def owed(here: EngineShop, invoice: Any) -> int:
    found: int = here.shop.stripe.v1.invoices.retrieve(invoice.id).amount_remaining
    return found


def offer_of(here: EngineShop, invoice: Any) -> dict[str, Any]:
    (found,) = here.case(invoice)["offers"]
    return dict(found)


def test_an_offer_that_is_taken_lowers_the_invoice_and_is_used(
    giving: EngineShop, post_office: PostOffice, tmp_path: Path
) -> None:
    customer, invoice, mail = offered(giving, post_office)
    assert "4,00\xa0$" in words(mail)
    assert offer_of(giving, invoice)["state"] == "open"
    options = giving.engine.customers.payment_options(customer.id)
    assert options["offer"] == {
        "invoice": invoice.id, "amount": 400, "currency": "usd",
        "until": offer_of(giving, invoice)["until"],
    }  # fmt: skip
    assert notes(giving, invoice) == []

    client, page = reader(giving), page_of(mail)
    assert "data-offer" in client.get(page).text
    assert client.post(f"{page}/offer").status_code == 303
    giving.works()
    (note,) = notes(giving, invoice)
    assert (note.amount, note.status) == (400, "issued")
    assert owed(giving, invoice) == 1600
    assert offer_of(giving, invoice)["state"] == "taken"

    paid = pays_at_stripe(client, page)
    assert paid.status_code == 200
    giving.works()
    giving.days_pass(customer, 10)
    case = giving.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "recovered_by_engine")
    assert offer_of(giving, invoice)["state"] == "taken"
    assert [n.status for n in notes(giving, invoice)] == ["issued"]
    assert giving.engine.health.invariants() == dict.fromkeys(giving.engine.health.invariants(), 0)

    file = tmp_path / "log.csv"
    giving.engine.learning.export_file(file)
    with file.open(encoding="utf-8") as opened:
        (row,) = [r for r in csv.DictReader(opened) if r["kind"] == "offer"]
    assert (row["amount"], row["currency"], row["propensity"]) == ("400", "usd", "1.0")


def test_an_offer_that_nobody_takes_ends(giving: EngineShop, post_office: PostOffice) -> None:
    customer, invoice, mail = offered(giving, post_office)
    giving.days_pass(customer, 7)
    again = post_office.to(ADDRESS)[2]
    assert "4,00\xa0$" in words(again)  # it is said again as long as it holds
    giving.days_pass(customer, 4)
    assert offer_of(giving, invoice)["state"] == "expired"
    client, page = reader(giving), page_of(mail)
    assert "data-offer" not in client.get(page).text
    late = client.post(f"{page}/offer")
    assert "Dieses Angebot gilt nicht mehr." in late.text
    assert notes(giving, invoice) == []


def test_a_discount_that_was_taken_and_not_paid_is_taken_back(
    giving: EngineShop, post_office: PostOffice
) -> None:
    customer, invoice, mail = offered(giving, post_office)
    assert reader(giving).post(f"{page_of(mail)}/offer").status_code == 303
    giving.works()
    giving.days_pass(customer, 4)
    assert [n.status for n in notes(giving, invoice)] == ["void"]
    assert owed(giving, invoice) == 2000
    found = offer_of(giving, invoice)
    assert (found["state"], found["detail"]) == ("expired", "withdrawn")
    assert giving.case(invoice)["amount_remaining"] == 2000


def test_a_case_that_is_stopped_takes_its_discount_back(
    giving: EngineShop, post_office: PostOffice
) -> None:
    _, invoice, mail = offered(giving, post_office)
    reader(giving).post(f"{page_of(mail)}/offer")
    giving.works()
    giving.engine.operations.override(invoice.id, action="stop", reason="asked to", by="ops")
    giving.works()
    assert owed(giving, invoice) == 2000
    assert offer_of(giving, invoice)["detail"] == "withdrawn"


def test_an_offer_that_is_taken_twice_is_given_once(
    giving: EngineShop, post_office: PostOffice
) -> None:
    _, invoice, mail = offered(giving, post_office)
    for _ in range(2):
        assert reader(giving).post(f"{page_of(mail)}/offer").status_code == 303
    giving.works()
    assert len(notes(giving, invoice)) == 1


@pytest.mark.parametrize("reaches_stripe", [False, True])
@pytest.mark.parametrize("death", [Crash, StripeUnavailable])
def test_a_process_that_dies_while_giving_gives_once(
    giving: EngineShop,
    post_office: PostOffice,
    reaches_stripe: bool,
    death: type[BaseException],
) -> None:
    _, invoice, mail = offered(giving, post_office)
    gateway = port(giving.engine.gateway)
    real = gateway.credit_invoice

    def dies(*args: Any, **more: Any) -> str:
        if reaches_stripe:
            real(*args, **more)
        raise death("no answer")

    with gateway.instead(credit_invoice=dies):
        token = page_of(mail).removeprefix("/r/")
        if death is Crash:
            with pytest.raises(Crash):
                giving.engine.customers.take_offer(token)
        else:
            assert giving.engine.customers.take_offer(token)
        assert offer_of(giving, invoice)["detail"] == "taking"
    giving.works()
    assert len(notes(giving, invoice)) == 1
    assert owed(giving, invoice) == 1600
    assert offer_of(giving, invoice)["detail"] == "taken"


@pytest.mark.parametrize("reaches_stripe", [False, True])
def test_a_process_that_dies_while_taking_back_takes_back_once(
    giving: EngineShop,
    post_office: PostOffice,
    reaches_stripe: bool,
) -> None:
    customer, invoice, mail = offered(giving, post_office)
    reader(giving).post(f"{page_of(mail)}/offer")
    giving.works()
    gateway = port(giving.engine.gateway)
    real = gateway.void_credit_note

    def dies(*args: Any, **more: Any) -> None:
        if reaches_stripe:
            real(*args, **more)
        raise Crash

    with gateway.instead(void_credit_note=dies), pytest.raises(Crash):
        giving.days_pass(customer, 4)
    giving.time.passes(minutes=20)
    giving.works()
    assert [n.status for n in notes(giving, invoice)] == ["void"]
    assert offer_of(giving, invoice)["detail"] == "withdrawn"


def test_nothing_is_given_while_the_engine_or_the_case_is_paused(
    giving: EngineShop, post_office: PostOffice
) -> None:
    _, invoice, mail = offered(giving, post_office)
    client, page = reader(giving), page_of(mail)
    giving.engine.operations.set_engine(action="pause", reason="a test", by="ops")
    assert "data-offer" not in client.get(page).text
    assert client.post(f"{page}/offer").status_code == 200
    giving.engine.operations.set_engine(action="resume", reason="a test", by="ops")
    giving.engine.operations.override(invoice.id, action="pause", reason="a test", by="ops")
    assert client.post(f"{page}/offer").status_code == 200
    giving.works()
    assert notes(giving, invoice) == []
    assert offer_of(giving, invoice)["state"] == "open"


def test_what_is_being_given_when_the_engine_is_paused_waits_though_it_is_taken_again(
    giving: EngineShop, post_office: PostOffice
) -> None:
    _, invoice, mail = offered(giving, post_office)
    token = page_of(mail).removeprefix("/r/")

    def silent(*_args: Any, **_more: Any) -> str:
        raise StripeUnavailable("no answer")

    with port(giving.engine.gateway).instead(credit_invoice=silent):
        giving.engine.customers.take_offer(token)
    giving.engine.operations.set_engine(action="pause", reason="a test", by="ops")
    giving.engine.customers.take_offer(token)
    giving.works()
    assert notes(giving, invoice) == []
    giving.engine.operations.set_engine(action="resume", reason="a test", by="ops")
    giving.works()
    assert len(notes(giving, invoice)) == 1


def test_a_large_offer_waits_for_a_person(writes: Writing, post_office: PostOffice) -> None:
    here = writes(ON + "review_above = 300\n")
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 1, step_hours=3)
    comes(reader(here), page_of(post_office.to(ADDRESS)[0]))
    here.works()
    here.days_pass(customer, 3, step_hours=3)
    assert here.case(invoice)["state"] == "in_review"
    assert len(post_office.to(ADDRESS)) == 1
    (review,) = here.engine.operations.list_reviews()["data"]
    assert review["proposal"] == {"action": "offer", "discount": 400}
    here.engine.operations.decide_review(review["id"], verdict="approve", reason="fine", by="ops")
    here.works()
    here.days_pass(customer, 1, step_hours=3)
    assert offer_of(here, invoice)["amount"] == 400
    assert len(post_office.to(ADDRESS)) == 2


def test_who_was_offered_something_is_not_offered_again_at_the_next_failure(
    giving: EngineShop, post_office: PostOffice
) -> None:
    customer, _, mail = offered(giving, post_office)
    pays_at_stripe(reader(giving), page_of(mail))
    giving.works()
    giving.days_pass(customer, 30)
    later = giving.shop.newest_invoice(customer)
    with giving.engine.database.transaction() as connection:
        found = connection.execute(text("select count(*) from offers")).scalar_one()
    assert found == 1
    assert later is not None


def test_a_link_of_another_customer_shows_and_takes_only_their_own(
    giving: EngineShop, post_office: PostOffice
) -> None:
    _, invoice, _ = offered(giving, post_office)
    other, _ = failed(giving, "lost_card", address="paul@example.com")
    giving.days_pass(other, 1, step_hours=3)
    (mail,) = post_office.to("paul@example.com")
    client = reader(giving)
    assert client.post(f"{page_of(mail)}/offer").status_code == 200
    assert notes(giving, invoice) == []


@pytest.mark.parametrize("tried", ["x", "A" * 60, "..", "%00", "é"])
def test_a_guessed_link_tells_nothing(giving: EngineShop, tried: str) -> None:
    client = reader(giving)
    for answer in (client.get(f"/r/{tried}"), client.post(f"/r/{tried}/offer"),
                   client.post(f"/r/{tried}/portal")):  # fmt: skip
        assert answer.status_code == (400 if tried == "%00" else 404)
        assert "$" not in answer.text


def test_eight_at_once_never_promise_more_than_the_budget(
    giving: EngineShop, post_office: PostOffice
) -> None:
    _, invoice = failed(giving, "lost_card")
    with giving.engine.database.transaction() as connection:
        case = connection.execute(text("select * from cases")).mappings().one()
        for number in range(40):
            connection.execute(
                text(
                    "insert into cases (id, invoice_id, customer_id, state, mode, policy_version,"
                    " amount_remaining, currency, opened_at, deadline_at)"
                    " select 'case_' || :n, 'in_' || :n, 'cus_' || :n, state, mode, policy_version,"
                    " amount_remaining, currency, opened_at, deadline_at from cases where id = :id"
                ),
                {"n": str(number), "id": case["id"]},
            )
    now = giving.time.now

    def promise(number: int) -> bool:
        with giving.engine.database.transaction() as connection:
            made = offers.reserve(
                connection,
                month_budget=1000,
                customer_budget=10_000,
                case_id=f"case_{number}",
                account="",
                customer_id=f"cus_{number}",
                at=now,
                until=now + timedelta(days=5),
                amount=100 + number,
                currency="usd",
            )
        return made is not None

    with ThreadPoolExecutor(8) as workers:
        made = list(workers.map(promise, range(40)))
    assert 5 <= sum(made) <= 9
    with giving.engine.database.transaction() as connection:
        sums = {state: total for state, _, _, total in offers.counts(connection)}
    assert 0 < sums[OfferState.OPEN] <= 1000
    assert invoice is not None
