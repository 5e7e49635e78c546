"""One row's way through a run: what every ledger says about it, and its text from a scrubbed version only."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from materializers.artifacts import Artifacts, going_on, is_quarantine, stage_of
from ops.rules import rule_of
from ops.run_index import artifacts_of, known_runs, run_config
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
    # What decided, in words; "" where reason and evidence say it.
    rule: str = ""


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
    # Of every stage, as the run's resolved config has them.
    settings: Mapping[str, Any] = field(default_factory=dict)
    _opened: dict[str, Dataset] = field(default_factory=dict)

    def find(self, query: str) -> tuple[list[str], int]:
        """Record ids that begin with `query` (when it looks like an id), else those of rows whose text holds it.

        At most so many as can be shown, and how many there are.
        """
        by_id = self._ids(query.lower()) if is_id(query) else []
        return (by_id[:_MOST_HITS], len(by_id)) if by_id else self._search(query)

    def histories(self, record_ids: Sequence[str], raw: bool) -> list[RowHistory]:
        """The ways of rows. With `raw`, an unscrubbed excerpt is shown where there is no scrubbed one."""
        lines, children = self._lines(record_ids), self._children(record_ids)
        clean = self._clean_rows(record_ids)
        unscrubbed = self._raw_rows([i for i in record_ids if i not in clean])
        splits = {i: row["split"] for i, row in clean.items()} or self._splits_without_scrub(record_ids)
        return [
            self._history(i, lines[i], clean.get(i), unscrubbed.get(i), splits.get(i), children[i], raw)
            for i in record_ids
        ]

    def texts(self, record_ids: Sequence[str], raw: bool) -> dict[str, Row]:
        """The rows as they were last, as scrubbed versions have them; with `raw` as others do where none has."""
        clean = self._clean_rows(record_ids)
        return {**(self._raw_rows([i for i in record_ids if i not in clean]) if raw else {}), **clean}

    def _history(
        self, record_id: str, lines: Sequence[Line], clean: Row | None, unscrubbed: Row | None, split: str | None,
        children: Sequence[tuple[str, str]], raw: bool,
    ) -> RowHistory:  # fmt: skip
        not_read = {stage for stage, rows in self.phases.items() if clean is not None and not _takes(rows, clean)}
        stages = tuple(self._stages(lines, not_read))
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
            children=tuple(children),
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

    def ledger_files(self, step: str | None = None) -> list[str]:
        """The ledgers of the run, or of one step."""
        return [str(self.store.ledger(a).path) for a in self.run.of_type("ledger") if step in (None, a.step)]

    def lines(self, record_id: str, step: str | None = None) -> list[Line]:
        """What the ledgers say about a row; of one step only where that is named."""
        return self._lines([record_id], step)[record_id]

    def _lines(self, record_ids: Sequence[str], step: str | None = None) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {i: [] for i in record_ids}
        if files := self.ledger_files(step):
            rows = _asked(
                "SELECT record_id, stage, verdict, reason, score, evidence, parents FROM read_parquet($files)"
                " WHERE record_id IN (SELECT unnest($ids))",
                {"files": files, "ids": list(record_ids)},
            )
            for i, stage, verdict, reason, score, evidence, parents in rows:
                said = json.loads(evidence)
                rule = rule_of(stage, reason, score, said, self.settings.get(stage) or {})
                found[i].append(Line(stage, verdict, reason, score, said, tuple(parents), rule))
        return found

    def _children(self, record_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """Of each row at most so many of those made from it as can be shown."""
        found: dict[str, list[tuple[str, str]]] = {i: [] for i in record_ids}
        if files := self.ledger_files():
            rows = _asked(
                "SELECT parent, record_id, stage FROM (SELECT record_id, stage, unnest(parents) AS parent"
                " FROM read_parquet($files) WHERE verdict = 'created') WHERE parent IN (SELECT unnest($ids))"
                " ORDER BY record_id",
                {"files": files, "ids": list(record_ids)},
            )
            for parent, child, stage in rows:
                if len(found[parent]) < _MOST_HITS:
                    found[parent].append((child, stage))
        return found

    def _ids(self, prefix: str) -> list[str]:
        files = self.ledger_files()
        found: set[str] = set()
        for group in (files, self._shard_files()):
            if group:
                found.update(
                    row[0]
                    for row in _asked(
                        "SELECT DISTINCT record_id FROM read_parquet($files, union_by_name = true)"
                        " WHERE starts_with(record_id, $prefix)",
                        {"files": group, "prefix": prefix},
                    )
                )
        return sorted(found)

    def _search(self, text: str) -> tuple[list[str], int]:
        files = self._shard_files()
        if not files:
            return [], 0
        said = "concat_ws(chr(10), text, {})".format(
            ", ".join(f"array_to_string(list_transform({c}, lambda m: m.content), chr(10))" for c in
                      ("messages", "chosen", "rejected"))
        )  # fmt: skip
        found = _asked(
            "SELECT record_id, count(*) OVER () FROM (SELECT DISTINCT record_id FROM read_parquet($files)"
            f" WHERE contains(lower({said}), lower($text))) ORDER BY record_id LIMIT {_MOST_HITS}",
            {"files": files, "text": text},
        )
        return [row[0] for row in found], found[0][1] if found else 0

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

    def _clean_rows(self, record_ids: Sequence[str]) -> dict[str, Row]:
        return self._rows_in(self._clean_versions(), record_ids)

    def _splits_without_scrub(self, record_ids: Sequence[str]) -> dict[str, str | None]:
        if self._clean_versions():
            return {}
        return {i: row["split"] for i, row in self._rows_in(going_on(self.run)[-1:], record_ids).items()}

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
    # SHA-256 of files that runs share.
    digests: dict[str, str] = {}
    # By digest of the model; None: its dataset is gone.
    saw: dict[str, bool | None] = {}
    seen: dict[str, Seen] = {}
    for run in reversed(runs):
        try:
            for artifact, info in _trained_models(artifacts_of(root, run, digests)):
                if info.digest in saw:
                    continue
                digest = info.dataset_digest or ""
                if digest not in rows:
                    rows[digest] = _row_in(root, versions.get(digest), record_id, digests)
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


def _trained_models(store: Artifacts) -> list[tuple[ArtifactRecord, ModelInfo]]:
    found = []
    for artifact in store.run.of_type("model"):
        try:
            found.append((artifact, store.model(artifact)))
        except InputNotFoundError:
            # Removed since: there is nothing left that could have seen a row.
            continue
    return [(a, m) for a, m in found if m.dataset_digest]


def _row_in(
    root: Path, version: tuple[RunRecord, ArtifactRecord] | None, record_id: str, digests: dict[str, str]
) -> list[Row] | None:
    """The row of a version with that id, if there is one; None when the version is gone."""
    if version is None:
        return None
    try:
        row = row_of(artifacts_of(root, version[0], digests).dataset(version[1]), record_id)
    except InputNotFoundError:
        return None
    return [] if row is None else [row]


def _in_training(root: Path, run: RunRecord, model: ArtifactRecord, rows: list[Row] | None) -> bool | None:
    """Whether the phase that made a model trained on a row of its version."""
    if rows is None:
        return None
    phase = _rows_of_phases(_phases(run_config(root, run))).get(stage_of(model), PhaseRows())
    ledgers = Rows(artifacts_of(root, run), run)
    return any(
        _takes(phase, row)
        and not any(line.verdict in _ENDS for line in ledgers.lines(row["record_id"], step=model.step))
        for row in rows
    )


def _phases(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each phase of training, by stage."""
    said = config.get("train")
    phases = said if isinstance(said, list) else [said] if said else []
    return {f"train_{p['name']}" if p.get("name") else "train": p for p in phases}


def _rows_of_phases(phases: Mapping[str, dict[str, Any]]) -> dict[str, PhaseRows]:
    """The rows that each phase takes, by stage."""
    return {stage: PhaseRows.model_validate(p.get("rows") or {}) for stage, p in phases.items()}


def _asked(query: str, given: Mapping[str, object]) -> list[tuple[Any, ...]]:
    """All rows of an answer; DuckDB is imported when something is asked."""
    import duckdb

    found: list[tuple[Any, ...]] = duckdb.execute(query, given).fetchall()
    return found


def _takes(rows: PhaseRows, row: Row) -> bool:
    return rows.take(row["split"], row["source"].partition("/")[0], row["kind"])


def is_id(query: str) -> bool:
    """Whether a query can be a record id or the beginning of one."""
    return 4 <= len(query) <= 32 and all(c in "0123456789abcdef" for c in query.lower())


def row_of(dataset: Dataset, record_id: str) -> Row | None:
    """The row with that id in a version; only rows that belong to the version are seen."""
    return rows_of(dataset, [record_id]).get(record_id)


def rows_of(dataset: Dataset, record_ids: Sequence[str]) -> dict[str, Row]:
    """The rows with these ids in a version, by id."""
    wanted = pa.array(record_ids, pa.string())
    positions: list[int] = []
    for chunk in dataset.chunks(["record_id"]):
        here = pc.is_in(chunk.table["record_id"], value_set=wanted)
        positions += [chunk.start + i for i in pc.indices_nonzero(here).to_pylist()]
    return {row["record_id"]: row for row in dataset.at(np.array(positions, np.int64)).to_pylist()}


def open_rows(root: Path, run: RunRecord) -> Rows:
    """The rows of a run."""
    config = run_config(root, run)
    phases = _phases(config)
    return Rows(artifacts_of(root, run), run, _rows_of_phases(phases), {**config, **phases})
