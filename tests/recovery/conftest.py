"""The fixtures of this folder."""

from browser import browser
from correspondence import mortal, wayward, writes, writing
from engine_shop import engine_shop, inbox, shop
from host_application import host
from post_office import post_office

__all__ = [
    "browser",
    "engine_shop",
    "host",
    "inbox",
    "mortal",
    "post_office",
    "shop",
    "wayward",
    "writes",
    "writing",
]
