"""What operators name in the dashboard: prefixes of object stores, and folders that a schedule watches."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

from dashboard_fixtures import Site
from s3_fixtures import BUSY, Bucket
from test_dashboard_admin import PLAN

from cxrscreen import db, jobs
from cxrscreen.settings import Settings
from cxrscreen.tables import Job, JobKind, Schedule


def test_an_allowed_prefix_becomes_a_job_and_others_are_refused(
    site: Site, bucket: Bucket, configure: Callable[..., Settings]
) -> None:
    browser = site.browser("operator")
    bucket.put("in/night/a.png", b"+")
    answer = browser.post("/uploads/folder", {"path": f"{bucket.url}/in"})
    assert answer.status_code == 403 and "CXRSCREEN_ALLOWED_PREFIXES" in answer.text
    configure(allowed_prefixes=f"{bucket.url}/in")
    assert f"{bucket.url}/in" in browser.page("/uploads")
    for path, status in {
        f"{bucket.url}/in-too": 403,
        "s3://elsewhere/in": 403,
        f"{bucket.url}/in/gone": 404,
        f"{bucket.url}/in/../x": 400,
        "file:///etc": 400,
    }.items():
        assert browser.post("/uploads/folder", {"path": path}).status_code == status, path
    bucket.service.fault = lambda _method, _path: BUSY
    answer = browser.post("/uploads/folder", {"path": f"{bucket.url}/in"})
    assert answer.status_code == 500 and "does not answer" in answer.text
    bucket.service.fault = lambda _method, _path: None
    with db.read() as session:
        assert session.query(Job).count() == 0
    assert browser.post("/uploads/folder", {"path": f"{bucket.url}/in/night/"}).status_code == 302
    with db.read() as session:
        (source,) = session.query(Job).one().sources
    assert source == {"path": f"{bucket.url}/in/night", "label": f"{bucket.url}/in/night"}


def test_a_schedule_that_watches_is_made_and_changed_on_its_page(site: Site, tmp_path: Path) -> None:
    browser = site.browser("operator")
    hot = tmp_path / "allowed" / "hot"
    hot.mkdir()
    (tmp_path / "allowed" / "out").symlink_to(tmp_path)
    plan = {**PLAN, "folder": str(hot), "watch": "on", "do": "save"}
    for folder, said in {"": "Name the folder", str(tmp_path / "allowed" / "out"): "outside the allowed"}.items():
        answer = browser.post("/schedules", {**plan, "folder": folder})
        assert said in html.unescape(answer.text) and "checked" in answer.text.split('name="watch"')[1][:40]
    assert browser.post("/schedules", plan).status_code == 302
    with db.read() as session:
        row = session.query(Schedule).one()
    assert row.scope == {"folder": str(hot), "watch": True}
    assert "just what is new since the last time" in browser.page("/schedules")
    del plan["watch"]
    assert browser.post(f"/schedules/{row.id}", plan).status_code == 302
    with db.read() as session:
        assert session.query(Schedule).one().scope == {"folder": str(hot)}


def test_a_job_says_what_it_left_out(site: Site) -> None:
    browser = site.browser("operator")
    with db.write() as session:
        watched, other = (jobs.create(session, JobKind.FOLDER, "a test", site.model_id) for _ in range(2))
        watched.scope = {"unchanged": 12345, "unsettled": 2}
        numbers = (watched.id, other.id)
    page = browser.page(f"/jobs/{numbers[0]}")
    assert re.search(r'<b id="count-unchanged">12\D345</b>', page) and '<b id="count-unsettled">2</b>' in page
    assert '<p class="dim" id="job-left-out" hidden>' in browser.page(f"/jobs/{numbers[1]}")
