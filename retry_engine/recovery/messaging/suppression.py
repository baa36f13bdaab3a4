"""Addresses that are not to be written to again, and by whose word.

A mail server tells at once, or in a mail of its own days later; customers complain at their
provider, or say so by a link. A report is believed about our own letters only, and of each only
about whom it went to: everybody can send one. What was said is appended and stays; a person may
lift it. Of an address only its keyed hash is kept, and none is logged.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Connection

from retry_engine.domain import mailbox
from retry_engine.domain.errors import (
    BadRequest,
    CannotBeWrittenTo,
    InvalidInput,
    NotFound,
    Refused,
)
from retry_engine.recovery.messaging import links
from retry_engine.recovery.messaging.links import UNSUBSCRIBE, LinkKeys
from retry_engine.store import messages, renewals
from retry_engine.store.messages import MessageRow
from retry_engine.store.renewals import Renewal

log = structlog.get_logger()

REASONS = ("bounced", "complained", "unsubscribed")
# These are the customer's own words.
_THEIR_WISH = ("complained", "unsubscribed")
BY_REPORT, BY_MAIL_SERVER, BY_CUSTOMER = "a report", "the mail server", "the customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a bounce or a complaint says. `spared`: why others are left as they are, in words.

    `message_id` is that of the letter it is about, where the report brings it along; `is_final`:
    whoever that went to is not to be written to again.
    """

    reason: str
    is_final: bool
    spared: tuple[str, ...]
    message_id: str | None


def checked(address: str, reason: str, account: str) -> str:
    """The address as it is hashed.

    Raises:
        BadRequest: it is none, or the reason or the account is; without the address in its text.
    """
    if reason not in REASONS:
        raise BadRequest(f"the reason is {reason!r}; expected one of {', '.join(REASONS)}")
    return checked_address(address, account)


def checked_address(address: str, account: str) -> str:
    """The address as it is hashed; a customer's id (cus_…) for who has none.

    Raises:
        BadRequest: it is neither, or the account is none.
    """
    check_account(account)
    if re.fullmatch(r"cus_\w+", address.strip()):
        return address.strip()
    try:
        return mailbox.parse(address.strip()).canonical
    except CannotBeWrittenTo as why:
        raise BadRequest(
            f"this is not an e-mail address ({why}); expected one such as name@example.com"
        ) from None


def check_account(account: str) -> None:
    """Raise `BadRequest` where that is no connected account's id; empty is the platform's own."""
    if account and re.fullmatch(r"acct_\w+", account) is None:
        raise BadRequest(f"the account is {account!r}; expected acct_…")


def suppress(
    connection: Connection,
    address: str,
    *,
    reason: str,
    account: str,
    by: str,
    note: str | None = None,
    now: datetime,
) -> None:
    """A person says that the address is not to be written to; the first reason stands.

    Raises:
        BadRequest: that is no address, no reason, or no account.
    """
    hashed = _hashed(connection, checked(address, reason, account))
    messages.suppress(connection, account, hashed, reason=reason, by=by, note=note, at=now)
    log.info("suppressed", reason=reason, account=account or None, by=by)


def lift(
    connection: Connection,
    address: str,
    *,
    account: str,
    by: str,
    note: str,
    against_their_wish: bool,
    now: datetime,
) -> None:
    """A person says that the address may be written to again.

    Raises:
        BadRequest: that is no address or no account.
        NotFound: it may be written to.
        Refused: the customer asked for it, and `against_their_wish` was not said.
    """
    hashed = _hashed(connection, checked_address(address, account))
    if messages.suppression_of(connection, account, hashed) is None:
        raise NotFound("this address is not suppressed")
    standing = messages.standing_reasons(connection, account, hashed)
    wished = [reason for reason in standing if reason in _THEIR_WISH]
    if wished and not against_their_wish:
        raise Refused(
            f"the customer asked for no more messages ({', '.join(wished)}); to write to them all "
            "the same, say so: --against-their-wish (API: against_their_wish)"
        )
    messages.lift(connection, account, hashed, by=by, note=note, at=now)
    log.info("suppression_lifted", account=account or None, by=by)


def acts_of(connection: Connection, address: str, *, account: str) -> list[dict[str, Any]]:
    """All that was said about writing to that address, oldest first.

    Raises:
        BadRequest: that is no address or no account.
    """
    hashed = _hashed(connection, checked_address(address, account))
    return [
        {"at": act.at, "act": act.act, "reason": act.reason, "by": act.by, "note": act.note}
        for act in messages.suppression_acts_of(connection, account, hashed)
    ]


def heed(
    connection: Connection, report: Report, *, keys: LinkKeys, account: str | None, now: datetime
) -> dict[str, Any]:
    """Suppress whom the letter went to that a report is about; `account`: it must be that one's.

    Raises:
        InvalidInput: it names no letter that we have signed, or one of another account.
    """
    letter = _letter(connection, report, keys)
    if letter is None or letter.address_hash is None:
        raise InvalidInput(
            "the report brings no Message-ID along that this engine has signed, so it may be "
            "anybody's; to believe it all the same: `messages suppress ADDRESS`"
        )
    if account is not None and account != letter.account:
        raise InvalidInput("the report is about a letter of another account")
    if report.is_final:
        messages.suppress(
            connection,
            letter.account,
            letter.address_hash,
            reason=report.reason,
            by=BY_REPORT,
            note=f"about {letter.message_id}",
            at=now,
        )
    log.info("report_heeded", reason=report.reason, suppressed=report.is_final)
    return {
        "suppressed": int(report.is_final),
        "reason": report.reason if report.is_final else None,
        "account": letter.account or None,
        "spared": list(report.spared),
    }


def _hashed(connection: Connection, address: str) -> str:
    return links.hash_of(messages.address_key(connection), address)


def _letter(connection: Connection, report: Report, keys: LinkKeys) -> Any:
    """What we sent under that Message-ID; its part after the @ is the sender's domain."""
    name = (report.message_id or "").strip().strip("<>").rpartition("@")[0]
    message_id = keys.letter_named(connection, name)
    if message_id is None:
        return None
    return messages.by_message_id(connection, message_id) or renewals.by_message_id(
        connection, message_id
    )


def unsubscribe(
    connection: Connection, token: str, *, keys: LinkKeys, now: datetime, write: bool
) -> str | None:
    """The language of the message that the token came with; None where it is none of ours.

    With `write`, its address is never written to again.
    """
    message_id = keys.read(connection, UNSUBSCRIBE, token, now=now)
    found: MessageRow | Renewal | None = None
    if message_id:
        found = messages.by_message_id(connection, message_id) or renewals.by_message_id(
            connection, message_id
        )
    if found is None or found.address_hash is None:
        return None
    if write:
        messages.suppress(
            connection,
            found.account,
            found.address_hash,
            reason="unsubscribed",
            by=BY_CUSTOMER,
            note=f"by the link of {message_id}",
            at=now,
        )
    return found.language or ""
