"""Decide about each row by quality rules, unsafe content, poisoned content and language."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.execution import Work
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.row_cache import Lookup, RowCache
from steps.engines.progress.progress import Stopwatch
from steps.engines.rowwise.driver import drive
from steps.engines.rowwise.share import Share, share_of
from steps.engines.rowwise.stage import Batch, Fate, FirstLook, Line, RowStage
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
    stage = _Stage(config, ctx.code)
    second = SecondLook(config, ctx)
    with LedgerWriter(ctx.folder / "ledger.parquet", "screen") as lines:
        done = drive(stage, rows, ctx, lines)
        second.run(rows, done.keep, done.quarantined, done.flagged, lines)
        return done.outcome(
            lines,
            lambda kept: second.in_report(report(stage.counters, config, lines, (rows.rows, kept), watch)),
            screen_embeddings=second.embeddings,
        )


def screen_share(rows: Dataset, config: ScreenConfig, ctx: StageContext, share: Share) -> RowCache:
    """What rules and patterns say of one share of the rows, for `screen` in another process (`StageContext.shares`).
    Models look at the rows that are left of all shares: `screen` asks them.

    Raises:
        ConfigError, MissingDependencyError: as `screen`.
    """
    return share_of(_Stage(config, ctx.code), rows, ctx, share)


def screening(config: str) -> Callable[[Batch], list[ScreenResult]]:
    """The work on a batch, for any process; `config` is a ScreenConfig as JSON."""
    return _screening(Screener(ScreenConfig.model_validate_json(config)))


def _screening(screener: Screener) -> Callable[[Batch], list[ScreenResult]]:
    def work(batch: Batch) -> list[ScreenResult]:
        # `meta` isn't screened, so it isn't read: an empty one stands for it.
        rows = ({**row, "meta": "{}"} for row in batch.rows.to_pylist())
        given = zip(rows, batch.results, batch.marked, strict=True)
        return [decoded(result, row) if result else screener.screen(row, rules=ruled) for row, result, ruled in given]

    return work


class _Stage(RowStage[ScreenResult]):
    """Screening as a stage of the driver."""

    name = "screen"
    columns = (*COLUMNS, "content_id")
    row_columns = ("record_id", "split")
    key_columns = KEY_COLUMNS

    def __init__(self, config: ScreenConfig, code: str) -> None:
        screener = Screener(config)
        self.origin = origin(config, code)
        self.work = Work(screening, config.model_dump_json(), "screen")
        self.here = _screening(screener)
        self.counters = Counters()
        self._prescan = Prescan(config, screener.scanner)

    def first_look(self, new: pa.Table) -> FirstLook:
        looks = [self._prescan.look(batch) for batch in new.to_batches()]
        return FirstLook(np.concatenate([k.needed for k in looks]), np.concatenate([k.ruled for k in looks]))

    def passing(self, table: pa.Table, lookup: Lookup) -> None:
        for batch in table.to_batches():
            self.counters.measure(self._prescan.lengths(batch))

    def fate(self, row: Row, decision: ScreenResult) -> Fate:
        self.counters.add(row, decision)
        made = decision.decision
        return Fate((Line(VERDICTS[made.action], made.reason, made.score, made.evidence),) if made else ())

    def encoded(self, decision: ScreenResult) -> str | None:
        return encoded(decision)
