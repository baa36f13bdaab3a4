"""Addresses that are not to be written to again, as somebody outside has learnt it.

A mail server tells at once, or in a mail of its own days later; customers complain at their
provider. Of an address only its keyed hash is kept, and none is logged.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection

from retry_engine.domain.errors import BadRequest, InvalidInput
from retry_engine.recovery import links
from retry_engine.store import messages, renewals

log = structlog.get_logger()

REASONS = ("bounced", "complained", "unsubscribed")
_LONGEST = 320
_ADDRESS = re.compile(r"[^@\s<>,;:\"()\[\]\\]+@[\w-]+(?:\.[\w-]+)*\.?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a bounce or a complaint says. `spared`: why others are left as they are, in words.

    `message_id` is that of the letter it is about, where the report brings it along.
    """

    reason: str
    addresses: tuple[str, ...]
    spared: tuple[str, ...]
    message_id: str | None


def checked(address: str, reason: str, account: str) -> str:
    """The address as it is hashed.

    Raises:
        BadRequest: it is none, or the reason or the account is; without the address in its text.
    """
    if reason not in REASONS:
        raise BadRequest(f"the reason is {reason!r}; expected one of {', '.join(REASONS)}")
    check_account(account)
    found = address.strip()
    if len(found) > _LONGEST or _ADDRESS.fullmatch(found) is None:
        raise BadRequest("this is not an e-mail address; expected one such as name@example.com")
    return found


def check_account(account: str) -> None:
    """Raise `BadRequest` where that is no connected account's id; empty is the platform's own."""
    if account and re.fullmatch(r"acct_\w+", account) is None:
        raise BadRequest(f"the account is {account!r}; expected acct_…")


def suppress(
    connection: Connection, address: str, *, reason: str, account: str, now: datetime
) -> None:
    """Never write to that address again; the first reason stands.

    Raises:
        BadRequest: that is no address, no reason, or no account.
    """
    hashed = links.hash_of(messages.link_key(connection), checked(address, reason, account))
    messages.suppress(connection, account, hashed, reason=reason, at=now)
    log.info("suppressed", reason=reason, account=account or None)


def heed(
    connection: Connection, report: Report, *, account: str | None, now: datetime
) -> dict[str, Any]:
    """Suppress whom a report is about; without an account, on that of the letter it names.

    Raises:
        InvalidInput: it names neither an address nor a letter of ours.
    """
    letter = _letter(connection, report.message_id)
    if account is None:
        account = letter.account if letter is not None else ""
    key = messages.link_key(connection)
    hashes = {links.hash_of(key, address) for address in report.addresses}
    # what was written to may have been forwarded; providers take the address out of complaints
    about_letter = bool(hashes) or not report.spared
    if about_letter and letter is not None and letter.account == account and letter.address_hash:
        hashes.add(letter.address_hash)
    if not hashes and not report.spared:
        raise InvalidInput("the report names neither an address nor a message of this engine")
    for hashed in sorted(hashes):
        messages.suppress(connection, account, hashed, reason=report.reason, at=now)
    log.info("report_heeded", reason=report.reason, suppressed=len(hashes))
    return {
        "suppressed": len(hashes),
        "reason": report.reason if hashes else None,
        "account": account or None,
        "spared": list(report.spared),
    }


def _letter(connection: Connection, message_id: str | None) -> Any:
    """What we sent under that Message-ID; its part after the @ is the sender's domain."""
    if message_id is None:
        return None
    ours = message_id.strip().strip("<>").rpartition("@")[0]
    return messages.by_message_id(connection, ours) or renewals.by_message_id(connection, ours)
