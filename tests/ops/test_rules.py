"""The rule that decided, in words: with what was measured in full, and the key that sets its bound."""

from typing import Any

import pytest

from ops.rules import rule_of

SCORES = {"accuracy": 5, "clarity": 5, "completeness": 5, "relevance": 1}
SAID = {"scores": SCORES, "reasons": {"accuracy": "", "relevance": "placeholder"}}
WITNESS = {"witness": "ab12"}
JUDGE = {"threshold": 0.8, "min_criterion_score": 2, "undecided": "quarantine"}


@pytest.mark.parametrize(
    ("stage", "reason", "score", "evidence", "settings", "words"),
    [
        ("judge", "low_relevance", 0.8, SAID, JUDGE,
         "relevance has 1 of 5 (placeholder), less than judge.min_criterion_score (2); the share of all points, 0.8,"
         " passes judge.threshold (0.8)"),
        ("judge", "low_relevance", 0.75, SAID, JUDGE,
         "relevance has 1 of 5 (placeholder), less than judge.min_criterion_score (2); the share of all points, 0.75,"
         " is below judge.threshold (0.8)"),
        # By a signal's name; the lowest criterion that it lowered.
        ("judge", "placeholder", 0.8, SAID, JUDGE,
         "relevance has 1 of 5 (placeholder), less than judge.min_criterion_score (2); the share of all points, 0.8,"
         " passes judge.threshold (0.8)"),
        ("judge", "repeats", 0.95, {"scores": {**SCORES, "relevance": 4}, "reasons": {"relevance": "repeats"}}, JUDGE,
         "relevance has 4 of 5 (repeats): worth a flag, not below judge.min_criterion_score (2)"),
        # What rounds to the bound is shown with the digits that decide.
        ("judge", "below_threshold", 0.79996, SAID, JUDGE,
         "the share of all points, 0.79996, is below judge.threshold (0.8)"),
        ("judge", "undecided:timeout", None, {}, JUDGE, "it has no verdict, and judge.undecided is quarantine"),
        ("judge", "low_relevance", 0.8, SAID, {},
         "relevance has 1 of 5 (placeholder), less than judge.min_criterion_score"),
        ("dedup", "exact_duplicate", 1.0, WITNESS, {}, "it says the same as ab12, which wins"),
        ("dedup", "near_duplicate", 0.7368421052631579, WITNESS, {"threshold": 0.7},
         "its Jaccard similarity with ab12, 0.736842105, reaches dedup.threshold (0.7)"),
        ("semantic", "semantic_duplicate", 0.97, WITNESS, {"threshold": 0.97},
         "its cosine with ab12, 0.97, reaches semantic.threshold (0.97)"),
        ("leakcheck", "contains_held_out", 0.5, {**WITNESS, "against": "test", "overlap": 0.5, "ngram": 13},
         {"overlap": 0.5}, "0.5 of its 13-grams of words stand in test row ab12: leakcheck.overlap (0.5)"),
        ("screen", "profanity.strong", None, {"hits": [["profanity.strong", "messages/0/content", 1, 2, "use", "x"]]},
         {"unsafe": {"strong": "quarantine"}, "poisoned": {}},
         "rule profanity.strong matched in messages/0/content; screen.unsafe.strong is quarantine"),
        ("screen", "prompt_injection.override", None, {}, {"poisoned": {"prompt_injection": "drop"}},
         "rule prompt_injection.override matched in its text; screen.poisoned.prompt_injection is drop"),
        ("ingest", "sampled_out", None, {}, {}, "the `sample` of its source leaves it out, by the hash of its content"),
        ("train_first", "overlong", None, {}, {"max_length": 256},
         "it has more tokens than train.max_length (256)"),
        ("split", "anything", None, {}, {}, ""),
    ],
)  # fmt: skip
def test_the_rule_is_said(
    stage: str, reason: str, score: float | None, evidence: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    assert rule_of(stage, reason, score, evidence, settings) == words
