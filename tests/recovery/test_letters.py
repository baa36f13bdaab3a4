"""What a customer reads, in every language and of every kind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from retry_engine import presentation
from retry_engine.domain.errors import BadRequest
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.policy import Messages, Policy
from retry_engine.recovery.messaging.channel import DueInvoice, Message

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
# In our seven languages: what nobody is told.
_SECRET = (
    "fraud", "betrug", "fraude", "frode", "suspect", "verdacht", "lost", "stolen", "verloren",
    "gestohlen", "perdu", "volé", "robad", "perdid", "rubat", "smarrit", "gestolen", "roubad",
    "declin", "refus", "rechaz", "rifiut", "geweiger", "abgelehnt", "recusad",
)  # fmt: skip


def several(language: str) -> Message:
    """About three invoices, of all kinds; the last is in another currency."""
    own = Message(
        message_id="case_1.1", mail_name="case_1.1.00", account="", customer_id="cus_1",
        invoice_id="in_1", to="maria@example.com", kind=MessageKind.UPDATE_METHOD,
        language=language, name="Maria", amount=2900, currency="eur", retry_at=None, timezone=None,
        pay_url="https://pay.example.com/1", unsubscribe_url="https://pay.example.com/u",
        number="A-0001", issued_at=NOW,
    )  # fmt: skip
    second = DueInvoice(
        message_id="case_2.1", invoice_id="in_2", number="A-0002", issued_at=NOW,
        kind=MessageKind.PAYMENT_FAILED, amount=9000, currency="eur",
        retry_at=NOW + timedelta(days=3), pay_url="https://pay.example.com/2",
        discount=900, offer_until=NOW + timedelta(days=7),
    )  # fmt: skip
    third = replace(
        second, invoice_id="in_3", number=None, kind=MessageKind.AUTHENTICATE, amount=99000,
        currency="usd", retry_at=None, pay_url="https://pay.example.com/3", discount=0,
    )  # fmt: skip
    return replace(own, further=(second, third))


@pytest.mark.parametrize(("kind", "language"), [*product(MessageKind, presentation.LANGUAGES)])
def test_every_letter_is_whole_and_names_no_reason(kind: MessageKind, language: str) -> None:
    written = presentation.preview(kind.value, language, policy=Policy(), discount=0, now=NOW)
    assert written.language == language
    for text in (written.subject, written.text, written.html):
        assert text.strip()
        assert "{" not in text
    words = {word.strip(".,:;!?»«\"'").casefold() for word in written.text.split()}
    told = [w for w in words for s in _SECRET if w.startswith(s)]
    assert told == []


@pytest.mark.parametrize("language", presentation.LANGUAGES)
def test_before_a_renewal_the_amount_and_the_day_are_named(language: str) -> None:
    written = presentation.preview(
        "renewal_at_risk", language, policy=Policy(), discount=0, now=NOW
    )
    assert "29" in written.text  # the amount
    assert "13" in written.text  # three days on
    assert "https://example.com/pay" in written.text


@pytest.mark.parametrize("language", presentation.LANGUAGES)
def test_a_letter_about_several_invoices_names_each_and_what_it_takes(language: str) -> None:
    written = presentation.write(several(language), message_policy=Messages())
    for text in (written.text, written.html):
        assert "{" not in text
        places = [text.index(part) for part in ("A-0002", "A-0001", "https://pay.example.com/3")]
        assert places == sorted(places)  # the most owed first, another currency last
        assert all(f"https://pay.example.com/{number}" in text for number in (1, 2, 3))
    assert "3" in written.subject
    words = {word.strip(".,:;!?»«\"'").casefold() for word in written.text.split()}
    assert [w for w in words for s in _SECRET if w.startswith(s)] == []


def test_the_sum_is_in_the_subject_where_there_is_one() -> None:
    letter = several("en")
    assert "€" not in presentation.write(letter, message_policy=Messages()).subject
    alike = replace(letter, further=letter.further[:1])
    assert "€119.00 in all" in presentation.write(alike, message_policy=Messages()).subject


def test_an_invoices_number_leads_nowhere() -> None:
    letter = replace(several("en"), number="A\r\n1\u202e<b>" + "9" * 99)
    written = presentation.write(letter, message_policy=Messages())
    assert "Invoice A 1<b>999" in written.text
    assert "<b>" not in written.html
    assert "9" * 40 not in written.text


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadRequest, match="renewal_at_risk"):
        presentation.preview("renewal", "en", policy=Policy(), discount=0, now=NOW)
