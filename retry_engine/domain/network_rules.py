"""The last word before a charge: what the card networks, the debit schemes and consent forbid.

Every rule looks at a case and one payment method and answers with the spans of time in which that
method must not be charged. Nobody can skip them: the planner plans around them, and they are asked
again, whoever wants the charge, in the transaction that commits its intent.

Order of authority: a network's prohibition, then Stripe's `advice_code`, then a network's wait,
then the table of decline codes. What was declined before a card's data changed says nothing about
the card as it is now, but still counts against the limits on attempts.

Sources: Visa Core Rules April 2026 table 7-2 and Mastercard's advice codes as quoted by acquirers;
Nacha, SEPA and Bacs re-presentment rules; docs.stripe.com/declines. Where the networks publish
nothing the ceilings are this engine's own, on the careful side, and say so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from retry_engine.domain import codes, money
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy

# -- the networks' tables

# Visa decline category 1: the issuer will never approve. A retry is charged for.
VISA_NEVER = frozenset("04 07 12 14 15 41 43 46 57 R0 R1 R3".split())
# Visa decline category 3: something in the data is wrong; only after it changed.
VISA_DATA = frozenset("54 55 82 6P N7".split())

# Mastercard merchant advice codes that end it for this card, with what they say.
MAC_NEVER: Mapping[str, str] = {
    "03": "do not try again",
    "21": "the cardholder stopped this payment",
    "04": "token requirements are not met",
    "22": "the merchant does not qualify for the product code",
    "40": "a prepaid card that cannot be reloaded",
    "41": "a virtual card for a single use",
    "42": "the sanctions score is above the threshold",
}
# Mastercard's own waits, from the attempt that carried the code.
MAC_WAITS: Mapping[str, timedelta] = {
    "02": timedelta(hours=72),
    "24": timedelta(hours=1),
    "25": timedelta(hours=24),
    "26": timedelta(days=2),
    "27": timedelta(days=4),
    "28": timedelta(days=6),
    "29": timedelta(days=8),
    "30": timedelta(days=10),
}
_MAC_OFFICIAL_WAITS = frozenset("24 25 26 27 28 29 30".split())

# Attempts a card may see in 30 days, by anybody. Visa has raised its own from 15 to 20; brands
# that publish nothing get this engine's ceiling.
NETWORK_CEILINGS: Mapping[str, int] = {"visa": 20, "mastercard": 35}
_OWN_CEILING = 15
_MASTERCARD_DECLINES_A_DAY = 10

# Codes with which a debit may be presented again, how often, and until how long after the first.
DEBIT_RULES: Mapping[str, tuple[frozenset[str], int, timedelta]] = {
    "us_bank_account": (frozenset({"insufficient_funds"}), 2, timedelta(days=180)),
    "sepa_debit": (frozenset({"insufficient_funds", "refer_to_customer"}), 2, timedelta(days=60)),
    "bacs_debit": (frozenset({"insufficient_funds", "refer_to_customer"}), 2, timedelta(days=30)),
    "au_becs_debit": (frozenset({"insufficient_funds"}), 2, timedelta(days=30)),
    "acss_debit": (frozenset({"insufficient_funds"}), 1, timedelta(days=30)),
}

# The payer has said no, or is no more: nothing of theirs is charged without a new consent.
CONSENT_GONE = frozenset(
    "revocation_of_authorization revocation_of_all_authorizations stop_payment_order"
    " authorization_revoked recipient_deceased".split()
)
# Their cause lies in this invoice's amount or moment, not in the card.
_ABOUT_THIS_INVOICE = frozenset(
    "invalid_amount payment_limit_exceeded duplicate_transaction".split()
)

_BLOCKED_ON_VELOCITY = "previously_declined_do_not_retry"
_VELOCITY_WAIT = timedelta(hours=72)
_MONTH = timedelta(days=30)
_INDIA_GAP = timedelta(hours=36)


@dataclass(frozen=True, slots=True)
class Forbidden:
    """`rule` forbids charging from `since` until before `until` (None: until something changes)."""

    rule: str
    since: datetime
    until: datetime | None
    detail: str

    def holds_at(self, at: datetime) -> bool:
        """Whether `at` lies inside."""
        return self.since <= at and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Subject:
    """A case and a method, with the attempts sorted for the rules.

    `on_card`: on this card, all invoices, oldest first. `telling`: those of them that were declined
    since the card's data last changed, and so say something of it as it is.
    """

    view: CaseView
    method: PaymentMethod
    policy: Policy
    on_card: Sequence[Attempt]
    telling: Sequence[Attempt]

    @property
    def start(self) -> datetime:
        """Spans that hold already begin here."""
        return self.view.now

    @property
    def telling_here(self) -> Iterator[Attempt]:
        """The telling ones on this very invoice."""
        return (a for a in self.telling if a.invoice_id == self.view.invoice_id)


Spans = Iterable[Forbidden]


def forbidden(view: CaseView, method: PaymentMethod, *, policy: Policy) -> tuple[Forbidden, ...]:
    """All spans, from the case's now on, in which that method must not be charged."""
    subject = Subject(view, method, policy, view.attempts_on(method), declines_of(view, method))
    return tuple(
        span
        for rule in RULES
        for span in rule.spans(subject)
        if span.until is None or span.until > view.now
    )


def declines_of(view: CaseView, method: PaymentMethod) -> list[Attempt]:
    """Declines that say something of the method as it is now, over all invoices, oldest first."""
    return [
        a
        for a in view.attempts_on(method)
        if a.outcome in (Outcome.FAILED, Outcome.REQUIRES_ACTION) and _is_about(a, method)
    ]


def _is_about(attempt: Attempt, method: PaymentMethod) -> bool:
    """Whether an attempt was made on the card as it is now, not on the one it replaced."""
    known, then = method.card_fingerprint, attempt.card_fingerprint
    if known is not None and then is not None and known != then:
        return False
    return method.changed_at is None or attempt.at > method.changed_at


def check(
    view: CaseView, method: PaymentMethod, *, at: datetime, policy: Policy
) -> Forbidden | None:
    """What forbids charging that method at that moment; the longest of several; None: allowed."""
    return longest_at(forbidden(view, method, policy=policy), at)


def longest_at(spans: Iterable[Forbidden], at: datetime) -> Forbidden | None:
    """Of the spans that hold at a moment the one that ends last."""
    holding = [span for span in spans if span.holds_at(at)]
    for span in holding:
        if span.until is None:
            return span
    return max(holding, key=lambda span: span.until or at, default=None)


def earliest(
    view: CaseView, method: PaymentMethod, *, after: datetime, policy: Policy
) -> datetime | None:
    """The first allowed moment from `after` on, or None."""
    spans = forbidden(view, method, policy=policy)
    at = after
    while (standing := longest_at(spans, at)) is not None:
        if standing.until is None:
            return None
        at = standing.until
    return at


# -- rules about the invoice


def _in_flight(s: Subject) -> Spans:
    if any(not a.is_resolved for a in s.view.attempts):
        yield Forbidden("attempt_in_flight", s.start, None, "an attempt's outcome is not known yet")


def _paid(s: Subject) -> Spans:
    if any(a.outcome is Outcome.SUCCEEDED for a in s.view.attempts):
        yield Forbidden("already_paid", s.start, None, "an attempt on this invoice has succeeded")


def _deadline(s: Subject) -> Spans:
    yield Forbidden("case_deadline", s.view.deadline_at, None, "the case's horizon has passed")


def _attempts_per_invoice(s: Subject) -> Spans:
    most = s.policy.limits.max_attempts
    if len(s.view.attempts) >= most:
        yield Forbidden("attempts_per_invoice", s.start, None, f"{most} attempts were made by all")


def _first_invoice(s: Subject) -> Spans:
    if s.view.billing_reason != "subscription_create":
        return
    created = s.view.invoice_created_at or s.view.opened_at
    until = created + timedelta(hours=s.policy.limits.first_invoice_hours)
    yield Forbidden("first_invoice", max(until, s.start), None, "a first invoice lives 23 hours")


def _quiet_zone(s: Subject) -> Spans:
    planned = s.view.stripe_next_attempt_at
    if planned is not None:
        zone = timedelta(hours=s.policy.limits.quiet_zone_hours)
        detail = "Stripe itself tries around then"
        yield Forbidden("quiet_zone", planned - zone, planned + zone, detail)


def _minimum(s: Subject) -> Spans:
    least = money.minimum_charge(s.view.currency)
    if s.view.amount < least:
        detail = f"less than Stripe's minimum of {money.plain(least, s.view.currency)}"
        yield Forbidden("below_minimum", s.start, None, detail)


def _consent_gone(s: Subject) -> Spans:
    for attempt in (*s.view.attempts, *s.view.card_attempts):
        stopped = _is_mastercard(attempt) and attempt.network_advice_code == "21"
        if attempt.decline_code in CONSENT_GONE or stopped:
            reason = attempt.decline_code or "advice code 21"
            detail = f"consent was withdrawn ({reason})"
            yield Forbidden("consent_withdrawn", s.start, None, detail)
            return


# -- rules about the method


def _backup(s: Subject) -> Spans:
    if s.method.is_default:
        return
    if not s.policy.methods.charge_backups:
        detail = "the policy allows the default method only"
        yield Forbidden("backup_not_allowed", s.start, None, detail)
    elif not any(a.is_resolved for a in s.view.attempts):
        detail = "a backup is charged only after a definite decline"
        yield Forbidden("backup_before_decline", s.start, None, detail)


def _mandate(s: Subject) -> Spans:
    if s.method.mandate_active is False:
        yield Forbidden("mandate_inactive", s.start, None, "its mandate is no longer active")


def _blocked_account(s: Subject) -> Spans:
    if s.method.blocked_reason is not None:
        detail = f"Stripe blocks this account ({s.method.blocked_reason})"
        yield Forbidden("account_blocked", s.start, None, detail)


def _india(s: Subject) -> Spans:
    if s.method.card_country != "IN" and s.method.type != "upi":
        return
    if not s.policy.methods.retry_indian_cards:
        detail = "an Indian issuer announces every debit; the customer pays by the invoice's link"
        yield Forbidden("india_mandate", s.start, None, detail)
        return
    for attempt in s.on_card[-1:]:
        yield _until("india_mandate", attempt, _INDIA_GAP, "36 hours between Indian debits")


# -- rules about declines


def _hard_decline(s: Subject) -> Spans:
    for attempt in s.telling:
        for code in _codes_of(attempt):
            if code.retryable == "no":
                detail = f"{code.code} is final for this method"
                yield Forbidden("hard_decline", s.start, None, detail)
                return


def _needs_change(s: Subject) -> Spans:
    for attempt in s.telling:
        if _succeeded_later(s, attempt):
            continue
        for code in _codes_of(attempt):
            if code.retryable != "after_change" or code.category == "authentication":
                continue
            if code.code in _ABOUT_THIS_INVOICE and attempt.invoice_id != s.view.invoice_id:
                continue
            detail = f"{code.code}: only after its data has changed"
            yield Forbidden("needs_change", s.start, None, detail)
            return


def _authentication(s: Subject) -> Spans:
    for attempt in s.telling:
        asked = attempt.outcome is Outcome.REQUIRES_ACTION or any(
            code.category == "authentication" for code in _codes_of(attempt)
        )
        passed = s.method.authenticated_at
        if asked and not (passed and passed >= attempt.at) and not _succeeded_later(s, attempt):
            detail = "the bank wants the customer to authenticate"
            yield Forbidden("authentication_needed", s.start, None, detail)
            return


def _visa(s: Subject) -> Spans:
    for attempt in s.telling:
        if _brand(s, attempt) != "visa":
            continue
        code = attempt.network_decline_code
        if code in VISA_NEVER:
            detail = f"Visa category 1 ({code}): the issuer will never approve"
            yield Forbidden("visa_never", s.start, None, detail)
            return
        if code in VISA_DATA and not _succeeded_later(s, attempt):
            detail = f"Visa category 3 ({code}): only after the data has changed"
            yield Forbidden("visa_data", s.start, None, detail)
            return


def _advice(s: Subject) -> Spans:
    for attempt in s.telling:
        if attempt.advice_code == "do_not_try_again" and attempt.invoice_id == s.view.invoice_id:
            detail = "Stripe advises not to try this method again"
            yield Forbidden("advice_do_not_try_again", s.start, None, detail)
            return
        if attempt.advice_code == "confirm_card_data" and not _succeeded_later(s, attempt):
            detail = "Stripe advises that the card's data be confirmed first"
            yield Forbidden("advice_confirm_card_data", s.start, None, detail)
            return


def _mastercard_advice(s: Subject) -> Spans:
    for attempt in s.telling:
        code = attempt.network_advice_code
        if code is None or _brand(s, attempt) != "mastercard":
            continue
        if code in MAC_NEVER:
            detail = f"Mastercard advice {code}: {MAC_NEVER[code]}"
            yield Forbidden("mastercard_never", s.start, None, detail)
        elif code == "01" and not _succeeded_later(s, attempt):
            detail = "Mastercard advice 01: there is newer card data"
            yield Forbidden("mastercard_new_data", s.start, None, detail)
        elif code in MAC_WAITS:
            detail = f"Mastercard advice {code}: not before its wait is over"
            yield _until("mastercard_wait", attempt, MAC_WAITS[code], detail)


def _velocity_block(s: Subject) -> Spans:
    for attempt in s.telling:
        if _BLOCKED_ON_VELOCITY in (attempt.outcome_reason, attempt.decline_code):
            detail = "Stripe blocked a retry that came too soon"
            yield _until("velocity_block", attempt, _VELOCITY_WAIT, detail)


def _gap(s: Subject) -> Spans:
    """At most one attempt a card and day, and two days after a decline that was not technical.

    A charge of another invoice whose outcome is open, or that went well, counts as an attempt too.
    Every attempt has its own gap: a technical decline since does not shorten an earlier one's.
    """
    limits = s.policy.limits
    for attempt in s.on_card:
        if not _is_about(attempt, s.method):
            continue
        gap = limits.min_gap_hours
        if _is_plain_decline(s, attempt):
            gap = max(gap, limits.min_gap_after_decline_hours)
        detail = f"{gap:g} hours between attempts on one card"
        yield _until("gap_on_card", attempt, timedelta(hours=gap), detail)


def _unknown_code(s: Subject) -> Spans:
    limits = s.policy.limits
    unknown = [a for a in s.telling_here if not codes.lookup(a.decline_code).is_known]
    if len(unknown) > limits.unknown_code_retries:
        detail = f"{unknown[-1].decline_code} is a code nobody knows, and a retry did not help"
        yield Forbidden("unknown_code", s.start, None, detail)
    elif unknown:
        gap = timedelta(hours=limits.unknown_code_gap_hours)
        yield _until("unknown_code", unknown[-1], gap, "a code nobody knows: wait before the retry")


# -- limits on attempts: these count everybody's, and a change of data does not reset them


def _card_ceiling(s: Subject) -> Spans:
    if s.method.type != "card":
        return
    network = NETWORK_CEILINGS.get(s.method.card_brand or "", _OWN_CEILING)
    most = min(s.policy.limits.max_attempts_per_card_30_days, network)
    if len(s.on_card) >= most:
        detail = f"{most} attempts on this card in 30 days"
        yield _until("attempts_per_card", s.on_card[-most], _MONTH, detail)


def _mastercard_day(s: Subject) -> Spans:
    if s.method.card_brand != "mastercard":
        return
    declines = [a for a in s.on_card if a.outcome is Outcome.FAILED]
    if len(declines) < _MASTERCARD_DECLINES_A_DAY:
        return
    tenth_last, last = declines[-_MASTERCARD_DECLINES_A_DAY], declines[-1]
    detail = "10 declines on this Mastercard in a day"
    yield _until("mastercard_declines_a_day", tenth_last, timedelta(days=1), detail)
    # one acquirer reads "rolling", another "calendar day": the later end holds
    if tenth_last.at.date() == last.at.date():
        midnight = last.at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        yield Forbidden("mastercard_declines_a_day", last.at, midnight, detail)


def _debit(s: Subject) -> Spans:
    rule = DEBIT_RULES.get(s.method.type)
    tries = [a for a in s.on_card if a.invoice_id == s.view.invoice_id]
    if rule is None or not tries:
        return
    allowed, most, window = rule
    returned = (a for a in s.telling_here if a.outcome is Outcome.FAILED)
    final = next((a for a in returned if a.decline_code not in allowed), None)
    if final is not None:
        detail = f"a debit returned with {final.decline_code} is not presented again"
        yield Forbidden("debit_representment", s.start, None, detail)
    elif len(tries) > most:
        detail = f"a debit is presented again at most {most} times"
        yield Forbidden("debit_representment", s.start, None, detail)
    else:
        detail = f"a debit is presented again within {window.days} days of the first"
        yield Forbidden("debit_representment", max(tries[0].at + window, s.start), None, detail)


def _weekend(s: Subject) -> Spans:
    if s.method.type not in DEBIT_RULES:
        return
    today = s.start.replace(hour=0, minute=0, second=0, microsecond=0)
    saturday = today + timedelta(days=5 - today.weekday())
    while saturday < s.view.deadline_at:
        monday = saturday + timedelta(days=2)
        yield Forbidden("debit_weekend", saturday, monday, "banks move debits on working days only")
        saturday += timedelta(days=7)


# -- small parts


def _until(rule: str, attempt: Attempt, wait: timedelta, detail: str) -> Forbidden:
    return Forbidden(rule, attempt.at, attempt.at + wait, detail)


def _codes_of(attempt: Attempt) -> Iterator[codes.DeclineCode]:
    """The decline code, and the reason where Stripe itself blocked the charge."""
    if attempt.decline_code is not None or attempt.outcome is Outcome.FAILED:
        yield codes.lookup(attempt.decline_code)
    if attempt.outcome_reason is not None and attempt.outcome_reason != attempt.decline_code:
        reason = codes.lookup(attempt.outcome_reason)
        if reason.is_known:
            yield reason


def _is_plain_decline(s: Subject, attempt: Attempt) -> bool:
    """A decline that was not technical and that no network gave its own wait."""
    if attempt.outcome not in (Outcome.FAILED, Outcome.REQUIRES_ACTION):
        return False
    waits = attempt.network_advice_code in _MAC_OFFICIAL_WAITS
    if waits and _brand(s, attempt) == "mastercard":
        return False
    return not codes.lookup(attempt.decline_code).is_technical


def _brand(s: Subject, attempt: Attempt) -> str | None:
    """The network that answered: its codes mean nothing at another."""
    return attempt.card_brand or s.method.card_brand


def _is_mastercard(attempt: Attempt) -> bool:
    return attempt.card_brand == "mastercard"


def _succeeded_later(s: Subject, attempt: Attempt) -> bool:
    return any(
        a.outcome is Outcome.SUCCEEDED and a.at > attempt.at and a.source is not Source.ENGINE
        for a in s.on_card
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: what it says, where that comes from, and the function that knows."""

    name: str
    says: str
    source: str
    spans: Callable[[Subject], Spans]


_OURS = "this engine"
RULES: tuple[Rule, ...] = (
    Rule("attempt_in_flight", "nothing while an outcome is unknown", _OURS, _in_flight),
    Rule("already_paid", "nothing on a paid invoice", _OURS, _paid),
    Rule("case_deadline", "nothing after the horizon", "policy", _deadline),
    Rule(
        "attempts_per_invoice", "8 attempts, everybody's", "Stripe's advice", _attempts_per_invoice
    ),
    Rule("first_invoice", "first invoices within 23 hours", "Stripe Billing", _first_invoice),
    Rule("quiet_zone", "nothing near Stripe's own attempt", "policy", _quiet_zone),
    Rule("below_minimum", "Stripe's smallest charge", "docs.stripe.com/currencies", _minimum),
    Rule("consent_withdrawn", "never after a revocation", "Visa R0 R1 R3, MAC 21", _consent_gone),
    Rule("backup", "other methods by consent, after a decline", "policy", _backup),
    Rule("mandate_inactive", "no debit without a mandate", "SEPA, Nacha, Bacs", _mandate),
    Rule("account_blocked", "not what Stripe blocks", "Stripe", _blocked_account),
    Rule("india_mandate", "no unannounced Indian debits", "RBI e-mandates 2026", _india),
    Rule("hard_decline", "never after a hard decline", "docs.stripe.com/declines", _hard_decline),
    Rule("needs_change", "only with new data", "docs.stripe.com/declines", _needs_change),
    Rule("authentication_needed", "only with the customer", "SCA", _authentication),
    Rule("visa", "category 1 never, category 3 with new data", "Visa table 7-2", _visa),
    Rule("advice", "Stripe's advice codes", "docs.stripe.com/declines/card", _advice),
    Rule("mastercard_advice", "merchant advice codes", "Mastercard", _mastercard_advice),
    Rule("velocity_block", "72 hours after a velocity block", "Stripe support", _velocity_block),
    Rule("gap_on_card", "24, or 48 hours apart", _OURS, _gap),
    Rule("unknown_code", "one retry on an unknown code", _OURS, _unknown_code),
    Rule("attempts_per_card", "15 in 30 days, all invoices", "Visa 20, ours 15", _card_ceiling),
    Rule("mastercard_day", "10 declines a day", "Mastercard", _mastercard_day),
    Rule("debit_representment", "how often a debit comes again", "Nacha, SEPA, Bacs", _debit),
    Rule("debit_weekend", "debits on working days", "Nacha, SEPA, Bacs", _weekend),
)
