"""A second look by models at the rows that rules and patterns leave: a classifier or topics, one after the other."""

from collections.abc import Iterator

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.errors import ServiceError
from steps.contracts.ledger import LedgerWriter, Verdict
from steps.contracts.reports import Histogram, StageReport, Table
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.rowwise.undecided import undecided
from steps.screen.config import ScreenConfig
from steps.screen.counters import VERDICTS
from steps.screen.model_findings import ModelFinding, RowModel


class SecondLook:
    """Runs the configured models one after the other, and keeps what the report needs."""

    def __init__(self, config: ScreenConfig, ctx: StageContext) -> None:
        self._config, self._ctx = config, ctx
        keep = ctx.folder / "embeddings" if ctx.keep else None
        self._cache = EmbeddingCache(ctx.cache, ctx.earlier.get("screen_embeddings"), keep)
        self.embeddings = CachedEmbeddings()
        self._counts: dict[str, dict[str, int]] = {}
        self._histograms: list[Histogram] = []
        self._tables: list[Table] = []
        self._notes: list[str] = []
        self._undecided = 0
        # Rows that have a flag already: flagged again, or taken out after all.
        self._not_flagged_anew = 0

    def run(self, dataset: Dataset, keep: Mask, quarantined: Mask, flagged: Mask, lines: LedgerWriter) -> None:
        """Change these masks (shape (rows,)) by what each model says, and write it to the ledger.

        Raises:
            ServiceError: a row is undecided, and the config says fail; or a server doesn't work.
        """
        with self._cache:
            for model in self._models():
                with model:
                    for finding in model.find(dataset, keep.copy()):
                        self._enter(finding, model, keep, quarantined, flagged, lines)
                    found = model.report()
                self._counts[model.name] = found.counts
                self._histograms += found.histograms
                self._tables += found.tables
                self._notes += found.notes
            self.embeddings = self._cache.write()
        if self._counts:
            self._notes += self._cache.notes()

    def _enter(
        self, finding: ModelFinding, model: RowModel, keep: Mask, quarantined: Mask, flagged: Mask, lines: LedgerWriter
    ) -> None:  # fmt: skip
        verdict = self._verdict(finding, model)
        lines.add(finding.record_id, verdict, finding.reason, score=finding.score, evidence=finding.evidence)
        keep[finding.number] = verdict in ("flagged", "undecided")
        quarantined[finding.number] = verdict == "quarantined"
        self._not_flagged_anew += bool(flagged[finding.number]) and verdict != "undecided"
        flagged[finding.number] = verdict == "flagged" or (flagged[finding.number] and verdict == "undecided")

    def _models(self) -> Iterator[RowModel]:
        if self._config.classifiers:
            from steps.screen.classifiers import Classifier

            yield from (Classifier(c, self._ctx, self._cache) for c in self._config.classifiers)
        if self._config.topics is not None:
            from steps.screen.topics import Topics

            yield Topics(self._config.topics, self._ctx, self._cache)

    def _verdict(self, finding: ModelFinding, model: RowModel) -> Verdict:
        if finding.undecided is None:
            assert finding.action is not None
            return VERDICTS[finding.action]
        verdict = undecided(
            model.undecided,
            lambda: ServiceError(
                f"no answer on row {finding.record_id}: {finding.undecided}",
                where=f"screen: {model.name}",
                hint="set its `undecided` to keep, drop or quarantine",
            ),
        )
        self._undecided += 1
        return verdict

    def in_report(self, report: StageReport) -> StageReport:
        """The stage's report with what the models found."""
        if not self._counts:
            return report
        return report.model_copy(
            update={
                "undecided": report.undecided + self._undecided,
                "flagged": report.flagged - self._not_flagged_anew,
                "counts": {**report.counts, **self._counts},
                "histograms": (*report.histograms, *self._histograms),
                "tables": (*report.tables, *self._tables),
                "notes": (*report.notes, *self._notes),
            }
        )
