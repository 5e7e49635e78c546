"""What an evaluation says: metrics with n and interval, per task, with the task's version and data digest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from steps.contracts.reports import Frozen

# One line per (task, row): every prompt and answer is kept. `scores` is a JSON object metric -> float or null
# (null: the metric does not apply to this row, or the extractor found nothing to compare).
ANSWERS_SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("row_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("reference", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("scores", pa.string(), nullable=False),
    ]
)


class Estimate(Frozen):
    """A mean with its 95 % percentile bootstrap interval over rows. `n` counts the rows it is a mean of."""

    value: float
    low: float
    high: float
    n: int


class Metric(Frozen):
    """One metric of one task. `higher_is_better` says which way is good."""

    name: str
    estimate: Estimate
    higher_is_better: bool = True


class TaskResult(Frozen):
    """One task: `version` changes when the way of scoring changes, `data_digest` when the rows do."""

    task: str
    version: str
    kind: Literal["held_out", "perplexity", "unanswerable"]
    data_digest: str
    n: int
    metrics: tuple[Metric, ...]


class EvalReport(Frozen):
    """All tasks for one model. `subject` is "base" or "tuned"."""

    subject: str
    model_digest: str
    dataset_digest: str
    tasks: tuple[TaskResult, ...]
    decoding: str
    seconds: float
    cpu_seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """All prompts, answers and per-row scores of one evaluation: a Parquet file (ANSWERS_SCHEMA)."""

    path: Path
    rows: int


class Difference(Frozen):
    """Tuned minus base on the same rows: paired bootstrap 95 % interval. `ratio` for perplexity (tuned / base)."""

    task: str
    metric: str
    base: Estimate
    tuned: Estimate
    change: Estimate
    is_ratio: bool = False


class Comparison(Frozen):
    """Base against tuned, row by row."""

    base_digest: str
    tuned_digest: str
    dataset_digest: str
    differences: tuple[Difference, ...]


class Reason(Frozen):
    """One check of the gate: what was required, what was found."""

    check: str
    passed: bool
    required: str
    found: str


class Decision(Frozen):
    """The gate's word on a candidate. `promote` is true only when every check passed."""

    promote: bool
    reasons: tuple[Reason, ...]
    config_digest: str


class Registration(Frozen):
    """Where a candidate was registered and under which aliases."""

    name: str
    version: str
    status: Literal["champion", "candidate", "rejected"]
    aliases: tuple[str, ...]
    model_uri: str
    tracking_uri: str
    run_id: str
    tags: dict[str, str]
