"""How a charge ends: by the population's world, by a test card's nature, or by a script.

A script is JSON in a payment method's `metadata[sandbox_script]`: one entry for each successive
charge, the last one repeating. An entry is `"succeeded"`, `"requires_action"`, `"processing"`, a
decline code, or an object with `outcome` or `decline_code` and any of `advice_code`,
`network_advice_code`, `network_decline_code`, `outcome_type`, `reason`, `network_status`,
`risk_level`, `settles_after_hours`, `settles_as`, `then` (what follows when a customer who is
asked to prove themselves does), `asks_on_session` (only who is there is asked). Bank debits always
answer later: a plain entry says how they settle.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from retry_engine.sandbox.account import HOUR, Account
from retry_engine.sandbox.refusals import Obj, invalid

DEBITS = ("sepa_debit", "us_bank_account", "bacs_debit")
_DEBIT_HOURS = {"sepa_debit": 120, "us_bank_account": 96, "bacs_debit": 96}

# Billing's own list: it schedules and counts after these, but charges only another method.
HARD_CODES = frozenset(
    {
        "incorrect_number", "lost_card", "pickup_card", "stolen_card", "authentication_required",
        "revocation_of_authorization", "revocation_of_all_authorizations", "highest_risk_level",
        "transaction_not_allowed",
    }
)  # fmt: skip

# Declines whose `code` is not the general card_declined.
_OWN_CODES = frozenset(
    {"expired_card", "incorrect_cvc", "incorrect_number", "incorrect_zip", "processing_error",
     "invalid_expiry_month", "invalid_expiry_year", "invalid_cvc", "authentication_required"}
)  # fmt: skip
_BLOCKS = frozenset(
    {
        "highest_risk_level",
        "rule",
        "previously_declined_do_not_retry",
        "low_probability_of_authorization",
    }
)
_RISKS = {"highest_risk_level": "highest"}
_ADVICE = {
    "lost_card": "do_not_try_again",
    "stolen_card": "do_not_try_again",
    "pickup_card": "do_not_try_again",
    "invalid_account": "do_not_try_again",
    "revocation_of_authorization": "do_not_try_again",
    "revocation_of_all_authorizations": "do_not_try_again",
    "transaction_not_allowed": "do_not_try_again",
    "expired_card": "confirm_card_data",
    "incorrect_cvc": "confirm_card_data",
    "incorrect_number": "confirm_card_data",
    "insufficient_funds": "try_again_later",
    "issuer_not_available": "try_again_later",
    "processing_error": "try_again_later",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one charge ends. `outcome`: succeeded, failed, requires_action or processing."""

    outcome: str
    decline_code: str | None = None
    advice_code: str | None = None
    network_advice_code: str | None = None
    network_decline_code: str | None = None
    outcome_type: str = "authorized"
    reason: str | None = None
    network_status: str = "approved_by_network"
    risk_level: str = "normal"
    settles_after: int | None = None  # seconds
    settles_as: "Verdict | None" = None
    then: "Verdict | None" = None
    asks_on_session: bool = False
    debit: bool = False

    @property
    def code(self) -> str:
        """The coarse code of the error."""
        decline = self.decline_code or "card_declined"
        return decline if self.debit or decline in _OWN_CODES else "card_declined"


class Issuer(Protocol):
    """Who answers for methods of its own; None for all others."""

    def answer(
        self, method: Obj, *, amount: int, at: datetime, on_session: bool,
        previous: Sequence[datetime],
    ) -> Any: ...  # fmt: skip

    def challenges(
        self, method: Obj, *, amount: int, at: datetime, previous: Sequence[datetime]
    ) -> bool | None:
        """Whether the bank wants a customer who is there to prove themselves."""

    def method_behind(self, number: str) -> Obj | None:
        """A new method for a card number that is one of theirs."""


SUCCEEDED = Verdict(outcome="succeeded")


def declined(decline_code: str, **more: Any) -> Verdict:
    """A decline with the fields that usually come with the code."""
    blocked = decline_code in _BLOCKS
    kind = more.pop("outcome_type", None) or ("blocked" if blocked else "issuer_declined")
    sent = "not_sent_to_network" if kind in ("blocked", "invalid") else "declined_by_network"
    advice = more.pop("advice_code", _ADVICE.get(decline_code))
    return Verdict(
        outcome="requires_action" if decline_code == "authentication_required" else "failed",
        decline_code="generic_decline" if blocked else decline_code,
        advice_code=advice,
        outcome_type=kind,
        risk_level=more.pop("risk_level", None) or _RISKS.get(decline_code, "normal"),
        reason=more.pop("reason", None) or decline_code,
        network_status=more.pop("network_status", None) or sent,
        **more,
    )


def decide(account: Account, method: Obj, *, amount: int, at: int, on_session: bool) -> Verdict:
    """Ask whoever answers for this method."""
    hidden = account.hidden.setdefault(method["id"], {})
    previous = [account.moment(t) for t in hidden.get("tried", ())]
    hidden.setdefault("tried", []).append(at)
    moment = account.moment(at)
    once = hidden.pop("once", None)
    if once is not None:
        return _of_entry(once)
    for issuer in account.issuers:
        answer = issuer.answer(
            method, amount=amount, at=moment, on_session=on_session, previous=previous
        )
        if answer is not None:
            return _of_answer(answer, debit=method["type"] in DEBITS)
    return _scripted(method, hidden, at=at, on_session=on_session)


def say_once(account: Account, method: Obj, entry: Any) -> None:
    """The bank answers the next charge on it so, whatever it would have said."""
    try:
        _of_entry(entry)
    except (TypeError, ValueError) as error:
        raise invalid(f"Invalid verdict: {error}", param="verdict") from None
    account.hidden.setdefault(method["id"], {})["once"] = entry


def wants_authentication(account: Account, method: Obj, *, amount: int, at: int) -> bool:
    """Whether the bank would ask the customer to prove themselves; nothing is tried by asking."""
    hidden = account.hidden.get(method["id"], {})
    previous = [account.moment(t) for t in hidden.get("tried", ())]
    for issuer in account.issuers:
        asks = issuer.challenges(method, amount=amount, at=account.moment(at), previous=previous)
        if asks is not None:
            return bool(asks)
    if method["type"] in DEBITS:
        return False
    script = _script_of(method, hidden)
    entry = script[min(hidden.get("turn", 0), len(script) - 1)]
    verdict = _of_entry(entry)
    return verdict.outcome == "requires_action" or verdict.asks_on_session


def _scripted(method: Obj, hidden: Obj, *, at: int, on_session: bool) -> Verdict:
    script = _script_of(method, hidden)
    turn = hidden.get("turn", 0)
    hidden["turn"] = turn + 1
    entry = script[min(turn, len(script) - 1)]
    verdict = _of_entry(entry)
    if method["type"] in DEBITS:
        return _later(verdict, method["type"])
    if verdict.outcome == "requires_action" and on_session:
        return verdict.then or SUCCEEDED  # the customer is there and authenticates
    return verdict


def _script_of(method: Obj, hidden: Obj) -> Sequence[Any]:
    raw = (method.get("metadata") or {}).get("sandbox_script")
    if not raw:
        return hidden.get("script") or ["succeeded"]
    return read_script(raw)


def read_script(raw: str) -> Sequence[Any]:
    """The script of a method, or a 400 that says what is wrong with it."""
    try:
        script = json.loads(raw)
        if not isinstance(script, list) or not script:
            raise ValueError("it must be a list with at least one entry")
        for entry in script:
            _of_entry(entry)
    except (ValueError, TypeError) as error:
        raise invalid(
            f"Invalid sandbox_script: {error}", param="metadata[sandbox_script]"
        ) from None
    return script


def _of_entry(entry: Any) -> Verdict:
    if isinstance(entry, str):
        entry = {"outcome": entry}
    if not isinstance(entry, Mapping):
        raise TypeError("an entry is a text or an object")
    rest = dict(entry)
    word = rest.pop("decline_code", None) or rest.pop("outcome", None)
    rest.pop("outcome", None)
    if not isinstance(word, str):
        raise TypeError("an entry needs an outcome or a decline_code")
    hours = rest.pop("settles_after_hours", None)
    settles_as = rest.pop("settles_as", None)
    then = rest.pop("then", None)
    if word == "succeeded":
        verdict = replace(SUCCEEDED, **rest)
    elif word == "processing":
        verdict = Verdict(outcome="processing", settles_as=_of_entry(settles_as or "succeeded"))
    else:
        word = "authentication_required" if word == "requires_action" else word
        verdict = declined(word, **rest)
    if then is not None:
        verdict = replace(verdict, then=_of_entry(then))
    return replace(verdict, settles_after=int(hours * HOUR)) if hours is not None else verdict


def _later(verdict: Verdict, kind: str) -> Verdict:
    """A bank debit: accepted now, known later."""
    after = verdict.settles_after
    if after is None:
        after = _DEBIT_HOURS[kind] * HOUR
    final = verdict.settles_as if verdict.outcome == "processing" else verdict
    final = replace(final or SUCCEEDED, debit=True, advice_code=None)
    return Verdict(outcome="processing", settles_after=after, settles_as=final, debit=True)


def _of_answer(answer: Any, *, debit: bool) -> Verdict:
    """The world's answer in our words."""
    settles = answer.settles_as
    after = answer.settles_after
    return Verdict(
        outcome=str(answer.outcome),
        decline_code=answer.decline_code,
        advice_code=answer.advice_code,
        network_advice_code=answer.network_advice_code,
        network_decline_code=answer.network_decline_code,
        outcome_type=answer.outcome_type or "authorized",
        reason=answer.outcome_reason,
        network_status=answer.network_status or "approved_by_network",
        risk_level=answer.risk_level or "normal",
        settles_after=None if after is None else int(after.total_seconds()),
        settles_as=None if settles is None else _of_answer(settles, debit=debit),
        debit=debit,
    )
