"""Scripts and style sheets: fetched once for a release, and never those of another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dashboard_fixtures import Site

from dashboard import assets


def test_what_a_page_names_is_kept_and_there(site: Site) -> None:
    page = site.browser("reader").get("/worklist").text
    named = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    assert len(named) >= 4
    for url in named:
        answer = site.browser().get(url)
        assert answer.status_code == 200, url
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Set-Cookie" not in answer.headers and "Cookie" not in answer.headers.get("Vary", "")


def test_a_page_of_another_release_gets_what_there_is_and_keeps_nothing(site: Site) -> None:
    answer = site.browser().get("/static/0123456789ab/js/study.js")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    again = site.browser().get("/static/0123456789ab/js/study.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("name", ["../__init__.py", "js/../../shell.py", "nothing.js", "js", "%2e%2e/shell.py"])
def test_nothing_else_is_handed_out(site: Site, name: str) -> None:
    for mark in (assets.mark_of_release(), "other"):
        assert site.browser().get(f"/static/{mark}/{name}").status_code == 404


def test_the_mark_tells_contents_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mark() -> str:
        assets.mark_of_release.cache_clear()
        return assets.mark_of_release()

    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    try:
        marks = [mark()]
        for name, content in (("a.js", "1"), ("a.js", "2"), ("b.js", "2"), ("js/b.js", "2")):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
            marks.append(mark())
        assert len(set(marks)) == len(marks)
        assert mark() == marks[-1]
    finally:
        assets.mark_of_release.cache_clear()


def test_the_scripts_words_are_kept_under_the_address_that_a_page_names(site: Site) -> None:
    page = site.browser("reader").get("/worklist", headers={"Accept-Language": "ru"}).text
    named = re.search(r'src="(/words/ru\.js\?v=[^"]+)"', page)
    assert named
    assert site.browser().get(named[1]).headers["Cache-Control"] == assets.KEPT
    assert site.browser().get("/words/ru.js?v=other").headers["Cache-Control"] == "private, no-cache"
