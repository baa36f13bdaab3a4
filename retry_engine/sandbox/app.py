"""The sandbox's HTTP door: Stripe's `/v1`, its pages for customers, and `/_sandbox` for steering.

`/v1` answers what `routes.ROUTES` lists and 404 in Stripe's error shape for all else. Any
`sk_test_…` or `rk_test_…` key is let in (Bearer or Basic; one that begins `sk_test_expired` has
expired), any `pk_test_…` where Stripe lets one in; `Stripe-Account` keeps connected accounts apart.
`hosted` and `stripe_js` have the pages.
Unlike Stripe, a test clock takes any number of customers.

Steering (JSON, no key):
- `POST /_sandbox/population` `{"seed", "invoices", "days", "start"?, "clock"?}`: a simulated
  population whose renewals fail in the first days; `{"clock", "customers", "start", "end"}`.
- `GET /_sandbox/next?clock=`: `{"at", "what"}` of what happens by itself next, or nulls.
- `GET /_sandbox/ledger`: `{"data": [...]}`, every attempt to take money that was carried out.
- `GET /_sandbox/summary`: recovered cases and money, by decline code and by attempt.
- `GET /_sandbox/webhooks`: `{"pending"}`: deliveries not acknowledged, and clocks on their way.
- `POST /_sandbox/act` `{"customer" or "invoice", "act", "payment_method"?, "card"?, …}`: what
  befalls somebody; see `steering` for what each act takes: `pay_on_page`, `update_card`,
  `add_method`, `cancel`, `dispute`, `dispute_closed`, `early_fraud_warning`, `other_charge`,
  `card_automatically_updated`, `detach`.
- `POST /_sandbox/withdraw` `{"account"}`: a connected account takes the platform's access back.
- `GET /_sandbox/people?clock=`: what each person of the populations did and paid, what became of
  their subscriptions, and the sums.
- `GET /_sandbox/mail?address=&customer=`: the mail that came, as JSON; `GET /_sandbox/mailboxes`
  shows it in a browser; `POST` `{"address", "state"}` says what an address does with mail: `good`,
  `unknown`, `full`, `bounces`.
- `GET`, `POST`, `DELETE /_sandbox/faults`: see `faults`.
- `POST /_sandbox/sigma` `{"title", "csv", "status"?, "error"?}`: a scheduled Sigma query has run
  with that result; the run.
- `POST /_sandbox/settings` `{"retry_days": [3, 5, 7]}`: Stripe's own retries; `[]` = off.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from random import Random
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from retry_engine.sandbox import clocks, hosted, objects, pages, routes, steering, stripe_js, wire
from retry_engine.sandbox.account import API_VERSION, Account, Cause, Terms
from retry_engine.sandbox.faults import Fault, Faults
from retry_engine.sandbox.idempotency import Answer, Keys, same_request
from retry_engine.sandbox.post import Post
from retry_engine.sandbox.refusals import Obj, Refused, invalid, limited
from retry_engine.sandbox.webhooks import BACKOFF, Dispatcher

PLATFORM = "acct_1Sandbox000000000"

# After so many happenings a clock on its way lets others speak.
_BREATH = 20


class Sandbox:
    """All accounts behind one door, and what they share.

    Example:
        sandbox = Sandbox(now=lambda: datetime.now(UTC), seed=1)
        app = create_app(sandbox)
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        seed: int = 0,
        retry_days: tuple[float, ...] = (3, 5, 7),
        backoff: tuple[float, ...] = BACKOFF,
        public_url: str | None = None,
        smtp_host: str = "127.0.0.1",
        smtp_port: int | None = None,
    ) -> None:
        self.now = now
        self.public_url = public_url
        self.seed = seed
        self.rng = Random(f"{seed} door")  # noqa: S311 -- ids and dice of a simulation
        self.faults = Faults(Random(f"{seed} faults"))  # noqa: S311
        self.dispatcher = Dispatcher(now=now, rng=self.rng, faults=self.faults, backoff=backoff)
        self.retry_days = retry_days
        self.accounts: dict[str, Account] = {}
        self.keys: dict[str, Keys] = {}
        self.locked: set[str] = set()
        self.advancing = 0
        self.tasks: set[asyncio.Task[None]] = set()
        # None: no mail is taken; 0: any free port
        self.smtp_host, self.smtp_port = smtp_host, smtp_port
        self.post = Post(self.accounts, now=now)
        self.platform = self.account(PLATFORM)

    def account(self, account_id: str) -> Account:
        """The account, made when it is first spoken of."""
        if account_id not in self.accounts:
            rng = Random(f"{self.seed} {account_id}")  # noqa: S311
            terms = Terms(retry_days=self.retry_days)
            if self.public_url:
                terms.pages_at = self.public_url
            made = Account(account_id, now=self.now, rng=rng, terms=terms)
            made.listeners.append(lambda event: self._tell(made, event))
            self.accounts[account_id] = made
            self.keys[account_id] = Keys()
        return self.accounts[account_id]

    def withdraw(self, account: Account) -> None:
        """The account's owner takes the platform's access back: the last that is heard of it."""
        if account is self.platform:
            raise invalid("The platform's own account cannot withdraw.", param="account")
        if not account.withdrawn:
            application = objects.application(id="ca_sandbox", name="Sandbox")
            account.emit("account.application.deauthorized", application)
            account.withdrawn = True

    def _tell(self, account: Account, event: Obj) -> None:
        if account.withdrawn:
            return
        if account is not self.platform:
            event["account"] = account.id
        self.dispatcher.accept(account, event, self.platform)

    @property
    def pending(self) -> int:
        """Deliveries nobody has acknowledged, and clocks that are on their way."""
        return self.dispatcher.pending + self.advancing

    async def open_post(self) -> asyncio.Server | None:
        """Take mail, where that is wanted; `smtp_port` is the real port from then on."""
        if self.smtp_port is None:
            return None
        server = await self.post.open(self.smtp_host, self.smtp_port)
        self.smtp_port = int(server.sockets[0].getsockname()[1])
        return server

    def set_out(self, account: Account, clock: Obj, frozen_time: int) -> None:
        """Play a clock's advance in the background."""
        self.advancing += 1
        task = asyncio.create_task(self._advance(account, clock, frozen_time))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _advance(self, account: Account, clock: Obj, frozen_time: int) -> None:
        try:
            for step, _ in enumerate(clocks.advance_steps(account, clock, frozen_time)):
                await self._let_visit(account, clock)
                if step % _BREATH == 0:
                    await asyncio.sleep(0)
        finally:
            self.advancing -= 1

    async def _let_visit(self, account: Account, clock: Obj) -> None:
        """People go where they wanted to; the clock stands still for them, and can be worked on.

        Nobody is told that it is ready: it is only for as long as they are there.
        """
        if not account.visits:
            return
        target = clock["status_details"]
        frozen = account.clock_now(clock["id"])
        clock.update(frozen_time=frozen, status="ready", status_details={})
        try:
            while account.visits:
                await account.visits.popleft()()
        finally:
            clock.update(status="advancing", status_details=target)

    async def keep_real_time(self) -> None:
        """Let what is due on real time happen."""
        while True:
            for account in list(self.accounts.values()):
                while account.play_next(None, account.real_now()):
                    await asyncio.sleep(0)
                while account.visits and not self.advancing:
                    await account.visits.popleft()()
            await asyncio.sleep(0.5)


class _Broken(Response):
    """An answer that never arrives: the connection breaks off behind its head."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
        await send({"type": "http.response.start", "status": 200, "headers": head})


def create_app(sandbox: Sandbox) -> Starlette:
    """The ASGI application of a sandbox."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        door = await sandbox.open_post()
        running = [
            asyncio.create_task(sandbox.dispatcher.run()),
            asyncio.create_task(sandbox.keep_real_time()),
        ]
        yield
        if door is not None:
            door.close()
        for task in (*running, *sandbox.tasks):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def v1(request: Request) -> Response:
        return await _answer(sandbox, request)

    async def steer(request: Request) -> Response:
        return await _steered(sandbox, request)

    methods = ["GET", "POST", "DELETE"]
    return Starlette(
        routes=[
            HttpRoute("/v1/{rest:path}", v1, methods=methods),
            HttpRoute("/_sandbox/{what}", steer, methods=methods),
            *hosted.routes(sandbox.accounts),
            *stripe_js.routes(),
            HttpRoute("/{rest:path}", v1, methods=methods),
        ],
        # as at Stripe: pages call the API with publishable keys from anywhere
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
            )
        ],
        lifespan=lifespan,
    )


async def _answer(sandbox: Sandbox, request: Request) -> Response:
    request_id = f"req_{''.join(sandbox.rng.choices('abcdefghijkmnpqrstuvwxyz0123456789', k=14))}"
    headers = {
        "Request-Id": request_id,
        "Stripe-Version": request.headers.get("stripe-version", API_VERSION),
    }
    try:
        return await _carry_out(sandbox, request, request_id, headers)
    except Refused as refused:
        return JSONResponse(refused.body, refused.status, headers)


async def _carry_out(
    sandbox: Sandbox, request: Request, request_id: str, headers: dict[str, str]
) -> Response:
    pairs = await _pairs(request)
    public = _is_publishable(request, dict(pairs).get("key"))
    account = sandbox.account(request.headers.get("stripe-account") or PLATFORM)
    if account.withdrawn:
        raise _withdrawn(account)
    route, ids = routes.match(request.method, request.url.path)
    if public and not route.takes_publishable:
        raise Refused(
            401,
            "invalid_request_error",
            "This API call cannot be made with a publishable API key. Please use a secret API key.",
            code="secret_key_required",
        )
    raw = wire.decode(pairs)
    secret = None
    if route.takes_publishable:
        raw.pop("key", None)
        secret = str(raw.pop("client_secret", None) or "")
    striking = sandbox.faults.strike(f"{request.method} {request.url.path}")
    if "drop_before" in striking:
        return _Broken()
    _refuse_before(striking)
    if sandbox.faults.forbids(request.method, route.resource):
        raise Refused(
            403,
            "invalid_request_error",
            f"The provided key does not have the required permissions for this endpoint: "
            f"{route.resource}.",
        )
    params = wire.typed(raw, {**route.spec, **route.older})
    wire.refuse_too_deep(params.get("expand", ()))
    call = routes.Call(account, params, ids, request.url.path, public=public, secret=secret)
    if route.is_file:
        if "drop_after" in striking:
            return _Broken()
        return Response(route.run(call)["contents"], media_type="text/csv", headers=headers)
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    keys = sandbox.keys[account.id]
    if key is not None:
        mark = same_request(request.method, request.url.path, raw)
        kept = keys.begin(key, mark, now=account.real_now())
        if kept is not None:
            replayed = {**headers, "Idempotent-Replayed": "true", "Idempotency-Key": key}
            return JSONResponse(kept.body, kept.status, replayed)
    cause = Cause(request=request_id, idempotency_key=key)
    answer = await _once(sandbox, call, route, cause, striking)
    if "drop_after" in striking:
        return _Broken()
    return JSONResponse(answer.body, answer.status, headers)


async def _once(
    sandbox: Sandbox, call: routes.Call, route: routes.Route, cause: Cause,
    striking: dict[str, Fault],
) -> Answer:  # fmt: skip
    """Carry it out under the object's lock, and keep the answer under the key."""
    keys, key = sandbox.keys[call.account.id], cause.idempotency_key
    stored = False
    try:
        async with _lock(sandbox, call, route):
            if "latency" in striking:
                await asyncio.sleep(striking["latency"].seconds)
            if "ignored" in striking:
                answer = _left_as_it_was(call)
            else:
                answer = _executed(sandbox, call, route, cause)
            if "error_after" in striking:
                answer = Answer(500, _broke_down().body)
        if key is not None:
            keys.keep(key, answer)
            stored = True
        return answer
    finally:
        if key is not None and not stored:
            keys.forget(key)


def _executed(sandbox: Sandbox, call: routes.Call, route: routes.Route, cause: Cause) -> Answer:
    """The operation's answer; a refusal that Stripe keeps is an answer too."""
    account = call.account
    try:
        with account.caused_by(cause):
            thing = route.run(call)
    except Refused as refused:
        if not refused.stored:
            raise
        return Answer(refused.status, refused.body)
    body = wire.answer(account, thing, call.params.get("expand", ()))
    if route.pattern.endswith("/advance"):
        sandbox.set_out(account, thing, call.params["frozen_time"])
    return Answer(200, body)


def _left_as_it_was(call: routes.Call) -> Answer:
    """The fault of a call that is answered as if all were well, and does nothing."""
    thing = call.account.find(call.ids[0]) if call.ids else None
    if thing is None:
        raise invalid("Only calls on an object can be ignored.")
    return Answer(200, wire.answer(call.account, thing, call.params.get("expand", ())))


@contextlib.asynccontextmanager
async def _lock(sandbox: Sandbox, call: routes.Call, route: routes.Route) -> AsyncIterator[None]:
    if not route.locks:
        yield
        return
    held = f"{call.account.id}/{call.ids[0]}"
    if held in sandbox.locked:
        raise _lock_timeout()
    sandbox.locked.add(held)
    try:
        yield
    finally:
        sandbox.locked.discard(held)


def _withdrawn(account: Account) -> Refused:
    return Refused(
        403,
        "invalid_request_error",
        f"The provided key 'sk_test_********' does not have access to account '{account.id}' (or "
        "that account does not exist). Application access may have been revoked.",
        code="account_invalid",
    )


def _lock_timeout() -> Refused:
    return limited(
        "lock_timeout",
        "This object cannot be accessed right now because another API request or Stripe process "
        "is currently accessing it.",
    )


def _broke_down() -> Refused:
    return Refused(500, "api_error", "An unknown error occurred")


def _refuse_before(striking: dict[str, Fault]) -> None:
    """What keeps a call from being carried out at all; nothing of it is stored."""
    if "rate_limit" in striking:
        raise limited("rate_limit", "Too many requests hit the API too quickly.")
    if "lock_timeout" in striking:
        raise _lock_timeout()
    if "conflict" in striking:
        raise Refused(
            409,
            "idempotency_error",
            "There is currently another in-progress request using this Stripe Idempotent Key.",
            code="idempotency_key_in_use",
        )
    if "error_before" in striking:
        raise _broke_down()


def _is_publishable(request: Request, given: str | None) -> bool:
    """Let the key in; whether it is one that stands in customers' pages."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        scheme, key = "Bearer", _user_of(key)
    if not key and given:
        scheme, key = "Bearer", given  # as Stripe.js sends it, in the body
    shown = f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 16 else "***"
    if key.startswith(("sk_test_expired", "rk_test_expired")):
        raise Refused(401, "invalid_request_error", f"Expired API Key provided: {shown}")
    if scheme.lower() == "bearer" and key.startswith(("sk_test_", "rk_test_")):
        return False
    if scheme.lower() == "bearer" and key.startswith("pk_test_"):
        return True
    if not key:
        raise Refused(401, "invalid_request_error", "You did not provide an API key.")
    raise Refused(401, "invalid_request_error", f"Invalid API Key provided: {shown}")


def _user_of(credentials: str) -> str:
    """The key of `curl -u sk_test_…:`, where it is the user's name."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
    except ValueError:
        return "***"


async def _pairs(request: Request) -> list[tuple[str, str]]:
    body = (await request.body()).decode()
    pairs = parse_qsl(request.url.query, keep_blank_values=True)
    return pairs + parse_qsl(body, keep_blank_values=True)


async def _steered(  # noqa: PLR0911  # one line a path
    sandbox: Sandbox, request: Request
) -> Response:
    """`/_sandbox/…`."""
    what = request.path_params["what"]
    if request.method == "POST":
        try:
            given = json.loads(await request.body() or b"{}")
        except ValueError:
            return JSONResponse(invalid("The body is not JSON").body, 400)
    else:
        given = dict(request.query_params)
    account = sandbox.account(str(given.pop("account", PLATFORM)))
    try:
        if what == "faults":
            if request.method != "GET":
                sandbox.faults.replace(given if request.method == "POST" else {})
            return JSONResponse(sandbox.faults.as_json())
        if what == "mail":
            return JSONResponse({"data": _letters(sandbox, given)})
        if what == "mailboxes" and request.method == "GET":
            return _mailboxes(sandbox, given.get("address"))
        if what == "mailboxes":
            sandbox.post.set_state(str(given.get("address", "")), str(given.get("state", "")))
            return JSONResponse({})
        if what == "withdraw":
            sandbox.withdraw(account)
            return JSONResponse({"account": account.id, "withdrawn": account.withdrawn})
        if what == "webhooks":
            return JSONResponse({"pending": sandbox.pending})
        return JSONResponse(steering.steer(account, request.method, what, given))
    except Refused as refused:
        return JSONResponse(refused.body, refused.status)


def _letters(sandbox: Sandbox, given: Obj) -> list[Obj]:
    found = sandbox.post.letters(given.get("address"), given.get("customer"))
    return [letter.as_json() for letter in found]


def _mailboxes(sandbox: Sandbox, address: str | None) -> Response:
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    if address is not None:
        letters = [letter.as_json() for letter in sandbox.post.letters(address)]
        return HTMLResponse(pages.mailbox(address, letters), headers=headers)
    return HTMLResponse(pages.mailboxes(sandbox.post.boxes()), headers=headers)
