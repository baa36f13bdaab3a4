"""The sandbox over HTTP: Stripe's `/v1`, its pages for customers, and `/_sandbox` for steering.

`api`, `pages` and `steering` have them; here they are put together.
Unlike Stripe, a test clock takes any number of customers.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from retry_engine.sandbox.api.requests import Api
from retry_engine.sandbox.pages import hosted, stripe_js
from retry_engine.sandbox.runtime import Sandbox
from retry_engine.sandbox.steering.requests import steered


def create_app(sandbox: Sandbox) -> Starlette:
    """The ASGI application of a sandbox."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        door = await sandbox.open_post()
        running = [
            asyncio.create_task(sandbox.deliveries.run()),
            asyncio.create_task(sandbox.keep_real_time()),
        ]
        yield
        if door is not None:
            door.close()
        for task in (*running, *sandbox.tasks):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    api = Api(sandbox)

    async def steer(request: Request) -> Response:
        return await steered(sandbox, request)

    methods = ["GET", "POST", "DELETE"]
    return Starlette(
        routes=[
            HttpRoute("/v1/{rest:path}", api.answer, methods=methods),
            HttpRoute("/_sandbox/{what}", steer, methods=methods),
            *hosted.routes(sandbox.accounts),
            *stripe_js.routes(),
            HttpRoute("/{rest:path}", api.answer, methods=methods),
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
