"""E-mail addresses as Stripe keeps them: whatever somebody typed. One mailbox, or none to write to.

RFC 5321 and 5322 as far as they are in use (no quoted names, comments, routes or literals), RFC
6531 for names and RFC 5890 for domains in other scripts.
"""

import re
import unicodedata
from dataclasses import dataclass

import idna

from retry_engine.domain.errors import CannotBeWrittenTo

# RFC 5321, section 4.5.3.1, in octets; the whole as it fits into a path of 256.
_LONGEST_NAME, _LONGEST = 64, 254
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
# Marks that belong to a letter, and nothing that hides, separates, reorders or is unassigned.
_IN_WORDS = ("L", "M", "N", "P", "S")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """`domain` is in ASCII, whatever script it was typed in."""

    name: str
    domain: str

    @property
    def canonical(self) -> str:
        """The address as it is sent to."""
        return f"{self.name}@{self.domain}"

    @property
    def is_international(self) -> bool:
        """Whether a mail server must know SMTPUTF8 to take it."""
        return not self.name.isascii()


def parse(text: str) -> Mailbox:
    """The one mailbox that a text is.

    Raises:
        CannotBeWrittenTo: it is none, or more than one; the reason does not repeat it.
    """
    found = text.strip(" ")
    if not found:
        raise CannotBeWrittenTo("it is empty")
    if len(found) > _LONGEST:
        raise CannotBeWrittenTo(f"it is longer than {_LONGEST} characters")
    if any(unicodedata.category(c)[0] not in _IN_WORDS for c in found):
        raise CannotBeWrittenTo("there are spaces or characters in it that do not show")
    name, separator, domain = found.partition("@")
    if not separator or "@" in domain:
        raise CannotBeWrittenTo("it is not one name, one @ and one domain")
    if not all(_ATOM.fullmatch(part) for part in name.split(".")):
        raise CannotBeWrittenTo("what stands before the @ is no mailbox's name")
    box = Mailbox(unicodedata.normalize("NFC", name), _ascii(domain))
    if len(box.name.encode()) > _LONGEST_NAME or len(box.canonical.encode()) > _LONGEST:
        raise CannotBeWrittenTo(f"it is longer than {_LONGEST} bytes, or its name than 64")
    return box


def _ascii(domain: str) -> str:
    plain = domain.removesuffix(".").lower()
    if not plain.isascii():
        try:
            plain = idna.encode(plain, uts46=True).decode("ascii")
        except UnicodeError:  # idna's own errors are such
            raise CannotBeWrittenTo("what stands after the @ is no domain") from None
    labels = plain.split(".")
    fits = len(plain) <= 253 and all(len(p) <= 63 and _LABEL.fullmatch(p) for p in labels)
    if not fits or len(labels) < 2:  # one word alone is a machine of the mail server's own house
        raise CannotBeWrittenTo("what stands after the @ is no domain")
    return plain
