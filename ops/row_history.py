"""One row's way through a run: what every ledger says about it, and its text from a scrubbed version only."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import yaml

from materializers.artifacts import Artifacts, going_on, is_quarantine, stage_of
from ops.run_index import artifacts_of, config_path, known_runs
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputNotFoundError, ServiceError
from steps.contracts.models import ModelInfo
from steps.contracts.records import Row, text_of
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.train.phase_rows import PhaseRows

# Chosen: enough to recognise a row.
EXCERPT = 300
_MOST_HITS = 50
_ENDS = ("dropped", "quarantined")


@dataclass(frozen=True)
class Line:
    """One ledger line."""

    stage: str
    verdict: str
    reason: str
    score: float | None
    evidence: dict[str, Any]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class AtStage:
    """One stage of the way. `verdict` is "passed" where the ledger has no line, "not reached" after the end, "not read"
    where a phase of training takes other rows.
    """

    stage: str
    verdict: str
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class RowHistory:
    """Everything known about one row.

    Attributes:
        fate: "kept", or what ended it ("dropped by dedup: near").
        split: its split in the last version; None when it isn't there or wasn't split.
        text: excerpt from a scrubbed version; None when the row never got there.
        hidden: there is text, but only unscrubbed.
        children: rows that were made from it, as (record_id, stage).
    """

    record_id: str
    source: str
    locator: str
    stages: tuple[AtStage, ...]
    fate: str
    split: str | None
    text: str | None
    hidden: bool
    children: tuple[tuple[str, str], ...] = ()


@dataclass
class Rows:
    """The ledgers and dataset versions of one run, opened when they are needed."""

    store: Artifacts
    run: RunRecord
    phases: Mapping[str, PhaseRows] = field(default_factory=dict)
    _opened: dict[str, Dataset] = field(default_factory=dict)

    def find(self, query: str) -> list[str]:
        """Record ids that begin with `query` (when it looks like an id), else those of rows whose text holds it."""
        by_id = self._ids(query.lower()) if is_id(query) else []
        return by_id or self._search(query)

    def history(self, record_id: str, raw: bool) -> RowHistory:
        """The way of one row. With `raw`, an unscrubbed excerpt is shown when there is no scrubbed one."""
        lines = self.lines(record_id)
        clean, split = self._clean_row(record_id)
        not_read = {stage for stage, rows in self.phases.items() if clean is not None and not _takes(rows, clean)}
        stages = tuple(self._stages(lines, not_read))
        unscrubbed = None if clean is not None else self._raw_row(record_id)
        shown = clean or (unscrubbed if raw else None)
        known = clean or unscrubbed or {}
        reached = [s for s in stages if s.verdict != "not reached"]
        end = reached[-1] if reached and reached[-1].verdict in _ENDS else None
        return RowHistory(
            record_id=record_id,
            source=known.get("source", ""),
            locator=known.get("locator", ""),
            stages=stages,
            fate="kept" if end is None else f"{end.verdict} by {end.stage}: {end.lines[-1].reason}",
            split=split if end is None else None,
            text=None if shown is None else text_of(shown)[:EXCERPT],
            hidden=clean is None and unscrubbed is not None and not raw,
            children=tuple(self._children(record_id)),
        )

    def _stages(self, lines: Sequence[Line], not_read: Set[str]) -> list[AtStage]:
        names = [self.store.report(a).stage for a in self.run.of_type("stage_report")]
        names += [s for s in dict.fromkeys(line.stage for line in lines) if s not in names]
        with_ledger = {stage_of(a) for a in self.run.of_type("ledger")} | {line.stage for line in lines}
        born = next((line.stage for line in lines if line.verdict == "created"), None)
        stages: list[AtStage] = []
        alive = born is None
        ended = False
        for stage in (s for s in names if s in with_ledger):
            here = tuple(line for line in lines if line.stage == stage)
            alive = alive or stage == born
            if not alive:
                continue
            # A person can bring back what an earlier stage set aside: then a later stage speaks of it.
            if ended and not here:
                stages.append(AtStage(stage, "not reached", here))
                continue
            if stage in not_read and not here:
                stages.append(AtStage(stage, "not read", here))
                continue
            verdicts = [line.verdict for line in here]
            ended = any(v in _ENDS for v in verdicts)
            verdict = next((v for v in verdicts if v in _ENDS), verdicts[-1] if verdicts else "passed")
            stages.append(AtStage(stage, verdict, here))
        return stages

    def _ledger_files(self, step: str | None = None) -> list[str]:
        return [str(self.store.ledger(a).path) for a in self.run.of_type("ledger") if step in (None, a.step)]

    def lines(self, record_id: str, step: str | None = None) -> list[Line]:
        """What the ledgers say about a row; of one step only where that is named."""
        files = self._ledger_files(step)
        if not files:
            return []
        found = duckdb.execute(
            "SELECT stage, verdict, reason, score, evidence, parents FROM read_parquet($files) WHERE record_id = $id",
            {"files": files, "id": record_id},
        ).fetchall()
        return [Line(s, v, r, score, json.loads(e), tuple(p)) for s, v, r, score, e, p in found]

    def _children(self, record_id: str) -> list[tuple[str, str]]:
        files = self._ledger_files()
        if not files:
            return []
        found = duckdb.execute(
            "SELECT record_id, stage FROM read_parquet($files)"
            " WHERE verdict = 'created' AND list_contains(parents, $id) ORDER BY record_id LIMIT 50",
            {"files": files, "id": record_id},
        ).fetchall()
        return [(child, stage) for child, stage in found]

    def _ids(self, prefix: str) -> list[str]:
        files = self._ledger_files()
        found: set[str] = set()
        for group in (files, self._shard_files()):
            if group:
                found.update(
                    row[0]
                    for row in duckdb.execute(
                        "SELECT DISTINCT record_id FROM read_parquet($files, union_by_name = true)"
                        f" WHERE starts_with(record_id, $prefix) LIMIT {_MOST_HITS}",
                        {"files": group, "prefix": prefix},
                    ).fetchall()
                )
        return sorted(found)

    def _search(self, text: str) -> list[str]:
        files = self._shard_files()
        if not files:
            return []
        said = "concat_ws(chr(10), text, {})".format(
            ", ".join(f"array_to_string(list_transform({c}, lambda m: m.content), chr(10))" for c in
                      ("messages", "chosen", "rejected"))
        )  # fmt: skip
        found = duckdb.execute(
            f"SELECT DISTINCT record_id FROM read_parquet($files) WHERE contains(lower({said}), lower($text))"
            f" ORDER BY record_id LIMIT {_MOST_HITS}",
            {"files": files, "text": text},
        ).fetchall()
        return [row[0] for row in found]

    def _shard_files(self) -> list[str]:
        paths = {str(p) for a in self.run.of_type("dataset") for p in self._open(a).shard_paths}
        return sorted(paths)

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

    def _clean_row(self, record_id: str) -> tuple[Row | None, str | None]:
        for artifact in self._clean_versions():
            row = row_of(self._open(artifact), record_id)
            if row is not None:
                return row, row["split"]
        return None, self._split_without_scrub(record_id)

    def _split_without_scrub(self, record_id: str) -> str | None:
        if self._clean_versions():
            return None
        versions = going_on(self.run)
        row = row_of(self._open(versions[-1]), record_id) if versions else None
        return row["split"] if row else None

    def _raw_row(self, record_id: str) -> Row | None:
        for artifact in self.run.of_type("dataset"):
            row = row_of(self._open(artifact), record_id)
            if row is not None:
                return row
        return None


@dataclass(frozen=True)
class Seen:
    """A trained model that saw a row, itself or in what its training started from; `sure` is False when its dataset is
    gone.

    model: the model's digest, "" where its run's store can't be reached.
    registered: every version that has these weights, "" where there is none.
    """

    model: str
    registered: str
    run: str
    sure: bool


def models_that_saw(root: Path, record_id: str) -> list[Seen]:
    """Every model of every run that was trained on a row, oldest first; models whose dataset is gone as well."""
    runs = known_runs(root)
    versions = {a.digest: (run, a) for run in runs for a in going_on(run)}
    names: dict[str, list[str]] = {}
    for run in reversed(runs):
        if (registered := run.registration) is not None:
            names.setdefault(registered.tags.get("weights_digest", ""), []).append(
                f"{registered.name}/{registered.version}"
            )
    rows: dict[str, list[Row] | None] = {}
    # By digest of the model; None: its dataset is gone.
    saw: dict[str, bool | None] = {}
    seen: dict[str, Seen] = {}
    for run in reversed(runs):
        try:
            for artifact, info in _trained_models(root, run):
                if info.digest in saw:
                    continue
                digest = info.dataset_digest or ""
                if digest not in rows:
                    rows[digest] = _row_in(root, versions.get(digest), record_id)
                own = _in_training(root, run, artifact, rows[digest])
                before = [saw[a.digest] for a in info.started_from if a.digest in saw]
                saw[info.digest] = True if own or any(before) else None if None in (own, *before) else False
                if saw[info.digest] is not False:
                    known_as = ", ".join(dict.fromkeys(names.get(info.digest, ())))
                    seen[info.digest] = Seen(info.digest, known_as, run.name, saw[info.digest] is True)
        except ServiceError:
            # A store that can't be reached now is no answer, and no reason to withhold the others'.
            registered = run.registration
            named = f"{registered.name}/{registered.version}" if registered else ""
            seen[run.name] = Seen("", named, run.name, False)
    return list(seen.values())


def _trained_models(root: Path, run: RunRecord) -> list[tuple[ArtifactRecord, ModelInfo]]:
    store = artifacts_of(root, run)
    found = []
    for artifact in run.of_type("model"):
        try:
            found.append((artifact, store.model(artifact)))
        except InputNotFoundError:
            # Removed since: there is nothing left that could have seen a row.
            continue
    return [(a, m) for a, m in found if m.dataset_digest]


def _row_in(root: Path, version: tuple[RunRecord, ArtifactRecord] | None, record_id: str) -> list[Row] | None:
    """The row of a version with that id, if there is one; None when the version is gone."""
    if version is None:
        return None
    try:
        row = row_of(artifacts_of(root, version[0]).dataset(version[1]), record_id)
    except InputNotFoundError:
        return None
    return [] if row is None else [row]


def _in_training(root: Path, run: RunRecord, model: ArtifactRecord, rows: list[Row] | None) -> bool | None:
    """Whether the phase that made a model trained on a row of its version."""
    if rows is None:
        return None
    phase = _phases(root, run).get(stage_of(model), PhaseRows())
    ledgers = Rows(artifacts_of(root, run), run)
    return any(
        _takes(phase, row)
        and not any(line.verdict in _ENDS for line in ledgers.lines(row["record_id"], step=model.step))
        for row in rows
    )


def _phases(root: Path, run: RunRecord) -> dict[str, PhaseRows]:
    """The rows that each phase of a run's training takes, by stage."""
    config = config_path(root, run.name)
    said = (yaml.safe_load(config.read_text("utf-8")) or {}).get("train") if config.is_file() else None
    phases = said if isinstance(said, list) else [said] if said else []
    return {
        f"train_{p['name']}" if p.get("name") else "train": PhaseRows.model_validate(p.get("rows") or {})
        for p in phases
    }  # fmt: skip


def _takes(rows: PhaseRows, row: Row) -> bool:
    return rows.take(row["split"], row["source"].partition("/")[0], row["kind"])


def is_id(query: str) -> bool:
    """Whether a query can be a record id or the beginning of one."""
    return 4 <= len(query) <= 32 and all(c in "0123456789abcdef" for c in query.lower())


def row_of(dataset: Dataset, record_id: str) -> Row | None:
    """The row with that id in a version; only rows that belong to the version are seen."""
    import pyarrow.compute as pc

    start = 0
    for chunk in dataset.chunks(["record_id"]):
        at = pc.index(chunk.table["record_id"], record_id).as_py()
        if at >= 0:
            return _row_at(dataset, start + at)
        start += chunk.table.num_rows
    return None


def _row_at(dataset: Dataset, position: int) -> Row:
    for chunk in dataset.chunks():
        if chunk.start <= position < chunk.start + chunk.table.num_rows:
            row: Row = chunk.table.slice(position - chunk.start, 1).to_pylist()[0]
            return row
    raise IndexError(position)


def open_rows(root: Path, run: RunRecord) -> Rows:
    """The rows of a run."""
    return Rows(artifacts_of(root, run), run, _phases(root, run))
