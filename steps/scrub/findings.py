"""Findings in a text: resolving overlaps, protecting what is already replaced, and putting replacements in."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol


class Finding(NamedTuple):
    """Text[start:end] is a value of `entity`; offsets in characters."""

    start: int
    end: int
    entity: str
    score: float
    recognizer: str


class TextDetector(Protocol):
    """Finds values in one text without a model; `detector.Detector` puts several of them together."""

    def find(self, text: str) -> list[Finding]:
        """Findings in any order, overlaps allowed; an exception makes the row undecided."""


class GatedDetector(TextDetector, Protocol):
    """A TextDetector that says what a text must hold."""

    @property
    def conditions(self) -> tuple[str, ...] | None:
        """Short RE2 expressions, one of which matches in every text with a finding; None: nothing is known."""


class Replacement(NamedTuple):
    """Text[start:end] becomes `new`."""

    start: int
    end: int
    new: str


Interval = tuple[int, int]


def resolve(findings: Sequence[Finding]) -> list[Finding]:
    """Non-overlapping findings that cover every found character, in text order.

    Findings that overlap become one over their union, so that no tail of a value stays behind. Its entity is that
    of the longest, then highest-scoring, then alphabetically first one.
    """
    merged: list[Finding] = []
    group: list[Finding] = []
    end = -1
    for finding in sorted(findings):
        if group and finding.start >= end:
            merged.append(_union(group))
            group = []
        group.append(finding)
        end = max(end, finding.end) if len(group) > 1 else finding.end
    if group:
        merged.append(_union(group))
    return merged


def _union(group: list[Finding]) -> Finding:
    best = min(group, key=lambda f: (f.start - f.end, -f.score, f.entity, f.recognizer))
    return best._replace(start=min(f.start for f in group), end=max(f.end for f in group))


def pseudonym_pattern(entities: Collection[str]) -> re.Pattern[str]:
    """Matches what this stage puts in for these entities: `<PERSON_K7Q2M4XA7DTR>` and `<PERSON>`."""
    names = "|".join(sorted(map(re.escape, entities), key=lambda n: (-len(n), n)))
    return re.compile(f"<(?:{names})(?:_[A-Z2-7]{{12}})?>")


def outside(findings: Sequence[Finding], protected: Sequence[Interval], text: str) -> list[Finding]:
    """The parts of findings outside the protected intervals, without outer white space; empty parts vanish."""
    parts: list[Finding] = []
    for finding in findings:
        pieces = [(finding.start, finding.end)]
        for start, end in protected:
            pieces = [p for a, b in pieces for p in ((a, min(b, start)), (max(a, end), b)) if p[0] < p[1]]
        whole = pieces == [(finding.start, finding.end)]
        parts.extend(p for a, b in pieces if (p := _trimmed(finding, a, b, text, whole)) is not None)
    return parts


def _trimmed(finding: Finding, start: int, end: int, text: str, whole: bool) -> Finding | None:
    piece = text[start:end]
    left = start + len(piece) - len(piece.lstrip())
    right = left + len(piece.strip())
    # A remainder of a finding that some replacement cut is worth replacing only when it says something.
    if right <= left or not (whole or any(c.isalnum() for c in piece)):
        return None
    return finding._replace(start=left, end=right)


def replaced(text: str, replacements: Sequence[Replacement]) -> tuple[str, list[Interval]]:
    """The text with the replacements in, and where each of them stands in it. Replacements are in text order."""
    pieces: list[str] = []
    intervals: list[Interval] = []
    at = length = 0
    for r in replacements:
        pieces += [text[at : r.start], r.new]
        length += r.start - at
        intervals.append((length, length + len(r.new)))
        length += len(r.new)
        at = r.end
    return "".join([*pieces, text[at:]]), intervals


def mapped_back(findings: Sequence[Finding], replacements: Sequence[Replacement]) -> list[Finding]:
    """Findings in the replaced text (outside all replacements) as offsets in the text before."""
    back: list[Finding] = []
    for finding in findings:
        shift = 0
        for r in replacements:
            if r.start + shift + len(r.new) > finding.start:
                break
            shift += len(r.new) - (r.end - r.start)
        back.append(finding._replace(start=finding.start - shift, end=finding.end - shift))
    return back
