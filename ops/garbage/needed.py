"""What in an artifact store is needed: by any run that is known here, or that the store itself has a record of.

The record that a run's last step keeps in the store counts wherever it is read from: a machine that knows nothing of a
run keeps what it needs. Registries are asked too: a version whose record can't be found needs what nobody knows.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from materializers import layout
from ops.garbage.stores import Entry, Store
from ops.removals import removed_runs
from ops.run_index import MEND, load_runs
from steps.contracts.digests import bytes_digest
from steps.contracts.errors import AssayError, InputNotFoundError, IntegrityError
from steps.contracts.provenance import EarlierRun
from steps.contracts.runs import ArtifactRecord, RunRecord
from steps.register.chain import HEAD, RECORD

# The folder of an artifact below the store's root: step, output, id of the step's run, eight characters of its own.
ARTIFACT = re.compile(r"([a-z0-9_]+_step/[^/]+/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/[^/]{8})(?:/|$)")
_RECORD = re.compile(rf"{layout.RECORDS}/[^/]+/[^/]+/{layout.VALUE}")
# Steps around those of a run: what they leave is in no record of an older version.
_AROUND = ("start_step/", "finish_step/")
# In the tags of a registered version: the run behind it. Versions of other programs have none.
_RUN = "zenml_run_id"
_UNKNOWN = "what it needs can't be known, so nothing is removed from this store: "


@dataclass
class Needed:
    """Attributes:
    artifacts: names of needed artifacts' folders.
    recorded: of these, what records say of them.
    unknown: what can't be read, and may need anything.
    """

    artifacts: set[str] = field(default_factory=set)
    recorded: dict[str, ArtifactRecord] = field(default_factory=dict)
    unknown: list[AssayError] = field(default_factory=list)


def needed_in(
    store: Store, entries: Mapping[str, Entry], root: Path, without: Collection[str], registries: Collection[str] | None
) -> Needed:
    """What is needed. Within `quiet`.

    Args:
        entries: all that lies in the store.
        without: ids of runs that are as if they had never been.
        registries: that are gone for good, and aren't asked; None: none is asked.

    Raises:
        ServiceError: the store can't be reached.
    """
    found = Needed()
    records = dict(_stored(store, entries, found))
    indexed = [run for run in _indexed(root, records.values(), found) if run.run_id not in without]
    removed = removed_runs(store.uri) - {run.name for run in indexed}
    stored = {n: run for n, run in records.items() if run.run_id not in without and run.name not in removed}
    linked = {store.name(link.record_uri) for run in stored.values() for link in run.earlier if link.record_uri}
    # Of a run that was removed the record stays as long as others stand on it.
    found.artifacts |= {name.rpartition("/")[0] for name in records if name in stored or name in linked}
    for run in stored.values():
        _add(found, store, run, run.artifact_store)
    for run in indexed:
        _add(found, store, run)
    known = {run.run_id for run in (*records.values(), *indexed)} | _of_zenml(found, store, entries, indexed, without)
    _look_back(found, store, (*stored.values(), *indexed), set(records), known)
    if registries is not None:
        uris = {r.registration.tracking_uri for r in (*stored.values(), *indexed) if r.registration}
        _ask(found, store, uris - set(registries), set(stored), known)
    return found


def _stored(store: Store, entries: Iterable[str], found: Needed) -> Iterator[tuple[str, RunRecord]]:
    """Names and content of the records that the store has."""
    for name in filter(_RECORD.fullmatch, entries):
        text, note = store.read(name), store.read(layout.beside(name, layout.CHECKSUM))
        if text is None:
            continue
        where = f"{store.uri}/{name}"
        if note is not None and note.decode("utf-8", "replace") != bytes_digest(text):
            found.unknown.append(IntegrityError(f"{_UNKNOWN}this run's record was changed", where=where))
            continue
        try:
            yield name, RunRecord.model_validate_json(text)
        except ValidationError as e:
            said = e.errors()[0]["msg"]
            found.unknown.append(IntegrityError(f"{_UNKNOWN}not a run record: {said}", where=where))


def _indexed(root: Path, stored: Iterable[RunRecord], found: Needed) -> list[RunRecord]:
    """Runs of this machine's index. One that is damaged there is known by its record in the store."""
    broken: list[tuple[Path, str]] = []
    runs = load_runs(root, on_broken=lambda file, why: broken.append((file, why)))
    names = {run.name for run in stored}
    for file, why in broken:
        if file.parent.name not in names:
            found.unknown.append(IntegrityError(_UNKNOWN + why, where=str(file), hint=MEND))
    return runs


def _add(found: Needed, store: Store, run: RunRecord, root: str = "") -> None:
    """Add what a run names there. `root`: what the store was called then, where it is known to be the run's."""
    for artifact in (*run.artifacts, *run.around):
        if (name := store.name(artifact.uri, root)) is not None:
            found.artifacts.add(name)
            found.recorded[name] = artifact


def _of_zenml(
    found: Needed, store: Store, entries: Iterable[str], indexed: Iterable[RunRecord], without: Collection[str]
) -> set[str]:
    """Add what runs of ZenML's store wrote or read; returns their ids."""
    from steps.zenml_runtime.garbage import run_ids, used_uris

    found.artifacts |= {name for uri in used_uris(frozenset(without)) if (name := store.name(uri)) is not None}
    ids = set(run_ids()) - set(without)
    # A run that only the index knows, and that failed or is of an older version, doesn't say what lies around it.
    if any(not run.around and run.run_id not in ids for run in indexed):
        found.artifacts |= {m[1] for m in map(ARTIFACT.match, entries) if m and m[1].startswith(_AROUND)}
    return ids


def _look_back(
    found: Needed, store: Store, runs: Iterable[RunRecord], stored: Collection[str], known: Collection[str]
) -> None:
    """Whether what runs stand on is known: the one that made the dataset, and those with a record in this store."""
    links = {link.run_id: link for run in runs for link in run.earlier if link.run_id not in known}
    for link in links.values():
        name = store.name(link.record_uri) if link.record_uri else None
        if name in stored or (name is None and (link.made or link.record_uri)):
            continue
        found.unknown.append(_lost(store, link))


def _lost(store: Store, link: EarlierRun) -> AssayError:
    hint = "restore its record; or, on a machine that knows the run, collect there or remove the runs that need it"
    what = f"{_UNKNOWN}no record is left of {link.name}, which others stand on"
    return InputNotFoundError(what, where=link.record_uri or store.uri, hint=hint)


def _ask(found: Needed, store: Store, uris: Collection[str], stored: Collection[str], known: Collection[str]) -> None:
    """Whether the records that registries lead to are among those that were read."""
    from steps.register.registered import all_versions

    for uri in sorted(uris):
        try:
            versions = all_versions(uri)
        except AssayError as e:
            hint = f"if it is gone for good: --without-registry {uri}"
            found.unknown.append(type(e)(_UNKNOWN + e.what, where=e.where, hint=hint))
            continue
        for model, version in versions:
            if _RUN in version.tags and (why := _unmet(store, version.tags, stored, known)):
                hint = (
                    f"restore it, or delete that version in MLflow; a registry that is gone: --without-registry {uri}"
                )
                named = f"{uri}#{model}/{version.version}"
                found.unknown.append(IntegrityError(_UNKNOWN + why, where=named, hint=hint))


def _unmet(store: Store, tags: Mapping[str, str], stored: Collection[str], known: Collection[str]) -> str:
    """Why it can't be known what a registered version needs; "" where it is, or isn't in this store."""
    uri = tags.get(RECORD)
    if uri is None:
        return "" if tags[_RUN] in known else "its run left no record, and isn't known here"
    name = store.name(uri)
    if name is None:
        return ""
    if name not in stored:
        return f"the record that it leads to is gone or damaged: {uri}"
    if HEAD in tags and bytes_digest(store.read(name) or b"") != tags[HEAD]:
        return f"the record that it leads to isn't the one that was signed: {uri}"
    return ""
