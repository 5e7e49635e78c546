"""How one answer is graded against its reference, by name. Each grader is a function to a number, or to None where it
doesn't apply to the row; a metric is the mean over the rows that it applies to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from steps.engines.graders.extractors import Extract, last_number
from steps.engines.graders.overlap import sentence_bleu, sentence_chrf
from steps.engines.graders.values import NOTHING, fields, json_type, normalise, parse_json, same, shared_fields

if TYPE_CHECKING:
    import re2
    from rouge_score.rouge_scorer import RougeScorer


@dataclass(frozen=True)
class Grading:
    """What graders know besides answer and reference.

    Attributes:
        extract: what of a text exact_match compares.
        tolerance: how far a number may be from the wanted one, as a share of that.
        valid: whether a JSON value (or NOTHING) is what was wanted.
        declines: an answer declines where one of these is found.
        unanswerable: every question of the task must be declined, and an answer equal to its reference declines too.
    """

    extract: Extract
    ignore_case: bool
    valid: Callable[[Any], bool]
    declines: "tuple[re2._Regexp, ...]"
    unanswerable: bool = False
    tolerance: float = 0.0

    def is_decline(self, text: str) -> bool:
        """Whether a decline pattern is found in the text."""
        return any(p.search(text) for p in self.declines)

    @cached_property
    def rouge(self) -> "RougeScorer":
        """ROUGE-L of `rouge_score` over words of any script."""
        from rouge_score.rouge_scorer import RougeScorer

        return RougeScorer(["rougeL"], tokenizer=Words())


class Words:
    """rouge_score's own tokenization (lower case, letters and digits) for any script, not ASCII alone."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return "".join(c if c.isalnum() else " " for c in text.lower()).split()


# (answer, reference, settings) -> score
Grade: TypeAlias = Callable[[str, str, Grading], float | None]


@dataclass(frozen=True)
class Grader:
    """A grader and which way is good."""

    grade: Grade
    lower_is_better: bool = False


def exact_match(answer: str, reference: str, by: Grading) -> float | None:
    """Whether the extracted answer equals the extracted reference; None where the reference has nothing to compare."""
    wanted = by.extract(reference)
    if wanted is NOTHING:
        return None
    found = by.extract(answer)
    return float(found is not NOTHING and same(found, wanted, ignore_case=by.ignore_case))


def unparsed(answer: str, reference: str, by: Grading) -> float | None:
    """Whether nothing to compare was found in the answer, though the reference has it."""
    return None if by.extract(reference) is NOTHING else float(by.extract(answer) is NOTHING)


def contains(answer: str, reference: str, by: Grading) -> float | None:
    """Whether the reference's words stand in the answer, as words; None where it has none."""
    wanted, said = (f" {' '.join(Words().tokenize(t))} " for t in (reference, answer))
    return float(wanted in said) if wanted.strip() else None


def numeric(answer: str, reference: str, by: Grading) -> float | None:
    """Whether the last number of the answer is that of the reference, within the tolerance; None where that has none.

    Commas between digits are thousands; a percent sign, a unit or a currency beside a number is let be.
    """
    wanted, said = last_number(reference), last_number(answer)
    if wanted is None:
        return None
    return float(said is not None and abs(said - wanted) <= abs(wanted) * Decimal(str(by.tolerance)))


def json_valid(answer: str, reference: str, by: Grading) -> float | None:
    """Whether the whole answer is JSON as it was wanted."""
    return float(by.valid(parse_json(answer)))


def field_accuracy(answer: str, reference: str, by: Grading) -> float | None:
    """Share of the fields of the reference's JSON object that the answer's has with an equal value."""
    wanted = parse_json(reference)
    return shared_fields(parse_json(answer), wanted, ignore_case=by.ignore_case) if isinstance(wanted, dict) else None


def key_accuracy(answer: str, reference: str, by: Grading) -> float | None:
    """Share of the fields of the reference's JSON object that the answer's has, whatever their values."""
    return _shared(answer, reference, lambda wanted, found: True)


def type_accuracy(answer: str, reference: str, by: Grading) -> float | None:
    """Share of the fields of the reference's JSON object that the answer's has with a value of the same JSON type."""
    return _shared(answer, reference, lambda wanted, found: json_type(wanted) == json_type(found))


def _shared(answer: str, reference: str, fits: Callable[[Any, Any], bool]) -> float | None:
    wanted, found = parse_json(reference), parse_json(answer)
    if not isinstance(wanted, dict) or not (due := fields(wanted)):
        return None
    given = fields(found) if isinstance(found, dict) else {}
    return sum(path in given and fits(value, given[path]) for path, value in due.items()) / len(due)


def bleu(answer: str, reference: str, by: Grading) -> float | None:
    """BLEU of this answer alone."""
    return sentence_bleu(answer, reference)


def chrf(answer: str, reference: str, by: Grading) -> float | None:
    """chrF of this answer alone."""
    return sentence_chrf(answer, reference)


def rouge_l(answer: str, reference: str, by: Grading) -> float | None:
    """F1 of the longest common subsequence of words."""
    return float(by.rouge.score(reference, answer)["rougeL"].fmeasure)


def declined(answer: str, reference: str, by: Grading) -> float | None:
    """Whether a question was declined that had to be."""
    return float(_declines(answer, reference, by)) if _due(reference, by) else None


def over_declined(answer: str, reference: str, by: Grading) -> float | None:
    """Whether a question was declined that has an answer."""
    return None if _due(reference, by) else float(_declines(answer, reference, by))


def answered_unanswerable(answer: str, reference: str, by: Grading) -> float | None:
    """Whether a question was answered that had to be declined."""
    return 1.0 - float(_declines(answer, reference, by)) if _due(reference, by) else None


def _due(reference: str, by: Grading) -> bool:
    return by.unanswerable or by.is_decline(reference)


def _declines(answer: str, reference: str, by: Grading) -> bool:
    if by.is_decline(answer):
        return True
    same_words = normalise(answer, ignore_case=True) == normalise(reference, ignore_case=True)
    return by.unanswerable and bool(reference) and same_words


GRADERS: Mapping[str, Grader] = {
    "exact_match": Grader(exact_match),
    "unparsed": Grader(unparsed, lower_is_better=True),
    "contains": Grader(contains),
    "numeric": Grader(numeric),
    "json_valid": Grader(json_valid),
    "field_accuracy": Grader(field_accuracy),
    "key_accuracy": Grader(key_accuracy),
    "type_accuracy": Grader(type_accuracy),
    "rouge_l": Grader(rouge_l),
    "bleu": Grader(bleu),
    "chrf": Grader(chrf),
    "declined": Grader(declined),
    "over_declined": Grader(over_declined, lower_is_better=True),
    "answered_unanswerable": Grader(answered_unanswerable, lower_is_better=True),
}
