"""All that was ever evaluated, by task: who did best on the very same rows, graded the same way.

Evaluations are those of runs, read from their stores, and those that `assay compare` kept. Two stand on one board where
task, version of its grading and digest of its rows are equal; a model stands on it once, by its newest evaluation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ops.measured import all_kept, kept_folder
from ops.run_index import artifacts_of, load_runs
from steps.contracts.errors import AssayError
from steps.contracts.evaluation import EvalReport, Metric
from steps.contracts.reports import Table
from steps.engines.scoring.metrics import HELD_OUT

# What a board is sorted by, where nobody says: the first that its task has.
DECISIVE = (
    "field_accuracy", "exact_match", "rouge_l", "accuracy", "recalled", "numeric", "answered_unanswerable",
    "canary_leaked", "refused", "style", "bias_gap", "preference_accuracy", "perplexity", "loss",
)  # fmt: skip
_SHORT = 12


@dataclass(frozen=True)
class Entry:
    """A model on a board: what it is called, its digest, where and when it was measured (a run, "compare")."""

    name: str
    digest: str
    where: str
    when: str
    metric: Metric


@dataclass(frozen=True)
class Board:
    """A task on the same rows, best first."""

    task: str
    version: str
    data_digest: str
    metric: str
    rows: int
    entries: tuple[Entry, ...]

    @property
    def table(self) -> Table:
        """One line per model."""
        return Table(
            title=f"{self.task}: {self.metric.replace('_', ' ')} on {self.rows:,} rows ({self.data_digest[:_SHORT]}),"
            " 95 % intervals",
            columns=("model", self.metric.replace("_", " "), "from", "measured in", "weights"),
            rows=tuple((e.name, _shown(e.metric), e.when[:16].replace("T", " "), e.where, e.digest[:_SHORT])
                       for e in self.entries),
        )  # fmt: skip


def boards(root: Path, task: str | None, metric: str | None) -> tuple[list[Board], list[str]]:
    """All boards with at least one model, held-out rows first, and what couldn't be read.

    Args:
        task: only boards of this task. metric: what they are sorted by; a task without it is left out.
    """
    unread: list[str] = []
    found: dict[tuple[str, str, str], list[tuple[EvalReport, str, str]]] = {}
    for report, where, when in sorted(_evaluations(root, unread), key=lambda found: found[2], reverse=True):
        for result in report.tasks:
            if task in (None, result.task):
                found.setdefault((result.task, result.version, result.data_digest), []).append((report, where, when))
    made = [board for key, reports in found.items() if (board := _board(key, reports, metric))]
    return sorted(made, key=lambda b: (b.task != HELD_OUT, b.task, -len(b.entries), b.data_digest)), unread


def _evaluations(root: Path, unread: list[str]) -> Iterator[tuple[EvalReport, str, str]]:
    """Reports with where and when they were made."""
    for report, when in all_kept(kept_folder(root), unread.append):
        yield report, "assay compare", when
    for run in load_runs(root, lambda file, why: unread.append(f"{file}: {why}")):
        store = artifacts_of(root, run)
        for artifact in run.of_type("eval_report"):
            try:
                yield store.value(artifact, EvalReport), run.name, run.started
            except AssayError as e:
                unread.append(f"{run.name}, {artifact.name}: {e.what}")


def _board(key: tuple[str, str, str], reports: list[tuple[EvalReport, str, str]], metric: str | None) -> Board | None:
    results = [(r, w, t, next(x for x in r.tasks if (x.task, x.version, x.data_digest) == key)) for r, w, t in reports]
    names = {m.name for *_, result in results for m in result.metrics}
    chosen = metric if metric in names else next((m for m in DECISIVE if metric is None and m in names), None)
    if chosen is None:
        return None
    entries: dict[str, Entry] = {}
    for report, where, when, result in results:
        value = next((m for m in result.metrics if m.name == chosen), None)
        if value is not None and report.model_digest not in entries:
            entries[report.model_digest] = Entry(report.subject, report.model_digest, where, when, value)
    ordered = sorted(entries.values(), key=lambda e: (-_goodness(e.metric), e.digest))
    return Board(*key, chosen, results[0][3].n, tuple(ordered))


def _goodness(metric: Metric) -> float:
    value = metric.estimate.value
    return value if metric.higher_is_better else -value if metric.higher_is_better is False else -abs(value)


def _shown(metric: Metric) -> str:
    e = metric.estimate
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"
