"""The XML reports of the Indiana University collection, from their archive or an unpacked folder."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from models.errors import IndexInvalid

# A report is a few kilobytes; anything far larger is none.
MAX_BYTES = 2_000_000
_WORD = re.compile(r"\bpneumonias?\b", re.IGNORECASE)
# Words beside which "pneumonia" is denied, doubted or past; XXXX stands for a word that was taken out.
_DOUBT = re.compile(
    r"\b(no|not|nor|none|without|negative|clear|free|exclude\w*|rule\w*|may|might|could|would|possib\w+|probab\w+|"
    r"question\w*|concern\w*|suspic\w+|suspect\w*|suggest\w*|correlat\w+|differential|consider\w*|versus|vs|or|either|"
    r"setting|resolv\w+|prior|previous|history|etiolog\w+|xxxx)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Report:
    """uid: CXR and a number, one for each patient; headings: the MeSH terms that people gave; images: id -> caption."""

    uid: str
    headings: tuple[str, ...]
    impression: str
    images: dict[str, str]

    @property
    def label(self) -> str | None:
        """normal: the only heading; pneumonia: a heading, or a sentence of the impression that affirms it."""
        affirmed = affirms_pneumonia(self.impression)
        if self.headings == ("normal",):
            return None if affirmed else "normal"
        if affirmed or any(heading.split("/")[0] == "Pneumonia" for heading in self.headings):
            return "pneumonia"
        return None


def affirms_pneumonia(impression: str) -> bool:
    """Whether a sentence says pneumonia and nothing in it denies or doubts it."""
    sentences = re.split(r"(?<=[.;])\s+", impression)
    return any(_WORD.search(sentence) and not _DOUBT.search(sentence) for sentence in sentences)


def read_reports(path: Path, partial: bool = False) -> Iterator[Report | None]:
    """Every report in the order of its archive; None for a broken one of a source that is known to be partial.

    Raises IndexInvalid that names the first broken report, or says that the archive itself is.
    """
    for name, data in _members(path):
        try:
            yield _parse(data)
        except (ElementTree.ParseError, ValueError) as error:
            if not partial:
                raise IndexInvalid(f"{path}: the report {name} is broken: {error}.") from None
            yield None


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for file in sorted(path.rglob("*.xml")):
            try:
                with file.open("rb") as stream:
                    yield file.name, stream.read(MAX_BYTES + 1)
            except OSError as error:
                raise IndexInvalid(f"{file} cannot be read: {error.strerror or error}.") from None
        return
    try:
        # As a stream: nothing is unpacked, and no name of a member becomes a path.
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".xml"):
                    content = archive.extractfile(member)
                    assert content is not None
                    yield member.name, content.read(MAX_BYTES + 1)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise IndexInvalid(f"{path} cannot be read as an archive of reports: {error}.") from None


def _parse(data: bytes) -> Report:
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("it declares a document type, as no report does")
    root = ElementTree.fromstring(data)  # noqa: S314  (declarations, the way to attack a parser, are refused above)
    uid = root.find("uId")
    if uid is None or not uid.get("id"):
        raise ValueError("it has no uId")
    impression = " ".join(e.text or "" for e in root.iter("AbstractText") if e.get("Label") == "IMPRESSION")
    return Report(
        str(uid.get("id")),
        tuple((e.text or "").strip() for e in root.findall("MeSH/major")),
        " ".join(impression.split()),
        {str(e.get("id")): " ".join((e.findtext("caption") or "").split()) for e in root.findall("parentImage")},
    )
