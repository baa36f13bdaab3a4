"""People who read their mail: written to by a script, over real SMTP and HTTP."""

import smtplib
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_shop import Shop

from retry_engine.sandbox.population.traits import opened_at, temper_of

ZONES = ("UTC", "America/New_York", "Asia/Tokyo", "Australia/Sydney", "America/Sao_Paulo")


@given(
    st.integers(0, 10_000),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),
)
def test_nobody_opens_a_mail_asleep_or_before_it_came(
    seed: int, zone: str, received: datetime
) -> None:
    temper = temper_of(seed, "somebody")
    at = opened_at(temper, Random(seed), received=received, letters_before=0, zone=zone)
    if at is not None:
        assert at >= received
        assert 7 <= at.astimezone(ZoneInfo(zone)).hour < 23


def test_most_pay_unasked_for_a_discount_and_some_never_do() -> None:
    needs = [temper_of(5, f"person {n}").needs for n in range(3000)]
    assert 0.58 < sum(n == 0 for n in needs) / len(needs) < 0.70
    assert 0.10 < sum(n is None for n in needs) / len(needs) < 0.18


def test_each_further_mail_is_opened_less() -> None:
    def opened(before: int) -> int:
        moments = (
            opened_at(
                temper_of(5, f"person {n}"),
                Random(f"{n} {before}"),
                received=datetime(2026, 3, 2, 12, tzinfo=UTC),
                letters_before=before,
                zone="UTC",
            )
            for n in range(2000)
        )
        return sum(at is not None for at in moments)

    assert opened(0) > opened(3) > opened(8)


def _write(shop: Shop, to: str, link: str) -> bool:
    """Whether the address took it."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@example.com", to, "Your payment"
    mail.set_content(f"Please pay here:\n{link}\n")
    with smtplib.SMTP("127.0.0.1", shop.sandbox.smtp_port or 0) as door:
        try:
            door.send_message(mail)
        except smtplib.SMTPRecipientsRefused:
            return False
    return True


def _lives(shop: Shop, *, write: bool) -> tuple[list[dict[str, Any]], set[str], set[str]]:
    """A population's month: (people, customers written to, those whose address refused)."""
    made = shop.http.post("/_sandbox/population", json={"seed": 4, "invoices": 40, "days": 12})
    clock, at = made.json()["clock"], made.json()["start"]
    told: set[str] = set()
    refused: set[str] = set()
    written: set[str] = set()
    for _ in range(24):
        at += int(timedelta(days=1).total_seconds())
        shop.stripe.v1.test_helpers.test_clocks.advance(clock, {"frozen_time": at})
        shop.until_quiet()
        unpaid = shop.stripe.v1.invoices.list({"status": "open", "limit": 100}).data
        for invoice in unpaid if write else ():
            customer = str(invoice.customer)
            if invoice.id in written:
                continue
            written.add(str(invoice.id))
            address = shop.stripe.v1.customers.retrieve(customer).email
            taken = _write(shop, str(address), str(invoice.hosted_invoice_url))
            (told if taken else refused).add(customer)
    (report,) = shop.http.get("/_sandbox/people", params={"clock": clock}).json()["data"]
    return report["people"], told, refused


@pytest.mark.integration
def test_who_is_written_to_pays_by_the_link_if_they_would_pay_the_price(shop: Shop) -> None:
    people, told, refused = _lives(shop, write=True)
    deeds = {p["customer"]: {entry["what"] for entry in p["diary"]} for p in people}
    truth = {p["customer"]: p["truth"] for p in people}
    assert len(told) >= 10
    # some addresses take a mail and send it back later
    bounced = {c for c in told if truth[c]["address"] == "bounces"}
    assert {c for c, done in deeds.items() if "gets_mail" in done} == told - bounced
    payers = {c for c, done in deeds.items() if "pays" in done}
    # no discount was given: who needs one does not pay, nor does who never pays
    assert payers
    assert {truth[c]["needs"] for c in payers} == {0.0}
    assert all("opens_link" in deeds[c] for c in payers)
    assert refused == {c for c in told | refused if truth[c]["address"] == "unknown"}


@pytest.mark.integration
def test_who_is_not_written_to_does_nothing(shop: Shop) -> None:
    people, _, _ = _lives(shop, write=False)
    assert [entry for p in people for entry in p["diary"]] == []
