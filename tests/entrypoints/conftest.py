"""A shop in the sandbox, for the commands that talk to Stripe."""

from sandbox_shop import inbox, shop

__all__ = ["inbox", "shop"]
