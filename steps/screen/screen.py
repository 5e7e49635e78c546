"""Decide about each row by quality rules, unsafe content, poisoned content and language."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.ledger import LedgerWriter, Verdict
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.row_cache import CachedRows, row_keys
from steps.engines.progress.progress import Progress, Stopwatch
from steps.screen.config import ScreenConfig
from steps.screen.counters import VERDICTS, Counters
from steps.screen.prescan import COLUMNS, Prescan
from steps.screen.report import report
from steps.screen.row_codec import KEY_COLUMNS, decoded, encoded, origin
from steps.screen.screener import Screener, ScreenResult
from steps.screen.second_look import SecondLook


def screen(rows: Dataset, config: ScreenConfig, ctx: StageContext) -> Outcome:
    """The rows that pass; rows to drop and rows to quarantine are taken out, flagged rows stay.

    Rows that the earlier run's `screen_row_cache` knows are not screened again, when settings and `ctx.code` are the
    same; `screen_embeddings` holds what models found. Relative model folders start from `ctx.root`.

    Raises:
        ConfigError: a pattern that RE2 refuses, or an unknown name in an allow list, an unknown language.
        MissingDependencyError: the tokenizer of the rules, or a model, isn't there.
        ServiceError: a row is undecided and the config says fail, or an embedding server doesn't work.
    """
    watch = Stopwatch()
    screener = Screener(config)
    prescan = Prescan(config, screener.scanner)
    cached = CachedRows(origin(config, ctx.code), ctx.earlier.get("screen_row_cache"))
    counters = Counters()
    second = SecondLook(config, ctx)
    keep = np.ones(rows.rows, bool)
    aside, flagged = np.zeros(rows.rows, bool), np.zeros(rows.rows, bool)
    with (
        LedgerWriter(ctx.folder / "ledger.parquet", "screen") as lines,
        Progress("screen", rows.rows) as progress,
    ):
        for chunk in rows.chunks((*COLUMNS, "content_id")):
            start = chunk.start
            for batch in chunk.table.to_batches():
                counters.measure(prescan.lengths(batch))
                for number, row, result in _results(batch, prescan, screener, cached):
                    counters.add(row, result)
                    if result.decision is not None:
                        action = _record(lines, row, result)
                        keep[start + number] = action in ("flagged", "undecided")
                        aside[start + number] = action == "quarantined"
                        flagged[start + number] = action == "flagged"
                start += batch.num_rows
            progress.advance(chunk.table.num_rows)
        second.run(rows, keep, aside, flagged, lines)
        ledger = lines.close()
    after = rows.select(keep, ctx.folder, "screen")
    quarantined = rows.select(aside, ctx.folder / "quarantined", "screen")
    done = report(counters, config, lines, (rows.rows, after.rows), watch)
    done = second.in_report(done.model_copy(update={"notes": (*done.notes, *cached.notes())}))
    made = {"screen_row_cache": cached.close(ctx.folder / "row_cache"), "screen_embeddings": second.embeddings}
    return Outcome(after, ledger, done.balanced(), quarantined, made)


def _results(
    batch: pa.RecordBatch, prescan: Prescan, screener: Screener, cached: CachedRows
) -> list[tuple[int, Row, ScreenResult]]:
    """Number in the batch, row and result of the rows in which something may be found; new ones are screened."""
    keys = row_keys(pa.Table.from_batches([batch]), KEY_COLUMNS)
    lookup = cached.look_up(keys)
    new = np.flatnonzero(~lookup.known)
    unknown = batch if len(new) == batch.num_rows else batch.take(pa.array(new))
    look = prescan.look(unknown)
    ruled = set(new[look.ruled].tolist())
    numbers = np.sort(np.concatenate([new[look.needed], np.fromiter(lookup.results, np.int64)]))
    found = []
    for number, row in zip(numbers.tolist(), _rows(batch, numbers), strict=True):
        known = lookup.results.get(number)
        found.append((number, row, decoded(known, row) if known else screener.screen(row, rules=number in ruled)))
    cached.keep(keys, {number: encoded(result) for number, _, result in found})
    return found


def _rows(batch: pa.RecordBatch, numbers: npt.NDArray[np.int64]) -> list[Row]:
    """These rows as dicts. `meta` isn't screened, so it isn't read: an empty one stands for it."""
    return [{**row, "meta": "{}"} for row in batch.take(pa.array(numbers)).to_pylist()]


def _record(lines: LedgerWriter, row: Row, result: ScreenResult) -> Verdict:
    """Write the decision to the ledger; returns what happens to the row."""
    decision = result.decision
    assert decision is not None
    verdict = VERDICTS[decision.action]
    lines.add(row["record_id"], verdict, decision.reason, score=decision.score, evidence=decision.evidence)
    return verdict
