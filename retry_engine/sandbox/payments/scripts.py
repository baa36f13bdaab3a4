"""Scripts: how the bank answers one charge after another.

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
from dataclasses import replace

from retry_engine.sandbox.accounts.account import HOUR
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj
from retry_engine.sandbox.payments.outcomes import SUCCEEDED, Verdict, declined


def script_of(method: Obj, hidden: Obj) -> Sequence[object]:
    """The script that a method follows: its own, its test card's, or success for ever."""
    raw = (method.get("metadata") or {}).get("sandbox_script")
    if not raw:
        return hidden.get("script") or ["succeeded"]
    return read_script(raw)


def read_script(raw: str) -> Sequence[object]:
    """The script of a method, or a 400 that says what is wrong with it."""
    try:
        script = json.loads(raw)
        if not isinstance(script, list) or not script:
            raise ValueError("it must be a list with at least one entry")
        for entry in script:
            verdict_of(entry)
    except (ValueError, TypeError) as error:
        raise invalid(
            f"Invalid sandbox_script: {error}", param="metadata[sandbox_script]"
        ) from None
    return script


def verdict_of(entry: object) -> Verdict:
    """An entry of a script, read. TypeError and ValueError say what is wrong with it."""
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
        verdict = Verdict(outcome="processing", settles_as=verdict_of(settles_as or "succeeded"))
    else:
        word = "authentication_required" if word == "requires_action" else word
        verdict = declined(word, **rest)
    if then is not None:
        verdict = replace(verdict, then=verdict_of(then))
    return replace(verdict, settles_after=int(hours * HOUR)) if hours is not None else verdict
