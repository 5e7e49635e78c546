"""The rows of a run that were set aside and that nobody has decided about yet."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from ops.artifacts import Artifacts, is_quarantine, stage_of
from ops.index import ArtifactRecord, RunRecord, config_path, run_folder
from steps.contracts.errors import InputNotFoundError
from steps.contracts.records import Row
from steps.review.decisions import HumanDecision, latest, read


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
        return next((n.reason for n in self.notes if n.verdict == "quarantined"), "")


@dataclass
class Pile:
    """What a run set aside. `stage` limits it to one stage's rows, `decisions` is where new decisions go."""

    root: Path
    run: RunRecord
    stage: str | None
    decisions: Path

    def __post_init__(self) -> None:
        self._store = Artifacts(self.root, self.run)
        files = [self.root / name for name in self.applied_files()] + [self.decisions]
        self.decided: dict[tuple[str, str], HumanDecision] = latest(d for f in files if f.is_file() for d in read(f))

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
        """Undecided rows, stage by stage, in the order of the version."""
        for artifact in self.versions():
            if not self._store.manifest(artifact).rows:
                continue
            notes = self._notes(stage_of(artifact))
            scrubbed = self._scrubbed(artifact)
            for row in self._store.dataset(artifact).iter_rows():
                if (row["record_id"], row["content_id"]) not in self.decided:
                    yield SetAside(row, stage_of(artifact), tuple(notes.get(row["record_id"], ())), scrubbed)

    def counts(self) -> tuple[int, int]:
        """(rows set aside, of them not decided)."""
        total = left = 0
        for artifact in self.versions():
            if not self._store.manifest(artifact).rows:
                continue
            for table in self._store.dataset(artifact).tables(["record_id", "content_id"]):
                keys = zip(table["record_id"].to_pylist(), table["content_id"].to_pylist(), strict=True)
                total += table.num_rows
                left += sum(key not in self.decided for key in keys)
        return total, left

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
        return list((self._config.get("review") or {}).get("decisions") or ())

    def screened_again(self, row: Row) -> str:
        """What the run's patterns and rules would do with a row ('quarantine: slur'); "" when they'd let it pass."""
        from steps.screen.config import ScreenConfig
        from steps.screen.verdict import Screener

        if "screen" not in self._config or "screen" in (self._config.get("skip") or ()):
            return ""
        decision = Screener(ScreenConfig.model_validate(self._config["screen"])).verdict(row).decision
        return "" if decision is None or decision.action == "flag" else f"{decision.action}: {decision.reason}"

    @cached_property
    def _config(self) -> dict[str, Any]:
        path = config_path(self.root, self.run.name)
        return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None) or {}


def decisions_path(root: Path, run: RunRecord) -> Path:
    """Where the decisions about a run's rows lie unless told otherwise."""
    return run_folder(root, run.name) / "decisions.jsonl"
