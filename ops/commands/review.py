"""`assay review`: a person decides about rows that a run set aside."""

import getpass
import json
from pathlib import Path
from typing import Any

from ops.console import emit, say
from ops.index import find_run
from ops.review.pile import Pile, SetAside, decisions_path
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.records import Row, text_of
from steps.review.decisions import Choice, HumanDecision, append
from steps.review.edits import edited

_EXCERPT = 300
_CHOICES: dict[str, Choice] = {"accept": "accept", "edit": "edit", "drop": "drop"}


def review_rows(
    root: Path,
    run_name: str | None,
    stage: str | None,
    by: str | None,
    decisions: Path | None,
    decide: Path | None,
    raw: bool,
    json_output: bool,
) -> None:
    """Walk through the rows on the terminal, take decisions from a file, or list the rows as JSON.

    Raises:
        InputNotFoundError: the run set nothing aside. InputError: a decision in the file can't be taken.
    """
    run = find_run(root, run_name)
    pile = Pile(root, run, stage, decisions or decisions_path(root, run))
    person = by or getpass.getuser()
    if decide is not None:
        taken = _from_file(pile, decide, person)
        emit({"decisions": str(pile.decisions), "taken": taken}) if json_output else _after(pile, {"decided": taken}, 0)
    elif json_output:
        total, left = pile.counts()
        rows = [_listed(item, raw) for item in pile]
        emit({"run": run.name, "set_aside": total, "undecided": left, "decisions": str(pile.decisions), "rows": rows})
    else:
        from ops.review.session import Session

        session = Session(pile, person, raw)
        say(f"run {run.name}: {pile.counts()[1]:,} of {pile.counts()[0]:,} rows set aside are undecided")
        session.run()
        _after(pile, session.done, session.hidden)


def _after(pile: Pile, done: dict[str, int], hidden: int) -> None:
    """Say what was done and how it takes effect."""
    if hidden:
        say(f"{hidden:,} rows were never scrubbed and not shown; --raw shows them")
    say(", ".join(f"{what} {count:,}" for what, count in done.items()) or "nothing was decided")
    if pile.decisions.is_file():
        path = pile.decisions.resolve()
        named = str(path.relative_to(pile.root) if path.is_relative_to(pile.root) else path)
        files = ", ".join(dict.fromkeys([*pile.applied_files(), named]))
        say(f"the next run applies them with  --set 'review.decisions=[{files}]'")


def _listed(item: SetAside, raw: bool) -> dict[str, Any]:
    shown = item.scrubbed or raw
    return {
        "record_id": item.row["record_id"],
        "content_id": item.row["content_id"],
        "stage": item.stage,
        "notes": [{"verdict": n.verdict, "reason": n.reason, "evidence": n.evidence} for n in item.notes],
        "text": text_of(item.row)[:_EXCERPT] if shown else None,
    }


def _from_file(pile: Pile, file: Path, by: str) -> int:
    """Take every decision of a JSON Lines file, or none: all mistakes are named before anything is written."""
    if not file.is_file():
        raise InputNotFoundError("no such file", where=str(file))
    wanted: dict[str, tuple[int, dict[str, Any]]] = {}
    mistakes: list[str] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            try:
                said = _said(line)
                wanted[said["record_id"]] = (number, said)
            except InputError as e:
                mistakes.append(f"line {number}: {e.what}")
    found: dict[str, HumanDecision] = {}
    for item in pile:
        number, said = wanted.get(item.row["record_id"], (0, {}))
        if said:
            try:
                found[item.row["record_id"]] = _decision(item, said, by)
            except InputError as e:
                mistakes.append(f"line {number}: {e.what}")
    known = {record for record, _ in pile.decided}
    mistakes += [
        f"line {number}: {'already decided' if record in known else 'no row set aside has this id'}: {record[:40]}"
        for record, (number, _) in wanted.items()
        if record not in found and not any(m.startswith(f"line {number}:") for m in mistakes)
    ]
    if mistakes:
        raise InputError("nothing was written: " + "; ".join(mistakes[:10]), where=str(file))
    for decision in found.values():
        append(pile.decisions, decision)
    return len(found)


def _said(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as e:
        raise InputError("not JSON") from e
    allowed = {"record_id", "choice", "why", "by", "content"}
    if not isinstance(value, dict) or not {"record_id", "choice"} <= set(value) <= allowed:
        raise InputError("not an object with record_id and choice (optional: why, by, content)")
    if value["choice"] not in _CHOICES:
        raise InputError("choice must be accept, edit or drop")
    if not all(isinstance(value.get(k, ""), str) for k in ("record_id", "why", "by")):
        raise InputError("record_id, why and by are texts")
    if (value["choice"] == "edit") != ("content" in value):
        raise InputError("an edit has content, another choice has none")
    return value


def _decision(item: SetAside, said: dict[str, Any], by: str) -> HumanDecision:
    from ops.review.session import decided

    new: Row | None = edited(item.row, said["content"]) if said["choice"] == "edit" else None
    if new is not None and new["content_id"] == item.row["content_id"]:
        raise InputError("the edit changes nothing")
    return decided(item, _CHOICES[said["choice"]], said.get("by") or by, said.get("why", ""), new)
