"""`assay explain`: one row's way through all runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ops.console import complain, emit, heading, say, show_table
from ops.lineage.catalogue import Catalogue, Gap, load_catalogue
from ops.lineage.ledgers import Line
from ops.lineage.shards import row_set
from ops.lineage.trained import Seen, models_that_saw
from ops.lineage.ways import AtStage, Lineage, RowHistory, Way, find_rows, histories
from ops.run_index import NONE_YET, matching_runs, runs_folder
from steps.contracts.errors import InputNotFoundError, IntegrityError

_SHORT = 12
# Chosen: so many runs are named where a row went the same way in more.
_RUNS = 3


def explain_row(root: Path, query: str, run_name: str | None, raw: bool, most: int, json_output: bool) -> int:
    """Print the way of the one row that `query` means, or up to `most` rows to choose from. Returns the exit status: 0,
    or that of an integrity error when something that the answer may lack can't be read.

    Raises:
        InputNotFoundError: no row fits. IntegrityError: none does in what can be read, and there is more.
    """
    lineage = Lineage(_catalogue(root, run_name))
    found = find_rows(lineage, query)
    if not found:
        raise nothing(lineage.catalogue, "no row has that id or text")
    told = histories(lineage, dict(islice(found.items(), most)), raw)
    # Models of all runs, whichever is looked at.
    everywhere = lineage if run_name is None else Lineage(load_catalogue(root))
    seen = []
    if len(found) == 1:
        places = found if run_name is None else everywhere.shards.with_ids(found.keys())
        seen = models_that_saw(everywhere, row_set([p for of in places.values() for p in of]))
    lineage.catalogue.known.save()
    gaps = list(dict.fromkeys([*lineage.catalogue.gaps, *everywhere.catalogue.gaps]))
    if json_output:
        rows = [_as_json(h, seen if len(found) == 1 else None) for h in told]
        looked = {"runs": len(lineage.catalogue.runs), "matches": len(found), "rows": rows}
        emit({**looked, "not_read": [asdict(g) for g in gaps]})
    elif len(found) == 1:
        _show(told[0], seen)
    else:
        _choose(told, len(found))
    return tell_gaps(gaps)


def _catalogue(root: Path, run_name: str | None) -> Catalogue:
    """All runs, or the one that is named.

    Raises:
        InputNotFoundError: there is none.
    """
    catalogue = load_catalogue(root)
    if run_name is not None:
        catalogue.runs = tuple(matching_runs(root, run_name)[:1])
    elif not catalogue.runs:
        what = "no run can be read" if catalogue.gaps else "no runs yet"
        raise nothing(catalogue, what, NONE_YET, str(runs_folder(root)))
    return catalogue


def nothing(catalogue: Catalogue, what: str, hint: str = "", where: str = "") -> InputNotFoundError | IntegrityError:
    """The error of a question without an answer; where something can't be read, one that names that: what was looked
    for may be there.
    """
    if catalogue.gaps:
        first, *others = catalogue.gaps
        more = f", and {len(others)} more (--json lists what isn't read where there is an answer)" if others else ""
        said = f"{what}; but this can't be read: {first.why}{more}"
        return IntegrityError(said, where=first.where, hint=first.hint or "what was looked for may be there")
    looked = where or f"{len(catalogue.runs)} run{'s' * (len(catalogue.runs) != 1)}"
    hint = hint or "rows that couldn't be read are in the runs' rejects.jsonl; assay runs --sync looks for more runs"
    return InputNotFoundError(what, where=looked, hint=hint)


def tell_gaps(gaps: Sequence[Gap]) -> int:
    """Say on standard error what an answer lacks; returns the exit status."""
    for gap in gaps:
        complain(f"not read: {gap}" + (f"\n  way out: {gap.hint}" if gap.hint else ""))
    return IntegrityError.exit_code if gaps else 0


def _as_json(history: RowHistory, seen: list[Seen] | None) -> dict[str, Any]:
    """The row with the way of the newest run, then the others."""
    row = asdict(history)
    ways = row.pop("ways")
    newest = ways[0] if ways else {"runs": (), "stages": (), "fate": "in no version", "split": None, "children": ()}
    models = {} if seen is None else {"seen_by": [asdict(s) for s in seen]}
    return {**row, **newest, "other_ways": ways[1:], **models}


def _choose(told: list[RowHistory], fit: int) -> None:
    show_table(["row", "fate", "text"], [[t.record_id, _fate(t), _text(t, 60)] for t in told])
    hidden = f", {fit - len(told):,} more than shown (-n shows more):" if fit > len(told) else ";"
    say(f"{fit:,} rows fit{hidden} name one by its id")


def _fate(history: RowHistory) -> str:
    """How it ended in the newest run, and whether it ended otherwise in others."""
    fates = list(dict.fromkeys(w.fate for w in history.ways)) or ["in no version"]
    return fates[0] + (f" (earlier: {', '.join(fates[1:])})" if fates[1:] else "")


def _text(history: RowHistory, length: int) -> str:
    if history.text is None:
        return "(never scrubbed; --raw shows it)" if history.hidden else ""
    one_line = " ".join(history.text.split())
    return one_line if len(one_line) <= length else one_line[: length - 1] + "…"


def _show(history: RowHistory, seen: list[Seen]) -> None:
    heading(f"{history.record_id}  {_fate(history)}")
    if history.source:
        say(f"{history.source} {history.locator}")
    for way in history.ways:
        _show_way(way)
    for s in seen:
        say(tell_seen(s))
    if history.hidden:
        say("text: this row was never scrubbed; --raw shows an excerpt")
    elif history.text is not None:
        say(f"text: {_text(history, 300)}")


def _show_way(way: Way) -> None:
    more = f" and {len(way.runs) - _RUNS} more" if len(way.runs) > _RUNS else ""
    say(f"run{'s' * (len(way.runs) > 1)} {', '.join(way.runs[:_RUNS])}{more}: {way.fate}")
    rows = [line for at in way.stages for line in _at_stage(at)]
    show_table(["stage", "verdict", "reason", "score", "evidence"], rows, numeric=[3])
    for line in (line for at in way.stages for line in at.lines if line.rule):
        say(f"{line.stage} {line.verdict} it: {line.rule}")
    if way.split:
        say(f"split: {way.split}")
    for child in way.children:
        say(f"{child.stage} made {child.record_id} from it")


def tell_seen(s: Seen) -> str:
    """What a model has to do with rows, in words."""
    named = s.registered or s.model[:_SHORT] or "(unread)"
    if not s.sure:
        return f"model {named} of run {s.run} may have been trained on it: its dataset is gone or out of reach"
    through = "" if s.rows else ", in what its training started from"
    some = f" ({s.rows:,} rows)" if s.rows > 1 else ""
    return f"model {named} of run {s.run} was trained on it{some}{through}"


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
