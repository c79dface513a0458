"""Why a file is not screened: a fixed list, each with a sentence for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self


class Reason(StrEnum):
    # the file
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    NO_IMAGE = "no_image"
    DAMAGED = "damaged"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    TOO_LARGE = "too_large"
    # the archive
    ARCHIVE_DAMAGED = "archive_damaged"
    ARCHIVE_ENCRYPTED = "archive_encrypted"
    ARCHIVE_UNSUPPORTED = "archive_unsupported"
    ARCHIVE_TOO_DEEP = "archive_too_deep"
    ARCHIVE_TOO_MANY = "archive_too_many"
    BOMB = "bomb"
    UNSAFE_NAME = "unsafe_name"
    LINK = "link"
    # the picture
    NOT_RADIOGRAPH = "not_radiograph"
    NOT_CHEST = "not_chest"
    NOT_FRONTAL = "not_frontal"
    COLOUR = "colour"
    TOO_YOUNG = "too_young"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    # the model
    UNLIKE_TRAINING = "unlike_training"
    # ours: these end as `failed`, not as `rejected`
    QUARANTINED = "quarantined"
    ORIGINAL_MISSING = "original_missing"
    INTERNAL = "internal"


SENTENCES: dict[Reason, str] = {
    Reason.EMPTY: "The file has no bytes.",
    Reason.UNREADABLE: "The file could not be opened; check its permissions.",
    Reason.NO_IMAGE: "The file holds no image.",
    Reason.DAMAGED: "The file is damaged or cut short, so its pixels cannot be trusted.",
    Reason.UNSUPPORTED_ENCODING: "The image is stored in an encoding that is not supported.",
    Reason.TOO_LARGE: "The file is larger than the configured limit.",
    Reason.ARCHIVE_DAMAGED: "The archive is damaged or cut short; its readable members were taken.",
    Reason.ARCHIVE_ENCRYPTED: "The archive member is encrypted; upload it without a password.",
    Reason.ARCHIVE_UNSUPPORTED: "The archive uses a format or compression that is not supported.",
    Reason.ARCHIVE_TOO_DEEP: "Archives stand too deep inside one another.",
    Reason.ARCHIVE_TOO_MANY: "The archive has more members than the configured limit.",
    Reason.BOMB: "The archive unpacks to far more than its size allows for.",
    Reason.UNSAFE_NAME: "The name points outside the archive.",
    Reason.LINK: "A device, or a link that is not followed; not a file.",
    Reason.NOT_RADIOGRAPH: "Not a radiograph: another kind of examination.",
    Reason.NOT_CHEST: "A radiograph of another part of the body.",
    Reason.NOT_FRONTAL: "Not a frontal view; only frontal chest radiographs are scored.",
    Reason.COLOUR: "A colour picture; radiographs are grey.",
    Reason.TOO_YOUNG: "The patient is younger than those that the model was made for, so the picture is not scored.",
    Reason.TOO_SMALL: "The picture is too small to be read.",
    Reason.BLANK: "The picture is blank or of one tone.",
    Reason.UNLIKE_TRAINING: "The picture is unlike anything the model was trained on, so it is not scored.",
    Reason.QUARANTINED: "Reading this file stopped the worker again and again; it is kept aside.",
    Reason.ORIGINAL_MISSING: "The stored file is missing or was changed since it was read.",
    Reason.INTERNAL: "Something went wrong on our side; try the job again.",
}


def sentence(reason: str) -> str:
    """The sentence for people; an unknown reason stands for itself."""
    return SENTENCES[Reason(reason)] if reason in Reason._value2member_map_ else reason


class Rejected(Exception):
    """The input's fault: carried from wherever it is found to the entry's row."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or SENTENCES[reason])
        self.reason = reason
        self.detail = detail

    def bare(self) -> Self:
        """The same without the frames it came through, which hold a file's bytes and pixels as long as it is kept."""
        return type(self)(self.reason, self.detail)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.detail)  # as an exception's text alone makes none


def first_line(error: Exception) -> str:
    """What a library's error says, short enough for a table; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
