"""The rows of one run: its ledgers, and its rows as they were last."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from materializers.artifacts import Artifacts, is_quarantine
from ops.run_index import artifacts_of
from steps.contracts.dataset import Dataset
from steps.contracts.records import Row
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.engines.rows.by_id import rows_of


@dataclass
class Rows:
    """The ledgers and dataset versions of one run, opened when they are needed."""

    store: Artifacts
    run: RunRecord
    _opened: dict[str, Dataset] = field(default_factory=dict)

    def texts(self, record_ids: Sequence[str], raw: bool) -> dict[str, Row]:
        """The rows as they were last, as scrubbed versions have them; with `raw` as others do where none has."""
        clean = self._clean_rows(record_ids)
        return {**(self._raw_rows([i for i in record_ids if i not in clean]) if raw else {}), **clean}

    def ledger_files(self, step: str | None = None) -> list[str]:
        """The ledgers of the run, or of one step."""
        return [str(self.store.ledger(a).path) for a in self.run.of_type("ledger") if step in (None, a.step)]

    def _open(self, artifact: ArtifactRecord) -> Dataset:
        if artifact.uri not in self._opened:
            self._opened[artifact.uri] = self.store.dataset(artifact)
        return self._opened[artifact.uri]

    def _clean_versions(self) -> list[ArtifactRecord]:
        """Versions whose rows went through scrub, latest first; none when the run has no scrub."""
        versions = self.run.of_type("dataset")
        scrubbed = [
            i
            for i, a in enumerate(versions)
            if self.store.manifest(a).stage == "scrub" and not is_quarantine(a)
        ]  # fmt: skip
        if not scrubbed:
            return []
        later = [a for i, a in enumerate(versions) if i >= scrubbed[0]]
        return [a for a in reversed(later) if not (self.store.manifest(a).stage == "scrub" and is_quarantine(a))]

    def _clean_rows(self, record_ids: Sequence[str]) -> dict[str, Row]:
        return self._rows_in(self._clean_versions(), record_ids)

    def _raw_rows(self, record_ids: Sequence[str]) -> dict[str, Row]:
        return self._rows_in(self.run.of_type("dataset"), record_ids)

    def _rows_in(self, versions: Sequence[ArtifactRecord], record_ids: Sequence[str]) -> dict[str, Row]:
        """By id, each row as the first of these versions that has it."""
        found: dict[str, Row] = {}
        for artifact in versions:
            missing = [i for i in record_ids if i not in found]
            if missing:
                found |= rows_of(self._open(artifact), missing)
        return found


def row_of(dataset: Dataset, record_id: str) -> Row | None:
    """The row with that id in a version; only rows that belong to the version are seen."""
    return rows_of(dataset, [record_id]).get(record_id)


def open_rows(root: Path, run: RunRecord) -> Rows:
    """The rows of a run."""
    return Rows(artifacts_of(root, run), run)
