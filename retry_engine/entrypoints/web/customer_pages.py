"""Pages that customers open from a message. Whoever guesses a link learns nothing."""

from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from urllib.parse import parse_qs, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from retry_engine.bootstrap import Engine
from retry_engine.domain.errors import Refused, RetryEngineError
from retry_engine.entrypoints.web import problems
from retry_engine.settings import Settings

_ALWAYS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}
_HEADERS = {
    **_ALWAYS,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
}
_ASSETS = {"recovery.css": "text/css", "recovery.js": "text/javascript"}
_LARGEST_FORM = 4096
_HTML = "text/html; charset=utf-8"


def routes(engine: Engine) -> list[Route]:
    """Where the links in messages lead."""
    headers = {**_ALWAYS, "Content-Security-Policy": _policy_of(engine.settings)}
    return [
        Route("/u/{token}", _unsubscribe(engine), methods=["GET", "POST"]),
        Route("/r/assets/{name}", _asset),
        *_card_routes(engine, headers),
        *_recovery_routes(engine, headers),
    ]


def _recovery_routes(engine: Engine, headers: dict[str, str]) -> list[Route]:
    """What is owed: to be paid, with an offer or without, or changed."""

    async def show(request: Request, *, alert: str | None = None) -> Response:
        token = request.path_params["token"]
        try:
            shown = await run_in_threadpool(engine.customers.recovery_page, token, alert=alert)
        except RetryEngineError:
            return await _later(engine, headers)
        if shown is None:
            return _no_link_of_ours()
        policy = _policy_of(engine.settings, leads_to=shown.leads_to)
        with_policy = {**headers, "Content-Security-Policy": policy}
        return Response(shown.page, media_type=_HTML, headers=with_policy)

    async def recover(request: Request) -> Response:
        return await show(request)  # writes nothing: machines follow links too

    async def seen(request: Request) -> Response:
        found = await run_in_threadpool(engine.customers.has_come, request.path_params["token"])
        return Response(status_code=204, headers=_ALWAYS) if found else _no_link_of_ours()

    async def done(
        request: Request, act: Callable[[], bool | str | None], *, refused: str | None
    ) -> Response:
        """Do it, and lead back to the page or on to where it says."""
        try:
            found = await run_in_threadpool(act)
        except Refused:
            return await show(request, alert=refused)
        except RetryEngineError:
            return await show(request, alert="later")
        if not found:
            return _no_link_of_ours()
        to = found if isinstance(found, str) else f"/r/{request.path_params['token']}"
        return RedirectResponse(to, 303, headers=_ALWAYS)

    async def offer(request: Request) -> Response:
        token = request.path_params["token"]
        return await done(request, lambda: engine.customers.take_offer(token), refused="offer_gone")

    async def change(request: Request) -> Response:
        token, kind = request.path_params["token"], request.path_params["kind"]
        day = await _field(request, "day")
        return await done(
            request,
            lambda: engine.customers.change_subscription(token, kind, day=day),
            refused="change_gone",
        )

    async def pay(request: Request) -> Response:
        token = request.path_params["token"]
        return await done(request, lambda: engine.customers.pay(token), refused=None)

    async def portal(request: Request) -> Response:
        token = request.path_params["token"]
        return await done(request, lambda: engine.customers.portal(token), refused="change_gone")

    return [
        Route("/r/{token}", recover),
        Route("/r/{token}/seen", seen, methods=["POST"]),
        Route("/r/{token}/pay", pay, methods=["POST"]),
        Route("/r/{token}/offer", offer, methods=["POST"]),
        Route("/r/{token}/change/{kind}", change, methods=["POST"]),
        Route("/r/{token}/portal", portal, methods=["POST"]),
    ]


def _card_routes(engine: Engine, headers: dict[str, str]) -> list[Route]:
    """Where a card is added before a renewal."""

    async def card(request: Request) -> Response:
        token = request.path_params["token"]
        if request.method != "POST":
            added = "added" in request.query_params
            page = partial(engine.customers.card_page, token, added=added)
            return await _shown(engine, page, headers)
        try:
            return await _shown(engine, partial(engine.customers.card_form, token), headers)
        except Refused:
            return await refused(token)

    async def portal(request: Request) -> Response:
        token = request.path_params["token"]
        try:
            url = await run_in_threadpool(engine.customers.card_portal, token)
        except Refused:
            return await refused(token)
        except RetryEngineError:
            return await _later(engine, headers)
        return RedirectResponse(url, 303, headers=_ALWAYS) if url else _no_link_of_ours()

    async def refused(token: str) -> Response:
        page = partial(engine.customers.card_page, token, added=False)
        return await _shown(engine, page, headers)

    return [
        Route("/c/{token}", card, methods=["GET", "POST"]),
        Route("/c/{token}/portal", portal, methods=["POST"]),
    ]


def _unsubscribe(engine: Engine) -> Callable[[Request], Awaitable[Response]]:
    async def unsubscribe(request: Request) -> Response:
        done = request.method == "POST"
        token = request.path_params["token"]
        language = await run_in_threadpool(engine.customers.unsubscribe, token, write=done)
        if language is None:
            return _no_link_of_ours()
        page = await run_in_threadpool(engine.customers.unsubscribe_page, language, done=done)
        return Response(page, media_type=_HTML, headers=_HEADERS)

    return unsubscribe


async def _field(request: Request, name: str) -> str | None:
    """A field of a sent form; None where it is missing, or the form is larger than ours are."""
    sent = b""
    async for chunk in request.stream():
        sent += chunk
        if len(sent) > _LARGEST_FORM:
            return None
    return parse_qs(sent.decode("utf-8", "replace")).get(name, [None])[0]


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        return problems.response(404, "no such file", headers=_HEADERS)
    content = (files("retry_engine.presentation") / "assets" / name).read_bytes()
    headers = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
    return Response(content, media_type=_ASSETS[name], headers=headers)


async def _shown(
    engine: Engine, make: Callable[[], str | None], headers: dict[str, str]
) -> Response:
    try:
        page = await run_in_threadpool(make)
    except Refused:
        raise
    except RetryEngineError:
        return await _later(engine, headers)
    if page is None:
        return _no_link_of_ours()
    return Response(page, media_type=_HTML, headers=headers)


async def _later(engine: Engine, headers: dict[str, str]) -> Response:
    page = await run_in_threadpool(engine.customers.later_page)
    return Response(page, 503, media_type=_HTML, headers=headers)


def _no_link_of_ours() -> Response:
    return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)


def _policy_of(settings: Settings, *, leads_to: str | None = None) -> str:
    """What the page may load: ours, and Stripe's where its Payment Element is shown.

    `leads_to`: where a form's answer leads on to, which browsers hold against `form-action` too.
    Source: docs.stripe.com/security/guide, "Content security policy".
    """
    own = (
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "img-src 'self'"
    )
    forms = "form-action 'self' https://billing.stripe.com"
    further = {settings.stripe_api_base, _origin(leads_to) if leads_to else None} - {None}
    forms = " ".join([forms, *sorted(str(one) for one in further)])
    if not settings.stripe_publishable_key:
        return f"{own}; {forms}; script-src 'self'; connect-src 'self'"
    scripts = _origin(settings.stripe_js)
    api = settings.stripe_api_base or "https://api.stripe.com"
    frames = f"{scripts} https://hooks.stripe.com"
    return (
        f"{own} https://*.stripe.com; {forms}; script-src 'self' {scripts}; frame-src {frames}; "
        f"connect-src 'self' {api}"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
