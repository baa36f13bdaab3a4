"""The last word before a charge: what the card networks, the debit schemes and consent forbid.

Every rule looks at a case and one payment method and answers with the spans of time in which that
method must not be charged. The planner plans around all of them, and they are asked again in the
transaction that commits an intent. Those that bind nobody can skip; what is only this engine's own
pacing stands back where a person wants the charge, who is warned of it.

Order of authority: a network's prohibition, then Stripe's `advice_code`, then a network's wait,
then the table of decline codes. What an answer is final for, what lifts it and how it ages stands
in the tables of `codes`: the issuer's latest answer decides, old evidence fades, a network's own
ban of a number stays. What was declined before a card's data changed says nothing about the card
as it is now, but still counts against the limits on attempts.

Sources: Visa Core Rules April 2026 table 7-2 and Mastercard's advice codes as quoted by acquirers;
Nacha, SEPA and Bacs re-presentment rules; docs.stripe.com/declines. Where the networks publish
nothing the ceilings are this engine's own, on the careful side, and say so.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from retry_engine.domain import codes, money
from retry_engine.domain.attempts import Attempt, Outcome
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import (
    Category,
    DeclineCode,
    Field,
    FinalFor,
    Finality,
    LiftedBy,
    Network,
    NetworkCode,
    Retryable,
)
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy

# -- the networks' tables

# The cardholder stopped this payment, or all of them.
_VISA_CONSENT_GONE = frozenset("R0 R1 R3".split())
_MAC_CONSENT_GONE = "21"

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
# What declines say of a card: it stands until the card, or its answer, is another, or it has aged.
ABOUT_THE_CARD = frozenset(
    "hard_decline needs_change authentication_needed visa_never visa_data advice_do_not_try_again"
    " advice_confirm_card_data mastercard_never mastercard_new_data".split()
)

_BLOCKED_ON_VELOCITY = "previously_declined_do_not_retry"
_VELOCITY_WAIT = timedelta(hours=72)
_MONTH = timedelta(days=30)
_INDIA_GAP = timedelta(hours=36)


class Kind(StrEnum):
    """Who says so: the networks, the law, the customer's consent, the invoice; or this engine."""

    BINDING = "binding"  # nobody may override it
    PACING = "pacing"  # a preference of ours: the planner keeps to it, a person is warned of it


@dataclass(frozen=True, slots=True)
class Forbidden:
    """`rule` forbids charging from `since` until before `until` (None: until something changes)."""

    rule: str
    since: datetime
    until: datetime | None
    detail: str
    kind: Kind = Kind.BINDING

    def holds_at(self, at: datetime) -> bool:
        """Whether `at` lies inside."""
        return self.since <= at and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Subject:
    """A case and a method, with the attempts sorted for the rules.

    `on_card`: on this card, all invoices, oldest first. `informative`: those of them that were
    declined since the card's data last changed, and so say something of it as it is. `told`: what
    declines forbid, by the rule that says so.
    """

    view: CaseView
    method: PaymentMethod
    policy: Policy
    on_card: Sequence[Attempt]
    informative: Sequence[Attempt]
    told: Sequence[Forbidden]

    @property
    def start(self) -> datetime:
        """Spans that hold already begin here."""
        return self.view.now

    @property
    def informative_here(self) -> Iterator[Attempt]:
        """The informative ones on this very invoice."""
        return (a for a in self.informative if a.invoice_id == self.view.invoice_id)


Spans = Iterable[Forbidden]


def forbidden(view: CaseView, method: PaymentMethod, *, policy: Policy) -> tuple[Forbidden, ...]:
    """All spans, from the case's now on, in which that method must not be charged."""
    on_card = view.attempts_on(method)
    subject = Subject(
        view, method, policy, on_card, declines_of(view, method), _told(view, method, on_card)
    )
    return tuple(
        span if rule.kind is Kind.BINDING else replace(span, kind=rule.kind)
        for rule in RULES
        for span in rule.spans(subject)
        if span.until is None or span.until > view.now
    )


def binding(spans: Iterable[Forbidden]) -> tuple[Forbidden, ...]:
    """Of these spans the ones that no person can override."""
    return tuple(span for span in spans if span.kind is Kind.BINDING)


def declines_of(view: CaseView, method: PaymentMethod) -> list[Attempt]:
    """Declines that say something of the method as it is now, over all invoices, oldest first."""
    return [
        a
        for a in view.attempts_on(method)
        if a.outcome in (Outcome.FAILED, Outcome.REQUIRES_ACTION) and _is_about(a, method)
    ]


def _is_about(attempt: Attempt, method: PaymentMethod) -> bool:
    """Whether an attempt was made on the card as it is now: the same number and expiry."""
    now, then = method.card_exp, attempt.card_exp
    if now is not None and then is not None and now != then:
        return False
    return _is_same_number(attempt, method) and not _is_older(attempt, method)


def _is_same_number(attempt: Attempt, method: PaymentMethod) -> bool:
    now, then = method.card_fingerprint, attempt.card_fingerprint
    if now is not None and then is not None:
        return now == then
    return not _is_older(attempt, method)


def _is_older(attempt: Attempt, method: PaymentMethod) -> bool:
    """Whether the method's data changed since."""
    return method.changed_at is not None and attempt.at <= method.changed_at


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
        reason = consent_withdrawn(attempt)
        here = attempt.invoice_id == s.view.invoice_id
        if reason is None or (not here and _has_consented_since(s, attempt)):
            continue
        detail = f"consent was withdrawn ({reason})"
        yield Forbidden("consent_withdrawn", s.start, None, detail)
        return


def consent_withdrawn(attempt: Attempt) -> str | None:
    """The code by which the payer has withdrawn their consent, or is no more."""
    if attempt.decline_code in CONSENT_GONE:
        return attempt.decline_code
    if attempt.outcome is Outcome.SUCCEEDED:
        return None
    if attempt.card_brand == "mastercard" and attempt.network_advice_code == _MAC_CONSENT_GONE:
        return f"advice code {_MAC_CONSENT_GONE}"
    if attempt.card_brand == "visa" and attempt.network_decline_code in _VISA_CONSENT_GONE:
        return f"Visa {attempt.network_decline_code}"
    return None


def _has_consented_since(s: Subject, withdrawn: Attempt) -> bool:
    """Whether another method than the one it was said of was saved, or has paid, since then."""
    if withdrawn in s.on_card and _is_same_number(withdrawn, s.method):
        return False
    if s.method.added_at is not None and s.method.added_at > withdrawn.at:
        return True
    return any(a.outcome is Outcome.SUCCEEDED and a.at > withdrawn.at for a in s.on_card)


# -- rules about the method


def _backup(s: Subject) -> Spans:
    if s.method.is_default:
        return
    if not s.policy.methods.charge_backups:
        detail = "the policy allows the default method only"
        yield Forbidden("backup_not_allowed", s.start, None, detail)


def _backup_before_decline(s: Subject) -> Spans:
    if s.method.is_default or not s.policy.methods.charge_backups:
        return
    if not any(a.is_resolved for a in s.view.attempts):
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


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing that one answer forbids, the rule that says so, and how far it reaches."""

    rule: str
    detail: str
    finality: Finality


def stops_of(attempt: Attempt, brand: str | None) -> Iterator[Stop]:
    """All that an answer forbids; `brand` is the network that gave it."""
    if attempt.outcome not in (Outcome.FAILED, Outcome.REQUIRES_ACTION):
        return
    asked = attempt.outcome is Outcome.REQUIRES_ACTION
    for code in _codes_of(attempt):
        if code.finality.reach is not FinalFor.NOTHING:
            rule, detail = _rule_of(code)
            asked = asked and rule != "authentication_needed"
            yield Stop(rule, detail, code.finality)
    if asked:
        rule, detail = _rule_of(codes.lookup(codes.AUTHENTICATION_REQUIRED))
        yield Stop(rule, detail, codes.lookup(codes.AUTHENTICATION_REQUIRED).finality)
    for said in _said_by_networks(attempt, brand):
        if said.finality.reach is not FinalFor.NOTHING:
            yield Stop(*_rule_of_network(said), said.finality)


def _rule_of(code: DeclineCode) -> tuple[str, str]:
    if code.retryable is Retryable.NO:
        return "hard_decline", f"{code.code} is final for this method"
    if code.category is Category.AUTHENTICATION:
        return "authentication_needed", "the bank wants the customer to authenticate"
    return "needs_change", f"{code.code}: only after its data has changed"


def _rule_of_network(said: NetworkCode) -> tuple[str, str]:
    if said.network is Network.STRIPE:
        return f"advice_{said.code}", said.says
    if said.network is Network.VISA:
        if said.finality.reach is FinalFor.NUMBER:
            detail = f"Visa category 1 ({said.code}): the issuer will never approve"
            return "visa_never", detail
        detail = f"Visa category 3 ({said.code}): only after the data has changed"
        return "visa_data", detail
    detail = f"Mastercard advice {said.code}: {said.says}"
    lasting = said.finality.lifted_by is not LiftedBy.ANSWER
    return "mastercard_never" if lasting else "mastercard_new_data", detail


def _told(
    view: CaseView, method: PaymentMethod, on_card: Sequence[Attempt]
) -> tuple[Forbidden, ...]:
    """What the declines of a method forbid now."""
    found: list[Forbidden] = []
    for attempt in on_card:
        here = attempt.invoice_id == view.invoice_id
        for stop in stops_of(attempt, attempt.card_brand or method.card_brand):
            if not _reaches(stop.finality.reach, attempt, method, here=here):
                continue
            if _is_lifted(stop, attempt, method, on_card):
                continue
            days = stop.finality.ages_days
            until = None if here or days is None else attempt.at + timedelta(days=days)
            found.append(Forbidden(stop.rule, view.now, until, stop.detail))
    return tuple(found)


def _reaches(reach: FinalFor, attempt: Attempt, method: PaymentMethod, *, here: bool) -> bool:
    if reach is FinalFor.NUMBER:
        return _is_same_number(attempt, method)
    return _is_about(attempt, method) and (here or reach is FinalFor.CREDENTIAL)


def _is_lifted(
    stop: Stop, attempt: Attempt, method: PaymentMethod, on_card: Sequence[Attempt]
) -> bool:
    """Whether the same credential, or its owner, has answered otherwise since."""
    lifted_by = stop.finality.lifted_by
    if lifted_by is LiftedBy.NEVER:
        return False
    passed = method.authenticated_at
    if stop.rule == "authentication_needed" and passed is not None and passed >= attempt.at:
        return True
    return any(
        later.at > attempt.at
        and _is_about(later, method)
        and (
            later.outcome is Outcome.SUCCEEDED
            or (
                lifted_by is LiftedBy.ANSWER
                and shows_life(later, later.card_brand or method.card_brand)
            )
        )
        for later in on_card
    )


def shows_life(attempt: Attempt, brand: str | None) -> bool:
    """A decline that only a living card with the right data is given, by its issuer."""
    if attempt.outcome is not Outcome.FAILED or attempt.outcome_type == "blocked":
        return False
    reaching = (FinalFor.CREDENTIAL, FinalFor.NUMBER)
    if any(stop.finality.reach in reaching for stop in stops_of(attempt, brand)):
        return False
    said = any(said.shows_life for said in _said_by_networks(attempt, brand))
    return said or codes.lookup(attempt.decline_code).shows_life


def _rules_told(*names: str) -> Callable[[Subject], Spans]:
    """The spans function of what declines say under these names."""

    def spans(s: Subject) -> Spans:
        return (span for span in s.told if span.rule in names)

    return spans


def _mastercard_wait(s: Subject) -> Spans:
    for attempt in s.informative:
        if _brand(s, attempt) != Network.MASTERCARD:
            continue
        said = _network_code(Network.MASTERCARD, Field.ADVICE, attempt.network_advice_code)
        if said is not None and said.wait_hours is not None:
            detail = f"Mastercard advice {said.code}: {said.says}"
            yield _until("mastercard_wait", attempt, timedelta(hours=said.wait_hours), detail)


def _velocity_block(s: Subject) -> Spans:
    for attempt in s.informative:
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
    unknown = [a for a in s.informative_here if not codes.lookup(a.decline_code).is_known]
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
    yield from _at_most(s, most, "attempts_per_card")


def _network_ceiling(s: Subject) -> Spans:
    most = NETWORK_CEILINGS.get(s.method.card_brand or "")
    if s.method.type == "card" and most is not None:
        yield from _at_most(s, most, "network_ceiling")


def _at_most(s: Subject, most: int, rule: str) -> Spans:
    if len(s.on_card) >= most:
        detail = f"{most} attempts on this card in 30 days"
        yield _until(rule, s.on_card[-most], _MONTH, detail)


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
    returned = (a for a in s.informative_here if a.outcome is Outcome.FAILED)
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


def _said_by_networks(attempt: Attempt, brand: str | None) -> Iterator[NetworkCode]:
    """What the network that answered, and Stripe beside it, have said."""
    found: list[NetworkCode | None] = [
        _network_code(Network.STRIPE, Field.ADVICE, attempt.advice_code)
    ]
    if brand in (Network.VISA, Network.MASTERCARD):
        network = Network(brand)
        found.append(_network_code(network, Field.DECLINE, attempt.network_decline_code))
        found.append(_network_code(network, Field.ADVICE, attempt.network_advice_code))
    return (said for said in found if said is not None)


def _network_code(network: Network, field: Field, code: str | None) -> NetworkCode | None:
    return None if code is None else codes.network_table().get((network, field, code))


def _is_plain_decline(s: Subject, attempt: Attempt) -> bool:
    """A decline that was not technical and that no network gave its own wait."""
    if attempt.outcome not in (Outcome.FAILED, Outcome.REQUIRES_ACTION):
        return False
    if codes.official_wait(_brand(s, attempt), attempt.network_advice_code) is not None:
        return False
    return not codes.lookup(attempt.decline_code).is_technical


def _brand(s: Subject, attempt: Attempt) -> str | None:
    """The network that answered: its codes mean nothing at another."""
    return attempt.card_brand or s.method.card_brand


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: what it says, where that comes from, and the function that knows."""

    name: str
    says: str
    source: str
    spans: Callable[[Subject], Spans]
    kind: Kind = Kind.BINDING


_OURS = "this engine"
RULES: tuple[Rule, ...] = (
    Rule("attempt_in_flight", "nothing while an outcome is unknown", _OURS, _in_flight),
    Rule("already_paid", "nothing on a paid invoice", _OURS, _paid),
    Rule("case_deadline", "nothing after the horizon", "policy", _deadline, Kind.PACING),
    Rule(
        "attempts_per_invoice",
        "8 attempts, everybody's",
        "Stripe's advice",
        _attempts_per_invoice,
        Kind.PACING,
    ),
    Rule("first_invoice", "first invoices within 23 hours", "Stripe Billing", _first_invoice),
    Rule("quiet_zone", "nothing near Stripe's own attempt", "policy", _quiet_zone, Kind.PACING),
    Rule("below_minimum", "Stripe's smallest charge", "docs.stripe.com/currencies", _minimum),
    Rule("consent_withdrawn", "never after a revocation", "Visa R0 R1 R3, MAC 21", _consent_gone),
    Rule("backup", "other methods by consent", "policy", _backup),
    Rule("backup_before_decline", "the default first", _OURS, _backup_before_decline, Kind.PACING),
    Rule("mandate_inactive", "no debit without a mandate", "SEPA, Nacha, Bacs", _mandate),
    Rule("account_blocked", "not what Stripe blocks", "Stripe", _blocked_account),
    Rule("india_mandate", "no unannounced Indian debits", "RBI e-mandates 2026", _india),
    Rule(
        "hard_decline",
        "never after a hard decline, unless it has paid since",
        "docs.stripe.com/declines",
        _rules_told("hard_decline"),
    ),
    Rule(
        "needs_change",
        "only with new data or another answer",
        "docs.stripe.com/declines",
        _rules_told("needs_change"),
    ),
    Rule(
        "authentication_needed",
        "only with the customer",
        "SCA",
        _rules_told("authentication_needed"),
    ),
    Rule(
        "visa",
        "category 1 never, category 3 with new data",
        "Visa table 7-2",
        _rules_told("visa_never", "visa_data"),
    ),
    Rule(
        "advice",
        "Stripe's advice codes",
        "docs.stripe.com/declines/card",
        _rules_told("advice_do_not_try_again", "advice_confirm_card_data"),
    ),
    Rule(
        "mastercard_advice",
        "merchant advice codes",
        "Mastercard",
        _rules_told("mastercard_never", "mastercard_new_data"),
    ),
    Rule("mastercard_wait", "waits by advice code", "Mastercard", _mastercard_wait),
    Rule("velocity_block", "72 hours after a velocity block", "Stripe support", _velocity_block),
    Rule("gap_on_card", "24, or 48 hours apart", _OURS, _gap, Kind.PACING),
    Rule("unknown_code", "one retry on an unknown code", _OURS, _unknown_code, Kind.PACING),
    Rule("attempts_per_card", "15 in 30 days, all invoices", _OURS, _card_ceiling, Kind.PACING),
    Rule("network_ceiling", "in 30 days, all invoices", "Visa 20, Mastercard 35", _network_ceiling),
    Rule("mastercard_day", "10 declines a day", "Mastercard", _mastercard_day),
    Rule("debit_representment", "how often a debit comes again", "Nacha, SEPA, Bacs", _debit),
    Rule("debit_weekend", "debits on working days", _OURS, _weekend, Kind.PACING),
)
