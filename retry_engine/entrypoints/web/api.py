"""`/api`: the handlers parse, call one method of the engine, and answer."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from retry_engine.bootstrap import Engine
from retry_engine.domain import strict_json, times
from retry_engine.domain.errors import BadRequest, RetryEngineError
from retry_engine.entrypoints.web import openapi, problems
from retry_engine.entrypoints.web.auth import Caller, Guard

Handler = Callable[[Request, Caller], Awaitable[Any]]
_LARGEST_BODY = 64 * 1024
_ACCOUNT = r"^acct_[A-Za-z0-9_]+$"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


_T = TypeVar("_T", bound=_Strict)


class OverrideBody(_Strict):
    """`POST /api/cases/{CASE}/override`."""

    action: Literal["retry", "pause", "resume", "stop", "release", "hold", "note", "migrate_policy"]
    reason: str = Field(min_length=1, max_length=2000)
    at: AwareDatetime | None = None
    payment_method: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]+$")


class VerdictBody(_Strict):
    """`POST /api/reviews/{ID}`."""

    verdict: Literal["approve", "reject"]
    reason: str = Field(min_length=1, max_length=2000)


class EngineBody(_Strict):
    """`POST /api/engine`."""

    action: Literal["pause", "resume"]
    reason: str = Field(min_length=1, max_length=2000)


class SuppressionBody(_Strict):
    """`POST /api/suppressions`."""

    email: str = Field(min_length=3, max_length=320)
    reason: Literal["bounced", "complained", "unsubscribed"]
    account: str | None = Field(default=None, pattern=_ACCOUNT)
    note: str | None = Field(default=None, min_length=1, max_length=2000)


class LiftBody(_Strict):
    """`POST /api/suppressions/lift`."""

    email: str = Field(min_length=3, max_length=320)
    reason: str = Field(min_length=1, max_length=2000)
    account: str | None = Field(default=None, pattern=_ACCOUNT)
    against_their_wish: bool = False


BODIES: dict[str, type[_Strict]] = {
    "Override": OverrideBody,
    "Verdict": VerdictBody,
    "EngineSwitch": EngineBody,
    "Suppression": SuppressionBody,
    "Lift": LiftBody,
}


def routes(engine: Engine, guard: Guard) -> list[Route]:
    """All of `/api`."""
    api = _Api(engine)

    def route(path: str, method: str, handler: Handler) -> Route:
        return Route(path, _endpoint(handler, guard), methods=[method])

    return [
        route("/api/openapi.json", "GET", api.describe),
        route("/api/status", "GET", api.status),
        route("/api/cases", "GET", api.list_cases),
        route("/api/cases/{case}", "GET", api.show_case),
        route("/api/cases/{case}/explain", "GET", api.explain),
        route("/api/cases/{case}/override", "POST", api.override),
        route("/api/report", "GET", api.report),
        route("/api/reviews", "GET", api.list_reviews),
        route("/api/reviews/{review}", "POST", api.decide_review),
        route("/api/engine", "POST", api.set_engine),
        route("/api/engine/log", "GET", api.engine_log),
        route("/api/suppressions", "POST", api.suppress),
        route("/api/suppressions/lift", "POST", api.unsuppress),
        route("/api/customers/{customer}/payment-options", "GET", api.payment_options),
        route("/api/customers/{customer}/standing", "GET", api.standing),
    ]


class _Api:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def describe(self, _request: Request, _caller: Caller) -> Any:
        return openapi.document(BODIES)

    async def status(self, _request: Request, _caller: Caller) -> Any:
        return await run_in_threadpool(self._engine.health.status)

    async def list_cases(self, request: Request, _caller: Caller) -> Any:
        query = _query(request, "state", "customer", "limit", "cursor")
        return await run_in_threadpool(
            self._engine.operations.list_cases,
            state=query.get("state"),
            customer=query.get("customer"),
            limit=_limit(query),
            cursor=query.get("cursor"),
        )

    async def show_case(self, request: Request, _caller: Caller) -> Any:
        return await run_in_threadpool(
            self._engine.operations.show_case, request.path_params["case"]
        )

    async def explain(self, request: Request, _caller: Caller) -> Any:
        query = _query(request, "at", "payment_method")
        return await run_in_threadpool(
            self._engine.operations.explain_case,
            request.path_params["case"],
            at=_time(query, "at"),
            payment_method=query.get("payment_method"),
        )

    async def override(self, request: Request, caller: Caller) -> Any:
        body = await _body(request, OverrideBody)
        if body.action == "migrate_policy":
            caller.must_be_admin(body.action)
        at: datetime | None = body.at
        return await run_in_threadpool(
            self._engine.operations.override,
            request.path_params["case"],
            action=body.action,
            reason=body.reason,
            by=caller.name,
            at=at,
            payment_method=body.payment_method,
        )

    async def report(self, request: Request, _caller: Caller) -> Any:
        query = _query(request, "since", "until", "account")
        return await run_in_threadpool(
            self._engine.reports.report,
            since=_moment(query, "since"),
            until=_moment(query, "until"),
            account=query.get("account"),
        )

    async def list_reviews(self, request: Request, _caller: Caller) -> Any:
        query = _query(request, "state", "limit", "cursor")
        return await run_in_threadpool(
            self._engine.operations.list_reviews,
            state=query.get("state", "open"),
            limit=_limit(query),
            cursor=query.get("cursor"),
        )

    async def decide_review(self, request: Request, caller: Caller) -> Any:
        body = await _body(request, VerdictBody)
        return await run_in_threadpool(
            self._engine.operations.decide_review,
            request.path_params["review"],
            verdict=body.verdict,
            reason=body.reason,
            by=caller.name,
        )

    async def payment_options(self, request: Request, _caller: Caller) -> Any:
        return await run_in_threadpool(
            self._engine.customers.payment_options, request.path_params["customer"]
        )

    async def standing(self, request: Request, _caller: Caller) -> Any:
        return await run_in_threadpool(
            self._engine.standings.of_customer,
            request.path_params["customer"],
            account=_account(_query(request, "account")),
        )

    async def suppress(self, request: Request, caller: Caller) -> Any:
        body = await _body(request, SuppressionBody)
        return await run_in_threadpool(
            self._engine.suppressions.suppress,
            body.email,
            reason=body.reason,
            by=caller.name,
            account=body.account or "",
            note=body.note,
        )

    async def unsuppress(self, request: Request, caller: Caller) -> Any:
        body = await _body(request, LiftBody)
        if body.against_their_wish:
            caller.must_be_admin("against_their_wish")
        return await run_in_threadpool(
            self._engine.suppressions.lift,
            body.email,
            reason=body.reason,
            by=caller.name,
            account=body.account or "",
            against_their_wish=body.against_their_wish,
        )

    async def set_engine(self, request: Request, caller: Caller) -> Any:
        body = await _body(request, EngineBody)
        return await run_in_threadpool(
            self._engine.operations.set_engine,
            action=body.action,
            reason=body.reason,
            by=caller.name,
        )

    async def engine_log(self, request: Request, _caller: Caller) -> Any:
        query = _query(request, "limit", "cursor")
        return await run_in_threadpool(
            self._engine.operations.engine_log, limit=_limit(query), cursor=query.get("cursor")
        )


def _endpoint(handler: Handler, guard: Guard) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            caller = await guard.api(request)
            return JSONResponse(await handler(request, caller))
        except RetryEngineError as error:
            return problems.of_error(error)

    return endpoint


def _query(request: Request, *known: str) -> dict[str, str]:
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        expected = ", ".join(known) or "none"
        raise BadRequest(f"unknown parameter {unknown[0][:50]!r}; expected {expected}")
    return {name: value for name, value in request.query_params.items() if value}


def _moment(query: dict[str, str], name: str) -> datetime | None:
    """A time, or the beginning of a day in UTC."""
    return times.moment(query[name], of=name) if name in query else None


def _limit(query: dict[str, str]) -> int:
    text = query.get("limit", "50")
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        raise BadRequest("limit is no whole number of that size; expected 1 to 200")
    return int(text)


def _time(query: dict[str, str], name: str) -> datetime | None:
    given = query.get(name)
    if given is None:
        return None
    # in a query a plus that nobody has encoded arrives as a space
    text = re.sub(r"^(\S+T\S+) (\d\d:\d\d)$", r"\1+\2", given, flags=re.ASCII)
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadRequest(
        f"{name} is {given[:50]!r}; expected RFC 3339 with a zone, such as 2026-03-01T09:00:00Z"
    )


def _account(query: dict[str, str]) -> str | None:
    account = query.get("account")
    if account is not None and re.fullmatch(_ACCOUNT, account, re.ASCII) is None:
        raise BadRequest(f"account is {account[:50]!r}; expected a connected account (acct_…)")
    return account


async def _body(request: Request, shape: type[_T]) -> _T:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > _LARGEST_BODY:
            raise BadRequest(f"the body is over {_LARGEST_BODY} bytes")
    try:
        return shape.model_validate(strict_json.parse(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise BadRequest(f"{where}: {first['msg']}") from None
    except strict_json.NotStrict as error:
        raise BadRequest(str(error)) from None
