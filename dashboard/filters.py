"""How numbers, sizes and times are written on the pages, in the language of the page. Times are UTC everywhere."""

from __future__ import annotations

import functools
from datetime import date, datetime

from babel import dates, numbers
from flask import Flask
from markupsafe import Markup, escape

from cxrscreen.imaging.reasons import sentence
from cxrscreen.tables import now
from dashboard import languages
from dashboard.languages import gettext, ngettext

# English is read by many who write dates in many ways: there the year comes first, which nobody misreads.
DAYS = {"ru": "{2}.{1}.{0}"}


def size(count: float) -> str:
    """Bytes for people, in powers of a thousand."""
    units = (gettext("bytes"), gettext("kB"), gettext("MB"), gettext("GB"), gettext("TB"), gettext("PB"))
    place = 0
    while count >= 1000 and place < len(units) - 1:
        count /= 1000
        place += 1
    return f"{count:.0f} {units[place]}" if place == 0 else f"{local(f'{count:.3g}')} {units[place]}"


def number(count: int) -> str:
    """Thousands apart by a narrow space that does not break."""
    return f"{count:,}".replace(",", "\u202f")


def decimal(value: float, places: int = 3, *, sign: bool = False) -> str:
    """So many places behind the point, or the comma, of the language; with its sign where `sign` wants one."""
    return local(f"{value:{'+' if sign else ''}.{places}f}")


def significant(value: float, digits: int) -> str:
    return local(f"{value:.{digits}g}")


def threshold(value: float) -> str:
    """As many digits as a person may set."""
    return significant(value, 4)


def local(written: str) -> str:
    """A number as the code writes it, in the language of the page."""
    return written.replace(".", _point(languages.current())).replace("-", "\u2212")


@functools.cache
def _point(language: str) -> str:
    return str(numbers.get_decimal_symbol(language))


def short(count: int) -> str:
    """A round number where there is little room: 2k, 5M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{significant(count / size, 6)}{letter}"
    return str(count)


def score(value: float | None) -> str:
    """Three decimals; a score below one is never written as 1.000, nor one above zero as 0.000."""
    if value is None:
        return "–"
    if 0.9995 <= value < 1:
        return f">{local('0.999')}"
    if 0 < value < 0.0005:
        return f"<{local('0.001')}"
    return decimal(value)


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
    return _time(moment, clock(moment) if moment else "")


def clock(moment: datetime, *, seconds: bool = False, zone: bool = False) -> str:
    """Date and time, to the minute or the second."""
    return moment.strftime(f"{day(moment)} %H:%M{':%S' if seconds else ''}{' %Z' if zone else ''}")


def day(moment: date | str) -> str:
    """A date, or a text that begins with one as ISO 8601 writes it; what follows stays."""
    if isinstance(moment, str):
        return day(date.fromisoformat(moment[:10])) + moment[10:].replace("T", " ")
    return DAYS.get(languages.current(), "{0}-{1}-{2}").format(*moment.isoformat()[:10].split("-"))


def ago(moment: datetime | None) -> Markup:
    """How long ago, with the time itself in the title."""
    return _time(moment, _age(moment) if moment else "")


def study_date(text: str | None) -> str:
    """DICOM's DA (PS3.5, 6.2): YYYYMMDD."""
    if text and len(text) == 8 and text.isdigit():
        try:
            return day(f"{text[:4]}-{text[4:6]}-{text[6:]}")
        except ValueError:
            return text  # no day of any calendar
    return text or ""


def isolated(text: str) -> str:
    """For plain text where no <bdi> can stand: a name that turns the direction of writing turns only itself."""
    return f"\u2068{text}\u2069"


def _time(moment: datetime | None, text: str) -> Markup:
    if moment is None:
        return Markup("–")
    second = moment.isoformat(timespec="seconds")[:19]
    title = f"{day(moment)} {second[11:]} UTC"
    return Markup(f'<time datetime="{second}Z" title="{title}">{escape(text)}</time>')  # noqa: S704


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
    written = (size, number, decimal, significant, threshold, local, short, score, duration)
    for made in (*written, weekday, when, ago, clock, day, study_date, isolated, sentence):
        app.add_template_filter(made)
