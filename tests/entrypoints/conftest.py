"""A shop in the sandbox, for the commands that talk to Stripe, and the web application."""

from correspondence import writes
from engine_shop import engine_shop
from post_office import post_office
from sandbox_shop import inbox, shop
from serving import guarded, web

__all__ = ["engine_shop", "guarded", "inbox", "post_office", "shop", "web", "writes"]
