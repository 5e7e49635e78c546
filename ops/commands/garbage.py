"""`assay gc` and `assay runs rm`: disk back from what nothing needs."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import yaml

from ops.console import complain, emit, say, show_table
from ops.environment import prepare
from ops.garbage.collection import forget, quiet, remove
from ops.garbage.stores import Store, size_of
from ops.garbage.waste import Found, Waste, find_waste
from ops.lineage.catalogue import load_catalogue
from ops.run_index import artifacts_of, known_runs, matching_runs, run_folder
from ops.schedule.schedule import span_of, span_text
from steps.contracts.errors import AssayError, ConfigError, InputError, InputNotFoundError
from steps.contracts.humanize import size
from steps.contracts.runs import RunRecord
from steps.zenml_runtime.state import state_folder

# Chosen: as many as can be read at a glance.
_NAMED = 8


def collect_garbage(
    root: Path, yes: bool, grace: str, store: str | None, without_registry: Sequence[str], json_output: bool
) -> int:
    """Show what nothing needs; remove it when told so. Returns the exit status: 0, or that of what couldn't be read.

    Raises:
        StorageError: a run is on its way. ServiceError: the store can't be reached. ConfigError: no length of time.
        InputNotFoundError: there is no such folder.
    """
    age = _span(grace)
    place = Store(store or str(state_folder(root) / "artifacts"))
    if store and place.local and not Path(place.uri).is_dir():
        raise InputNotFoundError("no such folder", where=place.uri, hint="name the root of an artifact store")
    with quiet(root, place):
        found = find_waste(root, place, grace=age, registries=frozenset(without_registry))
        if yes:
            remove(root, place, found.waste)
    _tell(found, yes, age, json_output)
    return found.exit_status


def _span(text: str) -> timedelta:
    try:
        found: timedelta = span_of(text)
    except ValueError as e:
        raise ConfigError(str(e), where="--grace") from e
    return found


def remove_runs(root: Path, names: Sequence[str], yes: bool, json_output: bool) -> None:
    """Show what goes with these runs; remove runs and files when told so.

    Raises:
        InputError: a name fits no run or several, or something still needs one of the runs.
        StorageError: a run is on its way. IntegrityError: what others need can't be known.
    """
    runs = [_one(root, name) for name in names]
    _check_own(root, runs)
    reasons = [f"{run.name}: {why}" for run in runs for why in _needed_by(root, run, runs)]
    if reasons:
        raise InputError("these runs are needed:\n  " + "\n  ".join(reasons), where="assay runs rm")
    place = Store(str(state_folder(root) / "artifacts"))
    with quiet(root, place):
        before = {w.uri for w in find_waste(root, place).waste}
        found = find_waste(root, place, without={run.run_id for run in runs})
        if found.unknown:
            raise found.unknown[0]
        only = [w for w in found.waste if w.uri not in before]
        folders = [run_folder(root, run.name) for run in runs]
        told = [*only, *(Waste("record and page of a run", str(f), size_of(f)) for f in folders)]
        if yes:
            forget(root, place, runs, only)
    _tell(Found(tuple(told)), yes, timedelta(), json_output)


def _check_own(root: Path, runs: Sequence[RunRecord]) -> None:
    """First of all: nobody is told what to do so that another's run can go."""
    prepare(root)
    from steps.zenml_runtime.database import open_store, starting
    from steps.zenml_runtime.garbage import others_runs

    with starting():
        open_store()
    if others := others_runs([run.run_id for run in runs]):
        hint = "who started them can remove them"
        raise InputError(f"of another user of this ZenML server: {', '.join(others)}", where="assay runs rm", hint=hint)


def _one(root: Path, name: str) -> RunRecord:
    """The run that is meant, without a guess."""
    fits = matching_runs(root, name)
    if len(fits) > 1:
        raise InputError(f"{name!r} fits {len(fits)} runs", hint="one of " + ", ".join(r.name for r in fits[:8]))
    return fits[0]


def _needed_by(root: Path, run: RunRecord, going: Sequence[RunRecord]) -> Iterator[str]:
    """Why a run must stay, in words."""
    if run.ended is None:
        yield "it is on its way"
    if run.registration is not None and (said := _registered(run)):
        yield said
    if (run_folder(root, run.name) / "decisions.jsonl").is_file():
        yield "a person's decisions lie in its folder (decisions.jsonl): move them first"
    for path, what in _configs_naming(root, run):
        yield f"{path} names it under {what}"
    # Those that only the store has a record of too.
    others = [r for r in load_catalogue(root).runs if r.run_id not in {g.run_id for g in going}]
    mine = {a.digest for a in run.of_type("dataset")} - {a.digest for r in others for a in r.of_type("dataset")}
    for other in others:
        if mine & _trained_on(root, other):
            yield f"the model of {other.name} was trained on its rows: remove that run as well"


def _registered(run: RunRecord) -> str:
    from steps.register.registered import read_registered

    assert run.registration is not None
    named = f"{run.registration.name}/{run.registration.version}"
    try:
        if read_registered(run.registration) is None:
            return ""
    except AssayError as e:
        return f"its model is registered as {named}, and the registry doesn't answer: {e.what}"
    return f"its model is registered as {named}: delete that version in MLflow first"


def _configs_naming(root: Path, run: RunRecord) -> Iterator[tuple[str, str]]:
    for path in sorted((root / "configs" / "runs").glob("*.yaml")):
        try:
            said = yaml.safe_load(path.read_text("utf-8"))
        except (yaml.YAMLError, OSError, ValueError, RecursionError):
            continue
        for key in ("reuse", "dataset"):
            value = said.get(key) if isinstance(said, dict) else None
            config = said.get("name") if value == "latest" else value if key == "dataset" else None
            if value in (run.name, run.run_id) or (config == run.config_name and _is_newest(root, run)):
                yield str(path.relative_to(root)), f"{key}: {value}"


def _is_newest(root: Path, run: RunRecord) -> bool:
    same = (r for r in known_runs(root) if r.config_name == run.config_name and r.status == "completed")
    newest = next(same, None)
    return newest is not None and newest.run_id == run.run_id


def _trained_on(root: Path, run: RunRecord) -> set[str | None]:
    """Digests of the dataset versions that a run's models were trained on."""
    store = artifacts_of(root, run)
    found: set[str | None] = set()
    for artifact in run.of_type("model"):
        try:
            found.add(store.model(artifact).dataset_digest)
        except InputNotFoundError:
            continue
    return found - {None}


def _tell(found: Found, removed: bool, grace: timedelta, json_output: bool) -> None:
    total, young = (sum(w.bytes for w in some) for some in (found.waste, found.young))
    if json_output:
        told = [{"kind": w.kind, "uri": w.uri, "bytes": w.bytes} for w in found.waste]
        emit(
            {
                "removed": removed,
                "bytes": total,
                "found": told,
                "young": {"grace": span_text(grace), "number": len(found.young), "bytes": young},
                "missing": [_as_value(e) for e in found.missing],
                "not_read": [_as_value(e) for e in found.unknown],
            }
        )
        return
    errors = (*found.unknown, *found.missing)
    for error in errors[:_NAMED]:
        complain(f"warning: {error}")
    if len(errors) > _NAMED:
        complain(f"warning: {len(errors) - _NAMED:,} more are missing or can't be read (--json names them)")
    _show(found.waste)
    if found.young:
        say(f"{len(found.young):,} more ({size(young)}) are younger than {span_text(grace)} and stay (--grace)")
    if removed:
        say(f"{size(total)} freed")
    elif found.waste:
        say(f"{size(total)} would be freed; nothing was removed (--yes does it)")
    else:
        say("there is nothing to free")


def _show(waste: Sequence[Waste]) -> None:
    kinds = [(kind, list(group)) for kind, group in groupby(sorted(waste, key=lambda w: w.kind), lambda w: w.kind)]
    if kinds:
        lines = [[kind, len(group), size(sum(w.bytes for w in group))] for kind, group in kinds]
        show_table(["what", "number", "size"], lines, numeric=[1, 2])


def _as_value(error: AssayError) -> dict[str, str]:
    return {"where": error.where or "", "why": error.what, "hint": error.hint or ""}
