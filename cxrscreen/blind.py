"""Draws that can be repeated: which cases are read without the model's answer, where they stand, which two people read.

Each draw is a keyed hash of the study's key: the same on every machine and after every rescreening, and not to be
guessed from a page. Why cases are drawn: docs/decisions/0017-cases-read-blind.md.
"""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy import ColumnElement, and_

from cxrscreen.settings import get_settings
from cxrscreen.tables import Draw, StudyResult


def draw(key: str, score: float, threshold: float) -> Draw | None:
    """Whether a study is read without the model's answer: a share of what is not flagged, and one of what is."""
    settings = get_settings()
    place = _fraction("hidden", key)
    if score < threshold:
        return Draw.SAMPLE if place < settings.sample_share else None
    return Draw.MASKED if place < settings.masked_share else None


def queue(key: str, score: float, threshold: float, drawn: Draw | None, *, read: bool) -> float:
    """Where a study stands in the reading list, whose order is that of scores.

    A hidden case stands anywhere from the threshold up, whatever its score, so that its place tells nothing. Once it is
    read it stands by its score; one that was not flagged stays at the threshold, in sight: it may be a miss.
    """
    if drawn is None or (read and drawn is Draw.MASKED):
        return score
    return max(score, threshold) if read else threshold + (1 - threshold) * _fraction("place", key)


def hidden() -> ColumnElement[bool]:
    """That the model's answer on a row of `study_results` is not to be shown yet."""
    return and_(StudyResult.draw.is_not(None), StudyResult.verdict.is_(None))


def wants_two(key: str) -> bool:
    """Whether two people read a study; hidden cases are drawn at the same rate, so that this tells nothing either."""
    return _fraction("two", key) < get_settings().second_readings


def _fraction(purpose: str, key: str) -> float:
    """From 0 up to 1, evenly over the keys, and for each purpose anew."""
    secret = get_settings().pseudonym_secret().encode()
    return int.from_bytes(hmac.digest(secret, f"{purpose}:{key}".encode(), hashlib.sha256)[:6]) / 2**48
