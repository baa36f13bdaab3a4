"""The method that a customer paid with takes the place of the default that had failed."""

import structlog
from sqlalchemy import Connection

from retry_engine.domain.attempts import Outcome
from retry_engine.domain.errors import StripeForbidden, StripeRejected
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.gateway import OUR_KEYS, default_method_of
from retry_engine.store.cases import Case
from retry_engine.store.schedule import Action

log = structlog.get_logger()


def replace_default(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """What a customer paid with takes the place of the default that had failed."""
    case = ports.case(connection, action.case_id)
    try:
        result = _replaced(ports, case, action)
    except (StripeForbidden, StripeRejected) as error:
        # it is paid: nobody needs to be called for a convenience
        log.warning("default_not_replaced", error=str(error))
        result = f"the default stays: {error}"
    ports.finish(connection, action, result)


def _replaced(ports: ChargingPorts, case: Case, action: Action) -> str:
    trail = ports.gateway.payment_trail(case.account, case.invoice_id)
    paid = next((c for c in reversed(trail.charges) if c.outcome is Outcome.SUCCEEDED), None)
    method_id = paid.payment_method_id if paid else None
    failed = {c.payment_method_id for c in trail.charges if c.outcome is Outcome.FAILED}
    result = "the default stays"
    if method_id is not None and case.subscription_id is not None:
        found = ports.gateway.subscription(case.account, case.subscription_id)
        customer = ports.gateway.customer(case.account, case.customer_id)
        default = default_method_of(None, found, customer)
        saved = ports.gateway.payment_method(case.account, method_id)
        if (
            not found.status.is_ended
            and default in failed
            and method_id not in (default, *failed)
            and saved.customer_id == case.customer_id
        ):
            ports.gateway.set_default_method(
                case.account,
                found.id,
                method_id,
                permit=ports.gate.permit(case.mode),
                idempotency_key=f"{OUR_KEYS}new_default:{action.id}",
            )
            result = "the method that paid is the subscription's default now"
    return result
