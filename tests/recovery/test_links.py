"""Links that only we can have made, and for how long."""

import hmac
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from correspondence import ADDRESS, Writing, failed, page_of, reader
from post_office import PostOffice
from sqlalchemy import text

from retry_engine import settings
from retry_engine.domain.errors import Refused, SettingsError
from retry_engine.recovery.messaging import links

NOW = datetime(2030, 1, 7, 6, tzinfo=UTC)
_OLD, _NEW = "o" * 32, "n" * 32


@pytest.mark.parametrize("purpose", links.LIFETIMES)
def test_a_token_that_claims_more_than_its_purpose_allows_is_none(purpose: str) -> None:
    key, most = b"k" * 32, links.LIFETIMES[purpose]
    for until, good in (
        (NOW + most, True),
        (NOW + most + timedelta(days=1), False),
        (NOW + timedelta(days=36500), False),
        (NOW - timedelta(seconds=1), False),
    ):
        token = links.sign(key, purpose, "case_1.1", until=until)
        assert links.read(key, purpose, token, now=NOW) == ("case_1.1" if good else None)


def test_a_token_is_good_for_its_key_and_its_purpose_only() -> None:
    key = b"k" * 32
    token = links.sign(key, links.RECOVER, "case_1.1", until=NOW + timedelta(days=1))
    assert links.read(key, links.UNSUBSCRIBE, token, now=NOW) is None
    assert links.read(b"l" * 32, links.RECOVER, token, now=NOW) is None
    for spelt in ("", "A", "====", token[:-1], f"{token}A", f"{token}=", "\u00e9" * 30, "\x00"):
        assert links.read(key, links.RECOVER, spelt, now=NOW) is None


@pytest.mark.parametrize(
    "spelt", ["Maria@Example.COM", " maria@example.com ", "maria@example.com."]
)
def test_one_mailbox_has_one_hash(spelt: str) -> None:
    assert links.hash_of(b"k", spelt) == links.hash_of(b"k", ADDRESS)
    assert links.hash_of(b"k", "m@bücher.example") == links.hash_of(b"k", "m@xn--bcher-kva.example")
    assert links.hash_of(b"k", "cus_1") != links.hash_of(b"k", "cus_2")


@pytest.mark.parametrize("value", ["short", f"{_NEW},short"])
def test_a_secret_that_can_be_guessed_is_refused_at_start(value: str) -> None:
    with pytest.raises(SettingsError, match="RETRY_ENGINE_LINK_SECRET") as refused:
        settings.load({"RETRY_ENGINE_LINK_SECRET": value})
    assert "short" not in str(refused.value)


@pytest.mark.integration
def test_with_a_secret_of_its_own_a_copy_of_the_database_forges_nothing_and_it_can_be_changed(
    writes: Writing, post_office: PostOffice
) -> None:
    before = writes(RETRY_ENGINE_LINK_SECRET=_OLD)
    customer, _ = failed(before, "lost_card")
    before.days_pass(customer, 1, step_hours=3)
    (mail,) = post_office.to(ADDRESS)
    path = page_of(mail)
    way_out = urlsplit(str(mail["List-Unsubscribe"]).strip("<>")).path
    signed = str(mail["Message-ID"]).strip("<>").partition("@")[0]
    message, _, mac = signed.rpartition(".")
    size = len(bytes.fromhex(mac))
    with before.engine.database.connection() as connection:
        stolen: Any = connection.execute(text("select link_key, address_key from engine_state"))
        keys = [bytes(key) for key in stolen.one()]
    assert keys[0] != keys[1]
    until = before.time.now + timedelta(days=1)
    for key in keys:
        forged = links.sign(key, links.RECOVER, message, until=until)
        assert reader(before).get(f"/r/{forged}").status_code == 404
        mac = hmac.digest(key, b"letter\0" + message.encode(), "sha256")[:size].hex()
        with before.engine.database.transaction() as connection:
            assert (
                before.engine.suppressions.keys.letter_named(connection, f"{message}.{mac}") is None
            )
    both, after = (writes(RETRY_ENGINE_LINK_SECRET=value) for value in (f"{_NEW},{_OLD}", _NEW))
    assert reader(before).get(path).status_code == 200
    assert reader(both).get(path).status_code == 200
    assert reader(after).get(path).status_code == 404
    # who has unsubscribed stays so, whatever links are signed with
    assert reader(both).post(way_out).status_code == 200
    assert after.engine.suppressions.counts()["unsubscribed"] == 1
    with pytest.raises(Refused, match="asked for no more"):
        after.engine.suppressions.lift(ADDRESS, reason="to see that it is known", by="test")
