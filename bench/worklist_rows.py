"""An archive of many studies in PostgreSQL, written by the database itself: seeded, and the shape of a real one.

Scores fall off steeply (a fifth is flagged at 0.5), readers have worked from the top of the list down, one job holds
everything and two hold neighbours in time. Rows of the big tables are loaded without their indexes, which are then
made from what the migrations said.
"""

from __future__ import annotations

import numpy as np
import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from cxrscreen import blobs, counts, db, imaging, users
from cxrscreen.imaging import phantoms
from cxrscreen.imaging.phantom_files import picture_bytes
from cxrscreen.tables import (
    Image,
    Job,
    JobKind,
    JobState,
    ModelState,
    ModelVersion,
    OperatingPoint,
    Role,
    User,
)

PASSWORD = "a night of reading"
READERS = 20
THRESHOLD = 0.5
SUBCLASSES = [f"covid-{n}" for n in range(1, 9)] + ["covid-rare", "normal-1", "normal-2", "pneumonia-1", "pneumonia-2"]
RECORD = {
    "format": "cxrscreen-bundle/3",
    "classes": ["covid", "normal", "pneumonia"],
    "subclasses": [{"name": name, "class": name.split("-")[0], "n": 9} for name in SUBCLASSES],
    "positive": "covid",
    "backbone": "resnet10t",
    "preprocessing": imaging.PREPROCESSING,
}
BIG = ("studies", "images", "results", "study_results", "entries", "reviews")

STUDIES = """
INSERT INTO studies (id, key, patient, accession, study_date, label, created_at)
SELECT n, 'uid:' || substr(md5('s' || n), 1, 16), substr(md5('p' || n / 3), 1, 16), substr(md5('a' || n), 1, 16),
       to_char(date '2021-01-01' + (random() * 2000)::int, 'YYYYMMDD'), 'Study ' || substr(md5('s' || n), 1, 16),
       timestamptz '2026-01-01Z' + n * interval '20 s'
FROM generate_series(1, %(studies)s::int) n
"""
IMAGES = """
INSERT INTO images (id, study_id, sha256, frame, frames, name, derivative, width, height, facts, created_at)
SELECT n, n, md5('i' || n) || md5('j' || n), 0, 1, 'archive.zip/' || n || '.dcm', md5('d') || md5('d'), 2048, 2048,
       '{"modality": "DX", "view": "PA", "bits": 12}', timestamptz '2026-01-01Z' + n * interval '20 s'
FROM generate_series(1, %(studies)s::int) n
"""
# Three versions agree roughly: each takes most of its score from the image and a little from itself.
RESULTS = """
INSERT INTO results
    (image_id, model_version_id, label, subclass, score, probabilities, distance, preprocessing, created_at)
SELECT n, v, split_part(name, '-', 1), name, score, json_build_object(name, score, 'normal-1', 1 - score), 1.0,
       'cxr8-1', timestamptz '2026-01-01Z' + n * interval '20 s' + v * interval '1 h'
FROM (
    SELECT n, v, score,
           CASE WHEN score < 0.5
                THEN (ARRAY['normal-1', 'normal-2', 'pneumonia-1', 'pneumonia-2'])[1 + (4 * r)::int %% 4]
                WHEN r < 0.0005 THEN 'covid-rare' WHEN r < 0.02 THEN 'pneumonia-1'
                ELSE 'covid-' || 1 + (8 * r)::int %% 8 END AS name
    FROM (SELECT n, v, 0.9 * base + 0.1 * random() AS score, random() AS r
          FROM (SELECT n, power(random(), 3) AS base FROM generate_series(1, %(studies)s::int) n) b,
               unnest(%(versions)s::bigint[]) v) drawn
) scored
"""
REVIEWS = """
INSERT INTO reviews (study_id, user_id, model_version_id, verdict, comment, created_at)
SELECT image_id, (%(readers)s::bigint[])[1 + (19 * random())::int], model_version_id,
       (ARRAY['confirmed', 'dismissed', 'dismissed', 'confirmed', 'dismissed', 'unsure'])[1 + (5 * random())::int], '',
       created_at + interval '2 h'
FROM results WHERE model_version_id = %(active)s AND random() < CASE WHEN score > 0.85 THEN 0.97
                                                                    WHEN score > 0.5 THEN 0.05 ELSE 0.002 END
"""
STUDY_RESULTS = """
INSERT INTO study_results (study_id, model_version_id, image_id, label, subclass, score, images, updated_at, verdict,
                           reader_id, study_date, draw, queue, assigned_id, first_reader_id, second_reader_id)
SELECT s.id, r.model_version_id, r.image_id, r.label, r.subclass, r.score, 1, r.created_at, w.verdict, w.user_id,
       s.study_date, d.draw, CASE WHEN d.draw IS NULL THEN r.score WHEN w.verdict IS NULL THEN 0.5 + d.place / 2
                                  ELSE greatest(r.score, 0.5) END,
       s.assigned_id, s.first_reader_id, s.second_reader_id
FROM results r JOIN studies s ON s.id = r.image_id LEFT JOIN reviews w ON w.study_id = s.id,
LATERAL (SELECT CASE WHEN r.score < 0.5 AND s.id %% 50 = 0 THEN 'sample'
                     WHEN r.score >= 0.5 AND s.id %% 10 = 0 THEN 'masked' END AS draw,
                (s.id * 7919 %% 1000) / 1000.0 AS place) d
ORDER BY r.id
"""
# Every fifth study is somebody's; of the open ones every tenth was read once, and every hundredth twice, differently.
PEOPLE = """
UPDATE studies SET assigned_id = CASE WHEN id %% 5 = 0 THEN %(first)s + id / 5 %% 20 END,
       first_reader_id = CASE WHEN id %% 10 = 1 THEN %(first)s + id / 10 %% 20 END,
       second_reader_id = CASE WHEN id %% 100 = 1 THEN %(first)s + (id / 10 + 7) %% 20 END
WHERE id %% 5 = 0 OR id %% 10 = 1
"""
ENTRIES = """
INSERT INTO entries (job_id, name, frame, frames, status, sha256, image_id, attempts)
SELECT %(job)s, 'archive.zip/' || n || '.dcm', 0, 1, CASE WHEN n %% 97 = 0 THEN 'duplicate' ELSE 'scored' END,
       md5('i' || n) || md5('j' || n), n, 1
FROM generate_series(%(first)s::int, %(last)s::int) n
"""


def fill(studies: int) -> dict[str, int]:
    """Write the archive into the database of the settings; answers the numbers of its versions, jobs and readers."""
    with db.write() as session:
        known = _small_tables(session)
    numbers = {
        "studies": studies,
        "active": known["active"],
        "versions": [known["retired"], known["active"], known["candidate"]],
        "readers": list(range(known["reader"], known["reader"] + READERS)),
        "first": known["reader"],
    }
    with psycopg.connect(_plain_url(), autocommit=True) as connection:
        run = connection.execute
        run("SET session_replication_role = replica")  # the rows are consistent by the way they are made
        run("SET maintenance_work_mem = '512MB'")
        run("SET synchronous_commit = off")
        run("SELECT setseed(0.42)")
        indexes = run(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY(%s) AND "
            "indexname NOT IN (SELECT conname FROM pg_constraint)",
            [list(BIG)],
        ).fetchall()
        for name, _ in indexes:
            run(f'DROP INDEX "{name}"'.encode())
        for statement in (STUDIES, IMAGES, RESULTS, REVIEWS, PEOPLE, STUDY_RESULTS):
            run(statement, numbers)
        spans = {"whole": (1, studies), "medium": (studies // 3, studies // 3 + studies // 50), "small": (100, 1100)}
        for name, (first, last) in spans.items():
            run(ENTRIES, {"job": known[name], "first": first, "last": last})
        for _, definition in indexes:
            run(definition.encode())
        for table in ("studies", "images", "results"):
            run(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))".encode())
        with db.write() as session:
            counts.recount(session)  # the triggers were off
        run("VACUUM ANALYZE")
        run("CHECKPOINT")
    return known


def put_pictures(model_version_id: int, count: int, side: int = 2048) -> None:
    """Give the first open studies of the list originals of their own, so that a browser has something to show."""
    drawn = [phantoms.phantom("covid", seed=seed, side=side, bits=8).astype(np.uint8) for seed in range(4)]
    store = blobs.store()
    top = text(
        "SELECT image_id FROM study_results WHERE model_version_id = :v AND verdict IS NULL "
        "AND second_reader_id IS NULL ORDER BY queue DESC, study_id DESC LIMIT :n"
    ).bindparams(v=model_version_id, n=count)
    with db.write() as session:
        for number, image_id in enumerate(session.scalars(top).all()):
            data = picture_bytes(np.roll(drawn[number % len(drawn)], 7 * number, axis=1), "JPEG")
            image = session.get_one(Image, image_id)
            image.sha256, image.name = store.put("originals", data), f"{number}.jpg"
            if number < len(drawn):
                derivative = store.put("derivatives", imaging.encode(imaging.read(data, "x.jpg")[0].display()))
            image.derivative = derivative


def _small_tables(session: Session) -> dict[str, int]:
    known = {}
    for state in (ModelState.RETIRED, ModelState.ACTIVE, ModelState.CANDIDATE):
        name = state.value
        version = ModelVersion(name=name, sha256=name, state=state, record=RECORD)
        session.add(version)
        session.flush()
        session.add(OperatingPoint(model_version_id=version.id, threshold=THRESHOLD))
        known[name] = version.id
    model = User(name="model", role=Role.READER)
    users.set_password(model, PASSWORD)  # slow on purpose, so done once
    for number in range(READERS):
        reader = users.add(session, f"reader{number}", Role.READER)
        reader.password_hash = model.password_hash
        session.flush()
        known.setdefault("reader", reader.id)
    for name in ("whole", "medium", "small"):
        job = Job(kind=JobKind.FOLDER, title=f"{name}.zip", sources=[], model_version_id=known["active"])
        job.state, job.listed = JobState.DONE, True
        session.add(job)
        session.flush()
        known[name] = job.id
    return known


def _plain_url() -> str:
    return db.get_engine().url.set(drivername="postgresql").render_as_string(hide_password=False)
