"""What holds for the rules whatever has happened: random histories of random cards."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from retry_engine.domain import codes, network_rules
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Limits, Policy

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = Policy()

_BRANDS = ("visa", "mastercard", "amex")
_DEBITS = tuple(sorted(network_rules.DEBIT_RULES))
_ADVICE = sorted(codes.of_network(codes.Network.MASTERCARD, codes.Field.ADVICE))
_SOFT = ("insufficient_funds", "do_not_honor", "processing_error", "issuer_not_available", None)


@st.composite
def attempts(draw: st.DrawFn, *, soft: bool = False) -> Attempt:
    """One attempt before now on one of two cards, on this invoice or another."""
    card = draw(st.sampled_from("12"))
    every = st.sampled_from([*codes.table(), "never_seen_before", *(_SOFT * 8)])
    outcomes = [Outcome.FAILED] if soft else [Outcome.FAILED] * 6 + list(Outcome)
    return Attempt(
        at=NOW - timedelta(minutes=draw(st.integers(0, 50 * 24 * 60))),
        source=draw(st.sampled_from(Source)),
        outcome=draw(st.sampled_from(outcomes)),
        amount=2900,
        currency="eur",
        invoice_id=draw(st.sampled_from(["in_1", "in_2"])),
        payment_method_id=f"pm_{card}",
        card_brand=draw(st.sampled_from(_BRANDS)),
        card_fingerprint=f"fp_{card}",
        decline_code=draw(st.sampled_from(_SOFT) if soft else every),
        advice_code=None if soft else draw(st.sampled_from([None] * 8 + ["do_not_try_again"])),
        network_advice_code=draw(st.sampled_from([None, None, *_ADVICE])),
        network_decline_code=None if soft else draw(st.sampled_from([None] * 8 + ["51", "R0"])),
    )


@st.composite
def methods(draw: st.DrawFn) -> PaymentMethod:
    if draw(st.integers(0, 4)) == 0:
        return PaymentMethod(id="pm_1", type=draw(st.sampled_from(_DEBITS)), is_default=True)
    changed = draw(st.none() | st.integers(0, 40 * 24))
    return PaymentMethod(
        id="pm_1",
        card_brand=draw(st.sampled_from(_BRANDS)),
        card_fingerprint="fp_1",
        is_default=draw(st.booleans()),
        changed_at=None if changed is None else NOW - timedelta(hours=changed),
    )


def view_of(history: list[Attempt], method: PaymentMethod, *, quiet: int | None = None) -> CaseView:
    ordered = sorted(history, key=lambda a: a.at)
    return CaseView(
        case_id="rc_1",
        invoice_id="in_1",
        customer_id="cus_1",
        account="",
        now=NOW,
        opened_at=NOW - timedelta(days=50),
        deadline_at=NOW + timedelta(days=30),
        amount=2900,
        currency="eur",
        attempts=tuple(a for a in ordered if a.invoice_id == "in_1"),
        card_attempts=tuple(a for a in ordered if a.invoice_id != "in_1"),
        payment_methods=(method,),
        stripe_next_attempt_at=None if quiet is None else NOW + timedelta(hours=quiet),
    )


@st.composite
def cases(draw: st.DrawFn, *, soft: bool = False) -> CaseView:
    history = draw(st.lists(attempts(soft=soft), max_size=10))
    return view_of(history, draw(methods()), quiet=draw(st.none() | st.integers(-20, 200)))


moments = st.integers(0, 40 * 24 * 3600).map(lambda s: NOW + timedelta(seconds=s))


@given(cases(), moments)
def test_check_answers_exactly_inside_the_spans(view: CaseView, at: datetime) -> None:
    method = view.payment_methods[0]
    spans = network_rules.forbidden(view, method, policy=POLICY)
    holding = [s for s in spans if s.since <= at and (s.until is None or at < s.until)]
    found = network_rules.check(view, method, at=at, policy=POLICY)
    assert (found is None) == (not holding)
    if found is not None:
        assert found in holding
        ends = [s.until for s in holding]
        assert found.until is None if None in ends else found.until == max(e for e in ends if e)


@given(cases())
def test_spans_are_no_empty_ones_and_none_is_over(view: CaseView) -> None:
    for span in network_rules.forbidden(view, view.payment_methods[0], policy=POLICY):
        assert span.until is None or span.until > max(span.since, view.now)
        assert span.detail
        assert span.since.tzinfo is not None


@settings(max_examples=300)
@given(cases(soft=True) | cases(), moments)
def test_the_earliest_moment_is_allowed_and_none_before_it_is(
    view: CaseView, after: datetime
) -> None:
    method = view.payment_methods[0]
    spans = network_rules.forbidden(view, method, policy=POLICY)
    found = network_rules.earliest(view, method, after=after, policy=POLICY)
    # whatever is allowed begins at `after` or where some span ends
    ends = [s.until for s in spans if s.until is not None and s.until > after]
    allowed = [
        at
        for at in (after, *ends)
        if network_rules.check(view, method, at=at, policy=POLICY) is None
    ]
    assert found == min(allowed, default=None)
    if found is not None and found > after:
        before = network_rules.check(view, method, at=found - SECOND, policy=POLICY)
        assert before is not None


@settings(max_examples=300)
@given(cases(soft=True), attempts(), moments)
def test_a_further_failure_never_allows_what_was_forbidden(
    view: CaseView, further: Attempt, at: datetime
) -> None:
    method = view.payment_methods[0]
    # a backup waits for a definite answer, which a first failure is; a success ends some stops,
    # and so does a failure that only a living card is answered with
    failed = replace(further, outcome=Outcome.FAILED)
    if network_rules.shows_life(failed, method.card_brand):
        return
    if not method.is_default and not view.attempts:
        return
    more = view_of([*view.attempts, *view.card_attempts, failed], method)
    more = replace(more, stripe_next_attempt_at=view.stripe_next_attempt_at)
    if network_rules.check(view, method, at=at, policy=POLICY) is not None:
        assert network_rules.check(more, method, at=at, policy=POLICY) is not None


@given(cases(), moments, st.integers(1, 30))
def test_a_stricter_policy_never_allows_more(view: CaseView, at: datetime, limit: int) -> None:
    method = view.payment_methods[0]
    strict = Policy(
        limits=Limits(
            max_attempts=min(limit, 8),
            max_attempts_per_card_30_days=min(limit, 15),
            min_gap_hours=24.0 + limit,
            min_gap_after_decline_hours=48.0 + limit,
            unknown_code_retries=0,
            quiet_zone_hours=12.0 + limit,
        )
    )
    if network_rules.check(view, method, at=at, policy=POLICY) is not None:
        assert network_rules.check(view, method, at=at, policy=strict) is not None


@given(cases(), moments)
def test_no_policy_lifts_the_networks_own_limits(view: CaseView, at: datetime) -> None:
    reckless = Policy(
        limits=Limits(
            max_attempts=1000,
            max_attempts_per_card_30_days=1000,
            min_gap_hours=0.0,
            min_gap_after_decline_hours=0.0,
            unknown_code_retries=1000,
            unknown_code_gap_hours=0.0,
            quiet_zone_hours=0.0,
        )
    )
    theirs = {
        "visa_never", "visa_data", "mastercard_never", "mastercard_wait", "mastercard_new_data",
        "mastercard_declines_a_day", "debit_representment", "hard_decline", "needs_change",
        "consent_withdrawn", "authentication_needed", "attempt_in_flight", "already_paid",
    }  # fmt: skip
    method = view.payment_methods[0]
    kept = {s for s in network_rules.forbidden(view, method, policy=POLICY) if s.rule in theirs}
    lifted = network_rules.forbidden(view, method, policy=reckless)
    assert kept <= set(lifted)
    if any(s.holds_at(at) for s in kept):
        assert network_rules.check(view, method, at=at, policy=reckless) is not None


_OF_THE_CARD = {
    "hard_decline", "needs_change", "authentication_needed", "visa_never", "visa_data",
    "advice_do_not_try_again", "advice_confirm_card_data", "mastercard_never", "mastercard_wait",
    "mastercard_new_data", "velocity_block", "gap_on_card", "unknown_code",
}  # fmt: skip
# A network's own ban of the number outlives a new expiry.
_BANS = {"hard_decline", "visa_never", "mastercard_never"}
_COUNTS = {"attempts_per_invoice", "attempts_per_card", "mastercard_declines_a_day"}


@given(cases())
def test_new_data_lift_what_was_held_against_the_card_but_no_count(view: CaseView) -> None:
    method = view.payment_methods[0]
    before = network_rules.forbidden(view, method, policy=POLICY)
    changed = replace(method, changed_at=view.now)
    after = network_rules.forbidden(
        replace(view, payment_methods=(changed,)), changed, policy=POLICY
    )
    assert {s.rule for s in after if s.rule in _OF_THE_CARD} <= _BANS
    renumbered = replace(changed, card_fingerprint="fp_3")
    lifted = network_rules.forbidden(
        replace(view, payment_methods=(renumbered,)), renumbered, policy=POLICY
    )
    assert {s.rule for s in lifted}.isdisjoint(_OF_THE_CARD)
    assert {s for s in before if s.rule in _COUNTS} == {s for s in after if s.rule in _COUNTS}


@given(cases(), st.integers(0, 2**32))
def test_the_order_in_which_other_invoices_are_read_does_not_matter(
    view: CaseView, seed: int
) -> None:
    method = view.payment_methods[0]
    turned = replace(view, card_attempts=tuple(reversed(view.card_attempts)))
    same = [
        sorted((s.rule, s.since, str(s.until)) for s in found)
        for found in (
            network_rules.forbidden(view, method, policy=POLICY),
            network_rules.forbidden(turned, method, policy=POLICY),
        )
    ]
    assert same[0] == same[1]


@given(st.lists(attempts(soft=True), min_size=1, max_size=14))
def test_a_soft_history_followed_to_the_letter_keeps_every_ceiling(history: list[Attempt]) -> None:
    """Charge at each earliest moment until none is left; count anew what came of it."""
    method = PaymentMethod(id="pm_1", card_brand="visa", card_fingerprint="fp_1", is_default=True)
    made = [replace(a, invoice_id="in_2") for a in history]
    ours: list[Attempt] = []
    view = view_of(made, method)
    while (at := network_rules.earliest(view, method, after=view.now, policy=POLICY)) is not None:
        ours.append(
            Attempt(
                at=at,
                source=Source.ENGINE,
                outcome=Outcome.FAILED,
                amount=2900,
                currency="eur",
                invoice_id="in_1",
                payment_method_id="pm_1",
                card_brand="visa",
                card_fingerprint="fp_1",
                decline_code="insufficient_funds",
            )
        )
        view = replace(view_of([*made, *ours], method), now=at)
    assert len(ours) <= POLICY.limits.max_attempts
    on_card = [a.at for a in (*made, *ours) if a.card_fingerprint == "fp_1"]
    for attempt in ours:
        month = [at for at in on_card if attempt.at - timedelta(days=30) < at <= attempt.at]
        assert len(month) <= POLICY.limits.max_attempts_per_card_30_days
        others = [at for at in on_card if at < attempt.at]
        assert all(attempt.at - at >= timedelta(hours=24) for at in others)
    gaps = [b.at - a.at for a, b in pairwise(ours)]
    assert all(gap >= timedelta(hours=48) for gap in gaps)
