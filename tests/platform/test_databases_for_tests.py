"""What the other tests stand on."""

import psycopg
import pytest
import redis

pytestmark = pytest.mark.integration


def test_a_test_gets_a_migrated_database_with_nothing_in_it(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from inbox").fetchone() == (0,)
        connection.execute("create table mine ()")


def test_and_the_next_one_does_not_see_what_it_did(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select to_regclass('mine')").fetchone() == (None,)


def test_an_empty_database_has_no_schema(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("select to_regclass('inbox')").fetchone() == (None,)


def _client(url: str) -> redis.Redis:
    path = url.removeprefix("redis+socket://")
    return redis.Redis.from_url(url if path == url else f"unix://{path}")


def test_a_test_may_leave_things_in_the_broker(redis_url: str) -> None:
    assert _client(redis_url).set("left", "behind")


def test_and_the_next_one_finds_it_empty(redis_url: str) -> None:
    assert _client(redis_url).dbsize() == 0
