"""A run's dataset under audit, with or without a model: everything behind it, and whether it is what was recorded."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from materializers.artifacts import Artifacts, going_on
from materializers.integrity import StoredRecord, find_stored
from materializers.layout import CHECKSUM, beside
from ops.audit import account, recount
from ops.audit.chain import check_chain, check_link
from ops.audit.findings import Finding, held
from ops.audit.index import check_index
from ops.audit.sources import check_sources
from ops.audit.target import find
from ops.audit.trail import Link, follow, links_of
from ops.audit.verify import Verification, check_files, checked_files
from ops.lineage.catalogue import Catalogue, load_catalogue
from ops.references import Reference
from ops.run_index import artifacts_of, known_runs, run_folder
from ops.versions import only_of
from steps.contracts.errors import AssayError, InputNotFoundError, ServiceError
from steps.contracts.runs import ArtifactRecord, RunRecord


@dataclass(frozen=True)
class DataTrail:
    """What stands behind a dataset version.

    Attributes:
        version: the one that is meant.
        links: earlier runs that its run stands on, and those in turn.
        stored: the record that its run's last step stored; None where there is none.
        models: runs that registered a model of it, newest first.
    """

    data: Artifacts
    version: ArtifactRecord
    links: tuple[Link, ...]
    stored: StoredRecord | None
    models: tuple[RunRecord, ...]

    @property
    def run(self) -> RunRecord:
        """The run that made it."""
        return self.data.run


def follow_data(root: Path, meant: Reference) -> DataTrail:
    """Everything behind the version that a digest names, or that a run ended with.

    Raises:
        InputNotFoundError: there is none. InputError: several digests begin so. ServiceError: a store can't be reached.
    """
    catalogue = load_catalogue(root)
    known, version = _meant(catalogue, meant)
    stored = find_stored(known)
    # What the run said itself counts; the index of this machine is held against it.
    run = stored.record if stored is not None and stored.record is not None else known
    data = artifacts_of(root, run)
    return DataTrail(data, version, tuple(links_of(run)), stored, tuple(_models(catalogue, run)))


def _meant(catalogue: Catalogue, meant: Reference) -> tuple[RunRecord, ArtifactRecord]:
    if meant.kind == "dataset":
        made = {a.digest: (r, a) for r in reversed(catalogue.runs) for a in r.of_type("dataset")}
        return only_of({d: one for d, one in made.items() if d is not None and d.startswith(meant.name)}, meant.name)
    fits = [r for r in catalogue.runs if meant.name in (r.name, r.run_id, r.config_name)]
    fits = fits or [r for r in catalogue.runs if r.name.startswith(meant.name) or r.run_id.startswith(meant.name)]
    if not fits:
        raise InputNotFoundError(f"no run {meant.name!r}", hint="assay runs lists them, after `--sync` others' too")
    if not (versions := going_on(fits[0])):
        hint = "audit the model that it trained: assay audit MODEL/VERSION"
        raise InputNotFoundError("this run made no dataset", where=f"run {fits[0].name}", hint=hint)
    return fits[0], versions[-1]


def _models(catalogue: Catalogue, run: RunRecord) -> Iterator[RunRecord]:
    for other in catalogue.runs:
        stands = other.run_id == run.run_id or any(link.run_id == run.run_id for link in other.earlier)
        if other.registration is not None and stands:
            yield other


def verify_data(root: Path, trail: DataTrail, key: str | None) -> Verification:
    """Read, hash and compute anew everything behind it. `key`: the public key that must have signed a chain to it.

    Raises:
        ServiceError: an artifact store can't be reached.
    """
    store = trail.data
    files, count = checked_files([store])
    indexed = next((r for r in known_runs(root) if r.run_id == store.run.run_id), None)
    findings = [
        *check_files(store, files[store], key),
        *(check_index(root, indexed, trail.stored) if indexed is not None else _check_folder(root, store.run)),
        *_check_note(trail),
        recount.config_holds(store.run),
        *map(check_link, trail.links),
        *recount.check_counts(store),
        *check_sources(root, store),
        *_check_signed(root, trail, key),
    ]
    return Verification(tuple(findings), count)


def _check_folder(root: Path, run: RunRecord) -> Iterator[Finding]:
    """What the index has of a run without a record that can be read; nothing where it never knew it."""
    folder = run_folder(root, run.name)
    if folder.is_dir():
        said = f"{folder / 'run.json'} is gone or can't be read; assay runs --sync writes it anew"
        yield Finding(f"run.json of {run.name} is the stored record", "gone", said)


def _check_note(trail: DataTrail) -> Iterator[Finding]:
    stored = trail.stored
    if stored is None:
        what = "its run ended before it stored its record, or is of an older version"
        yield Finding("the run's stored record", "unrecorded", what)
    else:
        same = stored.noted == stored.sha256
        yield held("the note beside the record says its digest", same, beside(stored.uri, CHECKSUM))


def _check_signed(root: Path, trail: DataTrail, key: str | None) -> Iterator[Finding]:
    """A run's record isn't signed itself: the head of a chain that leads to it is."""
    what = "a signed chain leads to the record of the run"
    if not trail.models:
        yield Finding(what, "not checked" if key is None else "differs", "no registered model stands on it")
        return
    registration = trail.models[0].registration
    assert registration is not None
    name = account.reference_of(registration)
    try:
        model = follow(root, find(root, name, ask=True))
    except AssayError as e:
        yield Finding(what, "not reached" if isinstance(e, ServiceError) else "differs", f"{name}: {e.what}")
        return
    yield from check_chain(model, key)
    led, own = model.stored_record(trail.run), trail.stored
    if led is None or own is None or model.target.tags is None:
        yield Finding(what, "not checked", f"{name} leads to no stored record of it")
    else:
        yield held(what, led.sha256 == own.sha256 is not None, name)


def account_of_data(root: Path, trail: DataTrail, verified: Verification | None) -> dict[str, Any]:
    """Everything behind it as one value; keys that nothing was recorded for are None or empty."""
    data, config = trail.data, account.config_of(root, trail.run)
    return {
        "version": account.artifact_of(trail.version),
        "record": trail.stored.uri if trail.stored else None,
        "record_sha256": trail.stored.sha256 if trail.stored else None,
        "earlier_runs": [{**link.to.model_dump(mode="json"), "whole": link.whole} for link in trail.links],
        "models": [account.reference_of(r.registration) for r in trail.models if r.registration is not None],
        "run": account.run_of(root, trail.run),
        "code": account.code_of(trail.run),
        "config": config,
        "seeds": account.values_of(config, "seed"),
        "environment": account.environment_of(trail.run),
        "dataset": account.dataset_of(data, None),
        "stages": [account.stage_of(c) for c in recount.stage_counts(data)],
        "sources": list(account.sources_of(data, trail.run)),
        "judge": account.judge_of(data, config),
        "reviews": account.reviews_of(data),
        "artifacts": [account.artifact_of(a) for a in trail.run.artifacts],
        "verification": account.verification_of(verified),
    }
