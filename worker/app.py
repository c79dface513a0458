"""The entry for `celery --app worker.app`: the application of cxrscreen.queue with the tasks of this room."""

from cxrscreen import starting

with starting.one_line():
    starting.look()
    from worker import tasks  # reads the settings
    from worker.runtime import watch_signals

app = tasks.app
watch_signals()

__all__ = ["app"]
