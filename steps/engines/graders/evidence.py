"""What a grader's score goes by, in words and values of JSON: what was found, what matched, what differed."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from steps.engines.graders.extractors import last_number
from steps.engines.graders.graders import Grading, Words
from steps.engines.graders.values import NOTHING, fields, json_type, parse_json, same

_SHOWN = 300
_MOST_FIELDS = 20

Explain: TypeAlias = Callable[[str, str, Grading], dict[str, Any]]


def explained(name: str, answer: str, reference: str, by: Grading) -> dict[str, Any]:
    """The evidence behind a grader's score of an answer; empty where the score says it all."""
    explain = _EXPLAIN.get(name)
    return explain(answer, reference, by) if explain else {}


def _shown(value: Any) -> Any:
    if value is NOTHING:
        return None
    return value if isinstance(value, int | float | bool) or value is None else str(value)[:_SHOWN]


def _exact(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    return {"wanted": _shown(by.extract(reference)), "found": _shown(by.extract(answer))}


def _contains(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    wanted = Words().tokenize(reference)
    said = set(Words().tokenize(answer))
    return {"wanted": " ".join(wanted)[:_SHOWN], "words not said": [w for w in wanted if w not in said][:_MOST_FIELDS]}


def _numeric(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    return {"wanted": str(last_number(reference)), "found": _shown(last_number(answer))}


def _json(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    value = parse_json(answer)
    return {"is": "no JSON" if value is NOTHING else json_type(value), "valid": by.valid(value)}


def _fields(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    """Fields that the answer lacks, has with another value or type, and those that nobody asked for."""
    wanted, found = parse_json(reference), parse_json(answer)
    if not isinstance(wanted, dict):
        return {}
    due, given = fields(wanted), fields(found) if isinstance(found, dict) else {}
    others = {
        p: [_shown(due[p]), _shown(given[p])]
        for p in due if p in given and not same(given[p], due[p], ignore_case=by.ignore_case)
    }  # fmt: skip
    return {
        "missing": _paths(p for p in due if p not in given),
        "other value": dict(list({".".join(p): v for p, v in others.items()}.items())[:_MOST_FIELDS]),
        "not asked for": _paths(p for p in given if p not in due),
    }


def _types(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    """Fields whose value is of another type: the wanted one, and that of the answer."""
    wanted, found = parse_json(reference), parse_json(answer)
    if not isinstance(wanted, dict) or not isinstance(found, dict):
        return {"is": "no JSON" if found is NOTHING else json_type(found)}
    due, given = fields(wanted), fields(found)
    types = {p: [json_type(due[p]), json_type(given[p])] for p in due if p in given}
    return {"other type": {".".join(p): t for p, t in list(types.items())[:_MOST_FIELDS] if t[0] != t[1]}}


def _paths(paths: Any) -> list[str]:
    return [".".join(p) for p in paths][:_MOST_FIELDS]


def _overlap(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    """The longest stretch of words that both have."""
    from difflib import SequenceMatcher

    wanted, said = Words().tokenize(reference)[:_SHOWN], Words().tokenize(answer)[:_SHOWN]
    longest = SequenceMatcher(None, wanted, said, autojunk=False).find_longest_match()
    return {"longest in common": " ".join(wanted[longest.a : longest.a + longest.size])[:_SHOWN]}


def _decline(answer: str, reference: str, by: Grading) -> dict[str, Any]:
    match = next((m.group(0) for p in by.declines if (m := p.search(answer))), None)
    return {"declines by": match[:_SHOWN]} if match else {}


_EXPLAIN: Mapping[str, Explain] = {
    "exact_match": _exact,
    "contains": _contains,
    "numeric": _numeric,
    "json_valid": _json,
    "field_accuracy": _fields,
    "key_accuracy": _fields,
    "type_accuracy": _types,
    "rouge_l": _overlap,
    "bleu": _overlap,
    "chrf": _overlap,
    "declined": _decline,
    "over_declined": _decline,
}
