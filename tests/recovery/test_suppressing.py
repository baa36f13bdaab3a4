"""Bounces and complaints that come later: read as servers write them, and heeded."""

import pytest
from correspondence import ADDRESS, failed
from engine_shop import EngineShop
from post_office import PostOffice
from returned_mail import bounce, complaint, recipient
from sqlalchemy import text

from retry_engine.adapters import reports
from retry_engine.domain.errors import BadRequest, InvalidInput

# -- reading


def test_a_bounce_names_who_failed_for_good_and_the_letter() -> None:
    found = reports.read(bounce())
    assert found.addresses == (ADDRESS,)
    assert (found.reason, found.spared) == ("bounced", ())
    assert found.message_id == "<case_none.1@shop.example>"


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_of_several_recipients_only_those_that_failed_for_good_are_taken(ends: bytes) -> None:
    raw = bounce(
        recipient("one@example.com", status="5.1.1"),
        recipient("two@example.com", status="4.4.7"),
        recipient("three@example.com", status="4.2.2", action="delayed"),
        recipient("four@example.com", status="2.0.0", action="delivered"),
        recipient("five@there.example", status="5.2.1", original="five@example.com"),
    )
    found = reports.read(raw.replace(b"\n", ends))
    assert found.addresses == ("one@example.com", "five@there.example", "five@example.com")
    assert [why.split(":")[0] for why in found.spared] == [
        "a recipient with 4.4.7", "a recipient with 4.2.2", "a recipient with 2.0.0",
    ]  # fmt: skip


def test_a_recipient_without_status_or_of_another_kind_is_left_alone() -> None:
    no_status = recipient().replace("Status: 5.1.1\n", "")
    fax = recipient("+1-555").replace("rfc822", "x-fax")
    endless = recipient("(" * 500_000)
    found = reports.read(bounce(no_status, fax, endless))
    assert found.addresses == ()
    assert len(found.spared) == 3
    assert not any("@" in why for why in found.spared)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("abuse", "complained"), ("fraud", "complained"), ("opt-out", "unsubscribed")],
)
def test_a_complaint_names_whom_it_came_from(kind: str, reason: str) -> None:
    found = reports.read(complaint(kind, to=ADDRESS))
    assert (found.reason, found.addresses) == (reason, (ADDRESS,))


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "virus", "x-new"])
def test_a_feedback_report_that_is_no_complaint_is_left_alone(kind: str) -> None:
    found = reports.read(complaint(kind, to=ADDRESS))
    assert found.addresses == ()
    assert found.spared == (f"a report of the type {kind}: no complaint",)


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
        (bounce().replace(b"Final-Recipient", b"X-Recipient"), "names no final recipient"),
        (complaint().replace(b"Feedback-Type", b"X-Type"), "names no Feedback-Type"),
        (b"x" * (reports.LARGEST + 1), "over 1024 KiB"),
        (b"".join(_DEEP % (n, n) for n in range(3000)), "no"),
        (b"Content-Type: multipart/report\n\nno boundary", "has neither"),
    ],
)
def test_what_is_no_report_is_refused_in_a_sentence(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        reports.read(raw)
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
        report = reports.read(bounce(message=message))
        done = writing.engine.heed_report(report, account=None)
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
    with pytest.raises(InvalidInput, match="neither an address nor a message"):
        writing.engine.heed_report(reports.read(complaint()), account=None)
    done = writing.engine.heed_report(reports.read(complaint(message=message)), account=None)
    assert (done["suppressed"], done["reason"]) == (1, "complained")
    writing.days_pass(customer, 20, step_hours=12)
    assert len(post_office.mails) == 1


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
        done = writing.engine.heed_report(reports.read(raw), account=None)
        assert (done["suppressed"], len(done["spared"])) == (0, 1)
    assert kept(writing) == []


@pytest.mark.integration
def test_an_address_is_suppressed_once_on_its_account_and_its_first_reason_stands(
    writing: EngineShop, post_office: PostOffice
) -> None:
    engine = writing.engine
    for reason in ("bounced", "complained"):
        assert engine.suppress(f" {ADDRESS.upper()} ", reason=reason) == {"suppressed": True}
    engine.suppress(ADDRESS, reason="unsubscribed", account="acct_1")
    assert kept(writing) == [("", "bounced"), ("acct_1", "unsubscribed")]
    assert engine.suppressed() == {"bounced": 1, "complained": 0, "unsubscribed": 1}
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
        writing.engine.suppress(address, reason=reason, account=account)
    assert "maria" not in str(refused.value).casefold()
    assert kept(writing) == []
