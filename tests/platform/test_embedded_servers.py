import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
import redis
from processes import children, descendants, eventually, running

from retry_engine.adapters import embedded, server_programs
from retry_engine.adapters.embedded import EmbeddedServers
from retry_engine.domain.errors import SettingsError, StoreUnavailable

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


# -- what the servers may do, and who may speak to them

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has others to become")
SOMEBODY = 54321  # a number without an entry in the user database


def in_the_shoes_of(uid: int, act: Callable[[], object]) -> bool:
    """Whether that user can do it: in a process of their own, without rights or groups of ours."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            act()
        except BaseException as error:
            sys.stderr.write(f"uid {uid}: {error!r}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
def test_the_servers_have_no_privilege_of_any_kind(home: Path) -> None:
    before = children(os.getpid())
    seen: set[int] = set()
    with EmbeddedServers(home, ephemeral=True):
        ours = children(os.getpid()) - before
        assert len(ours) == 2
        for pid in [*ours, *(below for one in ours for below in descendants(one))]:
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # one of the database's passing workers has ended
            seen.add(pid)
            status = {k: v.split() for k, _, v in (line.partition(":") for line in lines)}
            for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                assert int(status[kind][0], 16) == 0, (kind, status["Name"])
            assert status["NoNewPrivs"] == ["1"]
            if os.geteuid() == 0:
                assert int(status["CapBnd"][0], 16) == 0
                assert "0" not in [*status["Uid"], *status["Gid"], *status["Groups"]]
                assert status["Groups"] == []
        assert ours <= seen


@as_root
def test_the_superuser_of_the_database_reads_no_file_that_its_user_may_not(home: Path) -> None:
    secret = home.parent / "secret"
    secret.write_text("nobody else's")
    secret.chmod(0o600)
    with (
        EmbeddedServers(home, ephemeral=True) as servers,
        psycopg.connect(servers.postgres_dsn, autocommit=True) as connection,
    ):
        for path in (str(secret), "/etc/shadow", "/proc/1/environ", str(home / "postgres.log")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select pg_read_file(%s)", (path,))
        connection.execute("create temp table said (line text)")
        with pytest.raises(psycopg.Error, match="child process exited"):
            connection.execute(f"copy said from program 'cat {secret}'")


def test_the_servers_do_not_get_our_keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_not_for_servers")
    with (
        EmbeddedServers(home, ephemeral=True) as servers,
        psycopg.connect(servers.postgres_dsn) as connection,
    ):
        connection.execute("create temp table said (line text)")
        connection.execute("copy said from program 'env'")
        names = {row[0].partition("=")[0] for row in connection.execute("select line from said")}
    assert "PATH" in names
    assert "STRIPE_API_KEY" not in names


@as_root
def test_no_other_user_reaches_the_servers_or_their_data(home: Path) -> None:
    home.parent.chmod(0o755)
    home.mkdir(mode=0o755)
    with EmbeddedServers(home, ephemeral=True) as servers:
        path = servers.redis_url.removeprefix("redis+socket://")
        folder = Path(path).parent
        owner = folder.stat().st_uid
        with pytest.raises(KeyError):  # so nothing else runs as that number
            pwd.getpwuid(owner)

        def connect(name: str) -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(folder / name))

        for uid in (pwd.getpwnam("nobody").pw_uid, SOMEBODY):
            for name in ("redis.sock", ".s.PGSQL.5432"):
                assert not in_the_shoes_of(uid, partial(connect, name))
            assert not in_the_shoes_of(uid, lambda: next((home / "postgres").iterdir()))
        assert in_the_shoes_of(owner, lambda: connect("redis.sock"))


def test_everything_in_the_home_is_private_whatever_the_folder_was(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    (home / "postgres.log").write_text("of an earlier version\n")
    (home / "postgres.log").chmod(0o644)
    before = os.umask(0)
    try:
        with EmbeddedServers(home):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    finally:
        os.umask(before)
    assert {"postgres", "postgres.log", "valkey.log", "embedded.json"} <= set(modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}


def test_a_log_that_is_a_link_is_not_followed(home: Path) -> None:
    home.mkdir()
    target = home.parent / "somebody's"
    target.write_text("theirs")
    (home / "valkey.log").symlink_to(target)
    with pytest.raises(StoreUnavailable):
        EmbeddedServers(home).__enter__()
    assert target.read_text() == "theirs"


# -- where they have to work


@pytest.fixture
def programs_in_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> server_programs.Programs:
    """As in a checkout below root's home: nobody else may enter."""
    private = tmp_path / "a private folder"
    found = server_programs.copied(server_programs.installed(), private / "site-packages")
    private.chmod(0o700)
    monkeypatch.setattr(server_programs, "installed", lambda: found)
    return found


@pytest.mark.usefixtures("programs_in_a_private_folder")
def test_a_private_checkout_and_a_private_home_with_spaces(tmp_path: Path) -> None:
    home = tmp_path / 'a home\'s "folder" with spaces'
    tmp_path.chmod(0o700)
    with EmbeddedServers(home) as servers:
        keep(servers, "kept")
    with EmbeddedServers(home) as servers:
        assert names(servers) == ["kept"]


@as_root
def test_a_user_without_an_entry_in_the_user_database(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="retry-engine-test-open-") as open_folder:
        Path(open_folder).chmod(0o755)
        found = server_programs.copied(server_programs.installed(), Path(open_folder) / "wheel")
        monkeypatch.setattr(server_programs, "installed", lambda: found)
        home.parent.chmod(0o755)
        home.mkdir()
        os.chown(home, SOMEBODY, SOMEBODY)

        def start_and_keep() -> None:
            with EmbeddedServers(home) as servers:
                keep(servers, "theirs")

        assert in_the_shoes_of(SOMEBODY, start_and_keep)


@as_root
def test_what_root_makes_in_the_folder_of_another_stays_theirs(home: Path) -> None:
    os.chown(home.parent, SOMEBODY, SOMEBODY)  # `sudo` with the caller's HOME
    deep = home / "share" / "retry-engine"
    with EmbeddedServers(deep) as servers:
        keep(servers, "by root")
        record = deep / "embedded.json"
        made = [home, deep.parent, deep, record, *deep.iterdir()]
        assert {path.stat().st_uid for path in made} == {SOMEBODY}
    assert (deep / "postgres").stat().st_uid == SOMEBODY


@as_root
def test_a_full_folder_for_the_programs_is_one_clear_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]
    if subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("this root may not mount a small file system")
    try:
        monkeypatch.setattr(embedded, "_SHORT_FOLDERS", (small,))
        with pytest.raises(StoreUnavailable, match=r"No space left.*100 MB.*small") as full:
            EmbeddedServers(home).__enter__()
        assert "\n" not in str(full.value)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


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
