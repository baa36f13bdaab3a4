import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from retry_engine.adapters import server_programs
from retry_engine.adapters.embedded import EmbeddedServers
from retry_engine.domain.errors import SettingsError, StoreUnavailable
from tests.platform.processes import children, descendants, eventually, running

pytestmark = pytest.mark.integration

HOLDER = """
import sys
from pathlib import Path
from retry_engine.adapters.embedded import EmbeddedServers
with EmbeddedServers(Path(sys.argv[1])) as servers:
    print(servers.postgres_dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="retry-engine-test-home-") as folder:
        home = Path(folder) / "home"
        yield home
        # a command that was killed leaves the folder of its sockets to the next one, if any comes
        if (home / "embedded.json").exists():
            shutil.rmtree(json.loads((home / "embedded.json").read_text())["sockets"], True)


@contextmanager
def another_command(home: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own that holds the servers of that home."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("host=")
        yield process
    finally:
        process.kill()
        process.communicate()


def names(servers: EmbeddedServers) -> list[str]:
    with psycopg.connect(servers.postgres_dsn) as connection:
        return [row[0] for row in connection.execute("select name from kept order by name")]


def keep(servers: EmbeddedServers, name: str) -> None:
    with psycopg.connect(servers.postgres_dsn) as connection:
        connection.execute("create table if not exists kept (name text)")
        connection.execute("insert into kept values (%s)", (name,))


def broker(servers: EmbeddedServers) -> redis.Redis:
    return redis.Redis(unix_socket_path=servers.redis_url.removeprefix("redis+socket://"))


def test_both_servers_answer_and_end_with_the_block(home: Path) -> None:
    before = children(os.getpid())
    with EmbeddedServers(home) as servers:
        with psycopg.connect(servers.postgres_dsn) as connection:
            assert connection.execute("show fsync").fetchone() == ("on",)
        assert broker(servers).ping()
        ours = children(os.getpid()) - before
        assert len(ours) == 2
        started = [*ours, *(pid for one in ours for pid in descendants(one))]
        sockets = Path(servers.redis_url.removeprefix("redis+socket://")).parent
    assert not running(started)
    assert not sockets.exists()


def test_neither_server_listens_on_the_network(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        with psycopg.connect(servers.postgres_dsn) as connection:
            assert connection.execute("show listen_addresses").fetchone() == ("",)
        assert broker(servers).config_get("port") == {"port": "0"}


def test_data_is_there_again_at_the_next_start(home: Path) -> None:
    with EmbeddedServers(home) as servers:
        keep(servers, "a row")
    with EmbeddedServers(home) as servers:
        assert names(servers) == ["a row"]


def test_an_ephemeral_home_keeps_no_data(home: Path) -> None:
    with EmbeddedServers(home, ephemeral=True):
        pass
    assert not (home / "postgres").exists()


def test_private_folders_above_the_data_stay_private(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    above = [private, tmp_path, tmp_path.parent]
    before = [stat.S_IMODE(folder.stat().st_mode) for folder in above]
    with EmbeddedServers(private / "home", ephemeral=True) as servers:
        keep(servers, "reachable")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in above] == before


def test_a_home_with_a_very_long_path_still_has_short_sockets(home: Path) -> None:
    with EmbeddedServers(home / ("x" * 120), ephemeral=True) as servers:
        assert len(servers.redis_url.removeprefix("redis+socket://")) < 100


def test_a_second_command_joins_and_leaves_the_servers_to_the_first(home: Path) -> None:
    with another_command(home) as first:
        servers_of_first = descendants(first.pid)
        with EmbeddedServers(home) as servers:
            keep(servers, "from the second")
            assert broker(servers).ping()
        assert children(first.pid) <= set(running(servers_of_first))
        with EmbeddedServers(home) as servers:
            assert names(servers) == ["from the second"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent's death")
def test_kill_9_of_the_command_leaves_no_process(home: Path) -> None:
    with another_command(home) as first:
        started = descendants(first.pid)
        assert len(started) >= 2
        first.send_signal(signal.SIGKILL)
        assert eventually(lambda: not running(started))


def test_committed_data_survives_kill_9_of_everything(home: Path) -> None:
    with another_command(home) as first:
        with EmbeddedServers(home) as servers:
            keep(servers, "committed")
        for pid in [first.pid, *descendants(first.pid)]:
            with ExitStack() as gone:
                gone.enter_context(_already_gone())
                os.kill(pid, signal.SIGKILL)
        first.wait()
        with EmbeddedServers(home) as servers:
            assert names(servers) == ["committed"]


@contextmanager
def _already_gone() -> Iterator[None]:
    try:
        yield
    except ProcessLookupError:
        return


def test_a_start_right_after_kill_9_waits_for_the_dying_server(home: Path) -> None:
    with another_command(home) as first:
        first.kill()
        first.wait()  # the command has gone; its server may still be on its way out
        with EmbeddedServers(home) as servers:
            keep(servers, "alone")
            assert names(servers) == ["alone"]


def test_a_pid_file_whose_number_went_to_another_process_is_no_obstacle(home: Path) -> None:
    with EmbeddedServers(home):
        pass
    pid_file = home / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{home}/postgres\n0\n5432\n/tmp\n\n0 0\n")
    with EmbeddedServers(home) as servers:
        keep(servers, "started")


def test_a_first_start_cut_off_half_way_is_done_over(home: Path) -> None:
    (home / "postgres" / "base").mkdir(parents=True)
    with EmbeddedServers(home) as servers:
        keep(servers, "started")


def test_a_record_of_servers_long_gone_is_passed_over(home: Path) -> None:
    home.mkdir()
    (home / "embedded.json").write_text(json.dumps({"sockets": "/tmp/retry-engine-gone"}))
    with EmbeddedServers(home) as servers:
        keep(servers, "started")


def test_a_home_that_cannot_be_made_is_one_clear_line(home: Path) -> None:
    home.parent.joinpath("file").write_text("")
    with pytest.raises(SettingsError, match=r"^RETRY_ENGINE_HOME is .*expected a folder"):
        EmbeddedServers(home.parent / "file" / "home").__enter__()


def test_a_server_that_does_not_start_names_its_log_and_leaves_nothing(home: Path) -> None:
    with EmbeddedServers(home):
        pass
    (home / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    before = children(os.getpid())
    with pytest.raises(StoreUnavailable, match=r"did not start; see .*postgres\.log"):
        EmbeddedServers(home).__enter__()
    assert not running(children(os.getpid()) - before)


def test_without_the_packages_the_message_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_programs, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"DATABASE_URL.*retry-engine\[embedded\]"):
        EmbeddedServers(home).__enter__()
