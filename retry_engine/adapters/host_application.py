"""The host application's address: one signed POST an event.

    POST RETRY_ENGINE_EVENTS_URL
    Retry-Engine-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">

Any 2xx means that it has the event. No redirect is followed, since the one it leads to is not whom
the operator named; nothing of the answer is read beyond its status.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from retry_engine.adapters import signed_call
from retry_engine.domain.outbound import Answer
from retry_engine.store.outbox import Outgoing

# The whole call, however slowly its answer drips; the workers are made for other things.
_SECONDS = 10.0
_TIMEOUT = httpx.Timeout(_SECONDS, connect=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostApplication:
    """`clock` is real time, for the signature. No error has the address or the secret in it."""

    url: str = field(repr=False)
    secret: str = field(repr=False)
    clock: Callable[[], datetime]
    seconds: float = _SECONDS

    def tell(self, events: Sequence[Outgoing]) -> list[Answer]:
        """Post all of them at once; the answers in their order."""
        return asyncio.run(self._tell(events))

    async def _tell(self, events: Sequence[Outgoing]) -> list[Answer]:
        async with httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False) as client:
            return await asyncio.gather(*(self._post(client, event) for event in events))

    async def _post(self, client: httpx.AsyncClient, event: Outgoing) -> Answer:
        body = event.body.encode()
        headers = signed_call.headers(self.secret, int(self.clock().timestamp()), body)
        try:
            async with (
                asyncio.timeout(self.seconds),
                client.stream("POST", self.url, content=body, headers=headers) as answer,
            ):
                return _answer_of(answer)
        except TimeoutError:
            return Answer(error=f"no answer within {self.seconds:g} s", is_silent=True)
        except httpx.HTTPError as error:
            return Answer(error=f"no answer ({type(error).__name__})", is_silent=True)


def _answer_of(answer: httpx.Response) -> Answer:
    if answer.is_success:
        return Answer(error=None)
    more = ": redirects are not followed" if answer.is_redirect else ""
    return Answer(error=f"HTTP {answer.status_code}{more}")
