"""`assay copy`."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from materializers.artifacts import is_remote
from ops.console import emit, say
from ops.copies import Copied, copy_artifacts, note_copy, records_in
from ops.references import reference
from ops.registries import parsed
from ops.run_index import find_run, known_runs, save_run
from ops.versions import find_version
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError
from steps.contracts.humanize import size
from steps.contracts.runs import ArtifactRecord, RunRecord

# A model, and what was found of it.
_OF_A_MODEL = ("model", "eval_report", "comparison", "decision")


def copy(root: Path, what: str, target: str, json_output: bool) -> None:
    """Copy a run, a dataset version, a model, or all that lies in a store, and say what was sent. A run that isn't
    known here, from a store that is named by its place, is known by its copy then.

    Raises:
        ConfigError: source and target are one. As `find_version`, `find_run`, `copy_artifacts` and `records_in`.
    """
    done = []
    known = {r.run_id for r in known_runs(root)}
    for run, artifacts in _meant(root, what):
        if run.artifact_store.rstrip("/") == _place(target):
            raise ConfigError("this is where it lies", where=target, hint="name another place")
        # First: a copy that is cut off is one as well.
        note_copy(root, _place(target))
        copied, record = copy_artifacts(root, run, artifacts, target)
        if run.run_id not in known:
            save_run(root, record, "")
        done.append(copied)
    if json_output:
        emit({"copies": [asdict(c) for c in done]})
        return
    for copied in done:
        say(_said(copied))


def _said(copied: Copied) -> str:
    there = f", {copied.there} were there already" if copied.there else ""
    return (
        f"{copied.run}: {len(copied.artifacts)} artifacts; {copied.sent} files sent ({size(copied.sent_bytes)})"
        f"{there}; read back, digests hold\n  record: {copied.record}"
    )


def _place(target: str) -> str:
    return (
        target.rstrip("/") if is_remote(target) else str(Path(target.removeprefix("file://")).expanduser().absolute())
    )


def _meant(root: Path, what: str) -> Iterator[tuple[RunRecord, tuple[ArtifactRecord, ...]]]:
    if "://" in what or Path(what).is_dir():
        yield from ((run, run.artifacts) for run in records_in(what))
        return
    wanted = reference(what, "run", "dataset", "model")
    if wanted.kind == "dataset":
        version = find_version(root, what)
        yield version.run, (version.artifact,)
    elif wanted.kind == "model":
        yield _registering(root, what)
    else:
        run = find_run(root, wanted.name)
        yield run, run.artifacts


def _registering(root: Path, what: str) -> tuple[RunRecord, tuple[ArtifactRecord, ...]]:
    """The run that registered a model's version (default: the newest known here), and what belongs to the model."""
    meant = parsed(what)
    if meant.alias:
        hint = f"name the version: model:{meant.name}/VERSION; `assay audit` says which one that is"
        raise InputError("an alias moves, a copy doesn't", where=what, hint=hint)
    made = [r for r in known_runs(root) if r.registration is not None and r.registration.name == meant.name]
    fits = [r for r in made if r.registration and meant.version in (None, r.registration.version)]
    if not fits:
        hint = "assay runs lists what was registered; `assay runs --sync` looks in ZenML's store"
        raise InputNotFoundError("no run known here registered it", where=what, hint=hint)
    return fits[0], tuple(a for a in fits[0].artifacts if a.type in _OF_A_MODEL)
