"""What people are like towards mail, links, banks and discounts; nobody outside is told.

One draw a person, from a stream of its own. The shares are set by hand inside what is published
and were not chosen with any policy in view. Published, and how it is used (quality: A stated
method and sample, B large first party, C vendor's claim, D no traceable source):

- dunning mail is opened by 35-55 %, clicked by 12-25 %, and the first four recover about 13, 9, 6
  and 3 % each (D): `opens` has a mean of 0.47 and falls with each mail, `acts` a mean of 0.45 of
  what is opened.
- expired and wrong cards recover 5-15 % without contact and 35-60 % with it (our own envelope):
  follows from the above, and from `other_card`.
- a discount late in dunning helps at 55 % of companies, does nothing at 26 % and hurts at 19 %
  (B, 1,029 companies): `needs` is a threshold for each person, most have none.
- 4.21 % a month leave of their own accord (A, 1,500 sites): `world` has that unasked; being
  written to about a payment moves some who were about to go (`leaves`).
- shares of hard bounces, complaints and unsubscribing: no source was found for dunning mail;
  1.5 + 1 % of the addresses, and `worn_out`, are ours.

The effect of a discount is causal by construction: whether a person pays is `needs <= what they
were given`, the same dice otherwise. `needs` 0: pays when asked (an offer to them is money lost);
in between: only with a discount of that share; None: never pays by themselves.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

_PRICES = (0.05, 0.10, 0.15, 0.20, 0.30, 0.50)
_PRICE_WEIGHTS = (0.15, 0.25, 0.20, 0.20, 0.12, 0.08)
# each further mail is opened less readily
_WEARS = 0.9
_BED, _UP = 23, 7
_QUIET_FROM, _QUIET_TO = 8, 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """One person. Chances in [0, 1]; `median_hours` until an opened mail is opened.

    `needs`: see the module. `values_later`: what a discount on coming renewals counts, against
    one on what is owed now. `patience`: mails in a month before it is too much; `worn_out`: what
    follows then. `learns`: fails on purpose once a discount was had for failing.
    """

    address: str
    opens: float
    median_hours: float
    acts: float
    needs: float | None
    values_later: float
    takes_offers: float
    patience: int
    worn_out: str
    leaves: float
    learns: bool
    proves_themselves: float
    other_card: bool
    comes_back: float
    adds_second: bool


def temper_of(seed: int, person_key: str) -> Temper:
    """What that person of that world is like."""
    rng = Random(f"{seed} temper {person_key}")  # noqa: S311 -- a simulation
    kind = rng.choices(("willing", "price", "never"), (0.64, 0.22, 0.14))[0]
    needs = {"willing": 0.0, "price": rng.choices(_PRICES, _PRICE_WEIGHTS)[0]}.get(kind)
    return Temper(
        address=rng.choices(("good", "unknown", "bounces"), (0.975, 0.015, 0.010))[0],
        opens=rng.betavariate(2.6, 2.9),
        median_hours=math.exp(rng.gauss(math.log(5.0), 0.8)),
        acts=rng.betavariate(2.7, 3.3),
        needs=needs,
        values_later=rng.uniform(0.2, 0.7),
        takes_offers=0.95 if kind != "never" else 0.5,
        patience=3 + min(12, int(rng.expovariate(1 / 4.0))),
        worn_out=rng.choices(
            ("ignores", "unsubscribes", "complains", "leaves"), (0.35, 0.45, 0.06, 0.14)
        )[0],
        leaves={"willing": 0.002, "price": 0.02, "never": 0.06}[kind],
        learns=rng.random() < (0.15 if kind == "price" else 0.03),
        proves_themselves=rng.betavariate(17, 3),
        other_card=rng.random() < 0.75,
        comes_back=rng.uniform(0.3, 0.9),
        adds_second=rng.random() < 0.06,
    )


def opened_at(
    temper: Temper, rng: Random, *, received: datetime, letters_before: int, zone: str
) -> datetime | None:
    """When they open a mail: hours to days later, never asleep; None where they never do."""
    chance = temper.opens * _WEARS**letters_before
    delay = temper.median_hours * math.exp(rng.gauss(0.0, 1.1))
    morning = rng.uniform(0.0, 2.5)
    if rng.random() >= chance:
        return None
    local = (received + timedelta(hours=min(delay, 120.0))).astimezone(ZoneInfo(zone))
    if local.hour >= _BED or local.hour < _UP:
        day = local.date() + timedelta(days=local.hour >= _BED)
        up = datetime(day.year, day.month, day.day, _UP, tzinfo=ZoneInfo(zone))
        local = up + timedelta(hours=morning)
    return local.astimezone(received.tzinfo)


def came_at_night(received: datetime, zone: str) -> bool:
    """Whether a mail came when nobody wants one: before 8 or after 21 o'clock."""
    hour = received.astimezone(ZoneInfo(zone)).hour
    return not _QUIET_FROM <= hour < _QUIET_TO
