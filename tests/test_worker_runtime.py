"""What a worker process does beside its work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from worker import runtime


def test_a_heartbeat_outlives_whatever_stopped_one_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[str] = []

    def write() -> None:
        beats.append("a beat")
        if len(beats) == 1:
            raise RuntimeError("something nobody thought of")
        if len(beats) == 3:
            raise SystemExit  # ends the thread, as nothing else may

    monkeypatch.setattr(runtime, "HEARTBEAT_SECONDS", 0.01)
    heartbeat = runtime.Heartbeat("screen")
    monkeypatch.setattr(heartbeat, "write", write)
    beat = heartbeat._beat

    def until_it_ends() -> None:
        with suppress(SystemExit):
            beat()

    monkeypatch.setattr(heartbeat, "_beat", until_it_ends)
    heartbeat.start()
    assert heartbeat._thread is not None
    heartbeat._thread.join(60)
    assert len(beats) == 3


def test_a_worker_that_still_imports_ends_when_it_is_told_to() -> None:
    script = (
        "import signal, sys, time\n"
        "from worker import runtime\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('noted', flush=True))\n"
        "with runtime.ends_at_once():\n"
        "    print('importing', flush=True)\n"
        "    time.sleep(float(sys.argv[1]))\n"
        "signal.raise_signal(signal.SIGTERM)\n"
    )

    def child(seconds: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", script, seconds], stdout=subprocess.PIPE, text=True)

    with child("3600") as importing:
        assert importing.stdout is not None and importing.stdout.readline() == "importing\n"
        importing.terminate()
        assert (importing.stdout.read(), importing.wait()) == ("", -signal.SIGTERM)
    with child("0") as done:
        assert done.communicate()[0] == "importing\nnoted\n", "afterwards the worker's own handler is back"
    assert done.returncode == 0


def test_numpy_keeps_no_threads_that_spin_beside_the_decoders() -> None:
    script = (
        "from worker import pixels\n"
        "from threadpoolctl import threadpool_info\n"
        "print([one['num_threads'] for one in threadpool_info() if one['internal_api'] == 'openblas'])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(json.loads(told.stdout)) == {1}
