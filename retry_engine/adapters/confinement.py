"""The embedded servers' user: an ordinary one, with no right beyond those of its number.

PostgreSQL refuses to run as root, and its superuser can read every file that the server can. So
where root starts the servers they become a user that owns nothing but their own data, and keep
no capability by which a folder closed to them would open.
"""

import ctypes
import os
import pwd
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retry_engine.domain.errors import StoreUnavailable

# Not `nobody`, whose number other services share: they could read the data and trace the servers.
# Neither Debian nor systemd gives these numbers to anybody.
_FREE_NUMBERS = range(65530, 65520, -1)

# linux/prctl.h and linux/capability.h
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3, _MOST_CAPABILITIES = 0x20080522, 64


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Numbers, which need no entry in the user database."""

    uid: int
    gid: int

    def has_name(self) -> bool:
        """Whether the user database knows the number; in a container it often does not."""
        return _known(self.uid)


def server_user(data: Path) -> ServerUser:
    """Whom the servers run as: ourselves or, where we are root, whoever owns the data.

    Without data, whoever owns the folder that it will lie in: who uses a home without being root
    goes on being able to. In root's own it is a number that nobody else has.
    """
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid())
    owner = owner_of(data if data.exists() else data.parent)
    if owner.uid != 0:
        return owner
    number = next((n for n in _FREE_NUMBERS if not _known(n)), _FREE_NUMBERS[0])
    return ServerUser(number, number)


def owner_of(path: Path) -> ServerUser:
    """Whose file or folder it is."""
    found = path.stat()
    return ServerUser(found.st_uid, found.st_gid)


def _known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def give(path: Path | int, user: ServerUser) -> None:
    """Make it theirs, as far as that is ours to do; never what a link points to.

    Raises:
        StoreUnavailable: a root who may not, as in a namespace with one user.
    """
    if os.geteuid() != 0 or user.uid == 0:
        return
    try:
        if isinstance(path, int):
            os.fchown(path, user.uid, user.gid)
        else:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
    except OSError as error:
        raise StoreUnavailable(
            "PostgreSQL refuses to run as root, and this root may not hand a file to another user "
            f"({error.strerror}); run as an ordinary user, or set DATABASE_URL and REDIS_URL"
        ) from None


def confined(user: ServerUser, *, when_parent_dies: int) -> Callable[[], None]:
    """What a server's process does between fork and exec. Whatever fails stops the start."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    parent, as_root = os.getpid(), os.geteuid() == 0

    def confine() -> None:
        if libc is not None:  # needs a right that goes with the next step
            _empty_bounding_set(libc)
        if as_root:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
        if libc is not None:
            _drop_capabilities(libc)
            # after the change of user, which would clear it
            libc.prctl(_PR_SET_PDEATHSIG, when_parent_dies, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return confine


def _empty_bounding_set(libc: ctypes.CDLL) -> None:
    """No program it starts may get any; not allowed to all, whom `no_new_privs` serves as well."""
    for capability in range(_MOST_CAPABILITIES):
        if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            return


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Those it has: an ordinary user may have been given some too."""
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    if libc.capset(header, none) != 0 or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "privileges cannot be dropped")
