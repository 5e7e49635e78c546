"""Drops copies: equal token streams, and rows whose shingle sets are nearly equal to a kept row's."""

from pathlib import Path

from steps.contracts.dataset import Dataset
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.dedup.config import DedupConfig
from steps.dedup.decide import decide
from steps.dedup.fingerprints import read_fingerprints
from steps.dedup.lines import ledger_lines
from steps.dedup.report import dedup_report
from steps.engines.minhash.sketch import SetFile
from steps.engines.progress.progress import Stopwatch


def dedup(dataset: Dataset, config: DedupConfig, folder: Path) -> Outcome:
    """Drop duplicates; survivors depend on the rows alone, not on their order, sharding or number of workers.

    Of rows that are copies, the one of the earliest batch stays, within a batch the one of the smallest content id.
    Every dropped duplicate names a kept row and the exact Jaccard similarity with it. Needs temporary disk space in
    `folder` of about 4 bytes per word, and memory of about 500 bytes per row.
    """
    watch = Stopwatch()
    with SetFile(folder / "shingles.partial") as sets:
        decisions = decide(*read_fingerprints(dataset, config, sets), config)
    with LedgerWriter(folder / "ledger.parquet", "dedup") as writer:
        writer.add_table(ledger_lines(decisions))
        ledger = writer.close()
    kept = dataset.select(decisions.keep, folder, "dedup")
    report = dedup_report(decisions, writer, config, watch)
    return Outcome(kept, ledger, report.balanced())
