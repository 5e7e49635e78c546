"""Removes train rows whose final text repeats a validation, test or benchmark row."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from steps.contracts.dataset import Chunk, Dataset
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import text_of
from steps.engines.progress.progress import Progress, Stopwatch
from steps.engines.text.normalise import words
from steps.engines.text.shingles import Hashes, WordHashes, distinct, shingles_of
from steps.leakcheck.config import LeakCheckConfig
from steps.leakcheck.heldout import TEXT_COLUMNS, HeldOut, read_held_out
from steps.leakcheck.report import leak_report
from steps.leakcheck.search import Findings, Leak, find_leak


def leakcheck(dataset: Dataset, config: LeakCheckConfig, folder: Path, root: Path) -> Outcome:
    """Drop contaminated train rows (rows without a split label count as train); other rows are never dropped.

    `root` is the folder that benchmark paths are relative to. Reads the train rows twice: once to learn which
    n-grams are boilerplate, once to compare. Memory: about 80 bytes per word of held-out text.
    """
    watch = Stopwatch()
    hashes = WordHashes()
    held_out = read_held_out(dataset, config, root, hashes)
    findings = Findings()
    touched = _learn_boilerplate(dataset, held_out, config, hashes, findings)
    keep = np.ones(dataset.rows, bool)
    with LedgerWriter(folder / "ledger.parquet", "leakcheck") as writer:
        for place, record_id, leak in _leaks(dataset, held_out, config, hashes, touched):
            keep[place] = False
            findings.leaks.append((record_id, leak))
            _write(writer, record_id, leak, held_out)
        ledger = writer.close()
    kept = dataset.select(keep, folder, "leakcheck")
    report = leak_report(dataset.rows, findings, held_out, writer, config, watch)
    return Outcome(kept, ledger, report.balanced())


def _learn_boilerplate(
    dataset: Dataset, held_out: HeldOut, config: LeakCheckConfig, hashes: WordHashes, findings: Findings
) -> npt.NDArray[np.bool_]:
    """Count train rows per held-out n-gram. Returns which rows share anything with the held-out ones, shape (rows,)."""
    touched = np.zeros(dataset.rows, bool)
    with Progress("leak check: counting", dataset.rows) as progress:
        for chunk in dataset.chunks(TEXT_COLUMNS):
            for place, _, tokens, near, inside in _train_rows(chunk, config, hashes, None):
                findings.train_rows += 1
                shares = held_out.near.count(distinct(near)) | held_out.inside.count(distinct(inside))
                touched[place] = shares and bool(tokens)
            progress.advance(chunk.table.num_rows)
    limits = (_limit(findings.train_rows, config), _limit(len(held_out.names), config))
    findings.boilerplate_limits = limits
    findings.boilerplate_shingles = held_out.near.ignore_boilerplate(*limits)
    findings.boilerplate_ngrams = held_out.inside.ignore_boilerplate(*limits)
    return touched


def _limit(rows: int, config: LeakCheckConfig) -> int:
    """An n-gram in more rows than this is boilerplate."""
    return max(config.boilerplate_rows, int(config.boilerplate_share * rows))


def _leaks(
    dataset: Dataset,
    held_out: HeldOut,
    config: LeakCheckConfig,
    hashes: WordHashes,
    touched: npt.NDArray[np.bool_],
) -> Iterator[tuple[int, str, Leak]]:
    with Progress("leak check: comparing", dataset.rows) as progress:
        for chunk in dataset.chunks(TEXT_COLUMNS):
            for place, record_id, tokens, near, inside in _train_rows(chunk, config, hashes, touched):
                leak = find_leak(tokens, near, inside, held_out, config)
                if leak is not None:
                    yield place, record_id, leak
            progress.advance(chunk.table.num_rows)


def _train_rows(
    chunk: Chunk, config: LeakCheckConfig, hashes: WordHashes, wanted: npt.NDArray[np.bool_] | None
) -> Iterator[tuple[int, str, list[str], Hashes, Hashes]]:
    """(place in the dataset, record_id, tokens, shingles, overlap n-grams) of the chunk's (wanted) train rows."""
    rows = [
        (chunk.start + i, row)
        for i, row in enumerate(chunk.table.to_pylist())
        if row["split"] in (None, "train") and (wanted is None or wanted[chunk.start + i])
    ]
    texts = [words(text_of(row)) for _, row in rows]
    near = shingles_of(texts, hashes, config.ngram)
    inside = shingles_of(texts, hashes, config.overlap_ngram)
    for (place, row), tokens, n, i in zip(rows, texts, near, inside, strict=True):
        yield place, row["record_id"], tokens, n, i


def _write(ledger: LedgerWriter, record_id: str, leak: Leak, held_out: HeldOut) -> None:
    source, witness = held_out.names[leak.witness]
    parents = [witness] if source in ("validation", "test") else []
    evidence = {"against": source, "witness": witness, **leak.evidence}
    ledger.add(record_id, "dropped", leak.reason, score=leak.score, evidence=evidence, parents=parents)
