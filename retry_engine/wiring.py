"""Puts the engine together, once, from its settings. Here, and only here, is the outside world."""

import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Self

import structlog
from sqlalchemy import Connection

from retry_engine.adapters.rate_limiter import Pace
from retry_engine.domain.actions import LAST_DUTIES, ActionState
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.decisions import Decision
from retry_engine.domain.errors import (
    AccountWithdrew,
    BrokerUnavailable,
    InvalidInput,
    NotPermitted,
    RetryEngineError,
    SettingsError,
    StoreUnavailable,
    StripeError,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
    reason_of,
)
from retry_engine.domain.modes import Mode
from retry_engine.domain.offers import Way
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Messages, Policy, from_content
from retry_engine.domain.renewal_risk import RenewalRisk
from retry_engine.oversight import documents
from retry_engine.oversight.doctor import Check, check_held, check_part, check_stripe
from retry_engine.oversight.overrides import Override, Overseer, Tell
from retry_engine.recovery import actions, cases, suppression
from retry_engine.recovery.absences import AbsentAccounts
from retry_engine.recovery.cases import CaseContext
from retry_engine.recovery.charging import unknown_outcomes
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.dispatch import LEASE, Dispatcher
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.incentives.discounts import DiscountOffers
from retry_engine.recovery.incentives.plan_changes import PlanChanges
from retry_engine.recovery.intake import EVENT_TYPES, SIGMA_RUN, Intake
from retry_engine.recovery.links import LinkKeys
from retry_engine.recovery.messaging import Messenger, Post
from retry_engine.recovery.payment_page import PaymentPage
from retry_engine.recovery.planning import Planner, view_of
from retry_engine.recovery.pre_dunning import PreDunning
from retry_engine.recovery.renewal_risk import RenewalRisks
from retry_engine.settings import Settings, bundled
from retry_engine.store import (
    attempts,
    breakers,
    engine_state,
    holdings,
    inbox,
    invariants,
    messages,
    offers,
    renewals,
    reviews,
    schedule,
)
from retry_engine.store import cases as rows
from retry_engine.store import learning as learning_rows
from retry_engine.store.database import CaseBusy, Database, alone

if TYPE_CHECKING:  # heavy, and needed by some processes only
    from celery import Celery

    from retry_engine.adapters.broker import Broker
    from retry_engine.adapters.email import EmailChannel
    from retry_engine.adapters.stripe.gateway import StripeGateway
    from retry_engine.customer_desk import CustomerDesk
    from retry_engine.decisioning.success_model import LearntModel
    from retry_engine.learning.backfill import Progress
    from retry_engine.learning.model_registry import ModelRegistry
    from retry_engine.learning.serving import ActiveModel, Known
    from retry_engine.learning.sigma import SigmaResults

log = structlog.get_logger()

_MAX_FAILURES = holdings.FAILURES_BEFORE_SHOWN
# How often what Stripe keeps refusing is tried again where it must come to pass.
_SLOWLY = timedelta(days=1)


def real_clock() -> datetime:
    """Real time, UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the one place that reads the clock


def celery_application(settings: Settings, *, in_web: bool = False) -> "Celery":
    """The Celery application of these settings."""
    from retry_engine.adapters import broker  # noqa: PLC0415  # 0.3 s that a CLI command may save

    return broker.application(
        settings.redis_url, concurrency=settings.worker_concurrency, in_web=in_web
    )


def build(
    settings: Settings,
    *,
    clock: Callable[[], datetime] = real_clock,
    learnt: bool = True,
    known: "Known | None" = None,
) -> "Engine":
    """An engine that opens its connections when they are first needed.

    Without `learnt` it decides by the documented prior: the web process must stay light. `known` is
    the active model where this process has it already.
    """
    return Engine(settings, clock, learnt=learnt, known=known)


def before_fork(settings: Settings) -> "Known | None":
    """Load what all processes of a worker need, so that they share it; answers the active model.

    None where no model is active, or there is no database to ask.
    """
    from retry_engine.adapters.stripe import gateway  # noqa: F401, PLC0415  # 0.2 s
    from retry_engine.decisioning import planner  # noqa: F401, PLC0415  # numpy

    with build(settings) as engine:
        try:
            return engine.active_model()
        except RetryEngineError as error:
            log.warning("model_not_read", error=str(error))
            return None


def _is_quiet_there(
    timezone: str | None, country: str | None, at: datetime, manners: Messages
) -> bool:
    from retry_engine.decisioning import dunning  # noqa: PLC0415  # numpy: only where it is needed

    return dunning.is_quiet_there(timezone, country, at, manners)


class Engine:
    """The whole, as the CLI, the web process and the workers see it."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        learnt: bool = True,
        known: "Known | None" = None,
    ) -> None:
        self.settings = settings
        self._learnt = learnt
        self._known = known
        self.clock = clock
        self.policy: Policy = settings.policy
        self.database = Database(settings.database_url)
        self._policies = lru_cache(maxsize=64)(self._read_policy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all connections."""
        self.database.close()
        if "broker" in self.__dict__:
            self.broker.close()

    # -- parts

    @cached_property
    def broker(self) -> "Broker":
        """How ids reach the workers."""
        from retry_engine.adapters.broker import Broker  # noqa: PLC0415  # 0.3 s

        return Broker(celery_application(self.settings, in_web=True))

    @cached_property
    def gateway(self) -> "StripeGateway":
        """Stripe.

        Raises:
            SettingsError: no key is set.
        """
        return self._stripe(self._pace)

    @cached_property
    def _pace(self) -> Pace:
        return Pace(
            reserve=self._reserve_calls,
            per_second=self.settings.stripe_requests_per_second,
            clock=time.monotonic,
            sleep=time.sleep,
        )

    def _stripe(self, pace: Callable[[str], None]) -> "StripeGateway":
        from retry_engine.adapters.stripe.gateway import StripeGateway  # noqa: PLC0415  # 0.2 s

        if self.settings.stripe_api_key is None:
            raise SettingsError("STRIPE_API_KEY is not set; expected a secret or restricted key")
        return StripeGateway(
            key=self.settings.stripe_api_key.get_secret_value(),
            base=self.settings.stripe_api_base,
            pace=pace,
            sleep=time.sleep,
        )

    @cached_property
    def planner(self) -> Planner:
        """Decides and writes the decision into the schedule."""
        return Planner(decide=self._decide, policy_of=self._policy_of)

    @cached_property
    def learning(self) -> "ModelRegistry":
        """Logs and models."""
        from retry_engine.learning.model_registry import ModelRegistry  # noqa: PLC0415  # 1.5 s of libraries

        return ModelRegistry(self.database, self.clock, self.policy)

    def backfill(
        self, since: datetime, *, account: str = "", on_progress: "Callable[[Progress], None]"
    ) -> dict[str, Any]:
        """Stripe's past, from `since` on, into the attempt log.

        All its calls wait in one queue of their own, so that charges do not wait behind them.
        """
        from retry_engine.learning.backfill import Backfill  # noqa: PLC0415  # one command's

        stripe = self._stripe(lambda _: self._pace("history.backfill"))
        work = Backfill(database=self.database, stripe=stripe, clock=self.clock)
        return work.run(since, account=account, on_progress=on_progress)

    @cached_property
    def _sigma(self) -> "SigmaResults":
        from retry_engine.learning.sigma import SigmaResults  # noqa: PLC0415  # 1 s of pandas

        return SigmaResults(database=self.database, stripe=self.gateway, clock=self.clock)

    def _decide(self, view: CaseView, policy: Policy) -> Decision:
        from retry_engine.decisioning import planner  # noqa: PLC0415  # numpy: only where it is needed

        if not self._speaks:  # nobody is promised a letter that cannot be sent
            policy = replace(policy, messages=replace(policy.messages, enabled=False))
        # nor an offer that cannot be taken, or that nobody tells of
        if self.settings.public_url is None or policy.messages.stripe_mails:
            policy = replace(policy, offers=replace(policy.offers, enabled=False))
        return planner.decide(view, policy=policy, model=self._model())

    def _model(self) -> "LearntModel | None":
        # without a promoted model nothing of its libraries is loaded
        return self._serving() if self._learnt and self._has_model() else None

    @cached_property
    def _serving(self) -> "ActiveModel":
        from retry_engine.learning.serving import ActiveModel, Known  # noqa: PLC0415  # 1 s

        return ActiveModel(self.database, self.clock, self._known or Known())

    def active_model(self) -> "Known | None":
        """The active model with its version, None where there is none."""
        self._model()
        return self._serving.known if "_serving" in self.__dict__ else None

    def _has_model(self) -> bool:
        if "_serving" in self.__dict__:
            return True
        with self.database.transaction() as connection:
            return learning_rows.active_version(connection) is not None

    @property
    def _gate(self) -> Gate:
        return Gate(self.settings.mode)

    @cached_property
    def _intake(self) -> Intake:
        return Intake(
            database=self.database,
            gateway=self.gateway,
            pre_dunning=self._pre_dunning,
            engine_mode=self.settings.mode,
            policy=self.policy,
            policy_content=asdict(self.policy),
            clock=self.clock,
        )

    @cached_property
    def charging(self) -> ChargingPorts:
        """What charging is given."""
        return ChargingPorts(
            database=self.database,
            gateway=self.gateway,
            planner=self.planner,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def messenger(self) -> Messenger:
        """Words to customers."""
        from retry_engine.decisioning import dunning  # noqa: PLC0415  # numpy

        return Messenger(
            database=self.database,
            gateway=self.gateway,
            post=self._post(),
            planner=self.planner,
            is_quiet=dunning.is_quiet,
            public_url=self.settings.public_url,
            keys=self._link_keys,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def _link_keys(self) -> LinkKeys:
        secrets = self.settings.link_secrets
        return LinkKeys(tuple(secret.get_secret_value().encode() for secret in secrets))

    def _post(self) -> Post:
        settings = self.settings
        if self.policy.messages.stripe_mails:
            from retry_engine.adapters.stripe_email import StripeEmailChannel  # noqa: PLC0415

            return StripeEmailChannel(self.gateway)
        if settings.messages_url is not None and settings.messages_secret is not None:
            from retry_engine.adapters.webhook_channel import WebhookChannel  # noqa: PLC0415  # jinja2

            return WebhookChannel(
                url=settings.messages_url,
                secret=settings.messages_secret.get_secret_value(),
                manners=self.policy.messages,
                clock=self.clock,
                sleep=time.sleep,
            )
        return self._smtp_post()

    def _smtp_post(self) -> "EmailChannel":
        from retry_engine.adapters.email import EmailChannel  # noqa: PLC0415  # jinja2

        settings = self.settings
        if settings.smtp_url is None:
            raise SettingsError("SMTP_URL is not set; expected smtp://host:port")
        return EmailChannel(
            url=settings.smtp_url.get_secret_value(),
            sender=settings.mail_from,
            manners=self.policy.messages,
            clock=self.clock,
            plaintext_to_loopback=settings.smtp_plaintext == "loopback",
        )

    @cached_property
    def _pre_dunning(self) -> PreDunning:
        writes = self._speaks and not self.policy.messages.stripe_mails
        return PreDunning(
            database=self.database,
            gateway=self.gateway,
            risks=RenewalRisks(
                database=self.database,
                gateway=self.gateway,
                risk=self._risk,
                distrust=timedelta(days=self.policy.review.dispute_days),
            ),
            post=self._post() if writes else None,
            policy=self.policy,
            gate=self._gate,
            is_quiet=_is_quiet_there,
            public_url=self.settings.public_url,
            keys=self._link_keys,
            clock=self.clock,
        )

    def _risk(self, view: CaseView, method: PaymentMethod, at: datetime) -> RenewalRisk | None:
        from retry_engine.decisioning import renewal_risk  # noqa: PLC0415  # numpy

        return renewal_risk.of_charge(view, method, at, policy=self.policy, model=self._model())

    @cached_property
    def discounts(self) -> DiscountOffers:
        """What customers are given."""
        return DiscountOffers(
            database=self.database,
            gateway=self.gateway,
            terms_of=lambda version: self._policy_of(version).offers,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def plan_changes(self) -> PlanChanges:
        """What customers change by themselves."""
        return PlanChanges(
            database=self.database,
            gateway=self.gateway,
            terms_of=lambda version: self._policy_of(version).offers,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def _payment_page(self) -> PaymentPage:
        return PaymentPage(
            database=self.database,
            gateway=self.gateway,
            discounts=self.discounts,
            plan_changes=self.plan_changes,
            manners=self.policy.messages,
            keys=self._link_keys,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def customers(self) -> "CustomerDesk":
        """What customers see and do."""
        from retry_engine.customer_desk import CustomerDesk  # noqa: PLC0415  # jinja2

        return CustomerDesk(
            database=self.database,
            payment_page=self._payment_page,
            pre_dunning=self._pre_dunning,
            settings=self.settings,
            policy=self.policy,
            keys=self._link_keys,
            clock=self.clock,
            nudge=self._nudge,
        )

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(
            database=self.database,
            publish_actions=self.broker.publish_actions,
            publish_events=self.broker.publish_events,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def _overseer(self) -> Overseer:
        return Overseer(
            database=self.database,
            planner=self.planner,
            gate=self._gate,
            clock=self.clock,
            current_policy_version=self.policy.version,
            keep_current_policy=self._keep_policy,
            find_out=self._find_out,
            sleep=time.sleep,
        )

    def _find_out(self, case_id: str) -> None:
        with suppress(RetryEngineError):  # no key, no answer, somebody at work: it is asked again
            unknown_outcomes.look_up(self.charging, case_id)

    def _keep_policy(self, connection: Connection) -> None:
        engine_state.keep_policy(connection, self.policy.version, asdict(self.policy))

    def _policy_of(self, version: str) -> Policy:
        return self.policy if version == self.policy.version else self._policies(version)

    def _read_policy(self, version: str) -> Policy:
        with self.database.transaction() as connection:
            content = engine_state.policy_content(connection, version)
        if content is None:
            raise RetryEngineError(f"policy version {version!r} is not in the database")
        return from_content(content)

    def _reserve_calls(self, endpoint: str, count: int) -> float:
        with self.database.connection() as connection, alone(connection):
            return engine_state.reserve_calls(
                connection, endpoint, count, per_second=self.settings.stripe_requests_per_second
            )

    # -- the workers' side

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
        if claimed.livemode is not None and claimed.livemode != self.settings.is_live:
            self._put_aside(claimed)
            return True
        absent: StripeError | None = None
        answers = self._answers()
        transient = hopeless = False
        try:
            with self.database.connection() as connection, alone(connection):
                event = inbox.read(connection, claimed)
            if event.type == SIGMA_RUN:
                self._sigma.handle(event)
            else:
                self._intake.handle(event)
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

    def _put_aside(self, event: inbox.Claim) -> None:
        """An event of the other mode: our key cannot read what it is about."""
        theirs, ours = (
            "live" if mode else "test" for mode in (event.livemode, self.settings.is_live)
        )
        why = f"livemode: an event of {theirs} mode, and STRIPE_API_KEY is a {ours} key"
        with self.database.transaction() as connection:
            inbox.put_aside(connection, event.id, why=why, now=self.clock())
        log.warning("event_put_aside", type=event.type, account=event.account, why=why)

    def _answers(self) -> int:
        """How often Stripe has answered this process."""
        return self.gateway.answers if "gateway" in self.__dict__ else 0

    def _note_answer(
        self, account: str, absent: StripeError | None, before: int, *, troubled: bool
    ) -> None:
        """Whether the account answered while something was done for it.

        One thing that the key may not do is no silence: it counts where nothing was answered.
        """
        answered = self._answers() > before
        if absent is not None and (isinstance(absent, AccountWithdrew) or not answered):
            self._absent.failed(account, absent)
        elif troubled and answered:
            self._absent.answered(account)

    @cached_property
    def _absent(self) -> AbsentAccounts:
        return AbsentAccounts(database=self.database, clock=self.clock)

    def run_action(self, action_id: int) -> None:
        """Carry out one claimed action, unless somebody else has or does."""
        with self.database.connection() as connection, alone(connection):
            action = schedule.get(connection, action_id)
        if action is None or action.state != ActionState.CLAIMED or self._waits_its_turn(action):
            return
        answers = self._answers()
        with structlog.contextvars.bound_contextvars(case=action.case_id, action=action.id):
            absent: StripeError | None = None
            try:
                with self.database.case_lock(action.case_id, wait_seconds=2.0) as connection:
                    if self._still_claimed(connection, action_id):
                        actions.carry_out(self, connection, action)
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
        with suppress(RetryEngineError):
            self.override(
                action.case_id, action="hold", reason=f"the engine failed: {text}", by="engine"
            )

    def dispatch(self) -> int:
        """Hand what is due to the workers."""
        return self._dispatcher.dispatch()

    def forewarn(self) -> int:
        """Write to whom a renewal will fail; how many were looked at."""
        if not self._speaks:
            return 0
        with self.database.transaction() as connection:
            if not renewals.due(connection, now=self.clock()):
                return 0
        return self._pre_dunning.send_due()

    def sweep(self) -> None:
        """Find again what the broker lost."""
        self._dispatcher.sweep()
        self._dispatcher.dispatch()

    def housekeeping(self) -> None:
        """Read the clocks that nobody told us of, and let old handled events go."""
        real_now = self.clock()
        with self.database.transaction() as connection:
            clocks = rows.watched_clocks(connection, read_before=real_now - timedelta(minutes=1))
            keep, keep_dead = self.settings.keep_events, self.settings.keep_dead_events
            inbox.forget(connection, before=real_now - keep)
            inbox.strip_dead(connection, before=real_now - keep_dead, now=real_now)
        for account, clock_id in clocks:
            with suppress(StripeRejected, StripeUnavailable, StripeForbidden):
                self._intake.read_clock(account, clock_id)
        self.dispatch()

    # -- people's side

    def status(self) -> dict[str, Any]:
        """How much work there is, by each case's own clock."""
        with self.database.transaction() as connection:
            counted = schedule.counts(connection, now=self.clock(), shut=self._gate.is_shut)
            events = inbox.counts(connection)
            states = rows.counts(connection)
            modes = rows.living_modes(connection)
            paused = engine_state.read(connection).paused
            warnings = (
                0 if paused or self._gate.is_shut else renewals.due(connection, now=self.clock())
            )
            model = learning_rows.active_version(connection)
            given_up = holdings.outcomes_given_up(connection, now=self.clock())
        return {
            "inbox_pending": events["pending"],
            "actions_due": counted.due + warnings,
            "actions_in_flight": counted.in_flight,
            "actions_planned": counted.planned,
            "cases_open": sum(states.values()),
            "cases_in_review": states.get("in_review", 0),
            "paused": paused,
            "mode": self.settings.mode,
            "cases_that_wait_for_takeover": modes.get(Mode.TAKEOVER, 0)
            if self._gate.is_shut
            else 0,
            "model": model or PRIOR_VERSION,
            "events_dead": events["dead"],
            "events_aside": events["aside"],
            "outcomes_given_up": given_up,
            "next_due_at": documents.text(counted.next_due_at),
        }

    def list_cases(
        self,
        *,
        state: str | None = None,
        customer: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """One page of cases, newest first."""
        with self.database.transaction() as connection:
            return documents.list_cases(
                connection,
                state=state,
                customer=customer,
                limit=limit,
                cursor=cursor,
                real_now=self.clock(),
            )

    def show_case(self, ref: str) -> dict[str, Any]:
        """One case with all that happened to it."""
        with self.database.transaction() as connection:
            return documents.whole_case(connection, rows.find(connection, ref), self.clock())

    def explain_case(self, ref: str) -> dict[str, Any]:
        """Why the last decision was made, and the chances as they look now."""
        from retry_engine.decisioning import planner  # noqa: PLC0415  # numpy: only where it is needed

        real_now = self.clock()
        with self.database.transaction() as connection:
            case = rows.find(connection, ref)
            now = rows.time_of(connection, case, real_now)
            view = view_of(CaseContext(connection=connection, now=now, real_now=real_now), case)
            decisions = documents.decisions_of(connection, case)
        model = self._model()
        found = planner.curves(view, policy=self._policy_of(case.policy_version), model=model)
        return {
            "case": case.id,
            "state": case.state,
            "decision": decisions[-1] if decisions else None,
            "model_version": model.version if model else PRIOR_VERSION,
            "curves": [
                {
                    "payment_method": curve.method.id,
                    "at": [documents.text(datetime.fromtimestamp(t, UTC)) for t in curve.at],
                    "success_probability": [round(float(p), 4) for p in curve.chance],
                    "permitted": [bool(p) for p in curve.permitted],
                }
                for curve in found
            ],
        }

    def override(
        self,
        ref: str,
        *,
        action: str,
        reason: str,
        by: str,
        at: datetime | None = None,
        payment_method: str | None = None,
        tell: Tell | None = None,
    ) -> dict[str, Any]:
        """A person's act on a case; a brake tells what charge of it is waited for."""
        wanted = Override(action=action, reason=reason, by=by, at=at, payment_method=payment_method)
        document = self._overseer.override(ref, wanted, tell=tell)
        self._nudge()
        return document

    def list_reviews(
        self, *, state: str | None = "open", limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        """One page of the review queue, oldest first."""
        with self.database.transaction() as connection:
            return documents.list_reviews(
                connection, state=state, limit=limit, cursor=cursor, real_now=self.clock()
            )

    def decide_review(
        self, review_id: str, *, verdict: str, reason: str, by: str
    ) -> dict[str, Any]:
        """A person's verdict."""
        document = self._overseer.decide_review(review_id, verdict=verdict, reason=reason, by=by)
        self._nudge()
        return document

    def set_engine(
        self, *, action: str, reason: str, by: str, tell: Tell | None = None
    ) -> dict[str, Any]:
        """The stop for everything, or its end; a stop tells what is still waited for."""
        document = self._overseer.set_engine(action=action, reason=reason, by=by, tell=tell)
        if not document["paused"]:
            self._nudge()
        return document

    def engine_log(self, *, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """The switch as it stands, and a page of who turned it before, newest first."""
        with self.database.transaction() as connection:
            return documents.engine_log(connection, limit=limit, cursor=cursor)

    def suppress(
        self, address: str, *, reason: str, by: str, account: str = "", note: str | None = None
    ) -> dict[str, Any]:
        """Never write to that address again; saying it twice changes nothing.

        Raises:
            BadRequest: that is no address, no reason, or no account.
        """
        with self.database.transaction() as connection:
            suppression.suppress(
                connection,
                address,
                reason=reason,
                account=account,
                by=by,
                note=note,
                now=self.clock(),
            )
        return {"suppressed": True}

    def unsuppress(
        self,
        address: str,
        *,
        reason: str,
        by: str,
        account: str = "",
        against_their_wish: bool = False,
    ) -> dict[str, Any]:
        """That address may be written to again.

        Raises:
            BadRequest: that is no address or no account.
            NotFound: it may be already.
            Refused: the customer asked for it, and `against_their_wish` was not said.
        """
        with self.database.transaction() as connection:
            suppression.lift(
                connection,
                address,
                account=account,
                by=by,
                note=reason,
                against_their_wish=against_their_wish,
                now=self.clock(),
            )
        return {"suppressed": False}

    def suppression_history(self, address: str, *, account: str = "") -> list[dict[str, Any]]:
        """All that was said about writing to that address, oldest first."""
        with self.database.transaction() as connection:
            found = suppression.acts_of(connection, address, account=account)
        return [{**act, "at": documents.text(act["at"])} for act in found]

    def heed_report(self, report: suppression.Report, *, account: str | None) -> dict[str, Any]:
        """Never write again to whom the letter went to that a bounce or a complaint is about.

        Raises:
            InvalidInput: it names no letter that this engine has signed.
        """
        with self.database.transaction() as connection:
            return suppression.heed(
                connection, report, keys=self._link_keys, account=account, now=self.clock()
            )

    def suppressed(self) -> dict[str, int]:
        """How many addresses are not written to, by reason."""
        with self.database.transaction() as connection:
            found = messages.suppressed(connection)
        return {reason: found.get(reason, 0) for reason in suppression.REASONS}

    def dead_letters(self) -> list[dict[str, Any]]:
        """The events that were given up."""
        with self.database.transaction() as connection:
            found = inbox.dead(connection)
        return [{**row, "received_at": documents.text(row["received_at"])} for row in found]

    def replay_event(self, event_id: str) -> None:
        """Give a dead event another life."""
        with self.database.transaction() as connection:
            settling = bool(event_id) and cases.find_out_after_all(
                connection, event_id, real_now=self.clock()
            )
            ids = inbox.replay(connection, event_id, now=self.clock(), or_none=bool(settling))
        self.broker.publish_events(ids)
        self._nudge()

    def invariants(self) -> dict[str, int]:
        """Truths that must hold at any moment, with how often each is broken."""
        with self.database.transaction() as connection:
            return self._breaches(connection)

    def _breaches(self, connection: Connection) -> dict[str, int]:
        held = holdings.breaches(connection, now=self.clock())
        return {**invariants.breaches(connection), **held}

    def held(self) -> dict[str, holdings.Held]:
        """The invoices that Stripe does not retry because of us, by what is done about them."""
        with self.database.transaction() as connection:
            return self._held(connection)

    def _held(self, connection: Connection) -> dict[str, holdings.Held]:
        return holdings.found(connection, now=self.clock(), shut=self._gate.is_shut)

    def living(self) -> dict[str, Any]:
        """Figures of what is not over: as cheap as there is little of it."""
        with self.database.transaction() as connection:
            return {
                "cases": rows.counts(connection),
                "reviews_open": reviews.open_count(connection),
                "reviews_overdue": holdings.overdue_reviews(connection, now=self.clock()),
            }

    def totals(self) -> dict[str, Any]:
        """Figures of all that ever was; the cost grows with it."""
        with self.database.transaction() as connection:
            return {
                "attempts": attempts.counts(connection),
                "messages": messages.counts(connection),
                "offers": offers.counts(connection),
                "breaches": self._breaches(connection),
                "held": {kind: held.count for kind, held in self._held(connection).items()},
            }

    def doctor(self) -> list[Check]:
        """Is everything in its place?"""
        checks = [
            check_part("database", self._describe_database, mend="check DATABASE_URL; run migrate"),
            check_part("broker", self._describe_broker, mend="check REDIS_URL"),
            self._check_secrets(),
        ]
        if self.settings.smtp_url is not None:
            mend = "check SMTP_URL: its host, port, user, password, and that it is encrypted"
            checks.append(check_part("mail", lambda: self._smtp_post().check(), mend=mend))
        try:
            gateway = self.gateway
        except SettingsError as error:
            mend = "set STRIPE_API_KEY, or try `retry-engine sandbox`"
            missing = Check(name="stripe key", status="fail", detail=str(error), mend=mend)
            return [*checks, missing]
        from retry_engine.adapters.stripe.gateway import API_VERSION  # noqa: PLC0415  # 0.2 s

        checks += check_stripe(
            gateway,
            mode=self.settings.mode,
            writes=self._writes(),
            api_version=API_VERSION,
            heard=EVENT_TYPES,
            now=self.clock(),
        )
        checks += [self._check_modes(), self._check_events(), self._check_accounts()]
        checks += self._check_held()
        mend = "train anew: `retry-engine model train`; until then the prior decides"
        checks.append(check_part("model", self._describe_model, mend=mend))
        return checks

    def _writes(self) -> list[str]:
        """What the engine may have to write at Stripe."""
        if self.settings.mode != Mode.TAKEOVER:
            return []
        terms = self.policy.offers
        coupons = terms.enabled and terms.way == Way.COUPON
        changes = terms.free_days > 0 or terms.pause_months > 0
        # a card that a customer adds takes the failed one's place there
        replaces = self.policy.messages.enabled and self._speaks
        needed = {
            "invoices:write": True,
            "subscriptions:write": (
                self.policy.end.subscription != "leave" or coupons or changes or replaces
            ),
            "credit_notes:write": terms.enabled and not coupons,
            "coupons:write": coupons,
        }
        return [permission for permission, is_needed in needed.items() if is_needed]

    @property
    def _speaks(self) -> bool:
        """Whether there is a channel to customers."""
        settings = self.settings
        return (
            settings.smtp_url is not None
            or settings.messages_url is not None
            or self.policy.messages.stripe_mails
        )

    def _describe_model(self) -> str:
        if not self._has_model():
            return f"{PRIOR_VERSION}: the documented prior; it needs no data"
        with self.database.transaction() as connection:
            version = learning_rows.active_version(connection)
        if version is None:
            return f"{PRIOR_VERSION}: the documented prior; it needs no data"
        self.learning.check(version)
        return f"{version}: learnt from the attempt log"

    def _describe_database(self) -> str:
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415  # 0.3 s

        with self.database.connection() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            version = connection.exec_driver_sql("show server_version").scalar_one()
        if found != SCHEMA_REVISION:
            raise RetryEngineError(
                f"its schema is {found or 'empty'}, this engine needs {SCHEMA_REVISION}: "
                "run `retry-engine migrate`"
            )
        broken = {name: count for name, count in self.invariants().items() if count}
        if broken:
            raise RetryEngineError(f"truths that do not hold: {broken}")
        return f"PostgreSQL {version}, schema {found}"

    def _describe_broker(self) -> str:
        if not self.broker.is_reachable():
            raise BrokerUnavailable(
                "the broker does not answer; stored work waits, nothing is lost"
            )
        return "answers"

    def _check_secrets(self) -> Check:
        count = len(self.settings.stripe_webhook_secrets)
        if count == 0:
            return Check(
                name="webhook secret",
                status="fail",
                detail="STRIPE_WEBHOOK_SECRET is not set: every webhook is refused",
                mend="copy the endpoint's signing secret (whsec_…) from the Dashboard",
            )
        return Check(
            name="webhook secret",
            status="ok",
            detail=f"{count} configured, mode {self.settings.mode}",
        )

    def _check_modes(self) -> Check:
        with self.database.transaction() as connection:
            found = rows.living_modes(connection)
        mode, held, watched = (
            self.settings.mode,
            found.get(Mode.TAKEOVER, 0),
            found.get(Mode.SHADOW, 0),
        )
        if self._gate.is_shut and held:
            return Check(
                name="modes",
                status="warn",
                detail=f"{held} living cases were taken over, and this engine is in {mode}: it "
                "writes nothing, and Stripe does not retry them either",
                mend="RETRY_ENGINE_MODE=takeover goes on with them; to end one, run "
                "`retry-engine cases release` with that setting",
            )
        if not self._gate.is_shut and watched:
            return Check(
                name="modes",
                status="warn",
                detail=f"{watched} living cases were opened in shadow: they stay Stripe's",
                mend="nothing: the failures that come from now on are taken over",
            )
        return Check(name="modes", status="ok", detail=f"engine and living cases: {mode}")

    def _check_events(self) -> Check:
        with self.database.transaction() as connection:
            found = inbox.counts(connection)
        if found["aside"]:
            mode = "live" if self.settings.is_live else "test"
            return Check(
                name="events",
                status="warn",
                detail=f"{found['aside']} of the other mode put aside; the key is a {mode} key",
                mend=f"let the endpoint send events of {mode} mode only",
            )
        if found["dead"]:
            return Check(
                name="events",
                status="warn",
                detail=f"{found['dead']} could not be handled",
                mend="`retry-engine events dead` says why, `events replay` tries again",
            )
        return Check(name="events", status="ok", detail=f"{found['pending']} waiting")

    def _check_accounts(self) -> Check:
        with self.database.transaction() as connection:
            shut = breakers.open_ones(connection)
        if not shut:
            return Check(name="accounts", status="ok", detail="all answer")
        first = shut[0]
        who = first["account"] or "our own account"
        return Check(
            name="accounts",
            status="warn",
            detail=f"{len(shut)} do not answer; {who} since {first['since']:%Y-%m-%d %H:%M} UTC: "
            f"{first['error']}",
            mend="mend the key's permissions; where an account withdrew for good, nothing: its "
            "cases have ended, and `events replay acct_…` brings its events back",
        )

    def _check_held(self) -> list[Check]:
        with self.database.transaction() as connection:
            paused, found = engine_state.read(connection).paused, self._held(connection)
        return check_held(found, paused=paused)

    def _nudge(self) -> None:
        """What a person asked for is done at once, not at the next tick."""
        with suppress(RetryEngineError):
            self.dispatch()

    # -- the database itself

    def migrate(self, target: str = "head") -> None:
        """Bring the database to a revision: `head`, `base` or a name."""
        from alembic import command  # noqa: PLC0415  # 0.3 s that only migrations need
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(bundled("migrations")))
        with self._migration_connection() as connection:
            config.attributes["connection"] = connection
            if target == "base" or target.startswith("-"):
                command.downgrade(config, target)
            else:
                command.upgrade(config, target)

    @contextmanager
    def _migration_connection(self) -> Any:
        """One migrator at a time: several processes may start at once."""
        with self.database.connection() as connection:
            connection.exec_driver_sql("select pg_advisory_lock(72657472, 1)")
            connection.commit()
            try:
                yield connection
                connection.commit()
            finally:
                connection.rollback()
                connection.exec_driver_sql("select pg_advisory_unlock(72657472, 1)")
                connection.commit()


PRIOR_VERSION = "prior-1"
SCHEMA_REVISION = "0018"
