"""A verdict on one row, and the file that keeps all of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steps.contracts.arrays import Mask
from steps.contracts.digests import canonical_json
from steps.contracts.records import Row
from steps.contracts.storage import writing
from steps.engines.rubric.case import CRITERIA, DOCUMENT_CRITERIA, Case, Criterion, Score
from steps.engines.rubric.rubric import Rubric, rated_as
from steps.judge.ratings import Rating, undecided

MAX_SCORE = 5

_HEAD = (
    pa.field("record_id", pa.string(), nullable=False),
    pa.field("content_id", pa.string(), nullable=False),
    pa.field("split", pa.string()),
    # heuristic, llm, or rule (decided without asking: there is no answer to judge).
    pa.field("backend", pa.string(), nullable=False),
    # kept, dropped, quarantined: what became of the row.
    pa.field("outcome", pa.string(), nullable=False),
)
# Before it stand the scores: 1 to 5 in steps of a half; null when undecided, and of a criterion that doesn't hold for
# the row (relevance of a document).
_TAIL = (
    # Mean of the scores that apply / 5, so 0.2 to 1.0; null when undecided.
    pa.field("share", pa.float64()),
    # JSON object: criterion -> reason.
    pa.field("reasons", pa.string(), nullable=False),
    # Why there is no verdict; null when there is one.
    pa.field("error", pa.string()),
    pa.field("error_detail", pa.string()),
    pa.field("model", pa.string()),
    pa.field("prompt_digest", pa.string(), nullable=False),
    # The model's words as they came; null for the other backends and for requests without a reply.
    pa.field("raw_reply", pa.string()),
    pa.field("prompt_tokens", pa.int64()),
    pa.field("completion_tokens", pa.int64()),
    # Wall-clock seconds of the request, waits and retries included; null when none was made for this verdict.
    pa.field("seconds", pa.float64()),
    # Whether the reply was bought earlier (an earlier run, or an equal row of this one).
    pa.field("cached", pa.bool_(), nullable=False),
)
# Columns that some backends and settings have. probabilities: JSON object, criterion -> probabilities of the ratings 1
# to 5, their sum (mass), and the entropy in nats of what they are among themselves. members: JSON object, of a jury
# judge -> scores or reason code. Both null where nothing was asked. rejected_share: of the rejected answer of a pair.
FURTHER = {"probabilities": pa.string(), "members": pa.string(), "rejected_share": pa.float64()}
_GROUP_ROWS = 5_000


def verdict_schema(criteria: Sequence[Criterion], also: Sequence[str] = ()) -> pa.Schema:
    """Columns of verdicts.parquet: a score for each of the criteria, and what else there is to say of a verdict.

    `also`: names of columns of `FURTHER`.
    """
    scores = [pa.field(c, pa.float32()) for c in criteria]
    return pa.schema([*_HEAD, *scores, *_TAIL, *(pa.field(name, FURTHER[name]) for name in also)])


@dataclass(frozen=True)
class JudgeVerdict:
    """Scores with reasons, or the reason code why there are none (`error`). Tokens and raw reply as in the file."""

    backend: str
    prompt_digest: str
    scores: Mapping[Criterion, Score] = field(default_factory=dict)
    reasons: Mapping[Criterion, str] = field(default_factory=dict)
    error: str | None = None
    error_detail: str | None = None
    model: str | None = None
    raw_reply: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    cached: bool = False
    # How probable each rating is, where the backend says it; of a verdict without scores too.
    ratings: Mapping[Criterion, Rating] = field(default_factory=dict)
    # Of a jury: each judge's scores, or the reason code why it has none.
    members: Mapping[str, Mapping[Criterion, Score] | str] = field(default_factory=dict)
    # Of a preference pair whose rejected answer was judged as well: that answer's share.
    rejected_share: float | None = None
    # Why there is no such share, where it was asked for.
    rejected_error: str | None = None

    @property
    def share(self) -> float | None:
        """Mean score / 5, from 0.2 to 1.0; None when undecided."""
        return sum(self.scores.values()) / (MAX_SCORE * len(self.scores)) if self.scores else None

    @property
    def is_full(self) -> bool:
        """Whether every criterion has the highest score."""
        return bool(self.scores) and all(score == MAX_SCORE for score in self.scores.values())

    @property
    def lowest(self) -> tuple[Criterion, Score]:
        """The lowest-scored criterion (the first of equals) and its score; only for a decided verdict."""
        return min(self.scores.items(), key=lambda item: item[1])

    def signals(self, criterion: Criterion) -> list[str]:
        """Names of the fixed signals that lowered a criterion, those that drop first; none where a model judged."""
        reason = self.reasons.get(criterion, "")
        return reason.split("; ") if reason and self.backend in ("heuristic", "rule") else []


def rated_verdict(
    ratings: Mapping[Criterion, Rating], least_mass: float, prior: Mapping[Criterion, Rating] | None, **said: Any
) -> JudgeVerdict:
    """The verdict that probabilities come to.

    Args:
        prior: the ratings of an empty row, to be taken out; None: nothing is.
        said: further fields of the verdict.
    """
    if (why := undecided(ratings, least_mass)) is not None:
        return JudgeVerdict(**said, ratings=ratings, error=why[0], error_detail=why[1])
    fair = {c: rating.without(prior[c]) if prior else rating for c, rating in ratings.items()}
    return JudgeVerdict(**said, ratings=ratings, scores={c: rating.score for c, rating in fair.items()})


def no_answer(criteria: Sequence[Criterion], prompt_digest: str) -> JudgeVerdict:
    """The verdict on a row with nothing to judge: 1 everywhere, without asking anyone."""
    return JudgeVerdict(
        backend="rule",
        prompt_digest=prompt_digest,
        scores=dict.fromkeys(criteria, 1),
        reasons=dict.fromkeys(criteria, "empty_answer"),
    )


def unasked(rubric: Rubric, case: Case, prompt_digest: str) -> JudgeVerdict:
    """The verdict on a row that no model is asked about: one without an answer, or of a kind that the rubric says
    nothing of.
    """
    criteria = rubric.criteria_of(case.kind)
    if criteria:
        return no_answer(criteria, prompt_digest)
    detail = f"rubric {rubric.name} says nothing of {rated_as(case.kind)} rows"
    return JudgeVerdict("rule", prompt_digest, error="kind_not_rated", error_detail=detail)


class VerdictWriter:
    """Writes verdicts.parquet in the order of the rows; a context manager. The file appears when the writer is closed,
    in an error too.

    A run that fails for too many undecided rows thus leaves the replies that explain why.
    """

    def __init__(self, path: Path, criteria: Sequence[Criterion] = CRITERIA, also: Sequence[str] = ()) -> None:
        self.path, self._criteria, self._also = path, criteria, also
        self._schema = verdict_schema(criteria, also)
        nothing = self._schema.empty_table()
        self._partial = path.with_name(path.name + ".partial")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._partial, self._schema, compression="zstd")
        self._lines: list[tuple[Any, ...]] = []
        # Lines of the chunk's rows on which there is nothing to say, which rows they are, and what is to be written.
        self._nothing = self._silent = nothing
        self._is_silent: Mask = np.zeros(0, bool)
        self._waiting = nothing

    def add(self, row: Row, verdict: JudgeVerdict, outcome: str) -> None:
        """Add one line; of the row are read record_id, content_id and split."""
        v = verdict
        ids = (row["record_id"], row["content_id"], row["split"])
        # In the order of the schema: columns from tuples cost half of what rows as dicts do.
        self._lines.append(
            (*ids, v.backend, outcome, *(v.scores.get(c) for c in self._criteria),
             v.share, canonical_json(dict(v.reasons)), v.error, v.error_detail, v.model, v.prompt_digest, v.raw_reply,
             v.prompt_tokens, v.completion_tokens, v.seconds, v.cached, *(_further(v)[name] for name in self._also))
        )  # fmt: skip

    def begin(self, rows: pa.Table, silent: Mask, prompt_digest: str) -> None:
        """The rows of a chunk, of which all but the `silent` ones are then added in their order: these get full scores,
        no reason, kept, since the fixed signals have nothing to say on them.
        """
        self._end()
        self._silent = _silent_lines(rows.filter(pa.array(silent)), prompt_digest) if silent.any() else self._nothing
        self._is_silent = silent

    def _end(self) -> None:
        """The chunk's lines, in order; row groups are of equal size whichever lines came how."""
        added = self._nothing
        if self._lines:
            columns = [pa.array(c, f.type) for c, f in zip(zip(*self._lines, strict=True), self._schema, strict=True)]
            added = pa.Table.from_arrays(columns, schema=self._schema)
        lines = pa.concat_tables([added, self._silent])
        # One that was broken off lacks lines: what is there is in no order.
        if len(lines) == len(self._is_silent) and len(self._silent):
            order = np.argsort(np.argsort(self._is_silent, kind="stable"), kind="stable")
            lines = lines.take(pa.array(order))
        self._waiting = pa.concat_tables([self._waiting, lines]).combine_chunks()
        self._lines, self._silent, self._is_silent = [], self._nothing, np.zeros(0, bool)
        whole = len(self._waiting) - len(self._waiting) % _GROUP_ROWS
        for start in range(0, whole, _GROUP_ROWS):
            self._writer.write_table(self._waiting.slice(start, _GROUP_ROWS))
        self._waiting = self._waiting.slice(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with writing(self.path):
            self._end()
            if len(self._waiting):
                self._writer.write_table(self._waiting)
            self._writer.close()
            self._partial.replace(self.path)


def _further(verdict: JudgeVerdict) -> dict[str, Any]:
    members = canonical_json(dict(verdict.members)) if verdict.members else None
    share = verdict.rejected_share
    return {"probabilities": _told(verdict.ratings), "members": members, "rejected_share": share}


def _told(ratings: Mapping[Criterion, Rating]) -> str | None:
    found = {
        c: {"ratings": [round(p, 6) for p in r.probabilities], "mass": round(r.mass, 6),
            "entropy": round(r.entropy, 6) if r.mass > 0 else None}
        for c, r in ratings.items()
        if math.isfinite(r.mass)
    }  # fmt: skip
    return canonical_json(found) if found else None


def _silent_lines(rows: pa.Table, prompt_digest: str) -> pa.Table:
    document = pc.equal(rows["kind"], "document")
    no_reasons = [canonical_json(dict.fromkeys(names, "")) for names in (DOCUMENT_CRITERIA, CRITERIA)]
    same = {"backend": "heuristic", "outcome": "kept", "share": 1.0, "prompt_digest": prompt_digest, "cached": False}
    own = {name: rows[name] for name in ("record_id", "content_id", "split")}
    own["reasons"] = pc.if_else(document, *no_reasons)
    for criterion in CRITERIA:
        own[criterion] = pc.if_else(document, MAX_SCORE if criterion in DOCUMENT_CRITERIA else None, MAX_SCORE)
    schema = verdict_schema(CRITERIA)
    columns = [
        own[f.name].cast(f.type) if f.name in own else pa.repeat(pa.scalar(same.get(f.name), f.type), rows.num_rows)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
