import pytest

from steps.engines.graders.extractors import EXTRACTORS
from steps.engines.graders.graders import GRADERS, Grading
from steps.engines.graders.values import NOTHING
from steps.engines.scoring.metrics import LOWER_IS_BETTER


def test_each_grader_says_which_way_is_good():
    assert {
        "loss", "perplexity", "non_finite", "answered_unanswerable", "over_declined", "unparsed", "wrong",
        "empty", "looping", "one_answer", "degenerate", "degenerate_continuation",
        "near_miss", "over_refused", "absolute_gap", "answers_differ",
        "leaked", "leaked_exact", "leaked_paraphrased", "canary_leaked",
    } == LOWER_IS_BETTER  # fmt: skip
    assert {name for name, g in GRADERS.items() if not g.lower_is_better} == {
        "exact_match", "contains", "numeric", "json_valid", "field_accuracy", "rouge_l", "declined",
        "key_accuracy", "type_accuracy", "bleu", "chrf",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("extractor", "answer", "exact", "unparsed"),
    [
        ("final_number", "#### 3", 1.0, 0.0),
        ("final_number", "three", 0.0, 1.0),
        ("none", " so\n#### 3 ", 1.0, 0.0),
        ("json", "3", None, None),
    ],
)
def test_what_is_compared_is_what_was_extracted(extractor, answer, exact, unparsed):
    by = Grading(EXTRACTORS[extractor](None), ignore_case=False, valid=bool, declines=())
    found = [GRADERS[name].grade(answer, "so #### 3", by) for name in ("exact_match", "unparsed")]
    assert found == [exact, unparsed]


def test_the_last_match_decides_and_an_empty_group_is_nothing():
    last = EXTRACTORS["regex"](r"x(\d)?")
    assert [last(t) for t in ("x1 x2", "x1 x", "y")] == ["2", NOTHING, NOTHING]
