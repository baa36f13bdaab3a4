"""Serves a stand-in of Stripe.js, and the frame in which its Payment Element lives.

It runs under the Content-Security-Policy that the real one needs, with the sandbox's origin in
place of Stripe's: `script-src` and `frame-src` for this origin, `connect-src` for the API. Card
numbers are typed into the frame only; the page around it gets a payment method's id.

What it does not do, though Stripe.js does: any element but `payment`; deferred intents (an
amount instead of a client secret), confirmation tokens; wallets and Link (an order that names
them is honoured for the rest); appearance and fonts; translations; saving or removing methods
by ticks in the form; address collection; fraud signals. Card networks are not told apart while
typing, and numbers are checked by the server alone. It stays on one origin where Stripe uses
three (js.stripe.com, hooks.stripe.com, api.stripe.com).
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "static"
_FRAME_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors *"
)


def routes() -> list[Route]:
    """`/v3/`, `/stripe.js` and `/<release>/stripe.js` are the library; the rest is its own."""
    return [
        Route("/v3", _library),
        Route("/v3/", _library),
        Route("/stripe.js", _library),
        Route("/{release}/stripe.js", _library),
        Route("/elements/payment", _frame),
        Route("/stripe_js/{name}", _part),
    ]


async def _library(request: Request) -> Response:
    return FileResponse(_FOLDER / "stripe.js", headers={"Cache-Control": "no-cache"})


async def _frame(request: Request) -> Response:
    return FileResponse(
        _FOLDER / "payment.html", headers={"Content-Security-Policy": _FRAME_POLICY}
    )


async def _part(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ("payment.js", "payment.css", "challenge.js"):
        return Response(status_code=404)
    return FileResponse(_FOLDER / name, headers={"Cache-Control": "no-cache"})
