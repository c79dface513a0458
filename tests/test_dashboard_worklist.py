"""Which studies stand in the worklist, in which order, and that paging neither loses nor repeats one."""

from __future__ import annotations

import re

import pytest
import seed
from dashboard_fixtures import Browser, Site, done_job, scored

from cxrscreen import db, registry, studies, users, worklist
from cxrscreen.tables import ModelState, ModelVersion, Study, Verdict


def listed(page: str) -> list[int]:
    return [int(found) for found in re.findall(r'data-study="(\d+)"', page)]


def walk(browser: Browser, url: str) -> list[list[int]]:
    """The studies of every page, following the links."""
    pages = []
    for _ in range(20):
        page = browser.page(url)
        pages.append(listed(page))
        found = re.search(r'id="next-page" href="([^"]+)"', page)
        if not found:
            return pages
        url = found[1].replace("&amp;", "&")
    raise AssertionError("the list has no end")


def test_flagged_studies_stand_by_falling_score(either_site: Site) -> None:
    with db.write() as session:
        made = {
            name: scored(session, name, scores, either_site.model_id).id
            for name, scores in {
                "low": [0.1],
                "edge": [0.5],
                "high": [0.99],
                "by its second image": [0.2, 0.7],
                "below": [0.4999],
            }.items()
        }
    page = either_site.browser("reader").page("/worklist")
    assert listed(page) == [made["high"], made["by its second image"], made["edge"]]
    assert "0.700" in page and "covid-1" in page


def test_states_and_jobs_filter_and_the_counts_agree(either_site: Site) -> None:
    with db.write() as session:
        mine, other = done_job(session, either_site.model_id), done_job(session, either_site.model_id, "other.zip")
        reader = users.get(session, "reader")
        ids = {}
        for number, verdict in enumerate([None, None, "confirmed", "dismissed", "unsure", "confirmed"]):
            study = scored(session, f"s{number}", [0.9 - number / 100], either_site.model_id, mine if number else other)
            ids[number] = study.id
            if verdict:
                studies.review(session, study, reader, Verdict(verdict), "", None, None)
        changed = session.get_one(Study, ids[5])
        before = studies.current_review(session, changed.id)
        assert before is not None
        studies.review(session, changed, reader, Verdict.DISMISSED, "on second thought", None, before.id)
        job_id = mine.id
    browser = either_site.browser("reader")
    expected = {
        "open": [0, 1],
        "confirmed": [2],
        "dismissed": [3, 5],
        "unsure": [4],
        "reviewed": [2, 3, 4, 5],
        "all": [0, 1, 2, 3, 4, 5],
    }
    for state, numbers in expected.items():
        page = browser.page(f"/worklist?state={state}")
        assert listed(page) == [ids[number] for number in numbers], state
        assert re.search(rf'id="state-{state}"[^>]*>{state} <span>{len(numbers)}</span>', page)
        of_job = [ids[number] for number in numbers if number]
        assert listed(browser.page(f"/worklist?state={state}&job={job_id}")) == of_job


def test_paging_neither_loses_nor_repeats_where_scores_are_equal(either_site: Site) -> None:
    with db.write() as session:
        for number in range(117):
            scored(session, f"s{number:03}", [[0.9, 0.1 + 0.2 + 0.5, 2 / 3][number % 3]], either_site.model_id)
        wanted = [line.study.id for line in worklist.page(session, either_site.model_id, 0.5, limit=1000)]
    pages = walk(either_site.browser("reader"), "/worklist")
    assert [len(page) for page in pages] == [50, 50, 17]
    assert [study for page in pages for study in page] == wanted
    assert len(set(wanted)) == 117


def test_the_list_follows_the_active_version_and_its_threshold(site: Site) -> None:
    with db.write() as session:
        other = seed.model(session, "m2", state=ModelState.CANDIDATE)
        study = scored(session, "case", [0.9], site.model_id)
        seed_result = seed.result(0.3)
        image_id = studies.images(session, study.id, site.model_id)[0][0].id
        from cxrscreen.tables import Result

        session.add(Result(image_id=image_id, model_version_id=other.id, **seed_result))
        session.flush()
        studies.refresh(session, [study.id], other.id)
        other_id, study_id = other.id, study.id
    browser = site.browser("admin")
    assert listed(browser.page("/worklist")) == [study_id]
    assert browser.post(f"/models/{other_id}/activate").status_code == 302
    assert listed(browser.page("/worklist")) == []
    assert browser.post(f"/models/{other_id}/threshold", {"threshold": "0.25", "note": "a test"}).status_code == 302
    assert listed(browser.page("/worklist")) == [study_id]


def test_neighbours_are_the_lines_above_and_below(either_site: Site) -> None:
    with db.write() as session:
        ids = [
            scored(session, f"s{n}", [score], either_site.model_id).id for n, score in enumerate([0.7, 0.9, 0.7, 0.6])
        ]
        unflagged = scored(session, "low", [0.2], either_site.model_id).id
    order = [ids[1], ids[2], ids[0], ids[3]]
    with db.read() as session:
        around = [worklist.neighbours(session, either_site.model_id, 0.5, one) for one in order]
        assert worklist.neighbours(session, either_site.model_id, 0.5, unflagged) == (order[3], None)
    assert around == list(zip([None, *order], [*order[1:], None], strict=False))


@pytest.mark.parametrize("phantom", [True, False])
def test_a_phantom_model_is_named_as_such_everywhere(site: Site, phantom: bool) -> None:
    with db.write() as session:
        session.get_one(ModelVersion, site.model_id).phantom = phantom
    browser = site.browser("admin")
    for url in ("/worklist", "/models", "/jobs", f"/models/{site.model_id}"):
        assert ('id="phantom-banner"' in browser.page(url)) is phantom


def test_an_empty_list_says_what_to_do_next(site: Site) -> None:
    browser = site.browser("reader")
    assert "Upload an archive" in browser.page("/worklist")
    with db.write() as session:
        study = scored(session, "case", [0.9], site.model_id, done_job(session, site.model_id))
        studies.review(session, study, users.get(session, "reader"), Verdict.CONFIRMED, "", None, None)
    assert "Every flagged study has a verdict" in browser.page("/worklist")
    with db.write() as session:
        version = registry.need_active(session)
        version.state = ModelState.RETIRED
    assert "There is no active model yet" in browser.page("/worklist")
