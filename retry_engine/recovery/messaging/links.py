"""Links that only we can have made: a subject, a purpose and an end, signed.

Guessing one is guessing 128 bits; a link for one purpose is none for another. The key comes from
outside the database where a secret is set, so that a copy of the database forges none; with several
secrets the first signs and all are good. What is kept of addresses has another key, which stays.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from retry_engine.domain import mailbox
from retry_engine.domain.errors import CannotBeWrittenTo
from retry_engine.store import messages

RECOVER, NEW_CARD, UNSUBSCRIBE = "recover", "new_card", "unsubscribe"
# How long a link of that purpose holds. A token that claims more was not made by us.
LIFETIMES = {
    RECOVER: timedelta(days=60),
    NEW_CARD: timedelta(days=45),
    UNSUBSCRIBE: timedelta(days=180),
}
_LETTER = "letter"
_SIGNATURE_BYTES = 16


@dataclass(frozen=True, slots=True)
class LinkKeys:
    """Signs and reads. Without `secrets` the key is the database's own."""

    secrets: tuple[bytes, ...] = field(default=(), repr=False)

    def sign(self, connection: Connection, purpose: str, subject: str, *, now: datetime) -> str:
        """A token for an address; letters, digits, `-` and `_` only."""
        key = self._keys(connection)[0]
        return sign(key, purpose, subject, until=now + LIFETIMES[purpose])

    def read(
        self, connection: Connection, purpose: str, token: str, *, now: datetime
    ) -> str | None:
        """The subject; None where the token is not ours, is for something else, or has ended."""
        keys = self._keys(connection)
        if purpose == UNSUBSCRIBE:
            # who was written to before a secret was set may still want no more of it
            keys = (*keys, messages.link_key(connection))
        found = (read(key, purpose, token, now=now) for key in keys)
        return next((subject for subject in found if subject is not None), None)

    def name_letter(self, connection: Connection, message_id: str) -> str:
        """The part of a letter's Message-ID before the @: a report that names it is about ours."""
        signed = _signature(self._keys(connection)[0], _LETTER, message_id.encode())
        return f"{message_id}.{signed.hex()}"

    def letter_named(self, connection: Connection, name: str) -> str | None:
        """The message's id, of such a name; None where we have not signed it."""
        message_id, _, signed = name.rpartition(".")
        for key in self._keys(connection):
            expected = _signature(key, _LETTER, message_id.encode("utf-8", "replace")).hex()
            if hmac.compare_digest(expected.encode(), signed.encode("utf-8", "replace")):
                return message_id
        return None

    def _keys(self, connection: Connection) -> tuple[bytes, ...]:
        return self.secrets or (messages.link_key(connection),)


def sign(key: bytes, purpose: str, subject: str, *, until: datetime) -> str:
    """A token that holds until then."""
    body = f"{int(until.timestamp())}:{subject}".encode()
    return _text(body + _signature(key, purpose, body))


def read(key: bytes, purpose: str, token: str, *, now: datetime) -> str | None:
    """The subject of a token of that key and purpose, within its time."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    if _text(raw) != token:  # base64 has several spellings of one text; ours is one
        return None
    body, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(key, purpose, body)):
        return None
    until, _, subject = body.decode().partition(":")
    left = datetime.fromtimestamp(int(until), UTC) - now
    # the second allows for the fraction that the token does not hold
    if not timedelta(0) <= left <= LIFETIMES[purpose] + timedelta(seconds=1):
        return None
    return subject


def hash_of(key: bytes, address: str) -> str:
    """What is kept of an e-mail address: enough to know it again, not to learn it.

    One mailbox has one hash, however its domain is spelt.
    """
    try:
        text = mailbox.parse(address).canonical
    except CannotBeWrittenTo:
        text = address.strip()
    folded = text.casefold().encode("utf-8", "replace")
    return hmac.new(key, b"address:" + folded, hashlib.sha256).hexdigest()


def _signature(key: bytes, purpose: str, body: bytes) -> bytes:
    message = purpose.encode() + b"\0" + body
    return hmac.new(key, message, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
