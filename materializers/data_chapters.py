"""The data report, ordered by chapter for its view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from steps.contracts.data_report import Chapter, DataReport, Figure, Topic
from steps.contracts.humanize import number
from steps.contracts.reports import Example, Histogram, Table


@dataclass(frozen=True)
class ChapterOfData:
    """What a chapter shows."""

    title: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...] = ()
    topics: tuple[Topic, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    examples: tuple[Example, ...] = ()


def chapters_of(report: DataReport) -> list[ChapterOfData]:
    """In the order of `Chapter`; those with nothing in them are left out."""
    found = []
    for name in get_args(Chapter):
        chapter = ChapterOfData(
            name[:1].upper() + name[1:],
            tuple(f for f in report.figures if f.chapter == name),
            report.tables.get(name, ()),
            report.topics if name == "topics" else (),
            report.histograms if name == "lengths" else (),
            report.examples if name == "label noise" else (),
        )
        if chapter.figures or chapter.tables or chapter.topics or chapter.histograms:
            found.append(chapter)
    return found


def counted(figure: Figure) -> str:
    """How many things each value is of: '7,473 rows', '120 and 80 answers'."""
    counts: Sequence[str] = [f"{0 if v is None else v.n:,}" for v in figure.values]
    return f"{' and '.join(counts)} {figure.of}"


def points(share: float) -> str:
    """A difference of shares: '+1.2 points'."""
    return f"{_signed(f'{100 * share:+.1f}')} points"


def signed(value: float) -> str:
    """A difference of numbers, with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


def _signed(text: str) -> str:
    """Without a sign where rounding leaves nothing."""
    return text[1:] if float(text) == 0 else text
