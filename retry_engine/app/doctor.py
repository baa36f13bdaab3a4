"""Is everything in its place? One row per question: ok, warn or fail, and how to mend it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from retry_engine.app.checks import Check, check_part
from retry_engine.app.decisions import PRIOR_VERSION
from retry_engine.app.health import Health
from retry_engine.app.stripe_checks import Inspected, check_stripe
from retry_engine.domain.errors import (
    BrokerUnavailable,
    RetryEngineError,
    SettingsError,
    StoreUnavailable,
)
from retry_engine.domain.modes import Mode
from retry_engine.domain.offers import Way
from retry_engine.domain.policy import Policy
from retry_engine.domain.vocabulary import SubscriptionEnd
from retry_engine.recovery.gate import Gate
from retry_engine.recovery.intake import EVENT_TYPES
from retry_engine.store import breakers, engine_state, inbox, learning, outbox, schema
from retry_engine.store import cases as rows
from retry_engine.store.database import Database
from retry_engine.store.holdings import Held


class Mail(Protocol):
    """The mail server, where one is set."""

    def check(self) -> str:
        """What it answers; an error of ours where it does not."""


class Models(Protocol):
    """The stored models."""

    def check(self, version: str) -> None:
        """An error of ours where that one cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctor:
    """Asks every part, those that take a while to load only where they are in use.

    `stripe` raises `SettingsError` without a key. `mail` is None where no mail server is set,
    `speaks` says whether there is any channel to customers, `events_host` whom events are told.
    """

    database: Database
    health: Health
    policy: Policy
    gate: Gate
    stripe: Callable[[], Inspected]
    mail: Callable[[], Mail] | None
    models: Callable[[], Models]
    webhook_secrets: int
    misspelt: Sequence[str]
    events_host: str | None
    is_live: bool
    speaks: bool
    clock: Callable[[], datetime]

    def examine(self) -> list[Check]:
        """All rows; where there is no key, those that need none."""
        checks = [
            check_part("database", self._database, mend="check DATABASE_URL; run migrate"),
            check_part("broker", self._broker, mend="check REDIS_URL"),
            self._secrets(),
            self._settings(),
        ]
        if self.mail is not None:
            mend = "check SMTP_URL: its host, port, user, password, and that it is encrypted"
            mail = self.mail
            checks.append(check_part("mail", lambda: mail().check(), mend=mend))
        try:
            stripe = self.stripe()
        except SettingsError as error:
            mend = "set STRIPE_API_KEY, or try `retry-engine sandbox`"
            missing = Check(name="stripe key", status="fail", detail=str(error), mend=mend)
            return [*checks, missing]
        checks += check_stripe(
            stripe,
            mode=self.gate.engine_mode,
            writes=self._writes(),
            heard=EVENT_TYPES,
            now=self.clock(),
        )
        checks += _of_the_record("modes", lambda: [self._modes()])
        checks += _of_the_record("events", lambda: [self._events()])
        checks += _of_the_record("host application", lambda: [self._outbound()])
        checks += _of_the_record("accounts", lambda: [self._accounts()])
        checks += _of_the_record("invoices held", self._held)
        mend = "train anew: `retry-engine model train`; until then the prior decides"
        checks += _of_the_record("model", lambda: [self._model(mend)])
        return checks

    def _settings(self) -> Check:
        if not self.misspelt:
            return Check(name="settings", status="ok", detail="every variable of ours is known")
        detail, mend = "; ".join(self.misspelt), "correct the name, or remove the variable"
        return Check(name="settings", status="warn", detail=detail, mend=mend)

    def _writes(self) -> list[str]:
        """What the engine may have to write at Stripe."""
        if self.gate.is_shut:
            return []
        terms = self.policy.offers
        coupons = terms.enabled and terms.way == Way.COUPON
        changes = terms.free_days > 0 or terms.pause_months > 0
        # a card that a customer adds takes the failed one's place there
        replaces = self.policy.messages.enabled and self.speaks
        needed = {
            "invoices:write": True,
            "subscriptions:write": (
                self.policy.end.subscription != SubscriptionEnd.LEAVE
                or coupons
                or changes
                or replaces
            ),
            "credit_notes:write": terms.enabled and not coupons,
            "coupons:write": coupons,
        }
        return [permission for permission, is_needed in needed.items() if is_needed]

    # -- our own parts

    def _database(self) -> str:
        with self.database.connection() as connection:
            found = schema.revision(connection)
            version = schema.server_version(connection)
        if found != schema.SCHEMA_REVISION:
            raise RetryEngineError(
                f"its schema is {found or 'empty'}, this engine needs {schema.SCHEMA_REVISION}: "
                "run `retry-engine migrate`"
            )
        broken = {name: count for name, count in self.health.invariants().items() if count}
        if broken:
            raise RetryEngineError(f"truths that do not hold: {broken}")
        return f"PostgreSQL {version}, schema {found}"

    def _broker(self) -> str:
        if not self.health.broker.is_reachable():
            raise BrokerUnavailable(
                "the broker does not answer; stored work waits, nothing is lost"
            )
        return "answers"

    def _model(self, mend: str) -> Check:
        with self.database.transaction() as connection:
            version = learning.active_version(connection)
        return check_part("model", lambda: self._usable(version), mend=mend)

    def _usable(self, version: str | None) -> str:
        if version is None:
            return f"{PRIOR_VERSION}: the documented prior; it needs no data"
        self.models().check(version)
        return f"{version}: learnt from the attempt log"

    def _secrets(self) -> Check:
        if self.webhook_secrets == 0:
            return Check(
                name="webhook secret",
                status="fail",
                detail="STRIPE_WEBHOOK_SECRET is not set: every webhook is refused",
                mend="copy the endpoint's signing secret (whsec_…) from the Dashboard",
            )
        return Check(
            name="webhook secret",
            status="ok",
            detail=f"{self.webhook_secrets} configured, mode {self.gate.engine_mode}",
        )

    # -- the work

    def _modes(self) -> Check:
        with self.database.transaction() as connection:
            found = rows.living_modes(connection)
        mode, held, watched = (
            self.gate.engine_mode,
            found.get(Mode.TAKEOVER, 0),
            found.get(Mode.SHADOW, 0),
        )
        if self.gate.is_shut and held:
            return Check(
                name="modes",
                status="warn",
                detail=f"{held} living cases were taken over, and this engine is in {mode}: it "
                "writes nothing, and Stripe does not retry them either",
                mend="RETRY_ENGINE_MODE=takeover goes on with them; to end one, run "
                "`retry-engine cases release` with that setting",
            )
        if not self.gate.is_shut and watched:
            return Check(
                name="modes",
                status="warn",
                detail=f"{watched} living cases were opened in shadow: they stay Stripe's",
                mend="nothing: the failures that come from now on are taken over",
            )
        return Check(name="modes", status="ok", detail=f"engine and living cases: {mode}")

    def _events(self) -> Check:
        with self.database.transaction() as connection:
            found = inbox.counts(connection)
        if found["aside"]:
            mode = "live" if self.is_live else "test"
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

    def _outbound(self) -> Check:
        with self.database.transaction() as connection:
            found = outbox.counts(connection)
        name, last = "host application", found.last_delivered_at
        told = f"last told {last:%Y-%m-%d %H:%M} UTC" if last is not None else "not told yet"
        detail = f"{self.events_host or 'no RETRY_ENGINE_EVENTS_URL'}: {told}, "
        detail += f"{found.pending} waiting, {found.dead} given up"
        if found.wanted != (self.events_host is not None):
            is_set = "not set here" if found.wanted else "set here"
            mend = "give all processes the same settings, and start the workers again"
            detail += f"; RETRY_ENGINE_EVENTS_URL is {is_set}, and the workers began otherwise"
            return Check(name=name, status="warn", detail=detail, mend=mend)
        if found.dead:
            mend = "`retry-engine events dead` says why, `events replay` tells it again"
            return Check(name=name, status="warn", detail=detail, mend=mend)
        if found.pending and found.last_error is not None:
            mend = "see that the host application answers 2xx within seconds"
            return Check(
                name=name, status="warn", detail=f"{detail}; {found.last_error}", mend=mend
            )
        if self.events_host is None:
            return Check(name=name, status="ok", detail="RETRY_ENGINE_EVENTS_URL is not set")
        return Check(name=name, status="ok", detail=detail)

    def _accounts(self) -> Check:
        with self.database.transaction() as connection:
            shut = breakers.open_ones(connection)
        if not shut:
            return Check(name="accounts", status="ok", detail="all answer")
        first = shut[0]
        who = first.account or "our own account"
        return Check(
            name="accounts",
            status="warn",
            detail=f"{len(shut)} do not answer; {who} since {first.since:%Y-%m-%d %H:%M} UTC: "
            f"{first.error}",
            mend="mend the key's permissions; where an account withdrew for good, nothing: its "
            "cases have ended, and `events replay acct_…` brings its events back",
        )

    def _held(self) -> list[Check]:
        with self.database.transaction() as connection:
            paused = engine_state.read(connection).paused
        return check_held(self.health.held(), paused=paused)


def _of_the_record(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """Its rows; where the record cannot be read one that says so, and the others go on."""
    try:
        return look()
    except StoreUnavailable:
        detail, mend = "not looked at: the database cannot be reached", "see the row `database`"
        return [Check(name=name, status="warn", detail=detail, mend=mend)]


# Of each way in which an invoice is held: how bad that is, in words, and what mends it.
_HELD = {
    "nothing_planned": (
        "fail",
        "with nobody, and nothing is planned about them",
        "`retry-engine cases hold` a living one; retry a closed one in Stripe, or void it",
    ),
    "past_deadline": (
        "fail",
        "past their deadline for a day",
        "see that a worker runs and Stripe answers; `retry-engine cases release`",
    ),
    "end_refused": (
        "fail",
        "cannot be given back or kept off, Stripe refuses it; it is tried once a day",
        "`retry-engine cases show` says why; do it in Stripe",
    ),
    "end_waits": (
        "warn",
        "are over, and their end waits while the engine is paused or writes nothing",
        "`retry-engine engine resume`, RETRY_ENGINE_MODE=takeover; or end them in Stripe",
    ),
    "kept_from_stripe": (
        "warn",
        "are over, unpaid, and our rules do not let Stripe have them back",
        "ask the customer, charge by hand or void them; after `cases note` they count as decided",
    ),
}


def check_held(found: Mapping[str, Held], *, paused: bool) -> list[Check]:
    """Invoices that Stripe does not retry because of us, and reviews that nobody answers."""
    wrong = [(*_HELD[kind], found[kind]) for kind in _HELD if found[kind].count]
    living, decided = found["living"].count, found["kept_off_by_decision"].count
    detail = f"{living} are worked on, {decided} kept off by decision"
    if paused and living:
        wrong.append(
            (
                "warn",
                "are held while the engine is paused, nobody retries them",
                "`retry-engine engine resume`, or `cases release`; new failures stay with Stripe",
                found["living"],
            )
        )
    return [
        _held(detail, wrong),
        _overdue(found["review_overdue"]),
        _given_up(found["outcome_given_up"]),
    ]


def _held(detail: str, wrong: Sequence[tuple[str, str, str, Held]]) -> Check:
    name = "invoices held"
    if not wrong:
        return Check(name=name, status="ok", detail=detail)
    return Check(
        name=name,
        status="fail" if any(row[0] == "fail" for row in wrong) else "warn",
        detail="; ".join(f"{held.count} {what}: {held.names}" for _, what, _, held in wrong),
        mend="; ".join(mend for _, _, mend, _ in wrong),
    )


def _given_up(unknown: Held) -> Check:
    if not unknown.count:
        return Check(name="outcomes", status="ok", detail="every charge has one, or finds it")
    return Check(
        name="outcomes",
        status="warn",
        detail=f"of {unknown.count} a charge was sent, and nobody can tell what came of it: "
        f"{unknown.names}",
        mend="where the account's access comes back, `events replay acct_…` finds out; else look "
        "there, and `retry-engine cases note` what came of it",
    )


def _overdue(overdue: Held) -> Check:
    if not overdue.count:
        return Check(name="reviews", status="ok", detail="none is overdue")
    return Check(
        name="reviews",
        status="warn",
        detail=f"{overdue.count} wait beyond their deadline: {overdue.names}",
        mend="`retry-engine reviews list`; [review] unanswered says what becomes of them by itself",
    )
