"""Carrying a call out: once for each idempotency key, and one at a time on an object."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator

from retry_engine.sandbox.accounts.account import Cause
from retry_engine.sandbox.api import expansion
from retry_engine.sandbox.api.failures import broke_down, lock_timeout
from retry_engine.sandbox.api.idempotency import Answer, Keys
from retry_engine.sandbox.api.route import Call, Route
from retry_engine.sandbox.errors import Refused, invalid
from retry_engine.sandbox.runtime import Sandbox
from retry_engine.sandbox.transport.faults import Fault


class Execution:
    """What is being carried out in a sandbox, and what was answered before."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._keys: defaultdict[str, Keys] = defaultdict(Keys)
        self._locked: set[str] = set()

    def begin(self, call: Call, key: str, mark: str) -> Answer | None:
        """The answer that is kept under the key; None where the call is to be carried out."""
        return self._keys[call.account.id].begin(key, mark, now=call.account.real_now())

    async def once(
        self, call: Call, route: Route, cause: Cause, striking: dict[str, Fault]
    ) -> Answer:
        """Carry it out under the object's lock, and keep the answer under the key."""
        keys, key = self._keys[call.account.id], cause.idempotency_key
        stored = False
        try:
            with self._lock(call, route):
                if "latency" in striking:
                    await asyncio.sleep(striking["latency"].seconds)
                if "ignored" in striking:
                    answer = _left_as_it_was(call)
                else:
                    answer = self._executed(call, route, cause)
                if "error_after" in striking:
                    answer = Answer(500, broke_down().body)
            if key is not None:
                keys.keep(key, answer)
                stored = True
            return answer
        finally:
            if key is not None and not stored:
                keys.forget(key)

    def _executed(self, call: Call, route: Route, cause: Cause) -> Answer:
        """The operation's answer; a refusal that Stripe keeps is an answer too."""
        account = call.account
        try:
            with account.caused_by(cause):
                thing = route.run(call)
        except Refused as refused:
            if not refused.stored:
                raise
            return Answer(refused.status, refused.body)
        body = expansion.answer(account, thing, call.params.get("expand", ()))
        if route.pattern.endswith("/advance"):
            self._sandbox.set_out(account, thing, call.params["frozen_time"])
        return Answer(200, body)

    @contextlib.contextmanager
    def _lock(self, call: Call, route: Route) -> Iterator[None]:
        if not route.locks:
            yield
            return
        held = f"{call.account.id}/{call.ids[0]}"
        if held in self._locked:
            raise lock_timeout()
        self._locked.add(held)
        try:
            yield
        finally:
            self._locked.discard(held)


def _left_as_it_was(call: Call) -> Answer:
    """The fault of a call that is answered as if all were well, and does nothing."""
    thing = call.account.find(call.ids[0]) if call.ids else None
    if thing is None:
        raise invalid("Only calls on an object can be ignored.")
    return Answer(200, expansion.answer(call.account, thing, call.params.get("expand", ())))
