"""A subject's answers and losses on the rows of a suite, scored; the same code for every subject."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.contracts.digests import canonical_json
from steps.contracts.evaluation import EvalReport, Evaluation, Metric, TaskResult, Try, Usage
from steps.engines.progress.progress import Stopwatch
from steps.engines.scoring.answers import Answered, write_answers
from steps.engines.scoring.metrics import (
    LARGEST_LOSS,
    LOWER_IS_BETTER,
    NATS,
    NEUTRAL,
    NON_FINITE,
    PREFERENCE_ACCURACY,
    TOKENS,
    Scores,
    estimate,
    metric_names,
)
from steps.engines.subjects.local_model import Inference
from steps.engines.subjects.subject import Answering, Asked, Predicting, Preferring, Prompt, Prompted, Subject
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.harness.harness import Harnessed, run_harness
from steps.evaluate.probe import probe, with_faults
from steps.evaluate.scorers import Scorer, make_scorer
from steps.evaluate.suites.grading import confusion_of, graded
from steps.evaluate.suites.models import GradingModels
from steps.evaluate.suites.scorer import room, suite_scorer
from steps.evaluate.tasks import Suite, Task, row_id

# Raised when the way of scoring changes in this code; settings that change it enter the version by digest.
TASK_VERSION = 2


@dataclass(frozen=True)
class _Run:
    """One task as the subject did it; `max_new_tokens` is None where nothing was asked, `probe_tokens` where nothing
    was asked just to see whether it degenerates."""

    task: Task
    rows: list[Answered]
    scorer: Scorer
    version: str
    max_new_tokens: int | None
    probe_tokens: int | None
    notes: list[str]
    usage: Usage | None


def evaluate(
    subject: Subject,
    suite: Suite,
    config: EvaluateConfig,
    root: Path,
    folder: Path,
    tries: Sequence[Try] = (),
    models: GradingModels | None = None,
) -> Evaluation:
    """Measure a subject on the tasks of a suite by what it can do: answers are graded, losses summed.

    Args:
        root: what the paths in `config` are relative to.
        folder: answers.parquet is written there.
        tries: what was tried on other rows to find out how the subject is asked.
        models: those that grade answers, where a suite's task asks for them.

    Raises:
        InputError: a schema file can't be used.
        TrainingDataError: a test row can't be put to the subject.
    """
    watch = Stopwatch()
    runs = [_run(subject, task, config, root, models or GradingModels()) for task in suite.tasks]
    harness = run_harness(subject, config.lm_eval, root) if config.lm_eval else Harnessed()
    limits = {run.task.name: run.max_new_tokens for run in runs if run.max_new_tokens}
    probed = {run.task.name: run.probe_tokens for run in runs if run.probe_tokens}
    report = EvalReport(
        subject=subject.name,
        model_digest=subject.digest,
        dataset_digest=suite.dataset_digest,
        tasks=(*(_result(run) for run in runs), *harness.results),
        decoding=canonical_json(
            {**subject.decoding, "max_new_tokens": limits, **({"probe_tokens": probed} if probed else {})}
        ),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
        tries=tuple(tries),
        notes=(*(n for run in runs for n in run.task.notes), *(n for run in runs for n in run.notes), *harness.notes),
        suites=suite.used,
        usage=_together([run.usage for run in runs if run.usage]),
    )
    rows = [*(row for run in runs for row in run.rows), *harness.rows]
    return Evaluation(report, write_answers(rows, folder / "answers.parquet"))


def inference(config: EvaluateConfig) -> Inference:
    """How a model on this machine is run: alike for all that are compared."""
    return Inference(
        dtype=config.dtype,
        device=config.device,
        num_threads=config.num_threads,
        batch_size=config.batch_size,
        batch_tokens=config.batch_tokens,
        max_length=config.max_length,
        decoding=config.decoding,
    )


def scored(subject: Subject, task: Task, config: EvaluateConfig, root: Path) -> tuple[list[Answered], Scorer]:
    """The rows of one task as the subject did them, and what graded them; nothing is written."""
    run = _run(subject, task, config, root, GradingModels())
    return run.rows, run.scorer


def scorer_of(task: Task, config: EvaluateConfig, references: Sequence[str], root: Path) -> Scorer:
    """What grades a task's answers.

    Raises: as `make_scorer`.
    """
    if task.part is not None:
        return suite_scorer(task.part, config, references, root)
    return make_scorer(config.of_task(task.name), references, root, unanswerable=task.kind == "unanswerable")


def _run(subject: Subject, task: Task, config: EvaluateConfig, root: Path, models: GradingModels) -> _Run:
    put = subject.prompts(task.rows) if isinstance(subject, Prompted) else Asked([None] * len(task.rows))
    asked = put.prompts
    references = [p.reference for p in asked if p is not None and p.reference]
    scorer = scorer_of(task, config, references, root)
    losses, notes = _losses(subject, task)
    preferences, more = _preferences(subject, task, scorer)
    notes += more
    notes += [f"{task.name}: {note}" for note in put.notes]
    answers: list[str | None] = [None] * len(asked)
    reasoning: dict[int, str | None] = {}
    limit, usage = None, None
    if isinstance(subject, Answering) and references and (_only_asked(task) or scorer.generates):
        tokens = config.max_new_tokens if task.part is None else room(task.part, config)
        answers, limit, more, reasoning, usage = _answers(subject, task.name, asked, tokens)
        notes += more
    probed = probe(subject, task, [] if limit else asked, config)
    prompts = [probed.prompts.get(i, p) for i, p in enumerate(asked)]
    rows = [
        Answered(
            task=task.name,
            row_id=row_id(task, row),
            prompt=str(row["text"] or "") if prompt is None else prompt.text,
            reference=None if wanted is None else wanted.reference,
            answer=probed.answers.get(i, answer),
            reasoning=probed.reasoning.get(i, reasoning.get(i)),
            scores=loss | preference | dict(told) | (_score(scorer, answer, wanted) if limit else {}),
        )
        for i, (row, wanted, prompt, answer, loss, preference, told) in enumerate(
            zip(task.rows, asked, prompts, answers, losses, preferences, put.scores or [{}] * len(asked), strict=True)
        )
    ]
    if task.kind == "held_out":
        judged = prompts if limit else [probed.prompts.get(i) for i in range(len(asked))]
        rows = with_faults(rows, judged, [row["kind"] == "document" for row in task.rows])
    if task.part is not None and limit:
        rows, more = models.graded(task.part, graded(task.part, rows, scorer.grading))
        notes += more
    return _Run(task, rows, scorer, version_of(task.kind, scorer), limit, probed.tokens, [*notes, *probed.notes], usage)


def _only_asked(task: Task) -> bool:
    """Whether nothing but its answers is measured."""
    return task.kind == "unanswerable" or (task.part is not None and not task.predicts)


def version_of(kind: str, scorer: Scorer) -> str:
    """What a task's scores depend on: its kind, this code, and the settings of its graders."""
    return f"{kind}-{TASK_VERSION}+{scorer.version}"


def _score(scorer: Scorer, answer: str | None, prompt: Prompt | None) -> Scores:
    if prompt is None or not prompt.reference:
        return {}
    return scorer.score(answer, prompt.reference)


def _losses(subject: Subject, task: Task) -> tuple[list[Scores], list[str]]:
    """Per row the nats and tokens that the subject's losses are made of."""
    if not task.predicts or not isinstance(subject, Predicting):
        return [{} for _ in task.rows], []
    found = subject.losses(task.rows)
    scores: list[Scores] = []
    for loss in found.rows:
        nats, tokens = loss or (0.0, 0)
        finite = loss is not None and math.isfinite(nats) and nats / tokens <= LARGEST_LOSS
        kept: Scores = {NATS: nats, TOKENS: tokens} if finite else {NATS: None, TOKENS: None}
        scores.append({**kept, NON_FINITE: None if loss is None else float(not finite)})
    broken = sum(s[NON_FINITE] == 1.0 for s in scores)
    notes = [*found.notes, *([f"the loss of {broken} rows is not finite, so it has no loss"] if broken else [])]
    return scores, [f"{task.name}: {note}" for note in notes]


def _preferences(subject: Subject, task: Task, scorer: Scorer) -> tuple[list[Scores], list[str]]:
    """Per pair whether the subject prefers the chosen answer: where that is asked for, and of one that says no more."""
    wanted = PREFERENCE_ACCURACY in scorer.metrics or not isinstance(subject, Answering)
    if task.kind != "held_out" or not wanted or not isinstance(subject, Preferring):
        return [{} for _ in task.rows], []
    found = subject.preferences(task.rows)
    scores: list[Scores] = [{} if value is None else {PREFERENCE_ACCURACY: value} for value in found.rows]
    return scores, [f"{task.name}: {note}" for note in found.notes]


def _answers(
    subject: Answering, name: str, asked: Sequence[Prompt | None], max_new_tokens: int | None
) -> tuple[list[str | None], int, list[str], dict[int, str | None], Usage | None]:
    """An answer per row, None where there is nothing to say; the room that each had; notes; reasoning by row; what all
    took.
    """
    due = [(i, p) for i, p in enumerate(asked) if p is not None and p.reference]
    watch = Stopwatch()
    replies = subject.answer([p for _, p in due], max_new_tokens)
    answers: list[str | None] = [None] * len(asked)
    for (i, _), text in zip(due, replies.texts, strict=True):
        answers[i] = text
    reasoning = dict(zip((i for i, _ in due), replies.reasoning, strict=False))
    notes = [*replies.notes, *([_cut(replies.cut, len(due))] if replies.cut else [])]
    used = replies.tokens
    usage = None if used is None else Usage(
        answers=sum(text is not None for text in replies.texts), prompt_tokens=used.prompts, answer_tokens=used.answers,
        seconds=watch.seconds if used.seconds is None else used.seconds,
        cpu_seconds=watch.cpu_seconds if used.cpu_seconds is None else used.cpu_seconds,
        cost=used.cost, at_hand=used.at_hand,
    )  # fmt: skip
    return answers, replies.max_new_tokens, [f"{name}: {note}" for note in notes], reasoning, usage


def _together(usages: Sequence[Usage]) -> Usage | None:
    """Of all tasks."""
    if not usages:
        return None
    sums = {name: sum(getattr(u, name) or 0 for u in usages) for name in Usage.model_fields}
    return Usage(**{**sums, "cost": None if any(u.cost is None for u in usages) else sums["cost"]})


def _cut(cut: int, asked: int) -> str:
    return f"{cut} of {asked} answers ({cut / asked:.1%}) were cut: they had not ended when their room was full"


def _metrics(rows: Sequence[Answered]) -> tuple[Metric, ...]:
    scores = [row.scores for row in sorted(rows, key=lambda r: r.row_id)]
    return tuple(
        Metric(name=name, estimate=found, higher_is_better=None if name in NEUTRAL else name not in LOWER_IS_BETTER)
        for name in metric_names(scores)
        if (found := estimate(name, scores)) is not None
    )


def _by(run: _Run, names: Sequence[str]) -> dict[str, tuple[Metric, ...]]:
    """The metrics of the rows of each name (per row), where there are several; rows without one are of none."""
    rows: dict[str, list[Answered]] = {}
    for name, done in zip(names, run.rows, strict=True):
        rows.setdefault(name, []).append(done)
    return {name: _metrics(of_name) for name, of_name in sorted(rows.items()) if name} if len(rows) > 1 else {}


def _by_training(run: _Run) -> dict[str, tuple[Metric, ...]]:
    """Apart: questions that training is shown as well."""
    known = run.task.known
    names = ["asked in training too" if row.row_id in known else "not asked in training" for row in run.rows]
    return _by(run, names) if known else {}


def _sources(task: Task) -> list[str]:
    if task.part is not None:
        return [a.item.source for a in task.part.asked]
    return [str(row["source"]).partition("/")[0] if task.kind == "held_out" else "" for row in task.rows]


def _languages(task: Task) -> list[str]:
    """Of held-out rows what their own column `language` or `lang` says."""
    if task.part is not None:
        return [a.language for a in task.part.asked]
    if task.kind != "held_out":
        return [""] * len(task.rows)
    said = [json.loads(row["meta"] or "{}") for row in task.rows]
    found = [meta.get("language") or meta.get("lang") or "" for meta in said]
    return [name if isinstance(name, str) else "" for name in found]


def _result(run: _Run) -> TaskResult:
    part = run.task.part
    return TaskResult(
        task=run.task.name,
        version=run.version,
        kind=run.task.kind,
        data_digest=run.task.data_digest,
        n=len(run.rows),
        metrics=_metrics(run.rows),
        by_source=_by(run, _sources(run.task)),
        by_language=_by(run, _languages(run.task)),
        by_training=_by_training(run),
        suite=part.suite.name if part else "",
        thresholds=part.settings.thresholds if part else {},
        confusion=confusion_of(part, run.rows) if part else None,
    )
