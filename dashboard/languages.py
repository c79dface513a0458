"""English and Russian: which one a page is in, and how sentences get there that were made without knowing of either.

Templates and scripts carry English sentences as keys of the catalogue. What the rooms below the pages say (an error, a
reason, the word of a state) is a finished English sentence by the time it arrives here; `said` finds the one of the
catalogue that it was made from, takes its values out and puts them into the translation. So nothing below the pages
knows of languages.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable
from gettext import NullTranslations
from typing import Any

import flask_babel
from flask import Blueprint, Flask, Response, g, has_app_context, redirect, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from dashboard import assets, catalogue

blueprint = Blueprint("languages", __name__)

# As each is called by those who read it.
LANGUAGES = {"en": "English", "ru": "Русский"}
COOKIE = "language"
YEAR = 365 * 86400


def chosen() -> str:
    """What the person chose, else what the browser asks for, else English."""
    kept = request.cookies.get(COOKIE, "")
    return kept if kept in LANGUAGES else request.accept_languages.best_match(LANGUAGES, "en")


def current() -> str:
    if not has_app_context():
        return "en"
    found: str | None = g.get("language")
    if found is None:
        locale = flask_babel.get_locale()
        found = g.language = locale.language if locale else "en"
    return found


def translations() -> NullTranslations:
    """The catalogue of the page's language."""
    found: NullTranslations | None = g.get("translations")
    if found is None:
        found = g.translations = flask_babel.get_translations()
    return found


def gettext(message: str, /, **values: Any) -> str:
    """For what a page says of each of its lines: flask_babel's own asks anew whose page it is, at every word."""
    return translations().gettext(message) % values


def ngettext(one: str, many: str, num: int, /, **values: Any) -> str:
    return translations().ngettext(one, many, num) % {"num": num, **values}


def _of_templates() -> dict[str, Callable[..., Markup]]:
    """What templates call `_` and `ngettext`: the message in the language of the page, with its values escaped.

    Bound to the page, which says hundreds of words; one that takes no values is made once for all pages.
    """
    catalogue, made = translations(), _made(current())

    def text(message: str, /, **values: Any) -> Markup:
        if values:
            return Markup(catalogue.gettext(message)) % values  # noqa: S704  the catalogue is ours
        found = made.get(message)
        if found is None:
            found = made[message] = Markup(catalogue.gettext(message)) % {}  # noqa: S704
        return found

    def texts(one: str, many: str, num: int, /, **values: Any) -> Markup:
        return Markup(catalogue.ngettext(one, many, num)) % {"num": num, **values}  # noqa: S704

    return {"_": text, "gettext": text, "ngettext": texts}


@functools.cache
def _made(_language: str) -> dict[str, Markup]:
    """As many as the templates have sentences: they ask for no others by this way."""
    return {}


def said(text: object) -> str:
    """A finished English sentence or word in the language of the page; one that the catalogue lacks stays as it is."""
    told = str(text)
    if current() == "en" or not told:
        return told
    exact = translations().gettext(told)
    if exact != told:
        return exact
    return _with_values(current(), told)


@functools.lru_cache(10_000)
def _with_values(language: str, told: str) -> str:
    """Kept, for a page of refused files says the same few things of many."""
    for pattern, translation in _patterns(language):
        if found := pattern.fullmatch(told):
            return _filled(translation, {name[1:]: value for name, value in found.groupdict().items()})
    return told


def _filled(text: str, values: dict[str, str]) -> str:
    """The values in their places; a state's word is one of the catalogue itself, a number is written as here."""
    return catalogue.PLACE.sub(lambda place: _value(place[0], values[place[0].strip("{wn}")]), text)


def _value(place: str, value: str) -> str:
    if place.startswith("{n"):
        # Not at the top: the filters stand on this.
        from dashboard.filters import local

        return local(value.replace(",", "\u202f"))
    return said(value) if place.startswith("{w") else value


@functools.cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    """The sentences with places, the longest first: the more words agree, the surer it is the one."""
    told = sorted(catalogue.with_places(language), key=lambda pair: -len(pair[0]))
    return [(_pattern(key), translation) for key, translation in told]


def _pattern(key: str) -> re.Pattern[str]:
    parts = catalogue.PLACE.split(key)
    names = [f"(?P<p{place.strip('{wn}')}>.*?)" for place in catalogue.PLACE.findall(key)]
    return re.compile(
        "".join(re.escape(part) + name for part, name in zip(parts, [*names, ""], strict=True)), re.DOTALL
    )


@blueprint.post("/language")
def choose() -> AnyResponse:
    """Keep the language in a cookie: the page of the sign-in has one, too."""
    # Not at the top: the guard of the doors stands above this.
    from dashboard.security import safe_next

    answer = redirect(safe_next(request.form.get("next")))
    language = request.form.get("to", "")
    if language in LANGUAGES:
        secure = request.is_secure
        answer.set_cookie(COOKIE, language, max_age=YEAR, httponly=True, samesite="Lax", secure=secure)
    return answer


@blueprint.get("/words/<any(en,ru):language>.js")
def words(language: str) -> Response:
    """What the scripts say, as a script: kept by the browser under an address that changes with its content."""
    answer = Response(_words(language), content_type="text/javascript; charset=utf-8")
    known = request.args.get("v") == _mark(language)
    answer.headers["Cache-Control"] = assets.KEPT if known else "private, no-cache"
    answer.add_etag()
    answer.make_conditional(request)
    return answer


@functools.cache
def _words(language: str) -> str:
    return f"window.words = {json.dumps(catalogue.of_scripts(language), ensure_ascii=False)};\n"


def _mark(language: str) -> str:
    return hashlib.sha256(_words(language).encode()).hexdigest()[:8]


def install(app: Flask) -> None:
    catalogue.compile_all()
    flask_babel.Babel(app, locale_selector=chosen)
    app.add_template_filter(said)

    @app.context_processor
    def names() -> dict[str, Any]:
        language = current()
        return {
            **_of_templates(),
            "language": language,
            "LANGUAGES": LANGUAGES,
            "words_url": url_for("languages.words", language=language, v=_mark(language)) if language != "en" else "",
        }
