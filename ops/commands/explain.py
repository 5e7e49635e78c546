"""`assay explain`: one row's way through a run."""

import json
from dataclasses import asdict
from pathlib import Path

from ops.console import emit, heading, say, show_table
from ops.row_history import AtStage, Line, RowHistory, Seen, models_that_saw, open_rows
from ops.run_index import find_run, known_runs
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
    ids, fit = rows.find(query)
    if not ids:
        raise InputNotFoundError(
            "no row has that id or text",
            where=f"run {run.name}",
            hint="--run looks in another run; rejected rows are in the run's rejects.jsonl",
        )
    if json_output:
        found = [asdict(h) for h in rows.histories(ids[:_SHOWN], raw)]
        if len(found) == 1:
            found[0]["seen_by"] = [asdict(s) for s in models_that_saw(root, ids[0])]
        emit({"run": run.name, "matches": fit, "rows": found})
    elif len(ids) == 1:
        _show(rows.histories(ids, raw)[0], run, models_that_saw(root, ids[0]))
    else:
        _choose(rows.histories(ids[:_SHOWN], raw), fit)


def _newest_with_rows(root: Path) -> RunRecord:
    runs = known_runs(root)
    return next((r for r in runs if r.of_type("ledger")), None) or find_run(root)


def _choose(histories: list[RowHistory], fit: int) -> None:
    show_table(["row", "fate", "text"], [[t.record_id, t.fate, _text(t, 60)] for t in histories])
    more = fit - len(histories)
    hidden = f", {more:,} more than shown: search for more words," if more else ";"
    say(f"{fit:,} rows fit{hidden} name one by its id")


def _text(history: RowHistory, length: int) -> str:
    if history.text is None:
        return "(never scrubbed; --raw shows it)" if history.hidden else ""
    one_line = " ".join(history.text.split())
    return one_line if len(one_line) <= length else one_line[: length - 1] + "…"


def _show(history: RowHistory, run: RunRecord, seen: list[Seen]) -> None:
    heading(f"{history.record_id}  {history.fate}")
    say(f"{history.source} {history.locator}".strip() + f"   run {run.name}")
    rows = [line for at in history.stages for line in _at_stage(at)]
    show_table(["stage", "verdict", "reason", "score", "evidence"], rows, numeric=[3])
    for line in (line for at in history.stages for line in at.lines if line.rule):
        say(f"{line.stage} {line.verdict} it: {line.rule}")
    if history.split:
        say(f"split: {history.split}")
    for s in seen:
        sure = "trained on it" if s.sure else "may have been trained on it: its dataset is gone or out of reach"
        say(f"model {s.registered or s.model[:_SHORT] or '(unread)'} of run {s.run} {'was ' if s.sure else ''}{sure}")
    for child, stage in history.children:
        say(f"{stage} made {child} from it")
    if history.hidden:
        say("text: this row was never scrubbed; --raw shows an excerpt")
    elif history.text is not None:
        say(f"text: {_text(history, 300)}")


def _at_stage(at: AtStage) -> list[list[object]]:
    if not at.lines:
        return [[at.stage, at.verdict, "", None, ""]]
    return [[at.stage, line.verdict, line.reason, line.score, _evidence(line)] for line in at.lines]


def _evidence(line: Line) -> str:
    parts = [f"{k}: {v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)}" for k, v in line.evidence.items()]
    named = [p for p in line.parents if not any(p in part for part in parts)]
    if named:
        parts.append(("made from " if line.verdict == "created" else "see ") + ", ".join(named))
    return "; ".join(parts)
