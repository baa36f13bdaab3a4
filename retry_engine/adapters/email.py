"""Messages as e-mail, over SMTP.

SMTP knows no idempotency: once the body has been handed over, only the answer tells whether it was
taken. Before that, a failure means that nothing has left.
"""

import smtplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from retry_engine import presentation
from retry_engine.domain import mailbox
from retry_engine.domain.errors import CannotBeWrittenTo, MailNotSent, MailRefused, MailUnknown
from retry_engine.domain.mailbox import Mailbox
from retry_engine.domain.names import one_line
from retry_engine.domain.policy import Messages
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.messaging.channel import Message

_TIMEOUT = 20.0
# Codes that speak of whom it is for, not of us.
_NO_SUCH_BOX = frozenset({550, 551, 553, 521, 556})


@dataclass(frozen=True, slots=True)
class EmailChannel:
    """One connection a message. `url`: smtp:// or smtps://user:password@host:port.

    `plaintext_to_loopback`: a server on this machine may be told the password in clear.
    """

    url: str = field(repr=False)
    sender: str
    message_policy: Messages
    clock: Callable[[], datetime]
    plaintext_to_loopback: bool = False
    name: str = "email"
    needs_address: bool = True
    takes_several: bool = True

    def send(self, message: Message, *, permit: Permit) -> None:
        """Send it; errors as `MessageChannel` says, none with the address in it."""
        try:
            box = mailbox.parse(message.to)
        except CannotBeWrittenTo as why:
            raise MailRefused(f"the address cannot be written to: {why}", address=False) from None
        mail = as_mail(
            message, box, sender=self.sender, message_policy=self.message_policy, now=self.clock()
        )
        server = self._connect()
        handed_over = False
        try:
            options: list[str] = []
            if box.is_international:
                if not server.has_extn("smtputf8"):
                    raise MailRefused(
                        "the mail server takes no addresses in other scripts (SMTPUTF8): it cannot "
                        "be written to",
                        address=False,
                    )
                options = ["SMTPUTF8", "BODY=8BITMIME"]
            code, _ = server.mail(self.sender, options)
            _unless_taken(code, address=False)
            code, _ = server.rcpt(box.canonical)
            _unless_taken(code, address=True)
            code, _ = server.docmd("data")
            if code != 354:
                _unless_taken(code, address=False)
            handed_over = True
            # the library quotes dots and ends the body with a line of one
            code = _hand_over(server, mail, international=box.is_international)
            _unless_taken(code, address=False)
        except (OSError, smtplib.SMTPException) as error:
            if handed_over:
                raise MailUnknown(f"no answer after the message: {_told(error)}") from None
            raise MailNotSent(f"broken off before the message: {_told(error)}") from None
        finally:
            server.close()

    def check(self) -> str:
        """Whether the mail server lets us in, in words.

        Raises:
            MailNotSent: it does not.
        """
        server = self._connect()
        server.close()
        return f"{urlsplit(self.url).hostname} answers"

    def _connect(self) -> smtplib.SMTP:
        """A session that is logged in where there is a user; never with a password in clear."""
        server: smtplib.SMTP | None = None
        try:
            server = self._opened()
            parts = urlsplit(self.url)
            if parts.username:
                if not isinstance(server.sock, ssl.SSLSocket) and not self.password_may_be_read:
                    raise MailNotSent(
                        "the mail server offers no encryption (STARTTLS), and no password is told "
                        "in clear: use smtps://, or RETRY_ENGINE_SMTP_PLAINTEXT=loopback for one "
                        "on this machine"
                    )
                server.login(unquote(parts.username), unquote(parts.password or ""))
        except (OSError, smtplib.SMTPException) as error:
            if server is not None:
                server.close()
            raise MailNotSent(f"the mail server cannot be used: {_told(error)}") from None
        except MailNotSent:
            if server is not None:
                server.close()
            raise
        return server

    def _opened(self) -> smtplib.SMTP:
        """A connection, encrypted where the server offers it; its certificate is checked."""
        parts = urlsplit(self.url)
        host = parts.hostname or "localhost"
        safe = ssl.create_default_context()
        server: smtplib.SMTP
        if parts.scheme == "smtps":
            server = smtplib.SMTP_SSL(host, parts.port or 465, timeout=_TIMEOUT, context=safe)
            server.ehlo()
            return server
        server = smtplib.SMTP(host, parts.port or 25, timeout=_TIMEOUT)
        try:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=safe)
                server.ehlo()
        except (OSError, smtplib.SMTPException):
            server.close()
            raise
        return server

    @property
    def password_may_be_read(self) -> bool:
        """Whether a password is told without encryption: to a server on this machine, if so set."""
        return self.plaintext_to_loopback and _is_loopback(urlsplit(self.url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _hand_over(server: smtplib.SMTP, mail: EmailMessage, *, international: bool) -> int:
    written = mail.as_bytes(policy=policy.SMTPUTF8 if international else policy.SMTP)
    body = written.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    body = body.replace(b"\r\n.", b"\r\n..")
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    server.send(body + b".\r\n")
    code, _ = server.getreply()
    return code


def _unless_taken(code: int, *, address: bool) -> None:
    if 200 <= code < 300:
        return
    if code >= 500:
        for_them = address and code in _NO_SUCH_BOX
        raise MailRefused(f"the mail server refuses it with {code}", address=for_them)
    raise MailNotSent(f"the mail server says {code}: later")


def _told(error: Exception) -> str:
    # a server's own words may name the address
    code = getattr(error, "smtp_code", None)
    return f"{type(error).__name__}{f' {code}' if code else ''}"


def as_mail(
    message: Message, box: Mailbox, *, sender: str, message_policy: Messages, now: datetime
) -> EmailMessage:
    """The message with its headers, plain text and HTML."""
    written = presentation.write(message, message_policy=message_policy)
    mail = EmailMessage()
    mail["Subject"] = written.subject
    name, _, domain = sender.rpartition("@")
    mail["From"] = Address(one_line(message_policy.business), name, domain)
    mail["To"] = Address("", box.name, box.domain)
    if message_policy.reply_to:
        mail["Reply-To"] = message_policy.reply_to
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{message.mail_name}@{domain or 'localhost'}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    if message.unsubscribe_url:
        mail["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    elif message_policy.reply_to:
        mail["List-Unsubscribe"] = f"<mailto:{message_policy.reply_to}?subject=unsubscribe>"
    mail.set_content(written.text)
    mail.add_alternative(written.html, subtype="html")
    return mail
