"""What a command works with: the settings, embedded servers where none are named, an engine."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from retry_engine.domain.errors import SettingsError
from retry_engine.entrypoints.cli.output import say

if TYPE_CHECKING:  # each command imports what it needs: `--help` must not wait for a database
    from retry_engine.bootstrap import Engine
    from retry_engine.settings import Settings


def read_settings(*, stripe: bool = False, webhooks: bool = False) -> "Settings":
    """The settings of this process, with the keys that the command needs.

    Raises:
        SettingsError: one of them is missing, or a value is malformed.
    """
    from retry_engine import settings

    found = settings.from_process()
    for text in found.misspelt:
        say(f"retry-engine: {text}")
    if (stripe or webhooks) and found.stripe_api_key is None:
        raise SettingsError(
            "STRIPE_API_KEY is not set; expected a secret (sk_…) or restricted key (rk_…)"
        )
    if webhooks and not found.stripe_webhook_secrets:
        raise SettingsError(
            "STRIPE_WEBHOOK_SECRET is not set; expected the endpoint's signing secret (whsec_…)"
        )
    return found


@contextmanager
def with_servers(settings: "Settings") -> "Iterator[tuple[Settings, dict[str, str]]]":
    """Settings with both URLs, embedded servers where they are unset; and what children need."""
    if settings.database_url and settings.redis_url:
        yield settings, {}
        return
    from retry_engine.adapters.embedded import EmbeddedServers

    with EmbeddedServers(settings.home) as servers:
        urls = {
            "DATABASE_URL": settings.database_url or servers.database_url,
            "REDIS_URL": settings.redis_url or servers.redis_url,
        }
        changed = {"database_url": urls["DATABASE_URL"], "redis_url": urls["REDIS_URL"]}
        yield settings.model_copy(update=changed), urls


@contextmanager
def open_engine(*, stripe: bool = False) -> "Iterator[Engine]":
    """An engine for one command, on embedded servers where none are named."""
    from retry_engine import bootstrap, telemetry

    with ExitStack() as stack:
        settings, environment = stack.enter_context(with_servers(read_settings(stripe=stripe)))
        telemetry.configure("cli", log_format=settings.log_format)
        if environment:
            bring_to_schema(settings)
        yield stack.enter_context(bootstrap.build(settings))


def bring_to_schema(settings: "Settings") -> None:
    """Migrate the database of these settings."""
    from retry_engine import bootstrap

    with bootstrap.build(settings) as engine:
        engine.migrate()


def command_of(name: str, *arguments: str) -> list[str]:
    """The command line of a process of ours."""
    return [sys.executable, "-m", "retry_engine.entrypoints.cli", name, *arguments]
