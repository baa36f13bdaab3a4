"""The work itself: events are applied, what is due is carried out, what was lost is found again.

Whatever fails leaves its row behind: tried again after a while where that may help, shown to a
person where it does not. An account that does not answer holds up nobody else.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy import Connection

from retry_engine.app.outbound import Outbound
from retry_engine.app.overrides import Override, Overrides
from retry_engine.domain import outbound
from retry_engine.domain.actions import LAST_DUTIES, ActionState
from retry_engine.domain.errors import (
    AccountWithdrew,
    InvalidInput,
    NotPermitted,
    RetryEngineError,
    StoreUnavailable,
    StripeError,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
    reason_of,
)
from retry_engine.domain.vocabulary import OutboundState
from retry_engine.recovery import actions
from retry_engine.recovery.absences import AbsentAccounts
from retry_engine.recovery.actions import Rooms
from retry_engine.recovery.dispatch import LEASE, Dispatcher
from retry_engine.recovery.intake import SIGMA_RUN, Intake
from retry_engine.recovery.messaging.pre_dunning import PreDunning
from retry_engine.store import breakers, holdings, inbox, outbox, renewals, schedule
from retry_engine.store import cases as rows
from retry_engine.store.database import CaseBusy, Database, alone

log = structlog.get_logger()

_MAX_FAILURES = holdings.FAILURES_BEFORE_SHOWN
# How often what Stripe keeps refusing is tried again where it must come to pass.
_SLOWLY = timedelta(days=1)
# How long a test clock is taken to stand where it was read.
_CLOCK_IS_OLD = timedelta(minutes=1)


class Answering(Protocol):
    """Stripe, as far as whether it answers at all."""

    @property
    def answers(self) -> int:
        """How often it has answered this process: a no counts, a closed door does not."""


class SigmaHandler(Protocol):
    """Handles `sigma.scheduled_query_run.created`."""

    def handle(self, event: inbox.StoredEvent) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long handled events and dead ones are kept."""

    events: timedelta
    dead_events: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """`sigma` is made when first needed: it takes a second.

    `outbound` is None where no host application is to be told anything.
    `is_live`: the key's mode; events of the other mode are not ours. `speaks`: there is a channel.
    """

    database: Database
    stripe: Answering
    intake: Intake
    sigma: Callable[[], SigmaHandler]
    rooms: Rooms
    pre_dunning: PreDunning
    dispatcher: Dispatcher
    absent: AbsentAccounts
    overrides: Overrides
    outbound: Outbound | None
    is_live: bool
    speaks: bool
    retention: Retention
    clock: Callable[[], datetime]

    def begin(self) -> None:
        """Say whether there is a host application; whoever changes a case goes by that."""
        with self.database.transaction() as connection:
            outbox.set_wanted(connection, self.outbound is not None)

    # -- events

    def process_events(self, ids: Sequence[str]) -> None:
        """Apply stored events; what fails is put back and shows in `events dead` at last."""
        with self.database.transaction() as connection:
            events = inbox.claim(connection, ids, now=self.clock(), lease=LEASE)
            troubled = breakers.troubled(connection, [event.account for event in events])
        while events:
            event = events.pop(0)
            with structlog.contextvars.bound_contextvars(event=event.event_id):
                silent = not self._process_event(event, troubled=event.account in troubled)
            if silent:
                troubled.add(event.account)
                events = self._without_silent(events, event.account)
        self.dispatch()

    def _without_silent(self, events: list[inbox.Claim], account: str) -> list[inbox.Claim]:
        """Let go of the events of an account that does not answer: they wait for their turn."""
        with self.database.transaction() as connection:
            if not breakers.is_closed_to_us(connection, account, now=self.clock()):
                return events
            inbox.release(connection, [e for e in events if e.account == account])
        return [e for e in events if e.account != account]

    def _process_event(self, claimed: inbox.Claim, *, troubled: bool) -> bool:
        """Apply one event; False where its account did not answer."""
        if claimed.livemode is not None and claimed.livemode != self.is_live:
            self._put_aside(claimed)
            return True
        absent: StripeError | None = None
        answers = self.stripe.answers
        transient = hopeless = False
        try:
            self._apply(claimed)
        except (StripeUnavailable, StripeForbidden) as error:
            absent, transient, text = error, True, str(error)
        except StoreUnavailable as error:
            transient, text = True, str(error)
        except InvalidInput as error:  # a file or a row: it says the same whenever it is read
            hopeless, text = True, str(error)
        except Exception as error:  # one bad event must not stop the others
            text = reason_of(error)
            log.error(
                "event_raised", type=claimed.type, exc_info=not isinstance(error, RetryEngineError)
            )
        else:
            self._note_answer(claimed.account, None, answers, troubled=troubled)
            return True
        with self.database.transaction() as connection:
            state = inbox.fail(
                connection,
                claimed,
                error=text,
                now=self.clock(),
                transient=transient,
                hopeless=hopeless,
            )
        log.warning("event_failed", type=claimed.type, error=text, tries=claimed.tries, state=state)
        self._note_answer(claimed.account, absent, answers, troubled=troubled)
        return absent is None

    def _apply(self, claimed: inbox.Claim) -> None:
        with self.database.connection() as connection, alone(connection):
            event = inbox.read(connection, claimed)
        if event.type == SIGMA_RUN:
            self.sigma().handle(event)
        else:
            self.intake.handle(event)

    def _put_aside(self, event: inbox.Claim) -> None:
        """An event of the other mode: our key cannot read what it is about."""
        theirs, ours = ("live" if mode else "test" for mode in (event.livemode, self.is_live))
        why = f"livemode: an event of {theirs} mode, and STRIPE_API_KEY is a {ours} key"
        with self.database.transaction() as connection:
            inbox.put_aside(connection, event.id, why=why, now=self.clock())
        log.warning("event_put_aside", type=event.type, account=event.account, why=why)

    def _note_answer(
        self, account: str, absent: StripeError | None, before: int, *, troubled: bool
    ) -> None:
        """Whether the account answered while something was done for it.

        One thing that the key may not do is no silence: it counts where nothing was answered.
        """
        answered = self.stripe.answers > before
        if absent is not None and (isinstance(absent, AccountWithdrew) or not answered):
            self.absent.failed(account, absent)
        elif troubled and answered:
            self.absent.answered(account)

    # -- actions

    def run_actions(self, ids: Sequence[int]) -> None:
        """Carry out claimed actions, and hand on what these led to: it need not wait for a tick."""
        for action_id in ids:
            self.run_action(action_id)
        self.dispatch()

    def run_action(self, action_id: int) -> None:
        """Carry out one claimed action, unless somebody else has or does."""
        with self.database.connection() as connection, alone(connection):
            action = schedule.get(connection, action_id)
        if action is None or action.state != ActionState.CLAIMED or self._waits_its_turn(action):
            return
        answers = self.stripe.answers
        with structlog.contextvars.bound_contextvars(case=action.case_id, action=action.id):
            absent: StripeError | None = None
            try:
                with self.database.case_lock(action.case_id, wait_seconds=2.0) as connection:
                    if self._still_claimed(connection, action_id):
                        actions.carry_out(self.rooms, connection, action)
            except CaseBusy:
                with self.database.transaction() as connection:
                    schedule.put_back(connection, action)
            except NotPermitted as refused:
                self._leave_unwritten(action, refused)
            except StoreUnavailable:
                raise
            except (StripeUnavailable, StripeForbidden) as error:
                absent = error
                self._hold(action_id, str(error))
            except Exception as error:  # noqa: BLE001  # it is recorded, and a person asked at last
                self._fail(action, error)
            self._note_answer(action.account, absent, answers, troubled=action.troubled)

    def _waits_its_turn(self, action: schedule.Action) -> bool:
        """Whether its account is not to be asked now; then it is planned as before."""
        if not action.troubled:
            return False
        with self.database.transaction() as connection:
            shut = breakers.is_closed_to_us(connection, action.account, now=self.clock())
            if shut:
                schedule.put_back(connection, action)
        return shut

    def _leave_unwritten(self, action: schedule.Action, refused: NotPermitted) -> None:
        """It waits where the engine's mode forbids it, and is over where the case's does."""
        log.info("not_permitted", kind=action.kind, because=str(refused))
        with self.database.transaction() as connection:
            if refused.passes:
                schedule.put_back(connection, action)
            else:
                schedule.finish(
                    connection, action.id, result=str(refused), state=ActionState.CANCELLED
                )

    @staticmethod
    def _still_claimed(connection: Connection, action_id: int) -> bool:
        with alone(connection):
            action = schedule.get(connection, action_id)
        return action is not None and action.state == ActionState.CLAIMED

    def _hold(self, action_id: int, error: str, *, ours: bool = False) -> int:
        """Taken up again later; how often it has failed by its own fault so far."""
        log.warning("action_held", error=error)
        with self.database.transaction() as connection:
            return schedule.failed(connection, action_id, now=self.clock(), result=error, ours=ours)

    def _fail(self, action: schedule.Action, error: Exception) -> None:
        """Our own fault or Stripe's definite no: tried a few times, then shown to a person."""
        text = reason_of(error)
        log.error("action_failed", error=text, exc_info=not isinstance(error, RetryEngineError))
        if self._hold(action.id, text, ours=True) < _MAX_FAILURES:
            return
        with self.database.transaction() as connection:
            case = rows.find(connection, action.case_id)
            if not case.is_living and action.kind in LAST_DUTIES:
                # nobody else would do it: it stays, slowly, and `doctor` names it
                later = rows.time_of(connection, case, self.clock()) + _SLOWLY
                schedule.put_back(connection, action, at=later)
                return
            schedule.finish(connection, action.id, result=text, state=ActionState.CANCELLED)
        asked = Override(action="hold", reason=f"the engine failed: {text}", by="engine")
        with suppress(RetryEngineError):
            self.overrides.override(action.case_id, asked)

    # -- the host application

    def deliver(self, ids: Sequence[str]) -> None:
        """Tell the host application what was claimed of the outbox."""
        if self.outbound is not None:
            self.outbound.deliver(ids)

    # -- ticks

    def dispatch(self) -> int:
        """Hand what is due to the workers; how many actions that were."""
        found = self.dispatcher.dispatch()
        if self.outbound is not None:
            self.outbound.dispatch()
        return found

    def forewarn(self) -> int:
        """Write to whom a renewal will fail; how many were looked at."""
        if not self.speaks:
            return 0
        with self.database.transaction() as connection:
            if not renewals.due(connection, now=self.clock()):
                return 0
        return self.pre_dunning.send_due()

    def sweep(self) -> None:
        """Find again what the broker lost."""
        self.dispatcher.sweep()
        self.dispatch()

    def housekeeping(self) -> None:
        """Read the clocks that nobody told us of, and let old events go, in and out."""
        now = self.clock()
        with self.database.transaction() as connection:
            clocks = rows.watched_clocks(connection, read_before=now - _CLOCK_IS_OLD)
            inbox.forget(connection, before=now - self.retention.events)
            inbox.strip_dead(connection, before=now - self.retention.dead_events, now=now)
            # with no address there is nobody to try
            given_up = now - outbound.TRIED_FOR
            outbox.give_up(connection, given_up, untried=self.outbound is None, now=now)
            outbox.forget(connection, OutboundState.DELIVERED, before=now - self.retention.events)
            outbox.forget(connection, OutboundState.DEAD, before=now - self.retention.dead_events)
        for account, clock_id in clocks:
            with suppress(StripeRejected, StripeUnavailable, StripeForbidden):
                self.intake.read_clock(account, clock_id)
        self.dispatch()
