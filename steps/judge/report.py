"""The judge's report, counted row by row."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from steps.contracts.digests import value_digest
from steps.contracts.records import Row
from steps.contracts.reports import ChapterOfJudge, Example, Histogram, StageReport, Table, of_chapter
from steps.engines.progress.progress import Stopwatch
from steps.engines.rubric.case import CRITERIA, DOCUMENT_CRITERIA, Criterion, Score
from steps.judge.backend import Judge
from steps.judge.biases.biases import Biases
from steps.judge.biases.scale import nearest
from steps.judge.config import JudgeConfig
from steps.judge.deciding import compared, keeps
from steps.judge.jury import JurorsTally
from steps.judge.sources import SourceSignals
from steps.judge.undecided import UndecidedRows
from steps.judge.verdict import MAX_SCORE, JudgeVerdict

_BINS = 16
_EXAMPLES_PER_REASON = 3
_EXAMPLE_REASONS = 12
_MOST_DETAILS = 100
_SHOWN_DETAILS = 20


class Tally:
    """Counts of a judge run; memory is bounded whatever the number of rows."""

    def __init__(self, config: JudgeConfig, scrubbed: bool, criteria: Sequence[Criterion] = CRITERIA) -> None:
        """criteria: those of the backend; scrubbed: personal data is gone, so that examples may show text."""
        self.config, self._scrubbed = config, scrubbed
        self._sources = SourceSignals()
        self.rows = 0
        self.outcomes: Counter[str] = Counter()
        # reason code -> rows, for each of dropped, quarantined and flagged
        self.reasons: dict[str, Counter[str]] = {"dropped": Counter(), "quarantined": Counter(), "flagged": Counter()}
        self.undecided: Counter[str] = Counter()
        self.undecided_details: Counter[str] = Counter()
        self.scores: dict[str, Counter[Score]] = {c: Counter() for c in criteria}
        self.signals: Counter[str] = Counter()
        self._bins = [0] * _BINS
        self._jurors = JurorsTally(partial(keeps, config))
        # What is counted of models that judge, which have habits.
        self._biases = None if config.backend in ("heuristic", "classifier") else Biases(config)
        # Pairs whose rejected answer was judged, by which one is better.
        self._pairs: Counter[str] = Counter()
        self._splits: dict[str, list[float]] = {}
        self._examples: dict[str, list[Example]] = {}

    def add(
        self, row: Row, verdict: JudgeVerdict, outcome: str, reason: str | None, excerpt: str, chars: int = 0
    ) -> None:
        """Count one row; of it are read record_id, source, locator, label and split, where a model judges content_id
        and meta as well. chars: of what was judged.
        """
        if self._biases is not None:
            self._biases.add(row, verdict, excerpt if self._scrubbed else "", chars)
        self.rows += 1
        self.outcomes[outcome] += 1
        if verdict.members:
            self._jurors.add(verdict.members)
        if verdict.rejected_error is not None:
            self._pairs[f"rejected undecided: {verdict.rejected_error}"] += 1
        elif verdict.rejected_share is not None and verdict.share is not None:
            self._pairs[compared(verdict.share, verdict.rejected_share)] += 1
        if verdict.share is None:
            self.undecided[str(verdict.error)] += 1
            detail = f"{verdict.error}: {verdict.error_detail}"
            if detail in self.undecided_details or len(self.undecided_details) < _MOST_DETAILS:
                self.undecided_details[detail] += 1
        else:
            self._add_scores(row, verdict, verdict.share)
        if reason is None:
            return
        if outcome in self.reasons:
            self.reasons[outcome][reason] += 1
        elif verdict.share is not None:
            self.reasons["flagged"][reason] += 1
        self._show(row, verdict, reason, excerpt)

    def add_sources(self, sources: pa.ChunkedArray) -> None:
        """Count the rows of each source, whatever is said about them."""
        self._sources.add_rows(sources)

    def add_silent(self, rows: pa.Table) -> None:
        """Count rows with full scores and no reason, by fixed signals."""
        if not rows.num_rows:
            return
        kinds = Counter(rows["kind"].to_pylist())
        self.rows += rows.num_rows
        self.outcomes["kept"] += rows.num_rows
        for criterion in CRITERIA:
            judged = rows.num_rows - (kinds["document"] if criterion not in DOCUMENT_CRITERIA else 0)
            self.scores[criterion].update({MAX_SCORE: judged} if judged else {})
        self._bins[-1] += rows.num_rows
        for split, count in Counter(rows["split"].to_pylist()).items():
            total = self._splits.setdefault(split or "(none)", [0, 0.0])
            total[0] += count
            total[1] += count

    def _add_scores(self, row: Row, verdict: JudgeVerdict, share: float) -> None:
        for criterion, score in verdict.scores.items():
            self.scores[criterion][round(score, 2)] += 1
        # Shares run from 0.2 to 1.0 in steps of 1/20 (1/15 for documents).
        self._bins[min(int((share - 0.2) / 0.8 * _BINS + 1e-9), _BINS - 1)] += 1
        total = self._splits.setdefault(row["split"] or "(none)", [0, 0.0])
        total[0] += 1
        total[1] += share
        fired = {signal for criterion in verdict.scores for signal in verdict.signals(criterion)}
        self.signals.update(fired)
        # An answer that is labelled as unwanted stays, whatever signals say.
        if row["label"] is not False:
            self._sources.add(row, fired)

    def _show(self, row: Row, verdict: JudgeVerdict, reason: str, excerpt: str) -> None:
        if reason not in self._examples and len(self._examples) >= _EXAMPLE_REASONS:
            return
        shown = self._examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES_PER_REASON:
            evidence: dict[str, Any] = {
                "scores": dict(verdict.scores),
                "reasons": {c: r[:200] for c, r in verdict.reasons.items() if r},
            }
            if verdict.share is None:
                evidence = {"why": verdict.error_detail} if verdict.error_detail else {}
            text = excerpt if self._scrubbed else ""
            part: ChapterOfJudge = "undecided" if verdict.share is None and self._biases is not None else ""
            shown.append(Example(record_id=row["record_id"], reason=reason, text=text, evidence=evidence, chapter=part))

    def report(self, backend: Judge, unjudged: UndecidedRows, watch: Stopwatch) -> StageReport:
        """The finished report."""
        b = self._biases
        said = (f"What the model said about rows without a verdict is in {unjudged.location}, by record_id.",)
        counts = {"pairs by the better answer": dict(self._pairs)} if self._pairs else {}
        counts |= {"undecided by reason": dict(self.undecided), "signals": dict(self.signals.most_common())}
        counts |= {name: dict(counter) for name, counter in backend.counts().items()}
        return StageReport(
            stage="judge",
            rows_in=self.rows,
            kept=self.outcomes["kept"],
            dropped=self.outcomes["dropped"],
            quarantined=self.outcomes["quarantined"],
            flagged=self.reasons["flagged"].total(),
            undecided=self.undecided.total(),
            dropped_by=dict(self.reasons["dropped"].most_common()),
            quarantined_by=dict(self.reasons["quarantined"].most_common()),
            flagged_by=dict(self.reasons["flagged"].most_common()),
            counts={name: by for name, by in counts.items() if by},
            histograms=(self._histogram(),),
            tables=(*self._tables(), *backend.tables()),
            examples=(*(e for some in self._examples.values() for e in some), *(b.examples() if b else ())),
            warnings=(
                *backend.warnings(),
                *(b.warnings(self.scores) if b else ()),
                *self._sources.warnings(self.config.signals),
            ),
            notes=(*backend.notes(), *(said if unjudged.rows else ())),
            config_digest=value_digest(self.config.model_dump(mode="json")),
            seconds=watch.seconds,
            cpu_seconds=watch.cpu_seconds,
        )

    def _tables(self) -> tuple[Table, ...]:
        scores, agreement = (self._criteria(), self._by_split()), self._jurors.tables()
        if self._biases is None:
            return (*scores, *agreement)
        return (
            *of_chapter("scores", scores), *of_chapter("agreement", agreement), *self._biases.tables(self.scores),
            *self._without_verdict(),
        )  # fmt: skip

    def _without_verdict(self) -> tuple[Table, ...]:
        if not self.undecided:
            return ()
        rows = tuple((detail, n) for detail, n in self.undecided_details.most_common(_SHOWN_DETAILS))
        return (Table(title="Rows without a verdict", columns=("why", "rows"), rows=rows, chapter="undecided"),)

    def _histogram(self) -> Histogram:
        edges = tuple(round(0.2 + 0.8 * i / _BINS, 6) for i in range(_BINS + 1))
        return Histogram(title="Score share", unit="mean score / 5", edges=edges, counts=tuple(self._bins))

    def _criteria(self) -> Table:
        rows = []
        for criterion, by in self.scores.items():
            n = by.total()
            mean = round(sum(s * k for s, k in by.items()) / n, 3) if n else None
            whole = nearest(by)
            rows.append((criterion, n, mean, *(whole[s] for s in range(1, MAX_SCORE + 1))))
        columns = ("criterion", "rows", "mean", "1", "2", "3", "4", "5")
        return Table(title="Scores per criterion", columns=columns, rows=tuple(rows))

    def _by_split(self) -> Table:
        rows = tuple((split, int(n), round(total / n, 4)) for split, (n, total) in sorted(self._splits.items()))
        return Table(title="Mean share per split", columns=("split", "rows", "mean share"), rows=rows)
