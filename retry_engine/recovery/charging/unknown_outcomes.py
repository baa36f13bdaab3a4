"""A charge whose outcome nobody knows: it is found out.

An unknown outcome is never guessed. Stripe's record is asked; what it does not show is sent once
more under the same key while Stripe knows that key and a charge is still allowed, or is given up
once no request of ours can be on its way any more.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.case_states import CaseState
from retry_engine.domain.errors import SendingForbidden, StripeRejected
from retry_engine.recovery import observed_charges
from retry_engine.recovery.case_view import read_view
from retry_engine.recovery.charging import settle
from retry_engine.recovery.charging.charge import charge
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.charging.rules import charge_refusal
from retry_engine.recovery.fence import Fence
from retry_engine.recovery.gateway import KEY_LIFETIME, ChargeFacts, PaymentTrail, PayResult
from retry_engine.store import attempts, engine_state, inbox, intents, schedule
from retry_engine.store import cases as rows
from retry_engine.store.attempts import AttemptRow
from retry_engine.store.cases import Case
from retry_engine.store.intents import Intent
from retry_engine.store.schedule import Action

log = structlog.get_logger()

_ASK_AGAIN = timedelta(seconds=20)


def resolve(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """Find out what came of the case's open charge: ask, send again, or give it up as never made.

    Raises:
        StripeUnavailable, StripeForbidden: not known yet; the action is to be held.
    """
    case = ports.case(connection, action.case_id)
    intent = intents.open_in(connection, action.case_id)
    connection.rollback()
    if intent is None:
        ports.finish(connection, action, "already known")
        return
    if _found_in_record(ports, connection, action.case_id, intent, action=action):
        return
    if _may_repeat(ports, connection, case, intent):
        _repeat(ports, connection, action, intent)
        return
    if _is_settled_by_silence(intent, real_now=ports.clock()):
        with connection.begin():
            case = rows.get(connection, action.case_id)
            settle.abandon(
                ports.context(connection, case),
                case,
                intent,
                because="Stripe's record shows no such charge",
                planner=ports.planner,
            )
            _after_settling(ports, connection, action.case_id, action, "never happened")
        return
    with connection.begin():
        schedule.hold(
            connection, action.id, until=ports.clock() + _ASK_AGAIN, result="not known yet"
        )


def look_up(ports: ChargingPorts, case_id: str) -> None:
    """Write an open charge's outcome down if Stripe's record has it; it is not sent again.

    Raises:
        CaseBusy: somebody is at work on the case, and will do so.
        StripeUnavailable, StripeForbidden: not known yet.
    """
    with ports.database.case_lock(case_id) as connection:
        with connection.begin():
            intent = intents.open_in(connection, case_id)
        if intent is not None:
            _found_in_record(ports, connection, case_id, intent, action=None)


def _found_in_record(
    ports: ChargingPorts,
    connection: Connection,
    case_id: str,
    intent: Intent,
    *,
    action: Action | None,
) -> bool:
    """Whether Stripe's record shows what came of it; then that is written down."""
    case = ports.case(connection, case_id)
    trail = ports.gateway.payment_trail(case.account, case.invoice_id)
    with connection.begin():
        case = rows.get(connection, case_id)
        context = ports.context(connection, case)
        ids = [c.id for c in trail.charges]
        known = attempts.known_charges(connection, case.account, ids)
        origins = inbox.origins_of(connection, ids)
        found = _find_in_record(trail, intent, known, origins)
        if found is None:
            return False
        if action is None:  # nobody's: the dead worker's own would stand in the next plan's way
            schedule.cancel_claimed_retry(connection, case_id, result="its outcome was found")
        observed_charges.learn(context, intent, found)
        log.info("outcome_found", attempt=intent.id, outcome=found.outcome)
        settle.after_outcome(context, case, found.outcome, planner=ports.planner)
        _after_settling(ports, connection, case_id, action, f"found: {found.outcome}")
        return True


def _find_in_record(
    trail: PaymentTrail,
    intent: Intent,
    known: dict[str, AttemptRow],
    origins: dict[str, dict[str, Any]],
) -> ChargeFacts | None:
    """The charge that this intent became, by Stripe's record, or None."""
    for candidate in trail.charges:
        owner = known.get(candidate.id)
        if owner is not None and owner.id != intent.id:
            continue
        if owner is not None or observed_charges.match(
            candidate, [intent], origins.get(candidate.id)
        ):
            return candidate
    return None


def _may_repeat(ports: ChargingPorts, connection: Connection, case: Case, intent: Intent) -> bool:
    """The same key again can only ever be the same charge; still, it must be allowed now."""
    with connection.begin():
        case = rows.get(connection, case.id)
        now = rows.time_of(connection, case, ports.clock())
        policy = ports.planner.policy_of(case.policy_version)
        if (
            case.state != CaseState.OPEN
            or ports.gate.refusal(case.mode) is not None
            or engine_state.read(connection).paused
            or not _key_is_known(intent, real_now=ports.clock())
            or now - intent.at > timedelta(hours=policy.limits.late_action_hours)
        ):
            return False
        view = read_view(ports.context(connection, case), case)
        others = tuple(a for a in view.attempts if a.idempotency_key != intent.idempotency_key)
        view = replace(view, attempts=others)
        return charge_refusal(view, intent.payment_method_id, at=now, policy=policy) is None


def _key_is_known(intent: Intent, *, real_now: datetime) -> bool:
    """Whether Stripe still knows the key, so that sending it again cannot charge twice."""
    return real_now - intent.sent_at < KEY_LIFETIME


def _is_settled_by_silence(intent: Intent, *, real_now: datetime) -> bool:
    """Whether a charge that Stripe's record does not show can no longer appear in it."""
    return real_now - (intent.last_sent_at or intent.sent_at) > intents.ON_ITS_WAY


def _repeat(ports: ChargingPorts, connection: Connection, action: Action, intent: Intent) -> None:
    """Send the same request under the same key: Stripe answers what it answered, or does it now."""
    case = ports.case(connection, action.case_id)
    permit = ports.gate.permit(case.mode)
    fence = Fence(connection=connection, attempt_id=intent.id, clock=ports.clock)
    result: PayResult | None
    try:
        # StripeUnavailable goes up: the action is held and this is asked once more
        result = charge(ports.gateway, case, intent, permit=permit, fence=fence)
    except StripeRejected:
        result = None
    except SendingForbidden as forbidden:
        with connection.begin():
            until = ports.clock() + _ASK_AGAIN
            schedule.hold(connection, action.id, until=until, result=str(forbidden))
        return
    with connection.begin():
        case = rows.get(connection, action.case_id)
        context = ports.context(connection, case)
        if result is None:
            settle.abandon(
                context,
                case,
                intent,
                because="Stripe refuses the request: it was never carried out",
                planner=ports.planner,
            )
            _after_settling(ports, connection, action.case_id, action, "never happened")
            return
        settle.take_answer(context, case, intent.id, result, planner=ports.planner)
        _after_settling(ports, connection, action.case_id, action, f"asked again: {result.outcome}")


def _after_settling(
    ports: ChargingPorts, connection: Connection, case_id: str, action: Action | None, result: str
) -> None:
    """What waited for this outcome (an event, an end) is looked at now."""
    if action is not None:
        schedule.finish(connection, action.id, result=result)
    case = rows.get(connection, case_id)
    if case.is_living:
        now = rows.time_of(connection, case, ports.clock())
        schedule.plan(connection, case, ActionKind.REFRESH, at=now)
