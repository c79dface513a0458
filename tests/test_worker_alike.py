"""Which way pictures come in makes no difference to their answers."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select
from stack_fixtures import register
from steps import job_over, screen_all

from cxrscreen import db
from cxrscreen.settings import Settings
from cxrscreen.tables import Entry, Image, Result
from worker import ingest


def test_a_folder_and_its_zip_get_the_same_scores(
    configure: Callable[..., Settings],
    sqlite_head: Path,
    screener_once: None,
    phantom_archive: Path,
    phantom_bundle: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "phantoms"
    with zipfile.ZipFile(phantom_archive) as archive:
        archive.extractall(folder)
    said = []
    for number, source in enumerate((folder, phantom_archive)):
        # Each in a data folder of its own, so that no result is used again.
        own = configure(data_dir=tmp_path / f"var{number}").data_dir
        own.mkdir()
        shutil.copyfile(sqlite_head, own / "cxrscreen.db")
        ingest.run(job_over(source, register(phantom_bundle).id))
        screen_all()
        answer = select(Entry.name, Image.sha256, Entry.status, Result.score, Result.subclass)
        with db.read() as session:
            rows = session.execute(answer.outerjoin(Image, Image.id == Entry.image_id).outerjoin(Result)).all()
        said.append({row[0].partition("/")[2]: row[1:] for row in rows})
    assert said[0] == said[1] and len(said[0]) == 19
