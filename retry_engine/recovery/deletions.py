"""What was deleted at Stripe: whoever meets a 404 asks here what it means."""

from collections.abc import Callable

from retry_engine.domain.errors import StripeRejected
from retry_engine.recovery.gateway import Gateway


def who_is_gone(
    gateway: Gateway, account: str, customer_id: str, test_clock: str | None
) -> str | None:
    """Whether a customer, or the clock they lived on, was deleted, in words; None: neither.

    A customer of whom Stripe has never heard proves nothing: the key may be another account's.
    """
    if test_clock is not None and not is_there(lambda: gateway.clock(account, test_clock)):
        return "its test clock was deleted"
    try:
        customer = gateway.customer(account, customer_id)
    except StripeRejected:
        return None
    return "the customer was deleted" if customer.deleted else None


def is_there(ask: Callable[[], object]) -> bool:
    """Whether Stripe has what is asked for."""
    try:
        ask()
    except StripeRejected as error:
        return not error.names_what_is_missing
    return True
