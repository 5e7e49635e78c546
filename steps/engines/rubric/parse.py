"""From a model's words to scores, or to the reason why there are none. Nothing passes by accident."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps.contracts.records import Row
from steps.engines.llm.client import Reply
from steps.engines.llm.reply_json import json_objects
from steps.engines.rubric.case import Case, Criterion

_REFUSAL = re.compile(
    r"\b(?:i|we)(?:'m| am)? (?:can(?:no|')?t|cannot|won't|will not|unable to|not able to|must decline)\b"
    r"|\bas an ai\b|\bi(?:'m| am) sorry\b",
    re.IGNORECASE,
)
_REASON_CHARS = 500


@dataclass(frozen=True)
class RubricScores:
    """A score from 1 to 5 and a reason for each criterion."""

    scores: dict[Criterion, int]
    reasons: dict[Criterion, str]


def parse_reply(reply: Reply, case: Case) -> RubricScores | str:
    """The scores in a reply, or a reason code: refusal, empty_reply, truncated, not_json, missing_score, bad_score,
    score_out_of_range, ambiguous_reply, echoed_verdict.

    A reply with two different verdicts decides nothing, nor does one that stands word for word in the row itself.
    """
    if reply.refused:
        return "refusal"
    found = json_objects(reply.text, lambda value: any(c in value for c in case.criteria))
    if not found:
        return _why_none(reply)
    if len(found) > 1:
        return "ambiguous_reply"
    if any(found[0] == quoted for text in _texts(case) for quoted in json_objects(text, lambda _: True)):
        return "echoed_verdict"
    return _read(found[0], case.criteria)


def _why_none(reply: Reply) -> str:
    if reply.finish_reason == "length":
        return "truncated"
    if not reply.text.strip():
        return "empty_reply"
    return "refusal" if _REFUSAL.search(reply.text.replace("’", "'")) else "not_json"


def _texts(case: Case) -> list[str]:
    parts: list[str | None] = [case.text, *(m["content"] for m in case.messages)]
    return [p for p in parts if p and "{" in p]


def _read(verdict: Row, criteria: Sequence[Criterion]) -> RubricScores | str:
    scores: dict[Criterion, int] = {}
    reasons: dict[Criterion, str] = {}
    for criterion in criteria:
        entry = verdict.get(criterion)
        raw = entry.get("score") if isinstance(entry, dict) else entry
        if raw is None:
            return "missing_score"
        score = _whole(raw)
        if score is None:
            return "bad_score"
        if not 1 <= score <= 5:
            return "score_out_of_range"
        scores[criterion] = score
        reasons[criterion] = str(entry.get("reason", ""))[:_REASON_CHARS] if isinstance(entry, dict) else ""
    return RubricScores(scores, reasons)


def _whole(raw: Any) -> int | None:
    """A whole number given as 4, 4.0 or "4"; None for anything else (true, 4.5, "4/5", "good")."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, float):
        return int(raw) if raw.is_integer() else None
    if isinstance(raw, str):
        text = raw.strip()
        return int(text) if re.fullmatch(r"-?[0-9]{1,4}", text) else None
    return raw if isinstance(raw, int) else None
