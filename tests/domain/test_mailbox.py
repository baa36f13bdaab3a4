"""Addresses, names, timezones as somebody typed them: one mailbox, one line, one zone; or none."""

import unicodedata
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retry_engine.domain import mailbox, money
from retry_engine.domain.errors import CannotBeWrittenTo, InvalidInput
from retry_engine.domain.names import one_line, shown_name
from retry_engine.domain.timezones import zone_of

NOT_ONE = [
    "", " ", "noat", "@", "a@", "@b.example", "a@b", "x@shop, victim@other",
    "x@shop.example, victim@other.example", "x@shop.example;victim@other.example",
    "x@shop.example victim@other.example", "Name <v@other.example>", "<v@other.example>",
    '"a b"@shop.example', "a(b)@shop.example", "a@b@shop.example", "a@[127.0.0.1]",
    "a\x00@shop.example", "a@shop.example\x00", "a@shop.example\nBcc: v@other.example",
    "a@shop.example\r\nRCPT TO:<v@other.example>", "a\r@shop.example", "a@shop.example\u2028",
    "a@shop\u200b.example", "a\u202e@shop.example", "\ufeffa@shop.example", "a@-shop.example",
    "a@shop..example", ".a@shop.example", "a.@shop.example", "a..b@shop.example",
    "\ud800@a.example",
    "a" * 65 + "@shop.example", "a@" + "b" * 64 + ".example", "a@" + "b." * 150 + "example",
    "\u00e9" * 40 + "@shop.example", "a" * 1_000_000, "a@" * 100_000, "mailto:a@shop.example,b",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_ONE, ids=lambda text: ascii(text)[:40])
def test_what_is_not_one_mailbox_cannot_be_written_to_and_is_not_repeated(text: str) -> None:
    with pytest.raises(CannotBeWrittenTo) as refused:
        mailbox.parse(text)
    assert "other" not in str(refused.value)
    assert "shop" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "canonical", "international"),
    [
        ("maria@example.com", "maria@example.com", False),
        (" Maria.O'Hara+bills@Mail.Example.COM. ", "Maria.O'Hara+bills@mail.example.com", False),
        ("m@bücher.example", "m@xn--bcher-kva.example", False),
        ("m@straße.example", "m@xn--strae-oqa.example", False),  # not strasse: another's domain
        ("m@例え.テスト", "m@xn--r8jz45g.xn--zckzah", False),
        ("jörg@example.com", "jörg@example.com", True),
        ("jo\u0308rg@example.com", "jörg@example.com", True),
    ],
)
def test_one_mailbox_is_found_in_any_script(text: str, canonical: str, international: bool) -> None:
    found = mailbox.parse(text)
    assert (found.canonical, found.is_international) == (canonical, international)


@given(st.text())
def test_no_text_gives_more_than_one_plain_mailbox(text: str) -> None:
    try:
        found = mailbox.parse(text)
    except CannotBeWrittenTo:
        return
    assert found.canonical.count("@") == 1
    assert not set(found.canonical) & set(' \t\r\n\0,;<>()[]\\"')
    assert found.domain.isascii()


@pytest.mark.parametrize(
    "name",
    [
        "https://evil.example", "Maria http://evil.example/x", "www.evil.example", "evil.com",
        "pay at evil\u200b.com now", "evil\uff0ecom", "evil\u3002com", "a@evil.com", "bit.ly/x",
        "", " \t", "\u202e\u200b", None,
    ],
)  # fmt: skip
def test_a_name_that_leads_somewhere_or_shows_nothing_greets_nobody(name: str | None) -> None:
    assert shown_name(name) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Maria", "Maria"), ("Dr. J. R. O'Hara-Smith", "Dr. J. R. O'Hara-Smith"),
        ("José Müller 李小龍", "José Müller 李小龍"),
        ("Maria\r\nBcc: you", "Maria Bcc: you"), ("\u202eairaM\u202c", "airaM"),
        ("Ma\u200bria\x00", "Maria"), ("x" * 500, "x" * 59 + "…"),
    ],
)  # fmt: skip
def test_a_name_is_one_short_line_of_what_shows(name: str, shown: str) -> None:
    assert shown_name(name) == shown


@given(st.text())
def test_no_text_breaks_a_line_or_turns_the_words_around_it(text: str) -> None:
    kinds = {unicodedata.category(character) for character in one_line(text)}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize(
    "name",
    ["Europe", "America", "", "../etc/passwd", "/etc/passwd", "UTC+2", "\0", "x" * 300, "Nowhere/X",
     "\ud800", "zone.tab", "Europe/", "europe/berlin/", "."],
)  # fmt: skip
def test_an_odd_timezone_is_the_countrys_and_costs_nothing(name: str) -> None:
    assert zone_of(name, "DE") in (ZoneInfo("Europe/Berlin"), ZoneInfo("UTC"))
    assert zone_of(name, "DE").key != name or name == "UTC+2"
    assert zone_of(name, None) == ZoneInfo("UTC")


@pytest.mark.parametrize("value", [None, "", "EUR", "eu", "euro", "zzz", "xxx", "e\x00r", 978, "€"])
def test_a_currency_that_is_none_is_refused_by_the_name_of_what_it_was_on(value: object) -> None:
    with pytest.raises(InvalidInput, match="the currency of in_1 is"):
        money.known_currency(value, of="in_1")
    assert money.known_currency("eur", of="in_1") == "eur"
