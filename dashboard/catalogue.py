"""The translations as they are kept (.po), made ready (.mo, no part of the sources) and asked for."""

from __future__ import annotations

import io
import logging
import os
import re
from pathlib import Path

from babel.messages import mofile, pofile
from babel.messages.catalog import Catalog

log = logging.getLogger(__name__)

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "translations"
SCRIPT = "script"  # the comment of a message that a script says
# In a sentence that is made below the pages: a value; with a w the word of a state, which is translated, too; with an n
# a number that the sentence writes with a point or commas.
PLACE = re.compile(r"\{[wn]?\d\}")


def files() -> list[Path]:
    return sorted(FOLDER.glob("*/LC_MESSAGES/messages.po"))


def file_of(language: str) -> Path:
    return FOLDER / language / "LC_MESSAGES" / "messages.po"


def compile_all() -> None:
    """Make each .mo that is missing or older than its .po. Where the folder cannot be written, what is there stays."""
    for source in files():
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        held = io.BytesIO()
        mofile.write_mo(held, read(source))
        fresh = target.with_suffix(f".{os.getpid()}")
        try:
            fresh.write_bytes(held.getvalue())
            fresh.replace(target)  # two processes may start at once
        except OSError as error:
            log.warning("%s cannot be written (%s): its pages are not translated anew", target, error)


def read(file: Path) -> Catalog:
    with file.open("rb") as lines:
        return pofile.read_po(lines, locale=file.parent.parent.name)


def of_scripts(language: str) -> dict[str, list[str]]:
    """What the scripts say, each with its translation, or with one for each plural form."""
    told: dict[str, list[str]] = {}
    for one in read(file_of(language)) if file_of(language).exists() else ():
        if one.id and SCRIPT in one.auto_comments:
            key = one.id if isinstance(one.id, str) else one.id[0]
            told[key] = [one.string or ""] if isinstance(one.string, str) else [str(form) for form in one.string or ()]
    return told


def with_places(language: str) -> list[tuple[str, str]]:
    """The sentences that take values, each with its translation."""
    told = read(file_of(language)) if file_of(language).exists() else ()
    pairs = [(one.id, one.string) for one in told if isinstance(one.id, str) and isinstance(one.string, str)]
    return [(key, translation) for key, translation in pairs if translation and PLACE.search(key)]
