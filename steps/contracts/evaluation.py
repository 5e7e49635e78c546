"""What an evaluation says: metrics with n and interval, per task, with the task's version and data digest.

Whatever is evaluated is a subject, known by its name: the base model, a tuned one, anything that answers. One of them
is the reference, the others are its candidates.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import pyarrow as pa
from pydantic import Field, StringConstraints, model_validator

from steps.contracts.reports import Frozen, Table

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
        # What was thought before the answer; null: nothing, or the subject doesn't tell.
        pa.field("reasoning", pa.string()),
    ]
)
# Of a file with questions of suites: a JSON object grader -> what matched and what differed; "outcome": what became of
# the answer in one word. Null for other rows.
EVIDENCE = pa.field("evidence", pa.string())


# A subject's name stands in the names of steps and artifacts.
SubjectName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class Estimate(Frozen):
    """A mean with its 95 % interval over rows: Wilson's for a share of rows, else of the percentile bootstrap. `n`
    counts the rows it is a mean of."""

    value: float
    low: float
    high: float
    n: int


class Metric(Frozen):
    """One metric of one task. `higher_is_better` says which way is good; None: neither is, 0 is."""

    name: str
    estimate: Estimate
    higher_is_better: bool | None = True


# What the tasks of suites may be.
SuiteKind: TypeAlias = Literal[
    "domain", "qa", "unanswerable", "recall", "structured", "numeric", "classification", "style", "safety", "canary",
    "bias", "perplexity",
]  # fmt: skip
TaskKind: TypeAlias = Literal["held_out", "questions", "lm_eval"] | SuiteKind


class Confusion(Frozen):
    """Rows by wanted and found label: `counts[wanted][found]`, whose last column is of answers without a label."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class TaskResult(Frozen):
    """One task: `version` changes when the way of scoring changes, `data_digest` when the rows do.

    by_source, by_language: the same metrics of the rows of each source and language, where there are several.
    by_training: of the questions that the train split asks too, and of the others, where there are both.
    suite: the suite's name, of a task of one; thresholds: metric -> what a candidate must reach there.
    """

    task: str
    version: str
    kind: TaskKind
    data_digest: str
    n: int
    metrics: tuple[Metric, ...]
    by_source: dict[str, tuple[Metric, ...]] = Field(default_factory=dict)
    by_language: dict[str, tuple[Metric, ...]] = Field(default_factory=dict)
    by_training: dict[str, tuple[Metric, ...]] = Field(default_factory=dict)
    suite: str = ""
    thresholds: dict[str, float] = Field(default_factory=dict)
    confusion: Confusion | None = None


class UsedSuite(Frozen):
    """A suite that tasks are from. `digest`: of its file and all that it names, by content."""

    name: str
    version: str
    licence: str
    digest: str


class Try(Frozen):
    """One way of asking that was tried on validation rows, with what it gave there."""

    settings: dict[str, Any]
    metric: str
    estimate: Estimate


# How a subject is asked, in `EvalReport.decoding`, where that isn't as the others are.
PROMPTING = "prompting"
# What a server is sent with every prompt, in `EvalReport.decoding` of a model behind one: nobody's on this machine.
SERVED = "served"
# The export and the program that answered in the model's place, in `EvalReport.decoding`.
EXPORTED = "exported"
# What ended a model's answers, in `EvalReport.decoding`: the only part of it in which subjects may differ.
STOP_TOKEN_IDS = "stop_token_ids"


class Usage(Frozen):
    """What a subject's answers took. Times are of answering alone, in batches, without looking up what is asked with.

    cost: of the tokens by the endpoint's prices, whether they were paid in this run or an earlier one; None: it has
    none. at_hand: answers that these times are not of: of an earlier run, or not among those that were timed.
    """

    answers: int
    prompt_tokens: int
    answer_tokens: int
    seconds: float
    cpu_seconds: float
    cost: float | None = None
    at_hand: int = 0


class EvalReport(Frozen):
    """All tasks for one subject: `subject` is its name, `model_digest` the digest of what answered, `decoding` a JSON
    object of every setting that decides over an answer or a loss."""

    subject: str
    model_digest: str
    dataset_digest: str
    tasks: tuple[TaskResult, ...]
    decoding: str
    seconds: float
    cpu_seconds: float
    notes: tuple[str, ...] = ()
    tries: tuple[Try, ...] = ()
    suites: tuple[UsedSuite, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True)
class Answers:
    """All prompts, answers and per-row scores of one evaluation: a Parquet file (ANSWERS_SCHEMA)."""

    path: Path
    rows: int


@dataclass(frozen=True)
class Evaluation:
    """What one subject was measured to be, and every answer that says so."""

    report: EvalReport
    answers: Answers


class Compared(Frozen):
    """A subject in a comparison."""

    name: str
    digest: str


class Difference(Frozen):
    """One metric of the candidate `subject` beside the reference's, on the same rows.

    `change` is candidate minus reference with its paired bootstrap 95 % interval, which is widened where all rows
    change alike; for perplexity the ratio candidate / reference (`is_ratio`). `detectable`: the smallest change that
    these rows show with power 0.8, by the variance of the paired changes; None: it isn't known.
    """

    task: str
    metric: str
    subject: str
    reference: Estimate
    candidate: Estimate
    change: Estimate
    is_ratio: bool = False
    # Of a metric that is 0 or 1 per row: rows that only the candidate has at 1, and those that only the reference has.
    discordant: tuple[int, int] | None = None
    detectable: float | None = None


class Comparison(Frozen):
    """Every candidate against the reference, row by row."""

    reference: Compared
    candidates: tuple[Compared, ...]
    dataset_digest: str
    differences: tuple[Difference, ...]
    # The judged candidate's, with the champion as reference; empty where they weren't compared.
    over_champion: tuple[Difference, ...] = ()
    # The judged candidate's, with each other candidate as reference.
    over: dict[str, tuple[Difference, ...]] = Field(default_factory=dict)

    def of(self, candidate: str) -> tuple[Difference, ...]:
        """The differences of one candidate."""
        return tuple(d for d in self.differences if d.subject == candidate)

    @model_validator(mode="before")
    @classmethod
    def _first_form(cls, value: Any) -> Any:
        """Comparisons of earlier versions knew two subjects, in fields of their own."""
        if not isinstance(value, dict) or "base_digest" not in value:
            return value
        old, new = "base", "tuned"
        return {
            "reference": {"name": old, "digest": value[f"{old}_digest"]},
            "candidates": [{"name": new, "digest": value[f"{new}_digest"]}],
            "dataset_digest": value["dataset_digest"],
            "differences": [
                {k: v for k, v in d.items() if k not in (old, new)}
                | {"subject": new, "reference": d[old], "candidate": d[new]}
                for d in value["differences"]
            ],
        }


class Duel(Frozen):
    """Whose answers of one task a judge prefers: those of `subject`, or those of `against`.

    Each pair is asked about in both orders. wins, losses: the same answer was named in both. ties: a tie was said in
    one or both, the answers were equal, or the same place was named in both orders, which `flips` counts of them.
    undecided: reason -> pairs without a verdict. rate: (wins + ties / 2) / decided pairs. p: exact sign test of wins
    against losses, corrected by Holm for the number of duels. longer: of wins and losses, those whose better answer is
    the longer one.
    """

    task: str
    subject: str
    against: str
    wins: int
    ties: int
    losses: int
    flips: int
    undecided: dict[str, int] = Field(default_factory=dict)
    rate: Estimate | None
    p: float
    longer: int


class WinRates(Frozen):
    """Candidates' answers beside the reference's and the champion's, in a judge's eyes.

    judge: the model that was asked. prompt_digest: of what it is told beside the answers. spent: tokens and cost.
    position: how both orders of all pairs went together; None: older than it.
    """

    judge: str
    prompt_digest: str
    duels: tuple[Duel, ...]
    spent: Table | None = None
    position: Table | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def table(self) -> Table:
        """A line per duel, its rate with its interval."""
        columns = ("task", "subject", "against", "wins", "ties", "losses", "flips", "undecided", "win rate", "p",
                   "the longer one won")  # fmt: skip
        return Table(
            title=f"Whose answers {self.judge} prefers, asked in both orders, 95 % intervals; p by the sign test,"
            " corrected for their number by Holm",
            columns=columns,
            rows=tuple(_line_of(d) for d in self.duels),
        )


def _line_of(d: Duel) -> tuple[str | int | float | None, ...]:
    rate = "" if d.rate is None else f"{d.rate.value:.3f} [{d.rate.low:.3f}, {d.rate.high:.3f}]"
    won = d.wins + d.losses
    return (d.task, d.subject, d.against, d.wins, d.ties, d.losses, d.flips, sum(d.undecided.values()), rate,
            "< 0.001" if d.p < 0.001 else f"{d.p:.3f}", f"{d.longer} of {won}" if won else "")  # fmt: skip


class Reason(Frozen):
    """One check of the gate: what was required, what was found."""

    check: str
    passed: bool
    required: str
    found: str


class Decision(Frozen):
    """The gate's word on a candidate beside the reference. `promote` is true only when every check passed.

    The names are empty in decisions of earlier versions.
    """

    promote: bool
    reference: str = ""
    candidate: str = ""
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
