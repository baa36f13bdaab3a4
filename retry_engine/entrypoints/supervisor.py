"""Runs the processes of an installation under one roof: starts, restarts, and ends them all."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Self

import structlog

from retry_engine.domain.errors import RetryEngineError

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 25.0
_LONGEST_BACKOFF_SECONDS = 30.0
# a child that ends by itself this often, each time this soon, will not get better
_FAILED_STARTS, _YOUNG_SECONDS = 5, 5.0


class ChildFailed(RetryEngineError):
    """A process keeps dying."""


@dataclass(slots=True, kw_only=True)
class Child:
    """One process to keep alive. `env` is laid over ours."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    deaths: int = 0
    failures: int = 0
    start_at: float = 0.0
    started_at: float = 0.0


class Supervisor:
    """Keeps children alive between `start` and `stop`.

    A child that dies is started again, later each time it dies young; what it was doing is in
    the database. On Linux none of them outlives this process, however it ends.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        stderr: IO[bytes] | None = None,
        grace_seconds: float = _GRACE_SECONDS,
    ) -> None:
        self.children = list(children)
        self._stderr = stderr
        self._grace = grace_seconds

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all."""
        for child in self.children:
            self._launch(child)

    def check(self) -> None:
        """Start again what has died.

        Raises:
            ChildFailed: one has died too often, soon after its start.
        """
        now = time.monotonic()
        for child in self.children:
            if child.process is not None and child.process.poll() is not None:
                self._bury(child, now)
            elif child.process is None and now >= child.start_at:
                self._launch(child)

    def run(self) -> int:
        """Start all; until SIGTERM or SIGINT, which end all of them cleanly."""
        asked: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: asked.append(received))
        try:
            while not asked:
                self.check()
                time.sleep(0.2)
            log.info("stopping", signal=signal.Signals(asked[0]).name)
        finally:
            self.stop()
        return 0

    def stop(self) -> None:
        """End all: first by asking, then, after a grace period, for certain."""
        living = [c.process for c in self.children if c.process and c.process.poll() is None]
        for process in living:
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + self._grace
        for process in living:
            try:
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("killed_after_grace", pid=process.pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _launch(self, child: Child) -> None:
        child.started_at = time.monotonic()
        child.process = self._process_of(child)
        log.info("started", child=child.name, pid=child.process.pid)

    def _process_of(self, child: Child) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(  # noqa: S603  # our own arguments
                list(child.argv),
                env={**os.environ, **child.env},
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                # its own group: a Ctrl-C at the terminal reaches us, and we end them in order
                process_group=0,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509  # we start no threads
            )
        except OSError as error:
            raise ChildFailed(f"{child.name} cannot be started: {error}") from None

    @staticmethod
    def _bury(child: Child, now: float) -> None:
        assert child.process is not None
        lived = now - child.started_at
        code, child.process = child.process.returncode, None
        child.deaths = child.deaths + 1 if lived < _LONGEST_BACKOFF_SECONDS else 1
        # killed from outside (negative): says nothing against the child
        child.failures = child.failures + 1 if code >= 0 and lived < _YOUNG_SECONDS else 0
        log.warning("died", child=child.name, code=code, lived_seconds=round(lived, 1))
        if code == 2 or child.failures >= _FAILED_STARTS:  # 2: bad settings, which no restart mends
            raise ChildFailed(f"{child.name} ended with exit code {code}; see its log above")
        child.start_at = now + min(0.2 * 2**child.deaths, _LONGEST_BACKOFF_SECONDS)


def _die_with(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie
