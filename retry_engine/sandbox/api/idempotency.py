"""Idempotency keys as Stripe keeps them: the first answer after execution began, for a day."""

import json
from dataclasses import dataclass
from hashlib import sha256

from retry_engine.sandbox.accounts.account import DAY
from retry_engine.sandbox.errors import Refused
from retry_engine.sandbox.objects import Obj


@dataclass(slots=True)
class Answer:
    """What went over the wire the first time."""

    status: int
    body: Obj


@dataclass(slots=True)
class _Kept:
    request: str
    since: int
    answer: Answer | None  # None while it is being carried out


def same_request(method: str, path: str, params: Obj) -> str:
    """Tells requests apart that use one key."""
    text = json.dumps([method, path, params], sort_keys=True)
    return sha256(text.encode()).hexdigest()


class Keys:
    """The keys of one account."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def begin(self, key: str, request: str, *, now: int) -> Answer | None:
        """The answer to replay, or None when the request is to be carried out."""
        if len(key) > 255:
            raise Refused(400, "idempotency_error", "Idempotency keys are at most 255 characters.")
        kept = self._kept.get(key)
        if kept is not None and now - kept.since >= DAY:
            kept = None  # pruned: the same key runs again
        if kept is None:
            self._kept[key] = _Kept(request, now, None)
            return None
        if kept.request != request:
            raise Refused(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they "
                f"were first used with. Try using a key other than '{key}' if you meant to "
                "execute a different request.",
            )
        if kept.answer is None:
            raise Refused(
                409,
                "idempotency_error",
                "There is currently another in-progress request using this Stripe Idempotent "
                "Key. Please try again later.",
                code="idempotency_key_in_use",
            )
        return kept.answer

    def keep(self, key: str, answer: Answer) -> None:
        """The first answer is the answer."""
        self._kept[key].answer = answer

    def forget(self, key: str) -> None:
        """Nothing is stored where execution never began."""
        self._kept.pop(key, None)
