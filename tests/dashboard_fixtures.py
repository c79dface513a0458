"""A dashboard over a real database, and browsers for it that keep cookies and send tokens."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seed
from flask import Flask
from PIL import Image as Pillow
from sqlalchemy.orm import Session
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from cxrscreen import blobs, db, imaging, studies, users
from cxrscreen.settings import Settings
from cxrscreen.tables import (
    Base,
    Entry,
    EntryStatus,
    Image,
    Job,
    JobKind,
    JobState,
    ModelVersion,
    Result,
    Role,
    Schedule,
    Study,
    Upload,
    User,
)
from dashboard import create_app

PASSWORD = "correct horse battery"
TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')
FRAGMENTS = {"/jobs/1/timeline"}  # that a page fetches into itself


@functools.cache
def password_hash() -> str:
    """Argon2 is slow on purpose: once is enough for all tests."""
    nobody = User(name="nobody", role=Role.READER)
    users.set_password(nobody, PASSWORD)
    assert nobody.password_hash
    return nobody.password_hash


class Browser:
    """A client with cookies. `post` takes the token from a page first, as a person's browser would."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, url: str, **options: Any) -> TestResponse:
        return self.client.get(url, **options)

    def page(self, url: str) -> str:
        answer = self.client.get(url)
        assert answer.status_code == 200, (url, answer.status_code, answer.text[:2000])
        return answer.text

    def token(self, page: str = "/account") -> str:
        found = TOKEN.search(self.page(page))
        assert found, f"{page} has no form"
        return found[1]

    def post(
        self, url: str, data: dict[str, Any] | None = None, page: str = "/account", **options: Any
    ) -> TestResponse:
        return self.client.post(url, data={"csrf_token": self.token(page), **(data or {})}, **options)

    def sign_in(
        self, name: str, password: str = PASSWORD, following: str = "", address: str = "127.0.0.1"
    ) -> TestResponse:
        data = {"name": name, "password": password, "next": following}
        return self.post("/sign-in", data, page="/sign-in", environ_base={"REMOTE_ADDR": address})


class Site:
    """An application with three people, `admin`, `reader` and `operator`, and an active model `m1` at 0.5."""

    def __init__(self) -> None:
        with db.write() as session:
            for role in Role:
                users.add(session, role.value, role).password_hash = password_hash()
            self.model_id = seed.model(session).id
        self.app = create_app()

    def browser(self, name: str = "") -> Browser:
        made = Browser(self.app)
        if name:
            assert made.sign_in(name).status_code == 302
        return made


@pytest.fixture
def site(configure: Callable[..., Settings], tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "allowed").mkdir()
    settings = configure(allowed_roots=tmp_path / "allowed")
    settings.data_dir.mkdir()
    Base.metadata.create_all(db.get_engine())
    yield Site()
    db.get_engine().dispose()


@pytest.fixture
def either_site(database: Settings) -> Site:
    """The same, once on SQLite and once on PostgreSQL."""
    return Site()


def scored(
    session: Session,
    name: str,
    scores: list[float],
    model_id: int,
    job: Job | None = None,
    label: str | None = None,
    heat: bytes | None = None,
) -> Study:
    """A study with one scored image for each score."""
    study = Study(key=f"test:{name}", label=label or name)
    session.add(study)
    session.flush()
    for number, score in enumerate(scores):
        image = seed.images(session, 1, f"{name}-{number}")[0]
        session.delete(session.get_one(Study, image.study_id))
        image.study_id = study.id
        session.flush()
        session.add(Result(image_id=image.id, model_version_id=model_id, **{**seed.result(score), "heat": heat}))
        if job is not None:
            session.add(
                Entry(job_id=job.id, name=image.name, status=EntryStatus.SCORED, sha256=image.sha256, image_id=image.id)
            )
    session.flush()
    studies.refresh(session, [study.id], model_id)
    return study


def done_job(session: Session, model: ModelVersion | int, title: str = "archive.zip") -> Job:
    version = model if isinstance(model, int) else model.id
    job = Job(kind=JobKind.UPLOAD, title=title, sources=[], model_version_id=version)
    job.state, job.listed = JobState.DONE, True
    session.add(job)
    session.flush()
    return job


def ramp(width: int = 90, height: int = 120) -> bytes:
    """A PNG whose every grey value is known."""
    across = np.linspace(0, 255, width)[None, :] * np.linspace(0.2, 1, height)[:, None]
    held = io.BytesIO()
    Pillow.fromarray(across.astype(np.uint8)).save(held, "PNG")
    return held.getvalue()


def stored_image(session: Session, data: bytes, *, path: Path | None = None, name: str = "ramp.png") -> Image:
    """An image row whose derivative, and original unless a path is given, are in the store."""
    store = blobs.store()
    frame = imaging.read(data, name)[0]
    sha256 = store.put("originals", data)
    if path is not None:
        store.delete("originals", sha256)
        path.write_bytes(data)
    study = Study(key=f"file:{sha256}", label=name)
    session.add(study)
    session.flush()
    image = Image(
        study_id=study.id,
        sha256=sha256,
        frame=0,
        name=name,
        path=str(path) if path else None,
        derivative=store.put("derivatives", imaging.encode(frame.display())),
        width=frame.facts.width,
        height=frame.facts.height,
        facts=frame.facts.public(),
    )
    session.add(image)
    session.flush()
    return image


@pytest.fixture
def full(site: Site) -> Site:
    """A site with something behind each address, under number 1."""
    with db.write() as session:
        image = stored_image(session, ramp())
        assert image.id == 1
        heat = bytes((2, 2, 0, 90, 180, 255))
        session.add(Result(image_id=1, model_version_id=site.model_id, **{**seed.result(0.9), "heat": heat}))
        job = done_job(session, site.model_id)
        assert job.id == 1
        session.add(Upload(id=1, name="archive.zip", size=10**9, sha256="0" * 64))
        job.sources = [{"upload": 1, "label": "archive.zip"}]
        session.add(Entry(job_id=1, name="archive.zip/notes.txt", status=EntryStatus.REJECTED))
        scored(session, "case", [0.8, 0.7], site.model_id, job)
        session.add(Schedule(name="Nightly", cron="0 22 * * *", timezone="Europe/Minsk", enabled=True))
    return site


def addresses(site: Site, method: str) -> Iterator[tuple[Rule, str]]:
    for rule in site.app.url_map.iter_rules():
        if rule.methods and method in rule.methods and rule.endpoint != "static":
            url = str(rule)
            for pattern, value in (
                (r"<any\(png,jpg\):kind>", "png"),
                (r"<any\(csv,parquet\):kind>", "parquet"),
                (r"<any\(in,out\):way>", "out"),
                (r"<any\(pause,resume,cancel,retry\):action>", "pause"),
                (r"<any\(en,ru\):language>", "ru"),
                (r"<id:\w+>", "1"),
                (r"<token>", "x"),
                (r"<group>", "x"),
                (r"<action>", "pause"),
            ):
                url = re.sub(pattern, value, url)
            assert "<" not in url, f"give {rule} a value here"
            yield rule, url
