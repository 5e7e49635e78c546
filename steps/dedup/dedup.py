"""Drops copies: equal token streams, and rows whose shingle sets are nearly equal to a kept row's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.dedup.config import DedupConfig
from steps.dedup.contradictions import Contradictions, find_contradictions
from steps.dedup.fingerprints import Fingerprints, Numbers, read_fingerprints
from steps.dedup.near import NearDuplicates, near_duplicates
from steps.dedup.report import dedup_report
from steps.engines.minhash.sets import SpilledSets
from steps.engines.progress.progress import Stopwatch


@dataclass(frozen=True)
class Decisions:
    """What becomes of each of n rows. keep: shape (n,). witness: the row that it gives way to, -1 for none.

    score: exact Jaccard with the witness, nan for none. order: the rows in canonical order.
    """

    prints: Fingerprints
    order: Numbers
    contradictions: Contradictions
    near: NearDuplicates
    keep: npt.NDArray[np.bool_]
    witness: Numbers
    score: npt.NDArray[np.float64]

    def reason(self, row: int) -> str:
        """Reason code of a dropped row."""
        if self.contradictions.dropped[row]:
            return "contradiction"
        return "near_duplicate" if self.near.witness[self.prints.stream[row]] >= 0 else "exact_duplicate"


def dedup(dataset: Dataset, config: DedupConfig, folder: Path) -> Outcome:
    """Drop duplicates; survivors depend on the rows alone, not on their order, sharding or number of workers.

    Of rows that are copies, the one of the earliest batch stays, within a batch the one of the smallest content id.
    Every dropped duplicate names a kept row and the exact Jaccard similarity with it. Needs temporary disk space in
    `folder` of about 8 bytes per word, and memory of about 700 bytes per row.
    """
    watch = Stopwatch()
    with SpilledSets(folder / "shingles.partial") as sets:
        decisions = _decide(read_fingerprints(dataset, config, sets), sets, config)
    with LedgerWriter(folder / "ledger.parquet", "dedup") as writer:
        _write(writer, decisions)
        ledger = writer.close()
    kept = dataset.select(decisions.keep, folder, "dedup")
    report = dedup_report(decisions, writer, config, watch)
    return Outcome(kept, ledger, report.balanced())


def _decide(prints: Fingerprints, sets: SpilledSets, config: DedupConfig) -> Decisions:
    order = prints.canonical_order()
    contradictions = find_contradictions(prints, order, config.contradictions)
    alive = order[~contradictions.dropped[order]]
    streams, at = np.unique(prints.stream[alive], return_index=True)
    # Row that stands for each stream (-1: all its rows are gone), and the streams in the order of those rows.
    speaker = np.full(len(prints.bands), -1, np.int64)
    speaker[streams] = alive[at]
    near = near_duplicates(prints.bands, streams[np.argsort(at)], sets, config)

    winner = np.where(near.witness >= 0, near.witness, np.arange(len(speaker)))
    witness = speaker[winner[prints.stream]]
    witness[contradictions.dropped] = contradictions.first[contradictions.dropped]
    witness[(witness == np.arange(len(order))) & ~contradictions.dropped] = -1
    score = np.where(near.witness >= 0, near.jaccard, 1.0)[prints.stream]
    score[(witness < 0) | contradictions.dropped] = np.nan
    keep = (witness < 0) & ~contradictions.dropped
    return Decisions(prints, order, contradictions, near, keep, witness, score)


def _write(ledger: LedgerWriter, d: Decisions) -> None:
    ids = d.prints.record_ids
    answers = d.contradictions.answers
    for row in np.flatnonzero(~d.keep | (answers > 1)).tolist():
        record_id = ids[row].decode()
        if d.keep[row]:
            first = ids[d.contradictions.first[row]].decode()
            evidence = {"answers": int(answers[row]), "first": first}
            ledger.add(record_id, "flagged", "contradiction", evidence=evidence)
            continue
        witness = ids[d.witness[row]].decode()
        reason = d.reason(row)
        if reason == "contradiction":
            evidence = {"answers": int(answers[row]), "first": witness}
            parents = [] if witness == record_id else [witness]
            ledger.add(record_id, "dropped", reason, evidence=evidence, parents=parents)
        else:
            score = float(d.score[row])
            found = {"witness": witness, "jaccard": round(score, 6), "contradicts": bool(answers[row] > 1)}
            ledger.add(record_id, "dropped", reason, score=score, evidence=found, parents=[witness])
