"""A customer with several open invoices gets one letter about them."""

import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from correspondence import ADDRESS, PUBLIC, Crash, Mortal, Writing, in_arrears, reader, words
from engine_shop import EngineShop, RealTime, build_engine
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from post_office import PostOffice
from sandbox_shop import Shop
from sqlalchemy import text

pytestmark = pytest.mark.integration

LOST = ["lost_card"] * 3


def said(here: EngineShop, invoice: Any) -> list[str]:
    return [message["state"] for message in here.case(invoice)["messages"]]


def messages_of(here: EngineShop, *invoices: Any) -> list[int]:
    """The messages of these that lie with the workers."""
    query = text(
        "select a.id from actions a join cases c on c.id = a.case_id"
        " where a.kind = 'message' and a.state = 'claimed' and c.invoice_id = any(:invoices)"
    )
    with here.engine.database.connection() as connection:
        ids = [invoice.id for invoice in invoices]
        return list(connection.execute(query, {"invoices": ids}).scalars())


def pages_of(mail: Any) -> list[str]:
    """The recovery pages that the mail leads to, in its order."""
    plain = mail.get_body(("plain",)).get_content()
    return re.findall(rf"{PUBLIC}(/r/[\w-]+)", plain)


def test_two_open_invoices_are_written_about_in_one_letter_the_most_owed_first(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, (small, large) = in_arrears(writing, *LOST)
    writing.days_pass(customer, 0.25)
    (mail,) = post_office.to(ADDRESS)
    told = words(mail)
    assert told.index("90,00\xa0$") < told.index("20,00\xa0$")
    assert "110,00\xa0$" in mail["Subject"]
    for invoice in (small, large):
        assert f"Rechnung {invoice.number} vom" in told
        assert said(writing, invoice) == ["sent"]
    # each has a page of its own, on which that invoice is paid
    web = reader(writing)
    shown = [web.get(page).text for page in pages_of(mail)]
    assert ["90,00" in text for text in shown] == [True, False]
    assert ["20,00" in text for text in shown] == [False, True]
    # one is the letter, the other was said in it
    ids = {writing.case(i)["id"] for i in (small, large)}
    of = {writing.case(i)["messages"][0]["letter_of"] for i in (small, large)}
    assert len(of) == 2
    assert None in of
    assert of - {None} <= ids


def test_letters_keep_their_distance_whatever_they_are_about(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, invoices = in_arrears(writing, *["expired_card"] * 2)
    writing.days_pass(customer, 20)
    counts = [len(writing.case(invoice)["messages"]) for invoice in invoices]
    assert counts[0] == counts[1] == len(post_office.mails)
    assert 2 <= counts[0] <= 4
    times = [[m["at"] for m in writing.case(invoice)["messages"]] for invoice in invoices]
    assert times[0] == times[1]


def test_one_letter_is_one_of_those_that_a_customer_may_get(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes("[messages]\nmost_per_customer_30_days = 2\nmin_gap_hours = 24\n")
    customer, invoices = in_arrears(here, *LOST, prices=(2000, 3000, 4000))
    here.days_pass(customer, 6)
    assert len(post_office.mails) == 2
    assert [said(here, invoice) for invoice in invoices] == [["sent", "sent"]] * 3


def _pays(here: EngineShop, invoice: Any) -> None:
    here.shop.stripe.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})


def _holds(here: EngineShop, invoice: Any) -> None:
    here.engine.operations.override(invoice.id, action="hold", reason="asked", by="test")


def _pauses(here: EngineShop, invoice: Any) -> None:
    here.engine.operations.override(invoice.id, action="pause", reason="asked", by="test")


def _voids(here: EngineShop, invoice: Any) -> None:
    here.shop.stripe.v1.invoices.void_invoice(invoice.id)


@pytest.mark.parametrize("leaves", [_pays, _voids, _holds, _pauses])
def test_what_is_not_to_be_written_about_any_more_is_not_in_the_letter(
    writing: EngineShop, post_office: PostOffice, leaves: Callable[[EngineShop, Any], None]
) -> None:
    """As Stripe and the record say when it is sent, not as it was when it was planned."""
    _, invoices = in_arrears(writing, *LOST, prices=(2000, 3000, 4000), leave="message")
    leaves(writing, invoices[1])
    for action in messages_of(writing, invoices[0], invoices[2]):  # and no event of it is heard
        writing.engine.worker.run_action(action)
    (mail,) = post_office.mails
    told = words(mail)
    assert invoices[1].number not in told
    assert invoices[0].number in told
    assert invoices[2].number in told
    writing.works()
    assert said(writing, invoices[1]) == []


def test_who_wants_no_messages_gets_none_about_any_of_them(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = in_arrears(writing, *LOST)
    (mail,) = post_office.mails
    token = urlsplit(str(mail["List-Unsubscribe"]).strip("<>")).path.removeprefix("/u/")
    assert writing.engine.customers.unsubscribe(token, write=True) is not None
    writing.days_pass(customer, 5, step_hours=24)
    assert len(post_office.mails) == 1


def test_a_link_is_that_of_its_invoice_who_comes_by_it_has_come_for_that_one(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, (small, large) = in_arrears(writing, *LOST)
    writing.days_pass(customer, 2, step_hours=6)
    _, page = pages_of(post_office.mails[0])
    assert reader(writing).post(f"{page}/pay").status_code == 303
    visits = [writing.case(i)["messages"][0]["visited_at"] is not None for i in (small, large)]
    assert visits == [True, False]


def test_a_letter_that_could_not_be_sent_leaves_the_others_to_be_written_about(
    writing: EngineShop, post_office: PostOffice
) -> None:
    post_office.later = True
    customer, invoices = in_arrears(writing, *LOST)
    writing.days_pass(customer, 1, step_hours=3)
    assert post_office.mails == []
    post_office.later = False
    writing.days_pass(customer, 2, step_hours=6)
    assert len(post_office.mails) == 1
    for invoice in invoices:
        assert said(writing, invoice)[-1] == "sent"
        assert set(said(writing, invoice)[:-1]) == {"not_sent"}


def test_an_address_that_bounces_is_written_to_about_none_of_them(
    writing: EngineShop, post_office: PostOffice
) -> None:
    post_office.bounces.add(ADDRESS)
    customer, invoices = in_arrears(writing, *LOST)
    writing.days_pass(customer, 2, step_hours=6)
    post_office.bounces.clear()
    writing.days_pass(customer, 5, step_hours=24)
    assert post_office.mails == []
    assert [said(writing, invoice) for invoice in invoices] == [["bounced"], ["bounced"]]


def test_an_invoice_that_fails_after_a_letter_waits_for_the_next_one(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, (first,) = in_arrears(writing, *LOST, prices=(2000,))
    assert len(post_office.mails) == 1
    v1 = writing.shop.stripe.v1
    price = v1.prices.create(
        {"currency": "usd", "unit_amount": 700, "recurring": {"interval": "month"},
         "product_data": {"name": "Another"}}
    )  # fmt: skip
    v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "trial_period_days": 1}
    )
    writing.days_pass(customer, 2.5, step_hours=6)
    second = writing.shop.newest_invoice(customer)
    assert (second.status, len(post_office.mails)) == ("open", 1)
    # its own message is due, and waits
    assert said(writing, second) == []
    writing.days_pass(customer, 1, step_hours=6)
    assert len(post_office.mails) == 2
    assert first.number in words(post_office.mails[1])
    assert second.number in words(post_office.mails[1])


def test_stripes_own_mails_are_about_one_invoice_each_and_apart(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes("[messages]\nstripe_mails = true\n")
    customer, invoices = in_arrears(here, *LOST)
    here.days_pass(customer, 8)
    sent = here.shop.stripe.v1.events.list({"type": "invoice.sent", "limit": 100}).data
    times = sorted(event.created for event in sent)
    assert {event.data.object["id"] for event in sent} == {invoice.id for invoice in invoices}
    assert min(b - a for a, b in pairwise(times)) >= 72 * 3600


def test_in_shadow_the_one_letter_is_written_down_too(
    shop: Shop, post_office: PostOffice, database_url: str, redis_url: str
) -> None:
    with build_engine(
        shop, database_url, redis_url, RealTime(),
        RETRY_ENGINE_MODE="shadow", SMTP_URL=post_office.url,
    ) as engine:  # fmt: skip
        here = EngineShop(shop, engine, RealTime())
        customer, invoices = in_arrears(here, *LOST)
        here.days_pass(customer, 2, step_hours=6)
        assert post_office.mails == []
        assert [said(here, invoice) for invoice in invoices] == [["shadow"], ["shadow"]]
        of = [here.case(invoice)["messages"][0]["letter_of"] for invoice in invoices]
        assert sorted(of, key=bool)[0] is None
        assert len(set(of)) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_dies_over_the_letter_writes_to_nobody_twice_and_forgets_none(
    writes: Writing, post_office: PostOffice, mortal: Mortal, when: Any
) -> None:
    here = writes(channel=mortal)
    customer, invoices = in_arrears(here, *LOST, leave="message")
    mortal.dies = when
    with pytest.raises(Crash):
        here.engine.worker.run_action(messages_of(here, invoices[0])[0])
    mortal.dies = "never"
    here.works()  # the other message is due as well, and what became of the letter is not known yet
    assert len(post_office.mails) == (when == "after")
    here.time.passes(minutes=5)
    here.works()
    assert [said(here, invoice) for invoice in invoices] == [["unknown"], ["unknown"]]
    # and so both are in the next letter, and in one
    here.days_pass(customer, 2.5)
    assert len(post_office.mails) == (when == "after")
    here.days_pass(customer, 1)
    assert len(post_office.mails) == (when == "after") + 1
    assert [said(here, invoice) for invoice in invoices] == [["unknown", "sent"]] * 2


class Meeting:
    """Stripe, whose answers about a customer two workers hear in the same moment."""

    def __init__(self, real: Any) -> None:
        self._real, self._both = real, threading.Barrier(2, timeout=30)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def customer(self, *of: Any) -> Any:
        found = self._real.customer(*of)
        self._both.wait()
        return found


@pytest.mark.parametrize("takes_several", [True, False])
def test_two_workers_with_a_message_each_write_one_letter(
    writing: EngineShop, post_office: PostOffice, mortal: Mortal, shop: Shop,
    database_url: str, redis_url: str, takes_several: bool,
) -> None:  # fmt: skip
    mortal.takes_several = takes_several
    _, invoices = in_arrears(writing, *LOST, leave="message")
    due = [messages_of(writing, invoice)[0] for invoice in invoices]
    meeting = Meeting(writing.engine.gateway)
    ports: dict[str, Any] = {"gateway": meeting, "channel": mortal}
    with (
        build_engine(shop, database_url, redis_url, writing.time, **ports) as one,
        build_engine(shop, database_url, redis_url, writing.time, **ports) as two,
    ):
        workers = [
            threading.Thread(target=engine.worker.run_action, args=(action,))
            for engine, action in zip((one, two), due, strict=True)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
    assert len(post_office.mails) == 1
    other = ["sent"] if takes_several else []  # the larger one's comes first
    assert [said(writing, invoice) for invoice in invoices] == [other, ["sent"]]


AMOUNTS = ("20,00\xa0$", "90,00\xa0$")
STEPS = st.lists(
    st.sampled_from(
        ["hours", "days", "days", "pay 0", "pay 1", "hold 0", "hold 1", "pause", "resume",
         "unsubscribe", "die before", "die after", "later", "again"]
    ),
    min_size=4,
    max_size=7,
)  # fmt: skip


@given(steps=STEPS, code=st.sampled_from(["lost_card", "expired_card"]))
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_order_of_things_writes_twice_or_about_what_it_must_not_or_forgets_one(
    wayward: EngineShop, post_office: PostOffice, mortal: Mortal, steps: list[str], code: str
) -> None:
    here, operations = wayward, wayward.engine.operations
    operations.set_engine(action="resume", reason="a new story", by="test")
    address = f"maria.{uuid4().hex}@example.com"
    customer, invoices = in_arrears(here, *[code] * 2, address=address, leave="message")
    here.days_pass(customer, 5 / 24, step_hours=5)
    gone, wants, runs = [False, False], True, True
    for step in steps:
        before, silent = len(post_office.to(address)), [*gone]
        quiet = not (wants and runs)
        name, _, which = step.partition(" ")
        if name == "hours":
            here.days_pass(customer, 5 / 24, step_hours=5)
        elif name == "days":
            here.days_pass(customer, 4, step_hours=16)
        elif name == "pay" and here.case(invoices[int(which)])["state"] != "closed":
            _pays(here, invoices[int(which)])
            gone[int(which)] = True
        elif name == "hold" and not gone[int(which)]:
            _holds(here, invoices[int(which)])
            gone[int(which)] = True
        elif name in ("pause", "resume"):
            operations.set_engine(action=name, reason="asked", by="test")
            runs = name == "resume"
        elif name == "unsubscribe" and post_office.to(address):
            link = str(post_office.to(address)[-1]["List-Unsubscribe"]).strip("<>")
            here.engine.customers.unsubscribe(urlsplit(link).path.removeprefix("/u/"), write=True)
            wants = False
        elif name == "die":
            mortal.dies = "before" if which == "before" else "after"
            try:
                here.days_pass(customer, 3, step_hours=12)
            except Crash:
                here.time.passes(minutes=10)
            mortal.dies = "never"
        elif name == "later":
            post_office.later = True
            here.days_pass(customer, 1, step_hours=12)
            post_office.later = False
        elif name == "again":
            here.delivered = 0
        here.works()
        new = post_office.to(address)[before:]
        assert not (quiet and new), step
        for mail in new:
            told = [amount in words(mail) for amount in AMOUNTS]
            assert not any(a and b for a, b in zip(told, silent, strict=True)), step
    operations.set_engine(action="resume", reason="the end", by="test")
    here.days_pass(customer, 8, step_hours=16)
    mails = post_office.to(address)
    assert len({mail["Message-ID"] for mail in mails}) == len(mails)
    links = [page for mail in mails for page in pages_of(mail)]
    assert len(set(links)) == len(links)
    letters: list[datetime] = []
    for invoice, amount, is_gone in zip(invoices, AMOUNTS, gone, strict=True):
        messages = here.case(invoice)["messages"]
        states = [message["state"] for message in messages]
        times = sum(amount in words(mail) for mail in mails)
        assert states.count("sent") <= times <= states.count("sent") + states.count("unknown")
        assert is_gone or not wants or times, steps
        letters += [
            datetime.fromisoformat(m["at"])
            for m in messages
            if m["letter_of"] is None and m["state"] != "not_sent"
        ]
    assert all(b - a >= timedelta(hours=72) for a, b in pairwise(sorted(letters)))
