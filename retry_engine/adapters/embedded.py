"""A real PostgreSQL and a real Valkey out of Python wheels, for where no server is configured.

They are children of this process and die with it, also when it is killed outright (Linux). A
second command on the same home joins the servers of the first and leaves them running.

Neither asks for a password. They listen on sockets alone, in a folder that only the servers' user
(and root) may enter. Where an ordinary user starts them that is this user, who owns the data as
files anyway; where root does, it is a number that nobody can log in as and no other service has.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import psycopg

from retry_engine.adapters import server_programs
from retry_engine.adapters.confinement import ServerUser, confined, give, owner_of, server_user
from retry_engine.adapters.server_programs import Programs
from retry_engine.domain.errors import SettingsError, StoreUnavailable

_USER = _DATABASE = "retry_engine"
_START_SECONDS = 30.0

# The path of a socket has to be short, which a home or TMPDIR need not be. What is copied there
# has to be run there, which some forbid in /tmp.
_SHORT_FOLDERS = tuple(Path(name) for name in ("/tmp", "/var/tmp", "/run", "/dev/shm"))  # noqa: S108  # mkdtemp
_PREFIX = "retry-engine-"
_NEEDED = "100 MB"

# The data as the server calls it, whose folder we enter for it: the server's user may not pass the
# private folders above. What it is called outside stands on the command line all the same.
_HERE = Path("/proc/self/cwd")
_MARK = "retry_engine.data="


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
        self._lock: IO[bytes] | None = None
        self._sockets: Path | None = None
        self._user = ServerUser(os.geteuid(), os.getegid())
        self._postgres: subprocess.Popen[bytes] | None = None
        self._valkey: subprocess.Popen[bytes] | None = None

    @property
    def _data(self) -> Path:
        return self._home / "postgres"

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
        except OSError as error:
            self._stop()
            raise StoreUnavailable(
                f"the embedded servers cannot be started ({error.strerror or error}); they need "
                f"{_NEEDED} to write in {(self._sockets or _SHORT_FOLDERS[0] / 'x').parent} and in "
                f"RETRY_ENGINE_HOME ({self._home}), or DATABASE_URL and REDIS_URL"
            ) from None
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _take_lock(self) -> bool:
        try:
            self._make_home()
            lock = self._private("embedded.lock")
        except OSError as error:
            raise SettingsError(
                f"RETRY_ENGINE_HOME is {self._home}; expected a folder that can be written "
                f"({error.filename}: {error.strerror})"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def _make_home(self) -> None:
        """Root in somebody's folder (`sudo`) makes it theirs: they come back without root."""
        missing = [folder for folder in (self._home, *self._home.parents) if not folder.exists()]
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in reversed(missing):
            give(folder, owner_of(folder.parent))

    def _private(self, name: str) -> IO[bytes]:
        """A file to add to, closed to all but the home's owner, however open the folder is."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self._home / name, flags, 0o600)
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
        give(descriptor, owner_of(self._home))
        return os.fdopen(descriptor, "a+b")

    # -- the first: starts them

    def _start(self) -> None:
        programs = server_programs.installed()
        self._clear_away_the_dead()
        self._user = server_user(self._data)
        self._sockets = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_short_folder()))
        if self._user.uid != os.geteuid():
            programs = server_programs.copied(programs, self._sockets / "programs")
        give(self._sockets, self._user)
        self._valkey = self._launch(
            [
                str(programs.valkey),
                *("--port", "0", "--unixsocket", str(self._sockets / "redis.sock")),
                *("--save", "", "--appendonly", "no", "--dir", str(self._sockets)),
            ],
            folder=self._sockets,
            log="valkey.log",
            when_parent_dies=signal.SIGKILL,
        )
        if not (self._data / "PG_VERSION").exists():
            self._initialise(programs)
        self._start_postgres(programs)
        self._wait_for_valkey()
        self._write_record()

    def _write_record(self) -> None:
        """In one step, and never through a link that somebody put there."""
        descriptor, name = tempfile.mkstemp(prefix="embedded-", dir=self._home)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"sockets": str(self._sockets), "pid": os.getpid()}, file)
        give(Path(name), owner_of(self._home))
        Path(name).replace(self._record)

    def _clear_away_the_dead(self) -> None:
        """We hold the lock, so whatever an earlier command left here has no owner any more."""
        with suppress(OSError, ValueError, KeyError):
            sockets = Path(json.loads(self._record.read_text())["sockets"])
            if sockets.parent in _SHORT_FOLDERS and sockets.name.startswith(_PREFIX):
                shutil.rmtree(sockets, ignore_errors=True)
        self._record.unlink(missing_ok=True)
        _end_orphan(self._data)

    def _start_postgres(self, programs: Programs) -> None:
        self._postgres = self._launch_postgres(programs)
        deadline = time.monotonic() + _START_SECONDS
        crashed_before = (self._data / "postmaster.pid").exists()
        tries = 10 if crashed_before else 1
        while not self._postgres_answers():
            if self._postgres.poll() is not None:
                # the last backends of a server that was killed may still hold its memory
                tries -= 1
                if tries > 0:
                    time.sleep(0.3)
                    self._postgres = self._launch_postgres(programs)
            if tries == 0 or time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"the embedded PostgreSQL did not start; see {self._home}/postgres.log"
                )
            time.sleep(0.02)

    def _launch_postgres(self, programs: Programs) -> "subprocess.Popen[bytes]":
        # what is thrown away at the end need not outlive a power cut
        lasting = ("-c", "fsync=off", "-c", "full_page_writes=off") if self._ephemeral else ()
        return self._launch(
            [
                str(programs.postgres / "bin" / "postgres"),
                *("-D", str(_as_entered(self._data)), "-c", f"{_MARK}{self._data}"),
                *("-k", str(self._sockets), "-c", "listen_addresses="),
                *("-c", "max_connections=200", "-c", "shared_buffers=128MB"),
                *("-c", "log_min_messages=warning", *lasting),
            ],
            folder=self._data,
            log="postgres.log",
            when_parent_dies=signal.SIGQUIT,
        )

    def _initialise(self, programs: Programs) -> None:
        assert self._sockets is not None
        if self._data.exists():  # a first start that was cut off half-way
            shutil.rmtree(self._data)
        self._data.mkdir(mode=0o700)
        give(self._data, self._user)
        postgres = programs.postgres
        if not self._user.has_name():
            postgres = server_programs.for_a_user_without_a_name(
                postgres, self._sockets / "programs"
            )
        command = [
            *(str(postgres / "bin" / "initdb"), "-D", str(_as_entered(self._data)), "-U", _USER),
            *("-A", "trust", "-E", "UTF8", "--locale", "C", "--no-instructions"),
            *(("--no-sync",) if self._ephemeral else ()),
        ]
        try:
            made = subprocess.run(  # noqa: S603  # our own arguments
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                cwd=self._data,
                env=_environment(),
                # we start no threads
                preexec_fn=confined(self._user, when_parent_dies=signal.SIGKILL),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _cannot_run(command[0], error) from None
        if made.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise StoreUnavailable(
                f"the embedded PostgreSQL could not be initialised in {self._data} "
                f"({_complaint(made.stderr)}); mend that, or set DATABASE_URL"
            )

    def _launch(
        self, command: Sequence[str], *, folder: Path, log: str, when_parent_dies: int
    ) -> "subprocess.Popen[bytes]":
        try:
            with self._private(log) as output:
                return subprocess.Popen(  # noqa: S603  # our own arguments
                    list(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folder,
                    env=_environment(),
                    # its own group: Ctrl-C in a terminal is ours to pass on, in order
                    process_group=0,
                    # we start no threads
                    preexec_fn=confined(self._user, when_parent_dies=when_parent_dies),  # noqa: PLW1509
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise _cannot_run(command[0], error) from None

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
            shutil.rmtree(self._data, ignore_errors=True)
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


def _short_folder() -> Path:
    for folder in _SHORT_FOLDERS:
        with suppress(OSError):
            allows = not os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)
            if allows and os.access(folder, os.W_OK | os.X_OK):
                return folder
    raise StoreUnavailable(
        "the embedded servers need a folder for their sockets; none of "
        f"{', '.join(map(str, _SHORT_FOLDERS))} can be written to and run from"
    )


def _environment() -> dict[str, str]:
    """The servers' own: keys and passwords of the engine's are no business of theirs."""
    wanted = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", **wanted}


def _as_entered(data: Path) -> Path:
    return _HERE if _HERE.is_dir() else data


def _complaint(output: str) -> str:
    """The line that says why, out of what `initdb` says after it has failed."""
    lines = output.strip().splitlines() or ["no message"]
    telling = [line for line in lines if "FATAL" in line or "PANIC" in line or "error:" in line]
    return (telling or lines[-1:])[0]


def _cannot_run(binary: str, error: Exception) -> StoreUnavailable:
    if isinstance(error, subprocess.SubprocessError):  # between fork and exec
        error = PermissionError("its process may not become an ordinary user without privileges")
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
    mark = f"{_MARK}{data}"
    if sys.platform == "linux":
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fsencode(mark) in arguments
    else:  # noqa: RET505  # each platform's own branch, as the type checker understands it
        listing = ["/bin/ps", "-o", "command=", "-p", str(pid)]
        shown = subprocess.run(listing, capture_output=True, text=True, check=False)  # noqa: S603
        return f"{mark} " in shown.stdout


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
