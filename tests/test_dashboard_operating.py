"""What-if: the page weighs a threshold with and without JavaScript; only an administrator signs, and once."""

from __future__ import annotations

import re

import pytest
from dashboard_fixtures import Site, scored

from cxrscreen import db, operating, registry, studies, users
from cxrscreen.tables import AuditEvent, Verdict


@pytest.fixture
def weighed(site: Site) -> str:
    """Twenty studies; three confirmed, two dismissed, one unsure; one of the confirmed lies below the threshold."""
    with db.write() as session:
        reader = users.get(session, "reader")
        for number in range(20):
            study = scored(session, f"s{number}", [number / 20], site.model_id)
            said = {19: "confirmed", 15: "confirmed", 3: "confirmed", 12: "dismissed", 11: "dismissed", 13: "unsure"}
            if number in said:
                studies.review(session, study, reader, Verdict(said[number]), "", site.model_id, None)
    return f"/models/{site.model_id}/whatif"


def cell(page: str, name: str) -> str:
    found = re.search(rf'<td class="num" id="then-{name}">(.*?)</td>', page)
    assert found
    return re.sub(r"<[^>]+>", "", found[1]).strip()


def seen(page: str) -> str:
    found = re.search(r'name="seen" value="(\d*)"', page)
    assert found
    return found[1]


def test_the_form_weighs_without_javascript(site: Site, weighed: str) -> None:
    browser = site.browser("operator")
    page = browser.page(f"{weighed}?threshold=0,65")
    assert (cell(page, "flagged"), cell(page, "open")) == ("7", "4")
    assert cell(page, "sensitivity").startswith("66.7 %") and cell(page, "sensitivity").endswith("2 of 3")
    assert cell(page, "specificity").startswith("100.0 %")
    assert "only <b>1</b> of these lie below" in page and "Left out as unsure: 1." in page
    assert "<b>5</b> reviewed studies" in page and "upper bound" in page
    assert 'id="sign-off"' not in page, "an operator weighs, and signs nothing"
    assert browser.get("/whatif?threshold=0.65").location == f"{weighed}?threshold=0.65"


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "inf", "much", "1e400", "<script>"])
def test_a_threshold_is_a_number_from_zero_to_one(site: Site, weighed: str, value: str) -> None:
    browser = site.browser("admin")
    assert browser.get(weighed, query_string={"threshold": value}).status_code == 400
    sent = {"threshold": value, "sign_off": "x", "seen": seen(browser.page(weighed))}
    assert browser.post(f"/models/{site.model_id}/threshold", sent).status_code == 400
    with db.read() as session:
        assert registry.threshold(session, site.model_id) == 0.5


def test_a_threshold_is_signed_once_and_audited(site: Site, weighed: str) -> None:
    browser, url = site.browser("admin"), f"/models/{site.model_id}/threshold"
    before = seen(browser.page(weighed))
    assert browser.post(url, {"threshold": "0,35", "sign_off": " ", "seen": before}).status_code == 400
    assert browser.post(url, {"threshold": "0.35", "sign_off": "<b>few</b> misses", "seen": before}).status_code == 302
    stale = browser.post(url, {"threshold": "0.4", "sign_off": "later", "seen": before})
    assert stale.status_code == 409 and "Somebody else moved this threshold" in stale.text
    page = browser.page(weighed)
    assert "&lt;b&gt;few&lt;/b&gt; misses" in page and "<b>few</b>" not in page
    assert '<b id="threshold-now">0.35</b>' in browser.page(f"/models/{site.model_id}")
    with db.read() as session:
        event = session.query(AuditEvent).where(AuditEvent.action == "model.threshold").one()
        point = operating.newest(session, site.model_id)
    assert (event.actor, event.detail["threshold"], event.detail["before"]) == ("admin", 0.35, 0.5)
    assert point and point.figures["flagged"] == 13


@pytest.mark.parametrize("name", ["operator", "reader"])
def test_nobody_else_signs(site: Site, weighed: str, name: str) -> None:
    browser = site.browser(name)
    sent = {"threshold": "0.1", "sign_off": "mine", "seen": ""}
    assert browser.post(f"/models/{site.model_id}/threshold", sent).status_code == 403


def test_a_version_that_answered_nothing_is_weighed_all_the_same(site: Site) -> None:
    page = site.browser("reader").page(f"/models/{site.model_id}/whatif")
    assert "no results in 30 days" in page and "none reviewed" in page
    assert site.browser("reader").get("/models/99/whatif").status_code == 404
