"""`assay review`: a person decides about rows that a run set aside."""

import getpass
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ops.console import emit, say
from ops.review.guard import Guard, GuardedRow
from ops.review.queue import ReviewQueue, SetAside, decisions_path
from ops.run_index import find_run, run_config
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.records import text_of
from steps.review.decisions import Choice, HumanDecision, append
from steps.review.edits import edited

_EXCERPT = 300
_REASONS = 12
_CHOICES: dict[str, Choice] = {"accept": "accept", "edit": "edit", "drop": "drop"}


def review_rows(
    root: Path,
    run_name: str | None,
    stage: str | None,
    reason: str,
    by: str | None,
    decisions: Path | None,
    decide: Path | None,
    again: bool,
    raw: bool,
    json_output: bool,
) -> None:
    """Walk through the rows on the terminal, take decisions from a file, or list the rows as JSON.

    Raises:
        InputNotFoundError: the run set nothing aside. InputError: a decision in the file can't be taken.
    """
    run = find_run(root, run_name)
    guard = Guard(root, run_config(root, run))
    queue = ReviewQueue(root, run, decisions or decisions_path(root, run), guard, stage, reason, again)
    if decide is not None:
        _take(queue, decide, by or getpass.getuser(), json_output)
    elif json_output:
        _list(queue, raw)
    else:
        _walk(queue, by or getpass.getuser(), raw)


def _take(queue: ReviewQueue, decide: Path, by: str, json_output: bool) -> None:
    taken = _from_file(queue, decide, by)
    replaced = sum((Counter(d.checked.replaced) for d in taken if d.checked is not None), Counter())
    if json_output:
        emit({"decisions": str(queue.decisions), "taken": len(taken), "replaced": replaced})
        return
    for entity, count in sorted(replaced.items()):
        say(f"personal data was replaced, as scrub does: {entity} {count:,}")
    _after(queue, Counter(d.choice for d in taken), 0)


def _list(queue: ReviewQueue, raw: bool) -> None:
    total, left = queue.counts()
    emit({
        "run": queue.run.name, "set_aside": total, "undecided": left.total(), "decisions": str(queue.decisions),
        "rows": [_listed(item, raw) for item in queue],
    })  # fmt: skip


def _walk(queue: ReviewQueue, by: str, raw: bool) -> None:
    from ops.review.session import Session

    total, left = queue.counts()
    say(f"run {queue.run.name}: {left.total():,} of {total:,} rows set aside are undecided")
    # Each reason begins with its category: --reason takes either.
    for reason, count in left.most_common(_REASONS):
        say(f"  {count:6,}  {reason or 'no reason in the ledger'}")
    session = Session(queue, by, raw, left.total())
    session.run()
    _after(queue, Counter(session.done.values()), session.hidden)


def _after(queue: ReviewQueue, done: Counter[str], hidden: int) -> None:
    """Say what was done and how it takes effect."""
    if hidden:
        say(f"{hidden:,} rows were never scrubbed and not shown; --raw shows them")
    say(", ".join(f"{what} {count:,}" for what, count in done.items()) or "nothing was decided")
    if queue.decisions.is_file():
        path = queue.decisions.resolve()
        named = str(path.relative_to(queue.root) if path.is_relative_to(queue.root) else path)
        files = ", ".join(dict.fromkeys([*queue.applied_files(), named]))
        say(f"the next run applies them with  --set 'review.decisions=[{files}]'")


def _listed(item: SetAside, raw: bool) -> dict[str, Any]:
    shown = item.scrubbed or raw
    return {
        "record_id": item.row["record_id"],
        "content_id": item.row["content_id"],
        "stage": item.stage,
        **{k: item.row[k] for k in ("kind", "label", "score") if item.row.get(k) is not None},
        "notes": [{"verdict": n.verdict, "reason": n.reason, "evidence": n.evidence} for n in item.notes],
        "text": text_of(item.row)[:_EXCERPT] if shown else None,
    }


def _from_file(queue: ReviewQueue, file: Path, by: str) -> list[HumanDecision]:
    """Take every decision of a JSON Lines file, or none: all mistakes are named before anything is written."""
    if not file.is_file():
        raise InputNotFoundError("no such file", where=str(file))
    wanted: dict[str, tuple[int, dict[str, Any]]] = {}
    mistakes: list[str] = []
    try:
        # Not splitlines: JSON text may hold other line separators as they are.
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as e:
        raise InputError("not UTF-8", where=str(file), hint="JSON Lines, one decision a line") from e
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                given = _read_line(line)
                wanted[given["record_id"]] = (number, given)
            except InputError as e:
                mistakes.append(f"line {number}: {e.what}")
    found: dict[str, HumanDecision] = {}
    for item in queue:
        number, given = wanted.get(item.row["record_id"], (0, {}))
        if given:
            try:
                found[item.row["record_id"]] = decision_of(queue, item, given, by)
            except InputError as e:
                mistakes.append(f"line {number}: {e.what}")
    known = {record for record, _ in queue.decided}
    mistakes += [
        f"line {number}: {'already decided (--again)' if record in known else 'no row set aside has this id'}:"
        f" {record[:40]}"
        for record, (number, _) in wanted.items()
        if record not in found and not any(m.startswith(f"line {number}:") for m in mistakes)
    ]
    if mistakes:
        raise InputError("nothing was written: " + "; ".join(mistakes[:10]), where=str(file))
    for decision in found.values():
        append(queue.decisions, decision)
    return list(found.values())


def _read_line(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as e:
        raise InputError("not JSON") from e
    allowed = {"record_id", "choice", "why", "by", "content", "anyway"}
    if not isinstance(value, dict) or not {"record_id", "choice"} <= set(value) <= allowed:
        raise InputError("not an object with record_id and choice (optional: why, by, content, anyway)")
    if value["choice"] not in _CHOICES:
        raise InputError("choice must be accept, edit or drop")
    if not all(isinstance(value.get(k, ""), str) for k in ("record_id", "why", "by")):
        raise InputError("record_id, why and by are texts")
    if not isinstance(value.get("anyway", False), bool):
        raise InputError("anyway is true or false")
    if (value["choice"] == "edit") != ("content" in value):
        raise InputError("an edit has content, another choice has none")
    return value


def decision_of(queue: ReviewQueue, item: SetAside, given: dict[str, Any], by: str) -> HumanDecision:
    """One decision of a file. `anyway` lets through what a person at a terminal would be asked about."""
    from ops.review.session import decided

    choice = _CHOICES[given["choice"]]
    looked: GuardedRow | None = None
    if choice == "edit":
        looked = queue.guard.look(edited(item.row, given["content"]), item.row if item.scrubbed else None)
        if looked.row["content_id"] == item.row["content_id"]:
            raise InputError("the edit changes nothing")
        if looked.taken_out and not given.get("anyway"):
            raise InputError(f'screen would still {looked.checked.screen} (with "anyway": true it goes on)')
    elif choice == "accept" and not item.scrubbed:
        looked = queue.guard.look(item.row)
    if looked is not None and looked.checked.unsearched and not given.get("anyway"):
        raise InputError('a detector failed on a text of it (with "anyway": true it goes on)')
    return decided(item, choice, given.get("by") or by, queue.guard.words(given.get("why", "")), looked)
