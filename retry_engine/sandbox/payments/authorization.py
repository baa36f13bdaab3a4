"""The bank is asked: the population's world answers, a script, or a test card's nature."""

from dataclasses import replace

from retry_engine.sandbox.accounts.account import HOUR, Account
from retry_engine.sandbox.accounts.issuers import IssuerAnswer
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments.outcomes import DEBITS, SUCCEEDED, Verdict
from retry_engine.sandbox.payments.scripts import script_of, verdict_of

_DEBIT_HOURS = {"sepa_debit": 120, "us_bank_account": 96, "bacs_debit": 96}


def decide(account: Account, method: Obj, *, amount: int, at: int, on_session: bool) -> Verdict:
    """Ask whoever answers for this method."""
    hidden = account.hidden.setdefault(method["id"], {})
    previous = [account.moment(t) for t in hidden.get("tried", ())]
    hidden.setdefault("tried", []).append(at)
    moment = account.moment(at)
    once = hidden.pop("once", None)
    if once is not None:
        return verdict_of(once)
    for issuer in account.issuers:
        answer = issuer.answer(
            method, amount=amount, at=moment, on_session=on_session, previous=previous
        )
        if answer is not None:
            return _of_answer(answer, debit=method["type"] in DEBITS)
    return _scripted(method, hidden, at=at, on_session=on_session)


def say_once(account: Account, method: Obj, entry: object) -> None:
    """The bank answers the next charge on it so, whatever it would have said."""
    try:
        verdict_of(entry)
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
            return asks
    if method["type"] in DEBITS:
        return False
    script = script_of(method, hidden)
    entry = script[min(hidden.get("turn", 0), len(script) - 1)]
    verdict = verdict_of(entry)
    return verdict.outcome == "requires_action" or verdict.asks_on_session


def _scripted(method: Obj, hidden: Obj, *, at: int, on_session: bool) -> Verdict:
    script = script_of(method, hidden)
    turn = hidden.get("turn", 0)
    hidden["turn"] = turn + 1
    entry = script[min(turn, len(script) - 1)]
    verdict = verdict_of(entry)
    if method["type"] in DEBITS:
        return _later(verdict, method["type"])
    if verdict.outcome == "requires_action" and on_session:
        return verdict.then or SUCCEEDED  # the customer is there and authenticates
    return verdict


def _later(verdict: Verdict, kind: str) -> Verdict:
    """A bank debit: accepted now, known later."""
    after = verdict.settles_after
    if after is None:
        after = _DEBIT_HOURS[kind] * HOUR
    final = verdict.settles_as if verdict.outcome == "processing" else verdict
    final = replace(final or SUCCEEDED, debit=True, advice_code=None)
    return Verdict(outcome="processing", settles_after=after, settles_as=final, debit=True)


def _of_answer(answer: IssuerAnswer, *, debit: bool) -> Verdict:
    """The world's answer in our words."""
    settles = answer.settles_as
    after = answer.settles_after
    return Verdict(
        outcome=answer.outcome,
        decline_code=answer.decline_code,
        advice_code=answer.advice_code,
        network_advice_code=answer.network_advice_code,
        network_decline_code=answer.network_decline_code,
        outcome_type=answer.outcome_type,
        reason=answer.outcome_reason,
        network_status=answer.network_status,
        risk_level=answer.risk_level,
        settles_after=None if after is None else int(after.total_seconds()),
        settles_as=None if settles is None else _of_answer(settles, debit=debit),
        debit=debit,
    )
