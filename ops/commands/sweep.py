"""`assay sweep`: trials of a config, and which of them is the best as far as that can be told."""

from collections.abc import Sequence
from pathlib import Path

from ops.console import emit, heading, say, show_table
from ops.environment import prepare
from ops.sweeps.board import Board, Entry
from ops.sweeps.leaderboard import as_object, files
from ops.sweeps.page import render_board
from ops.sweeps.sweep import Sweep, as_process, board_so_far, planned, prepared, run_sweep
from ops.sweeps.tracked import Tracked, tracker_for
from steps.contracts.storage import write_whole

PAGE = "board.html"


def sweep(
    root: Path,
    path: Path,
    overrides: Sequence[str],
    infra: str | None,
    stack: str | None,
    html: Path | None,
    dry_run: bool,
    show: bool,
    again: bool,
    json_output: bool,
) -> None:
    """Run the trials that aren't done, and show the board; `dry_run`: say what would run, `show`: what is done.

    Raises:
        AssayError: the sweep or a trial's config is wrong. A trial that fails is a line of the board.
    """
    prepare(root)
    ready = prepared(root, path, overrides)
    if dry_run:
        _plan(ready, json_output)
        return
    if show:
        board = board_so_far(ready)
    else:
        run = as_process(ready, infra, stack)
        tracker = tracker_for(root, ready.folder, ready.config.name, infra, stack)
        board = run_sweep(ready, run, again, Tracked(tracker, lambda b: {PAGE: render_board(b)}))
    page = html or ready.folder / PAGE
    for file, text in ((page, render_board(board)), *((ready.folder / name, t) for name, t in files(board).items())):
        write_whole(file, text)
    _tell(board, page, json_output)


def _plan(ready: Sweep, json_output: bool) -> None:
    trials, known = planned(ready), ready.log.read()
    if json_output:
        emit({"trials": [{"label": t.label, "values": t.values, "done": t.key in known} for t in trials]})
        return
    for trial in trials:
        say(f"{'done ' if trial.key in known else 'to do'}  {trial.label}")
    if not trials:
        say("the values of each trial depend on those before it")
    say("nothing was run (--dry-run)")


def _tell(board: Board, page: Path, json_output: bool) -> None:
    if json_output:
        emit({**as_object(board), "page": str(page)})
        return
    heading(f"sweep {board.sweep.name}: {len(board.entries)} trials")
    say(board.verdict)
    held = board.reference.label if board.reference else "the best"
    columns = ["rank", "trial", "loss", f"against {held}", "standing", "rows"]
    show_table(columns, [_row(e) for e in board.entries], numeric=[0, 2, 5])
    for note in board.notes:
        say(f"note: {note}")
    say(str(page))


def _row(e: Entry) -> list[object]:
    """Own intervals and runs are in the page and in the files beside it."""
    r = e.result
    if e.compared is None:
        return [None, r.label, None, r.error.partition("\n")[0], e.standing, None]
    change = (
        f"{e.change.value:+.4f} ({e.change.low:+.4f} to {e.change.high:+.4f})" if e.change and e.change.known else ""
    )
    return [e.rank, r.label, f"{e.compared:.4f}", change, e.standing, r.trained]
