"""Stripe's past as rows of the attempt log: every charge of every invoice that failed once.

Stripe lists charges newest first, and not by whether they failed. So the account's charges are
walked back in time, and where one failed, the invoice behind it is read as a whole. A page's rows
are committed together with the place behind it: whoever is killed carries on there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection

from retry_engine.domain.attempts import Outcome, Source
from retry_engine.domain.errors import (
    BadRequest,
    Refused,
    StripeRejected,
    StripeUnavailable,
)
from retry_engine.domain.stripe_states import CollectionMethod
from retry_engine.domain.vocabulary import InvoiceStatus, LoggedEnd
from retry_engine.recovery import observed_charges
from retry_engine.recovery.gateway import (
    OUR_KEYS,
    ChargeFacts,
    ChargePage,
    CustomerFacts,
    InvoiceFacts,
)
from retry_engine.store import attempts, backfills, cases, inbox, learning
from retry_engine.store.backfills import BackfillRow
from retry_engine.store.database import CaseBusy, Database

log = structlog.get_logger()

Document = dict[str, Any]

_FAILED = (Outcome.FAILED, Outcome.REQUIRES_ACTION)
_CARRY_ON = "what was read is kept: run it again to carry on"


class Past(Protocol):
    """What is asked of Stripe; `recovery.gateway.Gateway` says what these raise."""

    def charges_page(
        self, account: str, *, since: datetime, after: str | None, limit: int = 100
    ) -> ChargePage:
        """Charges from `since` on, newest first; `after` is the last one of the page before."""

    def invoices_of(self, account: str, payment_intent_id: str) -> Sequence[str]:
        """The invoices that an intent pays."""

    def invoice(self, account: str, invoice_id: str) -> InvoiceFacts:
        """An invoice as it is now."""

    def customer(self, account: str, customer_id: str) -> CustomerFacts:
        """A customer as they are now."""

    def invoice_charges(self, account: str, invoice_id: str) -> Sequence[ChargeFacts]:
        """All charges for an invoice, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a backfill is; `share` of the time span, 0 to 1."""

    share: float
    reached: datetime | None
    charges: int
    invoices: int
    new: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Story:
    """An invoice with everything that its rows are made of."""

    invoice: InvoiceFacts
    customer: CustomerFacts
    charges: tuple[ChargeFacts, ...]


@dataclass(slots=True, kw_only=True)
class Backfill:
    """`on_progress` is told of each page once it is committed.

    `page_size`: charges a page, at most 100.
    """

    database: Database
    stripe: Past
    clock: Callable[[], datetime]
    page_size: int = 100
    # charges still ahead of the walk whose invoice was read already
    _read: set[str] = field(default_factory=set, init=False)

    def run(
        self, since: datetime, *, account: str, on_progress: Callable[[Progress], None]
    ) -> Document:
        """Read everything from `since` on that is not read yet.

        Once it came to its end it reads from the beginning again: what is new is added, what has
        changed is replaced, all else stays as it is.

        Raises:
            BadRequest: `since` lies in the future.
            Refused: the same backfill is running.
            StripeUnavailable, StripeForbidden, StripeRejected: what was read before is kept.
        """
        if since > self.clock():
            raise BadRequest(f"--since is {since.isoformat()}; expected a time in the past")
        try:
            with self.database.case_lock(f"backfill {account} {since.isoformat()}"):
                return self._run(since, account, on_progress)
        except CaseBusy:
            raise Refused("this backfill is running already, in another process") from None
        except StripeUnavailable as error:
            raise StripeUnavailable(f"{error}; {_CARRY_ON}") from error

    def _run(
        self, since: datetime, account: str, on_progress: Callable[[Progress], None]
    ) -> Document:
        begun = self.clock()
        self._read.clear()
        with self.database.transaction() as connection:
            progress = backfills.begin(connection, account, since, now=begun)
        resumed = progress.cursor is not None
        on_progress(_progress(progress, since, begun))
        while progress.finished_at is None:
            page = self._page(account, since, progress.cursor)
            stories = self._stories(account, page.charges)
            with self.database.transaction() as connection:
                progress = self._store(connection, account, since, page, stories)
            on_progress(_progress(progress, since, begun))
        return {
            "since": since.isoformat(),
            "account": account,
            "resumed": resumed,
            "charges": progress.charges,
            "invoices": progress.invoices,
            "new": progress.new,
            "changed": progress.changed,
        }

    def _page(self, account: str, since: datetime, after: str | None) -> ChargePage:
        try:
            return self.stripe.charges_page(account, since=since, after=after, limit=self.page_size)
        except StripeRejected as error:
            if after is None or error.code != "resource_missing":
                raise
        # test data can be deleted: without the place to go on from, all is read once more
        log.warning("backfill_place_lost", charge=after)
        return self.stripe.charges_page(account, since=since, after=None, limit=self.page_size)

    # -- Stripe

    def _stories(self, account: str, charges: Sequence[ChargeFacts]) -> list[_Story]:
        """The invoices of the page's failed charges, each once."""
        found: dict[str, _Story] = {}
        for charge in charges:
            if charge.id in self._read:
                self._read.discard(charge.id)
                continue
            if charge.outcome not in _FAILED or charge.payment_intent_id is None:
                continue
            for invoice_id in self.stripe.invoices_of(account, charge.payment_intent_id):
                if invoice_id not in found and (story := self._story(account, invoice_id)):
                    found[invoice_id] = story
        self._read.update(_still_ahead(charges, found.values()))
        return list(found.values())

    def _story(self, account: str, invoice_id: str) -> _Story | None:
        try:
            invoice = self.stripe.invoice(account, invoice_id)
            return _Story(
                invoice=invoice,
                customer=self.stripe.customer(account, invoice.customer_id),
                charges=tuple(self.stripe.invoice_charges(account, invoice_id)),
            )
        except StripeRejected as error:
            if error.status != 404:
                raise
            log.warning("backfill_invoice_gone", invoice=invoice_id)
            return None

    # -- the store

    def _store(
        self,
        connection: Connection,
        account: str,
        since: datetime,
        page: ChargePage,
        stories: Sequence[_Story],
    ) -> BackfillRow:
        rows = [row for story in stories for row in _rows(connection, account, story)]
        stored = learning.put_read_again(connection, rows)
        return backfills.advance(
            connection,
            account,
            since,
            cursor=page.after,
            reached=page.charges[-1].created_at if page.charges else None,
            charges=len(page.charges),
            invoices=sum(_begins_here(story, page) for story in stories),
            new=stored.new,
            changed=stored.changed,
            finished_at=None if page.after else self.clock(),
        )


def _still_ahead(page: Sequence[ChargeFacts], stories: Iterable[_Story]) -> Iterator[str]:
    """Charges of those invoices that later pages will bring."""
    if not page:
        return
    oldest, here = page[-1].created_at, {c.id for c in page}
    for story in stories:
        yield from (c.id for c in story.charges if c.created_at <= oldest and c.id not in here)


def _begins_here(story: _Story, page: ChargePage) -> bool:
    """Whether the page has the invoice's last failure: that counts it once, killed or not."""
    last = max((c for c in story.charges if c.outcome in _FAILED), key=_place, default=None)
    return last is not None and any(c.id == last.id for c in page.charges)


def _place(charge: ChargeFacts) -> tuple[datetime, str]:
    return charge.created_at, charge.id


def _progress(row: BackfillRow, since: datetime, begun: datetime) -> Progress:
    span = (begun - since).total_seconds()
    gone = (begun - row.reached).total_seconds() if row.reached else 0.0
    share = 1.0 if row.finished_at or span <= 0 else min(max(gone / span, 0.0), 1.0)
    return Progress(
        share=share, reached=row.reached, charges=row.charges, invoices=row.invoices, new=row.new
    )


# -- rows


def _rows(connection: Connection, account: str, story: _Story) -> list[Document]:
    """The invoice's life in the log's columns, as an import would store it."""
    sources = _sources(connection, account, story)
    attempts = [_attempt(account, story, charge, sources[charge.id]) for charge in story.charges]
    end = _end(account, story)
    return [*attempts, end] if end is not None else attempts


def _attempt(account: str, story: _Story, charge: ChargeFacts, source: Source) -> Document:
    customer, invoice = story.customer, story.invoice
    card_countries = (c.card_country for c in story.charges if c.card_country)
    return _kept(
        {
            "kind": "attempt",
            "account": account,
            "invoice_id": invoice.id,
            "customer_id": invoice.customer_id,
            "at": charge.created_at.isoformat(),
            "amount": charge.amount,
            "currency": charge.currency.lower(),
            "outcome": charge.outcome.value,
            "decline_code": charge.decline_code,
            "advice_code": charge.advice_code,
            "network_advice_code": charge.network_advice_code,
            "network_decline_code": charge.network_decline_code,
            "risk_level": charge.risk_level,
            "payment_method_id": charge.payment_method_id,
            "method_type": charge.method_type,
            "card_brand": charge.card_brand,
            "card_funding": charge.card_funding,
            "card_country": charge.card_country,
            "card_exp": _month(charge.card_exp_year, charge.card_exp_month),
            "card_fingerprint": charge.card_fingerprint,
            "customer_country": customer.country or next(card_countries, None),
            "customer_timezone": customer.timezone,
            "customer_since": customer.created_at.isoformat() if customer.created_at else None,
            "billing_reason": invoice.billing_reason,
            "billing_interval": invoice.subscription.interval if invoice.subscription else None,
            "source": source.value,
            "charge_id": charge.id,
        }
    )


def _end(account: str, story: _Story) -> Document | None:
    """The row that closes the invoice; None while it goes on."""
    invoice, subscription = story.invoice, story.invoice.subscription
    last = max((c.created_at for c in story.charges), default=None)
    reason: LoggedEnd | None = None
    at: datetime | None = None
    if invoice.status is InvoiceStatus.PAID:
        reason, at = LoggedEnd.RECOVERED, invoice.paid_at or last
    elif invoice.status is InvoiceStatus.VOID:
        reason, at = LoggedEnd.VOIDED, invoice.voided_at or last
    elif invoice.status is InvoiceStatus.UNCOLLECTIBLE:
        reason, at = LoggedEnd.UNCOLLECTIBLE, invoice.uncollectible_at or last
    elif subscription is not None and subscription.status.is_ended:
        # who tries on after the subscription's end was not gone then
        known = [moment for moment in (subscription.ended_at, last) if moment is not None]
        reason, at = LoggedEnd.CHURNED, max(known, default=None)
    if reason is None or at is None:
        return None
    return _kept(
        {
            "kind": "closed",
            "account": account,
            "invoice_id": invoice.id,
            "customer_id": invoice.customer_id,
            "at": at.isoformat(),
            "close_reason": reason.value,
        }
    )


def _kept(row: Mapping[str, Any]) -> Document:
    return {name: value for name, value in row.items() if value not in (None, "")}


def _month(year: int | None, month: int | None) -> str | None:
    return f"{year:04d}-{month:02d}" if year and month else None


def _sources(connection: Connection, account: str, story: _Story) -> dict[str, Source]:
    """Who made each charge: by our own record, the events that told of it, or an earlier reading.

    A charge itself does not say. Where nothing is known it was Stripe, which makes nearly all, but
    none for invoices that are sent: those their customers pay.
    """
    sent = story.invoice.collection_method is CollectionMethod.SEND_INVOICE
    usual = Source.CUSTOMER if sent else Source.STRIPE
    ids = [c.id for c in story.charges]
    recorded = attempts.known_charges(connection, account, ids)
    origins = inbox.origins_of(connection, ids)
    before = learning.sources_of_log(connection, account, story.invoice.customer_id, ids)
    case = cases.of_invoice(connection, account, story.invoice.id)
    intents = [
        row
        for row in (attempts.of_case(connection, case.id) if case is not None else ())
        if row.source == Source.ENGINE and row.charge_id is None
    ]
    found: dict[str, Source] = {}
    for position, charge in enumerate(story.charges):
        row, origin = recorded.get(charge.id), origins.get(charge.id)
        if row is not None and row.case_id is not None:
            found[charge.id] = Source(row.source)
        elif (intent := observed_charges.match(charge, intents, origin)) is not None:
            intents.remove(intent)
            found[charge.id] = Source.ENGINE
        elif origin is not None:
            found[charge.id] = _told(origin, first=position == 0)
        else:
            found[charge.id] = Source(before.get(charge.id, usual))
    return found


def _told(origin: Mapping[str, Any], *, first: bool) -> Source:
    if (origin.get("idempotency_key") or "").startswith(OUR_KEYS):
        return Source.ENGINE  # of an engine whose record is not this one
    return Source.STRIPE if first else observed_charges.source_of(dict(origin))
