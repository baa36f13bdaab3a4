"""Pages that customers open from a message. Whoever guesses a link learns nothing."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from retry_engine.entrypoints.web import problems
from retry_engine.wiring import Engine

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


def routes(engine: Engine) -> list[Route]:
    """Where the links in messages lead."""

    async def unsubscribe(request: Request) -> Response:
        done = request.method == "POST"
        token = request.path_params["token"]
        language = await run_in_threadpool(engine.unsubscribe, token, write=done)
        if language is None:
            return problems.response(404, "this link is not valid, or no longer", headers=_HEADERS)
        page = await run_in_threadpool(engine.unsubscribe_page, language, done=done)
        return Response(page, media_type="text/html; charset=utf-8", headers=_HEADERS)

    return [Route("/u/{token}", unsubscribe, methods=["GET", "POST"])]
