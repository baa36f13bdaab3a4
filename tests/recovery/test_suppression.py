"""Bounces and complaints that come later: read as servers write them, and heeded."""

import base64
import contextlib
import quopri
import sys
from typing import Any

import pytest
from correspondence import ADDRESS, failed
from engine_shop import EngineShop
from post_office import PostOffice
from returned_mail import bounce, complaint, recipient
from sqlalchemy import text

from retry_engine.adapters import bounce_reports
from retry_engine.domain.errors import BadRequest, InvalidInput, NotFound, Refused

# -- reading


def test_a_bounce_says_that_it_is_for_good_and_names_the_letter() -> None:
    found = bounce_reports.read(bounce())
    assert (found.reason, found.is_final, found.spared) == ("bounced", True, ())
    assert found.message_id == "<case_none.1@shop.example>"


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_of_several_recipients_those_that_may_come_back_are_told(ends: bytes) -> None:
    raw = bounce(
        recipient("one@example.com", status="5.1.1"),
        recipient("two@example.com", status="4.4.7"),
        recipient("three@example.com", status="4.2.2", action="delayed"),
        recipient("four@example.com", status="2.0.0", action="delivered"),
    )
    found = bounce_reports.read(raw.replace(b"\n", ends))
    assert found.is_final
    assert [why.split(":")[0] for why in found.spared] == [
        "a recipient with 4.4.7", "a recipient with 4.2.2", "a recipient with 2.0.0",
    ]  # fmt: skip


def test_a_recipient_without_status_or_of_another_kind_is_left_alone() -> None:
    no_status = recipient().replace("Status: 5.1.1\n", "")
    fax = recipient("+1-555").replace("rfc822", "x-fax")
    found = bounce_reports.read(bounce(no_status, fax))
    assert not found.is_final
    assert len(found.spared) == 2
    assert not any("@" in why for why in found.spared)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("abuse", "complained"), ("fraud", "complained"), ("opt-out", "unsubscribed")],
)
def test_a_complaint_says_what_it_means(kind: str, reason: str) -> None:
    found = bounce_reports.read(complaint(kind, to=ADDRESS))
    assert (found.reason, found.is_final) == (reason, True)


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "virus", "x-new"])
def test_a_feedback_report_that_is_no_complaint_is_left_alone(kind: str) -> None:
    found = bounce_reports.read(complaint(kind, to=ADDRESS))
    assert not found.is_final
    assert found.spared == (f"a report of the type {kind}: no complaint",)


@pytest.mark.parametrize("how", ["base64", "quoted-printable"])
def test_a_letter_that_is_brought_along_encoded_is_known(how: str) -> None:
    plain = b"From: billing@shop.example\nMessage-ID: <one.1@shop.example>\n"
    coded = base64.b64encode(plain) if how == "base64" else quopri.encodestring(plain)
    head, _, tail = bounce().partition(b"Content-Type: text/rfc822-headers\n")
    end = tail[tail.index(b"\n--4B2C71F00") :]
    kind = f"Content-Type: text/rfc822-headers\nContent-Transfer-Encoding: {how}\n\n".encode()
    assert bounce_reports.read(head + kind + coded + end).message_id == "<one.1@shop.example>"


def _crafted() -> dict[str, bytes]:
    """A megabyte each, of the sorts that cost a reader more than their length."""
    size, head = bounce_reports.LARGEST - 4000, bounce()[: bounce().index(b"This is a MIME")]
    mark = b"--4B2C71F00.1773133200/mx.shop.example\n"
    status = mark + b"Content-Type: message/delivery-status\n\n"
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (n, n) for n in range(300)
    )
    block = b"Final-Recipient: rfc822; " + b"(" * 1900 + b"\nStatus: 5.1.1\n\n"
    return {
        "recipients": head + status + block * (size // len(block)),
        "parts": head + mark * (size // len(mark)),
        "nested": head + mark + nested + b"x\n" * ((size - len(nested)) // 2),
        "one field": head + status + b"Final-Recipient: " + b"(" * size,
        "folded field": head + status + b"Final-Recipient: a" + b"\n (" * (size // 3),
        "fields": head + status + b"a:b\n" * (size // 4),
        "semicolons": b'Content-Type: multipart/report; x="' + b";" * size + b"\n\n",
    }


@pytest.mark.parametrize("sort", _crafted())
def test_a_crafted_megabyte_is_read_in_steps_that_grow_with_its_length_only(sort: str) -> None:
    raw = _crafted()[sort]
    calls = 0

    def count(_frame: Any, _event: str, _arg: Any) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        with contextlib.suppress(InvalidInput):
            bounce_reports.read(raw)
    finally:
        sys.setprofile(None)
    # a handful of calls a line; the parser of the library made hundreds for each
    assert calls < 20 * (raw.count(b"\n") + 1000)


_DEEP = b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "no report but text/plain"),
        (b"Subject: hello\n\nout of office", "no report but text/plain"),
        (b"\xff\x00\xfe" * 500, "no report"),
        (bounce().replace(b"message/delivery-status", b"text/plain"), "has neither"),
        (bounce().replace(b"multipart/report", b"multipart/mixed"), "no report but multipart"),
        (bounce()[:900], "has neither"),
        (bounce(*[recipient()] * 21), "names over 20 recipients"),
        (bounce().replace(b"Final-Recipient", b"X-Recipient"), "names no final recipient"),
        (complaint().replace(b"Feedback-Type", b"X-Type"), "names no Feedback-Type"),
        (b"x" * (bounce_reports.LARGEST + 1), "over 1024 KiB"),
        (b"".join(_DEEP % (n, n) for n in range(3000)), "no"),
        (b"Content-Type: multipart/report\n\nno boundary", "has neither"),
    ],
)
def test_what_is_no_report_is_refused_in_a_sentence(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        bounce_reports.read(raw)
    assert "@" not in str(refused.value)


# -- heeding


def kept(here: EngineShop) -> list[tuple[str, str]]:
    with here.engine.database.connection() as connection:
        found = connection.execute(text("select account, reason from suppressions order by 2"))
        return [(account, reason) for account, reason in found]


def dump(here: EngineShop) -> str:
    with here.engine.database.connection() as connection:
        rows = connection.execute(text("select row_to_json(s)::text from suppressions s"))
        return " ".join(rows.scalars())


@pytest.mark.integration
def test_who_bounced_later_gets_no_further_message(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, invoice = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    (mail,) = post_office.mails
    message = str(mail["Message-ID"]).strip("<>").partition("@")[0]
    for _ in range(2):  # twice is as once
        report = bounce_reports.read(bounce(message=message))
        done = writing.engine.suppressions.heed(report, account=None)
        assert done["suppressed"] == 1
    assert kept(writing) == [("", "bounced")]
    assert "maria" not in dump(writing)
    writing.days_pass(customer, 20, step_hours=12)
    assert len(post_office.mails) == 1
    assert writing.case(invoice)["state"] == "needs_customer"


@pytest.mark.integration
def test_a_complaint_without_an_address_is_known_by_its_letter(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    (mail,) = post_office.mails
    message = str(mail["Message-ID"]).strip("<>").partition("@")[0]
    done = writing.engine.suppressions.heed(
        bounce_reports.read(complaint(message=message)), account=None
    )
    assert (done["suppressed"], done["reason"]) == (1, "complained")
    writing.days_pass(customer, 20, step_hours=12)
    assert len(post_office.mails) == 1


@pytest.mark.integration
def test_a_report_is_believed_about_a_letter_that_we_have_signed_and_about_nobody_else(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    (mail,) = post_office.mails
    signed = str(mail["Message-ID"]).strip("<>").partition("@")[0]
    message_id, _, signature = signed.rpartition(".")
    last = "1" if signature[-1] == "0" else "0"
    victims = [recipient(f"victim{n}@example.com") for n in range(15)]
    for name in (
        "", "case_none.1", message_id, f"{message_id}.", f"{message_id}.{signature[:-1]}{last}",
        f"renewal.1.{signature}", f"{message_id}.{'0' * 32}", f"\u00e9.{signature}",
    ):  # fmt: skip
        for raw in (bounce(*victims, message=name), complaint(to=ADDRESS, message=name)):
            with pytest.raises(InvalidInput, match="no Message-ID along that this engine"):
                writing.engine.suppressions.heed(bounce_reports.read(raw), account=None)
    assert kept(writing) == []
    report = bounce_reports.read(bounce(message=signed))
    with pytest.raises(InvalidInput, match="another account"):
        writing.engine.suppressions.heed(report, account="acct_1")
    # who knows one letter's name speaks for its recipient, whomever else the report names
    writing.engine.suppressions.heed(
        bounce_reports.read(bounce(*victims, message=signed)), account=None
    )
    assert kept(writing) == [("", "bounced")]
    (act,) = writing.engine.suppressions.history(ADDRESS)
    assert (act["by"], act["note"]) == ("a report", f"about {message_id}")


@pytest.mark.integration
def test_whoever_asked_for_no_messages_is_written_to_only_where_that_is_said(
    writing: EngineShop,
) -> None:
    engine = writing.engine
    engine.suppressions.suppress(ADDRESS, reason="bounced", by="alice", note="a returned letter")
    engine.suppressions.lift(ADDRESS, reason="a new mailbox", by="bob")
    engine.suppressions.suppress(ADDRESS, reason="bounced", by="alice")
    engine.suppressions.suppress(
        ADDRESS, reason="unsubscribed", by="alice"
    )  # the first reason still stands
    with pytest.raises(Refused, match="asked for no more messages"):
        engine.suppressions.lift(ADDRESS, reason="a new mailbox", by="bob")
    assert kept(writing) == [("", "bounced")]
    engine.suppressions.lift(ADDRESS, reason="on the phone", by="bob", against_their_wish=True)
    assert kept(writing) == []
    with pytest.raises(NotFound):
        engine.suppressions.lift(ADDRESS, reason="again", by="bob", against_their_wish=True)
    told = [(a["act"], a["reason"], a["by"]) for a in engine.suppressions.history(ADDRESS)]
    assert told == [
        ("suppressed", "bounced", "alice"), ("lifted", None, "bob"),
        ("suppressed", "bounced", "alice"), ("suppressed", "unsubscribed", "alice"),
        ("lifted", None, "bob"),
    ]  # fmt: skip


@pytest.mark.integration
def test_a_soft_bounce_or_no_complaint_suppresses_nobody(
    writing: EngineShop, post_office: PostOffice
) -> None:
    customer, _ = failed(writing, "lost_card")
    writing.days_pass(customer, 2, step_hours=6)
    (mail,) = post_office.mails
    message = str(mail["Message-ID"]).strip("<>").partition("@")[0]
    soft = recipient(status="4.2.2", action="delayed")
    for raw in (bounce(soft, message=message), complaint("not-spam", to=ADDRESS, message=message)):
        done = writing.engine.suppressions.heed(bounce_reports.read(raw), account=None)
        assert (done["suppressed"], len(done["spared"])) == (0, 1)
    assert kept(writing) == []


@pytest.mark.integration
def test_an_address_is_suppressed_once_on_its_account_and_its_first_reason_stands(
    writing: EngineShop, post_office: PostOffice
) -> None:
    engine = writing.engine
    for reason in ("bounced", "complained"):
        assert engine.suppressions.suppress(f" {ADDRESS.upper()} ", reason=reason, by="test") == {
            "suppressed": True
        }
    engine.suppressions.suppress(ADDRESS, reason="unsubscribed", by="test", account="acct_1")
    assert kept(writing) == [("", "bounced"), ("acct_1", "unsubscribed")]
    assert engine.suppressions.counts() == {"bounced": 1, "complained": 0, "unsubscribed": 1}
    assert "maria" not in dump(writing).casefold()
    customer, _ = failed(writing, "lost_card")
    writing.days_pass(customer, 3, step_hours=6)
    assert post_office.mails == []


@pytest.mark.integration
@pytest.mark.parametrize(
    ("address", "reason", "account"),
    [
        ("maria", "bounced", ""),
        ("maria@", "bounced", ""),
        ("Maria <maria@example.com>", "bounced", ""),
        ("a@b.example, c@d.example", "bounced", ""),
        ("maria@exa mple.com", "bounced", ""),
        (f"{'m' * 320}@example.com", "bounced", ""),
        (ADDRESS, "annoyed", ""),
        (ADDRESS, "bounced", "cus_1"),
    ],
)
def test_what_is_no_address_reason_or_account_is_refused(
    writing: EngineShop, address: str, reason: str, account: str
) -> None:
    with pytest.raises(BadRequest, match="expected") as refused:
        writing.engine.suppressions.suppress(address, reason=reason, by="test", account=account)
    assert "maria" not in str(refused.value).casefold()
    assert kept(writing) == []
