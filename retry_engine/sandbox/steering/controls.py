"""What can be seen of an account from outside the API, and set: populations, the ledger, terms."""

from collections.abc import Callable
from datetime import datetime

from retry_engine.sandbox.accounts import sigma
from retry_engine.sandbox.accounts.account import DAY, Account
from retry_engine.sandbox.billing import clocks
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.population import settling
from retry_engine.sandbox.population.report import summarise
from retry_engine.sandbox.steering.acts import act


def steer(account: Account, method: str, what: str, given: Obj) -> Obj:
    """One steering request."""
    found = _DEEDS.get((method, what))
    if found is None:
        known = ", ".join(sorted(f"{verb} /_sandbox/{name}" for verb, name in _DEEDS))
        raise invalid(f"There is no {method} /_sandbox/{what}; there is {known}", status=404)
    return found(account, given)


def _populate(account: Account, given: Obj) -> Obj:
    seed, invoices, days = (int(given.get(n, d)) for n, d in _POPULATION.items())
    start = _start(account, given)
    if given.get("clock"):
        clock = account.get("test_helpers.test_clock", str(given["clock"]), param="clock")
    else:
        named = {"frozen_time": int(start.timestamp()), "name": f"population {seed}"}
        clock = clocks.create(account, named)
    before = len(account.tables["customer"])
    settling.settle(account, seed=seed, invoices=invoices, days=days, start=start, clock=clock)
    begins = int(start.timestamp())
    return {
        "clock": clock["id"],
        "customers": len(account.tables["customer"]) - before,
        "start": begins,
        "end": begins + days * DAY,
    }


_POPULATION = {"seed": 1, "invoices": 100, "days": 30}


def _start(account: Account, given: Obj) -> datetime:
    start = given.get("start")
    if start is None:
        clock = given.get("clock")
        return account.moment(account.clock_now(str(clock) if clock else None))
    if isinstance(start, str) and not start.isdigit():
        moment = datetime.fromisoformat(start)
        if moment.tzinfo is None:
            raise invalid("start: a time with its zone is expected", param="start")
        return moment
    return account.moment(int(start))


def _next(account: Account, given: Obj) -> Obj:
    due = account.next_due(given.get("clock"))
    return {"at": due.at if due else None, "what": due.what if due else None}


def _ledger(account: Account, given: Obj) -> Obj:
    rows = [entry.as_json() for entry in account.ledger]
    wanted = given.get("invoice")
    return {"data": [r for r in rows if wanted in (None, r["invoice"])]}


def _summary(account: Account, given: Obj) -> Obj:
    return summarise(account).as_json()


def _people(account: Account, given: Obj) -> Obj:
    wanted = given.get("clock")
    reports = [people.report() for people in account.people]
    return {"data": [r for r in reports if wanted in (None, r["clock"])]}


def _settings(account: Account, given: Obj) -> Obj:
    if "retry_days" in given:
        account.terms.retry_days = tuple(float(day) for day in given["retry_days"])
    return {"retry_days": list(account.terms.retry_days)}


_DEEDS: dict[tuple[str, str], Callable[[Account, Obj], Obj]] = {
    ("POST", "population"): _populate,
    ("GET", "next"): _next,
    ("GET", "ledger"): _ledger,
    ("GET", "summary"): _summary,
    ("GET", "people"): _people,
    ("POST", "settings"): _settings,
    ("POST", "act"): act,
    ("POST", "sigma"): sigma.run,
}
