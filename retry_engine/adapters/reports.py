"""Mails by which mail servers tell what became of a letter: bounces and complaints.

A bounce is a multipart/report with a message/delivery-status (RFC 3464): per-message fields, then
a block of fields a recipient. A complaint is one with a message/feedback-report (RFC 5965). Both
bring the letter along, or its headers. Whatever else comes to the same mailbox is refused.
"""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.errors import MessageError
from email.message import Message
from typing import Any, TypeAlias

from retry_engine.domain.errors import InvalidInput
from retry_engine.recovery.suppressing import Report

LARGEST = 1024 * 1024
_MOST_PARTS = 50
_LONGEST = 2000
# Feedback-Type -> what it means for writing again; other types are not about being written to.
_COMPLAINTS = {
    "abuse": "complained",
    "fraud": "complained",
    "other": "complained",
    "opt-out": "unsubscribed",
    "opt-out-list": "unsubscribed",
}
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")

# The lenient parser: headers stay text, as servers write them, and none of them fails to be read.
_Mail: TypeAlias = "Message[Any, Any]"


def read(raw: bytes) -> Report:
    """Whom a bounce or a complaint is about.

    Raises:
        InvalidInput: the mail is too large, or no report.
    """
    if len(raw) > LARGEST:
        raise InvalidInput(f"the mail is over {LARGEST // 1024} KiB, which no report is")
    try:
        mail: _Mail = message_from_bytes(raw, policy=policy.compat32)
        parts = list(_parts(mail))
    except (MessageError, RecursionError, LookupError, ValueError):
        raise InvalidInput("the mail cannot be read") from None
    if mail.get_content_type() != "multipart/report":
        raise InvalidInput(
            f"the mail is no report but {mail.get_content_type()}; expected multipart/report "
            "(RFC 3464 or RFC 5965)"
        )
    for part in parts:
        if part.get_content_type() == "message/delivery-status":
            return _bounce(part, _message_id(parts))
        if part.get_content_type() == "message/feedback-report":
            return _complaint(part, _message_id(parts))
    raise InvalidInput(
        "the report has neither a message/delivery-status nor a message/feedback-report in it"
    )


def _parts(mail: _Mail) -> Iterator[_Mail]:
    """The report's own parts, not those of what it brings along."""
    payload = mail.get_payload()
    if isinstance(payload, list):
        yield from (part for part in payload[:_MOST_PARTS] if isinstance(part, Message))


def _bounce(part: _Mail, message_id: str | None) -> Report:
    blocks = [block for block in _blocks(part) if block.get("Final-Recipient") is not None]
    if not blocks:
        raise InvalidInput("the report names no final recipient")
    addresses: list[str] = []
    spared: list[str] = []
    for block in blocks:
        why = _why_spared(block)
        # forwarders report where it went; where we wrote to is the original recipient
        found = [_address(block.get(name)) for name in ("Final-Recipient", "Original-Recipient")]
        if why is not None:
            spared.append(why)
        elif not any(found):
            spared.append("a recipient that is no e-mail address")
        else:
            addresses += [address for address in found if address]
    return Report(
        reason="bounced",
        addresses=tuple(dict.fromkeys(addresses)),
        spared=tuple(spared),
        message_id=message_id,
    )


def _why_spared(block: _Mail) -> str | None:
    """Why a recipient may be written to again; None: it failed for good."""
    action = _text(block.get("Action")).lower()
    status = _STATUS.match(_text(block.get("Status")))
    if status is None:
        return "a recipient without a status"
    code = status.group()
    if status.group(1) != "5":
        return f"a recipient with {code}: not for good"
    if action not in ("failed", ""):
        # by its words it was not given up: the status is that of one of several tries
        return f"a recipient with {code} that is {action[:20]}, not failed"
    return None


def _complaint(part: _Mail, message_id: str | None) -> Report:
    fields = next(_blocks(part), None)
    kind = _text(fields.get("Feedback-Type")).lower() if fields is not None else ""
    if fields is None or not kind:
        raise InvalidInput("the feedback report names no Feedback-Type")
    reason = _COMPLAINTS.get(kind)
    if reason is None:
        shown = re.sub(r"[^\w-]", "", kind)[:20]
        spared = (f"a report of the type {shown}: no complaint",)
        return Report(reason="complained", addresses=(), spared=spared, message_id=None)
    found = (_address(value) for value in fields.get_all("Original-Rcpt-To", []))
    addresses = tuple(dict.fromkeys(address for address in found if address))
    return Report(reason=reason, addresses=addresses, spared=(), message_id=message_id)


def _blocks(part: _Mail) -> Iterator[_Mail]:
    """The blocks of fields in a part, which the parser has read as headers."""
    payload = part.get_payload()
    if isinstance(payload, list):
        yield from (block for block in payload if isinstance(block, Message))


def _message_id(parts: list[_Mail]) -> str | None:
    """The Message-ID of the letter that is brought along, whole or as its headers."""
    for part in parts:
        letter: _Mail | None = None
        if part.get_content_type() == "message/rfc822":
            letter = next(_blocks(part), None)
        elif part.get_content_type() == "text/rfc822-headers":
            content = part.get_payload(decode=True)
            if isinstance(content, bytes):
                letter = message_from_bytes(content, policy=policy.compat32)
        if letter is not None and _text(letter.get("Message-ID")):
            return _text(letter.get("Message-ID"))
    return None


def _address(value: Any) -> str | None:
    """Of `rfc822; name@example.com`, `<name@example.com>` and the like the address."""
    kind, separator, rest = _text(value).partition(";")
    address = rest if separator else kind
    if separator and kind.strip().lower() not in ("rfc822", "utf-8"):
        return None
    address = re.sub(r"\([^)]*\)", "", address).strip().strip("<>").strip()
    return address if re.fullmatch(r"[^@\s]+@[^@\s]+", address) else None


def _text(value: Any) -> str:
    """A field on one line; what is longer than any field of use is cut."""
    return " ".join(str(value)[:_LONGEST].split()) if value is not None else ""
