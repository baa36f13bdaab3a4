import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import descendants, eventually, running

from retry_engine.entrypoints.supervisor import Child, ChildFailed, Supervisor

pytestmark = pytest.mark.integration

WAITS = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
OUTER = f"""
import sys
from retry_engine.entrypoints.supervisor import Child, Supervisor
children = [Child(name=n, argv=[sys.executable, "-c", {WAITS!r}]) for n in ("web", "worker")]
sys.exit(Supervisor(children).run())
"""


def child(code: str, **env: str) -> Child:
    return Child(name="child", argv=[sys.executable, "-c", code], env=env)


def pid_of(supervised: Child) -> int:
    assert supervised.process is not None
    return supervised.process.pid


def comes_back(supervisor: Supervisor, dead: int) -> bool:
    def is_back() -> bool:
        supervisor.check()
        process = supervisor.children[0].process
        return process is not None and process.pid != dead

    return eventually(is_back)


@pytest.fixture
def outer() -> Iterator["subprocess.Popen[bytes]"]:
    """A supervisor of two in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", OUTER], stdout=subprocess.DEVNULL)
    try:
        assert eventually(lambda: len(descendants(process.pid)) == 2)
        yield process
    finally:
        process.kill()
        process.wait()


def test_all_end_with_the_block() -> None:
    with Supervisor([child(WAITS), child(WAITS)]) as supervisor:
        pids = [pid_of(c) for c in supervisor.children]
        assert running(pids) == pids
    assert not running(pids)


def test_a_child_gets_its_own_environment_over_ours(tmp_path: Path) -> None:
    told = tmp_path / "told"
    code = f"import os, pathlib; pathlib.Path({str(told)!r}).write_text(os.environ['COLOUR'])"
    with Supervisor([child(code, COLOUR="blue")]):
        assert eventually(lambda: told.exists() and told.read_text() == "blue")


def test_a_killed_child_comes_back_however_often() -> None:
    with Supervisor([child(WAITS)]) as supervisor:
        for _ in range(3):
            dead = pid_of(supervisor.children[0])
            os.kill(dead, signal.SIGKILL)
            assert comes_back(supervisor, dead)
        assert supervisor.children[0].failures == 0


def test_each_early_death_makes_the_next_start_wait_longer() -> None:
    with Supervisor([child("")]) as supervisor:
        waits = []
        for _ in range(3):
            one = supervisor.children[0]
            assert one.process is not None
            one.process.wait()
            supervisor.check()
            waits.append(one.start_at - one.started_at)
            one.start_at = 0.0  # its wait is over
            supervisor.check()
        assert waits == sorted(waits)
        assert waits[-1] > waits[0]


def test_bad_settings_are_not_tried_again() -> None:
    with Supervisor([child("raise SystemExit(2)")]) as supervisor:
        one = supervisor.children[0]
        assert one.process is not None
        one.process.wait()
        with pytest.raises(ChildFailed, match="exit code 2"):
            supervisor.check()


def test_a_child_that_keeps_failing_at_its_start_is_given_up() -> None:
    with Supervisor([child("raise SystemExit(1)")]) as supervisor:
        one = supervisor.children[0]
        for _ in range(4):
            assert one.process is not None
            one.process.wait()
            supervisor.check()
            one.start_at = 0.0  # its wait is over
            supervisor.check()
        assert one.process is not None
        one.process.wait()
        with pytest.raises(ChildFailed, match="exit code 1"):
            supervisor.check()


def test_a_child_deaf_to_sigterm_is_killed_after_the_grace_period() -> None:
    supervisor = Supervisor([child(DEAF)], grace_seconds=0.2)
    supervisor.start()
    pid = pid_of(supervisor.children[0])
    supervisor.stop()
    assert not running([pid])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(outer: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    children = descendants(outer.pid)
    outer.send_signal(how)
    assert outer.wait(timeout=20) == 0
    assert not running(children)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent's death")
def test_kill_9_of_the_supervisor_leaves_nothing(outer: "subprocess.Popen[bytes]") -> None:
    children = descendants(outer.pid)
    outer.kill()
    assert eventually(lambda: not running(children))


def test_a_program_that_is_not_there_stops_the_others() -> None:
    supervisor = Supervisor([child(WAITS), Child(name="gone", argv=["/no/such/program"])])
    with pytest.raises(ChildFailed, match="gone"):
        supervisor.__enter__()
    assert not running([pid_of(supervisor.children[0])])
