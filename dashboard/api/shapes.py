"""The shapes of what programs send and get; names are those of docs/ and of `screen --out`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from cxrscreen.tables import EntryStatus, JobKind, JobState, ModelState, Verdict, Way
from dashboard.api.contract import Shape

PAGE, MOST = 100, 1000
LONGEST = 10**15 - 1  # what an address may name (IdConverter)

Score = Field(ge=0, le=1, description="P(COVID-19), as the model composes it.")
CLASS = "The most probable class."


# ---- jobs ------------------------------------------------------------------------------------------------------


class Job(Shape):
    """found = scored + rejected + duplicate + failed + cancelled + waiting, at every moment."""

    id: int
    title: str
    kind: JobKind
    state: JobState
    model_version: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: str | None = Field(description="Why the job failed as a whole.")
    found: int
    scored: int
    rejected: int
    duplicate: int
    failed: int
    cancelled: int
    waiting: int


class JobNow(Job):
    """The same with what a progress bar needs."""

    listed: bool = Field(description="Whether all of the sources is found; before, the count still grows.")
    open: bool
    reasons: dict[str, int] = Field(description="How many were rejected or failed for each reason.")
    share: float = Field(description="Of what is found, how much is settled.")
    rate: float = Field(description="Images a second since it began.")
    seconds: float
    seconds_left: int | None
    seconds_left_low: int | None
    seconds_left_high: int | None
    url: str = Field(description="The page of the job, for people.")


class Jobs(Shape):
    jobs: list[Job]
    next: int | None = Field(description="`before` of the next page; null at the end.")


class JobsAsked(Shape):
    before: int | None = Field(None, ge=0, le=LONGEST, description="Only jobs with a smaller number.")
    limit: int = Field(PAGE, ge=1, le=MOST)


class Folder(Shape):
    """A folder or file that the server sees, or a prefix of an object store."""

    source: str = Field(
        min_length=1,
        max_length=4000,
        description="A whole path under CXRSCREEN_ALLOWED_ROOTS, or an s3:// prefix under CXRSCREEN_ALLOWED_PREFIXES.",
        examples=["/archive/2026-11"],
        json_schema_extra={"pattern": r"^(/|s3://)[^\x00]*$"},
    )


class Entry(Shape):
    """A file, a member of an archive, or a frame of one, and how it ended."""

    id: int
    file: str
    frame: int
    status: EntryStatus
    reason: str | None = Field(description="Of what was rejected or failed: a word of a fixed list (docs/ingest.md).")
    sentence: str | None = Field(description="The same for people.")
    detail: str | None
    sha256: str | None
    duplicate_of: int | None = Field(description="The entry with the same bytes.")
    image: int | None
    study: int | None
    class_: str | None = Field(alias="class", description=CLASS)
    subclass: str | None
    score: float | None = Score
    flagged: bool | None


class Entries(Shape):
    entries: list[Entry]
    next: int | None = Field(description="`after` of the next page; null at the end.")


class EntriesAsked(Shape):
    status: EntryStatus | None = None
    reason: str = Field("", max_length=40)
    after: int = Field(0, ge=0, le=LONGEST, description="Only entries with a larger number.")
    limit: int = Field(PAGE, ge=1, le=MOST)


# ---- studies ---------------------------------------------------------------------------------------------------


class Listed(Shape):
    """A line of the worklist. Of a case that is read without the model's answer, that answer is null."""

    id: int
    name: str
    patient: str | None = Field(description="A pseudonym, unless the server keeps identifiers.")
    study_date: str | None = Field(description="YYYYMMDD.")
    images: int = Field(description="How many were scored.")
    hidden: bool = Field(description="The model's answer is kept back until there is a verdict.")
    score: float | None = Score
    flagged: bool | None
    class_: str | None = Field(alias="class", description=CLASS)
    subclass: str | None
    verdict: Verdict | None
    reader: str | None
    reviewed_at: datetime | None
    assigned: str | None
    scored_at: datetime


class Listing(Shape):
    model_version: int
    threshold: float
    studies: list[Listed]
    next: str | None = Field(description="`after` of the next page; null at the end.")


class Answer(Shape):
    """What a model version says of a study: its highest score."""

    model_version: int
    model: str
    score: float = Score
    threshold: float
    flagged: bool
    class_: str = Field(alias="class", description=CLASS)
    subclass: str


class ImageAnswer(Shape):
    """What the active version says of an image."""

    score: float = Score
    class_: str = Field(alias="class", description=CLASS)
    subclass: str
    classes: dict[str, float] = Field(description="The probability of each class.")
    subclasses: dict[str, float] = Field(description="The probability of each subclass; a class is the sum of its own.")
    distance: float | None = Field(description="To what was seen in training, in the model's own units.")
    preprocessing: str


class Picture(Shape):
    id: int
    file: str
    frame: int
    sha256: str = Field(description="Of the file.")
    width: int
    height: int
    facts: dict[str, Any] = Field(description="Modality, view, bits and the like; nothing that names a person.")
    answer: ImageAnswer | None
    thumbnail: str
    heat_map: str | None


class Review(Shape):
    verdict: Verdict
    reader: str
    way: Way
    findings: list[str]
    comment: str
    at: datetime
    current: bool


class Study(Shape):
    id: int
    name: str
    patient: str | None
    accession: str | None
    study_date: str | None
    created_at: datetime
    hidden: bool = Field(description="Every answer is kept back until there is a verdict.")
    images: list[Picture]
    answers: list[Answer] = Field(
        description="Of each version, the newest first; of candidates for administrators only."
    )
    reviews: list[Review] = Field(description="The newest first.")
    url: str = Field(description="The page of the study, for people.")


# ---- model versions --------------------------------------------------------------------------------------------


class Version(Shape):
    id: int
    name: str
    state: ModelState
    phantom: bool = Field(description="Trained on synthetic pictures: never for people.")
    sha256: str = Field(description="Of the bundle.")
    threshold: float
    classes: list[str]
    positive: str | None
    preprocessing: str | None
    created_at: datetime
    activated_at: datetime | None


class Versions(Shape):
    versions: list[Version] = Field(description="The newest first.")
