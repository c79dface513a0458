"""What a file says about its picture, apart from the pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class Facts:
    """Facts of one frame. Width and height are those stored in the file, in pixels; bits are the bits of a sample.

    `view` is one of PA, AP, LATERAL, OBLIQUE, DECUBITUS, or None where nothing tells; `body_part` is the file's own
    word. `study_uid` to `descriptions` may name a person or an examination: they never leave through `public`.
    """

    kind: str
    width: int
    height: int
    bits: int
    photometric: str
    transfer_syntax: str | None = None
    sop_class: str | None = None
    modality: str | None = None
    view: str | None = None
    laterality: str | None = None
    body_part: str | None = None
    age_years: float | None = None
    study_uid: str | None = None
    patient_id: str | None = None
    accession: str | None = None
    study_date: str | None = None  # YYYYMMDD
    descriptions: tuple[str, ...] = ()  # of study, series and protocol, as typed by people

    def public(self) -> dict[str, Any]:
        """What may be shown and stored anywhere: nothing that names a person or a study."""
        return {
            "kind": self.kind,
            "width": self.width,
            "height": self.height,
            "bits": self.bits,
            "photometric": self.photometric,
            "transfer_syntax": self.transfer_syntax,
            "sop_class": self.sop_class,
            "modality": self.modality,
            "view": self.view,
            "laterality": self.laterality,
            "body_part": self.body_part,
            # Ages over 89 identify people (HIPAA safe harbour), so they are one group.
            "age_years": None if self.age_years is None else min(self.age_years, 90),
        }


def plain(text: object) -> str:
    """One line of text that every database and terminal takes: no controls, no lone surrogates, trimmed."""
    return _CONTROLS.sub(" ", str(text)).strip()
