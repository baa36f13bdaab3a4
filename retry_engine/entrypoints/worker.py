"""Celery's side of the engine: tasks that take ids, call one method, and are done."""

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps

import structlog
from billiard import active_children
from celery import Celery, signals
from celery.apps.worker import Worker as CeleryWorker
from celery.exceptions import WorkerTerminate

from retry_engine import bootstrap, telemetry
from retry_engine.domain.errors import RetryEngineError
from retry_engine.settings import Settings

log = structlog.get_logger()

_PR_SET_PDEATHSIG = 1


class _EngineOfThisProcess:
    """Each pool process builds its own engine: connections must not cross a fork.

    The model that was active when the worker started does cross it: all share its memory.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = bootstrap.before_fork(settings)
        self._engine: bootstrap.Engine | None = None

    def __call__(self) -> bootstrap.Engine:
        if self._engine is None:
            built = bootstrap.build(self._settings, known=self._known)
            try:
                built.worker.begin()
            except BaseException:
                built.close()
                raise
            self._engine = built
        return self._engine

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def register(app: Celery, engine: Callable[[], bootstrap.Engine]) -> None:
    """The tasks. All of them may come twice, late, or never."""

    def task(name: str) -> Callable[[Callable[..., None]], None]:
        def add(work: Callable[..., None]) -> None:
            app.task(name=name)(_logged(name, work))

        return add

    @task("events.process")
    def process_events(ids: list[str]) -> None:
        engine().worker.process_events(ids)

    @task("actions.run")
    def run_actions(ids: list[int]) -> None:
        engine().worker.run_actions(ids)

    @task("outbound.deliver")
    def deliver(ids: list[str]) -> None:
        engine().worker.deliver(ids)

    @task("engine.dispatch")
    def dispatch() -> None:
        engine().worker.dispatch()
        engine().worker.forewarn()

    @task("engine.sweep")
    def sweep() -> None:
        engine().worker.sweep()

    @task("engine.housekeeping")
    def housekeeping() -> None:
        engine().worker.housekeeping()


def _logged(name: str, work: Callable[..., None]) -> Callable[..., None]:
    """Errors are told once, in our own words; the rows say what is still to be done."""

    @wraps(work)
    def run(*arguments: object) -> None:
        try:
            work(*arguments)
        except RetryEngineError as error:
            detail = getattr(error, "detail", "")
            log.warning("task_failed", task=name, error=str(error), detail=detail)
        except Exception:
            log.exception("task_failed", task=name)

    return run


def run_worker(settings: Settings) -> int:
    """Work until told to stop. SIGTERM: finish what is in hand; SIGQUIT: put it back first."""
    telemetry.configure("worker", log_format=settings.log_format)
    app = bootstrap.celery_application(settings)
    engine = _EngineOfThisProcess(settings)
    register(app, engine)
    signals.setup_logging.connect(_leave_logging_alone, weak=False)
    # receivers are held here, by name, until the worker ends
    start, stop = partial(_start_pool_process, settings, os.getpid()), partial(_stop, engine)
    signals.worker_process_init.connect(start, weak=False)
    signals.worker_process_shutdown.connect(stop, weak=False)
    worker = _Persistent(
        app=app,
        pool="prefork",
        concurrency=settings.worker_concurrency,
        queues=["events", "actions", "dispatch", "outbound"],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="WARNING",
        quiet=True,
        hostname=f"retry-engine-{os.getpid()}@%h",
    )
    # what is shared stays shared: a look through it for garbage would copy every page of it
    gc.collect()
    gc.freeze()
    worker.start()
    return int(worker.exitcode or 0)


class _Persistent(CeleryWorker):  # type: ignore[misc]  # celery has no types
    """A worker that begins anew where Celery's own would give up, or try to and hang."""

    def start(self) -> None:
        """Work until told to stop; whatever else ends the work is only an interruption."""
        try:
            self.blueprint.start(self)
        except WorkerTerminate:
            self.terminate()
        except SystemExit as asked:
            self.stop(exitcode=asked.code)
        except KeyboardInterrupt:
            self.stop(exitcode=1)
        except Exception:
            log.exception("worker_begins_anew")
            _begin_anew()


def _begin_anew() -> None:
    """The same command in the same process, as after a crash: the rows say what is to be done."""
    for process in active_children():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    time.sleep(1)  # what failed at once would fail again at once
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # our own command


def run_beat(settings: Settings) -> int:
    """Tick. Ticks only save waiting: two beats do no harm, nor does none for a while."""
    telemetry.configure("beat", log_format=settings.log_format)
    app = bootstrap.celery_application(settings)
    signals.setup_logging.connect(_leave_logging_alone, weak=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    app.Beat(
        loglevel="WARNING",
        scheduler="celery.beat:Scheduler",  # in memory: there is no state worth a file
        schedule=os.devnull,
        max_interval=1,
        quiet=True,
    ).run()
    return 0


def _leave_logging_alone(**_: object) -> None:
    """A connected receiver is what keeps Celery from configuring logging."""


def _start_pool_process(settings: Settings, parent: int, **_: object) -> None:
    telemetry.configure("worker", log_format=settings.log_format)
    gc.set_threshold(10_000, 20, 20)
    if sys.platform == "linux":
        # a worker that is killed outright must not leave its pool behind
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _stop(engine: _EngineOfThisProcess, **_: object) -> None:
    engine.close()
