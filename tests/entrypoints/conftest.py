"""A shop in the sandbox, for the commands that talk to Stripe, and the web application."""

from sandbox_shop import inbox, shop
from serving import guarded, web

__all__ = ["guarded", "inbox", "shop", "web"]
