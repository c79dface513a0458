"""axe-core looks at every page, in both themes: no serious or critical trouble for who reads without eyes or mouse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import seed
from dashboard_fixtures import FRAGMENTS, Site, addresses, done_job
from playwright.sync_api import Page, expect
from viewer_fixtures import Opener

from cxrscreen import db, studies, users
from cxrscreen.imaging.reasons import Reason
from cxrscreen.tables import Entry, EntryStatus, ModelState, Rejection, Role, Study, Verdict

pytestmark = pytest.mark.browser

AXE = Path(__file__).resolve().parent.parent / "node_modules" / "axe-core" / "axe.min.js"
RUN = """async (rules) => {
    const found = await axe.run(document, {resultTypes: ["violations"], preload: false,
        ...(rules.length ? {runOnly: {type: "rule", values: rules}} : {})});
    return found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
        .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 200)} (${one.help})`));
}"""


def looked_at(page: Page, url: str) -> list[str]:
    """What is wrong with a page: everything in the light, and the colours again in the dark."""
    said = []
    for theme, rules in (("light", []), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme="light" if theme == "light" else "dark")
        said += [f"{url}, {theme}: {line}" for line in page.evaluate(RUN, rules)]
    return said


def name_of(url: str) -> str:
    return re.sub(r"\W+", "-", url).strip("-") or "home"


@pytest.fixture
def lived_in(full: Site) -> Site:
    """Pages that have something to say: verdicts, an adjudication, a candidate, refusals, alerts."""
    with db.write() as session:
        reader = users.get(session, "reader")
        reader.role = Role.ADMIN
        other = seed.model(session, "m2", state=ModelState.CANDIDATE)
        assert other.id == 2
        for study, verdict in zip(session.query(Study).order_by(Study.id).all(), Verdict, strict=False):
            studies.review(session, study, reader, verdict, "seen", full.model_id, None)
        job = done_job(session, full.model_id, "mixed.zip")
        for status, reason in ((EntryStatus.REJECTED, Reason.NOT_FRONTAL), (EntryStatus.FAILED, Reason.INTERNAL)):
            entry = Entry(job_id=job.id, name=f"{status}.png", status=status)
            session.add(entry)
            session.flush()
            session.add(Rejection(job_id=job.id, entry_id=entry.id, reason=reason, detail="<b>seen</b>"))
    return full


def pages_of(site: Site) -> list[str]:
    client = site.browser("admin")
    urls = [url for _, url in addresses(site, "GET") if url not in FRAGMENTS]
    urls += ["/worklist?state=all", "/worklist?state=all&low=0.2", "/studies/2", "/jobs/2/entries", "/nowhere"]
    return [url for url in urls if (got := client.get(url)).mimetype == "text/html" and got.status_code != 302]


def test_no_page_has_a_serious_fault(lived_in: Site, opened: Opener) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not here: `make setup` brings it, from the npm registry")
    pages = pages_of(lived_in)
    said: list[str] = []
    with opened("/worklist", script=AXE.read_text("utf-8"), expecting="the server responded with a status") as page:
        for url in pages:
            page.goto(url)
            said += looked_at(page, url)
        assert len(pages) > 25
        page.context.clear_cookies()
        for url in ("/sign-in", "/enter/x"):
            page.goto(url)
            said += looked_at(page, url)
    assert not said, "\n".join(said)


def test_in_russian_every_page_has_room(lived_in: Site, opened: Opener) -> None:
    """Its words are longer: nothing is pushed over the edge, on a desk or on a phone."""
    wide: list[str] = []
    with opened("/worklist", locale="ru-RU", expecting="the server responded with a status") as page:
        for url in pages_of(lived_in):
            page.set_viewport_size({"width": 1366, "height": 768})
            page.goto(url)
            assert page.get_attribute("html", "lang") == "ru"
            # A bar that scrolls hides its last rooms from whoever does not know of them.
            if page.locator(".top nav").count():
                said = page.locator(".top nav").evaluate("(bar) => bar.scrollWidth - bar.clientWidth")
                assert said <= 0, f"{url}: the bar of the rooms lacks {said} px"
            for width in (1366, 390):
                page.set_viewport_size({"width": width, "height": 768})
                if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                    wide.append(f"{url} at {width}")
        page.goto("/studies/1")
        expect(page.locator("#pane-case .tone")).to_contain_text("как при скрининге")
        edge = page.locator(".panel").evaluate("(panel) => panel.getBoundingClientRect().right")
        places = [one.bounding_box() for one in page.locator(".verdicts button").all()]
        assert len(places) == 3 and len({place["y"] for place in places if place}) == 1, "the verdicts stand in one row"
        assert all(place and place["x"] + place["width"] < edge for place in places)
        page.click(".language button")
        expect(page.locator("html")).to_have_attribute("lang", "en")
        assert page.url.endswith("/studies/1")
    assert wide == []
