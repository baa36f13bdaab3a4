"""What leaves over SMTP, and what does not: passwords in clear, letters to nobody certain."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult
from correspondence import ADDRESS, Writing, failed
from post_office import PostOffice, _AnyPort

from retry_engine import presentation
from retry_engine.adapters.email import EmailChannel
from retry_engine.adapters.stripe import mapping
from retry_engine.domain.errors import InvalidInput, MailNotSent, MailRefused, SettingsError
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.policy import Messages
from retry_engine.recovery.gate import permit
from retry_engine.recovery.messaging.channel import Message

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
LETTER = Message(
    message_id="case_1.1", mail_name="case_1.1.00", account="", customer_id="cus_1",
    invoice_id="in_1", to=ADDRESS, kind=MessageKind.UPDATE_METHOD, language="en", name="Maria",
    amount=2900, currency="eur", retry_at=None, timezone=None, pay_url="https://pay.example.com/r/t",
    unsubscribe_url=None,
)  # fmt: skip
GO = permit("takeover", "takeover")


@dataclass
class Server:
    """A real SMTP server that asks for a password, and what passwords reached it."""

    office: PostOffice = field(default_factory=PostOffice)
    passwords: list[bytes] = field(default_factory=list)
    port: int = 0

    def post(self, *, user: str = "me:secret@", **more: Any) -> EmailChannel:
        url = f"smtp://{user}127.0.0.1:{self.port}"
        return EmailChannel(url, "billing@shop.example", Messages(), clock=lambda: NOW, **more)


@pytest.fixture(params=["no encryption", "an offer that leads nowhere"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server()

    def authenticate(*arguments: Any) -> AuthResult:
        made.passwords.append(arguments[-1].password)
        return AuthResult(success=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if "offer" in request.param else None
    controller = _AnyPort(
        made.office, hostname="127.0.0.1", port=0, authenticator=authenticate,
        auth_require_tls=False, tls_context=context, enable_SMTPUTF8=False,
    )  # fmt: skip
    controller.start()
    made.port = controller.port
    yield made
    controller.stop()


def test_a_password_is_never_told_in_clear(server: Server) -> None:
    for post in (server.post(), replace(server.post(), plaintext_to_loopback=False)):
        with pytest.raises(MailNotSent, match=r"encryption|cannot be used") as refused:
            post.send(LETTER, permit=GO)
        assert "secret" not in f"{refused.value} {post!r}"
        with pytest.raises(MailNotSent):
            post.check()
    assert (server.passwords, server.office.mails) == ([], [])


@pytest.mark.parametrize("server", ["no encryption"], indirect=True)
def test_a_server_on_this_machine_may_hear_it_where_that_is_set(server: Server) -> None:
    post = server.post(plaintext_to_loopback=True)
    assert post.check() == "127.0.0.1 answers"
    post.send(LETTER, permit=GO)
    assert set(server.passwords) == {b"secret"}
    assert len(server.office.mails) == 1


def test_plaintext_is_for_loopback_and_for_nothing_else() -> None:
    from retry_engine import settings  # noqa: PLC0415

    with pytest.raises(SettingsError, match="RETRY_ENGINE_SMTP_PLAINTEXT"):
        settings.load({"RETRY_ENGINE_SMTP_PLAINTEXT": "yes"})
    elsewhere = EmailChannel(
        "smtp://me:secret@192.0.2.1", "b@shop.example", Messages(), clock=lambda: NOW,
        plaintext_to_loopback=True,
    )  # fmt: skip
    assert not elsewhere.password_may_be_read


@pytest.mark.parametrize("server", ["no encryption"], indirect=True)
@pytest.mark.parametrize(
    "to", ["x@shop, victim@other", "Name <v@other.example>", "noat", "",
           "a@b.example\nTo: v@o.example", "a\x00@b.example", "jörg@example.com"],
)  # fmt: skip
def test_nothing_leaves_for_what_is_not_one_mailbox_of_that_server(server: Server, to: str) -> None:
    with pytest.raises(MailRefused, match="be written to") as refused:
        server.post(user="").send(replace(LETTER, to=to), permit=GO)
    assert not refused.value.address
    assert "v@o" not in str(refused.value)
    assert "victim" not in str(refused.value)
    assert server.office.mails == []


def test_other_scripts_are_written_to_where_the_server_takes_them(post_office: PostOffice) -> None:
    post = EmailChannel(post_office.url, "billing@shop.example", Messages(), clock=lambda: NOW)
    for to in ("jörg@example.com", "m@bücher.example"):
        post.send(replace(LETTER, to=to, name="Jörg\r\nBcc: victim@other.example"), permit=GO)
    assert [mail["To"] for mail in post_office.mails] == [
        "jörg@example.com", "m@xn--bcher-kva.example",
    ]  # fmt: skip
    assert all(mail["Bcc"] is None for mail in post_office.mails)


def test_a_name_cannot_lead_out_of_a_letter() -> None:
    for name in ("evil.example", "https://evil.example", "\u202emoc.live", "a\u200b\nb"):
        written = presentation.write(
            replace(LETTER, name=name), message_policy=Messages(business="A\nB")
        )
        for text in (written.subject, written.text, written.html):
            assert "evil" not in text
            assert not set(text) & {"\u202e", "\u200b", "\r"}
        assert "\n" not in written.subject


@pytest.mark.parametrize("zone", ["Europe", "", "../etc/passwd", "UTC+2", "\0"])
def test_an_odd_timezone_costs_nobody_the_letter(zone: str) -> None:
    message = replace(LETTER, kind=MessageKind.PAYMENT_FAILED, timezone=zone, retry_at=NOW)
    assert "March 10, 2026" in presentation.write(message, message_policy=Messages()).text


def test_an_invoice_in_no_currency_is_refused_where_it_comes_in() -> None:
    invoice = {"id": "in_1", "currency": "zz", "created": 0}
    with pytest.raises(InvalidInput, match="the currency of in_1 is 'zz'"):
        mapping.invoice_facts(invoice)


@pytest.mark.integration
def test_who_cannot_be_written_to_is_on_record_as_not_written_to(
    writes: Writing, post_office: PostOffice
) -> None:
    here = writes()
    address = "maria@shop.example, victim@other.example"
    customer, invoice = failed(here, "lost_card", address=address)
    here.days_pass(customer, 2, step_hours=6)
    assert post_office.mails == []
    found = here.case(invoice)["messages"]
    assert found
    assert {message["state"] for message in found} == {"not_sent"}
    assert all("cannot be written to" in message["error"] for message in found)
    assert "victim" not in str(found)
    here.shop.stripe.v1.customers.update(customer.id, {"email": ADDRESS})
    here.days_pass(customer, 4, step_hours=6)
    assert len(post_office.to(ADDRESS)) >= 1
