"""A customer's timezone, from what a merchant keeps of it: any text. It never costs anything."""

from collections.abc import Mapping
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# A country's usual timezone, for customers whose own is not known.
_ZONES: Mapping[str, str] = {
    "US": "America/Chicago", "CA": "America/Toronto", "GB": "Europe/London", "IE": "Europe/Dublin",
    "DE": "Europe/Berlin", "FR": "Europe/Paris", "ES": "Europe/Madrid", "IT": "Europe/Rome",
    "NL": "Europe/Amsterdam", "BE": "Europe/Brussels", "AT": "Europe/Vienna",
    "CH": "Europe/Zurich", "SE": "Europe/Stockholm", "NO": "Europe/Oslo",
    "DK": "Europe/Copenhagen", "FI": "Europe/Helsinki", "PL": "Europe/Warsaw",
    "PT": "Europe/Lisbon", "BR": "America/Sao_Paulo", "MX": "America/Mexico_City",
    "JP": "Asia/Tokyo", "IN": "Asia/Kolkata", "SG": "Asia/Singapore", "AU": "Australia/Sydney",
    "NZ": "Pacific/Auckland",
}  # fmt: skip


@lru_cache(maxsize=512)
def zone_of(timezone: str | None, country: str | None) -> ZoneInfo:
    """The customer's timezone, else their country's usual one, else UTC."""
    for name in (timezone, _ZONES.get((country or "").upper())):
        if name:
            try:
                return ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                # OSError: a folder of zones (`Europe`), or a name too long for a file
                continue
    return ZoneInfo("UTC")
