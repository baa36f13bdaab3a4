"""Results of scheduled Sigma queries, told by webhook and fetched over real HTTP."""

import operator
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import psycopg
import pytest
from engine_shop import EngineShop
from sqlalchemy import text

from retry_engine.learning.sigma import TITLE
from retry_engine.settings import bundled

BRANDS = {"visa": "Visa", "amex": "American Express"}  # as Sigma writes them

pytestmark = pytest.mark.integration

HEADER = "kind,invoice_id,customer_id,at,amount,currency,outcome,close_reason,charge_id"
GOOD = [
    "attempt,in_1,cus_1,2026-03-02T06:00:00Z,2000,usd,failed,,ch_1",
    "attempt,in_1,cus_1,2026-03-05T06:00:00Z,2000,usd,succeeded,,ch_2",
    "closed,in_1,cus_1,2026-03-05T06:00:00Z,,,,recovered,",
]


def csv(*lines: str) -> str:
    return "\n".join([HEADER, *lines]) + "\n"


def runs(here: EngineShop, title: str = TITLE, **more: Any) -> dict[str, Any]:
    run = here.shop.sigma_runs(title, **more)
    here.works()
    return run


def rows(here: EngineShop) -> list[dict[str, Any]]:
    query = text("select content from attempt_log order by at, content->>'kind'")
    with here.engine.database.connection() as connection:
        return [dict(content) for content in connection.execute(query).scalars()]


def dead(here: EngineShop) -> list[tuple[str, str]]:
    return [(row["type"], row["last_error"]) for row in here.engine.operations.dead_letters()]


def test_a_sigma_result_is_imported_when_its_run_is_told_of(engine_shop: EngineShop) -> None:
    runs(engine_shop, f"{TITLE}, nightly", csv=csv(*GOOD))
    found = rows(engine_shop)
    assert [r.get("outcome") for r in found] == ["failed", "succeeded", None]
    assert found[0]["source"] == "stripe"
    assert engine_shop.engine.health.status()["inbox_pending"] == 0
    assert dead(engine_shop) == []


def test_a_run_that_is_told_of_twice_is_imported_once(engine_shop: EngineShop) -> None:
    runs(engine_shop, csv=csv(*GOOD))
    [event] = [e for e in engine_shop.shop.inbox.events() if e["type"].startswith("sigma.")]
    engine_shop.sends(event, {**event, "id": "evt_again"})
    assert engine_shop.engine.health.status()["inbox_pending"] == 1
    engine_shop.works()
    runs(engine_shop, csv=csv(*GOOD))  # the next night's run gives the same rows
    assert len(rows(engine_shop)) == len(GOOD)
    assert dead(engine_shop) == []


def test_a_bad_result_is_dead_at_once_with_its_line_and_nothing_of_it_is_taken(
    engine_shop: EngineShop,
) -> None:
    run = runs(engine_shop, csv=csv(GOOD[0], GOOD[1].replace("succeeded", "paid"), GOOD[2]))
    [(kind, error)] = dead(engine_shop)
    assert kind == "sigma.scheduled_query_run.created"
    assert error.startswith(f"Sigma run {run['id']}: line 3, outcome: expected one of")
    assert "tmp" not in error
    assert rows(engine_shop) == []


def test_a_result_that_is_no_attempt_log_is_refused_by_the_missing_columns(
    engine_shop: EngineShop,
) -> None:
    runs(engine_shop, csv="day,total\n2026-03-02,5\n")
    runs(engine_shop, csv="")
    errors = [error for _, error in dead(engine_shop)]
    assert any("missing required column(s): invoice_id" in error for error in errors)
    assert any("expected a CSV file" in error for error in errors)


@pytest.mark.parametrize("status", ["failed", "timed_out", "canceled"])
def test_a_run_without_a_result_is_dead_with_its_reason(
    engine_shop: EngineShop, status: str
) -> None:
    run = runs(engine_shop, status=status, error="Column 'x' cannot be resolved")
    assert dead(engine_shop) == [
        (
            "sigma.scheduled_query_run.created",
            f"Sigma run {run['id']} has no result, it is {status}: Column 'x' cannot be resolved",
        )
    ]


def test_other_peoples_queries_are_left_alone(engine_shop: EngineShop) -> None:
    engine_shop.shop.faults(forbidden=["scheduled_query_runs", "files"])
    runs(engine_shop, "Monthly revenue", csv=csv(*GOOD))
    runs(engine_shop, f"Copy of {TITLE}", csv=csv(*GOOD))
    assert (rows(engine_shop), dead(engine_shop)) == ([], [])
    assert engine_shop.engine.health.status()["inbox_pending"] == 0


def test_a_dead_run_is_imported_once_it_is_replayed_and_good(engine_shop: EngineShop) -> None:
    run = runs(engine_shop, csv=csv("attempt,in_1,cus_1,yesterday,2000,usd,failed,,ch_1"))
    [letter] = engine_shop.engine.operations.dead_letters()
    hidden = engine_shop.shop.sandbox.platform.hidden[run["file"]["id"]]
    hidden["contents"] = csv(*GOOD)
    engine_shop.engine.operations.replay_event(letter["event_id"])
    engine_shop.works()
    assert len(rows(engine_shop)) == len(GOOD)


def test_a_download_that_breaks_off_is_made_again_and_never_taken_in_half(
    engine_shop: EngineShop,
) -> None:
    engine_shop.shop.faults(api=[{"fault": "drop_after", "on": "GET /v1/files/*", "times": 1}])
    runs(engine_shop, csv=csv(*GOOD))
    assert len(rows(engine_shop)) == len(GOOD)


def test_a_key_that_may_not_read_the_file_leaves_the_event_waiting(
    engine_shop: EngineShop,
) -> None:
    engine_shop.shop.faults(forbidden=["files"])
    runs(engine_shop, csv=csv(*GOOD))
    assert dead(engine_shop) == []
    with engine_shop.engine.database.connection() as connection:
        [error] = connection.execute(
            text("select last_error from inbox where state = 'pending'")
        ).scalars()
    assert error == "Stripe files.read: 403, the API key lacks the permission for it"
    engine_shop.shop.faults()
    engine_shop.time.passes(minutes=10)
    engine_shop.works()
    assert len(rows(engine_shop)) == len(GOOD)


def test_a_charge_that_was_read_from_stripe_keeps_what_sigma_does_not_know(
    engine_shop: EngineShop,
) -> None:
    customer, _, invoice = engine_shop.shop.failed_renewal("insufficient_funds")
    engine_shop.shop.stripe.v1.invoices.mark_uncollectible(invoice.id)
    since = engine_shop.time.now.replace(year=2026, month=1)
    engine_shop.engine.backfill.run(since, account="", on_progress=lambda _: None)
    before = rows(engine_shop)
    charge = engine_shop.shop.ledger(invoice)[0]["charge"]
    told = f"attempt,{invoice.id},{customer.id},2026-04-02T07:00:00Z,2000,usd,failed,,{charge}"
    paid = f"closed,{invoice.id},{customer.id},2026-04-09T07:00:00Z,,,,recovered,"
    runs(engine_shop, csv=csv(told, paid))
    after = rows(engine_shop)
    assert [r for r in after if r["kind"] == "attempt"] == before[:1]
    assert [r["close_reason"] for r in after if r["kind"] == "closed"] == ["recovered"]


# Sigma's tables, as far as the shipped query reads them, with the columns that are documented.
TABLES = {
    "charges": "id text, created timestamp, status text, amount bigint, currency text,"
    " customer_id text, invoice_id text, payment_intent text, payment_method_id text,"
    " payment_method_type text, failure_code text, outcome_reason text, outcome_advice_code text,"
    " outcome_network_advice_code text, outcome_network_decline_code text,"
    " outcome_risk_level text, card_brand text, card_funding text, card_country text,"
    " card_exp_year bigint, card_exp_month bigint, card_fingerprint text",
    "invoice_payments": "id text, invoice text, payment_intent text",
    "invoices": "id text, customer_id text, subscription_id text, status text,"
    " billing_reason text, collection_method text, status_transitions_paid_at timestamp,"
    " status_transitions_voided_at timestamp,"
    " status_transitions_marked_uncollectible_at timestamp",
    "subscriptions": "id text, status text, ended_at timestamp",
    "subscription_items": "id text, subscription_id text, price_id text",
    "prices": "id text, recurring_interval text",
    "customers": "id text, created timestamp, address_country text, shipping_address_country text",
    "customers_metadata": "customer_id text, key text, value text",
}
# What of Sigma's dialect PostgreSQL does not have.
DATE_FORMAT = """
    create function date_format(at timestamp, pattern text) returns text language sql as
    $$ select to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') $$
"""


def sigma_rows(here: EngineShop) -> Iterator[tuple[str, dict[str, Any]]]:
    """The shop's account as Sigma's tables show it."""
    account = here.shop.sandbox.platform.tables
    for c in account["charge"].values():
        card = c["payment_method_details"].get("card") or {}
        outcome = c["outcome"]
        yield (
            "charges",
            {
                **{n: c[n] for n in ("id", "status", "amount", "currency", "failure_code")},
                **{n: c[n] for n in ("created", "payment_intent")},
                "customer_id": c["customer"],
                "payment_method_id": c["payment_method"],
                "payment_method_type": c["payment_method_details"]["type"],
                "outcome_reason": outcome["reason"],
                "outcome_advice_code": outcome["advice_code"],
                "outcome_network_advice_code": outcome["network_advice_code"],
                "outcome_network_decline_code": outcome["network_decline_code"],
                "outcome_risk_level": outcome["risk_level"],
                "card_brand": BRANDS.get(str(card.get("brand"))),
                **{
                    f"card_{n}": card.get(n)
                    for n in ("funding", "country", "exp_year", "exp_month", "fingerprint")
                },
            },
        )
    for p in account["invoice_payment"].values():
        intent = p["payment"]["payment_intent"]
        yield (
            "invoice_payments",
            {"id": p["id"], "invoice": p["invoice"], "payment_intent": intent},
        )
    for i in account["invoice"].values():
        passed = i["status_transitions"]
        yield (
            "invoices",
            {
                **{n: i[n] for n in ("id", "status", "billing_reason", "collection_method")},
                "customer_id": i["customer"],
                "subscription_id": i["parent"]["subscription_details"]["subscription"],
                **{
                    f"status_transitions_{n}": passed[n]
                    for n in ("paid_at", "voided_at", "marked_uncollectible_at")
                },
            },
        )
    for s in account["subscription"].values():
        yield "subscriptions", {n: s[n] for n in ("id", "status", "ended_at")}
        for item in s["items"]["data"]:
            price = item["price"]
            yield (
                "subscription_items",
                {"id": item["id"], "subscription_id": s["id"], "price_id": price["id"]},
            )
            yield (
                "prices",
                {"id": price["id"], "recurring_interval": price["recurring"]["interval"]},
            )
    for u in account["customer"].values():
        country = (u["address"] or {}).get("country")
        yield "customers", {"id": u["id"], "created": u["created"], "address_country": country}
        for key, value in u["metadata"].items():
            yield "customers_metadata", {"customer_id": u["id"], "key": key, "value": value}


def queried(here: EngineShop, database_url: str) -> str:
    """The result of the shipped query on the shop's account, as CSV."""
    with psycopg.connect(database_url) as connection:
        connection.execute("create schema sigma; set local search_path to sigma; " + DATE_FORMAT)
        types = {}
        for table, columns in TABLES.items():
            connection.execute(f"create table {table} ({columns})")
            types[table] = dict(c.strip().split(" ", 1) for c in columns.split(","))
        for table, row in sigma_rows(here):
            values = {
                n: datetime.fromtimestamp(v, UTC).replace(tzinfo=None)
                if types[table][n] == "timestamp" and v is not None
                else v
                for n, v in row.items()
            }
            names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
            connection.execute(
                f"insert into {table} ({names}) values ({marks})", list(values.values())
            )
        query = (bundled("config") / "sigma_attempt_log.sql").read_text()
        # the shop lives at another time than the database server
        query = query.replace("current_date", "date '2026-05-01'")
        found = connection.execute(query)
        headings = [column.name for column in found.description or ()]
        frame = pd.DataFrame(found.fetchall(), columns=headings)
        connection.rollback()
    frame["amount"] = frame["amount"].astype("Int64")
    return str(frame.to_csv(index=False))


def test_the_shipped_query_says_what_reading_the_api_says(
    engine_shop: EngineShop, database_url: str
) -> None:
    shop = engine_shop.shop
    decline = {
        "decline_code": "insufficient_funds",
        "advice_code": "try_again_later",
        "network_advice_code": "25",
        "network_decline_code": "51",
    }
    customer, _, _ = shop.failed_renewal(decline, "succeeded")
    shop.stripe.v1.customers.update(
        customer.id,
        {"address": {"country": "DE"}, "metadata": {"timezone": "Europe/Berlin", "x": "y"}},
    )
    shop.advances(customer, days=8)
    for how, code in (("void", "authentication_required"), ("cancel", "highest_risk_level")):
        other, _, invoice = shop.failed_renewal(code)
        if how == "void":
            shop.stripe.v1.invoices.void_invoice(invoice.id)
        else:
            shop.http.post("/_sandbox/act", json={"customer": other.id, "act": how})
    result = queried(engine_shop, database_url)
    runs(engine_shop, csv=result)
    assert dead(engine_shop) == []
    by_sigma = rows(engine_shop)
    with engine_shop.engine.database.transaction() as connection:
        connection.execute(text("truncate attempt_log"))
    since = datetime(2026, 1, 1, tzinfo=UTC)
    engine_shop.engine.backfill.run(since, account="", on_progress=lambda _: None)
    order = operator.itemgetter("at", "invoice_id", "kind")
    by_api = rows(engine_shop)
    assert sorted(by_sigma, key=order) == sorted(by_api, key=order)
    assert {r.get("close_reason") for r in by_sigma} == {None, "recovered", "voided", "churned"}
