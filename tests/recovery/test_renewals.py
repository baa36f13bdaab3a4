"""Whose card expires before the next renewal is asked for another one, once, in good time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from correspondence import ADDRESS, PUBLIC, SOON, Writing, reader, subscribed, words
from engine_shop import EngineShop
from post_office import PostOffice
from sqlalchemy import text

from retry_engine.domain.errors import StripeUnavailable
from retry_engine.recovery.messaging import Letter

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
        here.engine.set_engine(action="pause", reason="a test", by="ops")
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
    writing.engine.set_engine(action="pause", reason="a test", by="ops")
    writing.days_pass(customer, 26)
    assert states(writing) == ["planned"]
    other = writing.another_method(customer, "succeeded")
    writing.shop.stripe.v1.subscriptions.update(
        subscription.id, {"default_payment_method": other.id}
    )
    writing.engine.set_engine(action="resume", reason="a test", by="ops")
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
    assert writing.engine.status()["cases_open"] == 0


@pytest.mark.parametrize("left", [False, True])
def test_a_process_that_dies_while_it_writes_is_not_followed_by_a_second_letter(
    writing: EngineShop, post_office: PostOffice, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    customer, _ = subscribed(writing)
    post = writing.engine._lookout.post
    assert post is not None
    real: Callable[[Letter], None] = post.send

    def dies(_: Any, letter: Letter) -> None:
        if left:
            real(letter)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(type(post), "send", dies)
        with pytest.raises(Crash):
            writing.days_pass(customer, 29, step_hours=6)
    writing.time.passes(minutes=10)
    writing.days_pass(customer, 1)
    assert len(post_office.to(ADDRESS)) == int(left)
    assert states(writing) == ["unknown"]


def test_stripe_being_away_when_a_renewal_is_announced_loses_nothing(
    writing: EngineShop, post_office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer, _ = subscribed(writing)

    def away(*_: Any, **__: Any) -> Any:
        raise StripeUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(writing.engine.gateway, "customer", away)
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
