"""What the stages found, against what was planted in the quickstart's data on purpose: a section of its page.

A list of planted rows is JSON Lines; each line names the row by `file` and `locator` and its fault by `kind`.
Copies and contradictions also name the row they were made from (`original_file`, `original_locator`): whichever
of the two goes, the fault is found. For personal data the measure is the text itself: found means that none of
the planted values stands in the scrubbed row any more. No planted value enters the result.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from materializers.artifacts import Artifacts, is_quarantine, stage_of
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError, InputNotFoundError
from steps.contracts.ledger import Ledger
from steps.contracts.records import text_of
from steps.contracts.reports import Table
from steps.contracts.runs import ArtifactRecord, RunRecord

Planted = dict[str, Any]
Place = tuple[str, str]

QUICKSTART = Path(__file__).parent / "quickstart" / "planted.jsonl"
COLUMNS = ("fault", "planted", "found", "gone earlier", "missed", "recall", "other rows hit")
_ENDS = frozenset({"dropped", "quarantined"})
_NOTICED = frozenset({"dropped", "quarantined", "flagged", "changed"})


@dataclass(frozen=True)
class Finder:
    """Which ledger lines count as having found a kind of fault, and which are its alarms on other rows.

    `pair`: the fault is between two rows, and either of them may have gone.
    """

    stage: str
    verdicts: frozenset[str]
    reason: re.Pattern[str]
    alarm: re.Pattern[str]
    pair: bool = False


def _finder(
    stage: str, verdicts: frozenset[str], reason: str, alarm: str | None = None, *, pair: bool = False
) -> Finder:
    return Finder(stage, verdicts, re.compile(reason), re.compile(reason if alarm is None else alarm), pair)


FINDERS = {
    # An exact copy may be found as the near copy of a third row.
    "exact_copy": _finder("dedup", frozenset({"dropped"}), "exact|near", "exact", pair=True),
    "near_copy": _finder("dedup", frozenset({"dropped"}), "exact|near", "near", pair=True),
    "contradiction": _finder("dedup", _NOTICED, "contradict", pair=True),
    "pii": _finder("scrub", frozenset({"changed"}), ""),
    "injection": _finder("screen", _NOTICED, "prompt_injection|sql_injection|control_tokens"),
    "script": _finder("screen", _NOTICED, "script_injection"),
    "profanity": _finder("screen", _NOTICED, "profan|toxic|slur|strong|mild"),
    # Held-out rows are only flagged by the judge, never dropped.
    "junk": _finder("judge", _NOTICED, ""),
}


@dataclass
class _Tally:
    planted: int = 0
    found: int = 0
    gone: int = 0
    missed: int = 0
    others: int | None = None

    def row(self, kind: str) -> tuple[str | int | float | None, ...]:
        if self.others is None:
            return (kind.replace("_", " "), self.planted, *([None] * 5))
        reached = self.found + self.missed
        recall = round(self.found / reached, 4) if reached else None
        return (kind.replace("_", " "), self.planted, self.found, self.gone, self.missed, recall, self.others)


@dataclass(frozen=True)
class Evidence:
    """What a run says: ledger lines, rejected places, record ids by place, and the scrubbed texts of some rows."""

    # stage -> (record_id, verdict, reason) of every line, stages in the order of the pipeline
    lines: dict[str, list[tuple[str, str, str]]]
    # None when the run has no reject file
    rejected: frozenset[Place] | None
    ids: dict[Place, str]
    # record_id -> text after scrub, of the rows with planted personal data
    scrubbed: dict[str, str]
    # Jaccard similarity from which dedup drops a near copy; None when the run has no dedup
    threshold: float | None = None


def section(artifacts: Artifacts, config: Mapping[str, Any]) -> Table | None:
    """Found against planted in the quickstart's data; None for a run without ledgers. Raises as `compare_planted`."""
    curates = any(artifacts.run.of_type("ledger"))
    return compare_planted(artifacts, QUICKSTART, config) if curates else None


def compare_planted(artifacts: Artifacts, planted_path: Path, config: Mapping[str, Any]) -> Table:
    """Found against planted, per kind of fault, from a run's artifacts (COLUMNS). config: the run's, resolved.

    `recall` is found / (found + missed); rows that an earlier stage removed for another reason stand under
    "gone earlier". "other rows hit" counts rows that the same reasons hit without a planted fault for that stage:
    false alarms, or faults that nobody planted. None stands where the stage wasn't part of the run.

    Raises:
        InputNotFoundError: no such list. InputError: a line isn't a planted row.
    """
    planted = read_planted(planted_path)
    evidence = _gather(artifacts, artifacts.run, planted)
    threshold = (config.get("dedup") or {}).get("threshold")
    return compare(planted, replace(evidence, threshold=threshold))


def read_planted(path: Path) -> list[Planted]:
    """The planted rows of a list."""
    if not path.is_file():
        raise InputNotFoundError("no such list of planted rows", where=str(path))
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            row["file"], row["locator"], row["kind"]
        except (ValueError, KeyError, TypeError) as e:
            raise InputError("not a planted row: needs file, locator and kind", where=f"{path}:{number}") from e
        rows.append(row)
    return rows


def compare(planted: list[Planted], evidence: Evidence) -> Table:
    """Found against planted, from evidence. Near copies that dedup is told to keep stand in a line of their own."""
    planted, tolerated = _by_threshold(planted, evidence.threshold)
    kinds = dict.fromkeys(row["kind"] for row in planted)
    rows = [_of_kind(kind, planted, evidence).row(kind) for kind in sorted(kinds, key=lambda k: [*FINDERS, k].index(k))]
    if tolerated:
        after = next((i for i, row in enumerate(rows, 1) if row[0] == "near copy"), 0)
        rows.insert(after, _tolerated(tolerated, evidence))
    return Table(title="planted faults", columns=COLUMNS, rows=tuple(rows))


def _by_threshold(planted: list[Planted], threshold: float | None) -> tuple[list[Planted], list[Planted]]:
    """Planted rows that must be found, and near copies that are less alike than the run's threshold."""
    if threshold is None:
        return planted, []
    below = [p["kind"] == "near_copy" and p.get("jaccard", 1.0) < threshold for p in planted]
    return (
        [p for p, b in zip(planted, below, strict=True) if not b],
        [p for p, b in zip(planted, below, strict=True) if b],
    )


def _tolerated(planted: list[Planted], evidence: Evidence) -> tuple[str | int | float | None, ...]:
    """Near copies that dedup keeps. A semantic stage may find some of them, and is asked to find none."""
    finder = FINDERS["near_copy"]
    found = None
    if "semantic" in evidence.lines:
        by_meaning = Finder("semantic", finder.verdicts, re.compile(""), re.compile(""), pair=True)
        hits = _hit(by_meaning, by_meaning.reason, evidence)
        ids = [_ids_of(row, by_meaning, evidence) for row in planted]
        found, others = sum(bool(i & hits) for i in ids), len(hits - set().union(*ids))
        name = f"near copy below {evidence.threshold:g} (by meaning)"
        return (name, len(planted), found, None, None, None, others)
    if finder.stage in evidence.lines:
        hits = _hit(finder, finder.reason, evidence)
        found = sum(bool(_ids_of(row, finder, evidence) & hits) for row in planted)
    return (f"near copy below {evidence.threshold:g} (kept by config)", len(planted), found, *([None] * 4))


def _of_kind(kind: str, all_planted: list[Planted], evidence: Evidence) -> _Tally:
    planted = [p for p in all_planted if p["kind"] == kind]
    if kind == "broken_line":
        return _broken(planted, evidence)
    finder = FINDERS.get(kind)
    tally = _Tally(planted=len(planted))
    if finder is None or finder.stage not in evidence.lines:
        return tally
    hits = _hit(finder, finder.reason, evidence)
    earlier = _ended_before(finder.stage, evidence)
    for row in planted:
        own_id = evidence.ids.get((row["file"], row["locator"]))
        if own_id in earlier or own_id is None:
            tally.gone += 1
        elif _found(kind, row, own_id, _ids_of(row, finder, evidence) & hits, evidence):
            tally.found += 1
        else:
            tally.missed += 1
    tally.others = len(_hit(finder, finder.alarm, evidence) - _planted_for(finder.stage, all_planted, evidence))
    return tally


def _hit(finder: Finder, reason: re.Pattern[str], evidence: Evidence) -> set[str]:
    return {i for i, v, r in evidence.lines[finder.stage] if v in finder.verdicts and reason.search(r)}


def _planted_for(stage: str, planted: list[Planted], evidence: Evidence) -> set[str]:
    """Ids of all rows with a fault that this stage is there to find: hitting one is no false alarm."""
    ids: set[str] = set()
    for row in planted:
        finder = FINDERS.get(row["kind"])
        if finder is not None and finder.stage == stage:
            ids |= _ids_of(row, finder, evidence)
    return ids


def _found(kind: str, row: Planted, own_id: str, hits: set[str], evidence: Evidence) -> bool:
    if kind == "pii":
        text = evidence.scrubbed.get(own_id)
        # A row that scrub itself set aside shows its values to nobody.
        return text is None or not any(e["value"] in text for e in row.get("entities", ()))
    return bool(hits)


def _broken(planted: list[Planted], evidence: Evidence) -> _Tally:
    places = {(p["file"], p["locator"]) for p in planted}
    if evidence.rejected is None:
        return _Tally(planted=len(places))
    found = len(places & evidence.rejected)
    others = len(evidence.rejected - places)
    return _Tally(planted=len(places), found=found, missed=len(places) - found, others=others)


def _ids_of(row: Planted, finder: Finder, evidence: Evidence) -> set[str]:
    places = [(row["file"], row["locator"])]
    if finder.pair and "original_file" in row:
        places.append((row["original_file"], row["original_locator"]))
    return {evidence.ids[p] for p in places if p in evidence.ids}


def _ended_before(stage: str, evidence: Evidence) -> set[str]:
    ended: set[str] = set()
    for name, lines in evidence.lines.items():
        if name == stage:
            break
        ended.update(i for i, v, _ in lines if v in _ENDS)
    return ended


def _gather(store: Artifacts, run: RunRecord, planted: list[Planted]) -> Evidence:
    lines = {stage_of(a): list(_ledger_lines(store.ledger(a))) for a in run.of_type("ledger")}
    versions = [a for a in run.of_type("dataset") if not is_quarantine(a)]
    files = {p["file"] for p in planted} | {p["original_file"] for p in planted if "original_file" in p}
    ids = dict(_ids_by_place(store.dataset(versions[0]), files)) if versions else {}
    places = {(p["file"], p["locator"]) for p in planted if p["kind"] == "pii"}
    scrub = next((a for a in versions if stage_of(a) == "scrub"), None)
    wanted = {ids[p] for p in places if p in ids}
    scrubbed = dict(_texts(store.dataset(scrub), wanted)) if scrub else {}
    rejects = [a for a in run.of_type("file") if a.name == "rejects"]
    rejected = frozenset(place for a in rejects for place in _rejected(store, a, files)) if rejects else None
    return Evidence(lines, rejected, ids, scrubbed)


def _ledger_lines(ledger: Ledger) -> Iterator[tuple[str, str, str]]:
    table = pq.read_table(ledger.path, columns=["record_id", "verdict", "reason"])
    yield from zip(*(table[c].to_pylist() for c in ("record_id", "verdict", "reason")), strict=True)


def _ids_by_place(dataset: Dataset, files: set[str]) -> Iterator[tuple[Place, str]]:
    for chunk in dataset.chunks(["record_id", "source", "locator"]):
        for row in chunk.table.to_pylist():
            file = _file_of(row["source"], files)
            if file is not None:
                yield (file, row["locator"]), row["record_id"]


def _file_of(source: str, files: Iterable[str]) -> str | None:
    """The planted list's name of a source: the source itself or its last parts."""
    return next((f for f in files if source == f or source.endswith("/" + f)), None)


def _texts(dataset: Dataset, wanted: set[str]) -> Iterator[tuple[str, str]]:
    chosen = pa.array(sorted(wanted), pa.string())
    for chunk in dataset.chunks():
        for row in chunk.table.filter(pc.is_in(chunk.table["record_id"], value_set=chosen)).to_pylist():
            yield row["record_id"], text_of(row)


def _rejected(store: Artifacts, artifact: ArtifactRecord, files: set[str]) -> Iterator[Place]:
    with store.file(artifact, "rejects.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            reject = json.loads(line)
            file = _file_of(reject["source"], files)
            if file is not None:
                yield file, reject["locator"]
