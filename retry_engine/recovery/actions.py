"""Who carries out which action of the schedule: one table, which a worker asks for one function."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, assert_never

from sqlalchemy import Connection

from retry_engine.domain.actions import ActionKind
from retry_engine.domain.errors import StripeRejected
from retry_engine.recovery.charging import (
    close,
    end,
    execute,
    new_default,
    ownership,
    reconcile,
    unknown_outcomes,
)
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.incentives.discounts import DiscountOffers
from retry_engine.recovery.incentives.plan_changes import PlanChanges
from retry_engine.recovery.messaging.send import Messenger
from retry_engine.store.schedule import Action

Handler = Callable[[Connection, Action], None]


class Rooms(Protocol):
    """What carries actions out; whoever puts the engine together builds each at its first use."""

    @property
    def charging(self) -> ChargingPorts:
        """Stripe, the planner, the gate and the clock."""

    @property
    def messenger(self) -> Messenger:
        """Words to customers."""

    @property
    def discounts(self) -> DiscountOffers:
        """What customers are given."""

    @property
    def plan_changes(self) -> PlanChanges:
        """What customers change by themselves."""


def carry_out(rooms: Rooms, connection: Connection, action: Action) -> None:
    """Carry out a claimed action, on the connection that holds its case's lock.

    Raises:
        NotPermitted: the engine's mode, or the case's, forbids to write.
        StripeRejected: Stripe says no, and not because what it is about was deleted: that ends.
        StripeUnavailable, StripeForbidden: nothing was decided; the action is to be held.
    """
    try:
        _handler_of(action.kind, rooms)(connection, action)
    except StripeRejected as error:
        missing = error.names_what_is_missing
        if not missing or not close.ended_as_gone(rooms.charging, connection, action):
            raise


def _handler_of(kind: ActionKind, rooms: Rooms) -> Handler:  # noqa: PLR0911  # one row a kind
    match kind:
        case ActionKind.REFRESH:
            return partial(reconcile.reconcile, rooms.charging)
        case ActionKind.RETRY:
            return partial(execute.retry, rooms.charging)
        case ActionKind.SETTLE:
            return partial(unknown_outcomes.resolve, rooms.charging)
        case ActionKind.HAND_BACK:
            return partial(ownership.release, rooms.charging)
        case ActionKind.KEEP_OFF:
            return partial(ownership.keep_off, rooms.charging)
        case ActionKind.END:
            return partial(end.end, rooms.charging)
        case ActionKind.NEW_DEFAULT:
            return partial(new_default.replace_default, rooms.charging)
        case ActionKind.MESSAGE:
            return partial(_say, rooms.messenger)
        case ActionKind.OFFER | ActionKind.OFFER_END:
            return rooms.discounts.run
        case ActionKind.CHANGE:
            return rooms.plan_changes.run
        case _:
            assert_never(kind)


def _say(messenger: Messenger, connection: Connection, action: Action) -> None:
    messenger.run(connection, action.case_id, action)
