"""The newest window of requests beside the training data: what differs, whether that is an alarm, what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.ledger import LedgerWriter
from steps.contracts.models import ModelFolder
from steps.contracts.monitoring import MonitorCheck, Monitored, MonitorVerdict
from steps.contracts.outcome import Outcome
from steps.engines.embed.vectorise import Vectorise, vectoriser
from steps.engines.graders.json_schema import read_schema, validator
from steps.engines.graders.values import NOTHING, parse_json
from steps.engines.llm.egress import refuse_egress
from steps.engines.progress.progress import Stopwatch
from steps.monitor.candidates import make_candidates
from steps.monitor.checks import Looks, checks_of, declining, limits_of
from steps.monitor.config import MonitorConfig
from steps.monitor.report import Seen, report
from steps.monitor.texts import Counter, words
from steps.monitor.training import Training, look_at, sample_training
from steps.monitor.window import Window, newest_answered, read_facts, windows_of

# Chosen: with fewer rows in a half, shares of the training data are known within 14 points.
_FEWEST_TRAINING = 50


@dataclass(frozen=True)
class Answering:
    """The model that answered, as far as it is known.

    Attributes:
        weights: their digest; "": requests of all models count.
        scrubbed: whether its training data was.
        folder, over: its files, and those of what it lies over, for its tokenizer; None: lengths are in words.
    """

    weights: str = ""
    scrubbed: bool = False
    folder: ModelFolder | None = None
    over: ModelFolder | None = None

    def counter(self) -> Counter:
        """Tokens of a text, without what a template adds."""
        if self.folder is None:
            return words
        from steps.engines.lm.load import has_tokenizer, load_tokenizer

        tokenizer = load_tokenizer(self.folder if has_tokenizer(self.folder) else self.over or self.folder)
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])


def monitor(
    rows: Dataset,
    config: MonitorConfig,
    ctx: StageContext,
    *,
    facts: Path,
    training: Dataset,
    answering: Answering,
    mode: str,
    verdicts: Path | None = None,
    threshold: float = 0.0,
) -> Outcome:
    """The decision on the newest window (artifact `monitored`), and candidates for the next dataset version (artifact
    `candidates`). No row is dropped.

    Args:
        rows: of the log, scrubbed in `mode`; facts: what else is known of them.
        training: the dataset version that the model was trained on.
        verdicts: the judge's, on a sample of the window; threshold: the share below which it finds an answer bad.

    Raises:
        ConfigError: training rows that weren't scrubbed would leave the machine. As `vectoriser`, `read_schema`.
    """
    watch = Stopwatch()
    if config.embed is not None:
        where = "monitor.embed"
        refuse_egress((config.embed.endpoint,), scrubbed=answering.scrubbed, allowed=False, where=where)
    known = read_facts(facts)
    windows = windows_of(rows, known, answering.weights)
    count = answering.counter()
    with vectoriser(config.embed, ctx, "monitor") as vectorise:
        judged = judged_of(verdicts, threshold)
        seen = _looked_at(windows, training, config, ctx, answering, mode, (count, vectorise), judged)
    with LedgerWriter(ctx.folder / "ledger.parquet", "monitor") as lines:
        candidates = make_candidates(rows, known, config.candidates, ctx.folder / "candidates", lines)
        ledger = lines.close()
    return Outcome(
        rows,
        ledger,
        report(seen, rows.rows, candidates.rows, lines, config, watch).balanced(),
        artifacts={"monitored": seen.decision, "candidates": candidates},
    )


def sample(rows: Dataset, facts: Path, config: MonitorConfig, ctx: StageContext, weights: str) -> Dataset:
    """Answered requests of the newest window, for the judge, chosen by their ids, which are hashes."""
    chosen = set(newest_answered(rows, read_facts(facts), weights)[: config.judged_rows])
    keep = np.zeros(rows.rows, bool)
    for chunk in rows.chunks(["record_id"]):
        keep[chunk.start : chunk.start + chunk.table.num_rows] = [
            i in chosen for i in chunk.table["record_id"].to_pylist()
        ]
    return rows.select(keep, ctx.folder, "monitor")


def judged_of(verdicts: Path | None, threshold: float) -> tuple[int, int] | None:
    """Answers that have a score, and those of them below the threshold; None without a judge."""
    if verdicts is None:
        return None
    shares = [s for s in pq.read_table(verdicts, columns=["share"])["share"].to_pylist() if s is not None]
    return len(shares), sum(s < threshold for s in shares)


def _looked_at(
    windows: Sequence[Window],
    training: Dataset,
    config: MonitorConfig,
    ctx: StageContext,
    answering: Answering,
    mode: str,
    by: tuple[Counter, Vectorise],
    judged: tuple[int, int] | None,
) -> Seen:
    newest = windows[0] if windows else Window(0)
    halves = sample_training(training, config.training_rows)
    notes = _notes(config, answering, mode, windows)
    if len(newest.said) < config.min_requests or min(map(len, halves)) < _FEWEST_TRAINING:
        few = f"{len(newest.said):,} requests of {config.min_requests:,}, {sum(map(len, halves)):,} training rows"
        notes.append(f"Nothing is decided: {few} that ask something, of {2 * _FEWEST_TRAINING:,}.")
        # What there is is told, and is no alarm.
        looks = Looks(by[0], "", None, declining(config.decline_patterns), judged)
        told = tuple(c.model_copy(update={"alarm": False}) for c in limits_of(newest, config, looks))
        decision = _decision("too_few", told, newest, training, answering, config, notes)
        return Seen(decision, tuple(windows), None, (), by[0])
    count, vectorise = by
    trained = look_at(halves, config, count, vectorise)
    vectors = [vectorise([s.about for s in w.said]) for w in windows]
    looks = Looks(count, mode if answering.scrubbed else "", _valid(config, ctx.root, trained),
                  declining(config.decline_patterns), judged)  # fmt: skip
    checks = checks_of(newest, vectors[0], trained, config, looks)
    decision = _decision(_verdict(checks), checks, newest, training, answering, config, notes)
    return Seen(decision, tuple(windows), trained, tuple(vectors), count)


def _valid(config: MonitorConfig, root: Path, training: Training) -> Any:
    """Whether an answer is of the form that the task wants; None where there is none."""
    if config.json_schema is None and not training.answers_json:
        return None
    valid = validator(read_schema(root / config.json_schema) if config.json_schema else None)
    return lambda answer: (value := parse_json(answer)) is not NOTHING and valid(value)


def _verdict(checks: Sequence[MonitorCheck]) -> MonitorVerdict:
    alarms = [c.kind for c in checks if c.alarm]
    return "drifted" if "drift" in alarms else "degraded" if alarms else "steady"


def _decision(
    verdict: MonitorVerdict,
    checks: tuple[MonitorCheck, ...],
    window: Window,
    training: Dataset,
    answering: Answering,
    config: MonitorConfig,
    notes: Sequence[str],
) -> Monitored:
    times = [datetime.fromtimestamp(r.created, UTC).isoformat(timespec="seconds") for r in window.requests]
    return Monitored(
        verdict=verdict,
        retrain=verdict in config.retrain_on,
        requests=len(window.requests),
        began=times[0] if times else "",
        ended=times[-1] if times else "",
        model=answering.weights,
        dataset_digest=training.digest,
        alpha=config.alpha,
        tests=sum(c.p is not None for c in checks),
        checks=checks,
        notes=tuple(notes),
        config_digest=value_digest(config.model_dump(mode="json")),
    )


def _notes(config: MonitorConfig, answering: Answering, mode: str, windows: Sequence[Window]) -> list[str]:
    lengths = "words and signs: the model's tokenizer isn't known" if answering.folder is None else "tokens"
    about = "hashed words" if config.embed is None else config.embed.model or "vectors of an endpoint"
    notes = [f"Lengths are in {lengths}. Topics are by {about}."]
    if not answering.weights:
        notes.append("Which weights are meant isn't known: requests that any model answered count.")
    if others := sum(w.others for w in windows):
        notes.append(f"{others:,} requests were answered by other weights and don't count.")
    if not answering.scrubbed:
        notes.append("The training rows weren't scrubbed: how often personal data occurs can't be compared.")
    elif mode not in ("pseudonymise", "redact"):
        notes.append(f"scrub.mode {mode} leaves no trace that could be counted: personal data isn't compared.")
    return notes
