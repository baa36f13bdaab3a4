"""A channel to customers is added by what keeps to the port, and a setting that asks for it."""

from dataclasses import dataclass, field

import pytest
from correspondence import Writing, failed, in_arrears

from retry_engine.domain.errors import MailNotSent
from retry_engine.recovery.gate import Permit
from retry_engine.recovery.messaging.channel import Message, MessageChannel

pytestmark = pytest.mark.integration


@dataclass
class Pager:
    """Pages people by their customer's id: one line each, about one invoice."""

    paged: list[str] = field(default_factory=list)
    is_away: bool = False
    name: str = "pager"
    needs_address: bool = False
    takes_several: bool = False

    def send(self, message: Message, *, permit: Permit) -> None:
        """A line of at most 80 signs."""
        if self.is_away:
            raise MailNotSent("nobody answers the phone")
        self.paged.append(f"{message.customer_id} {message.amount} {message.pay_url}"[:80])


def test_a_toy_channel_is_asked_as_mail_is_and_by_the_same_rules(writes: Writing) -> None:
    pager = Pager(is_away=True)
    channel: MessageChannel = pager  # the type checker's word for it
    here = writes(channel=channel)
    customer, invoice = failed(here, "lost_card", email="")
    assert [m["state"] for m in here.case(invoice)["messages"]] == ["not_sent"]
    pager.is_away = False
    here.days_pass(customer, 0.25, step_hours=3)
    assert [line.split()[:2] for line in pager.paged] == [[customer.id, "2000"]]
    message = here.case(invoice)["messages"][-1]
    assert (message["state"], message["channel"]) == ("sent", "pager")


def test_a_channel_of_one_invoice_each_is_given_one_at_a_time_and_apart(writes: Writing) -> None:
    pager = Pager()
    here = writes(channel=pager)
    customer, _ = in_arrears(here, "lost_card", "lost_card", leave="message")
    here.days_pass(customer, 2)
    assert [line.split()[1] for line in pager.paged] == ["9000"]  # what is owed most goes first
    here.days_pass(customer, 2)
    # and who has waited longest before its second turn
    assert [line.split()[1] for line in pager.paged] == ["9000", "2000"]
