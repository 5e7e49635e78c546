"""Drops copies: equal token streams, and rows whose shingle sets are nearly equal to a kept row's."""

from pathlib import Path

import numpy as np

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.dedup.config import DedupConfig
from steps.dedup.decide import Decisions, decide
from steps.dedup.fingerprints import read_fingerprints
from steps.dedup.report import dedup_report
from steps.engines.minhash.sets import SpilledSets
from steps.engines.progress.progress import Stopwatch


def dedup(dataset: Dataset, config: DedupConfig, folder: Path) -> Outcome:
    """Drop duplicates; survivors depend on the rows alone, not on their order, sharding or number of workers.

    Of rows that are copies, the one of the earliest batch stays, within a batch the one of the smallest content id.
    Every dropped duplicate names a kept row and the exact Jaccard similarity with it. Needs temporary disk space in
    `folder` of about 8 bytes per word, and memory of about 1 kB per row.
    """
    watch = Stopwatch()
    with SpilledSets(folder / "shingles.partial") as sets:
        decisions = decide(read_fingerprints(dataset, config, sets), sets, config)
    with LedgerWriter(folder / "ledger.parquet", "dedup") as writer:
        _write(writer, decisions)
        ledger = writer.close()
    kept = dataset.select(decisions.keep, folder, "dedup")
    report = dedup_report(decisions, writer, config, watch)
    return Outcome(kept, ledger, report.balanced())


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
