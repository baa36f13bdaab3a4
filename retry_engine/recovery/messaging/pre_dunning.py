"""Before a renewal fails: another card is asked for in time.

Stripe announces a renewal days ahead (`invoice.upcoming`). Where the default card will have expired
by then, or its last charge failed and the model gives the coming one little chance, its customer is
told once, by the rules of every other message: the intent is committed first, and of a letter that
may have left no second one is sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Connection

from retry_engine.domain import money
from retry_engine.domain.errors import (
    NotPermitted,
    Refused,
    StripeForbidden,
    StripeRejected,
    StripeUnavailable,
)
from retry_engine.domain.messages import MessageKind
from retry_engine.domain.names import shown_name
from retry_engine.domain.policy import Messages, Policy
from retry_engine.domain.stripe_states import CollectionMethod, SubscriptionStatus
from retry_engine.domain.timezones import zone_of
from retry_engine.recovery import cases, deletions
from retry_engine.recovery.gate import Gate, Permit
from retry_engine.recovery.gateway import (
    OUR_KEYS,
    CustomerFacts,
    Gateway,
    MethodFacts,
    default_method_of,
)
from retry_engine.recovery.messaging import links
from retry_engine.recovery.messaging.channel import Message, MessageChannel, address_of, hand_over
from retry_engine.recovery.messaging.links import NEW_CARD, UNSUBSCRIBE, LinkKeys
from retry_engine.recovery.messaging.renewal_risk import Coming, RenewalRisks
from retry_engine.recovery.messaging.suppression import BY_MAIL_SERVER
from retry_engine.store import cases as rows
from retry_engine.store import engine_state, messages, renewals
from retry_engine.store.database import Database
from retry_engine.store.renewals import Renewal

log = structlog.get_logger()

_LEASE = timedelta(minutes=5)
_MOST_AT_ONCE = 50
_MOST_TRIES = 6
_AN_HOUR = timedelta(hours=1)
_ENDED = (
    SubscriptionStatus.CANCELED,
    SubscriptionStatus.INCOMPLETE_EXPIRED,
    SubscriptionStatus.UNPAID,
    SubscriptionStatus.PAUSED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreDunning:
    """`post` is None where nobody can be written to. `is_quiet`: by timezone, country, time."""

    database: Database
    gateway: Gateway
    risks: RenewalRisks
    channel: MessageChannel | None
    policy: Policy
    gate: Gate
    is_quiet: Callable[[str | None, str | None, datetime, Messages], bool]
    public_url: str | None
    keys: LinkKeys
    clock: Callable[[], datetime]

    def announced(self, account: str, body: Mapping[str, Any]) -> None:
        """A renewal is coming: plan a warning where its charge is going to fail.

        Raises:
            StripeUnavailable, StripeForbidden: nothing was written; the event is to come again.
        """
        about, customer_id = _subscription_of(body), body.get("customer")
        renews_at = _time(body.get("next_payment_attempt") or body.get("period_end"))
        if about is None or renews_at is None or not isinstance(customer_id, str):
            return
        if (
            not self._may_warn(customer_id)
            or body.get("collection_method") == CollectionMethod.SEND_INVOICE
        ):
            return
        try:
            customer = self.gateway.customer(account, customer_id)
            method = self._default(account, about, customer)
            if method is None:
                return
            coming = Coming(
                account=account,
                customer_id=customer_id,
                subscription_id=about,
                method=method,
                at=renews_at,
                amount=int(body.get("amount_due") or 0),
                currency=money.known_currency(body.get("currency"), of=f"{about}'s renewal"),
            )
            now = self._now_of(account, customer.test_clock)
            why = self._why(coming, now)
        except StripeRejected:
            return  # deleted meanwhile
        if why is None or renews_at <= now:
            return
        with self.database.transaction() as connection:
            renewals.add(
                connection,
                account=account,
                customer_id=customer_id,
                subscription_id=about,
                test_clock=customer.test_clock,
                renews_at=renews_at,
                method_id=method.id,
                amount=coming.amount,
                currency=coming.currency,
                due_at=now,
                **why,
            )

    def _may_warn(self, customer_id: str) -> bool:
        message_policy = self.policy.messages
        if not message_policy.enabled or not message_policy.before_renewal:
            return False
        if self.public_url is None or self.channel is None:
            return False
        return self.gate.refusal(self._mode_of(customer_id)) is None

    def _mode_of(self, customer_id: str) -> str:
        """The mode that a case of theirs would be opened in now."""
        holdout = self.policy.comparison.holdout
        return cases.mode_for(customer_id, self.gate.engine_mode, holdout=holdout)

    def _permit(self, renewal: Renewal) -> Permit:
        return self.gate.permit(self._mode_of(renewal.customer_id))

    def _why(self, coming: Coming, now: datetime) -> dict[str, Any] | None:
        """What is wrong with the method, as columns of its row; None: nothing."""
        if _expires_before(coming.method, coming.at):
            return {"kind": MessageKind.CARD_EXPIRING}
        least = self.policy.messages.renewal_chance_below
        outlook = self.risks.of(coming, now=now) if least > 0 else None
        if outlook is None or outlook.chance >= least:
            return None
        return {
            "kind": MessageKind.RENEWAL_AT_RISK,
            "chance": outlook.chance,
            "model_version": outlook.model_version,
            "reason": outlook.reason,
        }

    def send_due(self) -> int:
        """Send what is due; how many were looked at."""
        if self.channel is None or self.gate.refusal(self.gate.engine_mode) is not None:
            return 0
        for count in range(_MOST_AT_ONCE):
            real_now = self.clock()
            with self.database.transaction() as connection:
                renewals.forget_the_dead(connection, now=real_now)
                if engine_state.read(connection).paused:
                    return count
                found = renewals.claim(connection, now=real_now, lease=_LEASE)
            if found is None:
                return count
            with structlog.contextvars.bound_contextvars(renewal=found.id):
                self._warn_or_wait(found, self.channel)
        return _MOST_AT_ONCE

    def _warn_or_wait(self, renewal: Renewal, channel: MessageChannel) -> None:
        """What Stripe does not answer waits for its lease; what it says no to for good ends."""
        try:
            self._warn(renewal, channel)
        except (StripeUnavailable, StripeForbidden) as error:
            log.warning("renewal_waits", error=str(error))
        except NotPermitted as refused:  # their customer stays with Stripe by now
            self._drop(renewal, str(refused))
        except StripeRejected as error:
            gone = self._gone(renewal) if error.names_what_is_missing else None
            log.warning("renewal_refused", error=str(error), because=gone)
            if gone is not None or renewal.tries >= _MOST_TRIES:
                self._drop(renewal, gone or f"Stripe refuses: {error}")

    def _drop(self, renewal: Renewal, why: str) -> None:
        with self.database.transaction() as connection:
            renewals.change(
                connection, renewal.id, state="dropped", result=why[:500], claimed_until=None
            )

    def _gone(self, renewal: Renewal) -> str | None:
        return deletions.who_is_gone(
            self.gateway, renewal.account, renewal.customer_id, renewal.test_clock
        )

    def attached(self, account: str, customer_id: str, method_id: str) -> None:
        """A customer who was warned has added a method: it takes the doubtful one's place."""
        with self.database.transaction() as connection:
            warned = renewals.warned_of(connection, account, customer_id)
        for renewal in warned:
            if renewal.method_id == method_id:
                continue
            try:
                permit = self._permit(renewal)
                customer = self.gateway.customer(account, customer_id)
                default = self._default(account, renewal.subscription_id, customer)
                if default is not None and default.id == renewal.method_id:
                    self.gateway.set_default_method(
                        account,
                        renewal.subscription_id,
                        method_id,
                        permit=permit,
                        idempotency_key=f"{OUR_KEYS}renewal:{renewal.id}:{method_id}",
                    )
            except (StripeRejected, NotPermitted) as error:
                log.warning("renewal_not_mended", renewal=renewal.id, error=str(error))
                continue
            with self.database.transaction() as connection:
                renewals.change(connection, renewal.id, state="mended", result=method_id)

    def behind(self, token: str) -> "tuple[Renewal, bool] | None":
        """The renewal behind a link, and whether a card is still wanted; None: no link of ours."""
        with self.database.transaction() as connection:
            message_id = self.keys.read(connection, NEW_CARD, token, now=self.clock())
            found = renewals.by_message_id(connection, message_id) if message_id else None
            if found is None:
                return None
            now = self._now(connection, found.account, found.test_clock)
        return found, found.state in renewals.SAID and now < found.renews_at

    def setup(self, token: str) -> str | None:
        """A secret to add a card with, for who has pressed for it; None: no link of ours.

        Raises:
            Refused: no card is wanted any more, or nothing may be written.
            StripeUnavailable, StripeForbidden: it cannot be had at the moment.
        """
        found = self._wanted(token)
        if found is None:
            return None
        day = self.clock().strftime("%Y%m%d")
        return self.gateway.setup_secret(
            found.account,
            found.customer_id,
            permit=self._permit(found),
            idempotency_key=f"{OUR_KEYS}setup:{found.id}:{day}",
        )

    def portal(self, token: str, *, return_url: str) -> str | None:
        """Where Stripe lets the link's customer add a card, and do nothing else.

        Raises:
            Refused: no card is wanted any more, or nothing may be written.
        """
        found = self._wanted(token)
        if found is None:
            return None
        return self.gateway.portal_session(
            found.account,
            found.customer_id,
            permit=self._permit(found),
            return_url=return_url,
            only_method=True,
        )

    def _wanted(self, token: str) -> Renewal | None:
        behind = self.behind(token)
        if behind is None:
            return None
        found, is_wanted = behind
        if not is_wanted:
            raise Refused("no card is asked for any more")
        return found

    # -- one letter

    def _warn(self, renewal: Renewal, channel: MessageChannel) -> None:
        permit = self._permit(renewal)
        customer = self.gateway.customer(renewal.account, renewal.customer_id)
        why = self._mended_already(renewal, customer)
        with self.database.transaction() as connection:
            now = self._now(connection, renewal.account, renewal.test_clock)
            later = self._later(customer, now)
            if why is None and now >= renewal.renews_at:
                why = "it has been renewed"
            if why is None and later is not None:
                renewals.change(
                    connection, renewal.id, state="planned", due_at=later, claimed_until=None
                )
                return
            message = None
            if why is None:
                message, why = self._begin(connection, renewal, customer, channel, now)
            if message is None:
                renewals.change(connection, renewal.id, state="dropped", result=why)
                return
        state, error = hand_over(channel, message, permit=permit)
        if state == "not_sent" and renewal.tries < _MOST_TRIES:
            state = "planned"
        elif state == "refused":
            state = "not_sent"
        log.info("renewal_warned", state=state, error=error)
        with self.database.transaction() as connection:
            more: dict[str, Any] = {"due_at": now + _AN_HOUR} if state == "planned" else {}
            renewals.change(
                connection, renewal.id, state=state, result=error, claimed_until=None, **more
            )
            if state == "bounced":
                messages.suppress(
                    connection,
                    renewal.account,
                    links.hash_of(
                        messages.address_key(connection), message.to or message.customer_id
                    ),
                    reason="bounced",
                    by=BY_MAIL_SERVER,
                    note=error,
                    at=self.clock(),
                )

    def _begin(
        self,
        connection: Connection,
        renewal: Renewal,
        customer: CustomerFacts,
        channel: MessageChannel,
        now: datetime,
    ) -> tuple[Message | None, str | None]:
        """The intent and its letter; or why there is none."""
        address, unwritable = address_of(customer)
        hashed = links.hash_of(messages.address_key(connection), address or renewal.customer_id)
        message_policy = self.policy.messages
        since = now - timedelta(days=30)
        of = (connection, renewal.account, renewal.customer_id)
        said = messages.said_to_customer(*of, since=since)
        if customer.deleted or (channel.needs_address and not address):
            return None, unwritable or "the customer cannot be written to"
        if rows.living_ids(connection, renewal.account, customer_id=renewal.customer_id):
            return None, "there is an open case: it has messages of its own"
        if said >= message_policy.most_per_customer_30_days:
            return None, f"{said} messages to this customer in 30 days"
        suppressed = messages.suppression_of(connection, renewal.account, hashed)
        if suppressed is not None:
            return None, suppressed
        message_id = f"renewal.{renewal.id}"
        renewals.change(
            connection, renewal.id, state="sending", at=now, message_id=message_id,
            address_hash=hashed, language=customer.language,
        )  # fmt: skip
        real_now = self.clock()
        card = self.keys.sign(connection, NEW_CARD, message_id, now=real_now)
        stop = self.keys.sign(connection, UNSUBSCRIBE, message_id, now=real_now)
        message = Message(
            message_id=message_id,
            mail_name=self.keys.name_letter(connection, message_id),
            account=renewal.account,
            customer_id=renewal.customer_id,
            invoice_id=None,
            to=address,
            kind=MessageKind(renewal.kind),
            language=customer.language or "",
            name=shown_name(customer.name),
            amount=renewal.amount,
            currency=renewal.currency,
            retry_at=renewal.renews_at,
            timezone=zone_of(customer.timezone, customer.country).key,
            pay_url=f"{self.public_url}/c/{card}",
            unsubscribe_url=f"{self.public_url}/u/{stop}",
        )
        return message, None

    def _mended_already(self, renewal: Renewal, customer: CustomerFacts) -> str | None:
        """Why there is nothing to warn of any more, by what Stripe says now."""
        if customer.deleted:
            return self._gone(renewal) or "the customer was deleted"
        found = self.gateway.subscription(renewal.account, renewal.subscription_id)
        if found.status in _ENDED or found.collection_paused:
            return f"the subscription is {found.status}"
        default = self._default(renewal.account, renewal.subscription_id, customer)
        if default is None or default.id != renewal.method_id:
            return "there is another default by now"
        now = self._now_of(renewal.account, renewal.test_clock)
        if now >= renewal.renews_at:
            return "it has been renewed"
        coming = Coming(
            account=renewal.account,
            customer_id=renewal.customer_id,
            subscription_id=renewal.subscription_id,
            method=default,
            at=renewal.renews_at,
            amount=renewal.amount,
            currency=renewal.currency,
        )
        why = self._why(coming, now)
        if why is None or why["kind"] != renewal.kind:
            expired = renewal.kind == MessageKind.CARD_EXPIRING
            return "the card was renewed" if expired else "its charge is not at risk any more"
        return None

    def _default(
        self, account: str, subscription_id: str, customer: CustomerFacts
    ) -> MethodFacts | None:
        found = self.gateway.subscription(account, subscription_id)
        method_id = default_method_of(None, found, customer)
        return self.gateway.payment_method(account, method_id) if method_id else None

    def _later(self, customer: CustomerFacts, now: datetime) -> datetime | None:
        """The end of the quiet hours; None: now is fine."""
        at = now
        for _ in range(24 * 14):
            if not self.is_quiet(customer.timezone, customer.country, at, self.policy.messages):
                return None if at == now else at
            at = at.replace(minute=0, second=0, microsecond=0) + _AN_HOUR
        return at

    def _now_of(self, account: str, clock_id: str | None) -> datetime:
        if clock_id is None:
            return self.clock()
        with self.database.transaction() as connection:
            return self._now(connection, account, clock_id)

    def _now(self, connection: Connection, account: str, clock_id: str | None) -> datetime:
        if clock_id is None:
            return self.clock()
        return rows.clock_time(connection, account, clock_id) or self.clock()


def _subscription_of(body: Mapping[str, Any]) -> str | None:
    details = (body.get("parent") or {}).get("subscription_details") or {}
    found = details.get("subscription") or body.get("subscription")
    if isinstance(found, Mapping):
        found = found.get("id")
    return found if isinstance(found, str) else None


def _time(value: Any) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int) else None


def _expires_before(method: MethodFacts, at: datetime) -> bool:
    """A card is good to the end of its month."""
    if method.card_exp_year is None or method.card_exp_month is None:
        return False
    year, month = divmod(method.card_exp_year * 12 + method.card_exp_month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC) <= at
