"""One model's answers and losses on the held-out rows and the controls, scored; the same code for base and tuned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.contracts.dataset import Dataset
from steps.contracts.digests import canonical_json
from steps.contracts.evaluation import Answers, EvalReport, Metric, TaskResult
from steps.contracts.models import ModelFolder
from steps.contracts.records import Row
from steps.engines.lm.generate import generate
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.loss import IGNORED, token_losses
from steps.engines.lm.threads import torch_threads
from steps.engines.progress.progress import Stopwatch
from steps.engines.scoring.answers import Answered, write_answers
from steps.engines.scoring.metrics import (
    LARGEST_LOSS,
    LOWER_IS_BETTER,
    NATS,
    NON_FINITE,
    TOKENS,
    Scores,
    estimate,
    metric_names,
)
from steps.engines.template.render import encode_rows, prompt_and_reference
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.scorers import Scorer, make_scorer
from steps.evaluate.tasks import Task, control, held_out, row_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Raised when the way of scoring changes in this code; settings that change it enter the version by digest.
TASK_VERSION = 1
# Chosen: room for an answer somewhat longer than any reference (a base model rambles; a cut answer is a wrong one).
_ROOM, _SPARE_TOKENS = 1.25, 8


@dataclass(frozen=True)
class Evaluated:
    """What one model was measured to be, and every answer that says so."""

    report: EvalReport
    answers: Answers


@dataclass(frozen=True)
class _Asked:
    """A row as the model gets it: prompt and reference; both None for a document (loss only)."""

    prompt: str | None
    reference: str | None


def evaluate(
    base: ModelFolder,
    adapter: ModelFolder | None,
    dataset: Dataset,
    config: EvaluateConfig,
    folder: Path,
    root: Path,
    subject: str,
) -> Evaluated:
    """Measure `base`, or `adapter` (adapter or full weights) in its place, on the test split and the controls.

    Args:
        dataset: a version with split labels; only its test rows are read.
        folder: answers.parquet is written there.
        root: what the paths in `config` are relative to.
        subject: "base" or "tuned", for the report.

    Raises:
        InputError: no test rows, or a control file can't be used.
        TrainingDataError: a test row can't be rendered by the model's template.
        IntegrityError: the base's files are not the recorded ones.
    """
    watch = Stopwatch()
    tasks = [held_out(dataset, config.max_rows), *(control(c, root) for c in config.controls)]
    results: list[TaskResult] = []
    answered: list[Answered] = []
    notes = [note for task in tasks for note in task.notes]
    limits: dict[str, int] = {}
    with torch_threads(config.num_threads):
        loaded = load(base, adapter, dtype=config.dtype, device=config.device)
        for task in tasks:
            rows, version, limit, more = _run(loaded, task, config, root)
            results.append(_result(task, version, rows))
            answered += rows
            notes += more
            limits |= {task.name: limit} if limit else {}
    report = EvalReport(
        subject=subject,
        model_digest=(adapter or base).info.digest,
        dataset_digest=dataset.digest,
        tasks=tuple(results),
        decoding=_decoding(config, limits),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
        notes=tuple(notes),
    )
    return Evaluated(report, write_answers(answered, folder / "answers.parquet"))


def _run(
    loaded: LoadedModel, task: Task, config: EvaluateConfig, root: Path
) -> tuple[list[Answered], str, int | None, list[str]]:
    """(answered rows, task version, max_new_tokens or None when nothing was generated, notes) of one task."""
    window = min(config.max_length or _context(loaded), _context(loaded))
    asked = [_ask(loaded.tokenizer, row) for row in task.rows]
    references = [a.reference for a in asked if a.reference]
    scorer = make_scorer(config, references, root)
    losses, notes = _losses(loaded, task, window, config.batch_size)
    limit = None
    answers: list[str | None] = [None] * len(asked)
    if references and (task.kind == "unanswerable" or scorer.generates):
        limit = config.max_new_tokens or _answer_tokens(loaded.tokenizer, references)
        answers, more = _answers(loaded, task.name, asked, min(limit, window - 1), window, config.batch_size)
        notes += more
    rows = [
        Answered(
            task=task.name,
            row_id=row_id(task, row),
            prompt=one.prompt if one.prompt is not None else str(row["text"] or ""),
            reference=one.reference,
            answer=answer,
            scores=loss | (_score(task, scorer, answer, one.reference) if limit else {}),
        )
        for row, one, answer, loss in zip(task.rows, asked, answers, losses, strict=True)
    ]
    return rows, f"{task.kind}-{TASK_VERSION}+{scorer.version}", limit, notes


def _score(task: Task, scorer: Scorer, answer: str | None, reference: str | None) -> Scores:
    if not reference:
        return {}
    return (scorer.score_unanswerable if task.kind == "unanswerable" else scorer.score)(answer, reference)


def _ask(tokenizer: "PreTrainedTokenizerBase", row: Row) -> _Asked:
    """A preference's reference is its chosen answer; a document asks nothing."""
    if row["kind"] == "document":
        return _Asked(None, None)
    prompt, reference = prompt_and_reference(tokenizer, row)
    return _Asked(prompt, reference)


def _losses(loaded: LoadedModel, task: Task, window: int, batch_size: int) -> tuple[list[Scores], list[str]]:
    """Per row the nats and tokens of what training would train (a document: all of it), cut to the window."""
    if task.kind == "unanswerable":
        return [{} for _ in task.rows], []
    encoded = [(e.input_ids, e.labels) for e in encode_rows(loaded.tokenizer, task.rows)]
    cut = sum(len(ids) > window for ids, _ in encoded)
    kept = [(ids[:window], labels[:window]) for ids, labels in encoded]
    usable = [i for i, (ids, labels) in enumerate(kept) if any(x != IGNORED for x in labels[1:]) and len(ids) > 1]
    found = token_losses(loaded, [kept[i] for i in usable], batch_size=batch_size)
    scores: list[Scores] = [{NATS: None, TOKENS: None, NON_FINITE: None} for _ in task.rows]
    for i, (nats, tokens) in zip(usable, found, strict=True):
        finite = math.isfinite(nats) and nats / tokens <= LARGEST_LOSS
        scores[i] = {NATS: nats if finite else None, TOKENS: tokens if finite else None, NON_FINITE: float(not finite)}
    notes = [f"{task.name}: {cut} rows cut to {window} tokens for the loss"] if cut else []
    notes += [f"{task.name}: {len(kept) - len(usable)} rows have no token to score"] if len(usable) < len(kept) else []
    broken = sum(s[NON_FINITE] == 1.0 for s in scores)
    notes += [f"{task.name}: the loss of {broken} rows is not finite, so it has no loss"] if broken else []
    return scores, notes


def _answers(
    loaded: LoadedModel, name: str, asked: Sequence[_Asked], limit: int, window: int, batch_size: int
) -> tuple[list[str | None], list[str]]:
    """An answer per row; None where there is nothing to ask, or where prompt and answer don't fit the context."""
    lengths = [len(loaded.tokenizer(a.prompt or "", add_special_tokens=False)["input_ids"]) for a in asked]
    fits = [i for i, a in enumerate(asked) if a.reference and lengths[i] + limit <= window]
    long = sum(1 for i, a in enumerate(asked) if a.reference and lengths[i] + limit > window)
    texts = generate(loaded, [asked[i].prompt or "" for i in fits], max_new_tokens=limit, batch_size=batch_size)
    answers: list[str | None] = [None] * len(asked)
    for i, text in zip(fits, texts, strict=True):
        answers[i] = text
    note = f"{name}: {long} prompts leave no room for {limit} tokens within {window}: not asked, scored as wrong"
    return answers, [note] if long else []


def _answer_tokens(tokenizer: "PreTrainedTokenizerBase", references: Sequence[str]) -> int:
    longest = max(len(tokenizer(r, add_special_tokens=False)["input_ids"]) for r in references)
    return math.ceil(_ROOM * longest) + _SPARE_TOKENS


def _context(loaded: LoadedModel) -> int:
    """The model's context length in tokens; a model that names none gets its tokenizer's."""
    own = getattr(loaded.model.config, "max_position_embeddings", None)
    return int(own or loaded.tokenizer.model_max_length)


def _result(task: Task, version: str, rows: Sequence[Answered]) -> TaskResult:
    scores = [row.scores for row in sorted(rows, key=lambda r: r.row_id)]
    metrics = [
        Metric(name=name, estimate=found, higher_is_better=name not in LOWER_IS_BETTER)
        for name in metric_names(scores)
        if (found := estimate(name, scores)) is not None
    ]
    return TaskResult(
        task=task.name,
        version=version,
        kind=task.kind,
        data_digest=task.data_digest,
        n=len(rows),
        metrics=tuple(metrics),
    )


def _decoding(config: EvaluateConfig, limits: dict[str, int]) -> str:
    """JSON text of everything that decides over an answer; `max_new_tokens` per task that generates."""
    return canonical_json(
        {
            "do_sample": False,
            "max_new_tokens": limits,
            "batch_size": config.batch_size,
            "dtype": config.dtype,
            "num_threads": config.num_threads,
            "device": config.device,
        }
    )
