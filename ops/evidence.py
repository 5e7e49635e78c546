"""A quick look at what audits stand on: whether the files that records name are there, and not cut short.

Looked at are the runs of registered models, the newest run of every config that made a dataset, and the runs they stand
on. Small files are hashed, of tables the end is read, of others the size where it is recorded; all of it, and what the
registry serves, is read by `assay audit --verify`.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from materializers.artifacts import Artifacts, going_on
from materializers.integrity import find_stored, main_file, named_files
from ops.garbage.stores import Entry, Store
from ops.lineage.catalogue import Catalogue, load_catalogue
from ops.registered_names import registries
from ops.removals import read_removals
from pipelines.step_names import DATASET, FINISH, START
from steps.contracts.digests import file_digest
from steps.contracts.errors import AssayError, InputNotFoundError, IntegrityError, ServiceError
from steps.contracts.removal import Removal
from steps.contracts.runs import ArtifactRecord, RunRecord

# Chosen: reading so much of a file takes no longer than asking for it.
_SMALL_BYTES = 1 << 20
_PARQUET = b"PAR1"
# Of their outputs a record keeps all files, and none is the main one.
_AROUND = (START, DATASET, FINISH)


@dataclass(frozen=True)
class Look:
    """What was found.

    Attributes:
        damage: files and records that aren't what they should be; `silent`: stores that don't answer.
        older: names of runs whose records have no digests to hold anything against.
        registries: that the runs registered in; `shared`: names of models that several of them have, with these.
    """

    runs: int
    files: int
    damage: tuple[AssayError, ...]
    silent: tuple[AssayError, ...]
    older: tuple[str, ...]
    registries: tuple[str, ...]
    shared: Mapping[str, tuple[str, ...]]


def look(root: Path) -> Look:
    """Look at what this machine knows of."""
    catalogue = load_catalogue(root)
    damage: list[AssayError] = [
        IntegrityError(gap.why, where=gap.where, hint=gap.hint or None) for gap in catalogue.gaps
    ]
    silent: list[AssayError] = []
    runs = _wanted(catalogue)
    count = 0
    for uri, here in _by_store(runs).items():
        try:
            checked, wrong = _look_in(catalogue, Store(uri), here)
        except ServiceError as e:
            silent.append(e)
            continue
        count += checked
        damage += wrong
    older = tuple(r.name for r in runs if any(a.sha256 is None for a in r.artifacts))
    known = tuple(sorted(registries(catalogue.runs)))
    return Look(len(runs), count, tuple(damage), tuple(silent), older, known, _shared(catalogue.runs))


def _wanted(catalogue: Catalogue) -> list[RunRecord]:
    newest: dict[str, RunRecord] = {}
    for run in catalogue.runs:
        if going_on(run):
            newest.setdefault(run.config_name, run)
    wanted = {r.run_id: r for r in (*newest.values(), *(r for r in catalogue.runs if r.registration is not None))}
    known = {r.run_id: r for r in catalogue.runs}
    for run in [*wanted.values()]:
        wanted |= {link.run_id: known[link.run_id] for link in run.earlier if link.run_id in known}
    return list(wanted.values())


def _by_store(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    found = defaultdict(list)
    for run in runs:
        found[run.artifact_store].append(run)
    return dict(found)


def _look_in(catalogue: Catalogue, store: Store, runs: Iterable[RunRecord]) -> tuple[int, list[AssayError]]:
    """How many files were looked at, and what is wrong.

    Raises:
        ServiceError: the store can't be reached.
    """
    entries = store.entries()
    removed = [r.removal for r in read_removals(store.uri) if r.key is not None]
    expected: dict[str, str | None] = {}
    wrong: list[AssayError] = []
    for run in runs:
        if FINISH in run.executed_steps and find_stored(run) is None:
            wrong.append(InputNotFoundError("the record that its last step stored is gone", where=f"run {run.name}"))
        for artifact in (*run.artifacts, *run.around):
            expected |= _files(catalogue.store(run), store, artifact)
    found = (_check(store, entries, removed, name, sha256) for name, sha256 in expected.items())
    return len(expected), [*wrong, *(e for e in found if e is not None)]


def _files(artifacts: Artifacts, store: Store, artifact: ArtifactRecord) -> dict[str, str | None]:
    """SHA-256 by name below the store's root of the files that a record names; None in records of older versions."""
    folder, root = artifact.uri, artifacts.run.artifact_store
    files = {f"{folder}/{name}": sha256 for name, sha256 in artifact.beside.items()}
    found: dict[str, str | None] = dict(files)
    try:
        if main := main_file(artifacts, artifact) if artifact.step not in _AROUND else "":
            found[f"{folder}/{main}"] = artifact.sha256
        if artifact.step not in _AROUND:
            found |= {uri: sha256 for _, uri, sha256 in named_files(artifacts, artifact)}
    except (InputNotFoundError, IntegrityError):
        pass  # of its main file, which is looked at by itself
    return {name: sha256 for uri, sha256 in found.items() if (name := store.name(uri, root)) is not None}


def _check(
    store: Store, entries: Mapping[str, Entry], removed: Iterable[Removal], name: str, sha256: str | None
) -> AssayError | None:
    """What is wrong with a file; None: nothing that shows."""
    uri = f"{store.uri}/{name}"
    entry = entries.get(name)
    if entry is None:
        on_purpose = any(r.covers(uri) for r in removed)
        return None if on_purpose else InputNotFoundError("a file that a run's record names is gone", where=uri)
    if not store.local:
        return None
    changed = IntegrityError("not what the run's record says: it was changed or cut short", where=uri)
    file = Path(uri)
    if sha256 is not None and entry.bytes <= _SMALL_BYTES:
        return None if file_digest(file) == sha256 else changed
    return changed if file.suffix == ".parquet" and not _ends_well(file) else None


def _ends_well(table: Path) -> bool:
    with table.open("rb") as f:
        f.seek(-len(_PARQUET), os.SEEK_END)
        return f.read() == _PARQUET


def _shared(runs: Iterable[RunRecord]) -> dict[str, tuple[str, ...]]:
    """Registries by the name of a model that several of them have."""
    found = defaultdict(set)
    for run in runs:
        if run.registration is not None:
            found[run.registration.name].add(run.registration.tracking_uri)
    return {name: tuple(sorted(uris)) for name, uris in sorted(found.items()) if len(uris) > 1}
