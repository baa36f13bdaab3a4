"""Test clocks: time that stands still until somebody advances it."""

from collections.abc import Iterator

from retry_engine.sandbox import objects
from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.billing import customers
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


def create(account: Account, params: Obj) -> Obj:
    """`POST /v1/test_helpers/test_clocks`; unlike Stripe's it takes any number of customers."""
    if "frozen_time" not in params:
        raise invalid("Missing required param: frozen_time.", param="frozen_time")
    clock = objects.test_clock(
        id=account.new_id("test_helpers.test_clock"),
        created=account.real_now(),
        frozen_time=params["frozen_time"],
        name=params.get("name"),
    )
    account.put("test_helpers.test_clock", clock)
    account.emit("test_helpers.test_clock.created", clock)
    return clock


def begin_advancing(account: Account, clock: Obj, frozen_time: int) -> None:
    """The clock sets out; `advance_steps` takes it there."""
    if clock["status"] != "ready" or account.is_playing(clock["id"]):
        raise invalid("The test clock is advancing already.", status=429, code="lock_timeout")
    if frozen_time <= clock["frozen_time"]:
        raise invalid("A test clock can only be advanced into its future.", param="frozen_time")
    before = {"status": clock["status"]}
    clock["status"] = "advancing"
    clock["status_details"] = {"advancing": {"target_frozen_time": frozen_time}}
    account.emit("test_helpers.test_clock.advancing", clock, before)


def advance_steps(account: Account, clock: Obj, frozen_time: int) -> Iterator[None]:
    """Everything due until then, in order, one thing a step; then the clock is ready."""
    while account.play_next(clock["id"], frozen_time):
        yield
    account.stop_playing(clock["id"])
    clock.update(frozen_time=frozen_time, status="ready", status_details={})
    account.emit("test_helpers.test_clock.ready", clock, {"status": "advancing"})


def advance(account: Account, clock: Obj, frozen_time: int) -> None:
    """Advance at once, for who plays without HTTP."""
    begin_advancing(account, clock, frozen_time)
    for _ in advance_steps(account, clock, frozen_time):
        pass


# what disappears with the customers of a clock
_ON_IT = (
    "subscription", "invoice", "invoiceitem", "payment_intent", "charge",
    "setup_intent", "credit_note",
)  # fmt: skip


def delete(account: Account, clock: Obj) -> Obj:
    """`DELETE`: the clock goes, and with it every customer on it and all that was theirs.

    The customers answer `deleted: true` from then on, their objects 404.
    """
    if clock["status"] == "advancing":
        raise invalid(
            "Test clock advancement underway - cannot delete.", status=429, code="lock_timeout"
        )
    for customer in list(account.tables["customer"].values()):
        if customer["test_clock"] == clock["id"]:
            owner = customer["id"]
            if not customer.get("deleted"):
                customers.bury(account, customer)
            for table in _ON_IT:
                for thing in account.of(table, owner):
                    del account.tables[table][thing["id"]]
    del account.tables["test_helpers.test_clock"][clock["id"]]
    account.forget_agenda(clock["id"])
    account.emit("test_helpers.test_clock.deleted", clock)
    return {"id": clock["id"], "object": clock["object"], "deleted": True}
