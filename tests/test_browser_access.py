"""axe-core looks at every page, in both themes: no serious or critical trouble for who reads without eyes or mouse."""

from __future__ import annotations

from pathlib import Path

import pytest
import seed
from dashboard_fixtures import Site, done_job
from playwright.sync_api import Page
from test_dashboard_security import FRAGMENTS, addresses, full
from viewer_fixtures import Opener

from cxrscreen import db, studies, users
from cxrscreen.imaging.reasons import Reason
from cxrscreen.tables import Entry, EntryStatus, ModelState, Rejection, Role, Study, Verdict

__all__ = ["full"]

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


def test_no_page_has_a_serious_fault(lived_in: Site, opened: Opener) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not here: `make setup` brings it, from the npm registry")
    client = lived_in.browser("admin")
    urls = [url for _, url in addresses(lived_in, "GET") if url not in FRAGMENTS]
    urls += ["/worklist?state=all", "/worklist?state=all&low=0.2", "/studies/2", "/jobs/2/entries", "/nowhere"]
    pages = [url for url in urls if (got := client.get(url)).mimetype == "text/html" and got.status_code != 302]
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
