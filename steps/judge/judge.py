"""The judge stage: rows below the threshold go, rows without a verdict go where the config says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Chunk, Dataset
from steps.contracts.errors import ConfigError, ServiceError
from steps.contracts.files import FileArtifact
from steps.contracts.ledger import LedgerWriter
from steps.contracts.ledger import Verdict as LedgerVerdict
from steps.contracts.outcome import Outcome
from steps.contracts.row_cache import CachedRows, Lookup, row_keys
from steps.engines.progress.progress import Stopwatch
from steps.judge.backend import Judge
from steps.judge.case import Case, case_of
from steps.judge.config import JudgeConfig
from steps.judge.heuristic import HeuristicJudge
from steps.judge.report import Tally
from steps.judge.row_codec import decoded, encoded, origin
from steps.judge.verdict import Verdict, VerdictWriter

_HELD_OUT = ("validation", "test")


def judge(rows: Dataset, config: JudgeConfig, ctx: StageContext) -> Outcome:
    """Score every row, and drop train rows (and rows without a split) below the threshold.

    Scores of validation and test rows are recorded, and a low one is flagged; they are never dropped or set aside.
    All verdicts are in the artifact `verdicts`, replies of a model in `ctx.cache/judge_replies.sqlite`. Rows that the
    earlier run's `judge_row_cache` knows are not judged again, when the backend, its settings and `ctx.code` are those
    of now.

    Raises:
        ConfigError: rows that weren't scrubbed would leave the machine.
        ServiceError: the model's server doesn't work, or too many rows got no verdict.
    """
    refuse_egress(config, ctx.scrubbed)
    watch = Stopwatch()
    keep = np.ones(rows.rows, bool)
    aside = np.zeros(rows.rows, bool)
    path = ctx.folder / "verdicts.parquet"
    tally = Tally(config)
    with (
        _backend(config, ctx.cache or ctx.folder, rows.rows) as backend,
        LedgerWriter(ctx.folder / "ledger.parquet", "judge") as lines,
        VerdictWriter(path) as verdicts,
    ):
        cached = CachedRows(origin(backend, ctx.code), ctx.earlier.get("judge_row_cache"))
        run = _Run(config, backend, cached, keep, aside, lines, verdicts, tally)
        for chunk in rows.chunks():
            _judge_chunk(chunk, run)
        _check_undecided(tally, config, rows.rows)
        ledger = lines.close()
        report = tally.report(backend, watch)
    report = report.model_copy(update={"notes": (*report.notes, *cached.notes())})
    quarantined = rows.select(aside, ctx.folder / "quarantined", "judge")
    made = {"verdicts": FileArtifact(path), "judge_row_cache": cached.close(ctx.folder / "row_cache")}
    return Outcome(rows.select(keep, ctx.folder, "judge"), ledger, report.balanced(), quarantined, made)


def refuse_egress(config: JudgeConfig, scrubbed: bool) -> None:
    """Stop before rows that may hold personal data leave the machine.

    Raises:
        ConfigError: the rows weren't scrubbed, the endpoint isn't a loopback address, and nothing allows it.
    """
    endpoint = config.endpoint
    if scrubbed or endpoint is None or endpoint.on_this_machine or config.allow_raw_egress:
        return
    raise ConfigError(
        "rows that were not scrubbed would be sent to another machine",
        where=f"judge.endpoint.base_url {endpoint.base_url}",
        hint="scrub before judging, use a server on 127.0.0.1, or set judge.allow_raw_egress: true",
    )


def _backend(config: JudgeConfig, cache_folder: Path, rows: int) -> Judge:
    if config.endpoint is None:
        return HeuristicJudge(config, rows)
    from steps.judge.llm_judge import LlmJudge

    return LlmJudge(config, config.endpoint, cache_folder / "judge_replies.sqlite", rows)


@dataclass(frozen=True)
class _Run:
    """What the functions below share. keep, aside: what becomes of each row, shape (rows,), written as rows come."""

    config: JudgeConfig
    backend: Judge
    cached: CachedRows
    keep: Mask
    aside: Mask
    lines: LedgerWriter
    verdicts: VerdictWriter
    tally: Tally


def _judge_chunk(chunk: Chunk, run: _Run) -> None:
    cached, config = run.cached, run.config
    keys = row_keys(chunk.table)
    lookup = cached.look_up(keys)
    numbers = lookup.open
    rows = chunk.table.take(pa.array(numbers, pa.int64())).to_pylist()
    cases = {n: case_of(row) for n, row in zip(numbers, rows, strict=True)}
    found = _verdicts(cases, lookup, run.backend)
    fresh = {n: encoded(found[n]) for n in lookup.new if found[n].error is None}
    cached.keep(keys, {**lookup.results, **fresh}, [n for n in lookup.new if n not in fresh])
    silent = chunk.table.filter(pa.array(lookup.silent))
    run.verdicts.add_silent(silent, run.backend.digest)
    run.tally.add_silent(silent)
    for n, verdict in found.items():
        case, i = cases[n], chunk.start + n
        outcome, reason = decide(case, verdict, config)
        run.keep[i], run.aside[i] = outcome == "kept", outcome == "quarantined"
        run.verdicts.add(case, verdict, outcome)
        run.tally.add(case, verdict, outcome, reason)
        _enter(run.lines, case, verdict, outcome, reason)
        if verdict.error and config.undecided == "fail" and case.split not in _HELD_OUT:
            raise ServiceError(
                f"no verdict on row {case.record_id}: {verdict.error} ({verdict.error_detail})", where="judge",
                hint="look at verdicts.parquet, or set judge.undecided to keep, drop or quarantine",
            )  # fmt: skip


def _verdicts(cases: Mapping[int, Case], lookup: Lookup, backend: Judge) -> dict[int, Verdict]:
    """A verdict per row number, in order: known ones, and the backend's on rows that are new."""
    new = lookup.new
    fresh = dict(zip(new, backend.verdicts([cases[n] for n in new]), strict=True)) if new else {}
    backend.pass_over(len(lookup.known) - len(new))
    once = {result: decoded(result) for result in set(lookup.results.values())}
    return {n: fresh[n] if n in fresh else once[lookup.results[n]] for n in cases}


def decide(case: Case, verdict: Verdict, config: JudgeConfig) -> tuple[str, str | None]:
    """What becomes of a row (kept, dropped, quarantined), and the reason code when there is something to say."""
    if verdict.share is None:
        reason = f"undecided:{verdict.error}"
        policy = {"keep": "kept", "drop": "dropped", "quarantine": "quarantined", "fail": "kept"}[config.undecided]
        return ("kept" if case.split in _HELD_OUT else policy), reason
    criterion, lowest = verdict.lowest
    if verdict.reasons.get(criterion) == "empty_answer":
        reason = "empty_answer"
    elif lowest < config.min_criterion_score:
        reason = f"low_{criterion}"
    # The sum is compared in whole points, so that 0.8 of 20 is 16 whatever floating point says.
    elif round(verdict.share, 9) < config.threshold:
        reason = "below_threshold"
    else:
        return "kept", None
    return ("kept" if case.split in _HELD_OUT else "dropped"), reason


def _enter(lines: LedgerWriter, case: Case, verdict: Verdict, outcome: str, reason: str | None) -> None:
    if reason is None:
        return
    evidence: dict[str, Any] = {"backend": verdict.backend, "prompt_digest": verdict.prompt_digest}
    if verdict.share is None:
        evidence |= {"error": verdict.error, "detail": verdict.error_detail}
    else:
        evidence |= {"scores": dict(verdict.scores), "reasons": dict(verdict.reasons)}
    entries: dict[str, LedgerVerdict] = {"dropped": "dropped", "quarantined": "quarantined"}
    entry = entries.get(outcome, "undecided" if verdict.share is None else "flagged")
    lines.add(case.record_id, entry, reason, score=verdict.share, evidence=evidence)


def _check_undecided(tally: Tally, config: JudgeConfig, rows: int) -> None:
    undecided = tally.undecided.total()
    if rows and undecided / rows > config.max_undecided_share:
        by = ", ".join(f"{n} {reason}" for reason, n in tally.undecided.most_common())
        raise ServiceError(
            f"{undecided} of {rows} rows got no verdict ({by}); max_undecided_share is {config.max_undecided_share}",
            where="judge",
            hint="read error and raw_reply in verdicts.parquet; verdicts so far are in the cache, so that a new run"
            " asks only for what is missing",
        )
