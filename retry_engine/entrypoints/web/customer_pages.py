"""Pages that customers open from a message. Whoever guesses a link learns nothing."""

from importlib.resources import files
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from retry_engine.domain.errors import Refused, RetryEngineError
from retry_engine.entrypoints.web import problems
from retry_engine.settings import Settings
from retry_engine.store.database import CaseBusy
from retry_engine.wiring import Engine

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
_HTML = "text/html; charset=utf-8"


def routes(engine: Engine) -> list[Route]:
    """Where the links in messages lead."""
    page_headers = {**_ALWAYS, "Content-Security-Policy": _policy_of(engine.settings)}

    async def unsubscribe(request: Request) -> Response:
        done = request.method == "POST"
        token = request.path_params["token"]
        language = await run_in_threadpool(engine.unsubscribe, token, write=done)
        if language is None:
            return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)
        page = await run_in_threadpool(engine.unsubscribe_page, language, done=done)
        return Response(page, media_type=_HTML, headers=_HEADERS)

    async def recover(request: Request) -> Response:
        # a HEAD is a machine's; a machine that sends GET counts as a visit
        return await show(request, note_visit=request.method == "GET")

    async def show(request: Request, *, note_visit: bool, alert: str | None = None) -> Response:
        token = request.path_params["token"]
        try:
            page = await run_in_threadpool(
                engine.recovery_page, token, note_visit=note_visit, alert=alert
            )
        except RetryEngineError:
            page = await run_in_threadpool(engine.recovery_later_page)
            return Response(page, 503, media_type=_HTML, headers=page_headers)
        if page is None:
            return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)
        return Response(page, media_type=_HTML, headers=page_headers)

    async def offer(request: Request) -> Response:
        token = request.path_params["token"]
        try:
            found = await run_in_threadpool(engine.take_offer, token)
        except (Refused, CaseBusy):
            return await show(request, note_visit=False, alert="offer_gone")
        except RetryEngineError:
            return await show(request, note_visit=False, alert="later")
        if not found:
            return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)
        return RedirectResponse(f"/r/{token}", 303, headers=_ALWAYS)

    async def portal(request: Request) -> Response:
        try:
            url = await run_in_threadpool(engine.portal, request.path_params["token"])
        except RetryEngineError:
            return await show(request, note_visit=False, alert="later")
        if url is None:
            return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)
        return RedirectResponse(url, 303, headers=_ALWAYS)

    async def card(request: Request) -> Response:
        try:
            added = "added" in request.query_params
            page = await run_in_threadpool(
                engine.card_page, request.path_params["token"], added=added
            )
        except RetryEngineError:
            page = await run_in_threadpool(engine.recovery_later_page)
            return Response(page, 503, media_type=_HTML, headers=page_headers)
        if page is None:
            return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)
        return Response(page, media_type=_HTML, headers=page_headers)

    async def card_portal(request: Request) -> Response:
        try:
            url = await run_in_threadpool(engine.card_portal, request.path_params["token"])
        except RetryEngineError:
            page = await run_in_threadpool(engine.recovery_later_page)
            return Response(page, 503, media_type=_HTML, headers=page_headers)
        if url is None:
            return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)
        return RedirectResponse(url, 303, headers=_ALWAYS)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            return problems.response(404, "no such file", headers=_HEADERS)
        content = (files("retry_engine.adapters.letters") / "assets" / name).read_bytes()
        headers = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
        return Response(content, media_type=_ASSETS[name], headers=headers)

    return [
        Route("/u/{token}", unsubscribe, methods=["GET", "POST"]),
        Route("/r/assets/{name}", asset),
        Route("/c/{token}", card, methods=["GET"]),
        Route("/c/{token}/portal", card_portal, methods=["POST"]),
        Route("/r/{token}", recover),
        Route("/r/{token}/offer", offer, methods=["POST"]),
        Route("/r/{token}/portal", portal, methods=["POST"]),
    ]


def _policy_of(settings: Settings) -> str:
    """What the page may load: ours, and Stripe's where its Payment Element is shown.

    Source: docs.stripe.com/security/guide, "Content security policy".
    """
    own = (
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "img-src 'self'"
    )
    forms = "form-action 'self' https://billing.stripe.com"
    if settings.stripe_api_base:
        forms += f" {settings.stripe_api_base}"
    if not settings.stripe_publishable_key:
        return f"{own}; {forms}"
    parts = urlsplit(settings.stripe_js)
    scripts = f"{parts.scheme}://{parts.netloc}"
    api = settings.stripe_api_base or "https://api.stripe.com"
    frames = f"{scripts} https://hooks.stripe.com"
    return (
        f"{own} https://*.stripe.com; {forms}; script-src 'self' {scripts}; frame-src {frames}; "
        f"connect-src 'self' {api}"
    )
