"""The run index: one small folder per run outside ZenML's store, so that reading a run never opens that store.

.zenml/state/runs/<name>/run.json      the RunRecord
.zenml/state/runs/<name>/config.yaml   the resolved config
.zenml/state/runs/<name>/report.html   the one-page report
"""

import difflib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from ops.console import complain
from ops.references import reference
from steps.contracts.digests import value_digest
from steps.contracts.errors import AssayError, InputError, InputNotFoundError, IntegrityError
from steps.contracts.runs import RunRecord
from steps.contracts.storage import write_whole
from steps.zenml_runtime.state import state_folder

if TYPE_CHECKING:
    from materializers.artifacts import Artifacts

# The newest run of all, wherever a run is named.
LATEST = "latest"
# The way out where the index is empty.
NONE_YET = "start one with: assay run CONFIG; assay runs --sync looks for runs in ZenML's store"
# The way out where a record can't be read.
MEND = "`assay runs --sync` writes it anew from ZenML's store; remove the folder if the run isn't needed"
# Chosen: so many of the runs that a name fits as well are named; `assay runs` lists them all.
_OTHERS = 7
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def runs_folder(root: Path) -> Path:
    """The folder that holds one folder per run, `.zenml/state/runs` by default; it may not exist yet."""
    return state_folder(root) / "runs"


def run_folder(root: Path, name: str) -> Path:
    """The folder of one run.

    Raises:
        InputError: the name isn't one path component of letters, digits, dots, dashes and underscores.
    """
    if not _SAFE_NAME.fullmatch(name):
        raise InputError(f"not a usable run name: {name!r}", hint="letters, digits, '.', '-' and '_', at most 200")
    return runs_folder(root) / name


def report_path(root: Path, name: str) -> Path:
    """Where the one-page report of a run lies."""
    return run_folder(root, name) / "report.html"


def config_path(root: Path, name: str) -> Path:
    """Where the resolved config of a run lies."""
    return run_folder(root, name) / "config.yaml"


def save_run(root: Path, record: RunRecord, config_yaml: str) -> Path:
    """Write (or replace) a run's record and resolved config; returns the run's folder."""
    folder = run_folder(root, record.name)
    write_whole(folder / "config.yaml", config_yaml)
    write_whole(folder / "run.json", record.model_dump_json(indent=1))
    return folder


def config_text(root: Path, run: RunRecord) -> str:
    """The resolved config of a run, as it was written; "" where the index has none.

    Raises:
        IntegrityError: it isn't the one that the run's record names.
    """
    file = config_path(root, run.name)
    if not file.is_file():
        return ""
    try:
        text = file.read_text(encoding="utf-8")
        same = value_digest(yaml.safe_load(text)) == run.config_digest
    except (yaml.YAMLError, ValueError, TypeError):
        same = False
    if not same:
        hint = "remove run.json beside it, then `assay runs --sync` writes both anew"
        raise IntegrityError("not the config that the run had: it was changed or damaged", where=str(file), hint=hint)
    return text


def run_config(root: Path, run: RunRecord) -> dict[str, Any]:
    """The same as values; empty where the index has none."""
    return yaml.safe_load(config_text(root, run)) or {}


def load_runs(root: Path, on_broken: Callable[[Path, str], None] | None = None) -> list[RunRecord]:
    """All runs, newest first. `on_broken(file, why)` is called for a record that is gone or can't be read.

    Raises:
        IntegrityError: a record can't be read and `on_broken` is None.
    """
    runs = []
    for folder in sorted(runs_folder(root).glob("[!.]*/")):
        file = folder / "run.json"
        try:
            record = RunRecord.model_validate_json(file.read_bytes())
            why = "" if record.name == folder.name else f"the record of another run, {record.name}"
        except (ValidationError, OSError) as e:
            why = _why_unreadable(e)
        if not why:
            runs.append(record)
        elif on_broken is None:
            raise IntegrityError(why, where=str(file), hint=MEND)
        else:
            on_broken(file, why)
    return sorted(runs, key=lambda r: (r.started, r.name), reverse=True)


def _why_unreadable(error: ValidationError | OSError) -> str:
    if isinstance(error, ValidationError):
        return f"not a run record: {error.error_count()} errors, first: {error.errors()[0]['msg']}"
    return "the run's record is gone" if isinstance(error, FileNotFoundError) else f"not readable: {error.strerror}"


def known_runs(root: Path) -> list[RunRecord]:
    """The same; a record that can't be read is named on standard error."""
    return load_runs(root, on_broken=_warn)


@cache
def _warn(file: Path, why: str) -> None:
    # Once per command, however often it looks.
    complain(f"warning: {file}: {why}\n  way out: {MEND}")


def not_found(root: Path, error: InputNotFoundError, name: str = "") -> AssayError:
    """The error; where records can't be read, one that names the first: what was looked for may be in them.

    `name`: of the run, when it is known, or its beginning; then records of other runs don't count.
    """
    broken: list[tuple[Path, str]] = []
    load_runs(root, on_broken=lambda file, why: broken.append((file, why)))
    likely = [b for b in broken if b[0].parent.name.startswith(name)]
    if not likely:
        return error
    file, why = likely[0]
    return IntegrityError(why, where=str(file), hint=MEND)


def find_run(root: Path, name: str | None = None) -> RunRecord:
    """The run that is meant: of several that fit the newest, and where no config has that name standard error says so.

    `run:NAME` is the same as NAME.

    Raises:
        InputNotFoundError: no such run. IntegrityError: its record can't be read.
    """
    name = reference(name, "run").name if name else name
    fits = matching_runs(root, name)
    if name not in (None, fits[0].config_name) and len(fits) > 1:
        _tell_choice(name, tuple(r.name for r in fits))
    return fits[0]


@cache
def _tell_choice(name: str | None, fits: tuple[str, ...]) -> None:
    # Once per command, however often it looks.
    others = ", ".join(fits[1 : 1 + _OTHERS]) + (
        f" and {len(fits) - 1 - _OTHERS} more" if len(fits) > 1 + _OTHERS else ""
    )
    complain(f"{name!r} fits {len(fits)} runs; this is the newest, {fits[0]}; the others: {others}")


def matching_runs(root: Path, name: str | None = None) -> list[RunRecord]:
    """The run of that name or id, else those of the config of that name, else those that start with it; newest first.

    All when None, the newest for `latest`. `run:NAME` is the same as NAME.

    Raises:
        InputNotFoundError: none is there. IntegrityError: its record can't be read.
    """
    runs = known_runs(root)
    if not runs:
        raise not_found(root, InputNotFoundError("no runs yet", where=str(runs_folder(root)), hint=NONE_YET))
    if name is None:
        return runs
    name = reference(name, "run").name
    exact = [r for r in runs if name in (r.name, r.run_id)] or [r for r in runs if r.config_name == name]
    begin = [r for r in runs if r.name.startswith(name) or r.run_id.startswith(name)]
    fits = runs[:1] if name == LATEST else exact or begin
    if fits:
        return fits
    near = difflib.get_close_matches(name, [r.name for r in runs], n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else "assay runs lists them"
    raise not_found(root, InputNotFoundError(f"no run {name!r}", where=str(runs_folder(root)), hint=hint), name)


def curating_run(root: Path, run: RunRecord, dataset_digest: str | None) -> RunRecord | None:
    """The run that made a run's dataset: itself, or for fine-tuning alone the first that made that version.

    None when no record of it is left.
    """
    if run.of_type("dataset"):
        return run
    runs = known_runs(root)
    made = [r for r in runs if dataset_digest in {a.digest for a in r.of_type("dataset")}]
    return made[-1] if made else None


def artifacts_of(root: Path, run: RunRecord, **shared: Any) -> "Artifacts":
    """The artifacts of a run, opened without ZenML; files of a remote store are kept in the state folder's cache.

    `shared`: what readers of several runs share (see `Artifacts`).
    """
    # Here, since it imports pyarrow and fsspec, which a list of runs doesn't need.
    from materializers.artifacts import Artifacts

    return Artifacts(run, state_folder(root) / "cache", **shared)


def write_report(root: Path, run: RunRecord) -> Path:
    """Render a run's page from its artifacts into the run's folder; returns its path."""
    from pipelines.report.collect import collect
    from pipelines.report.page import render_page

    store = artifacts_of(root, run)
    config_yaml = config_text(root, run)
    trained_on = [store.model(a).dataset_digest for a in run.of_type("model")]
    made_by = curating_run(root, run, next((d for d in reversed(trained_on) if d), None))
    path = report_path(root, run.name)
    write_whole(path, render_page(collect(store, made_by, config_yaml)))
    return path
