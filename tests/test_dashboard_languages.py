"""English and Russian: the catalogue is whole, no page is half in one of them, and a choice is kept."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from dashboard_fixtures import FRAGMENTS, Browser, Site, addresses, done_job

from cxrscreen import audit, db, entries, users
from cxrscreen.imaging.reasons import Reason
from cxrscreen.tables import Entry, EntryStatus, Role, now
from dashboard import catalogue, languages, sentences

RUSSIAN = {"Accept-Language": "ru,en;q=0.5"}
PARTS = re.compile(r"%\(\w+\)[sd]|%%|\{[wn]?\d\}|<[^>]+>")

# A decimal point or a year that comes first; neither a date with points nor an address.
FOREIGN = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])|\d{4}-\d\d-\d\d")

# What a template may say past the catalogue: our name, and what is written the same in every language.
SAME = {"cxr", "screen", "cxrscreen", "cxrscreen · cxrscreen", "UTC", "CSV", "Parquet", "PSI", "Ctrl Z"}
SAME |= {"s3://bucket/folder", 'curl -H "Authorization: Bearer "'}


@pytest.fixture(scope="module")
def russian() -> Catalog:
    return catalogue.read(catalogue.file_of("ru"))


def keys(told: Catalog) -> set[tuple[str, ...]]:
    return {(one.context or "", *([one.id] if isinstance(one.id, str) else one.id)) for one in told if one.id}


def test_the_catalogue_has_what_the_sources_say_and_nothing_else(russian: Catalog) -> None:
    fresh = keys(sentences.gathered())
    assert len(fresh) > 900
    assert fresh == keys(russian), "run python -m dashboard.sentences, and translate what is empty"
    assert not russian.obsolete


def test_nothing_is_untranslated_or_fuzzy_and_every_place_is_kept(russian: Catalog) -> None:
    for one in russian:
        if not one.id:
            continue
        assert not one.fuzzy, one.id
        forms = [one.string] if isinstance(one.id, str) else list(one.string)
        assert len(forms) == (1 if isinstance(one.id, str) else 3), one.id
        wanted = set(PARTS.findall(one.id if isinstance(one.id, str) else one.id[1]))
        for form in forms:
            assert form and form.strip(), one.id
            assert set(PARTS.findall(form)) == wanted, one.id
            # A message is markup: in an attribute, a quote of its own would end it.
            assert '"' not in re.sub(r"<[^>]+>", "", form), one.id


def bare_words(template: str) -> set[str]:
    """What stands in a template outside of its expressions, between tags or in an attribute that people meet."""
    said = re.sub(
        r"{% trans .*?endtrans %}|{% trans %}.*?endtrans %}|{#.*?#}|{%.*?%}|{{.*?}}", "", template, flags=re.S
    )
    found = re.findall(r">([^<>]+)<|(?:title|aria-label|placeholder|alt)=\"([^\"]+)\"", said)
    told = {(text or attribute).strip(" ·,\n") for text, attribute in found}
    return {words for words in told if re.search(r"[A-Za-z]{2}", words)}


def test_no_template_says_a_word_past_the_catalogue() -> None:
    assert bare_words("<p>{{ _('Look') }} <a title=\"Take it\">at it</a></p>") == {"Take it", "at it"}
    templates = sorted((catalogue.HERE / "templates").glob("*.html"))
    found = {file.name: words for file in templates if (words := bare_words(file.read_text()) - SAME)}
    assert len(templates) > 30 and found == {}


def test_no_template_filters_a_constant() -> None:
    """Jinja works such a thing out when it reads the template, once for all languages."""
    folded = re.compile(
        r"(?<![\w.\])])(?:'[^']*'|\d+(?:\.\d+)?)\s*\|\s*(?:said|local|decimal|number|size|score|sentence)\b"
    )
    assert folded.search("{{ 1|decimal(3) }}") and not folded.search("{{ p1|decimal(3) }} {{ told.x1|said }}")
    found = [file.name for file in (catalogue.HERE / "templates").glob("*.html") if folded.search(file.read_text())]
    assert found == []


def in_russian(site: Site, name: str = "") -> Browser:
    made = site.browser(name)
    made.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = RUSSIAN["Accept-Language"]
    return made


def test_no_page_is_half_translated(full: Site) -> None:
    """Two Latin words in a row are English, unless they are somebody's name, code or a key of the keyboard."""
    browser, stranger = in_russian(full, "admin"), in_russian(full)
    pages = 0
    for _, url in addresses(full, "GET"):
        answer = (stranger if url in ("/sign-in", "/enter/x") else browser).get(url)
        if answer.mimetype != "text/html" or answer.status_code != 200:
            continue
        if url not in FRAGMENTS:
            assert '<html lang="ru">' in answer.text, url
        text = re.sub(r"<(code|kbd|bdi|script|time|datalist)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
        seen = [*re.split(r"<[^>]*>", text), *re.findall(r'(?:title|aria-label|placeholder|alt)="([^"]*)"', text)]
        english = [part.strip() for part in seen if re.search(r"\b[A-Za-z]{3,} [a-z]{2,}", part)]
        assert not english, (url, english)
        text = re.sub(r"<(code|kbd|bdi|script|datalist)\b.*?</\1>", " ", answer.text, flags=re.DOTALL)
        foreign = [part.strip() for part in re.split(r"<[^>]*>", text) if FOREIGN.search(part)]
        assert not foreign, (url, foreign, "numbers and dates go through dashboard/filters.py")
        pages += 1
    assert pages > 20


def test_a_browser_is_answered_in_its_language_until_somebody_chooses(site: Site) -> None:
    browser = in_russian(site)
    assert "Рабочий список" not in site.browser("reader").page("/worklist")
    assert "Войти" in browser.page("/sign-in")
    token = browser.token("/sign-in")
    kept = browser.client.post("/language", data={"csrf_token": token, "to": "en", "next": "/sign-in"})
    assert (kept.status_code, kept.location) == (302, "/sign-in")
    assert "HttpOnly" in kept.headers["Set-Cookie"]
    assert "Sign in" in browser.page("/sign-in")
    browser.sign_in("reader")
    assert "Worklist" in browser.page("/worklist")
    away = browser.post("/language", {"to": "ru", "next": "//elsewhere.example/"})
    assert away.location == "/worklist"
    assert "Рабочий список" in browser.page("/worklist")
    browser.post("/language", {"to": "tlh"})
    assert "Рабочий список" in browser.page("/worklist")


def test_what_the_rooms_below_say_is_translated_with_its_values(site: Site) -> None:
    browser = in_russian(site, "reader")
    assert "Задания 77 нет." in browser.get("/jobs/77").text
    told = browser.get("/jobs/77", headers={"Accept": "application/json"})
    assert told.json == {"error": "Задания 77 нет."}
    assert "нужна роль «администратор»" in browser.get("/people").text
    admin = in_russian(site, "admin")
    with db.write() as session:
        users.add(session, "reader & <b>son</b>", Role.READER)
        number = users.get(session, "reader & <b>son</b>").id
    admin.post(f"/people/{number}/role", {"role": "operator"})
    page = admin.page("/people")
    assert "reader &amp; &lt;b&gt;son&lt;/b&gt;: роль теперь «оператор»." in page, "a name is no word of the catalogue"


def test_the_audit_log_speaks_russian_and_is_asked_in_it(site: Site) -> None:
    admin = in_russian(site, "admin")
    with db.read() as session:
        number = users.get(session, "reader").id
    admin.post(f"/people/{number}/role", {"role": "operator"})
    page = admin.page("/audit")
    told = re.sub(r"<[^>]*>", " ", re.search(r"<tbody>.*?</tbody>", page, flags=re.DOTALL)[0])
    assert f"пользователь {number}" in told and "роль назначена" in told and "роль оператор" in " ".join(told.split())
    assert not re.search(r"\b(?:user|role|auth|view)\b", told)
    found = re.search(r"<tbody>.*?</tbody>", admin.page(f"/audit?subject=пользователь+{number}"), flags=re.DOTALL)
    assert found and found[0].count("<tr>") == told.count(f"пользователь {number}")


def body_of(page: str) -> str:
    found = re.search(r"<(tbody|ol)\b.*</\1>", page, flags=re.DOTALL)
    assert found
    return " ".join(re.sub(r"<[^>]*>", "", found[0]).split())


def test_what_stands_beside_a_deed_is_written_as_on_other_pages(site: Site) -> None:
    scope = {"folder": "/in 2.5", "watch": True}
    with db.write() as session:
        job = done_job(session, site.model_id)
        audit.record(session, "admin", "model.threshold", "model 1", threshold=0.2, before=0.55, sign_off="")
        audit.record(session, "admin", "schedule.set", "schedule 1", scope=scope, rate=12000, enabled=False)
        audit.record(session, "admin", "job.clear", f"job {job.id}", uploads=1, bytes=2_500_000, images=3, failed=2)
        audit.record(session, "admin", "job.retry", f"job {job.id}", entries=4, chosen=True)
        entry = Entry(job_id=job.id, name="a.dcm", status=EntryStatus.WAITING)
        session.add(entry)
        session.flush()
        entries.reject(
            session,
            entry,
            Reason.QUARANTINED,
            "The file is damaged or cut short, so its pixels cannot be trusted.",
            status=EntryStatus.FAILED,
        )
        job.error, job.finished_at = "The database does not answer. Try again in a moment.", now()
    admin = in_russian(site, "admin")
    admin.get("/worklist?low=0.25&from=2026-11-01")
    told = body_of(admin.page("/audit"))
    for wanted in (
        *("оценка от 0,25", "с 01.11.2026", "порог 0,2 прежде 0,55 ", "папка /in 2.5", "только новое да"),
        *("снимков в минуту 12 000", "включено нет", "всего 2,5 МБ"),
    ):
        assert wanted in told, (wanted, told)
    past = body_of(admin.page(f"/jobs/{job.id}/timeline"))
    for wanted in (
        *("загрузки 1, всего 2,5 МБ, снимков 3, сбой 2", "файлов 4, выбрано вручную да"),
        "a.dcm: Файл повреждён",
    ):
        assert wanted in past, (wanted, past)
    assert "База данных не отвечает." in past and not re.search(r"uploads|bytes|entries|True", past)


def test_a_filter_is_written_as_it_may_be_typed(site: Site) -> None:
    browser = in_russian(site, "reader")
    for typed in ("0.25", "0,25"):
        page = browser.page(f"/worklist?state=all&low={typed}")
        assert "оценка от 0,25" in page and re.search(r'id="low"[^>]*value="0,25"', page), typed
        assert 'placeholder="1,000"' in page
        page = browser.page(f"/models/{site.model_id}/whatif?threshold={typed}")
        assert re.search(r'id="threshold"[^>]*value="0,25"', page), typed


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("confirmed", "подтверждено"),
        ("The file is damaged or cut short, so its pixels cannot be trusted.", "Файл повреждён или обрезан"),
        ("Job 7 is running; that is not possible now.", "Задание 7 в состоянии «идёт»; сейчас это невозможно."),
        ("At 01:30 on Monday through Friday", "В 01:30: понедельник – пятница"),
        ("3 of 8 frames are there.", "Есть кадры: 3 из 8."),
        ("distance 4.31", "расстояние 4,31"),
        ("Files over 1,024 MB are not read.", "Файлы больше 1\u202f024 МБ не читаются."),
        ("nobody has ever said this", "nobody has ever said this"),
        ("The field 'reader' is empty.", "Поле 'reader' пусто."),
    ],
)
def test_a_finished_sentence_is_known_again(site: Site, text: str, wanted: str) -> None:
    with site.app.test_request_context(headers=RUSSIAN):
        assert languages.said(text).startswith(wanted)
    with site.app.test_request_context():
        assert languages.said(text) == text


def test_russian_counts_in_three_forms(site: Site) -> None:
    from flask_babel import ngettext

    with site.app.test_request_context(headers=RUSSIAN):
        told = [ngettext("%(num)d day ago", "%(num)d days ago", count) for count in (1, 2, 5, 11, 21, 104)]
    days = ["1 день", "2 дня", "5 дней", "11 дней", "21 день", "104 дня"]
    assert told == [f"{one} назад" for one in days]


def test_the_scripts_have_their_words(site: Site) -> None:
    answer = site.browser("reader").get("/words/ru.js")
    assert answer.mimetype == "text/javascript"
    words = json.loads(answer.text.removeprefix("window.words = ").rstrip(";\n"))
    assert words["Loading…"] == ["Загрузка…"] and len(words["%(num)s file"]) == 3
    assert site.browser().get("/words/ru.js").status_code == 200, "the page of the sign-in is for strangers"
    again = site.browser().get("/words/ru.js", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    assert site.browser().get("/words/en.js").text == "window.words = {};\n"


def test_a_catalogue_is_compiled_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "ru" / "LC_MESSAGES" / "messages.po"
    source.parent.mkdir(parents=True)
    source.write_bytes(catalogue.file_of("ru").read_bytes())
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    catalogue.compile_all()
    made = source.with_suffix(".mo")
    first = made.stat().st_mtime_ns
    catalogue.compile_all()
    assert made.stat().st_mtime_ns == first
    source.write_bytes(source.read_bytes().replace("Рабочий список".encode(), "Список".encode()))
    later = made.stat().st_mtime + 5
    os.utime(source, (later, later))
    catalogue.compile_all()
    assert "Рабочий список".encode() not in made.read_bytes()
    assert [file.name for file in source.parent.iterdir() if file.suffix not in (".po", ".mo")] == []
