"""What messages say, in the customer's language: plain text and HTML from the same words.

The words never name the bank's reason, threaten, or invent a deadline. They were not reviewed by
native speakers of all languages.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

from babel.dates import format_date
from babel.numbers import format_currency
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from retry_engine.domain import money
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.names import one_line, shown_name
from retry_engine.domain.offers import Change, OfferState, Way
from retry_engine.domain.policy import Messages, Policy
from retry_engine.domain.standing import Outlook, Standing
from retry_engine.domain.timezones import zone_of
from retry_engine.recovery.incentives.plan_changes import Choices
from retry_engine.recovery.messaging.channel import DueInvoice, Message
from retry_engine.recovery.payment_page import Bill
from retry_engine.store.renewals import Renewal

_BEFORE_A_RENEWAL = (MessageKind.CARD_EXPIRING, MessageKind.RENEWAL_AT_RISK)
_WITH_A_DATE = (MessageKind.PAYMENT_FAILED, *_BEFORE_A_RENEWAL)
LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt")


@dataclass(frozen=True, slots=True)
class Written:
    """A message as it is read."""

    subject: str
    text: str
    html: str
    language: str


def write(message: Message, *, message_policy: Messages) -> Written:
    """The letter in the customer's language, else in the policy's."""
    language = _language(message.language, message_policy.language)
    words = words_by_language()[language]
    name = shown_name(message.name)
    shown: dict[str, Any] = {
        "business": one_line(message_policy.business) or words["business"],
        "amount": _money(message.amount, message.currency, language),
        "date": _day(message.retry_at, message.timezone, language),
        "discount": _money(message.discount, message.currency, language),
        "rest": _money(message.amount - message.discount, message.currency, language),
        "until": _day(message.offer_until, message.timezone, language),
        "name": name or "",
    }
    said = words[message.kind.value]

    # before a renewal the date is in the words themselves: nothing has failed yet
    early = message.kind in _BEFORE_A_RENEWAL
    tries_again = message.retry_at is not None and not early

    def fill(text: str) -> str:
        return text.format(**shown)

    parts = {
        "language": language,
        "subject": fill(said["subject"]),
        "greeting": fill(words["greeting_named"] if name else words["greeting"]),
        "paragraphs": [fill(text) for text in said["paragraphs"]],
        "offer": fill(_offered(words, message.way)) if message.discount else None,
        "next_try": fill(words["next_try"]) if tries_again else None,
        "button": said["button"],
        "pay_url": message.pay_url,
        "invoices": [],
        "paid_already": None if early else words["paid_already"],
        "unsubscribe": words["unsubscribe"],
        "unsubscribe_url": message.unsubscribe_url,
        "business": shown["business"],
    }
    if message.further:
        parts |= _several(message, words, language)
    pages = _pages()
    return Written(
        subject=parts["subject"],
        text=pages.get_template("message.txt").render(parts),
        html=pages.get_template("message.html").render(parts),
        language=language,
    )


def _several(message: Message, words: dict[str, Any], language: str) -> dict[str, Any]:
    """What is else in a letter about several invoices: no button of its own, but one for each."""
    said = words["several"]
    due = _most_owed_first(message)
    total = sum(invoice.amount for invoice in due)
    is_one_currency = len({invoice.currency for invoice in due}) == 1
    subject = said["subject_total" if is_one_currency else "subject"].format(
        count=len(due), total=_money(total, message.currency, language)
    )
    invoices = [_listed(invoice, message.timezone, words, language) for invoice in due]
    alone = {"offer": None, "next_try": None, "pay_url": None}
    return {"subject": subject, "paragraphs": [said["intro"]], "invoices": invoices} | alone


def _most_owed_first(message: Message) -> list[DueInvoice | Message]:
    """The letter's own invoice and the further ones; those in its currency before others."""
    return sorted(
        (message, *message.further), key=lambda due: (due.currency != message.currency, -due.amount)
    )


def _listed(
    due: DueInvoice | Message, timezone: str | None, words: dict[str, Any], language: str
) -> dict[str, Any]:
    said = words["several"]
    shown = {
        "number": one_line(due.number or "")[:40],
        "date": _day(due.issued_at, timezone, language),
        "amount": _money(due.amount, due.currency, language),
        "discount": _money(due.discount, due.currency, language),
        "rest": _money(due.amount - due.discount, due.currency, language),
        "until": _day(due.offer_until, timezone, language),
    }
    again = words["next_try"].format(date=_day(due.retry_at, timezone, language))
    return {
        "heading": said["numbered" if shown["number"] else "dated"].format(**shown),
        "text": said[due.kind.value],
        "next_try": again if due.retry_at is not None else None,
        "offer": _offered(words, due.way).format(**shown) if due.discount else None,
        "button": words[due.kind.value]["button"],
        "pay_url": due.pay_url,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """Stripe's Payment Element on the page: the publishable key, where Stripe.js is, the order."""

    key: str
    script: str
    order: str


def recovery_page(
    bill: Bill,
    *,
    token: str,
    element: Element | None,
    alert: str | None,
    message_policy: Messages,
) -> str:
    """How it stands, what is offered, and the ways to pay; `alert` names what went wrong."""
    language = _language(bill.language, message_policy.language)
    words = words_by_language()[language]
    page = words["page"]
    amount = _money(bill.amount, bill.currency, language)
    here = f"/r/{token}"
    parts: dict[str, Any] = {
        "heading": page[_HEADINGS.get(bill.standing, bill.standing.value)].format(amount=amount),
        "alert": page[alert] if alert else None,
        "note": _note(bill, page),
        "seen": f"{here}/seen",
        "pay_action": f"{here}/pay" if bill.pays_here else None,
        "pay_url": None if bill.pays_here else bill.hosted_url,
        "pay_words": page["hosted_too"] if element else page["hosted"],
        "portal_action": f"{here}/portal" if bill.portal else None,
        "portal_words": page["portal"],
    }
    offer = bill.offer
    if offer is not None:
        taken = offer.state != OfferState.OPEN
        shown = {
            "discount": _money(offer.amount, bill.currency, language),
            "rest": _money(bill.amount - (0 if taken else offer.amount), bill.currency, language),
            "until": _day((taken and offer.pay_until) or offer.until, bill.timezone, language),
        }
        later = offer.way == Way.COUPON  # the renewal after it costs less, not this invoice
        if taken:
            said = page["coupon_taken" if later else "offer_taken"]
            parts["offer_taken"] = said.format(**shown, amount=amount)
        else:
            parts["offer_open"] = {
                "heading": page["coupon_heading" if later else "offer_heading"].format(**shown),
                "text": page["coupon_text" if later else "offer_text"].format(
                    **shown, amount=amount
                ),
                "button": page["coupon_button" if later else "offer_button"].format(**shown),
                "action": f"{here}/offer",
            }
    parts["changes"] = _changes(bill.choices, page, here, bill.timezone, language)
    parts["changed"] = [
        page[f"{change.kind}_done"].format(day=_day(change.until, bill.timezone, language))
        for change in bill.choices.made
        if change.state != OfferState.REFUSED
    ]
    if element is not None and bill.client_secret:
        parts["element"] = {
            "key": element.key,
            "script": element.script,
            "order": element.order,
            "secret": bill.client_secret,
            "account": bill.account,
            "back": here,
            "button": page["pay"].format(amount=amount),
        }
    return _recovery(language, words, message_policy, parts)


# Where something is owed the heading says how much.
_HEADINGS = {Standing.ENDED: "due", Standing.OWED: "due"}


def _note(bill: Bill, page: dict[str, Any]) -> str | None:
    """What the customer is told beside the heading: only what is so."""
    if bill.standing is Standing.CHECKED:
        return str(page["checked_note"])
    if bill.standing is Standing.ENDED:
        return str(page["note_ended"])
    if bill.standing is not Standing.DUE:
        return None
    notes = {Outlook.GOES_ON: "note", Outlook.PAUSED: "note_paused", Outlook.ENDED: "note_ended"}
    return str(page[notes[bill.outlook]]) if bill.outlook in notes else None


def _changes(
    choices: Choices, page: dict[str, Any], here: str, timezone: str | None, language: str
) -> list[dict[str, Any]]:
    """What the customer can change by themselves: a heading, a text, a button, days to choose."""
    found: list[dict[str, Any]] = []
    if choices.days:
        days = [(at.isoformat(), _day(at, timezone, language)) for at in choices.days]
        found.append({"kind": Change.BILLING_DAY.value, "days": days, "until": ""})
    if choices.pause_until is not None:
        until = _day(choices.pause_until, timezone, language)
        found.append({"kind": Change.PAUSE.value, "days": [], "until": until})
    return [
        {
            "kind": one["kind"],
            "heading": page[f"{one['kind']}_heading"],
            "text": page[f"{one['kind']}_text"].format(day=one["until"]),
            "button": page[f"{one['kind']}_button"],
            "label": page["billing_day_label"],
            "days": one["days"],
            "action": f"{here}/change/{one['kind']}",
        }
        for one in found
    ]


def _offered(words: dict[str, Any], way: Way) -> str:
    """The letter's sentence about its offer."""
    return str(words["page"]["letter_coupon" if way == Way.COUPON else "letter_offer"])


def card_page(  # each is one fact of the page
    renewal: Renewal,
    *,
    token: str,
    secret: str | None,
    element: Element | None,
    added: bool,
    is_wanted: bool,
    message_policy: Messages,
) -> str:
    """Where a card is added before a renewal: Stripe's Payment Element, or its portal.

    `added`: the browser has just done it, and Stripe's event may still be on its way. `secret`:
    the customer has pressed for the form.
    """
    language = _language(renewal.language or "", message_policy.language)
    words = words_by_language()[language]
    page = words["page"]
    mended = added or renewal.state == "mended"
    heading = "card_added" if mended else "card_wanted" if is_wanted else "over"
    asks = is_wanted and not mended
    parts: dict[str, Any] = {
        "heading": page[heading],
        "begin_action": f"/c/{token}" if asks and element and secret is None else None,
        "begin_words": words[MessageKind.CARD_EXPIRING.value]["button"],
        "portal_action": f"/c/{token}/portal" if asks else None,
        "portal_words": page["portal"],
    }
    if element is not None and asks and secret is not None:
        parts["element"] = {
            "key": element.key,
            "script": element.script,
            "order": element.order,
            "secret": secret,
            "account": renewal.account,
            "back": f"/c/{token}?added=1",
            "button": page["card_add"],
        }
    return _recovery(language, words, message_policy, parts)


def later_page(*, message_policy: Messages) -> str:
    """In place of the page, while it cannot be shown."""
    language = _language("", message_policy.language)
    words = words_by_language()[language]
    return _recovery(language, words, message_policy, {"heading": words["page"]["later"]})


def _recovery(
    language: str, words: dict[str, Any], message_policy: Messages, parts: dict[str, Any]
) -> str:
    absent = (
        "alert", "note", "offer_open", "offer_taken", "element", "pay_url", "portal_action",
        "changes", "changed", "seen", "pay_action", "begin_action",
    )  # fmt: skip
    return (
        _pages()
        .get_template("recovery.html")
        .render(
            dict.fromkeys(absent)
            | {
                "language": language,
                "business": message_policy.business or words["business"],
                "assets": "/r/assets",
            }
            | parts
        )
    )


def preview(kind: str, language: str, *, policy: Policy, discount: int, now: datetime) -> Written:
    """A letter to nobody, with made-up facts; it offers `discount` percent off where that is not 0.

    Raises:
        BadRequest: there is no such kind or language.
    """
    kinds = [known.value for known in MessageKind]
    for given, known in ((kind, kinds), (language, LANGUAGES)):
        if given not in known:
            raise BadRequest(f"{given!r} is not one of {', '.join(known)}")
    message = Message(
        message_id="preview",
        mail_name="preview",
        to="customer@example.com",
        account="",
        customer_id="cus_preview",
        invoice_id="in_preview",
        kind=MessageKind(kind),
        language=language,
        name="Maria Example",
        amount=2900,
        currency="eur",
        retry_at=now + timedelta(days=3) if kind in _WITH_A_DATE else None,
        timezone="Europe/Berlin",
        pay_url="https://example.com/pay",
        unsubscribe_url="https://example.com/unsubscribe",
        discount=29 * discount,
        offer_until=now + timedelta(days=policy.offers.valid_days) if discount else None,
        way=policy.offers.way,
    )
    return write(message, message_policy=policy.messages)


def unsubscribe_page(language: str, *, done: bool, message_policy: Messages) -> str:
    """Asks for one press of a button, or says that it is done: mail scanners open links too."""
    words = words_by_language()[_language(language, message_policy.language)]
    return (
        _pages()
        .get_template("unsubscribe.html")
        .render(
            language=_language(language, message_policy.language),
            business=message_policy.business or words["business"],
            unsubscribe=words["unsubscribe"],
            unsubscribed=words["unsubscribed"],
            done=done,
        )
    )


def report_page(*, heading: str, sections: Sequence[Mapping[str, Any]]) -> str:
    """The report as a page for people of the business; each section has texts only."""
    return _pages().get_template("report.html").render(heading=heading, sections=sections)


def _language(wanted: str, default: str) -> str:
    tag = wanted.replace("_", "-").partition("-")[0].lower()
    return tag if tag in LANGUAGES else default


def _money(amount: int, currency: str, language: str) -> str:
    shown = money.in_major_units(amount, currency)
    return str(format_currency(shown, currency.upper(), locale=language))


def _day(at: datetime | None, timezone: str | None, language: str) -> str:
    if at is None:
        return ""
    zone = zone_of(timezone, None)
    return str(format_date(at.astimezone(zone).date(), format="long", locale=language))


@cache
def words_by_language() -> dict[str, Any]:
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
