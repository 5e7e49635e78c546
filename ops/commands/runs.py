"""`assay runs` and `assay report`."""

import webbrowser
from collections.abc import Sequence
from pathlib import Path

from ops.console import complain, console, emit, say, show_table
from ops.registered_names import registries, version_name
from ops.run_index import (
    NONE_YET,
    artifacts_of,
    find_run,
    known_runs,
    matching_runs,
    report_path,
    runs_folder,
    write_report,
)
from steps.contracts.errors import WorkerDiedError
from steps.contracts.humanize import duration
from steps.contracts.runs import DIED, RunRecord

_COLUMNS = ("run", "started", "took", "status", "steps", "model")
# Chosen: of other runs that a name fits, so many are shown.
_OTHERS = 20


def catch_up(root: Path, wanted: bool) -> None:
    """Bring the index up to date when told so, and where runs are on their way or were killed."""
    from ops.sync import is_behind, sync

    if wanted:
        for record in sync(root):
            complain(f"{record.name}: {record.status}")
    elif is_behind(root):
        try:
            sync(root)
        except Exception as e:  # noqa: BLE001 - what is known can be shown without ZenML's store
            complain(f"warning: ZenML's store doesn't answer, so this may be out of date: {e}")


def list_runs(root: Path, limit: int, json_output: bool) -> None:
    """The newest runs: what, when, how it ended, what was registered."""
    found = known_runs(root)[:limit]
    if json_output:
        emit({"runs": [r.model_dump(mode="json", exclude={"artifacts"}) for r in found]})
    elif not found:
        say(f"no runs yet; {NONE_YET}" if not any(runs_folder(root).glob("[!.]*/")) else "no run's record can be read")
    else:
        _show(found)


def show_run(root: Path, name: str, json_output: bool) -> None:
    """One run: how it ended, and what every stage took out and cost."""
    from ops.summary import costs_as_json, print_costs, print_usage
    from pipelines.report.costs import evaluation_costs, run_costs

    run, *others = matching_runs(root, name)
    store = artifacts_of(root, run)
    if json_output:
        named = {"others": [r.name for r in others], "links": _links(root, run)}
        emit({**run.model_dump(mode="json"), **costs_as_json(store), **named})
        return
    _show([run])
    if run.error:
        say(f"error: {f'{run.failed_step}: ' if run.failed_step else ''}{run.error}")
        if run.log:
            say(f"  log: {run.log}")
    print_costs(console(), [*run_costs(store), *evaluation_costs(store)])
    print_usage(console(), run)
    for where, link in _links(root, run).items():
        say(f"{where}  {link}")
    if others:
        _show(others[:_OTHERS])
        more = f", the newest {_OTHERS} shown" if len(others) > _OTHERS else ""
        say(f"{name!r} fits {len(others)} earlier runs{more}; name one to see it")


def _links(root: Path, run: RunRecord) -> dict[str, str]:
    """Where the run is seen in a browser, while `assay dashboard` runs."""
    from ops.dashboards import running

    found = running(root)
    return found.of(run) if found is not None else {}


def _show(runs: Sequence[RunRecord]) -> None:
    """A line per run; with the slots that they stand for where one does."""
    slots = [_slot(r) for r in runs]
    columns = (*_COLUMNS, "slot") if any(slots) else _COLUMNS
    known = registries(runs)
    show_table(columns, [[*_line(r, known), slot][: len(columns)] for r, slot in zip(runs, slots, strict=True)])


def _slot(run: RunRecord) -> str:
    return f"{run.slot}{f' of {run.schedule}' if run.schedule else ''}" if run.slot else ""


def _line(run: RunRecord, known: frozenset[str]) -> list[str]:
    steps = f"{len(run.executed_steps)} run, {len(run.cached_steps)} cached"
    model = f"{version_name(run.registration, known)} {run.registration.status}" if run.registration else ""
    took = "" if run.seconds is None else duration(run.seconds)
    return [run.name, run.started[:16].replace("T", " "), took, _status(run), steps, model]


def _status(run: RunRecord) -> str:
    """ZenML's word; of a run that failed because it was stopped, or whose process is gone, that."""
    if run.status != "failed":
        return run.status
    if run.error_kind in ("KeyboardInterrupt", "Terminated"):
        return "interrupted"
    return "died" if run.error == DIED or run.error_kind == WorkerDiedError.__name__ else run.status


def show_report(root: Path, name: str | None, open_it: bool, refresh: bool, json_output: bool) -> None:
    """Print the path of the page; render it when it is missing or when told so."""
    run = find_run(root, name)
    path = report_path(root, run.name)
    if refresh or not path.is_file():
        path = write_report(root, run)
    if json_output:
        emit({"run": run.name, "report": str(path)})
    else:
        say(str(path))
    if open_it:
        webbrowser.open(path.resolve().as_uri())
