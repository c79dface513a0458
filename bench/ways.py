"""The ways from files to scores that are timed beside one another; each answers seconds, or what it scored."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import func, insert, select

from bench.fault_rig import children, peak_kb
from cxrscreen import blobs, db, jobs, local, programs, queue, registry, schema
from cxrscreen.imaging import decode, prepare
from cxrscreen.imaging.prepare import DECODED_SIDE
from cxrscreen.imaging.read import open_source
from cxrscreen.settings import get_settings
from cxrscreen.tables import Entry, Feature, Image, Job, JobKind, JobState, Result, Study, now
from models import bundle
from models.images import to_input
from worker.ingest import WRITERS

BATCH = 32
LOOK_SECONDS = 0.1
CORES = os.cpu_count() or 2
Input = NDArray[np.uint8]


def decode_alone(files: Sequence[Path]) -> None:
    """Nothing but pixels, no more of them than the derivative needs, on all cores."""

    def take(path: Path) -> None:
        for frame in open_source(path.read_bytes()).frames(DECODED_SIDE):
            frame.display()

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(take, files))


def inference_alone(screener: bundle.Screener, inputs: torch.Tensor) -> None:
    """Nothing but the network, on all cores, from inputs in memory."""
    screener.predict_inputs(inputs)


def bare(screener: bundle.Screener, files: Sequence[Path], room: Path) -> dict[str, float]:
    """The best loop without queue and database: hash, decode, store the same two files, predict; reading runs ahead,
    and a disk's fsync holds up nobody."""
    store = blobs.Blobs(f"file://{room}")
    written: list[Future[str]] = []
    scores: dict[str, float] = {}
    with ThreadPoolExecutor(CORES) as pool, ThreadPoolExecutor(WRITERS) as writers:

        def take(path: Path) -> Input:
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            derivative = next(iter(prepare(data, path.name))).derivative or b""
            written.append(writers.submit(store.put, "originals", data, sha256=sha256))
            written.append(writers.submit(store.put, "derivatives", derivative, durable=False))
            return to_input(decode(derivative), screener.size, screener.crop)

        groups = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
        ahead = [[pool.submit(take, path) for path in group] for group in groups[:2]]
        for place, group in enumerate(groups):
            inputs = np.stack([future.result() for future in ahead.pop(0)])
            if place + 2 < len(groups):
                ahead.append([pool.submit(take, path) for path in groups[place + 2]])
            said = screener.predict_inputs(torch.from_numpy(inputs[:, None]))
            scores |= dict(zip((path.name for path in group), said.score.tolist(), strict=True))
        for future in written:
            future.result()
    return scores


def timm_way(backbone: str, files: Sequence[Path]) -> None:
    """As timm's documentation says: PIL, the model's own transform, a DataLoader, one forward pass a batch."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    from models._torchvision import timm

    model = timm.create_model(backbone, pretrained=False, num_classes=3).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)

    class Files(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> torch.Tensor:
            with Image.open(files[index]) as picture:
                made: torch.Tensor = transform(picture.convert("RGB"))
            return made

    torch.set_num_threads(CORES)
    with torch.inference_mode():
        for batch in DataLoader(Files(), batch_size=BATCH, num_workers=CORES):
            model(batch).softmax(dim=1)


def torchxrayvision_way(backbone: str, files: Sequence[Path], size: int) -> None:
    """As torchxrayvision's README says, with its own steps: scikit-image reads, grey values go to -1024..1024, the
    middle square is cut out and resized, and the network sees one picture at a time."""
    import skimage.io
    import skimage.transform

    from models._torchvision import timm

    model = timm.create_model(backbone, pretrained=False, num_classes=3, in_chans=1).eval()
    torch.set_num_threads(CORES)
    with torch.inference_mode():
        for path in files:
            picture = (2 * (skimage.io.imread(path).astype(np.float32) / 255) - 1.0) * 1024
            height, width = picture.shape
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = picture[None, top : top + side, left : left + side]
            small = skimage.transform.resize(square, (1, size, size), mode="constant", preserve_range=True)
            model(torch.from_numpy(small.astype(np.float32))[None]).sigmoid()


class System:
    """The embedded stack over an empty database and store: Redis, the database, ingest and screening workers."""

    def __init__(self, room: Path, roles: Sequence[str] = programs.WITHOUT_PAGES) -> None:
        os.environ |= {
            "CXRSCREEN_DATA_DIR": str(room),
            "CXRSCREEN_COPY_FOLDER_FILES": "true",
            "CXRSCREEN_SWEEP_SECONDS": "60",
        }
        for cached in (get_settings, db.engine_for, blobs.store_at, queue.app_for):
            cached.cache_clear()
        schema.upgrade(db.get_engine())
        self.stack = local.Stack(get_settings(), roles)

    def __enter__(self) -> System:
        self.stack.start()
        try:
            self.stack.wait_ready()
        except BaseException:
            self.stack.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop()

    def screen(self, folder: Path, version: Path) -> float:
        return self._job(JobKind.FOLDER, version, [{"path": str(folder), "label": folder.name}])

    def rescreen(self, version: Path) -> float:
        return self._job(JobKind.RESCREEN, version, [])

    def grow(self, count: int, version: Path) -> int:
        """Rows of more images in studies of their own, until there are `count`: those in the archive over again, their
        features in the version's space with them, and no pixels anywhere. Answers how many there are."""
        space = registry.read_record(version)["feature_space"]
        with db.write() as session:
            held = session.execute(
                select(Image, Feature.space, Feature.numbers)
                .join(Feature, Feature.image_id == Image.id)
                .where(Feature.space == space)
            ).all()
            number = session.scalar(select(func.count()).select_from(Image)) or 0
            copies = {
                hashlib.sha256(f"copy {place}".encode()).hexdigest(): row
                for place, row in zip(range(number, count), cycle(held), strict=False)
            }
            studies = [
                {"key": f"file:{key}", "label": row.Image.name, "created_at": now()} for key, row in copies.items()
            ]
            session.execute(insert(Study), studies)
            study_of = {row.key: row.id for row in session.execute(select(Study.key, Study.id))}
            columns = [one.name for one in Image.__table__.columns if one.name != "id"]
            images = [
                {name: getattr(row.Image, name) for name in columns}
                | {"sha256": key, "study_id": study_of[f"file:{key}"]}
                for key, row in copies.items()
            ]
            session.execute(insert(Image), images)
            image_of = {row.sha256: row.id for row in session.execute(select(Image.sha256, Image.id))}
            seen = [
                {"space": row.space, "image_id": image_of[key], "numbers": row.numbers} for key, row in copies.items()
            ]
            session.execute(insert(Feature), seen)
        return number + len(copies)

    def scores(self) -> dict[str, float]:
        """Of the newest job, by file name."""
        with db.read() as session:
            job = jobs.latest(session, 1)[0]
            found = (
                session.query(Entry.name, Result.score)
                .join(Result, Result.image_id == Entry.image_id)
                .where(Entry.job_id == job.id, Result.model_version_id == job.model_version_id)
            )
            return {Path(name).name: score for name, score in found}

    def peaks_mb(self) -> dict[str, int]:
        """The most memory that each role's processes have held, in MB, together."""
        found: dict[str, int] = {}
        for role in ("ingest", "screen"):
            parent = int((get_settings().run_dir / f"{role}.pid").read_text())
            found[role] = sum(peak_kb(pid) for pid in (parent, *children(parent))) // 1024
        return found

    def begin(self, kind: JobKind, folder: Path, sources: list[dict[str, Any]]) -> int:
        with db.write() as session:
            version = registry.register(session, blobs.store(), folder)
            job = jobs.create(session, kind, "bench", version.id, sources=sources)
        queue.submit(queue.INGEST, job.id)
        return job.id

    def ended(self, job_id: int) -> bool:
        with db.read() as session:
            # No more than is asked for: who looks takes time from those that are timed.
            state = session.scalar(select(Job.state).where(Job.id == job_id))
        assert state in (JobState.WAITING, JobState.RUNNING, JobState.DONE), f"the job ended {state}"
        return state == JobState.DONE

    def _job(self, kind: JobKind, folder: Path, sources: list[dict[str, Any]]) -> float:
        start = now()
        job_id = self.begin(kind, folder, sources)
        while not self.ended(job_id):
            time.sleep(LOOK_SECONDS)
        # Its own end, written with its last rows: whoever looked often enough to see it would have slowed it down.
        with db.read() as session:
            finished = session.get_one(Job, job_id).finished_at
        assert finished is not None
        return (finished - start).total_seconds()
