"""What the judge keeps about a row between runs: its scores with their reasons. A row without a verdict is not kept."""

import json
from collections.abc import Sequence

from steps.contracts.digests import canonical_json, value_digest
from steps.contracts.row_cache import Origin
from steps.engines.rubric.case import Criterion
from steps.judge.backend import Judge
from steps.judge.ratings import Rating
from steps.judge.verdict import MAX_SCORE, JudgeVerdict

_HEURISTIC, _LLM = "heuristic", "llm"


def origin(backend: Judge, code: str, rejected: bool = False) -> Origin:
    """What a verdict depends on besides the row; threshold and policies only decide what follows from it. `rejected`:
    rejected answers are judged as well.
    """
    digest = value_digest([backend.digest, "rejected"]) if rejected else backend.digest
    return Origin(stage="judge", config=digest, code=code)


def encoded(verdict: JudgeVerdict) -> str:
    """A verdict with scores, as JSON; "" when the fixed signals have nothing to say: full scores without a reason."""
    nothing = all(s == MAX_SCORE for s in verdict.scores.values()) and not any(verdict.reasons.values())
    if nothing and verdict.backend == _HEURISTIC:
        return ""
    said = [verdict.backend, verdict.prompt_digest, verdict.model, dict(verdict.scores), dict(verdict.reasons)]
    more = {
        "ratings": {c: list(rating.probabilities) for c, rating in verdict.ratings.items()},
        "members": dict(verdict.members),
        "rejected_share": verdict.rejected_share,
    }
    more = {name: value for name, value in more.items() if value not in ({}, None)}
    return canonical_json([*said, more] if more else said)


def decoded(result: str, criteria: Sequence[Criterion]) -> JudgeVerdict:
    """The verdict again, without what it cost. Criteria stand in the judge's order, whatever JSON sorts them to."""
    backend, digest, model, scores, reasons, *rest = json.loads(result)
    named = [c for c in criteria if c in scores]
    more = rest[0] if rest else {}
    return JudgeVerdict(
        backend,
        digest,
        {c: scores[c] for c in named},
        {c: reasons[c] for c in named if c in reasons},
        model=model,
        cached=backend == _LLM,
        ratings={c: Rating(tuple(more["ratings"][c])) for c in named} if "ratings" in more else {},
        members=more.get("members", {}),
        rejected_share=more.get("rejected_share"),
    )
