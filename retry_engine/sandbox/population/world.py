"""A simulated population of subscribers whose renewals fail, and the banks that answer for them.

Every answer is a function of the seed, the instrument and the time, not of who asked before or how
often: two policies that are played against the same world meet the same luck. Shares and speeds
are set by hand to lie inside what is published about failed payments (recovery on a fixed
schedule, time to recovery, mix of decline codes); none of them is measured, and none was chosen
with any retry policy in view.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from retry_engine.sandbox.accounts.issuers import IssuerAnswer
from retry_engine.sandbox.population.generation import fingerprint, make_person
from retry_engine.sandbox.population.issuers import Issuers
from retry_engine.sandbox.population.subscribers import Instrument, OwnAct, Person, Story

_SETTLING_DAYS = {"bacs_debit": 4.0, "us_bank_account": 4.0, "sepa_debit": 6.0}


class World:
    """A population and its banks.

    Example:
        world = World.generate(seed=1, failing_invoices=200, start=start, days=30)
    """

    def __init__(self, *, seed: int, people: tuple[Person, ...], stories: dict[str, Story]) -> None:
        self._seed = seed
        self._issuers = Issuers(seed)
        self.people = people
        self._stories = stories
        self._persons = {person.key: person for person in people}
        self._instruments = {i.key: i for person in people for i in person.instruments}

    @classmethod
    def generate(cls, *, seed: int, failing_invoices: int, start: datetime, days: int) -> "World":
        """People enough for that many renewals to fail in the first days of the span."""
        people: list[Person] = []
        stories: dict[str, Story] = {}
        spread = min(7.0, days / 4)
        for number in range(failing_invoices):
            rng = Random(f"{seed} person {number}")  # noqa: S311  # a simulation
            person, own = make_person(rng, f"p{seed}_{number}", start, spread)
            people.append(person)
            stories.update(own)
        return cls(seed=seed, people=tuple(people), stories=stories)

    def authorize(
        self,
        instrument_key: str,
        *,
        amount: int,
        at: datetime,
        on_session: bool,
        previous: Sequence[datetime],
    ) -> IssuerAnswer:
        """The bank's answer to a charge; a debit is accepted first and settles later."""
        instrument = self._instruments[instrument_key]
        story = self._stories[instrument_key]
        code = self._issuers.decline(
            instrument, story, at, on_session=on_session, previous=previous
        )
        if instrument.type == "card":
            return self._issuers.answer(instrument, story, code, at)
        wait = timedelta(days=_SETTLING_DAYS[instrument.type])
        later = self._issuers.decline(
            instrument, story, at + wait, on_session=on_session, previous=()
        )
        settled = self._issuers.answer(instrument, story, later, at + wait)
        return IssuerAnswer(outcome="processing", settles_after=wait, settles_as=settled)

    def own_acts(
        self, person_key: str, *, failed_at: datetime, horizon_end: datetime
    ) -> tuple[OwnAct, ...]:
        """What the person, and the card updater, do about it by themselves."""
        person = self._persons[person_key]
        default = person.instruments[0]
        trouble = self._stories[default.key].trouble
        rng = Random(f"{self._seed} acts {person_key}")  # noqa: S311  # a simulation
        acts = [
            *self._updater(rng, default, trouble, failed_at),
            *self._customer(rng, person, trouble, failed_at),
        ]
        return tuple(sorted((a for a in acts if a.at < horizon_end), key=lambda a: a.at))

    def clairvoyant(
        self, person_key: str, *, horizon: timedelta, methods: bool = True
    ) -> datetime | None:
        """The first moment, 3 hours apart, at which some instrument of theirs would be good."""
        person = self._persons[person_key]
        chosen = person.instruments if methods else person.instruments[:1]
        for step in range(1, int(horizon / timedelta(hours=3))):
            at = person.renewal_at + step * timedelta(hours=3)
            for one in chosen:
                story = self._stories[one.key]
                if self._issuers.decline(one, story, at, on_session=False, previous=()) is None:
                    return at
        return None

    # -- what people know of themselves, and do only when somebody writes to them

    def trouble_of(self, instrument_key: str) -> str | None:
        """What is wrong with an instrument, other than an empty purse."""
        return self._stories[instrument_key].trouble

    def is_short(self, instrument_key: str, at: datetime) -> bool:
        """Whether its owner knows that there is too little on it."""
        story = self._stories[instrument_key]
        return self._issuers.is_empty(self._instruments[instrument_key], story, at)

    def money_comes(self, instrument_key: str, after: datetime) -> datetime | None:
        """When there is enough on it again, to 3 hours; None if not within two weeks."""
        for step in range(1, 14 * 8):
            at = after + step * timedelta(hours=3)
            if not self.is_short(instrument_key, at):
                return at
        return None

    def another_card(self, person_key: str, *, key: str, at: datetime) -> Instrument:
        """A card of theirs that the merchant has not seen, in good order."""
        rng = Random(f"{self._seed} card {key}")  # noqa: S311  # a simulation
        default = self._persons[person_key].instruments[0]
        return self._replacement(rng, default, at, "new", key=key)

    # -- what happens by itself

    def _updater(
        self, rng: Random, default: Instrument, trouble: str | None, failed_at: datetime
    ) -> list[OwnAct]:
        reach = {"expired": 0.35, "hard": 0.18}.get(trouble or "", 0.0)
        if default.type != "card" or rng.random() >= reach:
            return []
        at = failed_at + timedelta(days=rng.uniform(0.5, 9.0))
        renewed = self._replacement(rng, default, at, "updated", key=f"{default.key}_updated")
        return [OwnAct(at=at, kind="card_automatically_updated", instrument=renewed)]

    def _customer(
        self, rng: Random, person: Person, trouble: str | None, failed_at: datetime
    ) -> list[OwnAct]:
        acts: list[OwnAct] = []
        default = person.instruments[0]
        must_act = trouble in ("expired", "hard", "data")
        if rng.random() < (0.30 if must_act else 0.03):
            at = failed_at + timedelta(days=rng.expovariate(1 / 6.0) + 0.2)
            new = self._replacement(rng, default, at, "new", key=f"{default.key}_new")
            acts.append(OwnAct(at=at, kind="updates_card", instrument=new))
        if rng.random() < {"authentication": 0.40, "funds": 0.05}.get(trouble or "", 0.07):
            at = failed_at + timedelta(days=rng.expovariate(1 / 5.0) + 0.1)
            new = self._replacement(rng, default, at, "page", key=f"{default.key}_page")
            acts.append(OwnAct(at=at, kind="pays_on_page", instrument=new))
        # who is not paid up leaves more readily the longer it lasts
        leaves = rng.expovariate(1 / 260.0)
        acts.append(OwnAct(at=failed_at + timedelta(days=leaves), kind="cancels"))
        if rng.random() < 0.004:
            at = failed_at + timedelta(days=rng.uniform(1, 25))
            acts.append(OwnAct(at=at, kind="disputes"))
        return acts

    def _replacement(
        self, rng: Random, old: Instrument, at: datetime, what: str, *, key: str
    ) -> Instrument:
        """A card in place of an old one, in good order, from the same purse."""
        new = replace(
            old,
            key=key,
            type="card",
            brand=old.brand or "visa",
            funding=old.funding or "debit",
            exp_year=at.year + 3,
            exp_month=rng.randint(1, 12),
            fingerprint=fingerprint(rng),
            last4=f"{rng.randint(0, 9999):04d}",
            added_at=at,
        )
        self._instruments[key] = new
        self._stories[key] = replace(
            self._stories[old.key],
            trouble=None,
            tightness=min(self._stories[old.key].tightness, 0.45) if what != "updated" else 0.5,
        )
        return new
