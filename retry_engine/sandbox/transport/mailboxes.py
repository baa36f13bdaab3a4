"""The post: an SMTP server for everybody's addresses, and their mailboxes.

An address that belongs to a customer gets its mail at the time of the customer's clock. What an
address does with mail is a state that can be set: `good`; `unknown` (550 when named as recipient);
`full` (452, a passing refusal); `bounces` (taken, and a delivery status notification comes back
to the sender's mailbox some hours later, as RFC 3464 has it). Any other address is good.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, Envelope, Session

from retry_engine.sandbox.accounts.account import HOUR, Account
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.transport.letters import Letter, links_of, notification

STATES = ("good", "unknown", "full", "bounces")
_NO_SUCH_USER = "550 5.1.1 No such mailbox here"
_FULL = "452 4.2.2 The mailbox is full, try again later"
_BOUNCES_AFTER = 3 * HOUR
_LARGEST = 2_000_000

Accounts = Mapping[str, Account]


class Post:
    """All mailboxes of a sandbox. Real time comes from `now`; customers' clocks go before."""

    def __init__(self, accounts: Accounts, *, now: Callable[[], datetime]) -> None:
        self._accounts = accounts
        self._now = now
        self._boxes: dict[str, list[Letter]] = {}
        self._states: dict[str, str] = {}
        self._owners: dict[str, tuple[Account, str]] = {}
        self._seen = (-1, -1)

    async def open(self, host: str, port: int) -> asyncio.Server:
        """Start to listen; port 0 is any free one."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._session, host, port)

    def _session(self) -> SMTP:
        return SMTP(
            self, enable_SMTPUTF8=True, data_size_limit=_LARGEST, hostname="sandbox.example",
            ident="sandbox",
        )  # fmt: skip

    # -- as the SMTP library asks

    async def handle_RCPT(  # noqa: N802 -- the library's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Whether the address takes mail."""
        state = self.state_of(address)
        if state == "unknown":
            return _NO_SUCH_USER
        if state == "full":
            return _FULL
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """A mail for each of its recipients."""
        content = envelope.content or b""
        raw = content.encode() if isinstance(content, str) else content
        for address in envelope.rcpt_tos:
            self.deliver(raw, sender=envelope.mail_from or "", to=address)
        return "250 2.0.0 Delivered"

    # -- mailboxes

    def deliver(self, raw: bytes, *, sender: str, to: str) -> Letter:
        """Put a mail into a mailbox, and let its owner know."""
        message = message_from_bytes(raw, policy=policy.default)
        account, customer = self._owner_of(to)
        at = account.now_of(customer) if account and customer else self._real_now()
        letter = Letter(
            at=at,
            sender=sender,
            to=to,
            customer=customer["id"] if customer else None,
            message=message,
            links=links_of(message),
        )
        if self.state_of(to) == "bounces" and account is not None and customer is not None:
            account.at(
                account.clock_of(customer), at + _BOUNCES_AFTER, "mail bounces",
                lambda: self._bounce(letter),
            )  # fmt: skip
            return letter
        self._boxes.setdefault(_plain(to), []).append(letter)
        if account is not None and customer is not None:
            for listener in account.on_mail:
                listener(customer, letter)
        return letter

    def letters(self, address: str | None = None, customer: str | None = None) -> list[Letter]:
        """What is in a mailbox, or in all of them, oldest first as it came in."""
        boxes = [self._boxes.get(_plain(address), [])] if address else self._boxes.values()
        return [one for box in boxes for one in box if customer is None or one.customer == customer]

    def boxes(self) -> list[tuple[str, int]]:
        """(address, letters) of every mailbox with mail."""
        return [(address, len(letters)) for address, letters in sorted(self._boxes.items())]

    def state_of(self, address: str) -> str:
        """What the address does with mail."""
        state = self._states.get(_plain(address))
        if state is not None:
            return state
        account, customer = self._owner_of(address)
        if account is None or customer is None:
            return "good"
        return str(account.hidden.get(customer["id"], {}).get("mailbox", "good"))

    def set_state(self, address: str, state: str) -> None:
        """From now on the address does that with mail."""
        if state not in STATES:
            raise invalid(f"state is one of {', '.join(STATES)}", param="state")
        self._states[_plain(address)] = state

    def _owner_of(self, address: str) -> tuple[Account | None, Obj | None]:
        """The customer with that address; of several the newest."""
        wanted = _plain(address)
        for fresh in (False, True):
            if fresh:
                self._owners = self._read_owners()
            account, customer_id = self._owners.get(wanted, (None, ""))
            customer = account.tables["customer"].get(customer_id) if account else None
            if customer is not None and _plain(customer.get("email") or "") == wanted:
                return account, customer
            if not fresh and not self._may_have_changed():
                break
        return None, None

    def _may_have_changed(self) -> bool:
        """An address nobody had is looked for again only once there are other customers."""
        changes = sum(len(a.tables["event"]) for a in self._accounts.values())
        count = sum(len(a.tables["customer"]) for a in self._accounts.values())
        before, self._seen = self._seen, (changes, count)
        return before != self._seen

    def _read_owners(self) -> dict[str, tuple[Account, str]]:
        return {
            _plain(customer["email"]): (account, customer["id"])
            for account in self._accounts.values()
            for customer in account.tables["customer"].values()
            if customer.get("email")
        }

    def _bounce(self, letter: Letter) -> None:
        """A delivery status notification to who sent it."""
        if not letter.sender:  # never an answer to a notification
            return
        note = notification(letter)
        self.deliver(note.as_bytes(), sender="", to=letter.sender)

    def _real_now(self) -> int:
        return int(self._now().timestamp())


def _plain(address: str) -> str:
    return address.strip().lower()
