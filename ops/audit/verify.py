"""`assay audit --verify`: everything behind a model read again from where it is stored, and held against its record."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from materializers.artifacts import Artifacts
from materializers.integrity import FileCheck, check_artifact, find_stored, stored_uris
from ops.audit import recount
from ops.audit.chain import check_chain
from ops.audit.findings import Finding, exit_status, held
from ops.audit.index import check_index
from ops.audit.registry import check_registry
from ops.audit.sources import check_sources
from ops.audit.trail import Trail, intact
from ops.removals import SignedRemoval, read_removals
from ops.run_index import known_runs
from steps.contracts.digests import value_digest
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.register.decisions import decisions_of

# Chosen: reading waits for disks and servers more than for processors.
_READERS = 4 + (os.cpu_count() or 1)


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        files: every file that was read and held against a record; each counts once.
    """

    findings: tuple[Finding, ...]
    files: int

    @property
    def ok(self) -> bool:
        """Whether every promise was tested and holds, as far as there is one."""
        return exit_status(self.findings) == 0


def verify(root: Path, trail: Trail, key: str | None) -> Verification:
    """Read, hash and compute anew everything behind a version. `key`: the public key that must have signed it.

    Raises:
        ServiceError: an artifact store can't be reached.
    """
    with ThreadPoolExecutor(1) as asking:
        # MLflow takes seconds to load, and its server's answers are waited for.
        registry = asking.submit(lambda: list(check_registry(trail.target.registration, trail.model)))
        files, count = checked_files(trail.stores)
        served = registry.result()
    findings = [
        *served,
        *check_chain(trail, key),
        *(f for store in trail.stores for f in check_files(store, files[store], key)),
        *(f for store in trail.stores for f in _check_index(root, trail, store.run)),
        *(recount.config_holds(store.run) for store in trail.stores),
        *_check_model(trail, files[trail.store]),
        *_check_approvals(trail),
        *(f for store in trail.stores for f in recount.check_counts(store)),
        *recount.check_scores(trail),
        *recount.check_grades(trail, root),
        *recount.check_gate(trail),
        *(check_sources(root, trail.data) if trail.data is not None else ()),
        *_unread(trail),
    ]
    return Verification(tuple(findings), count)


def checked_files(stores: Sequence[Artifacts]) -> tuple[dict[Artifacts, list[FileCheck]], int]:
    """Every file of these runs, which share what they read, against its record; and how many files were read.

    Raises:
        ServiceError: an artifact store can't be reached.
    """
    uris = sorted({uri for store in stores for a in _all(store) for uri in stored_uris(store, a)})
    with ThreadPoolExecutor(_READERS) as readers:
        list(readers.map(stores[-1].digest_of, uris))
    return {store: [c for a in _all(store) for c in check_artifact(store, a)] for store in stores}, len(uris)


def _all(store: Artifacts) -> tuple[ArtifactRecord, ...]:
    return (*store.run.artifacts, *store.run.around)


def check_files(store: Artifacts, files: list[FileCheck], key: str | None) -> Iterator[Finding]:
    """One finding for all that hold, and one for each that doesn't."""
    what = f"stored files of {store.run.name} have the recorded SHA-256"
    wrong = list(dict.fromkeys(c for c in files if not c.ok))
    removals = read_removals(store.run.artifact_store) if any(c.found is None for c in wrong) else []
    cached = {a.name for a in _all(store) if a.cached}
    # What went before a run began isn't what the run made, whatever has the same name: a shard may have come back.
    since = [r for r in removals if datetime.fromisoformat(r.removal.removed) >= _started(store.run)]
    found = [_of_file(c, removals if c.artifact in cached else since, key) for c in wrong]
    read, bad = len({(c.artifact, c.name) for c in files}), sum(f.broken for f in found)
    removed = f", {len(found) - bad} were removed" if len(found) > bad else ""
    yield held(what, not bad, (f"{bad} of {read} don't" if bad else f"{read - len(found)} files read") + removed)
    yield from found
    yield from _vouched(removals, [c.uri for c in wrong if c.found is None])


def _vouched(removals: list[SignedRemoval], gone: list[str]) -> Iterator[Finding]:
    """Of each removal that took some of these files: who signed for it, and whether it says itself that it is done."""
    for one in removals:
        if one.key is not None and any(map(one.removal.covers, gone)):
            yield Finding(f"removal {one.removal.id}", "removed", f"{one}, signed by {one.key}")
            if not one.removal.holds:
                said = f"{one}: something was left then: {'; '.join(one.removal.left[:3])}"
                yield Finding(f"removal {one.removal.id} left nothing", "differs", said)


def _started(run: RunRecord) -> datetime:
    return datetime.fromisoformat(run.started)


def _of_file(check: FileCheck, removals: list[SignedRemoval], key: str | None) -> Finding:
    """A file that isn't what it was; one that is gone was removed if a signed removal says so, by the key that is asked
    for if one is.
    """
    name = f"{check.artifact}/{check.name}"
    if check.found is not None:
        return Finding(name, "differs", check.said)
    by = [r for r in removals if r.removal.covers(check.uri)]
    signed = next((r for r in by if r.key is not None and key in (None, r.key)), None)
    if signed is not None:
        return Finding(name, "removed", signed.name)
    return Finding(name, "gone", f"{by[0]}, which isn't signed as it must be" if by else check.said)


def _check_index(root: Path, trail: Trail, run: RunRecord) -> Iterator[Finding]:
    """Of a run that the index of this machine knows."""
    indexed = next((r for r in known_runs(root) if run.run_id == r.run_id or run.name == r.name), None)
    if indexed is not None:
        yield from check_index(root, indexed, trail.stored_record(run) or find_stored(run))


def _check_model(trail: Trail, files: list[FileCheck]) -> Iterator[Finding]:
    """`files`: all of the run's."""
    model, tags = trail.model, trail.target.registration.tags
    if model is None:
        return
    own = {c.name.removeprefix("files/"): c.found for c in files if _is_weight(c, trail.tuned.name)}
    digest = value_digest(own)
    yield held("the model's digest is that of its stored files", model.digest == digest, digest)
    if trail.data is not None:
        made = trail.data.run.of_type("dataset")
        versions = {a.uri: a.digest for a in made} | {a.uri: m.digest for a, m in intact(trail.data.manifest, made)}
        said = model.dataset_digest or "none"
        yield held("it was trained on a recorded dataset version", model.dataset_digest in versions.values(), said)
    for report in recount.evaluated_model(trail):
        yield held("the evaluated model is this one", report.model_digest == model.digest, report.model_digest)
    for tag in ("model_digest", "weights_digest", "tuned_digest"):
        if tag in tags:
            yield held(f"the registry's tag {tag} is this model", tags[tag] == model.digest, tags[tag])


def _check_approvals(trail: Trail) -> Iterator[Finding]:
    """What people decided stands in tags, which whoever may write to the registry may write."""
    digest = trail.model.digest if trail.model is not None else None
    for said in decisions_of(trail.target.tags or {}):
        what = f"what {said.by} decided ({said.action}, {said.at}) is about these weights"
        yield held(what, said.weights in (None, digest), said.weights or "no weights are named")


def _is_weight(check: FileCheck, artifact: str) -> bool:
    return check.artifact == artifact and check.name.startswith("files/")


def _unread(trail: Trail) -> Iterable[Finding]:
    """What no check covers, in words."""
    if trail.data is None:
        yield Finding("the run that made the dataset", "gone", "no record of it is left")
    for store in trail.stores:
        older = [a.name for a in store.run.artifacts if a.sha256 is None]
        if older:
            yield Finding(", ".join(older), "unrecorded", "recorded by an older version, without SHA-256")
        for artifact, model in intact(store.model, store.run.of_type("model")):
            if not model.files:
                said = f"a reference to {model.base.name}; its files are not in the run's store"
                yield Finding(artifact.name, "not checked", said)
