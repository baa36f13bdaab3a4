"""What answers say of a card: which of them are about it as it is now, and what each forbids.

What an answer is final for, what lifts it and how it ages stands in the tables of `codes`: the
issuer's latest answer decides, old evidence fades, a network's own ban of a number stays. What was
declined before a card's data changed says nothing about the card as it is now.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from retry_engine.domain import codes
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
from retry_engine.domain.network_rules.spans import Forbidden
from retry_engine.domain.payment_methods import PaymentMethod

# What declines say of a card: it stands until the card, or its answer, is another, or it has aged.
ABOUT_THE_CARD = frozenset(
    "hard_decline needs_change authentication_needed visa_never visa_data advice_do_not_try_again"
    " advice_confirm_card_data mastercard_never mastercard_new_data".split()
)


# -- which answers are about the card as it is


def declines_of(view: CaseView, method: PaymentMethod) -> list[Attempt]:
    """Declines that say something of the method as it is now, over all invoices, oldest first."""
    return [
        a
        for a in view.attempts_on(method)
        if a.outcome in (Outcome.FAILED, Outcome.REQUIRES_ACTION) and is_about(a, method)
    ]


def is_about(attempt: Attempt, method: PaymentMethod) -> bool:
    """Whether an attempt was made on the card as it is now: the same number and expiry."""
    now, then = method.card_exp, attempt.card_exp
    if now is not None and then is not None and now != then:
        return False
    return is_same_number(attempt, method) and not _is_older(attempt, method)


def is_same_number(attempt: Attempt, method: PaymentMethod) -> bool:
    now, then = method.card_fingerprint, attempt.card_fingerprint
    if now is not None and then is not None:
        return now == then
    return not _is_older(attempt, method)


def _is_older(attempt: Attempt, method: PaymentMethod) -> bool:
    """Whether the method's data changed since."""
    return method.changed_at is not None and attempt.at <= method.changed_at


# -- what one answer forbids


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
    for said in said_by_networks(attempt, brand):
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


# -- what of it stands


def told_by_declines(
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
        return is_same_number(attempt, method)
    return is_about(attempt, method) and (here or reach is FinalFor.CREDENTIAL)


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
        and is_about(later, method)
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
    said = any(said.shows_life for said in said_by_networks(attempt, brand))
    return said or codes.lookup(attempt.decline_code).shows_life


# -- the codes of an answer


def _codes_of(attempt: Attempt) -> Iterator[codes.DeclineCode]:
    """The decline code, and the reason where Stripe itself blocked the charge."""
    if attempt.decline_code is not None or attempt.outcome is Outcome.FAILED:
        yield codes.lookup(attempt.decline_code)
    if attempt.outcome_reason is not None and attempt.outcome_reason != attempt.decline_code:
        reason = codes.lookup(attempt.outcome_reason)
        if reason.is_known:
            yield reason


def said_by_networks(attempt: Attempt, brand: str | None) -> Iterator[NetworkCode]:
    """What the network that answered, and Stripe beside it, have said."""
    found: list[NetworkCode | None] = [
        network_code(Network.STRIPE, Field.ADVICE, attempt.advice_code)
    ]
    if brand in (Network.VISA, Network.MASTERCARD):
        network = Network(brand)
        found.append(network_code(network, Field.DECLINE, attempt.network_decline_code))
        found.append(network_code(network, Field.ADVICE, attempt.network_advice_code))
    return (said for said in found if said is not None)


def network_code(network: Network, field: Field, code: str | None) -> NetworkCode | None:
    return None if code is None else codes.network_table().get((network, field, code))
