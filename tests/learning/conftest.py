"""The fixtures of this folder."""

from engine_shop import engine_shop, inbox, shop

__all__ = ["engine_shop", "inbox", "shop"]
