"""A case is brought up to what Stripe says now: read everything, then apply it in one go.

Events come twice, late, in any order and in old shapes; so none of them is applied as such. Each
only says "look again", and looking twice changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection

from retry_engine.domain import codes
from retry_engine.domain.actions import ActionKind
from retry_engine.domain.attempts import Outcome, Source
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.errors import StripeRejected
from retry_engine.domain.modes import Mode
from retry_engine.domain.policy import Policy
from retry_engine.domain.risk_flags import RiskFlagKind
from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.recovery import cases
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import second_subscriptions, unanswered
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.gateway import (
    ChargeFacts,
    CustomerFacts,
    Gateway,
    InvoiceFacts,
    MethodFacts,
    PaymentTrail,
    SubscriptionFacts,
)
from retry_engine.recovery.planning import Planner
from retry_engine.store import (
    attempts,
    inbox,
    intents,
    messages,
    payment_methods,
    reviews,
    risk_flags,
    schedule,
)
from retry_engine.store import cases as rows
from retry_engine.store.attempts import AttemptRow, ChargeValues
from retry_engine.store.cases import Case
from retry_engine.store.intents import Intent
from retry_engine.store.payment_methods import MethodRow, MethodValues

_CARD_LOOK_BACK = timedelta(days=180)
_FLAGS = {
    RiskFlagKind.DISPUTE: "dispute",
    RiskFlagKind.EARLY_FRAUD_WARNING: "early fraud warning",
}
# What may have become a charge: an attempt of ours with no charge yet.
Ours = TypeVar("Ours", AttemptRow, Intent)

# A charge belongs to the intent that was committed shortly before it, give or take two clocks.
_MATCH_BEFORE = timedelta(minutes=2)
_MATCH_AFTER = timedelta(hours=1)
# A charge stands in Stripe's record when the call that made it is answered; this is long after.
SHOWS_WITHIN = timedelta(hours=1)
# After so many answers without a charge, one after another, a person has to look.
_EMPTY_BEFORE_REVIEW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceSnapshot:
    """Everything Stripe says of a case's invoice, read in one go."""

    invoice: InvoiceFacts
    trail: PaymentTrail
    customer: CustomerFacts
    methods: Sequence[MethodFacts]
    subscription: SubscriptionFacts | None
    taken_out_since: Sequence[SubscriptionFacts]  # others to the same product
    other_charges: Sequence[ChargeFacts]
    mandates: dict[str, bool]
    read_at: datetime
    auto_advance_found: bool  # before it was taken over on the way

    @property
    def default_method_id(self) -> str | None:
        """Which method Stripe itself would charge."""
        return default_of(self.invoice, self.subscription, self.customer)


def read(
    gateway: Gateway, case: Case, *, gate: Gate, now: datetime, paused: bool = False
) -> InvoiceSnapshot:
    """Ask Stripe for the whole picture; taking the invoice over on the way if it is ours to.

    Not while the engine is `paused`: nobody knows for how long, and an invoice that neither Stripe
    nor the engine retries is nobody's. Resuming looks at it again.

    The other charges of the customer count against the networks' limits of their cards: half a year
    of them at the first look, then those since the last one.
    """
    invoice = gateway.invoice(case.account, case.invoice_id)
    found = invoice.auto_advance
    if not paused and _is_ours_to_take(case, invoice) and gate.refusal(case.mode) is None:
        invoice = replace(
            gateway.set_auto_advance(
                case.account, invoice.id, permit=gate.permit(case.mode), on=False
            ),
            subscription=invoice.subscription,
        )
    trail = gateway.payment_trail(case.account, case.invoice_id)
    customer = gateway.customer(case.account, case.customer_id)
    subscription = subscription_of(gateway, case.account, invoice)
    failed_at = min([case.opened_at, *(c.created_at for c in trail.charges[:1])])
    return InvoiceSnapshot(
        invoice=invoice,
        trail=trail,
        customer=customer,
        methods=_methods(gateway, case, default_of(invoice, subscription, customer)),
        subscription=subscription,
        taken_out_since=second_subscriptions.read(gateway, case, subscription, since=failed_at),
        other_charges=charges_since(gateway, case, now=now),
        mandates=_mandates(gateway, case.account, trail.charges),
        read_at=now,
        auto_advance_found=found,
    )


def charges_since(gateway: Gateway, case: Case, *, now: datetime) -> Sequence[ChargeFacts]:
    """What the customer was charged since the last look, for whatever and by whomever."""
    since = now - _CARD_LOOK_BACK
    if case.charges_read_at is not None:
        since = max(since, case.charges_read_at - _MATCH_AFTER)
    return gateway.customer_charges(case.account, case.customer_id, since=since)


def default_of(
    invoice: InvoiceFacts | None, subscription: SubscriptionFacts | None, customer: CustomerFacts
) -> str | None:
    """Which method Stripe itself would charge: the first that is set, in Stripe's own order."""
    found = (
        *((invoice.default_payment_method_id, invoice.default_source_id) if invoice else ()),
        *(
            (subscription.default_payment_method_id, subscription.default_source_id)
            if subscription
            else ()
        ),
        customer.default_payment_method_id,
        customer.default_source_id,
    )
    return next((method_id for method_id in found if method_id is not None), None)


def _methods(gateway: Gateway, case: Case, default_id: str | None) -> Sequence[MethodFacts]:
    """What the customer has saved, with a default of older making that Stripe does not list."""
    saved = gateway.payment_methods(case.account, case.customer_id)
    if default_id is None or any(m.id == default_id for m in saved):
        return saved
    try:
        default = gateway.payment_method(case.account, default_id)
    except StripeRejected:
        return saved
    return [*saved, default] if default.customer_id == case.customer_id else saved


def _is_ours_to_take(case: Case, invoice: InvoiceFacts) -> bool:
    return (
        case.state != CaseState.CLOSED
        and invoice.auto_advance
        and invoice.status == InvoiceStatus.OPEN
    )


def subscription_of(
    gateway: Gateway, account: str, invoice: InvoiceFacts
) -> SubscriptionFacts | None:
    """The invoice's subscription, asked for where it did not come along."""
    if invoice.subscription is not None or invoice.subscription_id is None:
        return invoice.subscription
    return gateway.subscription(account, invoice.subscription_id)


def _mandates(gateway: Gateway, account: str, charges: Sequence[ChargeFacts]) -> dict[str, bool]:
    """By payment method: whether the mandate it was last charged under is still active."""
    wanted = {c.payment_method_id: c.mandate_id for c in charges if c.mandate_id}
    found: dict[str, bool] = {}
    for method_id, mandate_id in wanted.items():
        active = gateway.mandate_active(account, mandate_id) if mandate_id else None
        if method_id is not None and active is not None:
            found[method_id] = active
    return found


def apply(context: CaseContext, case: Case, snapshot: InvoiceSnapshot, *, planner: Planner) -> Case:
    """Write the snapshot into the record, end or move the case accordingly, and plan."""
    policy = planner.policy_of(case.policy_version)
    case = _update_facts(context, case, snapshot, policy)
    _record_methods(context, case, snapshot)
    _record_trail(context, case, snapshot.trail)
    record_charges(
        context.connection, case.account, case.customer_id, snapshot.other_charges, now=context.now
    )
    if not case.is_living:
        return case
    if intents.open_in(context.connection, case.id) is not None:
        # whether that one charge went through decides what everything else means
        schedule.plan(context.connection, case, ActionKind.SETTLE, at=context.now)
        cases.keep_watch(context, case)
        return case
    ended = _end(context, case, snapshot)
    if ended is not None:
        return ended
    case = _hold(context, case, snapshot, policy)
    case = _follow_collection_pause(context, case, snapshot)
    case = _give_up_without_charge(context, case, policy)
    case = _follow_processing(context, case)
    case = unanswered.end_if_due(context, case, policy)
    if case.state in (CaseState.OPEN, CaseState.NEEDS_CUSTOMER):
        return planner.replan_if_changed(context, case)
    if case.is_living:
        cases.keep_watch(context, case)
    return case


# -- facts of the case


def _update_facts(
    context: CaseContext, case: Case, snapshot: InvoiceSnapshot, policy: Policy
) -> Case:
    invoice, customer = snapshot.invoice, snapshot.customer
    values: dict[str, Any] = {
        "subscription_id": invoice.subscription_id,
        "payment_intent_id": snapshot.trail.payment_intent_id or case.payment_intent_id,
        "stripe_next_attempt_at": invoice.next_payment_attempt if invoice.auto_advance else None,
        "taken_over": case.taken_over or (case.mode == Mode.TAKEOVER and not invoice.auto_advance),
        "auto_advance_found": bool(case.auto_advance_found) or snapshot.auto_advance_found,
        "default_method_id": snapshot.default_method_id,
        "billing_reason": invoice.billing_reason,
        "customer_country": customer.country or _card_country(snapshot),
        "customer_timezone": customer.timezone,
        "customer_since": customer.created_at,
        "enriched": True,
        "charges_read_at": snapshot.read_at,
    }
    if snapshot.subscription is not None:
        values["billing_interval"] = snapshot.subscription.interval
    if case.is_living:
        # a closed case keeps what was owed at its end
        values["amount_remaining"] = max(invoice.amount_remaining, 0)
    if not case.enriched:
        values |= _opening_times(context, case, snapshot, policy)
    return rows.change(context.connection, case.id, **values)


def _opening_times(
    context: CaseContext, case: Case, snapshot: InvoiceSnapshot, policy: Policy
) -> dict[str, datetime]:
    """A case opens when its payment failed, not when a late event told us."""
    first = snapshot.trail.charges[0].created_at if snapshot.trail.charges else case.opened_at
    opened = min(first, context.now)
    if context.now - opened > timedelta(days=policy.limits.horizon_days) / 2:
        opened = context.now
    return {
        "opened_at": opened,
        "deadline_at": opened + timedelta(days=policy.limits.horizon_days),
    }


def _card_country(snapshot: InvoiceSnapshot) -> str | None:
    default = snapshot.default_method_id
    known = [m for m in snapshot.methods if m.card_country]
    chosen = next((m for m in known if m.id == default), known[0] if known else None)
    return chosen.card_country if chosen else None


# -- payment methods


def _record_methods(context: CaseContext, case: Case, snapshot: InvoiceSnapshot) -> None:
    for facts in snapshot.methods:
        known = payment_methods.get(context.connection, case.account, facts.id)
        mandate = snapshot.mandates.get(facts.id)
        _put_method(context, case, facts, known, mandate=mandate, trail=snapshot.trail)
    payment_methods.detach_missing(
        context.connection,
        case.account,
        case.customer_id,
        present=[m.id for m in snapshot.methods],
        at=context.now,
    )


def _put_method(
    context: CaseContext,
    case: Case,
    facts: MethodFacts,
    known: MethodRow | None,
    *,
    mandate: bool | None,
    trail: PaymentTrail,
) -> None:
    values: MethodValues = {
        "account": case.account,
        "id": facts.id,
        "customer_id": case.customer_id,
        "type": facts.type,
        "card_brand": facts.card_brand,
        "card_funding": facts.card_funding,
        "card_country": facts.card_country,
        "card_exp_year": facts.card_exp_year,
        "card_exp_month": facts.card_exp_month,
        "card_fingerprint": facts.card_fingerprint,
        "blocked_reason": facts.blocked_reason,
        "detached_at": None,
    }
    if mandate is not None:
        values["mandate_active"] = mandate
    data = ("card_exp_year", "card_exp_month", "card_fingerprint", "blocked_reason")
    if known is None:
        values["added_at"] = facts.created_at
    elif any(getattr(known, name) != getattr(facts, name) for name in data):
        values["changed_at"] = _changed_at(context, case, facts, trail)
    payment_methods.put(context.connection, **values)


def _changed_at(
    context: CaseContext, case: Case, facts: MethodFacts, trail: PaymentTrail
) -> datetime:
    """When the data changed: before the first charge of the new card, else just now."""
    on_new = [
        c.created_at
        for c in trail.charges
        if c.payment_method_id == facts.id
        and facts.card_fingerprint is not None
        and _card(c) == _card(facts)
    ]
    if on_new:
        return min(on_new) - timedelta(seconds=1)
    return moment_of_change(context.connection, case.account, facts.id, context.now)


def _card(of: ChargeFacts | MethodFacts) -> tuple[str | None, int | None, int | None]:
    return of.card_fingerprint, of.card_exp_year, of.card_exp_month


def moment_of_change(
    connection: Connection, account: str, method_id: str, now: datetime
) -> datetime:
    """Just now, and after every attempt so far: a test clock stands still in between."""
    last = attempts.last_on_method(connection, account, method_id)
    return now if last is None or last < now else last + timedelta(microseconds=1)


# -- attempts


def _record_trail(context: CaseContext, case: Case, trail: PaymentTrail) -> None:
    """Every charge becomes an attempt, once; the engine's own are matched to their intents."""
    connection = context.connection
    ids = [c.id for c in trail.charges]
    known = attempts.known_charges(connection, case.account, ids)
    origins = inbox.origins_of(
        connection, [i for i in ids if i not in known or known[i].case_id is None]
    )
    intents = [
        row
        for row in attempts.of_case(connection, case.id)
        if row.source == Source.ENGINE and row.charge_id is None
    ]
    first = True
    for charge in trail.charges:
        row = known.get(charge.id)
        if row is None:
            row = match(charge, intents, origins.get(charge.id))
            if row is not None:
                intents.remove(row)
        source = Source.STRIPE if first else source_of(origins.get(charge.id))
        if row is None:
            _add_charge(context, case, charge, source)
        else:
            if row.case_id is None:  # seen before its case was, or beside it
                attempts.change(connection, row.id, case_id=case.id, source=source)
                _note_authentication(connection, case, charge, source)
            learn(context, row, charge)
        first = False
    _record_silent_authentication(context, case, trail)


def match(
    charge: ChargeFacts, intents: Sequence[Ours], origin: dict[str, Any] | None
) -> Ours | None:
    """The engine's intent that this charge carried out: by its key, else by method and time."""
    key = (origin or {}).get("idempotency_key")
    if key is not None:
        exact = next((row for row in intents if row.idempotency_key == key), None)
        if exact is not None:
            return exact
    if origin is not None and "id" in origin and origin["id"] is None:
        return None  # Stripe did this by itself
    for row in intents:
        if row.payment_method_id != charge.payment_method_id:
            continue
        if any(
            at - _MATCH_BEFORE <= charge.created_at <= at + _MATCH_AFTER
            for at in (row.at, row.sent_at)
            if at is not None
        ):
            return row
    return None


def source_of(origin: dict[str, Any] | None) -> Source:
    """Who made a charge that is not ours, from the event's `request` where one came.

    Stripe's own acts carry no request; the API and the dashboard send an idempotency key; the
    hosted page does not.
    """
    if origin is None or origin.get("id") is None:
        return Source.STRIPE
    return Source.MANUAL if origin.get("idempotency_key") else Source.CUSTOMER


def learn(context: CaseContext, row: AttemptRow | Intent, charge: ChargeFacts) -> None:
    """Write into an attempt what its charge says."""
    values = _charge_values(charge)
    if row.outcome == Outcome.SUCCEEDED and charge.outcome is Outcome.SUCCEEDED:
        values.pop("outcome")
    if row.source == Source.ENGINE and row.decline_code and not charge.decline_code:
        values.pop("decline_code")
    resolved = row.resolved_at or (
        context.real_now if charge.outcome is not Outcome.PROCESSING else None
    )
    attempts.change(context.connection, row.id, resolved_at=resolved, **values)


def _add_charge(context: CaseContext, case: Case, charge: ChargeFacts, source: Source) -> None:
    attempts.add_charge(
        context.connection,
        account=case.account,
        customer_id=case.customer_id,
        case_id=case.id,
        # our reading of a clock may be older than the charge; nothing happens after now
        at=min(charge.created_at, context.now),
        source=source,
        amount=charge.amount,
        currency=charge.currency,
        payment_method_id=charge.payment_method_id,
        payment_intent_id=charge.payment_intent_id,
        **_charge_values(charge),
    )
    _note_authentication(context.connection, case, charge, source)


def _note_authentication(
    connection: Connection, case: Case, charge: ChargeFacts, source: Source
) -> None:
    """Who pays by themselves has passed what their bank asks for."""
    passed = source is Source.CUSTOMER and charge.outcome is Outcome.SUCCEEDED
    if passed and charge.payment_method_id is not None:
        payment_methods.change(
            connection,
            case.account,
            charge.payment_method_id,
            authenticated_at=charge.created_at,
        )


def _charge_values(charge: ChargeFacts) -> ChargeValues:
    return {
        "charge_id": charge.id,
        "outcome": charge.outcome,
        "method_type": charge.method_type,
        "card_brand": charge.card_brand,
        "card_country": charge.card_country,
        "card_fingerprint": charge.card_fingerprint,
        "card_exp_year": charge.card_exp_year,
        "card_exp_month": charge.card_exp_month,
        "decline_code": charge.decline_code,
        "advice_code": charge.advice_code,
        "network_advice_code": charge.network_advice_code,
        "network_decline_code": charge.network_decline_code,
        "outcome_type": charge.outcome_type,
        "outcome_reason": charge.outcome_reason,
        "risk_level": charge.risk_level,
    }


def _record_silent_authentication(context: CaseContext, case: Case, trail: PaymentTrail) -> None:
    """A bank that asks for the customer may leave no charge, only a waiting payment intent."""
    if not trail.awaits_customer:
        return
    existing = attempts.of_case(context.connection, case.id)
    if any(
        row.outcome == Outcome.REQUIRES_ACTION
        and row.payment_method_id == (trail.awaiting_method_id or row.payment_method_id)
        for row in existing
    ):
        return
    method = (
        payment_methods.get(context.connection, case.account, trail.awaiting_method_id)
        if trail.awaiting_method_id
        else None
    )
    attempts.add(
        context.connection,
        account=case.account,
        customer_id=case.customer_id,
        case_id=case.id,
        at=context.now if existing else case.opened_at,
        source=Source.STRIPE,
        outcome=Outcome.REQUIRES_ACTION,
        amount=case.amount_remaining,
        currency=case.currency,
        payment_method_id=trail.awaiting_method_id,
        payment_intent_id=trail.payment_intent_id,
        decline_code=codes.AUTHENTICATION_REQUIRED,
        method_type=method.type if method else "card",
        card_brand=method.card_brand if method else None,
        card_country=method.card_country if method else None,
        card_fingerprint=method.card_fingerprint if method else None,
        card_exp_year=method.card_exp_year if method else None,
        card_exp_month=method.card_exp_month if method else None,
    )


def record_charges(
    connection: Connection,
    account: str,
    customer_id: str,
    charges: Sequence[ChargeFacts],
    *,
    now: datetime,
) -> bool:
    """Charges for whatever else, by whomever, once: they wear down, and speak for, the same cards.

    Whether any of them was news. What a case of the customer's has sent itself is left to that
    case, which finds its outcome in its own trail.
    """
    if not charges:
        return False
    known = attempts.known_charges(connection, account, [c.id for c in charges])
    new = [charge for charge in charges if charge.id not in known]
    # an answer of success does not name its charge, and the event that does may have been lost
    nameless = intents.nameless(connection, account, customer_id) if new else []
    news = False
    for charge in charges:
        row = known.get(charge.id)
        if row is None:
            news |= _record_charge(
                connection,
                charge,
                nameless,
                account=account,
                customer_id=customer_id,
                at=min(charge.created_at, now),
            )
        elif row.case_id is None and row.outcome != charge.outcome:
            attempts.change(connection, row.id, **_charge_values(charge))
            news = True
    return news


def _record_charge(
    connection: Connection,
    charge: ChargeFacts,
    nameless: list[AttemptRow],
    *,
    account: str,
    customer_id: str,
    at: datetime,
) -> bool:
    ours = match(charge, [row for row in nameless if _may_be(charge, row)], None)
    if ours is not None:
        nameless.remove(ours)
        if ours.outcome == Outcome.SUCCEEDED:
            attempts.change(connection, ours.id, charge_id=charge.id)
        return False
    attempts.add_charge(
        connection,
        account=account,
        customer_id=customer_id,
        at=at,
        source=Source.STRIPE,
        amount=charge.amount,
        currency=charge.currency,
        payment_method_id=charge.payment_method_id,
        payment_intent_id=charge.payment_intent_id,
        **_charge_values(charge),
    )
    if charge.disputed:
        risk_flags.add(
            connection,
            account=account,
            object_id=charge.id,
            kind=RiskFlagKind.DISPUTE,
            customer_id=customer_id,
            charge_id=charge.id,
            at=charge.created_at,
        )
    return True


def _may_be(charge: ChargeFacts, row: AttemptRow) -> bool:
    """Whether that attempt of ours, whose charge nobody has named, can have been this one."""
    if row.outcome == Outcome.SUCCEEDED and charge.outcome is not Outcome.SUCCEEDED:
        return False
    return row.payment_intent_id in (None, charge.payment_intent_id)


# -- ends and turns


def _end(context: CaseContext, case: Case, snapshot: InvoiceSnapshot) -> Case | None:
    """Close the case if what it was about is over; None if it goes on."""
    status = snapshot.invoice.status
    if status == InvoiceStatus.PAID or (
        status == InvoiceStatus.OPEN and snapshot.invoice.amount_remaining <= 0
    ):
        return close_paid(context, case)
    if status == InvoiceStatus.VOID:
        return cases.close(context, case, CloseReason.VOIDED, cause="the invoice was voided")
    if status == InvoiceStatus.UNCOLLECTIBLE:
        return cases.close(
            context, case, CloseReason.UNCOLLECTIBLE, cause="the invoice was marked uncollectible"
        )
    if snapshot.subscription is not None and snapshot.subscription.status.is_ended:
        return cases.close(
            context,
            case,
            CloseReason.SUBSCRIPTION_ENDED,
            cause=f"the subscription is {snapshot.subscription.status}",
        )
    if snapshot.customer.deleted:
        return cases.close(
            context, case, CloseReason.SUBSCRIPTION_ENDED, cause="the customer was deleted"
        )
    return None


def close_paid(context: CaseContext, case: Case) -> Case:
    """The invoice is paid: by the engine's charge or through its link, or elsewhere."""
    made = attempts.of_case(context.connection, case.id)
    by_engine = any(
        row.source == Source.ENGINE and row.outcome in (Outcome.SUCCEEDED, Outcome.PROCESSING)
        for row in made
    )
    if by_engine:
        _settle_processing(context, made)
        return cases.close(
            context, case, CloseReason.RECOVERED_BY_ENGINE, cause="the engine's charge was paid"
        )
    if case.mode == Mode.TAKEOVER:
        schedule.plan(context.connection, case, ActionKind.NEW_DEFAULT, at=context.now)
    if any(row.visited_at is not None for row in messages.of_case(context.connection, case.id)):
        return cases.close(
            context,
            case,
            CloseReason.RECOVERED_BY_ENGINE,
            cause="paid by the customer, who came by a link that the engine sent",
        )
    return cases.close(
        context, case, CloseReason.RECOVERED_ELSEWHERE, cause="paid, not by the engine's charge"
    )


def _settle_processing(context: CaseContext, made: Sequence[AttemptRow]) -> None:
    for row in made:
        if row.outcome == Outcome.PROCESSING:
            attempts.change(
                context.connection,
                row.id,
                outcome=Outcome.SUCCEEDED,
                resolved_at=context.real_now,
            )


def _hold(context: CaseContext, case: Case, snapshot: InvoiceSnapshot, policy: Policy) -> Case:
    """A person has to look where a payment is disputed, or this one is probably not owed."""
    disputes = _disputes(context, case, policy)
    others = second_subscriptions.reasons(context.connection, case, snapshot.taken_out_since)
    if case.state == CaseState.PAUSED:  # a person has said no to these, and may still resume it
        answered = reviews.named_in(context.connection, case.id, state="rejected")
        disputes = [reason for reason in disputes if reason.about not in answered]
        others = [reason for reason in others if reason.about not in answered]
    if disputes and policy.review.on_dispute == "close":
        return cases.close(context, case, CloseReason.DISPUTED, cause=disputes[-1].text)
    if not disputes and not others:
        return case
    return cases.hold(
        context, case, reason=[*disputes, *others], proposal={"action": "resume"}, policy=policy
    )


def _disputes(context: CaseContext, case: Case, policy: Policy) -> list[cases.Reason]:
    flags = risk_flags.standing(
        context.connection,
        case.account,
        case.customer_id,
        since=context.now - timedelta(days=policy.review.dispute_days),
    )
    return [
        cases.Reason(
            f"{_FLAGS[flag.kind]} on a charge of this customer ({flag.object_id})",
            about=flag.object_id,
        )
        for flag in flags
    ]


def _follow_collection_pause(context: CaseContext, case: Case, snapshot: InvoiceSnapshot) -> Case:
    """A merchant who pauses collection in Stripe means us as well; resuming there resumes here."""
    paused = snapshot.subscription is not None and snapshot.subscription.collection_paused
    if paused and case.state in (CaseState.OPEN, CaseState.NEEDS_CUSTOMER):
        return cases.move(
            context,
            case,
            "paused",
            cause=cases.PAUSED_IN_STRIPE,
            pause_cause=cases.PAUSED_IN_STRIPE,
        )
    if not paused and case.state == CaseState.PAUSED and case.pause_cause == cases.PAUSED_IN_STRIPE:
        return cases.move(
            context, case, "resumed", cause="collection goes on in Stripe", pause_cause=None
        )
    return case


def _give_up_without_charge(context: CaseContext, case: Case, policy: Policy) -> Case:
    """An accepted charge that Stripe's record does not show never happened: it counts nowhere.

    A bank debit that is under way has a charge, which is pending for as long as that takes.
    """
    empty = [
        row
        for row in attempts.of_case(context.connection, case.id)
        if row.outcome == Outcome.PROCESSING
        and row.source == Source.ENGINE
        and row.charge_id is None
    ]
    because = "Stripe accepted the request, and its record shows no charge"
    given_up = [row for row in empty if context.now - row.at >= SHOWS_WITHIN]
    for row in given_up:
        attempts.change(
            context.connection,
            row.id,
            abandoned=True,
            outcome=Outcome.FAILED,
            resolved_at=context.real_now,
            error=because,
        )
    if len(given_up) < len(empty):
        at = min(row.at for row in empty if row not in given_up) + SHOWS_WITHIN
        schedule.plan(context.connection, case, ActionKind.REFRESH, at=at)
    asks = bool(given_up) and case.is_living
    in_a_row = intents.abandoned_in_a_row(context.connection, case.id) if asks else 0
    if in_a_row < _EMPTY_BEFORE_REVIEW:
        return case
    why = f"{because}, {in_a_row} times one after another"
    return cases.hold(context, case, reason=why, proposal={"action": "resume"}, policy=policy)


def _follow_processing(context: CaseContext, case: Case) -> Case:
    under_way = attempts.processing_in(context.connection, case.id)
    if case.state == CaseState.PROCESSING and not under_way:
        return cases.move(context, case, "debit_failed", cause="the debit came back unpaid")
    if case.state == CaseState.NEEDS_CUSTOMER and under_way:
        case = cases.move(context, case, "method_changed", cause="the customer is paying")
    if case.state == CaseState.OPEN and under_way:
        return cases.move(context, case, "charge_processing", cause="a payment is under way")
    return case
