"""How one answer is scored against its reference. A score is None where the metric doesn't apply to the row."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.engines.scoring.metrics import ANSWERED_UNANSWERABLE, Scores
from steps.evaluate.config import EvaluateConfig, Extractor, MetricName

if TYPE_CHECKING:
    import re2
    from rouge_score.rouge_scorer import RougeScorer

# Answers after the last "####" (Cobbe et al. 2021, GSM8K's own format); a currency sign is let through.
_FINAL_NUMBER = r"####\s*\$?\s*(-?[0-9][0-9,]*(?:\.[0-9]+)?|-?\.[0-9]+)"
# Chosen: references this short are labels or values, for which overlap of words says less than equality.
_SHORT_WORDS = 3
# Chosen: a model that babbles brackets must not exhaust the stack of whoever compares its answer.
_DEEPEST_JSON = 64
# What an extractor gives when there is nothing to compare.
_NOTHING = object()


def normalise(text: str, *, ignore_case: bool = False) -> str:
    """Unicode NFC, runs of white space as one space, ends trimmed; with `ignore_case` case-folded."""
    flat = " ".join(unicodedata.normalize("NFC", text).split())
    return flat.casefold() if ignore_case else flat


def parse_json(text: str) -> Any:
    """The text as a JSON value, or the marker for nothing. NaN, Infinity and text around the value are no JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return _NOTHING
    return value if _depth_within(value, _DEEPEST_JSON) else _NOTHING


def _depth_within(value: Any, deepest: int) -> bool:
    """Whether arrays and objects are nested at most `deepest` levels, told without recursion."""
    level = [value]
    for _ in range(deepest + 1):
        level = [
            inner for v in level for inner in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else ())
        ]
        if not level:
            return True
    return False


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def same(a: Any, b: Any, *, ignore_case: bool = False) -> bool:
    """Equality of JSON values: numbers by value (1 = 1.0), true is not 1, strings normalised, keys in any order."""
    if isinstance(a, bool) or isinstance(b, bool):
        return isinstance(a, bool) and isinstance(b, bool) and a == b
    if isinstance(a, str) and isinstance(b, str):
        return normalise(a, ignore_case=ignore_case) == normalise(b, ignore_case=ignore_case)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], ignore_case=ignore_case) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, ignore_case=ignore_case) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def fields(value: dict[str, Any], prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The leaf fields of nested objects by path; a list is one field, and so is an empty object."""
    found: dict[tuple[str, ...], Any] = {}
    for key, inner in value.items():
        path = (*prefix, key)
        found |= fields(inner, path) if isinstance(inner, dict) and inner else {path: inner}
    return found


def field_accuracy(answer: Any, reference: dict[str, Any], *, ignore_case: bool = False) -> float | None:
    """Share of the reference's fields that the answer has with an equal value; None for a reference without fields.

    Further fields in the answer cost nothing here; exact_match and a schema see them.
    """
    wanted = fields(reference)
    if not wanted:
        return None
    given = fields(answer) if isinstance(answer, dict) else {}
    right = sum(path in given and same(given[path], v, ignore_case=ignore_case) for path, v in wanted.items())
    return right / len(wanted)


class _Words:
    """rouge_score's own tokenization (lower case, letters and digits) for any script, not ASCII alone."""

    def tokenize(self, text: str) -> list[str]:
        return "".join(c if c.isalnum() else " " for c in text.lower()).split()


@dataclass(frozen=True)
class Scorer:
    """The chosen metrics with what they need; `version` names everything that a score depends on."""

    metrics: tuple[MetricName, ...]
    extractor: Extractor
    ignore_case: bool
    valid: Callable[[Any], bool]
    declines: "tuple[re2._Regexp, ...]"
    pattern: "re2._Regexp | None"
    rouge: "RougeScorer | None"
    version: str

    @property
    def generates(self) -> bool:
        """Whether any metric needs answers; loss alone doesn't."""
        return any(m != "loss" for m in self.metrics)

    def score(self, answer: str | None, reference: str) -> Scores:
        """Scores of a held-out row's answer; None (nothing could be asked) is wrong, not left out."""
        text = answer or ""
        due = self.is_decline(reference)
        declined = float(self.is_decline(text))
        scores: Scores = {"over_declined": None if due else declined, "declined": declined if due else None}
        for metric in self.metrics:
            if metric == "exact_match":
                scores |= self._exact(text, reference)
            elif metric == "json_valid":
                scores["json_valid"] = float(self.valid(parse_json(text)))
            elif metric == "field_accuracy":
                wanted = parse_json(reference)
                applies = isinstance(wanted, dict)
                scores["field_accuracy"] = self._fields(text, wanted) if applies else None
            elif metric == "rouge_l" and self.rouge is not None:
                scores["rouge_l"] = float(self.rouge.score(reference, text)["rougeL"].fmeasure)
        return scores

    def score_unanswerable(self, answer: str | None, reference: str) -> Scores:
        """Scores of an answer that should have been a decline: by pattern or equal to the reference; "" is none."""
        text = answer or ""
        equal = normalise(text, ignore_case=True) == normalise(reference, ignore_case=True)
        declined = float(self.is_decline(text) or (equal and bool(reference)))
        return {"declined": declined, ANSWERED_UNANSWERABLE: 1.0 - declined}

    def is_decline(self, text: str) -> bool:
        """Whether a decline pattern is found in the text."""
        return any(p.search(text) for p in self.declines)

    def _fields(self, text: str, wanted: dict[str, Any]) -> float | None:
        return field_accuracy(parse_json(text), wanted, ignore_case=self.ignore_case)

    def _exact(self, answer: str, reference: str) -> Scores:
        wanted = self.extract(reference)
        if wanted is _NOTHING:
            return {"exact_match": None}
        found = self.extract(answer)
        right = found is not _NOTHING and same(found, wanted, ignore_case=self.ignore_case)
        scores: Scores = {"exact_match": float(right)}
        return scores if self.extractor == "none" else scores | {"unparsed": float(found is _NOTHING)}

    def extract(self, text: str) -> Any:
        """What exact_match compares, or the marker for nothing."""
        if self.extractor == "json":
            return parse_json(text)
        if self.extractor == "none":
            return text
        assert self.pattern is not None
        found = [m.group(1) for m in self.pattern.finditer(text)]
        if not found or found[-1] is None:
            return _NOTHING
        return _number(found[-1]) if self.extractor == "final_number" else found[-1]


def _number(text: str) -> Any:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return _NOTHING


def make_scorer(config: EvaluateConfig, references: Sequence[str], root: Path) -> Scorer:
    """The scorer that the settings and, where they say "auto", the references ask for.

    Raises:
        ConfigError: the JSON schema isn't one, or json_valid is asked for nothing.
    """
    extractor, metrics = _chosen(config, [r for r in references if r])
    schema = _read_schema(config.json_schema, root) if config.json_schema and "json_valid" in metrics else None
    valid = _validator(schema)
    for reference in references if schema is not None else ():
        valid(parse_json(reference))  # a schema that can't be resolved is refused before anything is generated
    pattern = {"final_number": _FINAL_NUMBER, "regex": config.extract_pattern}.get(extractor)
    return Scorer(
        metrics=metrics,
        extractor=extractor,
        ignore_case=config.ignore_case,
        valid=valid,
        declines=tuple(_compile(p, ignore_case=True) for p in config.decline_patterns),
        pattern=_compile(pattern) if pattern is not None else None,
        rouge=_rouge() if "rouge_l" in metrics else None,
        version=value_digest(
            [metrics, extractor, pattern, config.ignore_case, schema, config.decline_patterns, config.max_length]
        )[:8],
    )


def _chosen(config: EvaluateConfig, references: Sequence[str]) -> tuple[Extractor, tuple[MetricName, ...]]:
    """Extractor and metrics, "auto" resolved by what all the references look like."""
    guess: tuple[Extractor, tuple[MetricName, ...]] = ("none", ("loss", "rouge_l"))
    number = _compile(_FINAL_NUMBER)
    if not references:
        guess = ("none", ("loss",))
    elif all(isinstance(parse_json(r), dict) for r in references):
        guess = ("json", ("loss", "exact_match", "json_valid", "field_accuracy"))
    elif all(number.search(r) for r in references):
        guess = ("final_number", ("loss", "exact_match"))
    elif all(len(r.split()) <= _SHORT_WORDS for r in references):
        guess = ("none", ("loss", "exact_match"))
    extractor = guess[0] if config.extractor == "auto" else config.extractor
    if config.metrics != "auto":
        return extractor, config.metrics
    exact: tuple[MetricName, ...] = ("exact_match",) if config.extractor not in ("auto", "none") else ()
    return extractor, tuple(dict.fromkeys((*guess[1], *exact)))


def _compile(pattern: str, *, ignore_case: bool = False) -> "re2._Regexp":
    import re2

    options = re2.Options()
    options.case_sensitive = not ignore_case
    return re2.compile(pattern, options)


def _rouge() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words())


def _read_schema(name: str, root: Path) -> Any:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    path = root / name
    if not path.is_file():
        raise InputNotFoundError(
            "no such JSON schema file", where=str(path), hint="json_schema is relative to the root"
        )
    try:
        schema = json.loads(path.read_text("utf-8"))
        validator_for(schema).check_schema(schema)
    except (ValueError, AttributeError, TypeError, SchemaError) as e:
        raise ConfigError(f"not a JSON schema: {str(e).splitlines()[0]}", where=str(path)) from e
    return schema


def _validator(schema: Any) -> Callable[[Any], bool]:
    """Validity under the schema; without one, whether the value is an object. References are never fetched."""
    if schema is None:
        return lambda value: isinstance(value, dict)
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    check = validator_for(schema)(schema, registry=Registry())

    def valid(value: Any) -> bool:
        try:
            return value is not _NOTHING and check.is_valid(value)
        except Unresolvable as e:
            hint = "put the definitions into the schema itself ($defs): references are never fetched"
            raise ConfigError(
                f"the JSON schema refers to something outside: {e}", where="json_schema", hint=hint
            ) from e

    return valid
