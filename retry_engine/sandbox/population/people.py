"""People read their mail and do something about it, each in their own time on the test clock.

A letter that reaches a customer is opened, or not, when `traits` says. What follows is done as a
person would do it: the link in the mail is followed with a real HTTP client, forms are sent, and
what a person knows of it is what the pages show. A page may offer something (a form with
`data-offer` or a field `offer`), pays by itself (Stripe's hosted page) or leads there by a form
with `data-payment` or a link with `rel="payment"`. While they visit, the clock that is being
advanced stands still and is ready, so that an engine may do what they ask for; it then moves on.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random

from retry_engine.sandbox.accounts.account import DAY, Account
from retry_engine.sandbox.accounts.issuers import IssuerAnswer
from retry_engine.sandbox.billing import collection, lifecycle
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.population.benefits import share_given
from retry_engine.sandbox.population.browsing import Browser, Page, PageBroken, browser_client
from retry_engine.sandbox.population.lives import Life, reported, totals
from retry_engine.sandbox.population.population import Population
from retry_engine.sandbox.population.subscribers import Instrument
from retry_engine.sandbox.population.traits import came_at_night, opened_at, temper_of
from retry_engine.sandbox.population.world import World
from retry_engine.sandbox.transport.letters import Letter

_BROKEN = ("expired", "hard", "data")
_MONTH = 30 * DAY
_CARD_HOPS = 3
# 3D Secure for what a customer starts is the rule there
_SCA = ("GB", "DE", "FR", "NL", "ES")
_SCA_SHARE = 0.5

_HELD_BACK = IssuerAnswer(
    outcome="failed",
    decline_code="insufficient_funds",
    advice_code="try_again_later",
    outcome_type="issuer_declined",
    outcome_reason="insufficient_funds",
    network_status="declined_by_network",
)


class People:
    """The population behind an account, as readers of mail. All luck comes from the seed."""

    def __init__(
        self, account: Account, population: Population, world: World, *, seed: int, clock: Obj
    ) -> None:
        self._account = account
        self._wallets = population.wallets
        self._world = world
        self._seed = seed
        self._clock = str(clock["id"])
        self._lives = {
            customer: Life(person=person, customer=customer, temper=temper_of(seed, person.key))
            for customer, person in population.customers()
        }
        for life in self._lives.values():
            hidden = account.hidden.setdefault(life.customer, {})
            hidden["mailbox"] = life.temper.address
        account.on_mail.append(self._gets)
        account.on_failure.append(self._failed)
        account.people.append(self)
        population.held_back = self._held_back
        population.asks_to_prove = self._asks_to_prove

    # -- mail

    def _gets(self, customer: Obj, letter: Letter) -> None:
        life = self._lives.get(customer["id"])
        if life is None:
            return
        rng = self._dice(life, "letter", life.letters)
        received = self._account.moment(letter.at)
        zone = life.person.timezone
        weight = 2.0 if came_at_night(received, zone) else 1.0
        life.received.append((letter.at, weight))
        self._note(life, "gets_mail", subject=letter.subject)
        at = opened_at(life.temper, rng, received=received, letters_before=life.letters, zone=zone)
        life.letters += 1
        if at is None or life.unsubscribed:
            return
        self._later(life, at, "reads mail", lambda: self._reads(life, letter, rng))

    def _later(self, life: Life, at: datetime, what: str, act: Callable[[], None]) -> None:
        when = max(int(at.timestamp()), self._now() + 1)
        self._account.at(
            self._clock, when, what, act, lambda: life.customer in self._account.tables["customer"]
        )

    def _reads(self, life: Life, letter: Letter, rng: Random) -> None:
        self._note(life, "reads_mail")
        if self._is_too_much(life):
            self._has_enough(life, letter)
            return
        invoice = self._owed(life)
        if invoice is not None and rng.random() < life.temper.leaves:
            # a mail about money reminds them that they wanted to go
            self._leaves(life)
            return
        if rng.random() >= life.temper.acts or not letter.links:
            return
        self._account.visits.append(lambda: self._visits(life, letter.links[0], rng))

    def _is_too_much(self, life: Life) -> bool:
        recent = sum(w for at, w in life.received if at > self._now() - _MONTH)
        return recent > life.temper.patience and not life.worn_out

    def _has_enough(self, life: Life, letter: Letter) -> None:
        life.worn_out = True
        how = life.temper.worn_out
        if how == "leaves":
            self._leaves(life)
        elif how == "complains":
            life.complained = True
            self._note(life, "complains")
        if how in ("unsubscribes", "complains"):
            self._account.visits.append(lambda: self._unsubscribes(life, letter))

    async def _unsubscribes(self, life: Life, letter: Letter) -> None:
        url = letter.unsubscribe_url
        if url is None:
            self._note(life, "finds_no_way_to_unsubscribe")
            return
        async with browser_client() as client:
            status = await Browser(client).post(url, {"List-Unsubscribe": "One-Click"})
        life.unsubscribed = status in range(200, 300)
        self._note(life, "unsubscribes", status=status)

    def _leaves(self, life: Life) -> None:
        self._note(life, "leaves")
        for subscription in self._account.of("subscription", life.customer):
            if subscription["status"] not in ("canceled", "incomplete_expired"):
                lifecycle.end(self._account, subscription, reason="cancellation_requested")

    # -- the visit

    async def _visits(self, life: Life, url: str, rng: Random) -> None:
        try:
            async with browser_client() as client:
                await self._at_the_page(life, Browser(client), url, rng)
        except PageBroken as broken:
            self._note(life, "finds_a_broken_page", status=broken.status)

    async def _at_the_page(self, life: Life, browser: Browser, url: str, rng: Random) -> None:
        page = await browser.open(url)
        self._note(life, "opens_link")
        if page.offer is not None:
            if rng.random() < life.temper.takes_offers:
                page = await browser.send(page, page.offer, {}, _first(page.offer.buttons))
                self._note(life, "takes_offer")
            else:
                self._note(life, "leaves_offer")
        for _ in range(_CARD_HOPS):
            way, link = page.form("data-payment"), page.link("payment")
            if page.form("data-pay") or page.form("data-card") or not (way or link):
                break
            page = await (browser.send(page, way, {}) if way else browser.open(str(link)))
        if page.form("data-card") is not None:
            await self._saves_card(life, browser, page, rng)
        elif page.form("data-pay") is not None:
            await self._considers_paying(life, browser, page, url, rng)

    async def _saves_card(self, life: Life, browser: Browser, page: Page, rng: Random) -> None:
        form = page.form("data-card")
        if form is not None and life.temper.other_card:
            await browser.send(page, form, self._card_fields(life, self._new_card(life)))
            self._note(life, "saves_card")

    async def _considers_paying(
        self, life: Life, browser: Browser, page: Page, url: str, rng: Random
    ) -> None:
        invoice = self._owed(life)
        if invoice is None:
            return
        given = share_given(self._account, invoice, values_later=life.temper.values_later)
        needs = life.temper.needs
        if needs is None or given < needs:
            self._note(life, "does_not_find_it_worth", given=round(given, 3))
            return
        life.convinced = life.convinced or needs > 0
        default = life.person.instruments[0]
        trouble = self._world.trouble_of(default.key)
        if trouble in _BROKEN:
            if life.temper.other_card:
                await self._pays(life, browser, page, invoice, None, rng)
            else:
                self._note(life, "has_no_other_card")
            return
        if self._world.is_short(default.key, self._moment()):
            await self._without_money(life, browser, page, invoice, url, rng)
            return
        page = await self._pays(life, browser, page, invoice, default, rng)
        still = self._owed(life) is invoice and page.form("data-pay") is not None
        if still and life.temper.other_card and not self._is_under_way(invoice):
            await self._pays(life, browser, page, invoice, None, rng)

    async def _without_money(  # noqa: PLR0917
        self, life: Life, browser: Browser, page: Page, invoice: Obj, url: str, rng: Random
    ) -> None:
        """They know their purse: another card now, or back after payday."""
        if rng.random() < 0.35 and life.temper.other_card:
            await self._pays(life, browser, page, invoice, None, rng)
            return
        if life.comes_back or rng.random() >= life.temper.comes_back:
            self._note(life, "has_no_money")
            return
        filled = self._world.money_comes(life.person.instruments[0].key, self._moment())
        if filled is None:
            self._note(life, "has_no_money")
            return
        life.comes_back = True
        self._note(life, "will_come_back")
        at = filled + timedelta(hours=rng.uniform(1, 20))
        self._later(life, at, "comes back to pay", lambda: self._returns(life, url, rng))

    def _returns(self, life: Life, url: str, rng: Random) -> None:
        if self._owed(life) is not None:
            self._account.visits.append(lambda: self._visits(life, url, rng))

    async def _pays(  # noqa: PLR0917
        self, life: Life, browser: Browser, page: Page, invoice: Obj,
        instrument: Instrument | None, rng: Random,
    ) -> Page:  # fmt: skip
        """Send the form, answer the bank, and see what comes. None: with a card not seen yet."""
        form = page.form("data-pay")
        if form is None:
            return page
        method = self._wallets.method_id(instrument.key) if instrument else None
        if method is not None and method in form.choices.get("method", ()):
            filled = {"method": method}
        else:
            filled = {"method": "new", **self._card_fields(life, self._new_card(life))}
        page = await browser.send(page, form, filled)
        challenge = page.form("data-challenge")
        if challenge is not None:
            passes = rng.random() < life.temper.proves_themselves
            self._note(life, "passes_challenge" if passes else "fails_challenge")
            answer = ("answer", "pass" if passes else "fail")
            page = await browser.send(page, challenge, {}, answer)
        if invoice["status"] == "paid" or self._is_under_way(invoice):
            self._has_paid(life, invoice)
        else:
            self._note(life, "is_declined")
        return page

    def _has_paid(self, life: Life, invoice: Obj) -> None:
        given = share_given(self._account, invoice, values_later=life.temper.values_later)
        self._note(life, "pays", given=round(given, 3))
        if given > 0:
            life.rewarded_at = self._now()
        # who has learnt to fail is done with it until the next renewal
        life.holds_back = life.temper.learns and given > 0
        if life.temper.adds_second and life.cards < 2:
            self._wallets.attached(
                self._account.tables["customer"][life.customer], self._new_card(life)
            )
            self._note(life, "adds_second_method")

    def _new_card(self, life: Life) -> Instrument:
        life.cards += 1
        key = f"{life.person.key}_card{life.cards}"
        return self._world.another_card(life.person.key, key=key, at=self._moment())

    def _card_fields(self, life: Life, card: Instrument) -> dict[str, str]:
        return {
            "number": self._wallets.number_of(card),
            "expiry": f"{card.exp_month:02d}/{card.exp_year}",
            "cvc": "123",
        }

    # -- who learnt to fail

    def _held_back(self, customer: str, at: datetime, *, on_session: bool) -> IssuerAnswer | None:
        life = self._lives.get(customer)
        if life is None or not life.holds_back or on_session or life.rewarded_at is None:
            return None
        # not in the month that they have just paid for
        return _HELD_BACK if at.timestamp() > life.rewarded_at + 5 * DAY else None

    def _failed(self, invoice: Obj) -> None:
        life = self._lives.get(invoice["customer"])
        if life is None or not life.holds_back:
            return
        self._note(life, "fails_on_purpose")
        days = self._dice(life, "gives in", life.letters).uniform(6, 14)
        self._later(
            life, self._moment() + timedelta(days=days), "gives in", lambda: self._gives_in(life)
        )

    def _gives_in(self, life: Life) -> None:
        life.holds_back = False
        self._note(life, "gives_in")

    def _asks_to_prove(self, instrument: Instrument) -> bool:
        """A card typed in by its owner is challenged where that is the rule."""
        rng = Random(f"{self._seed} challenge {instrument.key}")  # noqa: S311 -- a simulation
        is_new = "_card" in instrument.key
        return is_new and instrument.country in _SCA and rng.random() < _SCA_SHARE

    def report(self) -> Obj:
        """Each person's life and the sums. Money in minor units by currency."""
        people = [reported(self._account, life) for life in self._lives.values()]
        return {"clock": self._clock, "people": people, "totals": totals(people)}

    # -- small things

    def _owed(self, life: Life) -> Obj | None:
        found = [i for i in self._account.of("invoice", life.customer) if collection.collectable(i)]
        return found[-1] if found else None

    def _is_under_way(self, invoice: Obj) -> bool:
        return collection.has_payment_under_way(self._account, invoice)

    def _now(self) -> int:
        return self._account.clock_now(self._clock)

    def _moment(self) -> datetime:
        return self._account.moment(self._now())

    def _dice(self, life: Life, what: str, number: int) -> Random:
        return Random(f"{self._seed} {what} {life.person.key} {number}")  # noqa: S311

    def _note(self, life: Life, what: str, **more: object) -> None:
        life.diary.append({"at": self._now(), "what": what, **more})


def _first(buttons: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    return next((button for button in buttons if button[0]), None)
