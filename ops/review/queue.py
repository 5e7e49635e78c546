"""The rows of a run that were set aside and that nobody has decided about yet."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from materializers.artifacts import is_quarantine, stage_of
from ops.review.guard import Guard
from ops.run_index import artifacts_of, run_config, run_folder
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.contracts.records import Row
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.review.decisions import HumanDecision, latest, read
from steps.zenml_runtime.urls import downloaded, is_url


@dataclass(frozen=True)
class Note:
    """One ledger line about a row set aside. `evidence` is what the stage wrote."""

    verdict: str
    reason: str
    score: float | None
    evidence: dict[str, Any]


@dataclass(frozen=True)
class SetAside:
    """A row that a stage set aside, and why. `scrubbed`: personal data were looked for and replaced before."""

    row: Row
    stage: str
    notes: tuple[Note, ...]
    scrubbed: bool

    @property
    def reason(self) -> str:
        """The first reason; "" when the ledger has none."""
        return _first_reason(self.notes)


def _first_reason(notes: Iterable[Note]) -> str:
    return next((n.reason for n in notes if n.verdict == "quarantined"), "")


@dataclass
class ReviewQueue:
    """What a run set aside. `decisions` is where new decisions go.

    `stage` limits it to one stage's rows, `reason` to rows whose first reason begins with it. `again`: rows that were
    decided about count as undecided.
    """

    root: Path
    run: RunRecord
    decisions: Path
    guard: Guard
    stage: str | None = None
    reason: str = ""
    again: bool = False

    def __post_init__(self) -> None:
        self._store = artifacts_of(self.root, self.run)
        files = [downloaded(n) if is_url(n) else self.root / n for n in self.applied_files()] + [self.decisions]
        self.decided: dict[tuple[str, str], HumanDecision] = latest(d for f in files if f.is_file() for d in read(f))

    def is_decided(self, record_id: str, content_id: str) -> bool:
        """Whether the next run will apply a decision about the row.

        Where the run's key isn't set, whether a decision was made under it can't be known: it counts.
        """
        decision = self.decided.get((record_id, content_id))
        return not self.again and decision is not None and (self._search is None or decision.holds_under(self._search))

    @cached_property
    def _search(self) -> str | None:
        try:
            return self.guard.search
        except ConfigError:
            return None

    def versions(self) -> list[ArtifactRecord]:
        """The run's versions of rows set aside.

        Raises:
            InputNotFoundError: the run set nothing aside, or not the named stage.
        """
        found = [a for a in self.run.of_type("dataset") if is_quarantine(a)]
        chosen = [a for a in found if self.stage in (None, stage_of(a))]
        if not chosen:
            stages = ", ".join(stage_of(a) for a in found) or "none"
            raise InputNotFoundError(
                f"no rows set aside{f' by {self.stage}' if self.stage else ''}",
                where=f"run {self.run.name}",
                hint=f"stages of this run that set rows aside: {stages}",
            )
        return chosen

    def __iter__(self) -> Iterator[SetAside]:
        """Undecided rows, stage by stage, in the order of the version. Decisions made meanwhile change nothing."""
        for artifact in self.versions():
            if not self._store.manifest(artifact).rows:
                continue
            notes = self._notes(stage_of(artifact))
            scrubbed = self._scrubbed(artifact)
            for row in self._store.dataset(artifact).iter_rows():
                item = SetAside(row, stage_of(artifact), tuple(notes.get(row["record_id"], ())), scrubbed)
                if item.reason.startswith(self.reason) and not self.is_decided(row["record_id"], row["content_id"]):
                    yield item

    def counts(self) -> tuple[int, Counter[str]]:
        """(rows set aside, those not decided by first reason)."""
        total = 0
        left: Counter[str] = Counter()
        for artifact in self.versions():
            if not self._store.manifest(artifact).rows:
                continue
            notes = self._notes(stage_of(artifact))
            for table in self._store.dataset(artifact).tables(["record_id", "content_id"]):
                for key in zip(table["record_id"].to_pylist(), table["content_id"].to_pylist(), strict=True):
                    reason = _first_reason(notes.get(key[0], ()))
                    if reason.startswith(self.reason):
                        total += 1
                        left[reason] += not self.is_decided(*key)
        return total, +left

    def _notes(self, stage: str) -> dict[str, list[Note]]:
        notes: dict[str, list[Note]] = {}
        for artifact in self.run.of_type("ledger"):
            if stage_of(artifact) != stage:
                continue
            path = self._store.ledger(artifact).path
            lines = pq.read_table(path, filters=[("verdict", "in", ["quarantined", "undecided"])]).to_pylist()
            for line in lines:
                note = Note(line["verdict"], line["reason"], line["score"], json.loads(line["evidence"]))
                notes.setdefault(line["record_id"], []).append(note)
        return notes

    def _scrubbed(self, artifact: ArtifactRecord) -> bool:
        versions = self.run.of_type("dataset")
        scrub = next((i for i, a in enumerate(versions) if stage_of(a) == "scrub"), None)
        return scrub is not None and versions.index(artifact) > scrub and stage_of(artifact) != "scrub"

    def applied_files(self) -> list[str]:
        """Files of decisions that the run itself applied, as its config names them."""
        return list((run_config(self.root, self.run).get("review") or {}).get("decisions") or ())


def decisions_path(root: Path, run: RunRecord) -> Path:
    """Where the decisions about a run's rows lie unless told otherwise."""
    return run_folder(root, run.name) / "decisions.jsonl"
