"""Runs the migrations on the connection that the engine hands over in the config's attributes."""

from alembic import context
from sqlalchemy import create_engine

from retry_engine.store.tables import metadata


def run() -> None:
    given = context.config.attributes.get("connection")
    if given is not None:
        _run_on(given)
        return
    url = context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise SystemExit("no database: run `retry-engine migrate`, which knows DATABASE_URL")
    with create_engine(url).connect() as connection:
        _run_on(connection)


def _run_on(connection: object) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


run()
