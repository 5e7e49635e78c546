"""What a stage says about itself. One typed report per stage; ZenML metadata, HTML and the terminal show it."""

from collections.abc import Iterable
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """Base of every report and config: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Histogram(Frozen):
    """Counts per bin: `edges` has one value more than `counts`; bins are [edge, next edge), the last one closed."""

    title: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Series(Frozen):
    """A line: y over x, for example loss over optimizer steps."""

    title: str
    x_label: str
    y_label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


# What of a judge's report a table or an example belongs to, in the order of the page; "": to none of them.
ChapterOfJudge: TypeAlias = Literal["", "scores", "agreement", "biases", "undecided", "spend"]


class Table(Frozen):
    """A small table to show; cells are text or numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    chapter: ChapterOfJudge = ""


class Example(Frozen):
    """One row shown as evidence. `text` is cut to 300 characters, and never holds a raw PII value."""

    record_id: str
    reason: str
    text: str
    evidence: dict[str, Any] = Field(default_factory=dict)
    chapter: ChapterOfJudge = ""


def of_chapter(chapter: ChapterOfJudge, tables: Iterable[Table]) -> tuple[Table, ...]:
    """The tables as part of a chapter."""
    return tuple(table.model_copy(update={"chapter": chapter}) for table in tables)


class StageReport(Frozen):
    """Counts, distributions and evidence of one stage.

    The books balance: rows_in + created = kept + dropped + quarantined. Changed, flagged and undecided count
    rows among the kept ones (undecided rows are counted where the config's policy put them, and here as well).
    """

    stage: str
    rows_in: int
    created: int = 0
    kept: int
    dropped: int = 0
    quarantined: int = 0
    changed: int = 0
    flagged: int = 0
    undecided: int = 0
    # reason code -> rows, per outcome; a row counts once per outcome, under its first reason.
    dropped_by: dict[str, int] = Field(default_factory=dict)
    quarantined_by: dict[str, int] = Field(default_factory=dict)
    flagged_by: dict[str, int] = Field(default_factory=dict)
    # anything countable that is worth showing: entity -> findings, format -> rows ...
    counts: dict[str, dict[str, int]] = Field(default_factory=dict)
    histograms: tuple[Histogram, ...] = ()
    series: tuple[Series, ...] = ()
    tables: tuple[Table, ...] = ()
    examples: tuple[Example, ...] = ()
    # what a person should look at before the result is used; also printed at the end of a run
    warnings: tuple[str, ...] = ()
    # plain sentences that a reader must know: "NER is off: no model named"
    notes: tuple[str, ...] = ()
    config_digest: str
    # wall-clock and CPU seconds (user + system, workers included) of the stage's logic
    seconds: float
    cpu_seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows read per wall-clock second; 0.0 when the stage took no measurable time."""
        return self.rows_in / self.seconds if self.seconds > 0 else 0.0

    def balanced(self) -> Self:
        """The report itself. Raises AssertionError when its counts don't balance: the stage lost or invented a row."""
        total = self.kept + self.dropped + self.quarantined
        if self.rows_in + self.created != total:
            raise AssertionError(
                f"stage {self.stage}: {self.rows_in} in + {self.created} created != {self.kept} kept"
                f" + {self.dropped} dropped + {self.quarantined} quarantined"
            )
        for name, total, parts in (
            ("dropped", self.dropped, self.dropped_by),
            ("quarantined", self.quarantined, self.quarantined_by),
        ):
            if sum(parts.values()) != total:
                raise AssertionError(f"stage {self.stage}: {name}: {total} rows, but {sum(parts.values())} by reason")
        return self


def rows_of(report: StageReport) -> str:
    """'60 rows in, 160 created, 160 kept': created rows (chunks) stand beside those read, never among them."""
    created = f", {report.created:,} created" if report.created else ""
    return f"{report.rows_in:,} rows in{created}, {report.kept:,} kept"
