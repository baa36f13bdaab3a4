"""All settings, read once, validated, and passed on. The environment is touched here only.

Every error is one line that names the variable, what was found (secrets masked) and what was
expected.
"""

from retry_engine.settings.policy_file import bundled, read_policy
from retry_engine.settings.reading import Settings, from_process, load
from retry_engine.settings.values import ApiToken, is_loopback

__all__ = [
    "ApiToken",
    "Settings",
    "bundled",
    "from_process",
    "is_loopback",
    "load",
    "read_policy",
]
