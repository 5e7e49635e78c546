"""From a model's words to scores, or to the reason why there are none. Nothing passes by accident.

One reader for what models write: the object by `llm/reply_json.py`; in it

1. criteria and the words score, rating and reason in any case;
2. the criteria may stand one level down, under one of `_WRAPPERS` such as {"scores": {...}};
3. a criterion is a score, or an object with `score` (or `rating`) and `reason`;
4. a score is 1 to 5 in steps of a half: 4, 4.0, 4.5, "4", "4/5", "4.5 / 5", "4 out of 5", "4½".

Anything else, two verdicts that differ, and one that stands in the row itself give no score.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts.records import Row
from steps.engines.llm.client import Reply
from steps.engines.llm.reply_json import Found, json_objects, stands_in
from steps.engines.rubric.case import Case, Criterion, Score
from steps.engines.rubric.frame import message_of

_REFUSAL = re.compile(
    r"\b(?:i|we)(?:'m| am)? (?:can(?:no|')?t|cannot|won't|will not|unable to|not able to|must decline)\b"
    r"|\bas an ai\b|\bi(?:'m| am) sorry\b",
    re.IGNORECASE,
)
_REASON_CHARS = 500
_WRAPPERS = frozenset(
    "scores score ratings rating verdict evaluation result results criteria judgement judgment assessment".split()  # noqa: SIM905
)
_SCORE_KEYS = ("score", "rating")
_SCORE = re.compile(r"(-?[0-9]{1,4})(\.[0-9]{1,4}|½)?(?: ?/ ?5| out of 5)?")
_LOWEST, _HIGHEST = 1, 5


@dataclass(frozen=True)
class RubricScores:
    """A score from 1 to 5, in steps of a half, and a reason for each criterion."""

    scores: dict[Criterion, Score]
    reasons: dict[Criterion, str]


def parse_reply(reply: Reply, case: Case, criteria: Sequence[Criterion]) -> RubricScores | str:
    """The scores by these criteria in a reply, or a reason code: refusal, empty_reply, truncated, not_json,
    missing_score, bad_score, score_out_of_range, ambiguous_reply, echoed_verdict.

    A reply with two different verdicts decides nothing, nor does one that stands in the row itself.
    """
    if reply.refused:
        return "refusal"
    found = _verdicts(reply.text, criteria)
    if found.unread or not found.objects:
        return _why_none(reply, found)
    first, *others = (_read(v, criteria) for v in found.objects)
    if any(other != first for other in others):
        return "ambiguous_reply"
    echoed = isinstance(first, RubricScores) and _is_the_rows(found.objects[0], first, case, criteria)
    return "echoed_verdict" if echoed else first


def _why_none(reply: Reply, found: Found) -> str:
    if found.unread in ("twice", "many"):
        return "ambiguous_reply"
    if reply.finish_reason == "length":
        return "truncated"
    if found.unread:
        return "not_json"
    if not reply.text.strip():
        return "empty_reply"
    return "refusal" if _REFUSAL.search(reply.text.replace("’", "'")) else "not_json"


def _verdicts(text: str, criteria: Sequence[Criterion]) -> Found:
    """What holds criteria, by lower-cased criterion: top-level objects, and objects under a wrapper in them."""
    found = json_objects(text, lambda value: any(_holders(value, criteria)))
    return Found([h for value in found.objects for h in _holders(value, criteria)], found.unread)


def _holders(value: Mapping[str, Any], criteria: Sequence[Criterion]) -> Iterator[Row]:
    folded = _folded(value)
    if any(c in folded for c in criteria):
        yield folded
    for key, inner in folded.items():
        if key in _WRAPPERS and isinstance(inner, dict) and any(c in (below := _folded(inner)) for c in criteria):
            yield below


def _folded(value: Mapping[str, Any]) -> Row:
    return {str(key).strip().casefold(): inner for key, inner in value.items()}


def _is_the_rows(verdict: Row, scores: RubricScores, case: Case, criteria: Sequence[Criterion]) -> bool:
    """Whether the row holds this verdict, anywhere; or scores and reasons that are read as the same ones."""
    texts = [t for m in case.messages for t in message_of(m).values()] + [t for t in (case.text, case.tools) if t]
    if stands_in({c: said for c, said in verdict.items() if c in criteria}, texts):
        return True
    return any(scores == _read(v, criteria) for t in texts if "{" in t for v in _verdicts(t, criteria).objects)


def _read(verdict: Row, criteria: Sequence[Criterion]) -> RubricScores | str:
    scores: dict[Criterion, Score] = {}
    reasons: dict[Criterion, str] = {}
    for criterion in criteria:
        entry = verdict.get(criterion)
        fields = _folded(entry) if isinstance(entry, dict) else {"score": entry}
        given = [fields[key] for key in _SCORE_KEYS if fields.get(key) is not None]
        if not given:
            return "missing_score"
        score = _score(given[0])
        if score is None or len(given) > 1:
            return "bad_score"
        if not _LOWEST <= score <= _HIGHEST:
            return "score_out_of_range"
        scores[criterion] = score
        reasons[criterion] = str(fields.get("reason", ""))[:_REASON_CHARS]
    return RubricScores(scores, reasons)


def _score(raw: Any) -> Score | None:
    """A number in whole or half steps; None for anything else (true, 4.3, "4-5", "8/10", "good")."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    if isinstance(raw, str):
        match = _SCORE.fullmatch(raw.strip().casefold())
        if match is None:
            return None
        raw = float(match[1] + {"½": ".5", None: ""}.get(match[2], match[2] or ""))
    if isinstance(raw, float) and not (2 * raw).is_integer():
        return None
    return int(raw) if raw == int(raw) else raw
