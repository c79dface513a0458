"""From the form to the store: whole, hashed, named, with nothing left behind and nothing held in memory."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dashboard_fixtures import Browser, Site
from werkzeug.test import EnvironBuilder, run_wsgi_app

from cxrscreen import blobs, db
from cxrscreen.settings import Settings, get_settings
from cxrscreen.tables import Job, JobKind, JobState, ModelState, ModelVersion, Upload, User
from dashboard.uploads import distinct, safe_name

AS_JSON = {"Accept": "application/json"}
BOUNDARY = "a-boundary"


def left_behind() -> list[Path]:
    folder = get_settings().upload_dir
    return list(folder.iterdir()) if folder.exists() else []


def only_job() -> Job:
    with db.read() as session:
        return session.query(Job).one()


def send(browser: Browser, *files: tuple[bytes, str], **options: object):  # type: ignore[no-untyped-def]
    data = {"files": [(io.BytesIO(content), name) for content, name in files]}
    return browser.post("/uploads", data, page="/uploads", **options)


def test_an_archive_becomes_a_blob_a_row_and_a_job(site: Site) -> None:
    content = bytes(range(256)) * 9000
    answer = send(site.browser("operator"), (content, "night 1.zip"), headers=AS_JSON)
    job = only_job()
    assert answer.json == {"job": job.id, "url": f"/jobs/{job.id}"}
    with db.read() as session:
        upload = session.query(Upload).one()
        owner = session.get_one(User, upload.user_id or 0)
    sha256 = hashlib.sha256(content).hexdigest()
    assert (upload.name, upload.size, upload.sha256, owner.name) == ("night 1.zip", len(content), sha256, "operator")
    assert blobs.store().get("uploads", sha256) == content
    assert (job.kind, job.title, job.state) == (JobKind.UPLOAD, "night 1.zip", JobState.WAITING)
    assert job.sources == [{"upload": upload.id, "label": "night 1.zip"}]
    assert job.model_version_id == site.model_id
    assert left_behind() == []


def test_a_plain_form_goes_to_the_page_of_the_job(site: Site) -> None:
    answer = send(site.browser("reader"), (b"PK", "a.zip"))
    assert (answer.status_code, answer.location) == (302, f"/jobs/{only_job().id}")


def test_several_files_are_one_job_with_a_source_each_under_a_name_of_its_own(site: Site) -> None:
    send(site.browser("operator"), (b"one", "a/x.png"), (b"two", "b/x.png"), (b"three", "a/x.png"), (b"", "empty.png"))
    job = only_job()
    assert [source["label"] for source in job.sources] == ["a/x.png", "b/x.png", "a/x.png (2)", "empty.png"]
    assert job.title == "a/x.png and 3 more"
    with db.read() as session:
        hashes = {row.id: row.sha256 for row in session.query(Upload)}
    for source, content in zip(job.sources, (b"one", b"two", b"three", b""), strict=True):
        assert blobs.store().get("uploads", hashes[source["upload"]]) == content
    assert left_behind() == []


def test_the_same_bytes_twice_are_kept_once(site: Site) -> None:
    browser = site.browser("operator")
    for _ in range(2):
        assert send(browser, (b"the same", "a.zip"), headers=AS_JSON).status_code == 200
    with db.read() as session:
        assert session.query(Job).count() == 2
        assert len({row.sha256 for row in session.query(Upload)}) == 1
    assert left_behind() == []


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([(b"", "a.zip")], "The file is empty"),
        ([(b"", "a"), (b"", "b")], "All of these files are empty"),
        ([], "No file"),
    ],
)
def test_nothing_to_screen_is_said_at_once(site: Site, files: list[tuple[bytes, str]], said: str) -> None:
    answer = send(site.browser("operator"), *files, headers=AS_JSON)
    assert answer.status_code == 400
    assert answer.json and said in answer.json["error"]
    with db.read() as session:
        assert session.query(Job).count() == 0
    assert left_behind() == []


def test_with_no_active_model_nothing_is_taken(site: Site) -> None:
    with db.write() as session:
        session.get_one(ModelVersion, site.model_id).state = ModelState.RETIRED
    browser = site.browser("operator")
    assert 'id="no-model"' in browser.page("/uploads")
    answer = send(browser, (b"PK", "a.zip"), headers=AS_JSON)
    assert answer.status_code == 409
    assert answer.json and "no active model" in answer.json["error"]
    assert left_behind() == []


class Wire(io.RawIOBase):
    """The body of a request as a socket gives it: made while it is read, cut where the test says."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts = parts
        self.held = b""
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self.held:
            try:
                self.held = next(self.parts)
            except StopIteration:
                return 0
        count = min(len(buffer), len(self.held))
        buffer[:count], self.held = self.held[:count], self.held[count:]
        self.taken += count
        return count


def post_wire(browser: Browser, wire: Wire, length: int, token: str) -> str:
    """POST what the wire gives to /uploads with a Content-Length; answers the status."""
    builder = EnvironBuilder(path="/uploads", method="POST", headers={"X-CSRFToken": token, **AS_JSON})
    environ = builder.get_environ()
    environ["CONTENT_TYPE"] = f"multipart/form-data; boundary={BOUNDARY}"
    environ["CONTENT_LENGTH"] = str(length)
    environ["wsgi.input"] = wire
    browser.client._add_cookies_to_wsgi(environ)
    body, status, _ = run_wsgi_app(browser.client.application, environ, buffered=True)
    b"".join(body)
    close = getattr(body, "close", lambda: None)
    close()
    return status


def body_of(chunks: int, chunk: bytes) -> Iterator[bytes]:
    yield (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="big.zip"\r\n'
        "Content-Type: application/zip\r\n\r\n"
    ).encode()
    for _ in range(chunks):
        yield chunk
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def test_a_large_upload_passes_through_little_memory(site: Site) -> None:
    chunk = bytes(range(256)) * 4096  # 1 MiB
    length = sum(map(len, body_of(64, chunk)))
    browser = site.browser("operator")
    token = browser.token("/uploads")
    tracemalloc.start()
    try:
        status = post_wire(browser, Wire(body_of(64, chunk)), length, token)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == "200 OK"
    assert peak < 8 << 20
    with db.read() as session:
        upload = session.query(Upload).one()
    assert (upload.size, upload.sha256) == (64 << 20, hashlib.sha256(chunk * 64).hexdigest())
    assert left_behind() == []


def test_an_upload_that_breaks_off_leaves_nothing(site: Site) -> None:
    chunk = b"x" * (1 << 20)
    browser = site.browser("operator")
    token = browser.token("/uploads")
    seen: list[int] = []

    def cut() -> Iterator[bytes]:
        for number, part in enumerate(body_of(8, chunk)):
            if number == 5:
                seen.append(len(left_behind()))
                return  # the client is gone
            yield part

    status = post_wire(browser, Wire(cut()), 8 << 20, token)
    assert status.startswith("400")
    assert seen == [1], "it was growing in the upload folder"
    assert left_behind() == []
    with db.read() as session:
        assert session.query(Job).count() == 0


def test_the_body_of_a_stranger_is_not_read(site: Site) -> None:
    wire = Wire(body_of(4, b"x" * (1 << 20)))
    assert post_wire(site.browser(), wire, 4 << 20, "none").startswith("401")
    assert wire.taken == 0


def test_a_wrong_token_leaves_nothing_either(site: Site) -> None:
    wire = Wire(body_of(1, b"x"))
    length = sum(map(len, body_of(1, b"x")))
    assert post_wire(site.browser("operator"), wire, length, "made-up").startswith("400")
    assert left_behind() == []


def test_what_is_too_large_or_finds_no_room_is_refused_before_it_is_sent(
    site: Site, configure: Callable[..., Settings]
) -> None:
    browser = site.browser("operator")
    token = browser.token("/uploads")
    wire = Wire(body_of(1, b"x"))
    assert post_wire(browser, wire, 10**18, token).startswith("507")
    configure(max_upload_gb=0.001)
    from dashboard import create_app

    site.app = create_app()
    browser = site.browser("operator")
    assert post_wire(browser, wire, 2_000_000, browser.token("/uploads")).startswith("413")
    assert wire.taken == 0


def test_files_go_nowhere_but_to_the_upload_address(site: Site) -> None:
    answer = site.browser("operator").post("/sign-out", {"files": (io.BytesIO(b"x" * (3 << 20)), "a.zip")})
    assert answer.status_code == 413
    assert left_behind() == []


def test_a_folder_under_an_allowed_root_becomes_a_job(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "allowed" / "night"
    folder.mkdir()
    browser = site.browser("operator")
    assert str(tmp_path / "allowed") in browser.page("/uploads")
    answer = browser.post("/uploads/folder", {"path": f"{folder}/"})
    job = only_job()
    assert answer.location == f"/jobs/{job.id}"
    assert (job.kind, job.sources) == (JobKind.FOLDER, [{"path": str(folder), "label": str(folder)}])


def test_a_folder_outside_is_refused_however_it_is_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "allowed" / "way-out").symlink_to(tmp_path / "secret")
    browser = site.browser("operator")
    allowed = tmp_path / "allowed"
    for path in (tmp_path / "secret", allowed / ".." / "secret", allowed / "way-out", "/etc"):
        answer = browser.post("/uploads/folder", {"path": str(path)})
        assert answer.status_code == 403, path
        assert "outside the allowed folders" in answer.text
    assert browser.post("/uploads/folder", {"path": f"{allowed}/none"}).status_code == 404
    assert browser.post("/uploads/folder", {"path": "relative"}).status_code == 400
    assert browser.post("/uploads/folder", {"path": ""}).status_code == 400
    with db.read() as session:
        assert session.query(Job).count() == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("night.zip", "night.zip"),
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\images\\a.dcm", "C:/images/a.dcm"),
        ("a\0b\n\u202ec.png", "abc.png"),
        ("/", "unnamed"),
        ("Ünïcode снимок.zip", "Ünïcode снимок.zip"),
        ("x" * 500 + ".zip", "x" * 90 + "…" + "x" * 86 + ".zip"),
    ],
)
def test_names_are_made_safe(given: str, kept: str) -> None:
    assert safe_name(given) == kept


def test_distinct_names_stay_distinct_when_one_looks_like_a_numbered_other() -> None:
    made = distinct(["a", "a (2)", "a", "a", "b"])
    assert len(set(made)) == 5
    assert made[:2] == ["a", "a (2)"] and made[4] == "b"
