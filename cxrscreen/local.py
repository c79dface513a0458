"""The embedded stack: a real Redis, the workers, beat and the dashboard under one supervisor, in one data folder."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO

from sqlalchemy import select

from cxrscreen import db, queue
from cxrscreen.errors import StackError, UsageError
from cxrscreen.programs import ROLES, ROOT, STOP_SECONDS, WITHOUT_PAGES, configure_redis, supervisor_conf
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import Worker

READY_SECONDS = 120.0
# The system gives numbers above these to outgoing lines (32768 and more on Linux, 49152 and more elsewhere): one of
# those may be gone again when the program that is to listen there has started.
FREE_PORTS = range(20_000, 32_000)


class Stack:
    """One stack in one data folder; the lock in `run/` keeps a second one out."""

    def __init__(self, settings: Settings, roles: Sequence[str] = ROLES, port: int | None = None) -> None:
        self.settings = settings
        self.run = settings.run_dir.absolute()
        self.logs = settings.data_dir.absolute() / "log"
        # A broker of one's own needs no Redis of ours.
        self.roles = [role for role in roles if not (role == "redis" and settings.redis_url)]
        self.port = port if port is not None else settings.port
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.asked = False  # to end, by a signal

    @property
    def bind(self) -> str:
        host = self.settings.host
        return f"{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def address(self) -> str:
        return f"http://{self.bind}"

    def start(self) -> None:
        """Start everything. Raises UsageError for a second stack or a used port, StackError where Redis is missing."""
        for folder in (self.run, self.logs, self.settings.upload_dir):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(self.run)
        try:
            if "web" in self.roles:
                self.port = _bindable(self.settings.host, self.port) if self.port else free_port(self.settings.host)
            if "redis" in self.roles:
                configure_redis(self.run, free_port("127.0.0.1"))
            for role in ROLES:
                (self.run / f"{role}.pid").unlink(missing_ok=True)
            (self.run / "stack.json").write_text(
                json.dumps({"pid": os.getpid(), "address": self.address, "roles": self.roles})
            )
            self._spawn()
        except BaseException:
            self._unlock()
            raise

    def _spawn(self) -> None:
        conf = self.run / "supervisord.conf"
        conf.write_text(supervisor_conf(self.roles, self.settings, self.logs, self.bind))
        supervisord = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(conf)]
        with (self.logs / "supervisord.out").open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cxrscreen.child", str(self.run / "supervisord.pid"), *supervisord],
                env={
                    **os.environ,
                    "CXRSCREEN_DATA_DIR": str(self.settings.data_dir.absolute()),
                    # Threads of OpenMP that spin while they wait take the cores from the other programs.
                    "OMP_WAIT_POLICY": "PASSIVE",
                },
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                # Ctrl-C reaches us alone; we end the others in order.
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_ready(self) -> None:
        """Return once Redis answers, the dashboard serves and the screening worker has shown itself."""
        until = time.monotonic() + READY_SECONDS
        while not self.asked and not self._ready():
            if not self.alive():
                raise StackError(f"The stack ended while it started; see {self.logs}.")
            if time.monotonic() > until:
                raise StackError(f"The stack is not ready after {READY_SECONDS:.0f} s; see {self.logs}.")
            time.sleep(0.2)

    def _ready(self) -> bool:
        if not queue.answers() or ("screen" in self.roles and not worker_seen("screen", self.run)):
            return False
        if "web" not in self.roles:
            return True
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=5) as answer:  # noqa: S310  our own
                return bool(answer.status == 200)
        except OSError:
            return False

    @contextmanager
    def heed_signals(self) -> Iterator[None]:
        """From here to the end of the block SIGINT and SIGTERM ask the stack to end, and do nothing else.

        Raised as KeyboardInterrupt they could be swallowed, where one comes while a destructor or a callback runs.
        """

        def ask(_number: int, _frame: object) -> None:
            self.asked = True

        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def supervise(self) -> None:
        """Stay until the stack is asked to end; a supervisor that was killed is started again."""
        while not self.asked:
            if not self.alive():
                self._end_leftovers()
                self._spawn()
            time.sleep(0.25)

    def stop(self) -> None:
        """End all of it, the workers after the batch in hand."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS + 15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._end_leftovers()
        for name in ("stack.json", *(f"{role}.pid" for role in ROLES), "supervisord.pid"):
            (self.run / name).unlink(missing_ok=True)
        self._unlock()

    def _end_leftovers(self) -> None:
        """Programs whose supervisor was killed are on their way out; others take their place once they are gone."""
        until = time.monotonic() + STOP_SECONDS
        for role in self.roles:
            pid = read_pid(self.run, role)
            while pid is not None and _runs_ours(pid):
                if time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.1)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def is_running(settings: Settings | None = None) -> bool:
    """Whether a stack holds the lock of this data folder."""
    path = (settings or get_settings()).run_dir / "up.lock"
    if not path.exists():
        return False
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def told(settings: Settings | None = None) -> dict[str, object]:
    """What the running stack wrote about itself: pid, address, roles."""
    try:
        found = json.loads(((settings or get_settings()).run_dir / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_pid(run: Path, role: str) -> int | None:
    try:
        return int((run / f"{role}.pid").read_text())
    except (OSError, ValueError):
        return None


def worker_seen(role: str, run: Path | None = None) -> bool:
    """A worker of this role wrote its heartbeat lately; with a run folder, the very process of its pid file."""
    with db.read() as session:
        query = select(Worker.pid).where(
            Worker.role == role, Worker.seen_at > db.clock(session) - timedelta(seconds=30)
        )
        pids = set(session.scalars(query))
    return bool(pids) if run is None else read_pid(run, role) in pids


def need_broker(settings: Settings) -> None:
    """Raise StackError where a Redis that is not ours does not answer: workers would wait for it without a word."""
    if settings.redis_url and not queue.answers():
        raise StackError(f"{queue.place()} does not answer, or not to this password; see CXRSCREEN_REDIS_URL.")


@contextmanager
def borrowed(settings: Settings) -> Iterator[Stack | None]:
    """For a single command: the stack that runs (None), or one of our own without pages that ends with the block."""
    if is_running(settings) or (settings.redis_url and worker_seen("screen")):
        yield None
        return
    stack = Stack(settings, WITHOUT_PAGES)
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()


def _take_lock(run: Path) -> IO[str]:
    lock = (run / "up.lock").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        pid = told().get("pid")
        raise UsageError(
            f"A stack already runs in {run.parent} (pid {pid}). "
            "Use it, end it, or set CXRSCREEN_DATA_DIR to another folder."
        ) from None
    return lock


def _bindable(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} of {host} cannot be used ({error.strerror}); "
                "choose another with --port or CXRSCREEN_PORT."
            ) from None
        return int(probe.getsockname()[1])


def free_port(host: str) -> int:
    """A port for a program that is started next: one of FREE_PORTS, while there is any."""
    for _ in range(100):
        with suppress(UsageError):
            return _bindable(host, FREE_PORTS.start + secrets.randbelow(len(FREE_PORTS)))
    return _bindable(host, 0)


def _runs_ours(pid: int) -> bool:
    """The process lives and is one of a stack, not a stranger that got the number."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(word in line for word in (b"cxrscreen", b"worker.app", b"dashboard.wsgi", b"redis"))
