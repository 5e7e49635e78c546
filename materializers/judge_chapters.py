"""What reports say of a model that judges, ordered by chapter for their views."""

from collections.abc import Sequence
from dataclasses import dataclass

from steps.contracts.reports import ChapterOfJudge, Example, StageReport, Table

_TITLES: dict[ChapterOfJudge, str] = {
    "scores": "Scores",
    "agreement": "Agreement",
    "biases": "Habits of the judge",
    "undecided": "Rows without a verdict",
    "spend": "Spend",
}


@dataclass(frozen=True)
class PartOfJudge:
    """What a chapter shows: tables, and examples by what they are examples of."""

    title: str
    tables: tuple[Table, ...]
    examples: tuple[Example, ...]


def chapters_of_judge(reports: Sequence[StageReport], more: Sequence[Table] = ()) -> list[PartOfJudge]:
    """In order; those with nothing in them are left out. `more`: tables that no stage's report has."""
    found = []
    for name, title in _TITLES.items():
        tables = tuple(t for t in (*(t for r in reports for t in r.tables), *more) if t.chapter == name)
        examples = tuple(e for r in reports for e in r.examples if e.chapter == name)
        if tables or examples:
            found.append(PartOfJudge(title, tables, examples))
    return found


def judging(reports: Sequence[StageReport]) -> list[StageReport]:
    """Those that say something of a judge."""
    return [r for r in reports if chapters_of_judge([r])]
