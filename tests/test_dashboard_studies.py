"""The study page and the verdict: what it shows, who may give it, that nobody's is overwritten unseen."""

from __future__ import annotations

import re

import pytest
import seed
from dashboard_fixtures import Browser, Site, done_job, ramp, scored, stored_image
from sqlalchemy import event

from cxrscreen import blobs, db, studies, users
from cxrscreen.tables import ModelState, Result, Review, Study, Verdict


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, f"no field {name}"
    return found[1]


def give(browser: Browser, study_id: int, verdict: str, comment: str = "", query: str = "", page: str | None = None):  # type: ignore[no-untyped-def]
    """Fill in the form of a page, the one that stands now unless an older one is given, and send it."""
    page = page or browser.page(f"/studies/{study_id}{query}")
    data = {name: field(page, name) for name in ("csrf_token", "seen", "model")}
    action = re.search(r'action="(/studies/\d+/review[^"]*)"', page)
    assert action
    return browser.client.post(action[1], data={**data, "verdict": verdict, "comment": comment})


def test_the_page_shows_why(site: Site) -> None:
    with db.write() as session:
        study = scored(session, "case", [0.2, 0.75], site.model_id, heat=bytes((1, 1, 200)))
        study.patient, study.study_date = "0123456789abcdef", "20201103"
        older = seed.model(session, "older", state=ModelState.RETIRED)
        image = studies.images(session, study.id, site.model_id)[0][0]
        session.add(Result(image_id=image.id, model_version_id=older.id, **seed.result(0.11)))
        session.flush()
        studies.refresh(session, [study.id], older.id)
        shown = studies.images(session, study.id, site.model_id)[1][0].id
        study_id = study.id
    page = site.browser("reader").page(f"/studies/{study_id}")
    assert f"/images/{shown}/" in page and f"/images/{shown}/heat.png?model={site.model_id}" in page
    assert '<span id="score" class="over-threshold">0.750</span>' in page
    assert "threshold 0.500" in page and "PHANTOM" in page
    assert re.search(r"covid-1</th>.*?0.750", page, re.DOTALL)
    assert "Patient <bdi" in page and "0123456789abcdef" in page and "2020-11-03" in page
    assert "What each version said" in page and "0.110" in page
    other = site.browser("reader").page(f"/studies/{study_id}?image={image.id}")
    assert '<span id="score" class="">0.200</span>' in other


def test_without_a_heat_map_its_button_is_off(site: Site) -> None:
    with db.write() as session:
        study_id = scored(session, "case", [0.9], site.model_id, heat=b"").id
        asked = scored(session, "of features", [0.9], site.model_id).id
    browser = site.browser("reader")
    assert re.search(r'id="tool-heat"[^>]*disabled', browser.page(f"/studies/{study_id}"))
    page = browser.page(f"/studies/{asked}")
    assert not re.search(r'id="tool-heat"[^>]*disabled', page) and "data-make=" in page


def test_a_verdict_is_kept_and_leads_to_the_next_open_case(site: Site) -> None:
    with db.write() as session:
        job = done_job(session, site.model_id)
        first, second, third = (
            scored(session, name, [score], site.model_id, job).id
            for name, score in (("a", 0.9), ("b", 0.8), ("c", 0.7))
        )
        elsewhere = scored(session, "other job", [0.6], site.model_id).id
        job_id = job.id
    browser = site.browser("reader")
    answer = give(browser, second, "confirmed", " Bilateral. ", query=f"?job={job_id}")
    assert answer.location == f"/studies/{third}?job={job_id}"
    answer = give(browser, third, "unsure", query=f"?job={job_id}")
    assert answer.location == f"/studies/{first}?job={job_id}", "below there is none: back to the one above"
    answer = give(browser, first, "dismissed", query=f"?job={job_id}")
    assert answer.location == f"/worklist?job={job_id}"
    assert "last open study" in browser.page(answer.location)
    assert f'data-study="{elsewhere}"' in browser.page("/worklist")
    with db.read() as session:
        review = session.query(Review).where(Review.study_id == second).one()
        reader = users.get(session, "reader")
    assert (review.verdict, review.comment, review.user_id) == (Verdict.CONFIRMED, "Bilateral.", reader.id)
    assert review.model_version_id == site.model_id


def test_a_stale_page_overwrites_nothing(either_site: Site) -> None:
    with db.write() as session:
        study_id = scored(session, "case", [0.9], either_site.model_id).id
    slow, quick = either_site.browser("reader"), either_site.browser("admin")
    stale = slow.page(f"/studies/{study_id}")
    assert give(quick, study_id, "dismissed", "clear lungs").status_code == 302
    answer = give(slow, study_id, "confirmed", page=stale)
    assert answer.status_code == 409
    assert "Somebody else gave a verdict" in answer.text
    with db.read() as session:
        given = studies.reviews(session, study_id)
    assert [(review.verdict, name) for review, name in given] == [(Verdict.DISMISSED, "admin")]
    assert give(slow, study_id, "confirmed").status_code == 302, "a person who has seen it may differ"
    with db.read() as session:
        given = studies.reviews(session, study_id)
        current = studies.current_review(session, study_id)
    assert [review.verdict for review, _ in given] == [Verdict.CONFIRMED, Verdict.DISMISSED]
    assert current is not None and current.verdict == Verdict.CONFIRMED
    page = slow.page(f"/studies/{study_id}")
    assert "clear lungs" in page and "Change the verdict" in page


def test_operators_see_but_do_not_judge(site: Site) -> None:
    with db.write() as session:
        study_id = scored(session, "case", [0.9], site.model_id).id
    browser = site.browser("operator")
    page = browser.page(f"/studies/{study_id}")
    assert 'id="verdict"' not in page and "Verdicts are given by readers" in page
    answer = browser.post(f"/studies/{study_id}/review", {"verdict": "confirmed", "seen": "", "model": ""})
    assert answer.status_code == 403
    with db.read() as session:
        assert session.query(Review).count() == 0


@pytest.mark.parametrize(
    "data",
    [
        {"verdict": "maybe"},
        {"verdict": ""},
        {"verdict": "confirmed", "comment": "x" * 4001},
        {"verdict": "unsure", "seen": "x"},
    ],
)
def test_a_form_that_makes_no_sense_is_refused(site: Site, data: dict[str, str]) -> None:
    with db.write() as session:
        study_id = scored(session, "case", [0.9], site.model_id).id
    browser = site.browser("reader")
    assert browser.post(f"/studies/{study_id}/review", data).status_code == 400
    with db.read() as session:
        assert session.query(Review).count() == 0


def test_a_page_asks_no_more_often_where_more_versions_answered(site: Site) -> None:
    """Nor where a study has a long past."""
    with db.write() as session:
        study = scored(session, "case", [0.9], site.model_id).id
    reader = site.browser("reader")
    asked: list[str] = []
    event.listen(db.get_engine(), "before_cursor_execute", lambda *told: asked.append(told[2]))

    def statements() -> int:
        asked.clear()
        reader.page(f"/studies/{study}")
        return len(asked)

    give(reader, study, "unsure")
    before = statements()
    for number in range(3):
        with db.write() as session:
            older = seed.model(session, f"older-{number}", state=ModelState.RETIRED)
            image = studies.images(session, study, site.model_id)[0][0]
            session.add(Result(image_id=image.id, model_version_id=older.id, **seed.result(0.2)))
            session.flush()
            studies.refresh(session, [study], older.id)
        give(reader, study, "confirmed" if number % 2 else "dismissed")
    assert "older-2" in reader.page(f"/studies/{study}")
    assert statements() == before


def test_an_end_of_line_counts_as_it_is_typed(site: Site) -> None:
    with db.write() as session:
        number = scored(session, "a", [0.9], site.model_id).id
    assert give(site.browser("reader"), number, "confirmed", "line\r\n" * 799 + "12345").status_code == 302
    with db.read() as session:
        review = studies.current_review(session, number)
        assert review and review.comment == "line\n" * 799 + "12345" and len(review.comment) == 4000


def test_a_hostile_comment_is_text_to_the_next_reader(site: Site) -> None:
    with db.write() as session:
        study_id = scored(session, "<b onclick=alert(1)>case", [0.9], site.model_id).id
    give(site.browser("reader"), study_id, "unsure", "<script>alert(document.cookie)</script>")
    page = site.browser("admin").page(f"/studies/{study_id}?state=all")
    assert "<script>alert" not in page and "<b onclick" not in page
    assert "&lt;script&gt;alert(document.cookie)" in page


def test_a_name_that_turns_the_direction_of_writing_turns_only_itself(site: Site) -> None:
    with db.write() as session:
        first = scored(session, "a\u202egnp.exe", [0.9], site.model_id).id
        scored(session, "b", [0.8], site.model_id)
    browser = site.browser("reader")
    answer = give(browser, first, "confirmed")
    assert "\u2068a\u202egnp.exe\u2069: confirmed." in browser.page(answer.location)


def test_a_missing_original_is_said_and_its_small_copy_shown(site: Site) -> None:
    with db.write() as session:
        image = stored_image(session, ramp())
        session.add(Result(image_id=image.id, model_version_id=site.model_id, **seed.result(0.9)))
        study_id, image_id, sha256 = image.study_id, image.id, image.sha256
    browser = site.browser("reader")
    page = browser.page(f"/studies/{study_id}")
    assert f"/images/{image_id}/picture.png" in page and 'id="original-missing"' not in page
    blobs.store().delete("originals", sha256)
    page = browser.page(f"/studies/{study_id}")
    assert 'id="original-missing"' in page and f"/images/{image_id}/thumb.jpg" in page
    assert f"/images/{image_id}/picture" not in page


def test_a_study_that_the_active_version_has_not_scored_says_so(site: Site) -> None:
    with db.write() as session:
        study_id = seed.images(session, 1)[0].study_id
        empty = Study(key="empty", label="empty")
        session.add(empty)
        session.flush()
        empty_id = empty.id
    browser = site.browser("reader")
    assert "has not scored this image" in browser.page(f"/studies/{study_id}")
    assert "This study has no images" in browser.page(f"/studies/{empty_id}")
