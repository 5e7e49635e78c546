"""What annotators said about rows in another program, and what follows where several spoke of one row."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts.digests import canonical_json
from steps.contracts.records import Row

CHOICES = ("accept", "edit", "drop")


@dataclass(frozen=True)
class Vote:
    """One annotator's answer about one row.

    Attributes:
        run, record_id, content_id: of the row, as it was exported.
        choice: accept, edit, drop; "": none, only a rating.
        content: the row's content as the annotator left it, JSON; None: they had none to change.
        rating: 1 to 5; None: not given.
        when: as the program wrote it; "" where it didn't.
        place: where in the file it stands, for errors.
    """

    run: str
    record_id: str
    content_id: str
    by: str
    choice: str
    content: Any = None
    why: str = ""
    rating: float | None = None
    when: str = ""
    place: str = ""


@dataclass(frozen=True)
class Merged:
    """The answer of most annotators about one row; `choice` is "" where they disagree, and `why` says how."""

    record_id: str
    content_id: str
    choice: str
    by: str
    why: str
    content: Any = None
    votes: tuple[Vote, ...] = ()


def merged(votes: Iterable[Vote], least: int) -> list[Merged]:
    """One answer per row, by most votes: more than half of those who decided. Each annotator's last vote counts.

    `least`: annotators that must have decided.
    """
    by_row: dict[tuple[str, str], dict[str, Vote]] = {}
    for vote in votes:
        if vote.choice:
            by_row.setdefault((vote.record_id, vote.content_id), {})[vote.by] = vote
    return [_of_row(key, tuple(of[by] for by in sorted(of)), least) for key, of in sorted(by_row.items())]


def _of_row(key: tuple[str, str], votes: tuple[Vote, ...], least: int) -> Merged:
    counts = Counter(v.choice for v in votes)
    said = ", ".join(f"{choice} {counts[choice]}" for choice in CHOICES if counts[choice])
    choice, times = counts.most_common(1)[0]
    if len(votes) < least:
        return Merged(*key, "", "", f"{len(votes)} of {least} annotators decided ({said})", votes=votes)
    if 2 * times <= len(votes):
        return Merged(*key, "", "", f"annotators disagree: {said}", votes=votes)
    of_most = [v for v in votes if v.choice == choice]
    contents = {canonical_json(v.content): v.content for v in of_most} if choice == "edit" else {}
    if len(contents) > 1:
        return Merged(*key, "", "", f"annotators edited it in {len(contents)} ways", votes=votes)
    names = ", ".join(v.by for v in of_most)
    by = f"{names} ({times} of {len(votes)})" if len(votes) > 1 else names
    why = "; ".join(dict.fromkeys(v.why for v in of_most if v.why))
    return Merged(*key, choice, by, why, next(iter(contents.values()), None), votes)


def ratings(votes: Sequence[Vote], rows: dict[str, Row]) -> list[tuple[Row, Vote]]:
    """The votes with a rating, with their rows by record id."""
    return [(rows[v.record_id], v) for v in votes if v.rating is not None and v.record_id in rows]
