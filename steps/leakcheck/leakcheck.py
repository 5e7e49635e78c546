"""Removes train rows whose final text repeats a validation, test or benchmark row."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Chunk, Dataset
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.engines.execution.threads import ordered
from steps.engines.progress.progress import Progress, Stopwatch
from steps.engines.text.columns import Words
from steps.leakcheck.config import LeakCheckConfig
from steps.leakcheck.heldout import COLUMNS, HeldOut, read_held_out, row_words
from steps.leakcheck.ngram_index import ngrams_of
from steps.leakcheck.report import leak_report, shown
from steps.leakcheck.search import Findings, Found, find_leaks
from steps.leakcheck.spans import spans_of_words, texts_by_path

# Chosen: what a passage shows in the report.
_PASSAGE_CHARACTERS = 300


def leakcheck(rows: Dataset, config: LeakCheckConfig, ctx: StageContext) -> Outcome:
    """Drop contaminated train rows (rows without a split label count as train); other rows are never dropped.

    Matched passages stand in the report only when personal data was removed before. Reads the train rows twice: once
    to learn which n-grams are boilerplate, once to compare. Memory: about 100 bytes per word of held-out text.
    """
    watch = Stopwatch()
    held_out = read_held_out(rows, config, ctx.root)
    findings = Findings()
    touched = _learn_boilerplate(rows, held_out, config, findings)
    keep = np.ones(rows.rows, bool)
    with LedgerWriter(ctx.folder / "ledger.parquet", "leakcheck") as writer:
        for found in _leaks(rows, held_out, config, touched):
            keep[found.place] = False
            findings.leaks.append(found)
            _write(writer, found, held_out)
        ledger = writer.close()
    kept = rows.select(keep, ctx.folder, "leakcheck")
    passages = _passages(rows, shown(findings)) if ctx.scrubbed else None
    report = leak_report(rows.rows, findings, held_out, writer, config, watch, passages)
    return Outcome(kept, ledger, report.balanced())


def _learn_boilerplate(dataset: Dataset, held_out: HeldOut, config: LeakCheckConfig, findings: Findings) -> Mask:
    """Count train rows per held-out n-gram. Returns which rows share anything with the held-out ones, shape (rows,)."""
    touched = np.zeros(dataset.rows, bool)
    with Progress("leak check: counting", dataset.rows) as progress:
        for chunk, words in _read(dataset):
            train = _is_train(chunk.table)
            findings.train_rows += int(train.sum())
            near = held_out.near.count(ngrams_of(words, config.ngram), train)
            inside = held_out.inside.count(ngrams_of(words, config.overlap_ngram), train)
            # A row of equal words shares its n-grams too, unless it is shorter than one.
            touched[chunk.start : chunk.start + len(train)] = near | inside
            progress.advance(len(train))
    limits = (_limit(findings.train_rows, config), _limit(len(held_out.names), config))
    findings.boilerplate_limits = limits
    findings.boilerplate_shingles = held_out.near.ignore_boilerplate(*limits)
    findings.boilerplate_ngrams = held_out.inside.ignore_boilerplate(*limits)
    return touched


def _limit(rows: int, config: LeakCheckConfig) -> int:
    """An n-gram in more rows than this is boilerplate."""
    return max(config.boilerplate_rows, int(config.boilerplate_share * rows))


def _leaks(dataset: Dataset, held_out: HeldOut, config: LeakCheckConfig, touched: Mask) -> Iterator[Found]:
    with Progress("leak check: comparing", dataset.rows) as progress:
        for chunk, words in _read(dataset):
            names = chunk.table["record_id"]
            wanted = touched[chunk.start : chunk.start + chunk.table.num_rows]
            for row, leak in find_leaks(words, wanted, held_out, config):
                (content,) = chunk.table.slice(row, 1).to_pylist()
                yield Found(names[row].as_py(), chunk.start + row, leak, tuple(spans_of_words(content, *leak.words)))
            progress.advance(chunk.table.num_rows)


def _read(dataset: Dataset) -> Iterator[tuple[Chunk, Words]]:
    """The rows in order with their words, read by all cores."""
    return ordered(lambda chunk: (chunk, row_words(chunk.table)), dataset.chunks(COLUMNS))


def _is_train(table: pa.Table) -> Mask:
    held_out = pc.is_in(table["split"], pa.array(["validation", "test"]))
    return ~np.asarray(held_out.to_numpy(), bool)


def _passages(dataset: Dataset, chosen: list[Found]) -> dict[str, str]:
    """Record id -> the longest matched passage of these rows."""
    mask = np.zeros(dataset.rows, bool)
    mask[[f.place for f in chosen]] = True
    texts = {row["record_id"]: dict(texts_by_path(row)) for row in dataset.view(mask).iter_rows()}
    return {
        f.record_id: "\n\n".join(texts[f.record_id][path][start:end] for path, start, end in f.spans)[
            :_PASSAGE_CHARACTERS
        ]
        for f in chosen
    }


def _write(ledger: LedgerWriter, found: Found, held_out: HeldOut) -> None:
    leak = found.leak
    source, witness = held_out.names[leak.witness]
    parents = [witness] if source in ("validation", "test") else []
    evidence = {"against": source, "witness": witness, **found.evidence}
    ledger.add(found.record_id, "dropped", leak.reason, score=leak.score, evidence=evidence, parents=parents)
