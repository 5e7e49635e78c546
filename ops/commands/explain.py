"""`assay explain`: one row's way through a run."""

import json
from dataclasses import asdict
from pathlib import Path

from ops.commands.trail import Line, Rows, Seen, Station, Trail, models_that_saw, open_rows
from ops.console import emit, heading, say, show_table
from ops.run_index import find_run, load_runs
from steps.contracts.errors import InputNotFoundError
from steps.contracts.runs import RunRecord

_SHOWN = 20
_SHORT = 12


def explain_row(root: Path, query: str, run_name: str | None, raw: bool, json_output: bool) -> None:
    """Print the way of the one row that `query` means, or the rows to choose from.

    Raises:
        InputNotFoundError: no row fits.
    """
    run = find_run(root, run_name) if run_name else _newest_with_rows(root)
    rows = open_rows(root, run)
    ids = rows.find(query)
    if not ids:
        raise InputNotFoundError(
            "no row has that id or text",
            where=f"run {run.name}",
            hint="--run looks in another run; rejected rows are in the run's rejects.jsonl",
        )
    if json_output:
        found = [asdict(rows.trail(i, raw)) for i in ids[:_SHOWN]]
        if len(found) == 1:
            found[0]["seen_by"] = [asdict(s) for s in models_that_saw(root, ids[0])]
        emit({"run": run.name, "matches": len(ids), "rows": found})
    elif len(ids) == 1:
        _show(rows.trail(ids[0], raw), run, models_that_saw(root, ids[0]))
    else:
        _choose(rows, ids, raw)


def _newest_with_rows(root: Path) -> RunRecord:
    runs = load_runs(root, on_broken=lambda _file, _why: None)
    return next((r for r in runs if r.of_type("ledger")), None) or find_run(root)


def _choose(rows: Rows, ids: list[str], raw: bool) -> None:
    trails = [rows.trail(i, raw) for i in ids[:_SHOWN]]
    show_table(["row", "fate", "text"], [[t.record_id, t.fate, _text(t, 60)] for t in trails])
    more = f", the first {_SHOWN} shown" if len(ids) > _SHOWN else ""
    say(f"{len(ids)} rows fit{more}; name one by its id")


def _text(trail: Trail, length: int) -> str:
    if trail.text is None:
        return "(never scrubbed; --raw shows it)" if trail.hidden else ""
    one_line = " ".join(trail.text.split())
    return one_line if len(one_line) <= length else one_line[: length - 1] + "…"


def _show(trail: Trail, run: RunRecord, seen: list[Seen]) -> None:
    heading(f"{trail.record_id}  {trail.fate}")
    say(f"{trail.source} {trail.locator}".strip() + f"   run {run.name}")
    rows = [line for station in trail.stations for line in _station(station)]
    show_table(["stage", "verdict", "reason", "score", "evidence"], rows, numeric=[3])
    if trail.split:
        say(f"split: {trail.split}")
    for s in seen:
        sure = "trained on it" if s.sure else "may have been trained on it: its dataset is gone or out of reach"
        say(f"model {s.registered or s.model[:_SHORT] or '(unread)'} of run {s.run} {'was ' if s.sure else ''}{sure}")
    for child, stage in trail.children:
        say(f"{stage} made {child} from it")
    if trail.hidden:
        say("text: this row was never scrubbed; --raw shows an excerpt")
    elif trail.text is not None:
        say(f"text: {_text(trail, 300)}")


def _station(station: Station) -> list[list[object]]:
    if not station.lines:
        return [[station.stage, station.verdict, "", None, ""]]
    return [[station.stage, line.verdict, line.reason, line.score, _evidence(line)] for line in station.lines]


def _evidence(line: Line) -> str:
    parts = [f"{k}: {v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)}" for k, v in line.evidence.items()]
    named = [p for p in line.parents if not any(p in part for part in parts)]
    if named:
        parts.append(("made from " if line.verdict == "created" else "see ") + ", ".join(named))
    return "; ".join(parts)
