"""The gateway: what the engine's recovery asks of Stripe and does there, put together."""

from collections.abc import Callable

from retry_engine.adapters.stripe.checks import Checks
from retry_engine.adapters.stripe.client import API_VERSION, Client
from retry_engine.adapters.stripe.reads import Reads
from retry_engine.adapters.stripe.writes import Writes


class StripeGateway(Reads, Writes, Checks):
    """`pace(endpoint)` is called before every request and waits until Stripe's limits allow it.

    Example:
        gateway = StripeGateway(key="sk_test_…", base=None, pace=lambda endpoint: None)
        gateway.invoice("", "in_123").amount_remaining
    """

    api_version = API_VERSION

    def __init__(
        self,
        *,
        key: str,
        base: str | None,
        pace: Callable[[str], None],
        sleep: Callable[[float], None],
    ) -> None:
        super().__init__(Client(key=key, base=base, pace=pace, sleep=sleep))

    @property
    def answers(self) -> int:
        """How often Stripe has answered: a no counts, a closed door does not."""
        return self._stripe.answers
