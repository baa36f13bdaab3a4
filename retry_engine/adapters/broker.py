"""The Celery application and how ids are handed to it. It carries ids and nothing else."""

from collections.abc import Sequence
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from retry_engine.adapters import redis_transport

log = structlog.get_logger()

EVENTS, ACTIONS, DISPATCH, OUTBOUND = "events", "actions", "dispatch", "outbound"

# Several ids in one message: the broker's cost is per message, the work's is per id.
_EVENTS_A_MESSAGE, _ACTIONS_A_MESSAGE = 20, 8


def application(redis_url: str, *, concurrency: int, in_web: bool = False) -> Celery:
    """A Celery application on that broker. Losing all of what it holds costs nothing but time."""
    redis_transport.install()
    app = Celery("retry_engine", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        result_backend=None,
        accept_content=["json"],
        task_serializer="json",
        enable_utc=True,
        timezone="UTC",
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # one in hand and one at hand: a process need not wait for the broker between two
        worker_prefetch_multiplier=2,
        worker_concurrency=concurrency,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        task_soft_time_limit=240,
        task_time_limit=300,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=3,
        worker_soft_shutdown_timeout=20,
        worker_enable_soft_shutdown_on_idle=False,
        broker_transport_options={
            # the rows find again what is lost long before this; it only bounds the redelivery
            "visibility_timeout": 900,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "unacked_mutex_expire": 30,
            "socket_timeout": 2 if in_web else 10,
            "socket_connect_timeout": 2,
        },
        task_publish_retry=False,
        task_routes={
            "events.process": {"queue": EVENTS},
            "actions.run": {"queue": ACTIONS},
            "outbound.deliver": {"queue": OUTBOUND},
            "engine.dispatch": {"queue": DISPATCH},
            "engine.sweep": {"queue": DISPATCH},
            "engine.housekeeping": {"queue": DISPATCH},
        },
        task_default_queue=DISPATCH,
        beat_schedule={
            "dispatch": {"task": "engine.dispatch", "schedule": 1.0, "options": {"expires": 5}},
            "sweep": {"task": "engine.sweep", "schedule": 5.0, "options": {"expires": 10}},
            "housekeeping": {
                "task": "engine.housekeeping",
                "schedule": 60.0,
                "options": {"expires": 60},
            },
        },
    )
    return app


class Broker:
    """Publishes ids. That the broker is away is logged and nothing more: the rows remain."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def publish_events(self, ids: Sequence[str]) -> None:
        """Ask a worker to process these inbox rows."""
        self._publish("events.process", ids, _EVENTS_A_MESSAGE)

    def publish_actions(self, ids: Sequence[int]) -> None:
        """Ask workers to carry out these claimed actions."""
        self._publish("actions.run", ids, _ACTIONS_A_MESSAGE)

    def publish_outbound(self, ids: Sequence[str]) -> None:
        """Ask a worker to deliver these claimed outbox rows, in one call of the receiver."""
        self._publish("outbound.deliver", ids, len(ids))

    def _publish(self, task: str, ids: Sequence[Any], a_message: int) -> None:
        try:
            with self.app.producer_pool.acquire(block=True, timeout=5) as producer:
                for start in range(0, len(ids), a_message):
                    part = list(ids[start : start + a_message])
                    self.app.send_task(task, args=[part], producer=producer, retry=False)
        except (OperationalError, OSError, TimeoutError) as error:
            log.warning("broker_unreachable", task=task, ids=len(ids), error=type(error).__name__)

    def is_reachable(self) -> bool:
        """Whether the broker answers within two seconds."""
        try:
            with self.app.connection_for_write(connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=1, timeout=2)
        except (OperationalError, OSError, TimeoutError):
            return False
        return True

    def close(self) -> None:
        """Let go of the connections."""
        self.app.close()
