"""The door of `/v1`: keys, accounts, routes, parameters, and faults on the way.

It answers what `routes.ROUTES` lists and 404 in Stripe's error shape for all else. Any `sk_test_…`
or `rk_test_…` key is let in (Bearer or Basic; one that begins `sk_test_expired` has expired), any
`pk_test_…` where Stripe lets one in; `Stripe-Account` keeps connected accounts apart.
"""

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from retry_engine.sandbox.accounts.account import API_VERSION, Account, Cause
from retry_engine.sandbox.api import expansion, parameters, routes
from retry_engine.sandbox.api.execution import Execution
from retry_engine.sandbox.api.failures import ConnectionBroken, refuse_before
from retry_engine.sandbox.api.idempotency import same_request
from retry_engine.sandbox.api.keys import is_publishable
from retry_engine.sandbox.api.route import Call, Route
from retry_engine.sandbox.errors import Refused
from retry_engine.sandbox.runtime import PLATFORM, Sandbox


class Api:
    """Stripe's API over the accounts of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._execution = Execution(sandbox)

    async def answer(self, request: Request) -> Response:
        """The answer to one request."""
        digits = self._sandbox.rng.choices("abcdefghijkmnpqrstuvwxyz0123456789", k=14)
        request_id = f"req_{''.join(digits)}"
        headers = {
            "Request-Id": request_id,
            "Stripe-Version": request.headers.get("stripe-version", API_VERSION),
        }
        try:
            return await self._carried_out(request, request_id, headers)
        except Refused as refused:
            return JSONResponse(refused.body, refused.status, headers)

    async def _carried_out(
        self, request: Request, request_id: str, headers: dict[str, str]
    ) -> Response:
        pairs = await _pairs(request)
        public = is_publishable(request, dict(pairs).get("key"))
        account = self._sandbox.account(request.headers.get("stripe-account") or PLATFORM)
        if account.withdrawn:
            raise _withdrawn(account)
        route, ids = routes.match(request.method, request.url.path)
        if public and not route.takes_publishable:
            raise _secret_key_required()
        raw = parameters.decode(pairs)
        secret = None
        if route.takes_publishable:
            raw.pop("key", None)
            secret = str(raw.pop("client_secret", None) or "")
        faults = self._sandbox.faults
        striking = faults.strike(f"{request.method} {request.url.path}")
        if "drop_before" in striking:
            return ConnectionBroken()
        refuse_before(striking)
        if faults.forbids(request.method, route.resource):
            raise _forbidden(route)
        params = parameters.typed(raw, {**route.spec, **route.older})
        expansion.refuse_too_deep(params.get("expand", ()))
        call = Call(account, params, ids, request.url.path, public=public, secret=secret)
        if route.is_file:
            if "drop_after" in striking:
                return ConnectionBroken()
            return Response(route.run(call)["contents"], media_type="text/csv", headers=headers)
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        if key is not None:
            mark = same_request(request.method, request.url.path, raw)
            kept = self._execution.begin(call, key, mark)
            if kept is not None:
                replayed = {**headers, "Idempotent-Replayed": "true", "Idempotency-Key": key}
                return JSONResponse(kept.body, kept.status, replayed)
        cause = Cause(request=request_id, idempotency_key=key)
        answer = await self._execution.once(call, route, cause, striking)
        if "drop_after" in striking:
            return ConnectionBroken()
        return JSONResponse(answer.body, answer.status, headers)


async def _pairs(request: Request) -> list[tuple[str, str]]:
    body = (await request.body()).decode()
    pairs = parse_qsl(request.url.query, keep_blank_values=True)
    return pairs + parse_qsl(body, keep_blank_values=True)


def _withdrawn(account: Account) -> Refused:
    return Refused(
        403,
        "invalid_request_error",
        f"The provided key 'sk_test_********' does not have access to account '{account.id}' (or "
        "that account does not exist). Application access may have been revoked.",
        code="account_invalid",
    )


def _secret_key_required() -> Refused:
    return Refused(
        401,
        "invalid_request_error",
        "This API call cannot be made with a publishable API key. Please use a secret API key.",
        code="secret_key_required",
    )


def _forbidden(route: Route) -> Refused:
    return Refused(
        403,
        "invalid_request_error",
        f"The provided key does not have the required permissions for this endpoint: "
        f"{route.resource}.",
    )
