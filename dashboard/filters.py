"""How numbers, sizes and times are written on the pages. Times are UTC everywhere."""

from __future__ import annotations

from datetime import datetime

from babel import dates
from flask import Flask
from flask_babel import gettext, ngettext
from markupsafe import Markup, escape

from cxrscreen.imaging.reasons import sentence
from cxrscreen.tables import now
from dashboard import languages


def size(count: float) -> str:
    """Bytes for people, in powers of a thousand."""
    units = (gettext("bytes"), gettext("kB"), gettext("MB"), gettext("GB"), gettext("TB"), gettext("PB"))
    place = 0
    while count >= 1000 and place < len(units) - 1:
        count /= 1000
        place += 1
    return f"{count:.0f} {units[place]}" if place == 0 else f"{count:.3g} {units[place]}"


def number(count: int) -> str:
    """Thousands apart by a narrow space that does not break."""
    return f"{count:,}".replace(",", "\u202f")


def short(count: int) -> str:
    """A round number where there is little room: 2k, 5M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)


def score(value: float | None) -> str:
    """Three decimals; a score below one is never written as 1.000, nor one above zero as 0.000."""
    if value is None:
        return "–"
    if 0.9995 <= value < 1:
        return ">0.999"
    if 0 < value < 0.0005:
        return "<0.001"
    return f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """The same as `cxrscreen.outlook.duration`, in the words of the page."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return str(gettext("%(seconds)s s", seconds=whole))
    if whole < 3600:
        return str(gettext("%(minutes)s min %(seconds)s s", minutes=whole // 60, seconds=str(whole % 60).zfill(2)))
    return str(gettext("%(hours)s h %(minutes)s min", hours=whole // 3600, minutes=str(whole % 3600 // 60).zfill(2)))


def weekday(moment: datetime, width: str = "wide") -> str:
    """Thursday, or Thu where `width` is "abbreviated"; of the moment's own zone."""
    pattern = "EEEE" if width == "wide" else "EEE"
    return str(dates.format_date(moment.date(), pattern, locale=languages.current()))


def when(moment: datetime | None) -> Markup:
    """A time to the minute, with its second in the title."""
    return _time(moment, f"{moment:%Y-%m-%d %H:%M}" if moment else "")


def ago(moment: datetime | None) -> Markup:
    """How long ago, with the time itself in the title."""
    return _time(moment, _age(moment) if moment else "")


def study_date(text: str | None) -> str:
    """DICOM's DA (PS3.5, 6.2): YYYYMMDD."""
    if text and len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text or ""


def isolated(text: str) -> str:
    """For plain text where no <bdi> can stand: a name that turns the direction of writing turns only itself."""
    return f"\u2068{text}\u2069"


def _time(moment: datetime | None, text: str) -> Markup:
    if moment is None:
        return Markup("–")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        f"{moment:%Y-%m-%dT%H:%M:%SZ}", f"{moment:%Y-%m-%d %H:%M:%S} UTC", escape(text)
    )


def _age(moment: datetime) -> str:
    seconds = (now() - moment).total_seconds()
    if seconds < 60:
        return str(gettext("just now"))
    if seconds < 3600:
        return str(gettext("%(count)s min ago", count=int(seconds // 60)))
    if seconds < 48 * 3600:
        return str(gettext("%(count)s h ago", count=int(seconds // 3600)))
    return str(ngettext("%(num)d day ago", "%(num)d days ago", int(seconds // 86400)))


def install(app: Flask) -> None:
    for made in (size, number, short, score, duration, weekday, when, ago, study_date, isolated, sentence):
        app.add_template_filter(made)
