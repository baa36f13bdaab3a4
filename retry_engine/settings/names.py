"""Which variables are ours: one that only looks like it has no effect, and is named."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

OURS = frozenset(
    {
        "RETRY_ENGINE_API_OPEN", "RETRY_ENGINE_API_TOKEN", "RETRY_ENGINE_CONFIG",
        "RETRY_ENGINE_DEBUG", "RETRY_ENGINE_EVENTS_SECRET", "RETRY_ENGINE_EVENTS_URL",
        "RETRY_ENGINE_HOME", "RETRY_ENGINE_KEEP_DEAD_EVENTS_DAYS", "RETRY_ENGINE_KEEP_EVENTS_DAYS",
        "RETRY_ENGINE_LINK_SECRET", "RETRY_ENGINE_LOG_FORMAT", "RETRY_ENGINE_MAIL_FROM",
        "RETRY_ENGINE_MESSAGES_SECRET", "RETRY_ENGINE_MESSAGES_URL", "RETRY_ENGINE_METRICS_TOKEN",
        "RETRY_ENGINE_MODE", "RETRY_ENGINE_PUBLIC_URL", "RETRY_ENGINE_SMTP_PLAINTEXT",
        "RETRY_ENGINE_STRIPE_JS", "RETRY_ENGINE_STRIPE_REQUESTS_PER_SECOND",
        "RETRY_ENGINE_WORKERS",
    }
)  # fmt: skip

# Kubernetes sets these by itself beside a service that is called retry-engine.
_OF_A_SERVICE = re.compile(r"RETRY_ENGINE_(SERVICE|PORT)(_|$)")


def misspelt(names: Iterable[str]) -> tuple[str, ...]:
    """One text for each name that begins as ours do and is none of them."""
    found = (
        name
        for name in sorted(names)
        if name.upper().startswith("RETRY_ENGINE_")
        and name not in OURS
        and not _OF_A_SERVICE.match(name)
    )
    return tuple(f"{name} is no setting and has no effect{_meant(name)}" for name in found)


def _meant(name: str) -> str:
    close = get_close_matches(name.upper(), OURS, n=1, cutoff=0.85)
    return f"; did you mean {close[0]}?" if close else ""
