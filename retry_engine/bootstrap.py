"""Puts the engine together, once, from its settings: ports by argument, parts when first needed.

Here, and in `settings`, is the outside world; nothing is decided here.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Self

import structlog

from retry_engine.adapters.late_broker import LateBroker
from retry_engine.adapters.rate_limiter import Pace
from retry_engine.app.decisions import Decisions, Model, prior_only
from retry_engine.app.doctor import Doctor
from retry_engine.app.health import Health
from retry_engine.app.operations import Operations
from retry_engine.app.overrides import Overrides
from retry_engine.app.report import Reports
from retry_engine.app.standings import Standings
from retry_engine.app.suppressions import Suppressions
from retry_engine.domain.errors import RetryEngineError, SettingsError
from retry_engine.learning.promoted import PromotedModel
from retry_engine.recovery.charging.ports import ChargingPorts
from retry_engine.recovery.dispatch import Dispatcher
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.incentives.discounts import DiscountOffers
from retry_engine.recovery.incentives.plan_changes import PlanChanges
from retry_engine.recovery.messaging.channel import MessageChannel
from retry_engine.recovery.messaging.links import LinkKeys
from retry_engine.recovery.messaging.pre_dunning import PreDunning
from retry_engine.recovery.messaging.renewal_risk import RenewalRisks
from retry_engine.recovery.messaging.send import Messenger
from retry_engine.recovery.payment_page import PaymentPage
from retry_engine.recovery.planning import Planner
from retry_engine.recovery.policies import Policies
from retry_engine.settings import Settings, bundled
from retry_engine.store import engine_state, schema
from retry_engine.store.database import Database, alone

if TYPE_CHECKING:  # heavy, and needed by some processes only
    from celery import Celery

    from retry_engine.adapters.broker import Broker
    from retry_engine.adapters.email import EmailChannel
    from retry_engine.adapters.host_application import HostApplication
    from retry_engine.adapters.stripe.gateway import StripeGateway
    from retry_engine.app.customers import CustomerService
    from retry_engine.app.outbound import Outbound
    from retry_engine.app.worker import Worker
    from retry_engine.learning.backfill import Backfill
    from retry_engine.learning.model_registry import ModelRegistry
    from retry_engine.learning.serving import Known
    from retry_engine.learning.sigma import SigmaResults
    from retry_engine.recovery.intake import Intake

log = structlog.get_logger()


def real_clock() -> datetime:
    """Real time, UTC."""
    return datetime.now(UTC)  # noqa: TID251  # the one place that reads the clock


def build(
    settings: Settings,
    *,
    gateway: "StripeGateway | None" = None,
    channel: MessageChannel | None = None,
    broker: "Broker | LateBroker | None" = None,
    model: Model | None = None,
    known: "Known | None" = None,
    clock: Callable[[], datetime] = real_clock,
    sleep: Callable[[float], None] = time.sleep,
) -> "Engine":
    """An engine that opens its connections when they are first needed.

    What is given takes the place of what the settings say: `gateway` of Stripe, `channel` of the
    way to customers, `broker` of Redis, `model` of the promoted one. `known` is the promoted model
    where this process has it already.
    """
    return Engine(
        settings,
        gateway=gateway,
        channel=channel,
        broker=broker,
        model=model,
        known=known,
        clock=clock,
        sleep=sleep,
    )


def build_light(settings: Settings) -> "Engine":
    """An engine for the web process: it decides by the documented prior, and so stays small."""
    return build(settings, model=prior_only)


def celery_application(settings: Settings) -> "Celery":
    """The Celery application of a worker's or beat's own process."""
    from retry_engine.adapters import broker  # noqa: PLC0415  # 0.3 s that a CLI command may save

    return broker.application(settings.redis_url, concurrency=settings.worker_concurrency)


def before_fork(settings: Settings) -> "Known | None":
    """Load what all processes of a worker need, so that they share it; answers the active model.

    None where no model is active, or there is no database to ask.
    """
    from retry_engine.adapters.stripe import gateway  # noqa: F401, PLC0415  # 0.2 s
    from retry_engine.decisioning import planner  # noqa: F401, PLC0415  # numpy

    with build(settings) as engine:
        promoted = PromotedModel(engine.database, engine.clock)
        try:
            promoted()
        except RetryEngineError as error:
            log.warning("model_not_read", error=str(error))
            return None
        return promoted.known


def stripe_gateway(
    settings: Settings,
    *,
    pace: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> "StripeGateway":
    """The Stripe of these settings.

    Raises:
        SettingsError: no key is set.
    """
    from retry_engine.adapters.stripe.gateway import StripeGateway  # noqa: PLC0415  # 0.2 s

    if settings.stripe_api_key is None:
        raise SettingsError("STRIPE_API_KEY is not set; expected a secret or restricted key")
    return StripeGateway(
        key=settings.stripe_api_key.get_secret_value(),
        base=settings.stripe_api_base,
        pace=pace,
        sleep=sleep,
    )


def message_channel(
    settings: Settings,
    *,
    gateway: "Callable[[], StripeGateway]",
    clock: Callable[[], datetime] = real_clock,
    sleep: Callable[[float], None] = time.sleep,
) -> MessageChannel:
    """The way to customers that these settings name.

    Raises:
        SettingsError: there is none.
    """
    messages = settings.policy.messages
    if messages.stripe_mails:
        from retry_engine.adapters.stripe_email import StripeEmailChannel  # noqa: PLC0415

        return StripeEmailChannel(gateway())
    if settings.messages_url is not None and settings.messages_secret is not None:
        from retry_engine.adapters.webhook_channel import WebhookChannel  # noqa: PLC0415  # jinja2

        return WebhookChannel(
            url=settings.messages_url,
            secret=settings.messages_secret.get_secret_value(),
            message_policy=messages,
            clock=clock,
            sleep=sleep,
        )
    return email_channel(settings, clock=clock)


def email_channel(settings: Settings, *, clock: Callable[[], datetime]) -> "EmailChannel":
    """The mail server of these settings.

    Raises:
        SettingsError: none is set.
    """
    from retry_engine.adapters.email import EmailChannel  # noqa: PLC0415  # jinja2

    if settings.smtp_url is None:
        raise SettingsError("SMTP_URL is not set; expected smtp://host:port")
    return EmailChannel(
        url=settings.smtp_url.get_secret_value(),
        sender=settings.mail_from,
        message_policy=settings.policy.messages,
        clock=clock,
        plaintext_to_loopback=settings.smtp_plaintext == "loopback",
    )


class Engine:
    """The use cases, each made of its parts when it is first asked for."""

    def __init__(
        self,
        settings: Settings,
        *,
        gateway: "StripeGateway | None",
        channel: MessageChannel | None,
        broker: "Broker | LateBroker | None",
        model: Model | None,
        known: "Known | None",
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.database = Database(settings.database_url)
        self.broker = broker or LateBroker(
            settings.redis_url, concurrency=settings.worker_concurrency
        )
        self._given_gateway = gateway
        self._given_channel = channel
        self._sleep = sleep
        self._policy = settings.policy
        self._policies = Policies(self.database, settings.policy)
        self._gate = Gate(settings.mode)
        self._model = model or PromotedModel(self.database, clock, known)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all connections."""
        self.database.close()
        self.broker.close()

    def migrate(self, target: str = "head") -> None:
        """Bring the database to a revision: `head`, `base` or a name."""
        schema.migrate(self.database, bundled("migrations"), target)

    # -- use cases

    @cached_property
    def worker(self) -> "Worker":
        """What a worker does.

        Raises:
            SettingsError: no key is set.
        """
        from retry_engine.app.worker import Retention, Worker  # noqa: PLC0415  # one process's
        from retry_engine.recovery.absences import AbsentAccounts  # noqa: PLC0415

        settings = self.settings
        return Worker(
            database=self.database,
            stripe=self.gateway,
            intake=self._intake,
            sigma=lambda: self._sigma,
            rooms=self,
            pre_dunning=self._pre_dunning,
            dispatcher=self._dispatcher,
            absent=AbsentAccounts(database=self.database, clock=self.clock),
            overrides=self._overrides,
            outbound=self._outbound,
            is_live=settings.is_live,
            speaks=self._speaks,
            retention=Retention(events=settings.keep_events, dead_events=settings.keep_dead_events),
            clock=self.clock,
        )

    @cached_property
    def operations(self) -> Operations:
        """What people see of the cases and decide about them."""
        return Operations(
            database=self.database,
            overrides=self._overrides,
            decisions=self._decisions,
            policies=self._policies,
            dispatcher=self._dispatcher,
            clock=self.clock,
        )

    @cached_property
    def reports(self) -> Reports:
        """What was recovered, and whether it can be told what that is due to."""
        return Reports(database=self.database, policy=self._policy.report, clock=self.clock)

    @cached_property
    def suppressions(self) -> Suppressions:
        """To whom nobody writes any more."""
        return Suppressions(database=self.database, keys=self._link_keys, clock=self.clock)

    @cached_property
    def standings(self) -> Standings:
        """Who is in recovery, for the business's own application."""
        leads_to_pages = self._policy.messages.way_back == "page"
        return Standings(
            database=self.database,
            keys=self._link_keys,
            gate=self._gate,
            pages=self.settings.public_url if leads_to_pages else None,
            clock=self.clock,
        )

    @cached_property
    def customers(self) -> "CustomerService":
        """What customers see and do."""
        from retry_engine.app.customers import CustomerService  # noqa: PLC0415  # jinja2

        return CustomerService(
            database=self.database,
            payment_page=self._payment_page,
            pre_dunning=self._pre_dunning,
            settings=self.settings,
            policy=self._policy,
            keys=self._link_keys,
            clock=self.clock,
            dispatcher=self._dispatcher,
        )

    @cached_property
    def health(self) -> Health:
        """Figures of the engine as it stands."""
        return Health(database=self.database, broker=self.broker, gate=self._gate, clock=self.clock)

    @cached_property
    def doctor(self) -> Doctor:
        """Is everything in its place?"""
        return Doctor(
            database=self.database,
            health=self.health,
            policy=self._policy,
            gate=self._gate,
            stripe=self._unpaced_gateway,
            mail=self._email if self.settings.smtp_url is not None else None,
            models=lambda: self.learning,
            webhook_secrets=len(self.settings.stripe_webhook_secrets),
            misspelt=self.settings.misspelt,
            events_host=self.settings.events_host,
            is_live=self.settings.is_live,
            speaks=self._speaks,
            clock=self.clock,
        )

    @cached_property
    def learning(self) -> "ModelRegistry":
        """Logs and models."""
        from retry_engine.learning.model_registry import ModelRegistry  # noqa: PLC0415  # 1.5 s of libraries

        return ModelRegistry(self.database, self.clock, self._policy)

    @cached_property
    def backfill(self) -> "Backfill":
        """Stripe's past into the attempt log.

        All its calls wait in one queue of their own, so that charges do not wait behind them.
        """
        from retry_engine.learning.backfill import Backfill  # noqa: PLC0415  # one command's

        stripe = self._given_gateway or stripe_gateway(
            self.settings, pace=lambda _: self._pace("history.backfill"), sleep=self._sleep
        )
        return Backfill(database=self.database, stripe=stripe, clock=self.clock)

    # -- ports

    @cached_property
    def gateway(self) -> "StripeGateway":
        """Stripe.

        Raises:
            SettingsError: no key is set.
        """
        return self._given_gateway or stripe_gateway(
            self.settings, pace=self._pace, sleep=self._sleep
        )

    def _unpaced_gateway(self) -> "StripeGateway":
        """For a handful of questions that are asked while the database, which paces, is down."""
        return self._given_gateway or stripe_gateway(
            self.settings, pace=lambda _: None, sleep=self._sleep
        )

    @cached_property
    def _pace(self) -> Pace:
        return Pace(
            reserve=self._reserve_calls,
            per_second=self.settings.stripe_requests_per_second,
            clock=time.monotonic,
            sleep=self._sleep,
        )

    def _reserve_calls(self, endpoint: str, count: int) -> float:
        with self.database.connection() as connection, alone(connection):
            return engine_state.reserve_calls(
                connection, endpoint, count, per_second=self.settings.stripe_requests_per_second
            )

    @property
    def _speaks(self) -> bool:
        """Whether there is a channel to customers."""
        settings = self.settings
        return (
            self._given_channel is not None
            or settings.smtp_url is not None
            or settings.messages_url is not None
            or self._policy.messages.stripe_mails
        )

    @cached_property
    def _channel(self) -> MessageChannel:
        return self._given_channel or message_channel(
            self.settings, gateway=lambda: self.gateway, clock=self.clock, sleep=self._sleep
        )

    def _email(self) -> "EmailChannel":
        return email_channel(self.settings, clock=self.clock)

    @cached_property
    def _outbound(self) -> "Outbound | None":
        from retry_engine.app.outbound import Outbound  # noqa: PLC0415  # a worker's

        if self.settings.events_url is None:
            return None
        return Outbound(
            database=self.database,
            receiver=lambda: self._host_application,
            queue=self.broker,
            clock=self.clock,
        )

    @cached_property
    def _host_application(self) -> "HostApplication":
        from retry_engine.adapters.host_application import HostApplication  # noqa: PLC0415  # httpx

        url, secret = self.settings.events_url, self.settings.events_secret
        if url is None or secret is None:
            raise SettingsError("RETRY_ENGINE_EVENTS_URL is not set; expected https://…")
        return HostApplication(url=url, secret=secret.get_secret_value(), clock=self.clock)

    # -- parts of the recovery

    @cached_property
    def _decisions(self) -> Decisions:
        return Decisions(
            model=self._model,
            current=self._policy,
            speaks=self._speaks,
            has_pages=self.settings.public_url is not None,
        )

    @cached_property
    def _planner(self) -> Planner:
        return Planner(decider=self._decisions, policies=self._policies)

    @cached_property
    def _link_keys(self) -> LinkKeys:
        secrets = self.settings.link_secrets
        return LinkKeys(tuple(secret.get_secret_value().encode() for secret in secrets))

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(
            database=self.database, queue=self.broker, gate=self._gate, clock=self.clock
        )

    @cached_property
    def _overrides(self) -> Overrides:
        return Overrides(
            database=self.database,
            planner=self._planner,
            policies=self._policies,
            gate=self._gate,
            charging=lambda: self.charging,
            clock=self.clock,
            sleep=self._sleep,
        )

    @cached_property
    def _intake(self) -> "Intake":
        from retry_engine.recovery.intake import Intake  # noqa: PLC0415  # a worker's

        return Intake(
            database=self.database,
            gateway=self.gateway,
            pre_dunning=self._pre_dunning,
            engine_mode=self.settings.mode,
            policy=self._policy,
            policy_content=asdict(self._policy),
            clock=self.clock,
        )

    @cached_property
    def charging(self) -> ChargingPorts:
        """What charging is given."""
        return ChargingPorts(
            database=self.database,
            gateway=self.gateway,
            planner=self._planner,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def messenger(self) -> Messenger:
        """Words to customers."""
        return Messenger(
            database=self.database,
            gateway=self.gateway,
            channel=self._channel,
            planner=self._planner,
            is_quiet=self._decisions.is_quiet,
            public_url=self.settings.public_url,
            keys=self._link_keys,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def _pre_dunning(self) -> PreDunning:
        writes = self._speaks and not self._policy.messages.stripe_mails
        return PreDunning(
            database=self.database,
            gateway=self.gateway,
            risks=RenewalRisks(
                database=self.database,
                gateway=self.gateway,
                risk=self._decisions.renewal_risk,
                distrust=timedelta(days=self._policy.review.dispute_days),
            ),
            channel=self._channel if writes else None,
            policy=self._policy,
            gate=self._gate,
            is_quiet=self._decisions.is_quiet_there,
            public_url=self.settings.public_url,
            keys=self._link_keys,
            clock=self.clock,
        )

    @cached_property
    def discounts(self) -> DiscountOffers:
        """What customers are given."""
        return DiscountOffers(
            database=self.database,
            gateway=self.gateway,
            terms_of=lambda version: self._policies.of(version).offers,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def plan_changes(self) -> PlanChanges:
        """What customers change by themselves."""
        return PlanChanges(
            database=self.database,
            gateway=self.gateway,
            terms_of=lambda version: self._policies.of(version).offers,
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
            message_policy=self._policy.messages,
            keys=self._link_keys,
            gate=self._gate,
            clock=self.clock,
        )

    @cached_property
    def _sigma(self) -> "SigmaResults":
        from retry_engine.learning.sigma import SigmaResults  # noqa: PLC0415  # 1 s of pandas

        return SigmaResults(database=self.database, stripe=self.gateway, clock=self.clock)
