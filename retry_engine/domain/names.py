"""What customers call themselves, as it may stand in a letter or on a page.

A name is a text of a stranger's: in a letter of ours it must not lead anywhere, break a line, or
turn the words around it.
"""

import re
import unicodedata

_LONGEST = 60
# What a mail program may make a link of: a scheme, a domain, an address. Better greeted by no name.
_LEADS_SOMEWHERE = re.compile(r"://|www\.|\S@\S|\w\.[^\W\d_]{2,}|\w\.xn--", re.IGNORECASE)
_DOTS = str.maketrans("\u3002\uff0e\uff61\u2024", "....")
# controls, what does not show or reorders, what is no character, and ends of lines and paragraphs
_NOT_SHOWN = ("Cf", "Cs", "Co", "Cn")
_BREAKS = ("Cc", "Zl", "Zp")


def one_line(text: str) -> str:
    """The text without line breaks, controls, and characters that do not show or reorder."""
    shown = (
        "" if kind in _NOT_SHOWN else " " if kind in _BREAKS else character
        for character in text
        for kind in (unicodedata.category(character),)
    )
    return " ".join("".join(shown).split())


def shown_name(name: str | None) -> str | None:
    """The name as a greeting says it; None where there is none, or it leads somewhere."""
    found = one_line(name or "")
    if not found or _LEADS_SOMEWHERE.search(unicodedata.normalize("NFKC", found).translate(_DOTS)):
        return None
    return found if len(found) <= _LONGEST else f"{found[: _LONGEST - 1].rstrip()}…"
