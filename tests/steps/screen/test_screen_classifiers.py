import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from support.textrows import chat, dataset, document, ledger_lines, record_ids
from support.tiny_classifier import trained_classifier

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, InputNotFoundError, MissingDependencyError, ServiceError
from steps.contracts.records import SPLITS
from steps.engines.embed.cache import EmbeddingCache
from steps.screen.classifiers import Classifier
from steps.screen.config import ClassifierConfig, ScreenConfig
from steps.screen.screen import screen

INSULTS = ["stupid", "awful"]
FINE = "the cat sits on the mat today"
BAD = "the stupid dog sits on the mat"

HERE = StageContext(Path())


@pytest.fixture(scope="module")
def toxic(tmp_path_factory):
    return str(trained_classifier(tmp_path_factory.mktemp("toxic"), INSULTS))


@pytest.fixture(scope="module")
def grader(tmp_path_factory):
    """A regression: 1 for texts with these words, 0 for others."""
    return str(trained_classifier(tmp_path_factory.mktemp("grader"), ["theorem", "lesson"], labels=("score",)))


def classifier(model, **more):
    return {"name": "toxic", "model": model, "label": "bad", "thresholds": {"drop": 0.5}, **more}


def run(rows, folder: Path, *classifiers, splits=None, cache=None, **more):
    version = dataset(rows, folder / "in")
    codes = np.array([SPLITS.index(s) for s in splits or ["train"] * len(rows)])
    version = version.select(np.ones(len(rows), bool), folder / "split", "split", codes)
    config = ScreenConfig(**{"rules": None, "unsafe": None, "poisoned": None, **more}, classifiers=classifiers)
    outcome = screen(version, config, StageContext(folder / "out", cache=cache, scrubbed=True))
    return outcome, record_ids(outcome.rows), {line["record_id"]: line for line in ledger_lines(outcome)}


def test_a_bad_row_goes_and_a_look_alike_stays(tmp_path, toxic):
    rows = [document(FINE), document(BAD), document("she walks the dog home today")]
    outcome, kept, lines = run(rows, tmp_path, classifier(toxic))
    assert kept == [rows[0]["record_id"], rows[2]["record_id"]]
    line = lines[rows[1]["record_id"]]
    assert (line["verdict"], line["reason"]) == ("dropped", "classifier.toxic") and line["score"] > 0.9
    assert outcome.report.dropped_by == {"classifier.toxic": 1}
    assert outcome.report.counts["classifier toxic"]["rows scored"] == 3
    assert BAD not in outcome.report.model_dump_json()


def test_scores_are_those_of_transformers_own_pipeline(toxic, grader):
    from transformers import AutoModelForSequenceClassification as Model
    from transformers import AutoTokenizer, TextClassificationPipeline

    texts = [FINE, BAD, "awful", "home " * 40, "theorem and lesson", "?"]
    for path, config, labels in ((toxic, {"label": "bad"}, ("fine", "bad")), (grader, {"label": None}, ("score",))):
        pipeline = TextClassificationPipeline(
            model=Model.from_pretrained(path), tokenizer=AutoTokenizer.from_pretrained(path), top_k=None,
            **({} if config["label"] else {"function_to_apply": "none"}),
        )  # fmt: skip
        mine = Classifier(
            ClassifierConfig(name="x", model=path, thresholds={"drop": 0.5}, **config), HERE, EmbeddingCache()
        )
        for text, found in zip(texts, mine.scores(texts), strict=True):
            theirs = {s["label"]: s["score"] for s in pipeline([text])[0]}
            assert found.values.tolist() == pytest.approx([theirs[name] for name in labels], abs=1e-5)


def test_a_score_has_the_same_bits_in_any_company(toxic):
    mine = Classifier(ClassifierConfig(**classifier(toxic, batch_size=4)), HERE, EmbeddingCache())
    texts = [f"{FINE} {'dog ' * (i % 50)} {INSULTS[i % 2] if i % 3 else ''}" for i in range(60)]
    whole = mine.scores(texts)
    for seed in range(3):
        some = np.random.default_rng(seed).permutation(60)[: 7 + 11 * seed]
        again = mine.scores([texts[i] for i in some])
        assert all((a.values == whole[i].values).all() for a, i in zip(again, some, strict=True))


def test_the_strongest_threshold_that_is_passed_counts(tmp_path, toxic, grader):
    rows = [document(t) for t in (FINE, BAD, "the lesson on a mat today", "a theorem on the mat today")]
    scores = Classifier(ClassifierConfig(**classifier(toxic)), HERE, EmbeddingCache()).scores([r["text"] for r in rows])
    bad = scores[1].values[1]
    for thresholds, verdict in (
        ({"flag": bad / 2, "quarantine": bad, "drop": 1.1}, "quarantined"),
        ({"flag": bad / 2, "quarantine": 1.1}, "flagged"),
        ({"flag": bad / 2, "drop": bad / 3}, "dropped"),
    ):
        outcome, _, lines = run(rows[:2], tmp_path / verdict, classifier(toxic, thresholds=thresholds))
        assert [line["verdict"] for line in lines.values()] == [verdict]
        assert outcome.quarantined.rows == (verdict == "quarantined")
    low = {"name": "quality", "model": grader, "thresholds": {"drop": 0.5}, "when": "below"}
    _, kept, lines = run(rows, tmp_path / "below", low)
    assert kept == [rows[2]["record_id"], rows[3]["record_id"]]
    assert all(line["score"] < 0.5 for line in lines.values())


def test_splits_that_are_not_named_are_not_looked_at(tmp_path, toxic):
    rows = [document(BAD, locator=str(i)) for i in range(3)]
    _, kept, _ = run(rows, tmp_path, classifier(toxic), splits=SPLITS)
    assert kept == [rows[1]["record_id"], rows[2]["record_id"]]
    _, kept, _ = run(rows, tmp_path / "all", classifier(toxic, splits=SPLITS), splits=SPLITS)
    assert kept == []


def test_parts_of_a_row(tmp_path, toxic):
    rows = [chat(BAD, FINE, locator="1"), chat(FINE, BAD, locator="2"), chat(FINE, "", locator="3")]
    _, kept, _ = run(rows, tmp_path, classifier(toxic, part="answer"))
    assert kept == [rows[0]["record_id"], rows[2]["record_id"]]


def test_what_was_cut_is_said(tmp_path, toxic):
    rows = [document("home " * 100 + "stupid"), document(BAD)]
    outcome, kept, _ = run(rows, tmp_path, classifier(toxic))
    assert rows[0]["record_id"] in kept
    assert outcome.report.counts["classifier toxic"]["rows cut to what the model reads"] == 1
    assert "classifier toxic read only the first 64 tokens of 1 rows." in outcome.report.notes


def test_a_dropped_row_is_not_shown_to_the_next_and_the_books_balance(tmp_path, toxic, grader):
    rows = [document(t) for t in (FINE, BAD, "damn the cat", "damn the stupid cat")]
    second = {"name": "quality", "model": grader, "thresholds": {"flag": 0.5}, "when": "below"}
    outcome, kept, _ = run(rows, tmp_path, classifier(toxic), second, unsafe={})
    assert kept == [rows[0]["record_id"], rows[2]["record_id"]]
    report = outcome.report
    assert report.counts["classifier toxic"]["rows scored"] == 4
    assert report.counts["classifier quality"]["rows scored"] == 2
    said = [(line["record_id"], line["verdict"], line["reason"]) for line in ledger_lines(outcome)]
    assert sum(r == rows[3]["record_id"] for r, _, _ in said) == 2
    # Both kept rows carry a flag; the one that was flagged twice, and the one that was dropped, count as they are.
    assert (report.flagged, report.dropped, report.kept) == (2, 2, 2)


@pytest.mark.parametrize("policy", ["keep", "drop", "quarantine", "fail"])
def test_a_score_that_is_no_number(tmp_path, toxic, policy):
    import torch
    from transformers import AutoModelForSequenceClassification as Model

    folder = tmp_path / "broken"
    shutil.copytree(toxic, folder)
    model = Model.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    model.save_pretrained(folder)
    rows, cache = [document(FINE)], tmp_path / "cache"
    if policy == "fail":
        with pytest.raises(ServiceError, match="not_finite"):
            run(rows, tmp_path, classifier(str(folder), undecided=policy), cache=cache)
        return
    outcome, kept, lines = run(rows, tmp_path, classifier(str(folder), undecided=policy), cache=cache)
    verdict = {"keep": "undecided", "drop": "dropped", "quarantine": "quarantined"}[policy]
    assert [line["verdict"] for line in lines.values()] == [verdict]
    assert (len(kept), outcome.report.undecided) == (policy == "keep", 1)
    again, _, _ = run(rows, tmp_path / "again", classifier(str(folder), undecided=policy), cache=cache)
    assert again.report.notes[-1] == "1 texts read by models, 0 known on this machine"


def test_a_second_run_scores_new_texts_only(tmp_path, toxic):
    cache = tmp_path / "cache"
    rows = [document(t) for t in (FINE, BAD, "a new one")]
    run(rows[:2], tmp_path / "first", classifier(toxic), cache=cache)
    outcome, kept, _ = run(rows, tmp_path / "second", classifier(toxic), cache=cache)
    assert outcome.report.notes[-1] == "1 texts read by models, 2 known on this machine" and len(kept) == 2


def test_mistakes_name_the_way_out(tmp_path, toxic):
    for more, words in (
        ({"label": None}, "set label to one of fine, bad"),
        ({"label": "worse"}, "its classes: fine, bad"),
        ({"max_tokens": 128}, "reads 64 tokens at most"),
    ):
        with pytest.raises(ConfigError, match=words):
            Classifier(ClassifierConfig(**classifier(toxic, **more)), HERE, EmbeddingCache())
    with pytest.raises(MissingDependencyError, match="pip install no-such"):
        Classifier(ClassifierConfig(**classifier("package:no_such/model")), HERE, EmbeddingCache())
    with pytest.raises(ValidationError, match="two classifiers"):
        ScreenConfig(classifiers=[classifier(toxic), classifier(toxic)])
    with pytest.raises(ValidationError, match="at least 1 item"):
        ClassifierConfig(**classifier(toxic, thresholds={}))


def test_a_hub_model_is_fetched_at_a_commit_without_pickle_or_code(tmp_path, toxic, monkeypatch):
    from engines.lm.test_lm_hub import COMMIT, FakeHub
    from huggingface_hub import constants

    hub = FakeHub(Path(toxic))
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    try:
        for revision in (None, COMMIT):
            mine = Classifier(ClassifierConfig(**classifier("owner/tiny", revision=revision)), HERE, EmbeddingCache())
            assert mine.scores([BAD])[0].values[1] > 0.9
        with pytest.raises(InputNotFoundError, match="no such model on the hub"):
            Classifier(ClassifierConfig(**classifier("owner/other")), HERE, EmbeddingCache())
    finally:
        hub.server.shutdown()
        hub.server.server_close()
    assert not any(path.endswith((".bin", ".py")) for path in hub.asked)
    assert len([path for path in hub.asked if path.endswith("model.safetensors")]) >= 1
