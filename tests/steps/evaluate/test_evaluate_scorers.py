import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.engines.graders.classes import CLASSES
from steps.engines.graders.extractors import EXTRACTORS
from steps.engines.graders.graders import GRADERS
from steps.evaluate.config import ControlConfig, EvaluateConfig, Extractor, MetricName
from steps.evaluate.scorers import make_scorer

HERE = Path()


def plain(scores):
    """Without the class that the answer is of, which follows from the rest."""
    return {name: value for name, value in scores.items() if name not in CLASSES}


def scorer(references, unanswerable=False, **settings):
    return make_scorer(EvaluateConfig(**settings), references, HERE, unanswerable=unanswerable)


def test_config_names_graders_and_extractors_that_there_are():
    assert {*get_args(MetricName)} - {"loss", "preference_accuracy"} < GRADERS.keys()
    assert {*get_args(Extractor)} == EXTRACTORS.keys()


@pytest.mark.parametrize(
    ("references", "extractor", "metrics"),
    [
        (['{"a": 1}', ' {"b": [2]}\n'], "json", ("loss", "exact_match", "json_valid", "field_accuracy")),
        (['{"a": 1}', "[1]"], "none", ("loss", "exact_match")),
        (["so it is\n#### 72", "#### -1,000.5"], "final_number", ("loss", "exact_match")),
        (["yes", "not at all"], "none", ("loss", "exact_match")),
        (["yes", "it depends on the weather"], "none", ("loss", "rouge_l")),
        ([], "none", ("loss",)),
    ],
)
def test_auto_follows_what_all_references_look_like(references, extractor, metrics):
    made = scorer(references)
    assert (made.extractor, made.metrics) == (extractor, metrics)


def test_named_metrics_and_extractor_win_over_the_references():
    made = scorer(['{"a": 1}'], metrics=("rouge_l",), extractor="none")
    assert (made.extractor, made.metrics) == ("none", ("rouge_l",))


@pytest.mark.parametrize(
    ("answer", "exact", "unparsed"),
    [
        ("48/2=24\n#### 72", 1.0, 0.0),
        ("#### 72.0", 1.0, 0.0),
        ("#### $72", 1.0, 0.0),
        ("#### 7\nno, wait\n#### 72", 1.0, 0.0),
        ("#### 72\n#### 73", 0.0, 0.0),
        ("#### 1,072", 0.0, 0.0),
        ("the answer is 72", 0.0, 1.0),
        ("####", 0.0, 1.0),
        ("", 0.0, 1.0),
        (None, 0.0, 1.0),
    ],
)
def test_final_number_without_a_number_is_wrong_and_counted(answer, exact, unparsed):
    scores = scorer(["so\n#### 72"]).score(answer, "so\n#### 72")
    assert (scores["exact_match"], scores["unparsed"]) == (exact, unparsed)


def test_regex_compares_the_last_match():
    made = scorer(["x"], extractor="regex", extract_pattern=r"answer: (\w+)", metrics=("exact_match",))
    assert made.score("answer: no. answer:  Yes", "answer: no")["unparsed"] == 0.0
    assert made.score("answer: no, I mean answer: yes", "answer: yes")["exact_match"] == 1.0
    assert plain(made.score("yes", "answer: yes")) == {
        "over_declined": 0.0, "declined": None, "exact_match": 0.0, "unparsed": 1.0
    }  # fmt: skip
    assert made.score("answer: yes", "no such line")["exact_match"] is None


@pytest.mark.parametrize(
    ("answer", "valid", "exact", "accuracy"),
    [
        ('{"b": {"c": "x"}, "a": 1}', 1.0, 1.0, 1.0),
        ('{"a": 1.0, "b": {"c": " x "}}', 1.0, 1.0, 1.0),
        ('{"a": 1, "b": {"c": "x"}, "more": 0}', 1.0, 0.0, 1.0),
        ('{"a": 1, "b": {"c": "y"}}', 1.0, 0.0, 0.5),
        ('{"a": true, "b": {"c": "x"}}', 1.0, 0.0, 0.5),
        ('{"a": 1, "b": "x"}', 1.0, 0.0, 0.5),
        ("[1]", 0.0, 0.0, 0.0),
        ('Sure: {"a": 1, "b": {"c": "x"}}', 0.0, 0.0, 0.0),
        ('{"a": NaN}', 0.0, 0.0, 0.0),
        ("[" * 100_000, 0.0, 0.0, 0.0),
        ('{"a":' * 500 + "1" + "}" * 500, 0.0, 0.0, 0.0),
        ("9" * 5_000, 0.0, 0.0, 0.0),
    ],
)
def test_json_metrics(answer, valid, exact, accuracy):
    reference = '{"a": 1, "b": {"c": "x"}}'
    scores = scorer([reference]).score(answer, reference)
    assert (scores["json_valid"], scores["exact_match"], scores["field_accuracy"]) == (valid, exact, accuracy)


@settings(deadline=None)
@given(st.text(st.sampled_from("abc XYZ12.,-\n"), max_size=40), st.text(st.sampled_from("abc XYZ12.,-\n"), max_size=40))
def test_rouge_equals_rouge_score_with_its_own_tokenizer_on_ascii(reference, answer):
    from rouge_score.rouge_scorer import RougeScorer

    mine = scorer(["x"], metrics=("rouge_l",)).score(answer, reference)["rouge_l"]
    assert mine == RougeScorer(["rougeL"]).score(reference, answer)["rougeL"].fmeasure


def test_rouge_reads_other_scripts():
    made = scorer(["x"], metrics=("rouge_l",))
    assert made.score("небо голубое", "Небо голубое.")["rouge_l"] == 1.0


@pytest.mark.parametrize("answer", ["I don't know.", "I’m sorry, no idea", "That cannot be answered from the text."])
def test_declines_are_found_and_over_declines_counted(answer):
    made = scorer(["blue"])
    assert made.score(answer, "blue")["over_declined"] == 1.0
    assert made.score(answer, "blue")["declined"] is None
    assert plain(made.score(answer, "I do not know that.")) == {
        "over_declined": None, "declined": 1.0, "exact_match": 0.0
    }  # fmt: skip
    unanswerable = scorer(["No answer."], unanswerable=True)
    assert plain(unanswerable.score(answer, "No answer.")) == {"declined": 1.0, "answered_unanswerable": 0.0}


def test_an_answer_equal_to_the_reference_declines_and_an_empty_one_does_not():
    unanswerable = scorer(["x"], unanswerable=True, decline_patterns=())
    assert unanswerable.score("  PASS ", "pass")["declined"] == 1.0
    assert unanswerable.score("", "pass")["answered_unanswerable"] == 1.0
    assert unanswerable.score(None, "pass")["answered_unanswerable"] == 1.0
    assert unanswerable.score("blue", "pass")["answered_unanswerable"] == 1.0


def test_a_schema_decides_validity_and_enters_the_version(tmp_path):
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"enum": [1, 2]}}, "additionalProperties": False}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    made = make_scorer(EvaluateConfig(json_schema="s.json"), ['{"a": 1}'], tmp_path)
    verdicts = [made.score(a, '{"a": 1}')["json_valid"] for a in ('{"a": 2}', '{"a": 3}', '{"b": 1}', "1", "nonsense")]
    assert verdicts == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert made.version != scorer(['{"a": 1}']).version


def test_a_schema_never_reaches_for_the_network(tmp_path, monkeypatch):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", lambda *a, **k: pytest.fail("a schema was fetched"))
    (tmp_path / "s.json").write_text(json.dumps({"$ref": "http://127.0.0.1:9/elsewhere.json"}))
    with pytest.raises(ConfigError, match="elsewhere"):
        make_scorer(EvaluateConfig(json_schema="s.json"), ['{"a": 1}'], tmp_path)


@pytest.mark.parametrize("text", ["not json", '{"type": 7}', "[]"])
def test_what_is_no_schema_is_refused(tmp_path, text):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ConfigError):
        make_scorer(EvaluateConfig(json_schema="s.json"), ['{"a": 1}'], tmp_path)
    with pytest.raises(InputNotFoundError):
        make_scorer(EvaluateConfig(json_schema="gone.json"), ['{"a": 1}'], tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"extractor": "regex"}, "belong together"),
        ({"extract_pattern": "(a)"}, "belong together"),
        ({"extractor": "regex", "extract_pattern": "a"}, "exactly one group"),
        ({"extractor": "regex", "extract_pattern": "("}, "RE2"),
        ({"decline_patterns": ["(?=a)"]}, "RE2"),
        ({"metrics": []}, "empty"),
        ({"metrics": ["loss"], "json_schema": "s.json"}, "json_valid"),
        ({"controls": [{"name": "held_out", "kind": "perplexity", "path": "x"}]}, "test split"),
        ({"controls": [{"name": "a", "kind": "perplexity", "path": "x"}] * 2}, "share a name: a"),
    ],
)
def test_contradictions_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        EvaluateConfig.model_validate(settings)


def test_a_control_name_is_safe_in_a_file_name():
    with pytest.raises(ValidationError):
        ControlConfig(name="../x", kind="perplexity", path="x")


def test_a_reference_without_anything_to_extract_has_no_unparsed_at_all():
    made = scorer(["yes"], extractor="json", metrics=("exact_match",))
    assert plain(made.score("{}", "in words")) == {"over_declined": 0.0, "declined": None, "exact_match": None}
    assert made.score("in words", "{}")["unparsed"] == 1.0
