"""What customers are written, told as diaries with a real mail server."""

import csv
import re
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from correspondence import ADDRESS, PUBLIC, Crash, Mortal, Writing, failed, words
from engine_shop import EngineShop, RealTime, build_engine
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from post_office import PostOffice
from sandbox_shop import Shop
from sqlalchemy import text
from starlette.testclient import TestClient

from retry_engine.entrypoints.web.app import create_app

pytestmark = pytest.mark.integration


def test_who_must_give_another_card_is_asked_for_it_in_their_language_once(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, invoice = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=3)
    (mail,) = post_office.to(ADDRESS)
    assert "andere Karte" in mail["Subject"]
    assert "20,00\xa0$" in words(mail)
    assert "Guten Tag Maria" in words(mail)
    assert f"{PUBLIC}/r/" in words(mail)
    assert writing.case(invoice)["state"] == "needs_customer"
    (message,) = writing.case(invoice)["messages"]
    assert (message["state"], message["kind"]) == ("sent", "update_method")


def test_what_was_said_is_in_the_exported_log(writing: EngineShop, tmp_path: Path) -> None:
    customer, invoice = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=3)
    (message,) = writing.case(invoice)["messages"]
    file = tmp_path / "log.csv"
    writing.engine.learning.export_file(file)
    with file.open(encoding="utf-8") as lines:
        (row,) = [r for r in csv.DictReader(lines) if r["kind"] == "message"]
    assert (row["invoice_id"], row["customer_id"]) == (invoice.id, customer.id)
    assert datetime.fromisoformat(row["at"]) == datetime.fromisoformat(message["at"])


@pytest.mark.parametrize("code", ["lost_card", "stolen_card", "pickup_card"])
def test_a_reason_that_must_not_be_disclosed_is_not_in_the_message(
    writing: EngineShop, post_office: PostOffice, code: str
) -> None:
    customer, _ = failed(writing, code)
    writing.days_pass(customer, 2, step_hours=6)
    (mail,) = post_office.mails
    told = words(mail).casefold()
    for secret in (code, "lost", "stolen", "fraud", "verloren", "gestohlen", "betrug"):
        assert secret not in told


def test_a_suspected_fraud_waits_for_a_person_and_nobody_is_written_to(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = failed(writing, "fraudulent")
    writing.days_pass(customer, 5, step_hours=12)
    assert post_office.mails == []


def test_messages_keep_their_distance_and_their_number(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, invoice = failed(writing, "expired_card")
    writing.days_pass(customer, 29, step_hours=6)
    messages = writing.case(invoice)["messages"]
    assert 2 <= len(messages) == len(post_office.mails) <= 4
    times = [message["at"] for message in messages]
    assert times == sorted(set(times))
    ids = [mail["Message-ID"] for mail in post_office.mails]
    assert len(set(ids)) == len(ids)


def test_a_process_that_dies_while_it_sends_does_not_send_again(
    writes: Writing, post_office: PostOffice, mortal: Mortal
) -> None:
    writing = writes(channel=mortal)
    for when in ("before", "after"):
        post_office.mails.clear()
        mortal.dies = when
        with pytest.raises(Crash):
            failed(writing, "lost_card")
        mortal.dies = "never"
        (case,) = (c for c in writing.engine.operations.list_cases(limit=1)["data"])
        writing.time.passes(hours=1)
        writing.engine.worker.sweep()
        writing.works()
        assert len(post_office.mails) == (0 if when == "before" else 1)
        (message,) = writing.engine.operations.show_case(case["id"])["messages"]
        assert message["state"] == "unknown"


def test_no_answer_after_the_message_counts_as_sent(
    writing: EngineShop, post_office: PostOffice
) -> None:
    post_office.cuts = True
    customer, invoice = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    assert len(post_office.mails) == 1
    assert [m["state"] for m in writing.case(invoice)["messages"]] == ["unknown"]


def test_a_mail_server_that_says_later_is_asked_again(
    writing: EngineShop, post_office: PostOffice
) -> None:
    post_office.later = True
    customer, invoice = failed(writing, "lost_card")
    writing.days_pass(customer, 1, step_hours=3)
    assert post_office.mails == []
    post_office.later = False
    writing.days_pass(customer, 2, step_hours=3)
    assert len(post_office.mails) == 1
    states = [m["state"] for m in writing.case(invoice)["messages"]]
    assert states[-1] == "sent"
    assert set(states[:-1]) == {"not_sent"}


def test_an_address_that_bounces_is_not_written_to_again(
    writing: EngineShop, post_office: PostOffice
) -> None:
    post_office.bounces.add(ADDRESS)
    customer, invoice = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    post_office.bounces.clear()
    writing.days_pass(customer, 20, step_hours=12)
    assert post_office.mails == []
    assert [m["state"] for m in writing.case(invoice)["messages"]] == ["bounced"]


def test_one_click_unsubscribes_and_only_a_press_of_the_button_does(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    (mail,) = post_office.mails
    link = str(mail["List-Unsubscribe"]).strip("<>")
    assert link.startswith(PUBLIC)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = urlsplit(link).path
    web = TestClient(create_app(writing.engine, clock=lambda: 0.0))
    page = web.get(path)
    assert page.status_code == 200
    assert 'lang="de"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    with writing.engine.database.connection() as connection:
        assert connection.execute(text("select count(*) from suppressions")).scalar() == 0

    forged = path[:-1] + ("A" if path[-1] != "A" else "B")
    assert web.post(forged, data={"List-Unsubscribe": "One-Click"}).status_code == 404
    assert web.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    writing.days_pass(customer, 20, step_hours=12)
    assert len(post_office.mails) == 1


def test_nobody_without_an_address_is_written_to(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, invoice = failed(writing, "lost_card", email="")
    writing.days_pass(customer, 5, step_hours=12)
    assert post_office.mails == []
    assert writing.case(invoice)["messages"] == []


def test_shadow_writes_what_it_would_have_sent_and_sends_nothing(
    shop: Shop, post_office: PostOffice, database_url: str, redis_url: str
) -> None:
    with build_engine(
        shop, database_url, redis_url, RealTime(),
        RETRY_ENGINE_MODE="shadow", SMTP_URL=post_office.url,
    ) as engine:  # fmt: skip
        here = EngineShop(shop, engine, RealTime())
        customer, invoice = failed(here, "lost_card")
        here.days_pass(customer, 2, step_hours=6)
        assert post_office.mails == []
        assert [m["state"] for m in here.case(invoice)["messages"]] == ["shadow"]


def test_no_address_is_kept_in_the_database(writing: EngineShop) -> None:
    customer, _ = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    with writing.engine.database.connection() as connection:
        rows = connection.execute(text("select row_to_json(m)::text from messages m")).scalars()
        kept = " ".join(rows)
    assert re.search("maria", kept, re.IGNORECASE) is None


def test_stripe_writes_instead_where_the_policy_says_so_and_nobody_is_written_to_twice(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes("[messages]\nstripe_mails = true\n\n[offers]\nenabled = true\n")
    customer, invoice = failed(here, "lost_card")
    here.days_pass(customer, 5, step_hours=8)
    events = here.shop.stripe.v1.events.list({"type": "invoice.sent"}).data
    assert [e.data.object["id"] for e in events] == [invoice.id] * len(events)
    said = here.case(invoice)["messages"]
    assert [(m["state"], m["channel"]) for m in said] == [("sent", "stripe")] * len(events)
    assert len(events) == 2
    assert post_office.mails == []
    assert here.case(invoice)["offers"] == []


STEPS = st.lists(
    st.sampled_from(
        ["hours", "hours", "days", "pay", "hold", "release", "pause", "resume", "unsubscribe",
         "crash", "again", "broker"]
    ),
    min_size=4,
    max_size=12,
)  # fmt: skip


@given(steps=STEPS, code=st.sampled_from(["lost_card", "expired_card", "insufficient_funds"]))
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_order_of_things_writes_twice_or_to_whom_it_must_not(
    wayward: EngineShop, post_office: PostOffice, mortal: Mortal, steps: list[str], code: str
) -> None:
    writing, engine = wayward, wayward.engine
    engine.operations.set_engine(action="resume", reason="a new story", by="test")
    # what a story before left waiting for the engine's pause is still said, to its own customer
    address = f"maria.{uuid4().hex}@example.com"

    def mails() -> list[EmailMessage]:
        return post_office.to(address)

    customer, invoice = failed(writing, code, address=address)
    case, silent, paused, muted = writing.case(invoice)["id"], False, False, False
    for step in steps:
        before = len(mails())
        quiet = silent or paused or muted
        if step == "hours":
            writing.days_pass(customer, 5 / 24, step_hours=1)
        elif step == "days":
            writing.days_pass(customer, 4, step_hours=8)
        elif step == "pay" and not silent:
            writing.shop.stripe.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
            writing.works()
            before, silent = len(mails()), True
        elif step in ("hold", "release") and not silent:
            waiting = [
                r["id"] for r in engine.operations.list_reviews()["data"] if r["case"] == case
            ]
            if step == "hold" and not waiting and writing.case(invoice)["state"] != "closed":
                engine.operations.override(case, action="hold", reason="asked", by="test")
                before, muted = len(mails()), True
            if step == "release" and waiting:
                engine.operations.decide_review(
                    waiting[0], verdict="approve", reason="asked", by="test"
                )
                before, muted = len(mails()), False
        elif step in ("pause", "resume"):
            engine.operations.set_engine(action=step, reason="asked", by="test")
            before, paused = len(mails()), step == "pause"
        elif step == "unsubscribe" and mails():
            link = str(mails()[-1]["List-Unsubscribe"]).strip("<>")
            engine.customers.unsubscribe(urlsplit(link).path.removeprefix("/u/"), write=True)
            silent = True
        elif step == "crash":
            mortal.dies = "after"
            try:
                writing.days_pass(customer, 1, step_hours=4)
            except Crash:
                writing.time.passes(hours=1)
            mortal.dies = "never"
        elif step == "again":
            writing.delivered = 0
            writing.works()
        elif step == "broker":
            engine.worker.sweep()
            writing.works()
        if quiet:
            assert len(mails()) == before, step
    ids = [mail["Message-ID"] for mail in mails()]
    assert len(set(ids)) == len(ids)
    messages = writing.case(invoice)["messages"]
    assert sum(m["state"] != "not_sent" for m in messages) >= len(ids)
    for message in messages:
        # Berlin is an hour or two ahead of UTC
        hour = int(message["at"][11:13])
        assert 6 <= hour < 21, message
