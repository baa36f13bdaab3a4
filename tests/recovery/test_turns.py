"""Several invoices that are to be charged on one card: never at once, and in which order."""

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from engine_shop import EngineShop, RealTime, build_engine
from sandbox_shop import Shop
from sqlalchemy import Engine, event, text

pytestmark = pytest.mark.integration

POOR = ["insufficient_funds"] * 8

_WAITING_FOR_A_CARD = text(
    "select exists (select from pg_locks l join pg_stat_activity s on s.pid = l.pid"
    " where l.locktype = 'advisory' and not l.granted and s.datname = current_database())"
)


def due(here: EngineShop, *customers: Any, wanted: int) -> list[int]:
    """Time passes until so many charges lie with the workers at once: their ids."""
    found: list[int] = []
    query = text("select id from actions where kind = 'retry' and state = 'claimed' order by id")
    for _ in range(40):
        for customer in customers:
            here.shop.advances(customer, hours=6)
        here.works(leave="retry")
        with here.engine.database.connection() as connection:
            found = list(connection.execute(query).scalars())
        if len(found) >= wanted:
            return found
    raise AssertionError(f"charges are never due together: {found}")


def test_two_workers_never_charge_one_card_in_the_same_moment(
    shop: Shop, database_url: str, redis_url: str
) -> None:
    """The same card with two customers: nothing but the card itself is between them."""
    time = RealTime()
    with (
        build_engine(shop, database_url, redis_url, time) as engine,
        build_engine(shop, database_url, redis_url, time) as other,
    ):
        here = EngineShop(shop, engine, time)
        customers = [here.fails(*POOR)[0] for _ in range(2)]
        charges = due(here, *customers, wanted=2)
        workers = [
            threading.Thread(target=one.worker.run_action, args=(charge,))
            for one, charge in zip((engine, other), charges, strict=True)
        ]
        with _both_have_looked(here):
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join(60)
    assert len([row for row in shop.ledger() if row["source"] == "api"]) == 1


@contextlib.contextmanager
def _both_have_looked(here: EngineShop) -> Iterator[None]:
    """Who would record an intent does not go on before the other would too, or waits for it."""
    arrived: list[None] = []
    both = threading.Event()

    def hold(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("INSERT INTO attempts"):
            return
        arrived.append(None)
        if len(arrived) == 2:
            both.set()
        for _turn in range(1000):
            with here.engine.database.connection() as connection:
                waits = connection.execute(_WAITING_FOR_A_CARD).scalar_one()
            if waits or both.wait(0.01):
                break

    event.listen(Engine, "before_cursor_execute", hold)
    yield
    event.remove(Engine, "before_cursor_execute", hold)
    assert arrived


def test_the_invoice_that_is_worth_more_is_charged_first_and_the_other_is_planned_anew(
    engine_shop: EngineShop,
) -> None:
    here, stripe = engine_shop, engine_shop.shop.stripe.v1
    customer, _ = here.shop.customer_with("succeeded", "succeeded", *POOR)
    here.shop.subscribed(customer)  # 20.00
    price = stripe.prices.create(
        {"currency": "usd", "unit_amount": 9000, "recurring": {"interval": "month"},
         "product_data": {"name": "Large"}}
    )  # fmt: skip
    stripe.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    here.shop.advances(customer, days=31, hours=2)
    here.works()
    small, large = sorted(
        stripe.invoices.list({"customer": customer.id, "status": "open"}).data,
        key=lambda invoice: invoice.amount_due,
    )
    charges = due(here, customer, wanted=2)
    # whichever a worker takes up first
    by_case = {here.case(i)["id"]: i for i in (small, large)}
    with here.engine.database.connection() as connection:
        rows = connection.execute(text("select id, case_id from actions where kind = 'retry'"))
        of = {row.id: by_case[row.case_id] for row in rows}
    for charge in sorted(charges, key=lambda charge: of[charge].amount_due):
        here.engine.worker.run_action(charge)
    assert (len(here.engine_charges(small)), len(here.engine_charges(large))) == (0, 1)
    here.shop.advances(customer, hours=1)
    here.works()
    # once that outcome is known it is planned anew, after the gap
    planned = datetime.fromisoformat(here.case(small)["decisions"][-1]["retry_at"])
    assert planned.timestamp() >= here.engine_charges(large)[0]["at"] + 24 * 3600
    # and its turn comes
    here.days_pass(customer, 27, step_hours=12)
    assert here.engine_charges(small)
    times = sorted(row["at"] for i in (small, large) for row in here.engine_charges(i))
    assert len(set(times)) == len(times)
