"""`assay review export` and `import`: rows set aside, decided about in Argilla or Label Studio."""

import getpass
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ops.commands.review import decision_of
from ops.console import emit, say
from ops.judging.labelling import gold_line
from ops.review.exchange.programs import PROGRAMS, read_votes, write_for
from ops.review.exchange.votes import Merged, Vote, merged, ratings
from ops.review.queue import ReviewQueue, SetAside
from steps.contracts.durable_lines import append_line
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError
from steps.judge.gold import read_gold
from steps.review.decisions import HumanDecision, append
from steps.review.edits import edited

_MOST_MISTAKES = 10


def export_rows(queue: ReviewQueue, program: str, folder: Path, raw: bool, json_output: bool) -> None:
    """Write the undecided rows for the program into `folder`.

    Raises:
        ConfigError: no such program. InputNotFoundError: there is nothing to export.
    """
    if program not in PROGRAMS:
        raise ConfigError(f"no program {program!r}", where="--to", hint=" or ".join(PROGRAMS))
    items = list(queue)
    shown = [item for item in items if item.scrubbed or raw]
    hidden = len(items) - len(shown)
    if not shown:
        why = f"{hidden} rows were never scrubbed; --raw exports them" if hidden else "all are decided about"
        raise InputNotFoundError("no row to export", where=f"run {queue.run.name}", hint=why)
    files = write_for(program, queue.run.name, shown, folder)
    if json_output:
        emit({"rows": len(shown), "hidden": hidden, "files": [str(f) for f in files]})
        return
    say(f"{len(shown):,} rows for {program}" + (f"; {hidden:,} were never scrubbed (--raw)" if hidden else ""))
    for file in files:
        say(str(file))


def import_rows(queue: ReviewQueue, file: Path, least: int, gold: Path | None, json_output: bool) -> None:
    """Take what annotators decided: the majority's word, as decisions of `assay review`. Where they disagree, and where
    an edit can't go on (it is no row of its form any more, or screen would take it out), the row stays undecided and is
    listed. A file that speaks of other rows than those of this run is refused whole.

    Rows that were decided about before, here or by an earlier import, are left alone unless `queue.again`.

    Raises:
        InputError: the file is no export of one of the programs, or not of this run's rows.
    """
    votes = read_votes(file)
    items = {item.row["record_id"]: item for item in replace(queue, again=True)}
    _require_ours(queue, votes, items, file)
    taken: list[HumanDecision] = []
    apart: list[Merged] = []
    known = 0
    for row in merged(votes, least):
        item = items.get(row.record_id)
        if item is None or item.row["content_id"] != row.content_id:
            continue
        if queue.is_decided(row.record_id, row.content_id):
            known += 1
        elif not row.choice:
            apart.append(row)
        else:
            try:
                decision = _decided(queue, item, row)
            except InputError as e:
                apart.append(replace(row, choice="", why=e.what))
                continue
            known += (again := _same(queue, decision))
            taken += [] if again else [decision]
    for decision in taken:
        append(queue.decisions, decision)
    labels = _labels(votes, items, gold) if gold is not None else 0
    _tell(queue, taken, apart, known, labels, gold, json_output)


def _require_ours(queue: ReviewQueue, votes: list[Vote], items: dict[str, SetAside], file: Path) -> None:
    """Refuse a file with votes about rows that aren't those that this run set aside."""
    mistakes = []
    for vote in votes:
        item = items.get(vote.record_id)
        if vote.run != queue.run.name:
            mistakes.append(f"{vote.place} is of run {vote.run[:80]!r}, not {queue.run.name}")
        elif item is None:
            mistakes.append(f"{vote.place}: no row set aside has the id {vote.record_id[:40]!r}")
        elif item.row["content_id"] != vote.content_id:
            mistakes.append(f"{vote.place}: the row has another content now than when it was exported")
    if mistakes:
        more = f"; and {len(mistakes) - _MOST_MISTAKES} more" if len(mistakes) > _MOST_MISTAKES else ""
        raise InputError("nothing was written: " + "; ".join(mistakes[:_MOST_MISTAKES]) + more, where=str(file))


def _decided(queue: ReviewQueue, item: SetAside, row: Merged) -> HumanDecision:
    given: dict[str, Any] = {"record_id": row.record_id, "choice": row.choice, "why": row.why, "by": row.by}
    if row.choice == "edit" and edited(item.row, row.content)["content_id"] == item.row["content_id"]:
        given["choice"] = "accept"  # nothing was changed
    elif row.choice == "edit":
        given["content"] = row.content
    return decision_of(queue, item, given, getpass.getuser())


def _same(queue: ReviewQueue, decision: HumanDecision) -> bool:
    """Whether the last decision about the row is this one."""
    last = queue.decided.get((decision.record_id, decision.content_before))
    return last is not None and last.model_copy(update={"when": decision.when}) == decision


def _labels(votes: list[Vote], items: dict[str, SetAside], gold: Path) -> int:
    """Ratings as lines of gold; one that stands there already isn't written again."""
    rows = {i: item.row for i, item in items.items()}
    there = read_gold(gold, lambda ids: rows).rows if gold.is_file() and gold.stat().st_size else ()
    known = {(r.row["content_id"], by): said.score for r in there for by, said in r.said.items()}
    written = 0
    for row, vote in ratings(votes, rows):
        if known.get((row["content_id"], vote.by)) != vote.rating:
            append_line(gold, gold_line(row, {"label": vote.rating}, vote.by, scrubbed=items[vote.record_id].scrubbed))
            written += 1
    return written


def _tell(
    queue: ReviewQueue, taken: list[HumanDecision], apart: list[Merged], known: int, labels: int, gold: Path | None,
    json_output: bool,
) -> None:  # fmt: skip
    if json_output:
        listed = [
            {"record_id": row.record_id, "why": row.why, "votes": {v.by: v.choice for v in row.votes}} for row in apart
        ]
        emit({"decisions": str(queue.decisions), "taken": len(taken), "known": known, "labels": labels,
              "set_apart": listed})  # fmt: skip
        return
    done = Counter(d.choice for d in taken)
    say(", ".join(f"{choice} {n:,}" for choice, n in done.items()) or "nothing new was decided")
    if known:
        say(f"{known:,} were decided about before (--again takes them anew)")
    if gold is not None:
        say(f"{labels:,} ratings added to {gold}")
    for row in apart:
        say(f"set apart: {row.record_id}: {row.why}")
    if taken:
        say(f"the next run applies them with  --set 'review.decisions=[{queue.decisions}]'")
