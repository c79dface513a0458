"""The entry for `celery --app worker.app`: the application of cxrscreen.queue with the tasks of this room."""

from worker import tasks
from worker.runtime import watch_signals

app = tasks.app
watch_signals()

__all__ = ["app"]
