"""The board as a table for programs: JSON and CSV, in files and in the tracker."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from ops.sweeps.board import Board
from ops.sweeps.results import as_json
from ops.sweeps.statistics import Interval

JSON_FILE, CSV_FILE = "leaderboard.json", "leaderboard.csv"


def as_object(board: Board) -> dict[str, Any]:
    """All that the board says."""
    entries = [
        {
            "rank": e.rank, "number": e.number, "standing": e.standing, **as_json(e.result), "compared": e.compared,
            "interval": _plain(e.loss), "change": _plain(e.change),
        }
        for e in board.entries
    ]  # fmt: skip
    return {"sweep": board.sweep.name, "verdict": board.verdict, "trials": entries, "notes": board.notes}


def table(board: Board) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows, a row per trial and a column per key that any of them sets."""
    keys = list(dict.fromkeys(key for e in board.entries for key in e.result.values))
    columns = [
        "rank", "trial", "label", *keys, "validation_loss", "loss_low", "loss_high", "change", "change_low",
        "change_high", "standing", "rows", "steps", "cpu_seconds", "run", "error",
    ]  # fmt: skip
    rows = []
    for e in board.entries:
        r = e.result
        rows.append([
            e.rank, e.number, r.label, *(r.values.get(key) for key in keys), e.compared, *_bounds(e.loss),
            e.change.value if e.change else None, *_bounds(e.change), e.standing, r.trained, r.steps, r.cpu_seconds,
            r.run, r.error,
        ])  # fmt: skip
    return columns, rows


def files(board: Board) -> Mapping[str, str]:
    """The same as texts, by the files' names."""
    columns, rows = table(board)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[json.dumps(v) if isinstance(v, list | dict) else v for v in row] for row in rows])
    return {JSON_FILE: f"{json.dumps(as_object(board), indent=1)}\n", CSV_FILE: out.getvalue()}


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval is not None and interval.known else (None, None)


def _plain(interval: Interval | None) -> dict[str, float | None] | None:
    """JSON has no infinity."""
    if interval is None:
        return None
    low, high = _bounds(interval)
    return {"value": interval.value, "low": low, "high": high, "n": interval.n}
