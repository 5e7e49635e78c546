"""Passages that a second model puts in order."""

from pathlib import Path

import pytest
from support.cross_encoders import tiny_cross_encoder
from support.tiny_model import tiny_dataset

from steps.contracts.errors import ConfigError
from steps.engines.retrieval.config import RetrievalConfig
from steps.engines.retrieval.passages import index, passages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for n, word in enumerate(("red", "blue", "green", "white", "black", "brown")):
        (tmp_path / "docs" / f"{n}.txt").write_text(
            f"The {word} door is in house {n}, and it is {word} since {n} years."
        )
    return tmp_path


def test_the_second_models_order_decides_and_of_what_was_found_only(folder: Path) -> None:
    from sentence_transformers import CrossEncoder as Library

    tiny_cross_encoder(folder / "cross")
    dataset = tiny_dataset(folder / "rows")
    plain = RetrievalConfig(documents="docs")
    config = RetrievalConfig(documents="docs", rerank={"model": "cross"}, candidates=4)
    found = passages(config, dataset, folder)
    questions = ["Which door is red?", "Where is the blue door of this house?", "xyzzy"]
    with index(found, plain, folder, None) as words, index(found, config, folder, None) as both:
        first = words.nearest(questions, 4)
        best = both.nearest(questions, 2)
        assert both.nearest(questions[1:2], 2) == best[1:2]
        assert [len(b) for b in both.nearest(questions, 6)] == [6, 6, 0]
    library = Library(str(folder / "cross"), device="cpu")
    for question, numbers, chosen in zip(questions, first, best, strict=True):
        pairs = [(question, found.texts[n]) for n in numbers]
        scores = library.predict(pairs, batch_size=1, show_progress_bar=False) if pairs else []
        wanted = [n for _, n in sorted(zip(scores, numbers, strict=True), key=lambda p: -p[0])][:2]
        assert chosen == wanted
    assert any(a[:2] != b for a, b in zip(first, best, strict=True)), "the order must change for this to say anything"


def test_a_model_of_several_scores_is_refused(folder: Path) -> None:
    tiny_cross_encoder(folder / "cross", labels=2)
    config = RetrievalConfig(documents="docs", rerank={"model": "cross"})
    found = passages(config, tiny_dataset(folder / "rows"), folder)
    with pytest.raises(ConfigError, match="2 scores per pair"), index(found, config, folder, None):
        pass
