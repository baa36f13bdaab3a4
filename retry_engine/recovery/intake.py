"""An event is applied: it opens a case, says "look again" to some, or is none of ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.attempts import Outcome
from retry_engine.domain.errors import StripeRejected
from retry_engine.domain.policy import Policy
from retry_engine.domain.stripe_states import CollectionMethod, InvoiceStatus
from retry_engine.domain.vocabulary import RiskFlagKind
from retry_engine.recovery import cases, observed_charges
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.gateway import OUR_KEYS, ChargeFacts, Gateway
from retry_engine.recovery.messaging.pre_dunning import PreDunning
from retry_engine.store import (
    attempts,
    inbox,
    intents,
    payment_methods,
    renewals,
    risk_flags,
    schedule,
)
from retry_engine.store import cases as rows
from retry_engine.store.database import Database
from retry_engine.store.inbox import StoredEvent

log = structlog.get_logger()

_FAILURES = (
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.payment_attempt_required",
)
# After these nobody needs to retry an invoice.
_SETTLED = (
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice.deleted",
)
_PAID = ("invoice.paid", "invoice.payment_succeeded")
_DECLINED = (Outcome.FAILED, Outcome.REQUIRES_ACTION)
# The objects of a payment; whose other payments concern the same customer's cases too.
_PAYMENTS = ("charge.", "payment_intent.")
_METHOD_CHANGES = ("payment_method.automatically_updated", "payment_method.updated")

# What a subscriber of ours must be told of; `doctor` compares an endpoint's list with it.
EVENT_TYPES: tuple[str, ...] = (
    *_FAILURES,
    "invoice.upcoming",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice.updated",
    "invoice.deleted",
    "credit_note.created",
    "charge.failed",
    "charge.succeeded",
    "charge.pending",
    "charge.updated",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "customer.updated",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "payment_method.attached",
    "payment_method.detached",
    *_METHOD_CHANGES,
    "mandate.updated",
    "charge.dispute.created",
    "radar.early_fraud_warning.created",
    "test_helpers.test_clock.ready",
    "test_helpers.test_clock.advancing",
    "test_helpers.test_clock.deleted",
    "account.application.deauthorized",
)

# For learning, not for a case: only who schedules Sigma queries needs to send it.
SIGMA_RUN = "sigma.scheduled_query_run.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Handles stored events: the body says whom it concerns, Stripe what is true."""

    database: Database
    gateway: Gateway
    pre_dunning: PreDunning
    engine_mode: str
    policy: Policy
    policy_content: Mapping[str, Any]
    clock: Callable[[], datetime]

    def handle(self, event: StoredEvent) -> None:
        """Apply one event; it is marked done in the transaction that holds what it changed."""
        body = _object(event)
        kind = event.type
        if kind in _FAILURES:
            self._payment_failed(event, body)
        elif kind == "invoice.upcoming":
            self.pre_dunning.announced(event.account, body)
            self._done(event)
        elif kind.startswith("test_helpers.test_clock."):
            self._clock_moved(event, body)
        elif kind in ("charge.dispute.created", "radar.early_fraud_warning.created"):
            self._dispute(event, body)
        else:
            customer_id, method_id = _id(body.get("customer")), _id(body.get("id"))
            if kind == "payment_method.attached" and customer_id and method_id:
                self.pre_dunning.attached(event.account, customer_id, method_id)
            self._look_again(event, body)

    # -- a failure

    def _payment_failed(self, event: StoredEvent, body: Mapping[str, Any]) -> None:
        invoice_id = _id(body.get("id"))
        with self.database.transaction() as connection:
            known = rows.of_invoice(connection, event.account, invoice_id or "")
        if known is not None or invoice_id is None:
            self._look_again(event, body)
            return
        try:
            invoice = self.gateway.invoice(event.account, invoice_id)
            owed = invoice.status == InvoiceStatus.OPEN and invoice.amount_remaining > 0
            if invoice.billing_reason not in self.policy.cases.billing_reasons:
                # bought on session, or by hand: whoever sold it asks for it again
                log.info("not_recovered", invoice=invoice.id, reason=invoice.billing_reason)
                self._done(event)
                return
            if not owed or invoice.collection_method != CollectionMethod.CHARGE_AUTOMATICALLY:
                self._done(event)
                return
            customer = self.gateway.customer(event.account, invoice.customer_id)
            clock = (
                self.gateway.clock(event.account, customer.test_clock)
                if customer.test_clock
                else None
            )
        except StripeRejected as error:
            if error.names_what_is_missing:  # deleted meanwhile: there is nothing to recover
                self._done(event)
                return
            raise
        real_now = self.clock()
        with self.database.transaction() as connection:
            if clock is not None and customer.test_clock is not None:
                rows.set_clock(
                    connection,
                    event.account,
                    customer.test_clock,
                    at=clock[0],
                    status=clock[1],
                    now=real_now,
                )
            context = CaseContext(
                connection=connection,
                now=self._time_on(connection, event.account, customer.test_clock, real_now),
                real_now=real_now,
            )
            case = cases.open_case(
                context,
                account=event.account,
                invoice=invoice,
                customer=customer,
                engine_mode=self.engine_mode,
                policy=self.policy,
                policy_content=dict(self.policy_content),
                cause=f"{event.type} ({event.event_id})",
            )
            if case is not None:
                log.info("case_opened", case=case.id, invoice=invoice.id, mode=case.mode)
            inbox.finish(connection, event.id, now=real_now)

    @staticmethod
    def _time_on(
        connection: Connection, account: str, clock_id: str | None, real_now: datetime
    ) -> datetime:
        if clock_id is None:
            return real_now
        return rows.clock_time(connection, account, clock_id) or real_now

    # -- time

    def _clock_moved(self, event: StoredEvent, body: Mapping[str, Any]) -> None:
        clock_id = _id(body.get("id"))
        if clock_id is not None and not event.type.endswith(".advancing"):
            self.read_clock(event.account, clock_id)
        self._done(event)

    def read_clock(self, account: str, clock_id: str) -> None:
        """What a clock says now; the cases of one that was deleted are looked at."""
        try:
            read = self.gateway.clock(account, clock_id)
        except StripeRejected as error:
            if error.names_what_is_missing:
                with self.database.transaction() as connection:
                    gone = "its test clock was deleted"
                    renewals.drop(connection, account, result=gone, test_clock=clock_id)
                    # each looks for itself, and ends when it finds nothing
                    ids = rows.living_ids(connection, account, test_clock=clock_id)
                    self._plan_looks(connection, ids)
            return
        with self.database.transaction() as connection:
            rows.set_clock(
                connection, account, clock_id, at=read[0], status=read[1], now=self.clock()
            )

    # -- disputes

    def _dispute(self, event: StoredEvent, body: Mapping[str, Any]) -> None:
        charge_id = _id(body.get("charge"))
        customer_id = None
        if charge_id is not None:
            try:
                customer_id = self.gateway.charge(event.account, charge_id).customer_id
            except StripeRejected:
                log.warning("disputed_charge_not_found", charge=charge_id)
        real_now = self.clock()
        with self.database.transaction() as connection:
            if customer_id is not None:
                risk_flags.add(
                    connection,
                    account=event.account,
                    object_id=_id(body.get("id")) or event.event_id,
                    kind=RiskFlagKind.DISPUTE
                    if "dispute" in event.type
                    else RiskFlagKind.EARLY_FRAUD_WARNING,
                    customer_id=customer_id,
                    charge_id=charge_id,
                    at=_created(body) or real_now,
                )
                ids = rows.living_ids(connection, event.account, customer_id=customer_id)
                self._plan_looks(connection, ids)
            inbox.finish(connection, event.id, now=real_now)

    # -- everything else

    def _look_again(self, event: StoredEvent, body: Mapping[str, Any]) -> None:
        real_now = self.clock()
        charge = self._charge_beside(event, body)
        with self.database.transaction() as connection:
            if not self._is_our_own_echo(connection, event, body):
                if charge is not None and charge.customer_id is not None:
                    self._record_beside(connection, event, body, charge, real_now)
                if event.type in _METHOD_CHANGES:
                    self._note_method_change(connection, event, body, real_now)
                self._plan_looks(connection, _cases_of(connection, event, body))
            if event.type == "customer.deleted" and event.object_id is not None:
                gone = "the customer was deleted"
                renewals.drop(connection, event.account, result=gone, customer_id=event.object_id)
            if event.type in _SETTLED and event.object_id is not None:
                rows.let_go(connection, event.account, event.object_id)
            if event.type in _PAID and event.object_id is not None:
                at = _paid_at(event, body) or real_now
                rows.paid_after_all(connection, event.account, event.object_id, at=at)
            inbox.finish(connection, event.id, now=real_now)

    def _charge_beside(self, event: StoredEvent, body: Mapping[str, Any]) -> ChargeFacts | None:
        """A charge for something else, of a customer, or on a card, that a living case is about.

        The event only names it: what is true of it Stripe says. Where Stripe does not know it any
        more, a decline is believed all the same, as it can only hold a charge back. A case's own
        charges are found in its trail, whether anybody tells of them or not.
        """
        key = (event.payload.get("request") or {}).get("idempotency_key")
        charge_id = _charge_id(event, body)
        if charge_id is None or (key and key.startswith(OUR_KEYS)):
            return None
        with self.database.transaction() as connection:
            if not _cases_beside(connection, event, body):
                return None
        try:
            return self.gateway.charge(event.account, charge_id)
        except StripeRejected:
            log.warning("charge_not_found", charge=charge_id)
            told = self.gateway.charge_told(body)
            return told if told is not None and told.outcome in _DECLINED else None

    @staticmethod
    def _record_beside(
        connection: Connection,
        event: StoredEvent,
        body: Mapping[str, Any],
        charge: ChargeFacts,
        real_now: datetime,
    ) -> None:
        ids = _cases_beside(connection, event, body)
        now = rows.time_of(connection, rows.find(connection, ids[0]), real_now) if ids else real_now
        observed_charges.record(
            connection, event.account, charge.customer_id or "", [charge], now=now
        )

    def _is_our_own_echo(
        self, connection: Connection, event: StoredEvent, body: Mapping[str, Any]
    ) -> bool:
        """An event that our own call caused, whose answer we have: it tells us nothing new.

        The charge it names is noted, as an answer of success does not name it.
        """
        key = (event.payload.get("request") or {}).get("idempotency_key")
        if not key or not key.startswith(OUR_KEYS):
            return False
        intent = intents.with_key(connection, key)
        if intent is None:
            return True  # our own taking over or handing back of the invoice
        if intent.outcome in (Outcome.UNKNOWN, Outcome.PROCESSING):
            return False
        if body.get("object") == "charge" and intent.charge_id is None and event.object_id:
            known = attempts.known_charges(connection, event.account, [event.object_id])
            if not known:
                attempts.change(connection, intent.id, charge_id=event.object_id)
        return True

    def _note_method_change(
        self,
        connection: Connection,
        event: StoredEvent,
        body: Mapping[str, Any],
        real_now: datetime,
    ) -> None:
        """New data on a method: what was declined before says nothing about it now."""
        method_id = _id(body.get("id"))
        if method_id is None or not _touches_the_card(event, body):
            return
        ids = payment_methods.case_ids_of_method(connection, event.account, method_id)
        at = real_now
        if ids:
            at = rows.time_of(connection, rows.find(connection, ids[0]), real_now)
        changed_at = observed_charges.moment_of_change(connection, event.account, method_id, at)
        payment_methods.change(connection, event.account, method_id, changed_at=changed_at)

    def _plan_looks(self, connection: Connection, case_ids: Sequence[str]) -> None:
        for case_id in case_ids:
            case = rows.find(connection, case_id)
            at = rows.time_of(connection, case, self.clock())
            schedule.plan(connection, case, ActionKind.REFRESH, at=at)
            log.info("case_to_be_looked_at", case=case_id)

    def _done(self, event: StoredEvent) -> None:
        with self.database.transaction() as connection:
            inbox.finish(connection, event.id, now=self.clock())


def _cases_of(connection: Connection, event: StoredEvent, body: Mapping[str, Any]) -> list[str]:
    """The living cases that an event may concern, by whatever ids its body carries."""
    kind, object_id = event.type, _id(body.get("id"))
    if kind == "account.application.deauthorized" and event.account:
        # one look finds out whether it is so: access may have been given more than once
        return rows.living_ids(connection, event.account)[:1]
    if object_id is None:
        return []
    if kind.startswith("customer.subscription."):
        # another one of the customer's may have taken the place of the one that is unpaid
        customer_id = _id(body.get("customer"))
        found = rows.living_ids(connection, event.account, subscription_id=object_id)
        if customer_id is not None:
            found += rows.living_ids(connection, event.account, customer_id=customer_id)
        return list(dict.fromkeys(found))
    if kind.startswith("customer."):
        return rows.living_ids(connection, event.account, customer_id=object_id)
    if kind.startswith(("payment_method.", "mandate.")):
        return _cases_of_method(connection, event, body, object_id)
    found = _cases_of_payment(connection, event, body, object_id)
    beside = _cases_beside(connection, event, body)
    return [*found, *(case_id for case_id in beside if case_id not in found)]


def _cases_beside(connection: Connection, event: StoredEvent, body: Mapping[str, Any]) -> list[str]:
    """Living cases whose customer, or a card of theirs, was charged for something else."""
    if not event.type.startswith(_PAYMENTS):
        return []
    found: list[str] = []
    customer_id = _id(body.get("customer"))
    if customer_id is not None:
        found += rows.living_ids(connection, event.account, customer_id=customer_id)
    fingerprint = _fingerprint(body)
    if fingerprint is not None:
        found += payment_methods.case_ids_of_card(connection, event.account, fingerprint)
    if not found:
        return []
    own = _cases_of_payment(connection, event, body, _id(body.get("id")) or "")
    return [case_id for case_id in dict.fromkeys(found) if case_id not in own]


def _charge_id(event: StoredEvent, body: Mapping[str, Any]) -> str | None:
    if event.type.startswith("charge."):
        return _id(body.get("id"))
    return _id(body.get("latest_charge")) if event.type.startswith(_PAYMENTS) else None


def _fingerprint(body: Mapping[str, Any]) -> str | None:
    """Of the card or account behind a charge."""
    details = body.get("payment_method_details")
    kind = details.get("type") if isinstance(details, Mapping) else None
    method = details.get(kind) if isinstance(details, Mapping) and kind else None
    return _id(method.get("fingerprint")) if isinstance(method, Mapping) else None


def _cases_of_method(
    connection: Connection, event: StoredEvent, body: Mapping[str, Any], object_id: str
) -> list[str]:
    customer_id = _id(body.get("customer"))
    if customer_id is not None:
        return rows.living_ids(connection, event.account, customer_id=customer_id)
    # a detached method names no customer any more, a mandate never does
    method_id = _id(body.get("payment_method")) or object_id
    return payment_methods.case_ids_of_method(connection, event.account, method_id)


def _cases_of_payment(
    connection: Connection, event: StoredEvent, body: Mapping[str, Any], object_id: str
) -> list[str]:
    # credit notes name their invoice, and so do charges of older API versions
    invoice_id = object_id if event.type.startswith("invoice.") else _id(body.get("invoice"))
    if invoice_id is not None:
        case = rows.of_invoice(connection, event.account, invoice_id)
        return [case.id] if case is not None and case.is_living else []
    is_intent = event.type.startswith("payment_intent.")
    intent_id = object_id if is_intent else _id(body.get("payment_intent"))
    if intent_id is None:
        return []
    return rows.living_ids(connection, event.account, payment_intent_id=intent_id)


def _touches_the_card(event: StoredEvent, body: Mapping[str, Any]) -> bool:
    """Whether the card itself changed, and not a name or an address beside it."""
    if event.type == "payment_method.automatically_updated":
        return True
    data = event.payload.get("data") or {}
    return (body.get("type") or "card") in (data.get("previous_attributes") or {})


def _object(event: StoredEvent) -> Mapping[str, Any]:
    found = (event.payload.get("data") or {}).get("object")
    return found if isinstance(found, dict) else {}


def _id(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def _created(body: Mapping[str, Any]) -> datetime | None:
    created = body.get("created")
    return datetime.fromtimestamp(created, UTC) if isinstance(created, int) else None


def _paid_at(event: StoredEvent, body: Mapping[str, Any]) -> datetime | None:
    """By the invoice's own word, else when the event was made."""
    moments = body.get("status_transitions")
    told = moments.get("paid_at") if isinstance(moments, Mapping) else None
    return _created({"created": told}) or _created(event.payload)
