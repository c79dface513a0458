"""A real stack for tests: Redis, Celery workers, beat, dashboard, with a small phantom model that is trained once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image as Picture

from cxrscreen import blobs, db, jobs, local, queue, registry
from cxrscreen.imaging import phantoms
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import Job, JobKind, JobState, ModelVersion

if TYPE_CHECKING:
    from models.bundle import Screener

ENDED = (JobState.DONE, JobState.CANCELLED, JobState.FAILED)
Done = subprocess.CompletedProcess[str]
# On a machine that has more to do than cores everything comes late: what fails only fails later for it.
PATIENCE_SECONDS = 240.0
LOADED: dict[tuple[str, str], Screener] = {}


@pytest.fixture(scope="session")
def phantom_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle trained on a few phantoms: real in every part, good for nothing but the path."""
    return train_phantom(tmp_path_factory.mktemp("bundle"), seed=1)


def train_phantom(folder: Path, seed: int) -> Path:
    from models.learning.recipes import TrainOptions
    from models.training import train

    index = phantoms.write_index(folder / "train", per_class=24, seed=seed, side=256)
    options = TrainOptions(
        recipe="phantom", phantom=True, epochs=12, size=64, seed=seed, threads=1, name=f"tiny-{seed}"
    )
    return train(index, folder / "bundle", options)


@pytest.fixture
def screener_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in the test's own process loads a version and measures its engines once a session, whatever its folder.

    That costs seconds, and a program of its own does it in every test of a stack.
    """
    from worker import look

    load = look._screener

    def loaded(sha256: str, folder: Path, device: str) -> Screener:
        if (sha256, device) not in LOADED:
            LOADED[sha256, device] = load(sha256, folder, device)
        return LOADED[sha256, device]

    monkeypatch.setattr(look, "_screener", loaded)


@pytest.fixture(scope="session")
def phantom_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "phantoms.zip"
    phantoms.write_archive(path, per_class=6, seed=7, side=256)
    return path


def write_pictures(folder: Path, count: int, side: int) -> Path:
    """`count` PNG files of phantoms, a third of each kind, named by number."""
    for n in range(count):
        kind = ("normal", "pneumonia", "covid")[n % 3]
        Picture.fromarray(phantoms.phantom(kind, seed=n, side=side)).save(folder / f"{n:03}.png")
    return folder


@pytest.fixture
def stacked(configure: Callable[..., Settings], sqlite_database: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings for an embedded stack: its own Redis, short leases, one thread, a database at its head.

    Which engine is the quickest is measured elsewhere: it costs every program that starts seconds.
    """
    monkeypatch.delenv("CXRSCREEN_REDIS_URL")
    monkeypatch.setattr(local, "READY_SECONDS", PATIENCE_SECONDS)
    return configure(
        lease_seconds=4, sweep_seconds=1, torch_threads=1, engine="torch", batch_size=4, ingest_processes=1
    )


def register(bundle: Path, *, activate: bool = True) -> ModelVersion:
    with db.write() as session:
        version = registry.register(session, blobs.store(), bundle)
        if activate:
            registry.activate(session, version, "a test")
    return version


@pytest.fixture
def stack(stacked: Settings, phantom_bundle: Path) -> Iterator[local.Stack]:
    """A whole stack with an active model, ended with the test."""
    register(phantom_bundle)
    running = local.Stack(stacked, port=0)
    running.start()
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


def add_job(kind: JobKind, path: Path | None = None) -> Job:
    """Queue a folder, an archive, or a rescreen with the active version."""
    with db.write() as session:
        sources = [{"path": str(path), "label": path.name}] if path else []
        job = jobs.create(session, kind, "a test", registry.need_active(session).id, sources=sources)
    queue.submit(queue.INGEST, job.id)
    return job


def wait_until_ended(
    job_id: int, seconds: float = PATIENCE_SECONDS, look: Callable[[], object] = lambda: None
) -> jobs.Account:
    """Wait for a job; at every look the account's sum holds by construction, and `look` may hold more."""
    until = time.monotonic() + seconds
    while True:
        with db.read() as session:
            state = jobs.get(session, job_id).state
            account = jobs.account(session, job_id)
        look()
        if state in ENDED:
            return account
        assert time.monotonic() < until, f"job {job_id} is still {state} with {account}"
        time.sleep(0.1)


@pytest.fixture
def cli_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command line in the test's own process, for requests that start none: a process costs seconds."""
    from cxrscreen.cli import main

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["cxrscreen", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(end.value.code or 0), said.out, said.err)

    return run


def run_cli(*arguments: str, timeout: float = PATIENCE_SECONDS, **env: str) -> Done:
    """Run the command line as a person would, in the data folder of the test."""
    return subprocess.run(
        [sys.executable, "-m", "cxrscreen", *arguments],
        env={**os.environ, "CXRSCREEN_DATA_DIR": str(get_settings().data_dir), **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
