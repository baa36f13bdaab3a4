"""The sandbox's own population, as in the demo: one failed renewal each."""

from datetime import datetime
from typing import Any

from retry_engine.sandbox.population.world import World
from simulators.rollout import HORIZON, Case, Charge, Row, as_attempt, as_method, case_row

# What people do that ends a case, and what the log says of it.
_ENDS = {"cancels": "churned", "pays_on_page": "recovered", "disputes": "voided"}


def sandbox_people(seed: int, count: int, start: datetime) -> tuple[list[Case], Charge]:
    """The sandbox's people, one failed renewal each."""
    world = World.generate(seed=seed, failing_invoices=count, start=start, days=30)
    instruments: dict[str, Any] = {}

    def charge(case: Case, method_id: str, at: datetime) -> Row:
        one = instruments[method_id]
        answer = world.authorize(
            one.key, amount=case.row["amount"], at=at, on_session=False, previous=case.tries
        )
        return as_attempt(one, answer.settles_as or answer, case.row, at)

    cases = []
    for person in world.people:
        instruments.update((i.key, i) for i in person.instruments)
        failed = person.renewal_at
        row = case_row(
            person.key, person.key, failed, person.amount, person.currency,
            country=person.country, zone=person.timezone, since=person.customer_since,
        )  # fmt: skip
        row["payment_methods"] = [
            as_method(i, default=n == 0) for n, i in enumerate(person.instruments)
        ]
        case = Case(row, failed + HORIZON)
        for act in world.own_acts(person.key, failed_at=failed, horizon_end=failed + HORIZON):
            if act.kind in _ENDS and act.at < case.ends_at:
                case.ends_at, case.ends_by = act.at, _ENDS[act.kind]
            elif act.instrument is not None:
                instruments[act.instrument.key] = act.instrument
                case.changes.append((act.at, as_method(act.instrument, default=True)))
        first = charge(case, person.instruments[0].key, failed)
        if first["outcome"] != "succeeded":
            row["attempts"].append(first | {"source": "stripe"})
            cases.append(case)
    return cases, charge
