"""What the other stages found, each over all rows, told per data set: nothing is computed anew."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.contracts.arrays import Mask, Numbers
from steps.contracts.data_report import Chapter, Figure
from steps.contracts.ledger import Ledger
from steps.contracts.reports import Table
from steps.data_report.intervals import mean, number, share
from steps.data_report.sets import Ids, Sets, ids_of

Lines: TypeAlias = tuple[Numbers, pa.Table]
_COPIES = ("exact_duplicate", "near_duplicate", "semantic_duplicate")
_CRITERIA = ("relevance", "clarity", "completeness", "accuracy")
# Chosen: what a table shows; the rest is added up.
_MOST = 20
_WAY_OUT = 200


@dataclass(frozen=True)
class Found:
    """What other stages left, by the stage's name; a stage that didn't run has nothing here.

    Attributes:
        verdicts: the judge's. rejects: rows that ingest couldn't read; None: it read none.
    """

    ledgers: Mapping[str, Ledger] = field(default_factory=dict)
    verdicts: Path | None = None
    rejects: Path | None = None


def lines(found: Found, stage: str, sets: Sets, columns: Sequence[str]) -> Iterator[Lines]:
    """The stage's ledger, some lines at a time, with the set of each row."""
    ledger = found.ledgers.get(stage)
    if ledger is None:
        return
    for batch in pq.ParquetFile(ledger.path).iter_batches(columns=["record_id", "verdict", "reason", *columns]):
        table = pa.Table.from_batches([batch])
        yield sets.codes_of(ids_of(table["record_id"])), table


class Tally:
    """Rows by name, per set."""

    def __init__(self, sets: Sequence[str]) -> None:
        """`sets`: their names."""
        self._sets = sets
        self.counts: dict[tuple[str, ...], list[int]] = {}

    def add(self, code: int, *name: str, rows: int = 1) -> None:
        """Count rows; those of no set aren't."""
        if code >= 0:
            self.counts.setdefault(name, [0] * len(self._sets))[code] += rows

    def total(self) -> list[int]:
        """Rows of each set under any name."""
        return [sum(c[k] for c in self.counts.values()) for k in range(len(self._sets))]

    def table(self, title: str, *columns: str) -> Table | None:
        """The most frequent names with rows per set; None: there is nothing."""
        if not self.counts:
            return None
        ranked = sorted(self.counts.items(), key=lambda item: (-sum(item[1]), item[0]))
        rows: list[tuple[str | int, ...]] = [(*name, *counts) for name, counts in ranked[:_MOST]]
        if rest := ranked[_MOST:]:
            more = [sum(c[k] for _, c in rest) for k in range(len(self._sets))]
            rows.append((f"{len(rest)} more", *([""] * (len(columns) - 1)), *more))
        heads = ("rows",) if len(self._sets) == 1 else tuple(self._sets)
        return Table(title=title, columns=(*columns, *heads), rows=tuple(rows))


@dataclass
class Told:
    """Figures and tables as they are found."""

    figures: list[Figure] = field(default_factory=list)
    tables: dict[Chapter, list[Table]] = field(default_factory=dict)
    # Rows of each set that another row of the set stands for.
    copies: list[int] = field(default_factory=list)

    def add_table(self, chapter: Chapter, table: Table | None) -> None:
        """Unless there is none."""
        if table is not None:
            self.tables.setdefault(chapter, []).append(table)


def tell_stages(found: Found, sets: Sets) -> Told:
    """All that the stages found."""
    told = Told(copies=[0] * len(sets.names))
    _tell_format(found, sets, told)
    _tell_quality(found, sets, told)
    _tell_copies(found, sets, told, "dedup")
    _tell_copies(found, sets, told, "semantic")
    _tell_contradictions(found, sets, told)
    _tell_personal_data(found, sets, told)
    _tell_content(found, sets, told)
    _tell_contamination(found, sets, told)
    return told


def _tell_format(found: Found, sets: Sets, told: Told) -> None:
    if found.rejects is None:
        return
    by_reason: Counter[tuple[str, int]] = Counter()
    ways: dict[str, str] = {}
    if found.rejects.is_file():
        with found.rejects.open(encoding="utf-8") as rejects:
            for line in rejects:
                reject = json.loads(line)
                by_reason[str(reject["reason"]), sets.code_of_source(str(reject["source"]))] += 1
                ways.setdefault(str(reject["reason"]), str(reject["hint"])[:_WAY_OUT])
    rejected = [sum(n for (_, k), n in by_reason.items() if k == code) for code in range(len(sets.names))]
    counts = [(k, k + n) for k, n in zip(rejected, sets.rows, strict=True)]
    told.figures.append(share("format", "rows that can't be read", counts, "ingest", of="rows read", higher=False))
    tally = Tally(sets.names)
    for (reason, code), rows in by_reason.items():
        tally.add(code, reason, ways[reason], rows=rows)
    told.add_table("format", tally.table("Rows that can't be read, by reason", "reason", "of the first one"))


def _tell_quality(found: Found, sets: Sets, told: Told) -> None:
    if found.verdicts is None:
        return
    scores: dict[str, list[Counter[float]]] = {name: [Counter() for _ in sets.names] for name in ("share", *_CRITERIA)}
    below, undecided, judged = Tally(sets.names), Tally(sets.names), [0] * len(sets.names)
    columns = ["record_id", "outcome", "error", "share", *_CRITERIA]
    for batch in pq.ParquetFile(found.verdicts).iter_batches(columns=columns):
        codes = sets.codes_of(ids_of(batch["record_id"]))
        for name, counters in scores.items():
            _count(counters, codes, batch[name])
        for code in range(len(sets.names)):
            judged[code] += int((codes == code).sum())
        outcomes = zip(codes.tolist(), batch["outcome"].to_pylist(), batch["error"].to_pylist(), strict=True)
        for code, outcome, error in outcomes:
            if error is not None:
                undecided.add(code, error)
            elif outcome != "kept":
                below.add(code, outcome)
    _tell_scores(scores, told)
    lost = below.total()
    told.figures.append(
        share("quality", "rows that the judge would drop", list(zip(lost, judged, strict=True)), "judge", higher=False)
    )
    if undecided.counts:
        counts = list(zip(undecided.total(), judged, strict=True))
        told.figures.append(share("quality", "rows without a verdict", counts, "judge", higher=False))
    reasons = Tally(sets.names)
    for codes, table in lines(found, "judge", sets, []):
        for code, reason in zip(codes.tolist(), table["reason"].to_pylist(), strict=True):
            reasons.add(code, reason)
    told.add_table("quality", reasons.table("What the judge found, by its first reason", "reason"))


def _count(counters: Sequence[Counter[float]], codes: Numbers, column: pa.Array) -> None:
    values = column.to_numpy(zero_copy_only=False).astype(np.float64)
    for code, counter in enumerate(counters):
        distinct, rows = np.unique(values[(codes == code) & ~np.isnan(values)], return_counts=True)
        counter.update(dict(zip(distinct.tolist(), rows.tolist(), strict=True)))


def _tell_scores(scores: Mapping[str, Sequence[Counter[float]]], told: Told) -> None:
    for name, counters in scores.items():
        if any(counters):
            values = [np.repeat(list(c.keys()), list(c.values())).astype(np.float64) for c in counters]
            said = "mean score" if name == "share" else name
            scaled = [v * 5 if name == "share" else v for v in values]
            told.figures.append(number("quality", said, scaled, mean, "judge", unit="of 5", higher=True, bounds=(1, 5)))


def _tell_copies(found: Found, sets: Sets, told: Told, stage: str) -> None:
    """Copies within each set, and rows of one that copy a row of the other one. A row that is one of several of its
    set that an equal row of the other set displaced counts as a copy but for the first of them.
    """
    if stage not in found.ledgers:
        return
    rows, witnesses, exact = _copied(found, sets, stage)
    codes, standing = sets.codes_of(rows), sets.codes_of(witnesses)
    _, cluster = np.unique(witnesses, return_inverse=True)
    clusters = int(cluster.max()) + 1 if len(cluster) else 0
    kept = np.full(clusters, -1)
    kept[cluster] = standing
    within, exactly, across = [], [], []
    for code in range(len(sets.names)):
        there = np.bincount(cluster[codes == code], minlength=clusters)
        same = np.bincount(cluster[(codes == code) & exact], minlength=clusters)
        first = ((kept != code) & (there > 0)).astype(np.int64)
        within.append(int((there - first).sum()))
        exactly.append(int(np.maximum(same - first, 0).sum()))
        others = np.bincount(cluster[codes != code], minlength=clusters) + (kept != code)
        across.append(int((there + (kept == code))[others > 0].sum()))
    told.copies = [a + b for a, b in zip(told.copies, within, strict=True)]
    if stage == "dedup":
        _add_share(told, sets, "exact copies of another row", exactly, stage)
        near = [a - b for a, b in zip(within, exactly, strict=True)]
        _add_share(told, sets, "near copies of another row", near, stage)
    else:
        _add_share(told, sets, "rows that say what another row says", within, stage)
    if len(sets.names) == 2:
        said = "also in the other data set" if stage == "dedup" else "said in the other data set"
        _add_share(told, sets, said, across, stage)


def _add_share(
    told: Told, sets: Sets, name: str, counts: Sequence[int], by: str, chapter: Chapter = "duplicates"
) -> None:
    told.figures.append(share(chapter, name, list(zip(counts, sets.rows, strict=True)), by, higher=False))


def _copied(found: Found, sets: Sets, stage: str) -> tuple[Ids, Ids, Mask]:
    """Rows that gave way to another one, that one, and whether both are equal."""
    rows, witnesses, exact = [np.empty(0, "S32")], [np.empty(0, "S32")], [np.zeros(0, bool)]
    for _, table in lines(found, stage, sets, ["parents"]):
        wanted = pc.and_(
            pc.is_in(table["reason"], pa.array(_COPIES)), pc.equal(pc.list_value_length(table["parents"]), 1)
        )
        copies = table.filter(wanted)
        rows.append(ids_of(copies["record_id"]))
        witnesses.append(ids_of(pc.list_flatten(copies["parents"])))
        exact.append(np.asarray(pc.equal(copies["reason"], "exact_duplicate")).astype(bool))
    return np.concatenate(rows), np.concatenate(witnesses), np.concatenate(exact)


def _tell_contradictions(found: Found, sets: Sets, told: Told) -> None:
    """Rows whose prompt has another answer elsewhere, as dedup compares them."""
    if "dedup" not in found.ledgers:
        return
    counts = np.zeros(len(sets.names), np.int64)
    for codes, table in lines(found, "dedup", sets, ["evidence"]):
        told_of = np.asarray(pc.equal(table["reason"], "contradiction")).astype(bool)
        told_of |= np.asarray(pc.match_substring(table["evidence"], '"contradicts":true')).astype(bool)
        counts += sets.counted(codes[told_of])
    _add_share(told, sets, "equal prompt, different answer", counts.tolist(), "dedup", "label noise")


def _tell_personal_data(found: Found, sets: Sets, told: Told) -> None:
    if "scrub" not in found.ledgers:
        return
    any_of, entities = Tally(sets.names), Tally(sets.names)
    for codes, table in lines(found, "scrub", sets, ["evidence"]):
        for code, verdict, evidence in zip(
            codes.tolist(), table["verdict"].to_pylist(), table["evidence"].to_pylist(), strict=True
        ):
            if verdict == "changed":
                any_of.add(code, "")
                for entity in json.loads(evidence)["entities"]:
                    entities.add(code, entity)
    _add_share(told, sets, "rows with personal data", any_of.total(), "scrub", "personal data")
    told.add_table("personal data", entities.table("Rows with each kind of personal data", "entity"))


def _tell_content(found: Found, sets: Sets, told: Told) -> None:
    if "screen" not in found.ledgers:
        return
    lost, reasons = Tally(sets.names), Tally(sets.names)
    for codes, table in lines(found, "screen", sets, []):
        for code, verdict, reason in zip(
            codes.tolist(), table["verdict"].to_pylist(), table["reason"].to_pylist(), strict=True
        ):
            reasons.add(code, reason, verdict)
            if verdict in ("dropped", "quarantined"):
                lost.add(code, "")
    said = "rows that screen would drop or set aside"
    _add_share(told, sets, said, lost.total(), "screen", "content")
    told.add_table("content", reasons.table("What screen found", "rule", "verdict"))


def _tell_contamination(found: Found, sets: Sets, told: Told) -> None:
    if "leakcheck" not in found.ledgers:
        return
    lost, against = Tally(sets.names), Tally(sets.names)
    for codes, table in lines(found, "leakcheck", sets, ["evidence"]):
        for code, verdict, reason, evidence in zip(
            codes.tolist(), table["verdict"].to_pylist(), table["reason"].to_pylist(), table["evidence"].to_pylist(),
            strict=True,
        ):  # fmt: skip
            if verdict == "dropped":
                lost.add(code, "")
                against.add(code, str(json.loads(evidence)["against"]), reason)
    _add_share(told, sets, "rows that repeat an evaluation file", lost.total(), "leakcheck", "contamination")
    told.add_table("contamination", against.table("Rows that repeat an evaluation file", "file", "how"))
