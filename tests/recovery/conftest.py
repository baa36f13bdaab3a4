"""The fixtures of this folder."""

from browser import browser
from correspondence import writes, writing
from engine_shop import engine_shop, inbox, shop
from post_office import post_office

__all__ = ["browser", "engine_shop", "inbox", "post_office", "shop", "writes", "writing"]
