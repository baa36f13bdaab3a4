"""What messages say, in the customer's language: plain text and HTML from the same words.

The words never name the bank's reason, threaten, or invent a deadline. They were not reviewed by
native speakers of all languages.
"""

import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_date
from babel.numbers import format_currency
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from retry_engine.domain import money
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.policy import Messages
from retry_engine.recovery.messaging import Letter

LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt")


@dataclass(frozen=True, slots=True)
class Written:
    """A message as it is read."""

    subject: str
    text: str
    html: str


def write(letter: Letter, *, manners: Messages) -> Written:
    """The letter in the customer's language, else in the policy's."""
    language = _language(letter.language, manners.language)
    words = _words()[language]
    shown: dict[str, Any] = {
        "business": manners.business or words["business"],
        "amount": format_currency(
            money.in_major_units(letter.amount, letter.currency),
            letter.currency.upper(),
            locale=language,
        ),
        "date": _date(letter, language),
        "name": letter.name or "",
    }
    said = words[letter.kind.value]

    def fill(text: str) -> str:
        return text.format(**shown)

    parts = {
        "language": language,
        "subject": fill(said["subject"]),
        "greeting": fill(words["greeting_named"] if letter.name else words["greeting"]),
        "paragraphs": [fill(text) for text in said["paragraphs"]],
        "next_try": fill(words["next_try"]) if letter.retry_at else None,
        "button": said["button"],
        "pay_url": letter.pay_url,
        "paid_already": words["paid_already"],
        "unsubscribe": words["unsubscribe"],
        "unsubscribe_url": letter.unsubscribe_url,
        "business": shown["business"],
    }
    pages = _pages()
    return Written(
        subject=parts["subject"],
        text=pages.get_template("letter.txt").render(parts),
        html=pages.get_template("letter.html").render(parts),
    )


def preview(kind: str, language: str, *, manners: Messages, now: datetime) -> Written:
    """A letter to nobody, with made-up facts.

    Raises:
        BadRequest: there is no such kind or language.
    """
    kinds = [known.value for known in MessageKind]
    for given, known in ((kind, kinds), (language, LANGUAGES)):
        if given not in known:
            raise BadRequest(f"{given!r} is not one of {', '.join(known)}")
    letter = Letter(
        message_id="preview",
        to="customer@example.com",
        kind=MessageKind(kind),
        language=language,
        name="Maria Example",
        amount=2900,
        currency="eur",
        retry_at=now + timedelta(days=3) if kind == MessageKind.PAYMENT_FAILED else None,
        timezone="Europe/Berlin",
        pay_url="https://example.com/pay",
        unsubscribe_url="https://example.com/unsubscribe",
    )
    return write(letter, manners=manners)


def unsubscribe_page(language: str, *, done: bool, manners: Messages) -> str:
    """Asks for one press of a button, or says that it is done: mail scanners open links too."""
    words = _words()[_language(language, manners.language)]
    return (
        _pages()
        .get_template("unsubscribe.html")
        .render(
            language=_language(language, manners.language),
            business=manners.business or words["business"],
            unsubscribe=words["unsubscribe"],
            unsubscribed=words["unsubscribed"],
            done=done,
        )
    )


def _language(wanted: str, default: str) -> str:
    tag = wanted.replace("_", "-").partition("-")[0].lower()
    return tag if tag in LANGUAGES else default


def _date(letter: Letter, language: str) -> str:
    if letter.retry_at is None:
        return ""
    try:
        zone = ZoneInfo(letter.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    local: datetime = letter.retry_at.astimezone(zone)
    return str(format_date(local.date(), format="long", locale=language))


@cache
def _words() -> dict[str, Any]:
    text = (files(__name__) / "words.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def _pages() -> Environment:
    return Environment(
        loader=PackageLoader(__name__, "pages"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
