"""Where all was tried: what the policy wants of invoice and subscription is done at Stripe."""

from sqlalchemy import Connection

from retry_engine.domain.stripe_states import InvoiceStatus
from retry_engine.domain.vocabulary import SubscriptionEnd
from retry_engine.recovery.charging import ownership
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.gateway import OUR_KEYS, InvoiceFacts, SubscriptionFacts
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, schedule
from retry_engine.store.cases import Case
from retry_engine.store.schedule import Action


def end(ports: ChargingPorts, connection: Connection, action: Action) -> None:
    """What the policy wants of a case in which all was tried.

    Each step is read again before it is made, so a process that died between two of them is
    followed by one that goes on; whoever has paid meanwhile keeps everything.
    """
    case = ports.case(connection, action.case_id)
    wanted = ports.planner.policy_of(case.policy_version).end
    invoice = ports.gateway.invoice(case.account, case.invoice_id)
    if wanted.subscription == SubscriptionEnd.LEAVE and not wanted.mark_uncollectible:
        ownership.release(ports, connection, action)
        return
    done: list[str] = []
    permit = ports.gate.permit(case.mode)
    stays_open = invoice.status == InvoiceStatus.OPEN and not wanted.mark_uncollectible
    if invoice.status == InvoiceStatus.OPEN and invoice.amount_remaining > 0:
        # a pause of the engine waits for this lock, and this for its end
        ports.database.money_may_move(connection)
        with connection.begin():
            if engine_state.read(connection).paused:
                schedule.put_back(connection, action)
                return
        done += _end_subscription(ports, case, action, invoice, wanted.subscription)
        if wanted.mark_uncollectible:
            ports.gateway.mark_uncollectible(
                case.account,
                case.invoice_id,
                permit=permit,
                idempotency_key=f"{OUR_KEYS}end:{action.id}:uncollectible",
            )
            done.append("the invoice is marked uncollectible")
    if stays_open:
        done.append("the invoice stays open and nobody charges it")
    with connection.begin():
        # what is still owed and given to nobody stays on record as held by us
        rows.change(connection, action.case_id, taken_over=stays_open)
        result = ", ".join(done) or f"nothing to end: the invoice is {invoice.status}"
        schedule.finish(connection, action.id, result=result)


def _end_subscription(
    ports: ChargingPorts,
    case: Case,
    action: Action,
    invoice: InvoiceFacts,
    wanted: SubscriptionEnd,
) -> list[str]:
    if wanted == SubscriptionEnd.LEAVE or invoice.subscription_id is None:
        return []
    found = ports.gateway.subscription(case.account, invoice.subscription_id)
    stays = _why_it_stays(ports, case, invoice, found)
    if stays is not None:
        return [stays]
    permit = ports.gate.permit(case.mode)
    key = f"{OUR_KEYS}end:{action.id}:{wanted}"
    if wanted == SubscriptionEnd.CANCEL:
        ports.gateway.cancel_subscription(
            case.account, found.id, permit=permit, idempotency_key=key
        )
        return ["the subscription is cancelled"]
    if found.collection_paused:
        return ["the subscription's collection is paused already"]
    ports.gateway.pause_subscription(case.account, found.id, permit=permit, idempotency_key=key)
    return ["the subscription's collection is paused"]


def _why_it_stays(
    ports: ChargingPorts, case: Case, invoice: InvoiceFacts, found: SubscriptionFacts
) -> str | None:
    """Why the subscription is not to be ended for this invoice; None: it is."""
    if found.status.is_ended:
        return f"the subscription is {found.status} already"
    if found.status not in ("past_due", "unpaid"):
        # the customer has come back since, or Stripe has not given it up itself
        return f"the subscription is {found.status} and stays so"
    if ports.gateway.has_paid_since(case.account, found.id, after=invoice.created_at):
        # what it is in arrears with now is a later invoice, which has a case of its own
        return "the subscription stays: the customer has paid a later invoice of it"
    return None
