"""A generated world is put behind an account."""

from datetime import datetime, timedelta

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.population.people import People
from retry_engine.sandbox.population.population import Population
from retry_engine.sandbox.population.world import World


def settle(
    account: Account, *, seed: int, invoices: int, days: int, start: datetime, clock: Obj
) -> Population:
    """Generate a world and put it on a clock that stands at its start."""
    if account.clock_now(clock["id"]) > int(start.timestamp()):
        raise invalid("The clock is past the population's start.", param="clock")
    world = World.generate(seed=seed, failing_invoices=invoices, start=start, days=days)
    horizon_end = start + timedelta(days=days)
    population = Population(account, world, clock=clock, horizon_end=horizon_end)
    population.settle_in()
    People(account, population, world, seed=seed, clock=clock)
    return population
