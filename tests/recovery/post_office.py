"""A real SMTP server in this process, and what reached it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller


@dataclass
class PostOffice:
    """Mailboxes; `bounces` are addresses it does not know, `cuts` breaks off after the message."""

    url: str = ""
    mails: list[EmailMessage] = field(default_factory=list)
    bounces: set[str] = field(default_factory=set)
    later: bool = False
    cuts: bool = False

    async def handle_RCPT(  # noqa: N802  # the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.bounces:
            return "550 no such mailbox"
        if self.later:
            return "451 later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        if self.cuts:
            server.transport.abort()
        return "250 taken"

    def to(self, address: str) -> list[EmailMessage]:
        """What that mailbox holds."""
        return [mail for mail in self.mails if mail["To"] == address]


class _AnyPort(Controller):
    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # aiosmtpd annotates in part


@pytest.fixture
def post_office() -> Iterator[PostOffice]:
    office = PostOffice()
    controller = _AnyPort(office, hostname="127.0.0.1", port=0)
    controller.start()
    office.url = f"smtp://127.0.0.1:{controller.port}"
    try:
        yield office
    finally:
        controller.stop()
