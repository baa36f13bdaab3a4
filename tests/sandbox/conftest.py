"""The sandbox's fixtures, for the tests of this folder."""

from sandbox_shop import inbox, shop

__all__ = ["inbox", "shop"]
