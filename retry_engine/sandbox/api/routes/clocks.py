"""Test clocks."""

from retry_engine.sandbox.api.lists import list_of
from retry_engine.sandbox.api.route import Call, Route, page_spec, retrieve, spec
from retry_engine.sandbox.billing import clocks
from retry_engine.sandbox.errors import invalid
from retry_engine.sandbox.objects import Obj


def _advance(call: Call) -> Obj:
    """Sets out only; the door plays what is due in the background."""
    clock = call.thing("test_helpers.test_clock")
    if "frozen_time" not in call.params:
        raise invalid("Missing required param: frozen_time.", param="frozen_time")
    clocks.begin_advancing(call.account, clock, call.params["frozen_time"])
    return clock


ROUTES: tuple[Route, ...] = (
    Route(method="POST", pattern="/v1/test_helpers/test_clocks",
          run=lambda c: clocks.create(c.account, c.params),
          spec=spec(frozen_time="number", name="text")),
    Route(method="GET", pattern="/v1/test_helpers/test_clocks",
          run=list_of("test_helpers.test_clock"), spec=page_spec()),
    Route(method="GET", pattern="/v1/test_helpers/test_clocks/*",
          run=retrieve("test_helpers.test_clock"), spec=spec()),
    Route(method="POST", pattern="/v1/test_helpers/test_clocks/*/advance", run=_advance,
          spec=spec(frozen_time="number")),
    Route(method="DELETE", pattern="/v1/test_helpers/test_clocks/*",
          run=lambda c: clocks.delete(c.account, c.thing("test_helpers.test_clock"))),
)  # fmt: skip
