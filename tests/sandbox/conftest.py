"""The sandbox's fixtures, for the tests of this folder."""

from browser import browser
from sandbox_shop import inbox, shop

__all__ = ["browser", "inbox", "shop"]
