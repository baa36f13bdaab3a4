"""The real servers for the tests: embedded ones, or those that the environment names."""

import itertools
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from processes import flush_redis
from psycopg import sql

from retry_engine.adapters.embedded import EmbeddedServers
from retry_engine.store.database import Database

_numbers = itertools.count()


# Fixtures that start a server of some kind, here or in another process.
_SERVERS = {"servers", "shop", "post_office", "browser", "home"}


def pytest_configure() -> None:
    sys.addaudithook(_keep_to_this_machine)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who asks for a server is marked; the slowest file first: both processes end together."""
    for item in items:
        if isinstance(item, pytest.Function) and _SERVERS & set(item.fixturenames):
            item.add_marker("integration")
    items.sort(key=lambda item: "integration" not in item.path.parts)


def _keep_to_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    """No test reaches another machine by Python's sockets.

    What C opens for itself (libpq, uvloop) and what other processes do is not seen here.
    """
    if event in ("socket.connect", "socket.sendto"):
        used, address = arguments
        if used.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_elsewhere(address[0])
    elif event == "socket.getaddrinfo":
        _refuse_elsewhere(arguments[0])


def _refuse_elsewhere(host: str | bytes | None) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in {"", "localhost", *_named_servers()}:
        return
    with suppress(ValueError):
        address = ip_address(name)
        if address.is_loopback or address.is_unspecified:
            return
    raise NoNetwork(f"a test wants to reach {name!r}; only this machine is open to it")


class NoNetwork(RuntimeError):
    """No error that the engine expects: it would take it for an outage."""


@cache
def _named_servers() -> frozenset[str]:
    """Hosts of the servers that the environment names for the tests."""
    urls = (os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL"))
    return frozenset(urlsplit(url).hostname or "" for url in urls)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(a PostgreSQL DSN that may create databases, the broker's URL)."""
    database, broker = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    with ExitStack() as stack:
        if not (database and broker):
            home = tmp_path_factory.mktemp("servers")
            embedded = stack.enter_context(EmbeddedServers(home, ephemeral=True))
            database, broker = database or embedded.database_url, broker or embedded.redis_url
        else:
            # each process of the tests has a database of its own on the broker, as it empties it
            number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
            broker = urlsplit(broker)._replace(path=f"/{number}").geturl()
        yield database.replace("postgresql+psycopg://", "postgresql://"), broker


@pytest.fixture(scope="session")
def migrated_template(servers: tuple[str, str]) -> Iterator[str]:
    """The name of a database with the newest schema and nothing in it, to copy from."""
    name = f"template_{os.getpid()}"
    url = _create(servers[0], name)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    database = Database(url)
    with database.connection() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    database.close()
    yield name
    _drop(servers[0], name)


@pytest.fixture
def database_url(servers: tuple[str, str], migrated_template: str) -> Iterator[str]:
    """A database of its own for one test: migrated and empty."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    yield _create(servers[0], name, template=migrated_template)
    _drop(servers[0], name)


@pytest.fixture
def empty_database_url(servers: tuple[str, str]) -> Iterator[str]:
    """A database without any schema."""
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    yield _create(servers[0], name)
    _drop(servers[0], name)


@pytest.fixture
def redis_url(servers: tuple[str, str]) -> str:
    """The broker, emptied."""
    flush_redis(servers[1])
    return servers[1]


def _create(admin: str, name: str, *, template: str | None = None) -> str:
    with psycopg.connect(admin, autocommit=True) as connection:
        statement = sql.SQL("create database {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" template {}").format(sql.Identifier(template))
        connection.execute(statement)
    head, _, query = admin.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{name}" + (f"?{query}" if query else "")


def _drop(admin: str, name: str) -> None:
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )
