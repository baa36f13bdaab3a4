"""Mails by which mail servers tell what became of a letter: bounces and complaints.

A bounce is a multipart/report with a message/delivery-status (RFC 3464): per-message fields, then
a block of fields a recipient. A complaint is one with a message/feedback-report (RFC 5965). Both
bring the letter along, or its headers. Whatever else comes to the same mailbox is refused.

Anybody can send one, so it is read in one pass over its lines and no deeper than its own parts.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from retry_engine.domain.errors import InvalidInput
from retry_engine.recovery.messaging.suppression import Report

LARGEST = 1024 * 1024
_MOST_PARTS = 50
# Each letter has one recipient; where that is a list of somebody's, a report may name a few.
_MOST_RECIPIENTS = 20
_LONGEST = 2000
_MOST_FIELD_LINES = 500
# Feedback-Type -> what it means for writing again; other types are not about being written to.
_COMPLAINTS = {
    "abuse": "complained",
    "fraud": "complained",
    "other": "complained",
    "opt-out": "unsubscribed",
    "opt-out-list": "unsubscribed",
}
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")
_BOUNDARY = re.compile(r'boundary\s?=\s?(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)

# Names in lower case; of a field that comes twice the first.
_Fields: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Part:
    fields: _Fields
    body: Sequence[bytes]  # its lines

    @property
    def kind(self) -> str:
        named = self.fields.get("content-type", "").partition(";")[0].strip().lower()
        return named or "text/plain"

    @property
    def content(self) -> Sequence[bytes]:
        """Its lines, decoded."""
        how = self.fields.get("content-transfer-encoding", "").lower()
        if how == "base64":
            try:
                return base64.b64decode(b"".join(self.body)).splitlines()
            except (binascii.Error, ValueError):
                return ()
        if how == "quoted-printable":
            return quopri.decodestring(b"\n".join(self.body)).splitlines()
        return self.body


def read(raw: bytes) -> Report:
    """What a bounce or a complaint says, and about which letter.

    Raises:
        InvalidInput: the mail is too large, or no report.
    """
    if len(raw) > LARGEST:
        raise InvalidInput(f"the mail is over {LARGEST // 1024} KiB, which no report is")
    lines = [line.removesuffix(b"\r") for line in raw.split(b"\n")]
    if lines[0].startswith(b"From "):  # as a mailbox file marks where a mail begins
        del lines[0]
    mail = _part(lines)
    if mail.kind != "multipart/report":
        raise InvalidInput(
            f"the mail is no report but {_shown(mail.kind)}; expected multipart/report "
            "(RFC 3464 or RFC 5965)"
        )
    parts = list(_parts(mail))
    for part in parts:
        if part.kind == "message/delivery-status":
            return _bounce(part, _message_id(parts))
        if part.kind == "message/feedback-report":
            return _complaint(part, _message_id(parts))
    raise InvalidInput(
        "the report has neither a message/delivery-status nor a message/feedback-report in it"
    )


def _part(lines: Sequence[bytes]) -> _Part:
    """Its fields, and behind the first empty line its body."""
    end = next((n for n, line in enumerate(lines) if not line.strip()), len(lines))
    return _Part(_fields(lines[:end]), lines[end + 1 :])


def _parts(mail: _Part) -> Iterator[_Part]:
    """The report's own parts, not those of what it brings along."""
    found = _BOUNDARY.search(mail.fields["content-type"])
    if found is None:
        return
    begins = b"--" + (found.group(1) or found.group(2)).encode("utf-8", "replace")
    marks = [n for n, line in enumerate(mail.body) if line.rstrip() in (begins, begins + b"--")]
    if len(marks) > _MOST_PARTS:
        raise InvalidInput(f"the report has over {_MOST_PARTS} parts, which no report has")
    for mark, after in zip(marks, [*marks[1:], len(mail.body)], strict=True):
        if mail.body[mark].rstrip() != begins:
            return
        yield _part(mail.body[mark + 1 : after])


def _bounce(part: _Part, message_id: str | None) -> Report:
    named = (fields for fields in _blocks(part.content) if "final-recipient" in fields)
    blocks = list(islice(named, _MOST_RECIPIENTS + 1))
    if not blocks:
        raise InvalidInput("the report names no final recipient")
    if len(blocks) > _MOST_RECIPIENTS:
        raise InvalidInput(
            f"the report names over {_MOST_RECIPIENTS} recipients; a letter of this engine has one"
        )
    spared = [why for fields in blocks if (why := _why_spared(fields)) is not None]
    return Report(
        reason="bounced",
        is_final=len(spared) < len(blocks),
        spared=tuple(spared),
        message_id=message_id,
    )


def _why_spared(fields: _Fields) -> str | None:
    """Why a recipient may be written to again; None: it failed for good."""
    action = fields.get("action", "").lower()
    status = _STATUS.match(fields.get("status", ""))
    kind, separator, _ = fields["final-recipient"].partition(";")
    if separator and kind.strip().lower() not in ("rfc822", "utf-8"):
        return "a recipient that is no e-mail address"
    if status is None:
        return "a recipient without a status"
    code = status.group()
    if status.group(1) != "5":
        return f"a recipient with {code}: not for good"
    if action not in ("failed", ""):
        # by its words it was not given up: the status is that of one of several tries
        return f"a recipient with {code} that is {_shown(action)}, not failed"
    return None


def _complaint(part: _Part, message_id: str | None) -> Report:
    kind = _fields(part.content).get("feedback-type", "").lower()
    if not kind:
        raise InvalidInput("the feedback report names no Feedback-Type")
    reason = _COMPLAINTS.get(kind)
    spared = () if reason else (f"a report of the type {_shown(kind)}: no complaint",)
    return Report(
        reason=reason or "complained",
        is_final=reason is not None,
        spared=spared,
        message_id=message_id,
    )


def _message_id(parts: Sequence[_Part]) -> str | None:
    """The Message-ID of the letter that is brought along, whole or as its headers."""
    for part in parts:
        if part.kind in ("message/rfc822", "text/rfc822-headers", "message/global"):
            found = _part(part.content).fields.get("message-id")
            if found:
                return found
    return None


def _blocks(lines: Sequence[bytes]) -> Iterator[_Fields]:
    """The blocks of fields in a part, with empty lines between them."""
    block: list[bytes] = []
    for line in (*lines, b""):
        if line.strip():
            block.append(line)
        elif block:
            yield _fields(block)
            block = []


def _fields(lines: Sequence[bytes]) -> _Fields:
    """Name and value of each field, on one line; what is longer than any of use is cut."""
    found: dict[str, str] = {}
    name, so_far = "", b""
    for line in (*lines[:_MOST_FIELD_LINES], b"end:"):
        if line[:1] in (b" ", b"\t"):
            if len(so_far) < _LONGEST:
                so_far += line
            continue
        if name:
            found.setdefault(name, _text(so_far))
        head, separator, so_far = line.partition(b":")
        name = head.strip().decode("utf-8", "replace").lower() if separator else ""
    return found


def _text(value: bytes) -> str:
    return " ".join(value[:_LONGEST].decode("utf-8", "replace").split())


def _shown(word: str) -> str:
    """Of what somebody else has written only what a word may hold."""
    return re.sub(r"[^\w/-]", "", word)[:40]
