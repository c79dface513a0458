"""What a reader may note beside a verdict: a short list. Its words are stored; none is ever given another meaning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cxrscreen.errors import UsageError


@dataclass(frozen=True)
class Finding:
    word: str  # as it is stored and exported
    title: str
    key: str  # of the keyboard, on the study page


# Terms of the Fleischner glossary (Bankier et al., Radiology 310, 2024) where it has one.
FINDINGS = (
    Finding("ground-glass", "Ground glass", "g"),
    Finding("consolidation", "Consolidation", "a"),  # air space
    Finding("effusion", "Effusion", "e"),
    Finding("pneumothorax", "Pneumothorax", "x"),
    Finding("nodule-mass", "Nodule, mass", "m"),
    Finding("device-line", "Device, line", "d"),
    Finding("poor-quality", "Poor quality", "q"),
    Finding("other", "Other", "t"),
)
TITLES = {finding.word: finding.title for finding in FINDINGS}


def read(words: Iterable[str]) -> list[str]:
    """The words in the order of the list, each once. Raises UsageError for one that is not in it."""
    said = set(words)
    if unknown := said - TITLES.keys():
        raise UsageError(f"{sorted(unknown)[0][:40]!r} is no finding of the list: it has {', '.join(TITLES)}.")
    return [finding.word for finding in FINDINGS if finding.word in said]
