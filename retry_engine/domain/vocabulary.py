"""Every closed set of words, in one place: what stands in a column, a table, a file or a policy.

A word becomes its enum where it comes in: a row as it is read (`store.typed_rows`), a line of the
tables of codes (`codes`), a key of the policy file (`settings`), an answer of Stripe's
(`adapters.stripe.mapping`). One that is none of these fails there, and not where it would decide
something. The database's check constraints and the contract's lists are the same, which a test
holds. Where Stripe adds words of its own the set is open: the columns are texts, and the enum names
those that decide something here.

By what they are about: cases, attempts, actions, decisions, messages, offers, reviews and
overrides, events and accounts, what Stripe says, declines, the attempt log, the policy, the engine.
"""

from enum import StrEnum
from typing import assert_never

# -- cases


class CaseState(StrEnum):
    """Where a case is. Only in `open` may anything be charged."""

    OPEN = "open"
    PROCESSING = "processing"
    NEEDS_CUSTOMER = "needs_customer"
    IN_REVIEW = "in_review"
    PAUSED = "paused"
    CLOSED = "closed"


class CloseReason(StrEnum):
    """How a case ended."""

    RECOVERED_BY_ENGINE = "recovered_by_engine"
    RECOVERED_ELSEWHERE = "recovered_elsewhere"
    VOIDED = "voided"
    UNCOLLECTIBLE = "uncollectible"
    SUBSCRIPTION_ENDED = "subscription_ended"
    DISPUTED = "disputed"
    EXHAUSTED = "exhausted"
    STOPPED = "stopped"

    @property
    def logged_as(self) -> "LoggedEnd":
        """What that end is to whoever learns from it; the one place that says so."""
        match self:
            case CloseReason.RECOVERED_BY_ENGINE | CloseReason.RECOVERED_ELSEWHERE:
                return LoggedEnd.RECOVERED
            case CloseReason.SUBSCRIPTION_ENDED:
                return LoggedEnd.CHURNED
            case CloseReason.VOIDED:
                return LoggedEnd.VOIDED
            case CloseReason.UNCOLLECTIBLE | CloseReason.DISPUTED:
                return LoggedEnd.UNCOLLECTIBLE
            case CloseReason.EXHAUSTED | CloseReason.STOPPED:
                return LoggedEnd.EXHAUSTED
        assert_never(self)

    @property
    def is_paid(self) -> bool:
        """Whether the invoice was paid."""
        return self.logged_as is LoggedEnd.RECOVERED

    @property
    def is_given_up(self) -> bool:
        """Whether the invoice is still owed, and it was us who left it at that."""
        return self in (CloseReason.EXHAUSTED, CloseReason.STOPPED, CloseReason.DISPUTED)


class CaseResult(StrEnum):
    """What a case has come to, as it is counted: whoever brought the money."""

    RECOVERED = "recovered"
    LOST = "lost"  # closed, and not paid
    OPEN = "open"


class LiftVerdict(StrEnum):
    """What can be told of the engine against the holdout."""

    HIGHER = "higher"
    LOWER = "lower"
    CANNOT_TELL = "cannot_tell"
    UNHEALTHY = "unhealthy"  # the arms are not as large as they were drawn: nothing is believed


class Mode(StrEnum):
    """Of the engine, and of a case as it was opened. The engine itself is never in `holdout`."""

    TAKEOVER = "takeover"  # the engine owns the retries
    SHADOW = "shadow"  # it watches, and records what it would have done
    HOLDOUT = "holdout"  # Stripe retries, so that the two can be compared


# -- attempts and payment methods


class Source(StrEnum):
    """Who tried."""

    STRIPE = "stripe"
    ENGINE = "engine"
    CUSTOMER = "customer"
    MANUAL = "manual"


class Outcome(StrEnum):
    """What came of it. `UNKNOWN`: sent, and nobody has told us yet."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    UNKNOWN = "unknown"


class MethodType(StrEnum):
    """Of a payment method, as far as its kind decides anything; Stripe has many more."""

    CARD = "card"
    LINK = "link"
    US_BANK_ACCOUNT = "us_bank_account"
    SEPA_DEBIT = "sepa_debit"
    BACS_DEBIT = "bacs_debit"
    AU_BECS_DEBIT = "au_becs_debit"
    ACSS_DEBIT = "acss_debit"
    UPI = "upi"


class CardFunding(StrEnum):
    """Where a card's money comes from; Stripe's own word for the rest is `unknown`."""

    CREDIT = "credit"
    DEBIT = "debit"
    PREPAID = "prepaid"


class RiskFlagKind(StrEnum):
    """What was raised against a charge."""

    DISPUTE = "dispute"
    EARLY_FRAUD_WARNING = "early_fraud_warning"


# -- actions and decisions


class ActionKind(StrEnum):
    """What a row of the schedule asks for."""

    REFRESH = "refresh"  # look at Stripe again
    RETRY = "retry"  # charge
    SETTLE = "settle"  # find out what came of a charge
    HAND_BACK = "hand_back"  # give the invoice's retries back to Stripe
    KEEP_OFF = "keep_off"  # see to it that nobody charges any more, nor Stripe
    END = "end"  # what the policy wants where all was tried
    MESSAGE = "message"
    OFFER = "offer"  # carry out what a customer took
    OFFER_END = "offer_end"
    CHANGE = "change"  # carry out what a customer changed
    NEW_DEFAULT = "new_default"


class ActionState(StrEnum):
    """How far a row of the schedule has come."""

    PLANNED = "planned"
    CLAIMED = "claimed"
    DONE = "done"
    CANCELLED = "cancelled"


class DecisionKind(StrEnum):
    """What to do next with a case."""

    RETRY = "retry"
    WAIT_FOR_CUSTOMER = "wait_for_customer"
    REVIEW = "review"
    STOP = "stop"


# -- messages


class MessageKind(StrEnum):
    """What a message asks for. None of them names the bank's reason."""

    UPDATE_METHOD = "update_method"  # the saved method cannot be charged any more
    AUTHENTICATE = "authenticate"  # the bank wants its customer to confirm
    CARD_EXPIRING = "card_expiring"  # before the next renewal, which has not failed yet
    RENEWAL_AT_RISK = "renewal_at_risk"  # the same, where the method will hardly be chargeable
    PAYMENT_FAILED = "payment_failed"  # another attempt will come; the customer may be quicker


class MessageState(StrEnum):
    """What became of a message to a customer."""

    SENDING = "sending"  # begun; its answer is not known yet
    SENT = "sent"
    NOT_SENT = "not_sent"
    BOUNCED = "bounced"
    UNKNOWN = "unknown"  # its process died, or the channel gave no clear answer
    SHADOW = "shadow"  # would have been sent


class RenewalState(StrEnum):
    """How far a warning before a renewal has come."""

    PLANNED = "planned"
    SENDING = "sending"
    SENT = "sent"
    NOT_SENT = "not_sent"
    BOUNCED = "bounced"
    UNKNOWN = "unknown"
    DROPPED = "dropped"  # nothing to warn of any more
    MENDED = "mended"  # the customer has seen to it


class SuppressionReason(StrEnum):
    """Why an address is not written to."""

    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"


class SuppressionAct(StrEnum):
    """What was said about writing to an address."""

    SUPPRESSED = "suppressed"
    LIFTED = "lifted"


# -- offers and changes


class OfferState(StrEnum):
    """An offer's life. Money is only given from TAKING on, and taken back in ENDING."""

    OPEN = "open"  # promised in a message; the customer may take it
    TAKING = "taking"  # taken; whether Stripe has lowered the invoice yet is not known
    TAKEN = "taken"  # Stripe has lowered the invoice
    ENDING = "ending"  # taken and not paid in time; it is being voided
    EXPIRED = "expired"  # never taken
    WITHDRAWN = "withdrawn"  # taken, not paid in time, and voided
    REFUSED = "refused"  # Stripe would not lower the invoice


class Way(StrEnum):
    """What a discount is."""

    CREDIT_NOTE = "credit_note"  # lowers the unpaid invoice
    COUPON = "coupon"  # lowers the renewal after it


class Change(StrEnum):
    """What a customer may change by themselves, where the policy lets them."""

    BILLING_DAY = "billing_day"  # renewals come on another day; the days between are given
    PAUSE = "pause"  # no renewals for some months


# -- reviews and overrides


class ReviewState(StrEnum):
    """How far a question to a person has come."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"  # the case ended before anybody answered


class Verdict(StrEnum):
    """What a person answers."""

    APPROVE = "approve"
    REJECT = "reject"


class OverrideAction(StrEnum):
    """What a person may do to a case."""

    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    RELEASE = "release"
    HOLD = "hold"
    NOTE = "note"
    MIGRATE_POLICY = "migrate_policy"


class Role(StrEnum):
    """What the bearer of a token may do, the least first."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


# -- events and accounts


class EventState(StrEnum):
    """How far an event has come."""

    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"
    ASIDE = "aside"  # of the other mode: not ours to handle


class OutboundType(StrEnum):
    """What the host application is told of."""

    OPENED = "recovery.opened"
    NEEDS_CUSTOMER = "recovery.needs_customer"
    MESSAGE_SENT = "recovery.message_sent"
    RECOVERED = "recovery.recovered"
    GIVEN_UP = "recovery.given_up"
    CLOSED = "recovery.closed"


class OutboundState(StrEnum):
    """How far an event to the host application has come."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


class Cause(StrEnum):
    """Why an account answers nothing."""

    WITHDREW = "withdrew"  # it took our access to it away
    FORBIDDEN = "forbidden"  # the key is refused, or may do nothing there
    UNAVAILABLE = "unavailable"  # no usable answer comes


# -- what Stripe says: it adds states, so each set has a member for what it does not know


class InvoiceStatus(StrEnum):
    """Of an invoice. Only an open one is owed."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    UNCOLLECTIBLE = "uncollectible"
    VOID = "void"
    UNKNOWN = "unknown"


class SubscriptionStatus(StrEnum):
    """Of a subscription."""

    INCOMPLETE = "incomplete"
    INCOMPLETE_EXPIRED = "incomplete_expired"
    TRIALING = "trialing"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    CANCELED = "canceled"
    UNPAID = "unpaid"
    PAUSED = "paused"
    UNKNOWN = "unknown"

    @property
    def is_ended(self) -> bool:
        """Whether nothing brings it back."""
        return self in (SubscriptionStatus.CANCELED, SubscriptionStatus.INCOMPLETE_EXPIRED)


class CollectionMethod(StrEnum):
    """How an invoice is to be paid. Only what is charged automatically may be retried."""

    CHARGE_AUTOMATICALLY = "charge_automatically"
    SEND_INVOICE = "send_invoice"
    UNKNOWN = "unknown"


class BillingReason(StrEnum):
    """How an invoice comes about at Stripe."""

    AUTOMATIC_PENDING_INVOICE_ITEM_INVOICE = "automatic_pending_invoice_item_invoice"
    MANUAL = "manual"
    QUOTE_ACCEPT = "quote_accept"
    SUBSCRIPTION = "subscription"
    SUBSCRIPTION_CREATE = "subscription_create"
    SUBSCRIPTION_CYCLE = "subscription_cycle"
    SUBSCRIPTION_THRESHOLD = "subscription_threshold"
    SUBSCRIPTION_UPDATE = "subscription_update"
    UPCOMING = "upcoming"


class BillingInterval(StrEnum):
    """How often a subscription bills."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


# -- declines: the columns of the tables in `codes`


class Category(StrEnum):
    """Where the cause of a decline lies."""

    AUTHENTICATION = "authentication"
    CARD_DATA = "card_data"
    CONFIGURATION = "configuration"
    FRAUD = "fraud"
    HARD_CARD = "hard_card"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    ISSUER_RISK = "issuer_risk"
    ISSUER_TRANSIENT = "issuer_transient"
    LIMITS = "limits"
    TEST_MODE = "test_mode"
    UNKNOWN = "unknown"


class Retryable(StrEnum):
    """Whether the same method may be charged again unattended."""

    YES = "yes"
    AFTER_CHANGE = "after_change"
    NO = "no"


class FinalFor(StrEnum):
    """How far a decline reaches.

    `NUMBER`: the card or account number, whatever its expiry, and for good. `CREDENTIAL`: number
    and expiry together. `INVOICE`: this invoice on this credential, and no other.
    """

    NOTHING = "nothing"
    INVOICE = "invoice"
    CREDENTIAL = "credential"
    NUMBER = "number"


class LiftedBy(StrEnum):
    """Which later answer of the same credential takes it back.

    `ANSWER`: a payment, or a decline that presupposes a living card with the right data.
    """

    NOTHING = "nothing"
    NEVER = "never"
    PAYMENT = "payment"
    ANSWER = "answer"


class CustomerAction(StrEnum):
    """What helps, and by whom."""

    NONE = "none"
    RECONCILE_FIRST = "none_reconcile_first"
    MERCHANT_FIX = "none_merchant_fix"
    REVIEW = "none_review"
    UPDATER_THEN_NEW_METHOD = "none_updater_then_new_method"
    WAIT_OR_NEW_METHOD = "wait_or_new_method"
    NEW_METHOD = "new_method"
    UPDATE_DATA = "update_card_data"
    UPDATE_OR_NEW_METHOD = "update_card_or_new_method"
    AUTHENTICATE = "authenticate"
    CONTACT_ISSUER = "contact_issuer"
    CONTACT_ISSUER_IF_REPEATED = "contact_issuer_if_repeated"
    CONTACT_ISSUER_OR_NEW_METHOD = "contact_issuer_or_new_method"
    CONTACT_PROVIDER_OR_NEW_METHOD = "contact_provider_or_new_method"
    NEW_MANDATE = "new_mandate"
    NEW_MANDATE_AND_METHOD = "new_mandate_and_new_method"
    CARD_PRESENT_ONLY = "card_present_only"


class Network(StrEnum):
    """Whose code it is: the same characters mean different things at another's."""

    VISA = "visa"
    MASTERCARD = "mastercard"
    STRIPE = "stripe"


class Field(StrEnum):
    """Where the code stands: `network_decline_code`, or the advice beside it."""

    DECLINE = "decline"
    ADVICE = "advice"


# -- the attempt log


class LogKind(StrEnum):
    """What a row of the attempt log tells of."""

    ATTEMPT = "attempt"
    MESSAGE = "message"
    OFFER = "offer"
    METHOD_CHANGED = "method_changed"
    CLOSED = "closed"


class LoggedEnd(StrEnum):
    """How a failed invoice ended, in the attempt log's words."""

    RECOVERED = "recovered"
    VOIDED = "voided"
    UNCOLLECTIBLE = "uncollectible"
    CHURNED = "churned"
    EXHAUSTED = "exhausted"

    @property
    def competes_as(self) -> "EndCause":
        """Which of the competing causes it counts as where ends are counted over time."""
        match self:
            case LoggedEnd.RECOVERED:
                return EndCause.RECOVERED
            case LoggedEnd.CHURNED:
                return EndCause.CHURNED
            case LoggedEnd.VOIDED | LoggedEnd.UNCOLLECTIBLE | LoggedEnd.EXHAUSTED:
                return EndCause.OTHER
        assert_never(self)


class EndCause(StrEnum):
    """The causes that end an invoice's story; one that goes on has none, and is censored."""

    RECOVERED = "recovered"
    CHURNED = "churned"  # the customer left
    OTHER = "other"  # voided, written off, given up


class ModelState(StrEnum):
    """Of a stored model: one at most decides."""

    STORED = "stored"
    ACTIVE = "active"


# -- the policy file


class OnDispute(StrEnum):
    """`[review] on_dispute`: what a dispute does to the customer's open cases."""

    REVIEW = "review"
    CLOSE = "close"


class Unanswered(StrEnum):
    """`[review] unanswered`: what becomes of a review that nobody answers in time."""

    WAIT = "wait"
    REJECT = "reject"
    RELEASE = "release"
    STOP = "stop"


class WayBack(StrEnum):
    """`[messages] way_back`: where a message's link leads."""

    PAGE = "page"
    HOSTED = "hosted"


class SubscriptionEnd(StrEnum):
    """`[end] subscription`: what becomes of the subscription of an exhausted case."""

    LEAVE = "leave"
    PAUSE = "pause"
    CANCEL = "cancel"
