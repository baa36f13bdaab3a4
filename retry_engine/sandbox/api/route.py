"""A route of the API: path, parameters, and the operation behind them. No HTTP here."""

from collections.abc import Callable
from dataclasses import dataclass, field

from retry_engine.sandbox.accounts.account import Account
from retry_engine.sandbox.api.parameters import Kind, Spec
from retry_engine.sandbox.objects import Obj


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    account: Account
    params: Obj
    ids: tuple[str, ...] = ()
    path: str = ""
    # a page's own call, with a publishable key: it may do what the intent's secret allows
    public: bool = False
    secret: str | None = None

    def thing(self, table: str) -> Obj:
        """The object that the path names."""
        return self.account.get(table, self.ids[0])


Operation = Callable[[Call], Obj]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`pattern` has `*` for ids. `locks`: while it runs nobody else may touch the object.

    `older`: parameters of earlier API versions, which Stripe's own examples still send.
    `is_file`: the answer is not JSON but the `contents` of what it returns. `takes_publishable`:
    Stripe.js calls it from a customer's page.
    """

    method: str
    pattern: str
    run: Operation
    spec: Spec = field(default_factory=dict)
    older: Spec = field(default_factory=dict)
    locks: bool = False
    is_file: bool = False
    takes_publishable: bool = False

    @property
    def resource(self) -> str:
        """What a restricted key's permission is named after."""
        steps = self.pattern.split("/")
        grouped = ("test_helpers", "radar", "sigma", "billing_portal")
        return steps[3] if steps[2] in grouped else steps[2]


PAGE: dict[str, Kind] = {"limit": "number", "starting_after": "text", "ending_before": "text"}


def spec(**kinds: Kind) -> Spec:
    """What a route takes: each parameter with its kind, and `expand`."""
    return {**kinds, "expand": "list"}


def page_spec(**kinds: Kind) -> Spec:
    """What a list takes: its filters, and which page of it."""
    return {**PAGE, **kinds, "expand": "list"}


def retrieve(table: str) -> Operation:
    """The operation that answers with the object that the path names."""
    return lambda call: call.thing(table)
