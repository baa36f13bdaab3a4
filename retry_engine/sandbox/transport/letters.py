"""A mail as its reader has it, and the notification that one could not be delivered."""

import re
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

from retry_engine.sandbox.objects import Obj


@dataclass(slots=True, kw_only=True)
class Letter:
    """One mail in one mailbox. `at`: seconds, by the clock of the customer it reached."""

    at: int
    sender: str
    to: str
    customer: str | None
    message: EmailMessage
    links: list[str] = field(default_factory=list)

    @property
    def subject(self) -> str:
        """Its subject line."""
        return str(self.message["Subject"] or "")

    @property
    def unsubscribe_url(self) -> str | None:
        """Where one click unsubscribes (RFC 8058), if the mail says so."""
        one_click = str(self.message["List-Unsubscribe-Post"] or "").strip()
        found = re.findall(r"<(https?://[^>]+)>", str(self.message["List-Unsubscribe"] or ""))
        return found[0] if found and one_click == "List-Unsubscribe=One-Click" else None

    def as_json(self) -> Obj:
        """The letter as `/_sandbox/mail` shows it."""
        return {
            "at": self.at,
            "from": self.sender,
            "to": self.to,
            "customer": self.customer,
            "subject": self.subject,
            "headers": [[name, str(value)] for name, value in self.message.items()],
            "text": part_of(self.message, "plain"),
            "html": part_of(self.message, "html"),
            "links": self.links,
        }


def notification(letter: Letter) -> EmailMessage:
    """The notification (RFC 3464) that a mail could not be delivered."""
    parts = (
        ("text/plain", "Your message could not be delivered."),
        (
            "message/delivery-status",
            "Reporting-MTA: dns; sandbox.example\n\n"
            f"Final-Recipient: rfc822; {letter.to}\nAction: failed\nStatus: 5.1.1\n"
            "Diagnostic-Code: smtp; 550 5.1.1 No such mailbox here\n",
        ),
        ("text/rfc822-headers", f"Message-ID: {letter.message['Message-ID'] or ''}\n"),
    )
    body = "".join(f"--bounce\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts)
    head = (
        "From: Mail Delivery System <mailer-daemon@sandbox.example>\n"
        f"To: {letter.sender}\nSubject: Undelivered Mail Returned to Sender\n"
        "Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="bounce"\n\n'
    )
    return message_from_bytes(f"{head}{body}--bounce--\n".encode(), policy=policy.default)


def part_of(message: EmailMessage, subtype: str) -> str | None:
    """The mail as `plain` or `html`, if it has that."""
    part = message.get_body(preferencelist=(subtype,))
    return str(part.get_content()) if part is not None else None


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href") or ""
        if tag == "a" and href.startswith(("http://", "https://")):
            self.found.append(href)


def links_of(message: EmailMessage) -> list[str]:
    """The web addresses in a mail, in the order its reader meets them; unsubscribing last."""
    anchors = _Anchors()
    anchors.feed(part_of(message, "html") or "")
    text = re.findall(r"https?://[^\s<>\"')\]]+", part_of(message, "plain") or "")
    found: list[str] = []
    for url in (*anchors.found, *text):
        url = url.rstrip(".,;")  # noqa: PLW2901 -- what ends the sentence is not of the address
        if url not in found:
            found.append(url)
    header = str(message["List-Unsubscribe"] or "")
    return sorted(found, key=lambda url: url in header)
