"""From a registered version back to the sources: the runs behind it, and what their artifacts say."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from materializers.artifacts import Artifacts
from materializers.integrity import StoredRecord, read_stored
from ops.audit.target import Target
from ops.run_index import artifacts_of, curating_run, known_runs
from steps.contracts.digests import text_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.evaluation import Decision, EvalReport
from steps.contracts.models import ModelInfo
from steps.contracts.provenance import EarlierRun
from steps.contracts.runs import ArtifactRecord, RunRecord

V = TypeVar("V")


@dataclass(frozen=True)
class Link:
    """An earlier run that a record names, and what is left of its record; None where it kept none."""

    to: EarlierRun
    stored: StoredRecord | None

    @property
    def whole(self) -> bool:
        """Whether the stored record is the one that was linked to."""
        return self.stored is not None and self.stored.sha256 == self.to.sha256 and self.stored.record is not None


@dataclass(frozen=True)
class Trail:
    """What stands behind a registered version.

    Attributes:
        store: the artifacts of its run; `data`: of the run that made the rows, the same one or an earlier one; None
            where that is gone.
        links: earlier runs, of both and of those in turn.
        tuned: the artifact of the registered model; `model`: what it says, None where it is damaged.
    """

    target: Target
    store: Artifacts
    data: Artifacts | None
    links: tuple[Link, ...]
    tuned: ArtifactRecord
    model: ModelInfo | None

    @property
    def run(self) -> RunRecord:
        """The run behind the version."""
        return self.target.run

    @property
    def stores(self) -> tuple[Artifacts, ...]:
        """The artifacts of all runs that are looked at whole: of the data first."""
        return tuple(dict.fromkeys(s for s in (self.data, self.store) if s is not None))

    @property
    def decision(self) -> Decision | None:
        """The gate's word; None where there is none or it is damaged."""
        return next(iter([d for _, d in intact(self._decision, self.run.of_type("decision"))][-1:]), None)

    def stored_record(self, run: RunRecord) -> StoredRecord | None:
        """The stored record of one of these runs, where the registry or another record leads to it."""
        if run.run_id == self.run.run_id:
            return self.target.stored
        return next((link.stored for link in self.links if link.to.run_id == run.run_id), None)

    def _decision(self, artifact: ArtifactRecord) -> Decision:
        return self.store.value(artifact, Decision)

    def evaluations(self) -> list[tuple[ArtifactRecord, EvalReport]]:
        """What was measured of each subject."""
        return intact(lambda a: self.store.value(a, EvalReport), self.run.of_type("eval_report"))


def follow(root: Path, target: Target) -> Trail:
    """Everything behind a version, as records tell it; nothing is read but what they name first.

    Raises:
        InputNotFoundError: its run trained no model. ServiceError: a store can't be reached.
    """
    run = target.run
    digests: dict[str, str] = {}
    store = artifacts_of(root, run, digests=digests)
    tuned, model = _tuned(store, run)
    links = tuple(links_of(run))
    data = data_run(root, run, links, model.dataset_digest if model else None)
    made = store if data is run else artifacts_of(root, data, digests=digests) if data is not None else None
    return Trail(target, store, made, links, tuned, model)


def intact(read: Callable[[ArtifactRecord], V], artifacts: Iterable[ArtifactRecord]) -> list[tuple[ArtifactRecord, V]]:
    """What artifacts hold; damaged ones are left out here and named by a verification."""
    found = []
    for artifact in artifacts:
        try:
            found.append((artifact, read(artifact)))
        except (IntegrityError, InputNotFoundError):
            continue
    return found


def inputs_of(store: Artifacts) -> dict[str, dict[str, str]]:
    """By stage what the run read from outside: SHA-256 by file, folder or model, as its first step found it."""
    found = {}
    for artifact in store.run.around:
        stage, is_inputs, _ = artifact.name.rpartition("_inputs")
        for name, sha256 in artifact.beside.items() if is_inputs else ():
            text = store.text(f"{artifact.uri}/{name}") or ""
            if text_digest(text) == sha256 and isinstance(said := json.loads(text), dict):
                found[stage] = {str(k): str(v) for k, v in said.items()}
    return found


def links_of(run: RunRecord) -> Iterator[Link]:
    """Those of a run, and of what they lead to, each run once."""
    waiting, seen = list(run.earlier), {run.run_id}
    while waiting:
        link = waiting.pop(0)
        if link.run_id in seen:
            continue
        seen.add(link.run_id)
        stored = read_stored(link.record_uri) if link.record_uri else None
        yield Link(link, stored)
        if stored is not None and stored.record is not None:
            waiting += stored.record.earlier


def data_run(root: Path, run: RunRecord, links: Iterable[Link], dataset: str | None) -> RunRecord | None:
    """The run whose rows the model was trained on."""
    if run.of_type("dataset"):
        return run
    linked = next((one for one in links if not one.to.made and one.to.run_id in {e.run_id for e in run.earlier}), None)
    if linked is not None and linked.stored is not None and linked.stored.record is not None:
        return linked.stored.record
    if linked is not None:
        return next((r for r in known_runs(root) if r.run_id == linked.to.run_id), None)
    return curating_run(root, run, dataset)


def _tuned(store: Artifacts, run: RunRecord) -> tuple[ArtifactRecord, ModelInfo | None]:
    """The artifact of the registered model and what it says; of a run that registered none of its own, of the last that
    was trained. None where it is damaged.
    """
    models = run.of_type("model")
    if not models:
        raise InputNotFoundError("the run has no trained model", where=f"run {run.name}")
    read = intact(store.model, models)
    trained = [(a, m) for a, m in read if m.dataset_digest is not None or m.trainable]
    digest = run.registration.tags.get("weights_digest") if run.registration else None
    registered = [one for one in trained if one[1].digest == digest]
    return next(iter([*registered, *trained[-1:]]), (models[-1], None))
