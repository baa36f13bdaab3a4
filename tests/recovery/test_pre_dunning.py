"""Whose next renewal is going to fail is asked for another card, once, in good time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from correspondence import ADDRESS, PUBLIC, SOON, Writing, reader, subscribed, words
from engine_shop import EngineShop
from ports import port
from post_office import PostOffice
from sqlalchemy import text

from retry_engine.decisioning import discounts
from retry_engine.decisioning.churn import UNKNOWN, ChurnHazard
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.errors import StripeForbidden, StripeUnavailable
from retry_engine.domain.vocabulary import RiskFlagKind
from retry_engine.recovery.messaging.channel import Message
from retry_engine.store import risk_flags

pytestmark = pytest.mark.integration

_LATER = (12, 2031)


class Crash(BaseException):
    """The process dies here: no handler of ours sees it."""


def states(here: EngineShop) -> list[str]:
    with here.engine.database.connection() as connection:
        return list(connection.execute(text("select state from renewals order by id")).scalars())


def test_whose_card_will_have_expired_is_told_once_by_day(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = subscribed(writing)
    writing.days_pass(customer, 29, step_hours=6)
    (mail,) = post_office.to(ADDRESS)
    assert "läuft vor Ihrer nächsten Zahlung ab" in mail["Subject"]
    assert "20,00\xa0$" in words(mail)
    assert f"{PUBLIC}/c/" in words(mail)
    assert f"{PUBLIC}/u/" in mail["List-Unsubscribe"]
    assert states(writing) == ["sent"]
    with writing.engine.database.connection() as connection:
        at = connection.execute(text("select at from renewals")).scalar_one()
    assert 8 <= (at + timedelta(hours=1)).hour < 22


@pytest.mark.parametrize(
    "why", ["a card that is good for long", "a paused engine", "shadow", "switched off", "bounced"]
)
def test_nobody_else_is_written_to(writes: Writing, post_office: PostOffice, why: str) -> None:
    mode = {"RETRY_ENGINE_MODE": "shadow"} if why == "shadow" else {}
    off = "[messages]\nbefore_renewal = false\n" if why == "switched off" else ""
    here = writes(off, **mode)
    if why == "a paused engine":
        here.engine.operations.set_engine(action="pause", reason="a test", by="ops")
    if why == "bounced":
        post_office.bounces.add(ADDRESS)
    good = why == "a card that is good for long"
    customer, _ = subscribed(here, expiry=_LATER if good else SOON)
    here.days_pass(customer, 29)
    assert post_office.to(ADDRESS) == []


def test_a_card_that_was_replaced_meanwhile_needs_no_letter(
    writing: EngineShop, post_office: PostOffice
) -> None:
    # the announcement comes at night, and the customer is quicker than the morning
    customer, subscription = subscribed(writing, address={"country": "US"})
    writing.engine.operations.set_engine(action="pause", reason="a test", by="ops")
    writing.days_pass(customer, 26)
    assert states(writing) == ["planned"]
    other = writing.another_method(customer, "succeeded")
    writing.shop.stripe.v1.subscriptions.update(
        subscription.id, {"default_payment_method": other.id}
    )
    writing.engine.operations.set_engine(action="resume", reason="a test", by="ops")
    writing.days_pass(customer, 1, step_hours=3)
    assert post_office.to(ADDRESS) == []
    assert states(writing) == ["dropped"]


def test_a_card_that_is_added_after_the_letter_becomes_the_default(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, subscription = subscribed(writing)
    writing.days_pass(customer, 28, step_hours=6)
    assert len(post_office.to(ADDRESS)) == 1
    other = writing.another_method(customer, "succeeded")
    writing.works()
    found = writing.shop.stripe.v1.subscriptions.retrieve(subscription.id)
    assert found.default_payment_method == other.id
    assert states(writing) == ["mended"]
    writing.days_pass(customer, 5)
    assert len(post_office.to(ADDRESS)) == 1
    assert writing.engine.health.status()["cases_open"] == 0


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("gone", ["test clock", "customer"])
def test_who_was_deleted_is_not_warned_and_the_warning_says_why(
    writing: EngineShop, post_office: PostOffice, gone: str, heard: bool
) -> None:
    here = writing
    customer, _ = subscribed(here)
    here.engine.operations.set_engine(action="pause", reason="a test", by="ops")
    here.days_pass(customer, 29, step_hours=24 * 29)
    assert states(here) == ["planned"]
    v1 = here.shop.stripe.v1
    if gone == "customer":
        v1.customers.delete(customer.id)
    else:
        v1.test_helpers.test_clocks.delete(customer.test_clock)
    here.shop.until_quiet()
    if not heard:
        here.delivered = len(here.shop.inbox.events())
    here.engine.operations.set_engine(action="resume", reason="a test", by="ops")
    here.works()
    assert post_office.to(ADDRESS) == []
    with here.engine.database.connection() as connection:
        found = connection.execute(text("select state, result from renewals")).one()
    assert found.state == "dropped"
    # with a clock its customer goes, whose event may come first
    assert ("was deleted" if heard else f"{gone} was deleted") in found.result
    assert here.engine.health.status()["actions_due"] == 0


def test_whose_account_does_not_answer_keeps_no_other_warning_waiting(
    writing: EngineShop, post_office: PostOffice
) -> None:
    here = writing
    silent, _ = subscribed(here)
    here.engine.operations.set_engine(action="pause", reason="a test", by="ops")
    here.days_pass(silent, 27, step_hours=24 * 27)
    other, _ = subscribed(here, email="ola@example.com")
    here.days_pass(other, 27, step_hours=24 * 27)
    assert states(here) == ["planned", "planned"]
    here.engine.operations.set_engine(action="resume", reason="a test", by="ops")
    real = here.engine.gateway.customer

    def customer(account: str, wanted: str) -> Any:
        if wanted == silent.id:
            raise StripeForbidden("no access")
        return real(account, wanted)

    with port(here.engine.gateway).instead(customer=customer):
        here.shop.advances(other, hours=6)
        here.works()
        assert len(post_office.to("ola@example.com")) == 1
        assert states(here) == ["planned", "sent"]
    here.time.passes(minutes=10)
    here.works()
    assert len(post_office.to(ADDRESS)) == 1


@pytest.mark.parametrize("left", [False, True])
def test_a_process_that_dies_while_it_writes_is_not_followed_by_a_second_letter(
    writing: EngineShop, post_office: PostOffice, left: bool
) -> None:
    customer, _ = subscribed(writing)
    real = writing.channel.real.send

    def dies(message: Message, **leave: Any) -> None:
        if left:
            real(message, **leave)
        raise Crash

    with writing.channel.instead(send=dies), pytest.raises(Crash):
        writing.days_pass(customer, 29, step_hours=6)
    writing.time.passes(minutes=10)
    writing.days_pass(customer, 1)
    assert len(post_office.to(ADDRESS)) == int(left)
    assert states(writing) == ["unknown"]


def test_stripe_being_away_when_a_renewal_is_announced_loses_nothing(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = subscribed(writing)

    def away(*_: Any, **__: Any) -> Any:
        raise StripeUnavailable("no answer")

    with port(writing.engine.gateway).instead(customer=away):
        writing.days_pass(customer, 26)
    writing.time.passes(hours=1)
    writing.days_pass(customer, 2, step_hours=6)
    assert len(post_office.to(ADDRESS)) == 1


def test_the_link_leads_to_stripes_portal_and_a_guessed_one_nowhere(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = subscribed(writing)
    writing.days_pass(customer, 29, step_hours=6)
    (mail,) = post_office.to(ADDRESS)
    link = next(w for w in words(mail).split() if f"{PUBLIC}/c/" in w and "href" not in w)
    path = link.removeprefix(PUBLIC)
    client = reader(writing)
    page = client.get(path)
    assert "Hinterlegen Sie eine Karte" in page.text
    assert ADDRESS not in page.text
    to = client.post(f"{path}/portal")
    assert to.status_code == 303
    assert "/p/session/" in to.headers["Location"]
    assert client.get(f"{path}x").status_code == 404
    assert client.post("/c/AAAA/portal").status_code == 404
    stop = mail["List-Unsubscribe"].strip(" <>").removeprefix(PUBLIC)
    assert client.post(stop).status_code == 200
    with writing.engine.database.connection() as connection:
        kept = connection.execute(text("select reason from suppressions")).scalars().all()
    assert kept == ["unsubscribed"]


# -- whose last charge failed, and whose next one will hardly go better


def rows(here: EngineShop) -> list[dict[str, Any]]:
    query = text("select kind, state, chance, model_version, reason, result from renewals")
    with here.engine.database.connection() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def recovered(here: EngineShop, *script: str) -> tuple[Any, Any]:
    """(customer, subscription): a renewal failed on the default card and was paid on another."""
    customer, subscription = subscribed(here, "succeeded", *script, expiry=_LATER)
    backup = here.another_method(customer, "succeeded")
    here.shop.advances(customer, days=31, hours=2)
    here.works()
    invoice = here.shop.newest_invoice(customer)
    here.days_pass(customer, 8, step_hours=24)
    case = here.case(invoice)
    assert (case["state"], case["close_reason"]) == ("closed", "recovered_by_engine")
    assert case["attempts"][-1]["payment_method"] == backup.id
    return customer, subscription


def goes_on(here: EngineShop, customer: Any) -> None:
    """Until some days after the renewal is announced."""
    here.days_pass(customer, 14, step_hours=56)
    here.days_pass(customer, 3, step_hours=9)


def warnings(post_office: PostOffice) -> list[Any]:
    return [m for m in post_office.to(ADDRESS) if "nächste Zahlung" in m["Subject"]]


def test_whose_card_was_declined_and_who_was_recovered_on_another_one_is_asked(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, subscription = recovered(writing, "do_not_honor")
    goes_on(writing, customer)
    (mail,) = warnings(post_office)
    told = words(mail)
    assert mail["Subject"] == "Bitte prüfen Sie die Karte für Ihre nächste Zahlung"
    assert "20,00\xa0$" in told
    assert f"{PUBLIC}/c/" in told
    (row,) = rows(writing)
    assert (row["kind"], row["state"]) == ("renewal_at_risk", "sent")
    assert 0.2 < row["chance"] < 0.35
    assert row["model_version"] == "prior-1"
    assert "declined with do_not_honor" in row["reason"]

    # the page is that of the expiring card, and what is added there becomes the default
    link = next(w for w in told.split() if f"{PUBLIC}/c/" in w and "href" not in w)
    assert "Hinterlegen Sie eine Karte" in reader(writing).get(link.removeprefix(PUBLIC)).text
    other = writing.another_method(customer, "succeeded", token="tok_amex")
    writing.works()
    found = writing.shop.stripe.v1.subscriptions.retrieve(subscription.id)
    assert found.default_payment_method == other.id
    assert states(writing) == ["mended"]


def test_whose_card_has_gone_through_since_is_not_asked_again(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = recovered(writing, "do_not_honor", "succeeded")
    goes_on(writing, customer)
    # the card pays at once: no case is about that charge, only Stripe knows of it
    writing.days_pass(customer, 33, step_hours=36)
    charges = [t for t in writing.shop.ledger() if t["customer"] == customer.id]
    assert [t["outcome"] for t in charges[-2:]] == ["succeeded", "succeeded"]
    assert len(rows(writing)) == len(warnings(post_office)) == 1


def test_whose_own_card_paid_in_the_end_is_not_asked(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = subscribed(
        writing, "succeeded", "issuer_not_available", "succeeded", expiry=_LATER
    )
    writing.shop.advances(customer, days=31, hours=2)
    writing.works()
    writing.days_pass(customer, 8, step_hours=24)
    assert writing.engine.health.status()["cases_open"] == 0
    goes_on(writing, customer)
    assert rows(writing) == []
    assert warnings(post_office) == []


@pytest.mark.parametrize("why", ["it is switched off", "the card's data is new", "a dispute"])
def test_nobody_is_asked_without_a_risk_or_with_a_suspicion(
    writes: Writing, post_office: PostOffice, why: str
) -> None:
    here = writes("[messages]\nrenewal_chance_below = 0\n" if "off" in why else "")
    customer, _ = recovered(here, "do_not_honor")
    v1 = here.shop.stripe.v1
    if "new" in why:
        customer_now: Any = v1.customers.retrieve(customer.id)
        v1.payment_methods.update(
            str(customer_now.invoice_settings.default_payment_method),
            {"card": {"exp_month": 11, "exp_year": 2033}},
        )
    if "dispute" in why:
        with here.engine.database.transaction() as connection:
            risk_flags.add(
                connection, account="", object_id="dp_1", kind=RiskFlagKind.DISPUTE,
                customer_id=customer.id, charge_id="ch_1", at=datetime(2026, 4, 12, tzinfo=UTC),
            )  # fmt: skip
    goes_on(here, customer)
    assert rows(here) == []
    assert warnings(post_office) == []


def test_a_suspected_fraud_is_not_written_to_before_the_next_renewal(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = subscribed(writing, "succeeded", "fraudulent", expiry=_LATER)
    writing.shop.advances(customer, days=31, hours=2)
    writing.works()
    invoice = writing.shop.newest_invoice(customer)
    writing.shop.stripe.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    writing.works()
    assert writing.case(invoice)["state"] == "closed"
    writing.days_pass(customer, 8, step_hours=24)
    goes_on(writing, customer)
    assert rows(writing) == []
    assert post_office.mails == []


@pytest.mark.parametrize("code", ["lost_card", "stolen_card"])
def test_a_reason_that_must_not_be_disclosed_is_not_in_the_warning(
    writing: EngineShop, post_office: PostOffice, code: str
) -> None:
    customer, _ = recovered(writing, code)
    goes_on(writing, customer)
    (mail,) = warnings(post_office)
    told = words(mail).casefold()
    for secret in (code, "lost", "stolen", "fraud", "verloren", "gestohlen", "betrug"):
        assert secret not in told
    (row,) = rows(writing)
    assert (row["chance"], f"{code} is final" in row["reason"]) == (0.0, True)


@dataclass
class Told:
    """A success model that says one thing, and remembers what it was asked."""

    chance: float
    version: str = "learnt-7"
    damping: float = 0.9
    offer_effects: Any = discounts.PRIOR
    churn: ChurnHazard = UNKNOWN
    asked: list[tuple[CaseView, Any, Any]] = field(default_factory=list)

    def success_probabilities(self, asked: Sequence[Any]) -> list[Any]:
        self.asked += [question for question in asked if len(question[2]) == 1]
        return [slots * 0 + self.chance for _, _, slots in asked]


@pytest.mark.parametrize(("chance", "letters"), [(0.34, 1), (0.36, 0)])
def test_the_learnt_model_is_asked_as_the_prior_is(
    writes: Writing, post_office: PostOffice, chance: float, letters: int
) -> None:
    promoted: list[Told] = []
    writing = writes(model=lambda: promoted[0] if promoted else None)
    customer, _ = recovered(writing, "do_not_honor")
    model = Told(chance)
    promoted.append(model)
    goes_on(writing, customer)
    assert len(warnings(post_office)) == letters
    (view, method, slots) = model.asked[0]
    with writing.engine.database.connection() as connection:
        first = connection.execute(text("select min(at) from attempts")).scalar_one()
    assert view.payment_methods == (method,)
    assert view.attempts[0].decline_code == "do_not_honor"
    assert all(a.at <= view.now for a in (*view.attempts, *view.card_attempts))
    assert first < view.now < view.deadline_at
    assert view.now.timestamp() < slots[0] < view.deadline_at.timestamp()
    assert [r["model_version"] for r in rows(writing)] == ["learnt-7"] * letters


def test_a_card_that_pays_between_announcement_and_letter_is_not_warned_of(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = recovered(writing, "do_not_honor", "succeeded")
    writing.engine.operations.set_engine(action="pause", reason="a test", by="ops")
    writing.days_pass(customer, 16, step_hours=24)
    assert states(writing) == ["planned"]
    v1 = writing.shop.stripe.v1
    v1.invoice_items.create({"customer": customer.id, "amount": 500, "currency": "usd"})
    invoice = v1.invoices.create({"customer": customer.id})
    v1.invoices.finalize_invoice(invoice.id)
    assert v1.invoices.pay(invoice.id).status == "paid"
    writing.engine.operations.set_engine(action="resume", reason="a test", by="ops")
    writing.days_pass(customer, 1, step_hours=6)
    assert warnings(post_office) == []
    (row,) = rows(writing)
    assert (row["state"], row["result"]) == ("dropped", "its charge is not at risk any more")
