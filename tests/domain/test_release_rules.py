"""What becomes of an invoice when its case ends, and which may be charged by Stripe again."""

from datetime import UTC, datetime, timedelta

import pytest

from retry_engine.domain import codes
from retry_engine.domain.actions import ActionKind
from retry_engine.domain.attempts import Attempt, Outcome, Source
from retry_engine.domain.case_states import CloseReason
from retry_engine.domain.case_view import CaseView
from retry_engine.domain.codes import DeclineCode, FinalFor, Retryable
from retry_engine.domain.modes import Mode
from retry_engine.domain.payment_methods import PaymentMethod
from retry_engine.domain.policy import Policy
from retry_engine.recovery.cases import what_follows
from retry_engine.recovery.charging.ownership import refused_by_rules

NOW = datetime(2026, 11, 3, 9, tzinfo=UTC)
DECLINES = sorted(codes.table().values(), key=lambda c: c.code)


@pytest.mark.parametrize("reason", CloseReason)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("taken_over", [True, False])
def test_only_a_person_gives_back_and_only_what_the_engine_may_write_to(
    reason: CloseReason, mode: Mode, taken_over: bool
) -> None:
    wanted = {
        give_back: what_follows(reason, mode=mode, taken_over=taken_over, give_back=give_back)
        for give_back in (True, False)
    }
    ended_by_somebody = reason in (CloseReason.STOPPED, CloseReason.DISPUTED)
    if ended_by_somebody and mode is Mode.TAKEOVER:
        assert wanted == {True: ActionKind.HAND_BACK, False: ActionKind.KEEP_OFF}
    elif reason is CloseReason.EXHAUSTED and taken_over:
        assert set(wanted.values()) == {ActionKind.END}  # the policy's end decides
    else:
        assert set(wanted.values()) == {None}


def _refused(code: DeclineCode, *, hours: float) -> str | None:
    """Why the invoice stays with nobody, so long after its default card was declined so."""
    declined = Attempt(
        at=NOW - timedelta(hours=hours), source=Source.STRIPE, outcome=Outcome.FAILED,
        amount=2900, currency="eur", invoice_id="in_1", payment_method_id="pm_1",
        card_brand="visa", card_fingerprint="fp_1", card_exp=(2029, 5), decline_code=code.code,
    )  # fmt: skip
    default = PaymentMethod(
        id="pm_1", card_brand="visa", card_exp=(2029, 5), card_fingerprint="fp_1", is_default=True
    )
    view = CaseView(
        case_id="rc_1", invoice_id="in_1", customer_id="cus_1", account="", now=NOW,
        opened_at=NOW - timedelta(hours=hours), deadline_at=NOW + timedelta(days=30), amount=2900,
        currency="eur", attempts=(declined,), payment_methods=(default,),
    )  # fmt: skip
    return refused_by_rules(view, at=NOW, policy=Policy())


@pytest.mark.parametrize("hours", [1, 24 * 29])
@pytest.mark.parametrize("code", DECLINES, ids=lambda c: c.code)
def test_what_is_final_for_anything_is_given_back_to_nobody(
    code: DeclineCode, hours: float
) -> None:
    refused = _refused(code, hours=hours)
    if code.finality.reach is not FinalFor.NOTHING or code.retryable is Retryable.NO:
        assert refused is not None
    elif code.retryable is Retryable.YES and hours > 24:
        assert refused is None
