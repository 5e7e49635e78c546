"""What is to be known of data before anybody trains on it: of one data set, or of two side by side."""

from typing import Literal, TypeAlias

from pydantic import Field

from steps.contracts.evaluation import Estimate
from steps.contracts.reports import Example, Frozen, Histogram, Table

Chapter: TypeAlias = Literal[
    "format", "quality", "duplicates", "label noise", "languages", "lengths", "topics", "diversity", "personal data",
    "content", "contamination",
]  # fmt: skip
# share: of rows (0 to 1), shown in per cent; number: in the figure's own unit.
FigureKind: TypeAlias = Literal["share", "number"]


# Of fewer things a bootstrap's interval says nothing.
FEWEST = 5


class Figure(Frozen):
    """One thing that was counted or measured, of each data set.

    Attributes:
        values: per data set, with its 95 % interval over rows (of a number of fewer than five things that says
            nothing, and isn't shown); None: there was nothing to measure it on.
        difference: the second one minus the first, with its interval; None with one set, or where a value is missing.
        of: what `n` of the values counts: rows, answers, blocks of words.
        by: what found it: a stage, under whose settings, or this report.
        higher: whether more of it is better; None: neither is.
    """

    chapter: Chapter
    name: str
    kind: FigureKind = "share"
    unit: str = ""
    values: tuple[Estimate | None, ...]
    difference: Estimate | None = None
    of: str = "rows"
    by: str
    higher: bool | None = None


class Topic(Frozen):
    """A cluster of rows. `words`: what tells it from the others, most telling first; (): none may be shown, or none
    tells it. `shares`: of the rows of each data set that were looked at; `difference` as in `Figure`.
    """

    words: tuple[str, ...]
    shares: tuple[Estimate | None, ...]
    difference: Estimate | None = None


class GoalVerdict(Frozen):
    """Whether the rows are enough for a goal, by a rule.

    Attributes:
        rows: per data set, those that count: copies count once, unwanted answers and rows without one not at all.
        verdicts: per data set.
        asked: whether the config names this goal.
    """

    goal: str
    teaches: str
    rule: str
    source: str
    rows: tuple[int, ...]
    verdicts: tuple[Literal["enough", "few", "retrieval"], ...]
    asked: bool = False


class DataReport(Frozen):
    """A report on data.

    Attributes:
        sets: names of the one or two data sets; rows: that were read of each.
        looked_at: rows of each whose texts were looked at, a sample where there are more (seeded, by record id).
        goals: the rule held against the rows.
        tables: further counts by chapter.
        examples: rows as evidence; text only after scrub.
        left_out: what wasn't looked at, and what would make it so.
        tokens: what lengths are in.
        digest: of the rows that were read.
    """

    sets: tuple[str, ...] = Field(min_length=1, max_length=2)
    rows: tuple[int, ...]
    looked_at: tuple[int, ...]
    figures: tuple[Figure, ...]
    topics: tuple[Topic, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    tables: dict[Chapter, tuple[Table, ...]] = Field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    goals: tuple[GoalVerdict, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tokens: str
    digest: str
    config_digest: str

    def figure(self, chapter: Chapter, name: str) -> Figure:
        """One of them.

        Raises:
            KeyError: there is none of that name.
        """
        found = [f for f in self.figures if f.chapter == chapter and f.name == name]
        if not found:
            raise KeyError(f"{chapter}: {name}")
        return found[0]
