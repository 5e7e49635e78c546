"""Replace personal data in every text of every row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.errors import InputError
from steps.contracts.execution import Executor, Inline, Work
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.row_cache import RowCache
from steps.engines.execution.processes import Processes
from steps.engines.progress.progress import Stopwatch
from steps.engines.rows.segments import Segment, segments
from steps.engines.rowwise.driver import drive
from steps.engines.rowwise.share import Share, share_of
from steps.engines.rowwise.stage import Batch, Fate, FirstLook, Line, RowStage
from steps.engines.rowwise.undecided import undecided
from steps.scrub.config import ScrubConfig
from steps.scrub.counters import Counters
from steps.scrub.detectors import Detectors, need_a_process
from steps.scrub.prescan import Prescan
from steps.scrub.pseudonyms.key import read_key
from steps.scrub.redactor import Redacted, Redactor, TextFindings
from steps.scrub.report import report
from steps.scrub.row_codec import KEY_COLUMNS, decoded, encoded, origin
from steps.scrub.word_files import with_words

CHANGED = "pii"
FAILED = "detector_failed"


def scrub(rows: Dataset, config: ScrubConfig, ctx: StageContext) -> Outcome:
    """A version in which every detected value is replaced, in all splits.

    Rows that the earlier run's `scrub_row_cache` knows are not searched again, when it was made under the same
    settings, `ctx.key_id` and `ctx.code`; the result is the same. Word files of the config lie below `ctx.root`.

    Raises:
        ConfigError: no key is set, or a setting that the recognizers can't serve.
        MissingDependencyError: the NER model isn't there.
        InputNotFoundError: a word file isn't there.
        InputError: a word file can't be read; a detector failed on a row and `on_undecided` is "fail".
    """
    watch = Stopwatch()
    config = with_words(config, ctx.root)
    key = read_key(config)
    stage, executor = _stage(config, key, ctx)
    with LedgerWriter(ctx.folder / "ledger.parquet", "scrub") as lines:
        done = drive(stage, rows, ctx, lines, executor=executor)
        return done.outcome(lines, lambda kept: report(stage.counters, config, key, lines, (rows.rows, kept), watch))


def scrub_share(rows: Dataset, config: ScrubConfig, ctx: StageContext, share: Share) -> RowCache:
    """What is to be found in one share of the rows, for `scrub` in another process (`StageContext.shares`). A row on
    which a detector failed isn't in it: `scrub` tries again, and decides.

    Raises:
        as `scrub`, but for such rows.
    """
    config = with_words(config, ctx.root)
    stage, executor = _stage(config, read_key(config), ctx)
    return share_of(stage, rows, ctx, share, executor)


def _stage(config: ScrubConfig, key: bytes, ctx: StageContext) -> tuple["_Stage", Executor]:
    apart = need_a_process(config)
    executor = Processes(1) if apart and isinstance(ctx.executor, Inline) else ctx.executor
    return _Stage(config, key, ctx, apart), executor


@dataclass(frozen=True)
class Scrubbed:
    """What was found in a row.

    Attributes:
        redacted: the row with it replaced; None: there is nothing to replace.
        failed: paths of the texts on which a detector failed.
        result: what the row cache keeps.
    """

    redacted: Redacted | None
    failed: tuple[str, ...]
    result: str


@dataclass(frozen=True)
class ScrubSettings:
    """What another process needs: a ScrubConfig as JSON, with its words, and the pseudonym key."""

    config: str
    key: bytes = field(repr=False)


def scrubbing(settings: ScrubSettings) -> Callable[[Batch], list[Scrubbed]]:
    """The work on a batch, for any process."""
    config = ScrubConfig.model_validate_json(settings.config)
    return _scrubbing(Redactor(config, settings.key), Detectors(config))


def _scrubbing(redactor: Redactor, detectors: Detectors) -> Callable[[Batch], list[Scrubbed]]:
    def work(batch: Batch) -> list[Scrubbed]:
        rows = batch.rows.to_pylist()
        texts = [segments(row, everything=True) for row in rows]
        found = _findings(texts, batch.results, redactor, detectors)
        return [_scrubbed(row, here, found, redactor) for row, here in zip(rows, texts, strict=True)]

    return work


def _findings(
    texts: Sequence[Sequence[Segment]], results: Sequence[str | None], redactor: Redactor, detectors: Detectors
) -> TextFindings:
    """Findings of every text of these rows: cached ones, and those of rows that are new."""
    cached: TextFindings = {}
    for here, result in zip(texts, results, strict=True):
        if result is not None:
            cached |= decoded(result, here)
    new = (here for here, result in zip(texts, results, strict=True) if result is None)
    return cached | redactor.find((s.text for here in new for s in here), detectors)


def _scrubbed(row: Row, texts: Sequence[Segment], found: TextFindings, redactor: Redactor) -> Scrubbed:
    failed = tuple(s.path for s in texts if found[s.text] is None)
    if not any(found[s.text] for s in texts):
        return Scrubbed(None, failed, "")
    return Scrubbed(redactor.redacted(row, texts, found), failed, encoded(texts, found))


class _Stage(RowStage[Scrubbed]):
    """Scrub as a stage of the driver. `apart`: the NER model can't be loaded in this process."""

    name = "scrub"
    row_columns = ("record_id", "content_id", "source", "locator", "split")
    key_columns = KEY_COLUMNS
    rewrites = True

    def __init__(self, config: ScrubConfig, key: bytes, ctx: StageContext, apart: bool) -> None:
        self.origin = origin(config, key, ctx.code, ctx.key_id)
        self.work = Work(scrubbing, ScrubSettings(config.model_dump_json(), key), "scrub")
        self.counters = Counters()
        self._config = config
        conditions = None
        if not apart:
            # Made here if it can be, so that a wrong setting or a missing model is told before any process starts.
            detectors = Detectors(config)
            self.here = _scrubbing(Redactor(config, key), detectors)
            conditions = detectors.conditions
        self._prescan = Prescan(conditions)

    def first_look(self, new: pa.Table) -> FirstLook:
        return FirstLook(self._prescan.rows(new))

    def fate(self, row: Row, decision: Scrubbed) -> Fate:
        lines = self._undecided(row, decision.failed) if decision.failed else []
        if decision.redacted is None:
            return Fate(lines)
        if not any(line.verdict in ("dropped", "quarantined") for line in lines):
            self._count(row, decision.redacted)
            lines.append(Line("changed", CHANGED, evidence=self._evidence(row, decision.redacted)))
        return Fate(lines, decision.redacted.row)

    def encoded(self, decision: Scrubbed) -> str | None:
        return None if decision.failed else decision.result

    def _count(self, row: Row, redacted: Redacted) -> None:
        self.counters.add(row, redacted.values)
        if self._config.mode == "surrogate":
            self.counters.add_surrogates(redacted.values)

    def _evidence(self, row: Row, redacted: Redacted) -> dict[str, Any]:
        return {
            "mode": self._config.mode,
            "entities": redacted.entities,
            "spans": [list(span) for span in redacted.spans],
            "content_id": {"before": row["content_id"], "after": redacted.row["content_id"]},
        }

    def _undecided(self, row: Row, paths: Sequence[str]) -> list[Line]:
        """The lines of a row that couldn't be searched whole."""
        policy = self._config.on_undecided
        error = InputError(
            f"a detector failed on {row['record_id']} at {paths[0]}",
            where=f"{row['source']} {row['locator']}",
            hint="set scrub.on_undecided to quarantine, drop or keep",
        )
        verdict = undecided(policy, lambda: error)
        lines = [Line("undecided", FAILED, evidence={"paths": list(paths), "policy": policy})]
        return lines if verdict == "undecided" else [*lines, Line(verdict, FAILED)]
