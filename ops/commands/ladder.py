"""`assay ladder`: several bases by one config, one after the other, and the smallest that passes the gate."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from materializers import views
from ops.console import console, emit, say, show_table, text
from ops.environment import prepare
from ops.ladder import (
    Rung,
    as_object,
    by_size,
    climbed,
    config_of,
    located,
    notes,
    overrides_of,
    rungs_of,
    table,
    verdict,
)
from ops.preflight import checked
from ops.sweeps.sweep import Start, placed, run_apart
from pipelines.config import RunConfig
from steps.contracts.errors import AssayError
from steps.contracts.locks import locked
from steps.contracts.storage import write_whole
from steps.engines.progress.progress import say as tell
from steps.zenml_runtime.state import state_folder

FOLDER, PAGE = "ladders", "ladder.html"
_UNSIZED = "not all sizes are known on this machine before a run: bases are taken in the order given, smallest first"
_WAITS = "it waits for a ladder of the same config, or for a run that a killed one left"


def climb(
    root: Path,
    path: Path,
    bases: Sequence[str],
    overrides: Sequence[str],
    infra: str | None,
    stack: str | None,
    html: Path | None,
    dry_run: bool,
    json_output: bool,
    whole: bool = False,
) -> None:
    """Run the bases from the smallest to the first that passes (`whole`: all of them), and show the table.

    Raises:
        AssayError: a base or the config with it is wrong. A run that fails is a line of the table.
    """
    prepare(root)
    rungs, sized = by_size(root, located(root, Path.cwd(), rungs_of(bases)))
    config = config_of(path, overrides)
    sets = {r.label: [*overrides, *overrides_of(config, r)] for r in rungs}
    for rung in rungs:
        # All of them before the first one costs anything.
        checked(root, path, sets[rung.label])
    if dry_run:
        told = [{"base": r.label, "overrides": sets[r.label]} for r in rungs]
        if json_output:
            emit({"runs": told})
        for one in told if not json_output else ():
            say(f"to do  {one['base']}: {', '.join(one['overrides'])}")
        return
    folder, environment = state_folder(root) / FOLDER / config.name, dict(os.environ)
    done: list[Rung] = []
    with locked(folder / ".lock", lambda: tell(_WAITS)) as lock:
        if not sized and not whole:
            tell(f"ladder {config.name}: {_UNSIZED}")
        for number, rung in enumerate(rungs, 1):
            if not whole and (passes := next((r for r in done if r.promote), None)):
                done.append(replace(rung, skipped=_behind(passes, sized=sized)))
                continue
            tell(f"ladder {config.name}: base {number} of {len(rungs)}: {rung.label}")
            start = Start(sets[rung.label], {}, lock.fileno())
            name, error = run_apart(root, str(path.resolve()), placed(infra, stack), start, folder, environment)
            done.append(_ended(root, rung, name, error, config.gate.metric))
            tell(f"  {_in_short(done[-1])}")
    page = html or folder / PAGE
    write_whole(page, _page(done, config))
    if json_output:
        emit({**as_object(done, config), "page": str(page)})
        return
    found = table(done)
    show_table(found.columns, found.rows, numeric=[1, 5, 6, 7])
    console().print(text(verdict(done)), style="bold")
    for note in notes(done, config):
        say(f"note: {note}")
    say(str(page))


def _behind(passes: Rung, *, sized: bool) -> str:
    """Why a base isn't run."""
    how = "is smaller and passes" if sized else f"passes, and {_UNSIZED}"
    return f"{passes.label} {how}; --all runs every base"


def _ended(root: Path, rung: Rung, name: str | None, error: str, metric: str | None) -> Rung:
    try:
        return climbed(root, rung, name, metric) if name else replace(rung, error=error)
    except AssayError as e:
        return replace(rung, error=e.what)


def _in_short(rung: Rung) -> str:
    if not rung.run:
        return f"failed: {rung.error}"
    return f"{rung.parameters:,} weights: {'passes' if rung.promote else 'does not pass'}, run {rung.run}"


def _page(done: Sequence[Rung], config: RunConfig) -> str:
    said = [verdict(done), *notes(done, config)]
    lines = Markup("").join(Markup("<p>{}.</p>").format(line[:1].upper() + line[1:]) for line in said)
    return views.document(lines + views.fragment(table(done)), f"ladder {config.name}", f"ladder {config.name}")
