"""The judge stage: rows below the threshold go, rows without a verdict go where the config says."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from steps.contracts.arrays import Mask
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.errors import ServiceError
from steps.contracts.execution import Executor, Inline, Work
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import LedgerWriter, Verdict
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.row_cache import Lookup, RowCache
from steps.engines.execution.ahead import Ahead
from steps.engines.llm.account import Payer
from steps.engines.llm.egress import refuse_egress
from steps.engines.llm.endpoint import Endpoint
from steps.engines.progress.progress import Stopwatch
from steps.engines.rowwise.driver import drive
from steps.engines.rowwise.share import Share, share_of
from steps.engines.rowwise.stage import Batch, Fate, Line, RowStage
from steps.engines.rowwise.undecided import undecided
from steps.engines.rubric.case import Case, case_of, excerpt, rejected_case_of
from steps.engines.rubric.reading import read_rubric
from steps.engines.rubric.rubric import Rubric
from steps.judge.backend import AskingJudge, Judge
from steps.judge.biases.steadiness import FirstVerdicts, Steadiness, steadiness
from steps.judge.cascade import cascaded
from steps.judge.config import JudgeConfig
from steps.judge.deciding import HELD_OUT, decide
from steps.judge.heuristic import HeuristicJudge
from steps.judge.report import Tally
from steps.judge.row_codec import decoded, encoded, origin
from steps.judge.trust import tested
from steps.judge.undecided import UndecidedRows
from steps.judge.verdict import JudgeVerdict, VerdictWriter

# Chosen: what stands in an error is read by a person.
_MOST_DETAILS = 3
# Chosen: replies in batches take hours, so that 262,144 rows are asked about at once, in chunks of 8,192.
_CHUNKS_IN_BATCHES = 32


def judge(rows: Dataset, config: JudgeConfig, ctx: StageContext) -> Outcome:
    """Score every row, and drop train rows (and rows without a split) below the threshold.

    Scores of validation and test rows are recorded, and a low one is flagged; they are never dropped or set aside.
    All verdicts are in the artifact `verdicts`, replies of a model in `ctx.cache/judge_replies.sqlite`, those that hold
    no verdict in `ctx.cache/undecided-*.jsonl` as well. Rows that the
    earlier run's `judge_row_cache` knows are not judged again, when the backend, its settings and `ctx.code` are those
    of now.

    Raises:
        ConfigError: rows that weren't scrubbed would leave the machine, the judge fails the test of
            `config.calibration`, or nothing can be learned from it for `config.cascade`.
        ServiceError: the model's server doesn't work, or too many rows got no verdict.
    """
    refuse_egress(config.endpoints, scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="judge")
    watch = Stopwatch()
    path = ctx.folder / "verdicts.parquet"
    with backend_for(config, ctx, rows.rows) as asked, ExitStack() as opened:
        trust = tested(rows, config, asked, ctx)
        backend, config = trust.judge, trust.config
        if backend is asked and (learned := cascaded(rows, asked, config, ctx)) is not None:
            backend = opened.enter_context(learned)
        with (
            LedgerWriter(ctx.folder / "ledger.parquet", "judge") as lines,
            VerdictWriter(path, backend.criteria, _further(backend, config)) as verdicts,
            UndecidedRows(_undecided_file(ctx, rows, backend)) as unjudged,
        ):
            tally = Tally(config, ctx.scrubbed, backend.criteria)
            first = FirstVerdicts.of(rows, config)
            stage = _Stage(config, backend, verdicts, unjudged, tally, first, ctx.code)
            executor = _executor(backend, config) or (None if backend is asked else Inline())
            done = drive(stage, rows, ctx, lines, executor=executor, progress=config.endpoint is None)
            _check_undecided(tally, unjudged, config, rows.rows)
            steady = Steadiness() if trust.lacking else steadiness(trust.judge, config, first, rows, tally.scores, ctx)
            return done.outcome(
                lines,
                lambda _: steady.told(trust.told(tally.report(backend, unjudged, watch))),
                verdicts=FileArtifact(path),
            )


def judge_share(rows: Dataset, config: JudgeConfig, ctx: StageContext, share: Share) -> RowCache:
    """The verdicts on one share of the rows, for `judge` in another process (`StageContext.shares`). What a model said
    is in `ctx.cache` as well, where `judge` finds it; rows without a verdict aren't in it: `judge` decides about them.

    A share may spend its part of `max_cost` and sends its part of the requests at once, so that both hold for all.

    Raises:
        ConfigError, ServiceError: as `judge`, but for rows without a verdict.
    """
    refuse_egress(config.endpoints, scrubbed=ctx.scrubbed, allowed=config.allow_raw_egress, where="judge")
    part = config.of_share(share.number, share.of)
    with backend_for(part, ctx, rows.rows // share.of, part=f"{share.number + 1} of {share.of}") as backend:
        stage = _Verdicts(part, backend, ctx.code)
        mine = stage.mine(rows, share) if config.endpoint is not None else None
        return share_of(
            stage, rows, ctx, share, _executor(backend, config), mine=mine, progress=config.endpoint is None
        )


def _executor(backend: Judge, config: JudgeConfig) -> Executor | None:
    """A model isn't asked by many processes: requests wait, they don't compute, and one cap holds for all of them; one
    on this machine has its own threads, and is in memory once.
    """
    if isinstance(backend, AskingJudge):
        begun = beginning(backend, config.judges_rejected)
        batch = config.endpoint.batch if config.endpoint else None
        return Ahead(begun) if batch is None else Ahead(begun, None, _CHUNKS_IN_BATCHES)
    return Inline() if config.backend != "heuristic" else None


def _further(backend: Judge, config: JudgeConfig) -> tuple[str, ...]:
    """Columns of verdicts.parquet that not all judges have."""
    has = {"probabilities": backend.rated, "members": config.jury is not None, "rejected_share": config.judges_rejected}
    return tuple(name for name, there in has.items() if there)


def _undecided_file(ctx: StageContext, rows: Dataset, backend: Judge) -> Path:
    """Beside the replies, one for each data set and judge."""
    name = value_digest([rows.digest, backend.digest])[:16]
    return (ctx.cache or ctx.folder) / f"undecided-{name}.jsonl"


def backend_for(config: JudgeConfig, ctx: StageContext, rows: int, part: str = "") -> Judge:
    """The judge of these settings, for so many rows. `part`: which share of the run's rows is judged; "": all."""
    if config.jury is not None:
        from steps.judge.jury import Jury

        with ExitStack() as opened:
            judges: dict[str, Judge] = {}
            for name, alone in config.of_jury().items():
                judges[name] = backend_for(alone, ctx, rows, f"{part} {name}".strip())
                opened.push(judges[name])
            opened.pop_all()
        return Jury(config.jury, judges)
    if config.backend == "heuristic":
        return HeuristicJudge(config)
    if config.classifier is not None:
        from steps.judge.classifier_judge import ClassifierJudge

        return ClassifierJudge(config.classifier, ctx)
    rubric = read_rubric(config.rubric, lambda name: ctx.root / name)
    rubric.require(config.instructions, compares=False, where="judge.rubric")
    if config.local is not None:
        from steps.judge.local_judge import LocalJudge

        return LocalJudge(config, config.local, rubric, ctx)
    assert config.endpoint is not None
    payer = Payer(ctx.run, part) if ctx.run else None
    file = (ctx.cache or ctx.folder) / "judge_replies.sqlite"
    return _served(config, rubric, config.endpoint, file, rows, payer)


def _served(
    config: JudgeConfig, rubric: Rubric, endpoint: Endpoint, file: Path, rows: int, payer: Payer | None
) -> Judge:
    """A served model by its probabilities where these are wanted, or can be had; else by what it says."""
    from steps.judge.llm_judge import LlmJudge
    from steps.judge.server_judge import ServerRatings

    why = ""
    if config.scoring != "generation":
        rated = ServerRatings(config, rubric, endpoint, file, rows, payer)
        with ExitStack() as opened:
            opened.push(rated)
            found = rated.works() if config.scoring == "auto" else None
            if found is None:
                opened.pop_all()
                return rated
        why = found
    asked = LlmJudge(config, rubric, endpoint, file, rows, payer)
    asked.why_generated = why
    return asked


@dataclass(frozen=True)
class Judged:
    """A row's verdict, and what a report shows of the row."""

    verdict: JudgeVerdict
    excerpt: str
    # Characters of what was judged.
    chars: int = 0


def judging(backend: Judge, rejected: bool = False) -> Callable[[Batch], list[Judged]]:
    """The work on a batch: the backend's verdicts on new rows, and those that are cached. `rejected`: on the rejected
    answers of pairs as well.
    """
    return lambda batch: _begin(batch, backend, lambda cases: partial(backend.verdicts, cases), rejected)()


def beginning(backend: AskingJudge, rejected: bool) -> Callable[[Batch], Callable[[], list[Judged]]]:
    """The same, begun for further batches before the answers to one are there."""
    return lambda batch: _begin(batch, backend, backend.begin, rejected)


def _begin(
    batch: Batch, backend: Judge, begin: Callable[[Sequence[Case]], Callable[[], list[JudgeVerdict]]], rejected: bool
) -> Callable[[], list[Judged]]:
    rows = batch.rows.to_pylist()
    cases = [case_of(row) for row in rows]
    results = _results(batch, cases, backend)
    places = [i for i, result in enumerate(results) if result is None]
    new = [cases[i] for i in places]
    others = {i: case for i in places if (case := rejected_case_of(rows[i]))} if rejected else {}
    wait = begin([*new, *others.values()]) if new else list

    def judged() -> list[Judged]:
        said = wait()
        theirs = dict(zip(others, said[len(new) :], strict=True))
        fresh = iter(
            replace(v, rejected_share=theirs[i].share, rejected_error=theirs[i].error) if i in theirs else v
            for i, v in zip(places, said[: len(new)], strict=True)
        )
        backend.pass_over(len(cases) - len(new))
        once = {result: decoded(result, backend.criteria) for result in set(results) if result is not None}
        verdicts = [next(fresh) if result is None else once[result] for result in results]
        asks = not isinstance(backend, HeuristicJudge)
        return [
            Judged(v, excerpt(c) if asks or not v.is_full else "", c.judged_chars if asks else 0)
            for v, c in zip(verdicts, cases, strict=True)
        ]

    return judged


def _results(batch: Batch, cases: Sequence[Case], backend: Judge) -> list[str | None]:
    """What is cached of each row's verdict. It isn't needed where a share of this run has left all that it was made of:
    then the verdict is as if it had been made here.
    """
    shared = [case for case, here in zip(cases, batch.shared, strict=True) if here]
    known = iter(backend.known(shared) if shared else ())
    return [None if here and next(known) else r for r, here in zip(batch.results, batch.shared, strict=True)]


def heuristic_judging(config: str) -> Callable[[Batch], list[Judged]]:
    """The same with fixed signals, which any process can do; `config` is a JudgeConfig as JSON."""
    return judging(HeuristicJudge(JudgeConfig.model_validate_json(config)))


class _Verdicts(RowStage[Judged]):
    """The judge as a stage of the driver that decides, and leaves what follows to others. It looks at every new row."""

    name = "judge"
    columns: Sequence[str] = (
        "record_id", "content_id", "source", "locator", "kind", "messages", "chosen", "rejected", "tools", "text",
        "label", "split",
    )  # fmt: skip
    row_columns: Sequence[str] = ("record_id",)

    def __init__(self, config: JudgeConfig, backend: Judge, code: str) -> None:
        self.origin = origin(backend, code, config.judges_rejected)
        self.work = Work(heuristic_judging, config.model_dump_json(), "judge")
        self.here = judging(backend, config.judges_rejected)
        self._config, self._backend = config, backend
        if config.backend != "heuristic":
            self.columns = (*self.columns, "meta")

    def mine(self, rows: Dataset, share: Share) -> Mask:
        """The rows of a share, shape (rows,)."""
        theirs = np.arange(rows.rows) % share.of
        for chunk in rows.chunks(self.columns):
            for number, row in enumerate(chunk.table.to_pylist(), chunk.start):
                asks = self._backend.share_of(case_of(row), share.of)
                theirs[number] = theirs[number] if asks is None else asks
        return np.equal(theirs, share.number)

    def fate(self, row: Row, decision: Judged) -> Fate:
        return Fate()

    def encoded(self, decision: Judged) -> str | None:
        verdict = decision.verdict
        return None if verdict.error is not None or verdict.rejected_error is not None else encoded(verdict)


class _Stage(_Verdicts):
    """The judge as a stage of the driver: what becomes of each row, and the account of it."""

    row_columns: Sequence[str] = ("record_id", "content_id", "source", "locator", "label", "split")

    def __init__(
        self,
        config: JudgeConfig,
        backend: Judge,
        verdicts: VerdictWriter,
        unjudged: UndecidedRows,
        tally: Tally,
        first: FirstVerdicts,
        code: str,
    ) -> None:
        super().__init__(config, backend, code)
        self._verdicts, self._unjudged, self._tally, self._first = verdicts, unjudged, tally, first
        if config.backend != "heuristic":
            self.row_columns = (*self.row_columns, "meta")

    def passing(self, table: pa.Table, lookup: Lookup) -> None:
        self._tally.add_sources(table["source"])
        silent = table.filter(pa.array(lookup.silent))
        self._verdicts.begin(table, lookup.silent, self._backend.digest)
        self._tally.add_silent(silent)
        self._backend.pass_over(len(silent))

    def fate(self, row: Row, decision: Judged) -> Fate:
        verdict = decision.verdict
        self._first.see(row["content_id"], verdict)
        outcome, reason = decide(row["split"], verdict, self._config, row["label"])
        self._verdicts.add(row, verdict, outcome)
        self._tally.add(row, verdict, outcome, reason, decision.excerpt, decision.chars)
        if verdict.error:
            self._unjudged.add(row, verdict)
        if verdict.error and row["split"] not in HELD_OUT:
            undecided(self._config.undecided, lambda: _no_verdict(row, verdict, self._unjudged))
        return Fate((_line(verdict, outcome, reason),) if reason is not None else ())


def _no_verdict(row: Row, verdict: JudgeVerdict, unjudged: UndecidedRows) -> ServiceError:
    return ServiceError(
        f"no verdict on row {row['record_id']}: {verdict.error} ({verdict.error_detail})", where="judge",
        hint=f"what the model said is in {unjudged.location}, by record_id; or set judge.undecided to keep, drop or"
        " quarantine",
    )  # fmt: skip


def _line(verdict: JudgeVerdict, outcome: str, reason: str) -> Line:
    evidence: dict[str, Any] = {"backend": verdict.backend, "prompt_digest": verdict.prompt_digest}
    if verdict.share is None:
        evidence |= {"error": verdict.error, "detail": verdict.error_detail}
    else:
        evidence |= {"scores": dict(verdict.scores), "reasons": dict(verdict.reasons)}
        if verdict.rejected_share is not None:
            evidence["rejected_share"] = verdict.rejected_share
    entries: dict[str, Verdict] = {"dropped": "dropped", "quarantined": "quarantined"}
    entry = entries.get(outcome, "undecided" if verdict.share is None else "flagged")
    return Line(entry, reason, verdict.share, evidence)


def _check_undecided(tally: Tally, unjudged: UndecidedRows, config: JudgeConfig, rows: int) -> None:
    undecided = tally.undecided.total()
    if rows and undecided / rows > config.max_undecided_share:
        by = ", ".join(f"{n} {reason}" for reason, n in tally.undecided.most_common())
        details = "; ".join(f"{n} {detail}" for detail, n in tally.undecided_details.most_common(_MOST_DETAILS))
        raise ServiceError(
            f"{undecided} of {rows} rows got no verdict ({by}); max_undecided_share is {config.max_undecided_share}",
            where="judge",
            hint=f"({details}) what the model said about each row is in {unjudged.location}, by record_id; verdicts so"
            " far are in the cache, so that a new run asks only for what is missing",
        )
