"""How gunicorn serves the dashboard; the address comes with `--bind`."""

import os
from pathlib import Path

from sqlalchemy.engine import make_url

from cxrscreen import starting
from cxrscreen.settings import get_settings

with starting.one_line():
    _settings = get_settings()
_sqlite = make_url(_settings.database).get_backend_name() == "sqlite"

# Threads: an upload of hours holds one of them, not a process; and a heartbeat thread of its own keeps `timeout` from
# ending it.
worker_class = "gthread"
threads = _settings.web_threads
workers = 1 if _sqlite else min(4, max(2, os.cpu_count() or 1))
# Read once, and then shared by the processes that are forked from it: `dashboard/wsgi.py`.
preload_app = True
timeout = 60
graceful_timeout = 20
keepalive = 10
proc_name = "cxrscreen-web"

# The heartbeat file is touched every second: in memory where there is such a folder.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  gunicorn makes the name itself

# Two stacks of one person would share the socket's default place.
control_socket_disable = True

# Which proxies are believed is one setting, and Werkzeug's ProxyFix keeps to it.
forwarded_allow_ips = ""

# No access log: sign-in links are in its lines, and a page that watches a job asks every second. Deeds are audited.
accesslog = None
errorlog = "-"
loglevel = "info"
