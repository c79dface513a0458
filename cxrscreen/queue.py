"""The broker: task names, and submitting by name. A message holds an id and only wakes a worker (law 1)."""

from __future__ import annotations

import logging
from functools import lru_cache
from urllib.parse import urlsplit

import redis
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from cxrscreen.settings import get_settings

INGEST = "cxrscreen.ingest"  # (job id)
SCREEN = "cxrscreen.screen"  # (batch id)
HEAT = "cxrscreen.heat"  # (result id)
SWEEP = "cxrscreen.sweep"
NIGHTLY = "cxrscreen.nightly"

# The control queue is read by both kinds of worker: a sweep never waits behind a long ingest. A map that a person waits
# for has a queue of its own, as queues are read in turn: it never waits behind the batches of a long job.
QUEUES = {INGEST: "ingest", SCREEN: "screen", HEAT: "heat", SWEEP: "control", NIGHTLY: "control"}

log = logging.getLogger(__name__)


@lru_cache(maxsize=4)
def app_for(url: str) -> Celery:
    settings = get_settings()
    app = Celery("cxrscreen", broker=url)
    app.conf.update(
        task_queues=[Queue(name) for name in dict.fromkeys(QUEUES.values())],
        task_routes={task: {"queue": queue} for task, queue in QUEUES.items()},
        # JSON only: a message from a stranger in the broker runs no code.
        task_serializer="json",
        accept_content=["json"],
        # The database holds results; a backend would fill Redis (celery #7801).
        task_ignore_result=True,
        # A worker that dies gives its message back, and holds no more messages than it works on.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # Redis hands a message to a second worker after this long; longer than any ingest slice or batch takes, and
        # harmless where it is not: the claim in the database lets one of them in.
        # The retries are those of a submit: a page does not wait for a broker that is away, the sweep makes it good.
        broker_transport_options={
            "visibility_timeout": 6 * 3600,
            "socket_timeout": 30,
            "socket_connect_timeout": 3,
            "max_retries": 1,
            "interval_start": 0.1,
            "interval_step": 0.1,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Not set: worker_soft_shutdown_timeout. With the solo pool it loses the message; a plain SIGTERM does not.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
        beat_schedule={
            "sweep": {
                "task": SWEEP,
                "schedule": settings.sweep_seconds,
                "options": {"expires": settings.sweep_seconds * 3},
            },
            "nightly": {"task": NIGHTLY, "schedule": 30.0, "options": {"expires": 90.0}},
        },
    )
    return app


def app() -> Celery:
    return app_for(get_settings().broker)


def submit(task: str, identity: int, *, expires: float | None = None) -> bool:
    """Wake a worker. False where the broker does not answer: the work stands in the database, a sweep finds it.

    A message that nobody took within `expires` seconds is dropped: whoever waited for it is gone.
    """
    try:
        app().send_task(task, args=[identity], retry=False, expires=expires)
    except (OperationalError, redis.RedisError, OSError) as error:
        log.warning("The broker did not take %s(%s): %s; the next sweep will", task, identity, error)
        return False
    return True


def length(task: str) -> int:
    """Messages that wait for a worker of this task; 0 where the broker does not answer."""
    try:
        with redis.Redis.from_url(get_settings().broker, socket_timeout=5) as client:
            return int(client.llen(QUEUES[task]))
    except redis.RedisError:
        return 0


def place() -> str:
    """Which Redis that is, without its password."""
    parts = urlsplit(get_settings().broker)
    return f"Redis at {parts.hostname}:{parts.port or 6379}" if parts.hostname else f"Redis at {parts.path}"


def answers() -> bool:
    try:
        with redis.Redis.from_url(get_settings().broker, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
