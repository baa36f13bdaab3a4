"""A month is played with the real engine; the report says of it what the record says."""

import csv
import io
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from correspondence import ADDRESS, Writing, comes, failed, page_of, pays_at_stripe, reader
from engine_shop import API_TOKEN, EngineShop
from post_office import PostOffice
from sqlalchemy import text

from retry_engine.domain.errors import BadRequest
from retry_engine.entrypoints.rendering import report as drawn

pytestmark = pytest.mark.integration

POLICY = """
[offers]
enabled = true
[value]
attempt_cost = 7
message_cost = 3
[report]
currency = "usd"
rates = { jpy = 0.01 }
"""


def billed(here: EngineShop, *script: Any, currency: str, price: int) -> tuple[Any, Any]:
    """(customer, invoice): as `failed`, of a plan in that currency."""
    customer, _ = here.shop.customer_with("succeeded", *script)
    v1 = here.shop.stripe.v1
    plan = v1.prices.create(
        {
            "currency": currency,
            "unit_amount": price,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Plan"},
        }
    )
    v1.subscriptions.create({"customer": customer.id, "items": [{"price": plan.id}]})
    here.shop.advances(customer, days=31, hours=2)
    here.works()
    return customer, here.shop.newest_invoice(customer)


def paid_by_page_with_an_offer(here: EngineShop, post: PostOffice) -> Any:
    """Somebody looks at the bill, leaves, is offered a fifth off, takes it and pays."""
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 1, step_hours=3)
    (mail,) = post.to(ADDRESS)
    comes(reader(here), page_of(mail))
    here.works()
    here.days_pass(customer, 4, step_hours=6)
    page, client = page_of(post.to(ADDRESS)[1]), reader(here)
    assert client.post(f"{page}/offer").status_code == 303
    here.works()
    assert pays_at_stripe(client, page).status_code == 200
    here.works()
    return invoice


def until_closed(here: EngineShop, customer: Any, invoice: Any) -> None:
    for _ in range(60):
        if here.case(invoice)["state"] == "closed":
            return
        here.days_pass(customer, 0.5)
    raise AssertionError("the case never ends")


@pytest.fixture
def month(writes: Writing, post_office: PostOffice) -> tuple[EngineShop, dict[str, Any]]:
    """Five failed renewals: by the engine's charge, by the page, in yen, voided, and open."""
    here = writes(POLICY)
    by_page = paid_by_page_with_an_offer(here, post_office)
    customer, by_engine, *_ = (*failed(here, "insufficient_funds", "succeeded", address="b@x.eu"),)
    until_closed(here, customer, by_engine)
    yen_customer, in_yen = billed(
        here, "insufficient_funds", "succeeded", currency="jpy", price=1500
    )
    until_closed(here, yen_customer, in_yen)
    _, voided = failed(here, "lost_card", address="c@x.eu")
    here.shop.stripe.v1.invoices.void_invoice(voided.id)
    here.works()
    _, still_open = failed(here, "insufficient_funds", address="d@x.eu")
    return here, {
        "by_page": by_page,
        "by_engine": by_engine,
        "in_yen": in_yen,
        "voided": voided,
        "still_open": still_open,
    }


def cost_on_record(here: EngineShop, *invoices: Any) -> int:
    """What the engine's charges and the letters about them came to."""
    found = [here.case(invoice) for invoice in invoices]
    letters: int = sum(m["state"] == "sent" for case in found for m in case["messages"])
    charges: int = sum(case["attempts_made"] for case in found)
    return 7 * charges + 3 * letters


def test_the_report_of_a_played_month_equals_the_record(
    month: tuple[EngineShop, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    here, invoices = month
    found = here.engine.reports.report()
    assert found["cases"] == {"failed": 5, "recovered": 3, "lost": 1, "open": 1}
    assert found["rate"] == 0.75  # the open one is in neither side

    stripe = {
        name: here.shop.stripe.v1.invoices.retrieve(invoice.id)
        for name, invoice in invoices.items()
    }
    over = ("by_page", "by_engine", "voided")
    assert found["money"]["usd"] == {
        "failed": sum(stripe[name].total for name in over),
        "recovered": stripe["by_page"].amount_paid + stripe["by_engine"].amount_paid,
        "cost": cost_on_record(here, *(invoices[name] for name in over)),
        "discounts": 400,
    }
    assert (stripe["by_page"].total, stripe["by_page"].amount_paid) == (2000, 1600)
    assert found["money"]["jpy"] == {
        "failed": 1500,
        "recovered": stripe["in_yen"].amount_paid,
        "cost": cost_on_record(here, invoices["in_yen"]),
        "discounts": 0,
    }
    # a yen has no hundredth: 1,500 of them are 15 dollars, 1,500 cents
    assert found["total"]["recovered"] == 3600 + 1500
    assert found["total"]["without_rate"] == []

    through = {row["key"]: row["recovered"] for row in found["recovered_through"]}
    assert through == {"engine": 2, "link": 1}
    codes = {row["key"]: (row["failed"], row["recovered"]) for row in found["by"]["decline_code"]}
    assert codes == {"insufficient_funds": (2, 2), "lost_card": (2, 1)}
    assert [row["key"] for row in found["by"]["method"]] == ["card"]
    attempts = {row["key"]: (row["failed"], row["recovered"]) for row in found["by"]["attempt"]}
    over_too = (invoice for name, invoice in invoices.items() if name != "still_open")
    assert attempts == attempts_on_record(here, *over_too)
    months = Counter(here.case(i)["opened_at"][:7] for i in invoices.values())
    assert {row["month"]: row["failed"] for row in found["cohorts"]} == months
    assert not any(row["mature"] for row in found["cohorts"])
    assert found["lift"] is None
    capsys.readouterr()
    drawn.show_report(found)
    every_way_to_draw_it_says_the_same(found, capsys.readouterr().out)


def attempts_on_record(here: EngineShop, *invoices: Any) -> dict[str, tuple[int, int]]:
    made: Counter[str] = Counter()
    paid: Counter[str] = Counter()
    for invoice in invoices:
        for attempt in here.case(invoice)["attempts"]:
            made[str(attempt["number"])] += 1
            paid[str(attempt["number"])] += attempt["outcome"] == "succeeded"
    return {number: (made[number], paid[number]) for number in made}


def every_way_to_draw_it_says_the_same(found: dict[str, Any], on_terminal: str) -> None:
    page = drawn.as_html(found)
    rows = list(csv.reader(io.StringIO(drawn.as_csv(found))))
    for where in (on_terminal, page):
        assert "75.0%" in where
        assert "36.00 USD" in where
        assert "1500 JPY" in where
    assert ["Money", "USD", "recovered", "36.00", "USD"] in rows
    assert ["Money", "JPY", "recovered", "1500", "JPY"] in rows
    assert ["Recovered", "cases", "rate", "0.75", "share"] in rows


def test_a_month_becomes_mature_once_each_case_has_had_30_days_on_its_own_clock(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.fails("insufficient_funds", "succeeded")
    engine_shop.days_pass(customer, 8)
    assert engine_shop.case(invoice)["state"] == "closed"
    assert not engine_shop.engine.reports.report()["cohorts"][0]["mature"]
    engine_shop.days_pass(customer, 23, step_hours=300)
    assert engine_shop.engine.reports.report()["cohorts"][0]["mature"]


def test_what_the_engine_only_watched_stands_apart(writes: Writing) -> None:
    here = writes(RETRY_ENGINE_MODE="shadow")
    here.fails("insufficient_funds")
    found = here.engine.reports.report()
    nothing = {"failed": 0, "recovered": 0, "lost": 0, "open": 0}
    assert (found["cases"], found["rate"], found["money"]) == (nothing, None, {})
    assert found["apart"]["shadow"]["cases"] == {**nothing, "failed": 1, "open": 1}
    assert found["apart"]["holdout"]["cases"] == nothing


# -- asked for in part, and of little

ROW = """
    insert into cases (id, account, invoice_id, customer_id, state, mode, policy_version,
      amount_remaining, currency, opened_at, deadline_at, closed_at, close_reason, customer_country)
    values (:id, :account, :id, :customer, 'closed', :mode, 'p', 1000, 'eur', :opened,
      cast(:opened as timestamptz) + interval '30 days', :closed, :reason, :country)
"""
KNOWN = """
    insert into policies (version, content) values ('p', jsonb_build_object(
      'value', jsonb_build_object('attempt_cost', 10, 'message_cost', 5),
      'comparison', jsonb_build_object('holdout', cast(:holdout as float))))
    on conflict do nothing
"""
MAY = datetime(2029, 5, 1, tzinfo=UTC)


def ended(here: EngineShop, *cases: dict[str, Any], holdout: float = 0.0, first: int = 0) -> None:
    """Cases that are over, as rows: what matters is which of them are counted."""
    with here.engine.database.transaction() as connection:
        connection.execute(text(KNOWN), {"holdout": holdout})
        for number, case in enumerate(cases, start=first):
            values = {
                "id": f"case_{number}",
                "account": "",
                "customer": f"cus_{number}",
                "mode": "takeover",
                "opened": MAY,
                "reason": "recovered_by_engine",
                "country": "DE",
                **case,
            }
            values.setdefault("closed", values["opened"] + timedelta(days=3))
            connection.execute(text(ROW), values)


def test_an_account_and_a_time_are_counted_by_themselves(engine_shop: EngineShop) -> None:
    june = MAY + timedelta(days=31)
    ended(engine_shop, {}, {"account": "acct_1"}, {"account": "acct_1", "opened": june})
    report = engine_shop.engine.reports.report

    def counted(**asked: Any) -> int:
        return int(report(**asked)["cases"]["failed"])

    assert counted() == 3
    assert counted(account="acct_1") == 2
    assert counted(since=june) == 1  # the moment itself is in
    assert counted(until=june) == 2  # and is not
    assert counted(since=MAY, until=june, account="acct_1") == 1
    assert counted(account="acct_2") == 0
    for wrong in ({"since": june, "until": MAY}, {"account": "mine"}, {"account": "acct_\0"}):
        with pytest.raises(BadRequest):
            report(**wrong)


# -- against the holdout


def arms(*, treated: int, held_out: int, ours: int, theirs: int) -> list[dict[str, Any]]:
    """Customers with a case each, of whom `ours` and `theirs` are recovered."""
    sides = (("takeover", treated, ours), ("holdout", held_out, theirs))
    return [
        {"mode": mode, "reason": "recovered_elsewhere" if number < paid else "exhausted"}
        for mode, drawn, paid in sides
        for number in range(drawn)
    ]


def lift_of(here: EngineShop) -> dict[str, Any]:
    found = here.engine.reports.report()
    has_the_contracts_shape(found)
    lift: dict[str, Any] = found["lift"]
    return lift


def test_what_the_engine_adds_is_told_by_customer(
    engine_shop: EngineShop, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(engine_shop, *arms(treated=800, held_out=200, ours=600, theirs=90), holdout=0.2)
    lift = lift_of(engine_shop)
    assert (lift["verdict"], lift["rate_difference"]) == ("higher", 0.3)
    assert lift["customers"] == {"treated": 800, "holdout": 200}
    low, high = lift["interval"]
    assert 0 < low < 0.3 < high
    assert lift["more_cases_needed"] == 0
    drawn.show_report(engine_shop.engine.reports.report())
    shown = capsys.readouterr().out
    assert "more are recovered than in the holdout" in shown
    assert f"{low * 100:+.1f} points" in shown
    rows = csv.reader(io.StringIO(drawn.as_csv(engine_shop.engine.reports.report())))
    assert ["What can be told", "and at most", "", str(high), "share"] in list(rows)
    # and the holdout's own are no part of what the engine did
    assert engine_shop.engine.reports.report()["cases"]["failed"] == 800


def test_too_few_and_uneven_arms_tell_nothing(engine_shop: EngineShop) -> None:
    ended(engine_shop, *arms(treated=40, held_out=10, ours=40, theirs=0), holdout=0.2)
    lift = lift_of(engine_shop)
    assert (lift["verdict"], lift["interval"]) == ("cannot_tell", [-1.0, 1.0])
    assert lift["more_cases_needed"] > 0
    again = [{**case, "customer": f"other_{n}"} for n, case in enumerate(arms(
        treated=900, held_out=0, ours=900, theirs=0
    ))]  # fmt: skip
    ended(engine_shop, *again, holdout=0.2, first=50)
    assert lift_of(engine_shop)["verdict"] == "unhealthy"


def test_a_customer_counts_once_and_for_30_days_only(engine_shop: EngineShop) -> None:
    one = {"customer": "cus_1", "reason": "exhausted"}
    later = {"opened": MAY + timedelta(days=40)}
    too_late = {"closed": MAY + timedelta(days=31)}
    young = {"opened": datetime(2029, 12, 20, tzinfo=UTC)}
    ended(
        engine_shop,
        one,
        {**one, **later, "reason": "recovered_by_engine"},  # the first case decided
        {"customer": "cus_2", **too_late},
        {"customer": "cus_3"},
        {"customer": "cus_4", **young},
        {"customer": "cus_5", "mode": "shadow"},
        {"customer": "cus_6", "mode": "holdout"},
        holdout=0.5,
    )
    lift = lift_of(engine_shop)
    assert lift["customers"] == {"treated": 3, "holdout": 1}
    assert lift["recovered"] == {"treated": 1, "holdout": 1}
    assert lift["maturing"] == 1


def test_money_that_comes_after_the_engine_has_given_up_counts_for_the_treated(
    writes: Writing,
) -> None:
    """Else it would be held against the engine that it ends its cases sooner than Stripe does."""
    here = writes("[comparison]\nholdout = 0.000001\n")
    customer, _, invoice = here.fails("insufficient_funds", "succeeded")
    here.engine.operations.override(invoice.id, action="release", reason="a test", by="ola")
    here.works()
    here.shop.advances(customer, days=4)  # Stripe's own retry
    here.works()
    assert here.shop.stripe.v1.invoices.retrieve(invoice.id).status == "paid"
    here.days_pass(customer, 30, step_hours=400)
    found = here.engine.reports.report()
    assert found["cases"]["lost"] == 1  # as the case ended
    assert found["lift"]["recovered"]["treated"] == 1


def test_no_total_is_made_up_for_a_currency_without_a_rate(writes: Writing) -> None:
    here = writes('[report]\ncurrency = "usd"\nrates = { jpy = 0.0065 }\n')
    ended(here, {})
    total = here.engine.reports.report()["total"]
    assert total["without_rate"] == ["eur"]
    assert total["recovered"] is None


def test_an_empty_database_has_a_report_too(
    engine_shop: EngineShop, capsys: pytest.CaptureFixture[str]
) -> None:
    found = engine_shop.engine.reports.report()
    assert (found["rate"], found["money"], found["cohorts"]) == (None, {}, [])
    drawn.show_report(found)
    assert "Failed invoices" in capsys.readouterr().out
    assert "</html>" in drawn.as_html(found)
    assert drawn.as_csv(found).startswith("section,")


EVIL = '=HYPERLINK("https://evil.example","<img src=x onerror=alert(1)>")'


def test_what_others_wrote_is_neither_a_formula_nor_markup(engine_shop: EngineShop) -> None:
    ended(engine_shop, {"country": EVIL}, {"country": "-1+1"}, {"country": "\t=1+1"})
    found = engine_shop.engine.reports.report()
    cells = [cell for row in csv.reader(io.StringIO(drawn.as_csv(found))) for cell in row]
    assert f"'{EVIL}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "-"))]
    assert "<img" not in drawn.as_html(found)


# the contract, key by key
CASES = {"failed", "recovered", "lost", "open"}
SUMS = {"failed", "recovered", "cost", "discounts"}
BY = {"decline_code", "method", "attempt", "country"}


def has_the_contracts_shape(found: dict[str, Any]) -> None:
    keys = {"since", "until", "cases", "rate", "money", "lift", "by", "cohorts"}
    assert keys <= set(found)
    assert set(found["cases"]) == CASES
    assert all(set(sums) == SUMS for sums in found["money"].values())
    assert set(found["by"]) == BY
    for rows in found["by"].values():
        assert all(set(row) == {"key", "failed", "recovered", "rate"} for row in rows)
        assert all(isinstance(row["key"], str) for row in rows)
    for row in found["cohorts"]:
        assert {"month", "failed", "recovered", "mature"} <= set(row)
    if found["lift"] is not None:
        lift = {
            "verdict", "rate_difference", "interval", "customers", "more_cases_needed",
            "sample_ratio_p",
        }  # fmt: skip
        assert lift <= set(found["lift"])
        assert set(found["lift"]["customers"]) == {"treated", "holdout"}
        assert found["lift"]["verdict"] in ("higher", "lower", "cannot_tell", "unhealthy")


def test_the_api_answers_what_the_command_prints_in_the_contracts_shape(
    engine_shop: EngineShop,
) -> None:
    ended(engine_shop, {}, {"account": "acct_1", "reason": "exhausted"})
    client = reader(engine_shop)
    client.headers["Authorization"] = f"Bearer {API_TOKEN}"
    answer = client.get("/api/report", params={"since": "2029-05-01", "account": "acct_1"})
    assert answer.status_code == 200
    has_the_contracts_shape(answer.json())
    assert answer.json() == engine_shop.engine.reports.report(since=MAY, account="acct_1")
    assert answer.json()["cases"]["lost"] == 1
    for wrong in ("since=soon", "account=me", "sinse=2029-05-01", "since=2029-05-01T00:00"):
        assert client.get(f"/api/report?{wrong}").status_code == 422
