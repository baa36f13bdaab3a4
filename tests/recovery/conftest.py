"""The fixtures of this folder."""

from engine_shop import engine_shop, inbox, shop
from post_office import post_office

__all__ = ["engine_shop", "inbox", "post_office", "shop"]
