"""Passages that are found by the words that they share with a question, and where they come from."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_model import tiny_dataset, tiny_row

from steps.contracts.errors import InputError, InputNotFoundError
from steps.engines.retrieval.config import RetrievalConfig
from steps.engines.retrieval.passages import index, passages
from steps.engines.retrieval.words import WordIndex, words_of

TEXTS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=6).map(" ".join), min_size=1, max_size=8)


def naive(texts: list[str], question: str) -> list[float]:
    """Okapi BM25 by its formula, a word at a time."""
    words = [words_of(t) for t in texts]
    mean = max(sum(map(len, words)) / len(words), 1.0)
    scores = []
    for text in words:
        score = 0.0
        for word in set(words_of(question)):
            holding = sum(word in w for w in words)
            n = text.count(word)
            rarity = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            score += rarity * n * 2.2 / (n + 1.2 * (0.25 + 0.75 * len(text) / mean))
        scores.append(score)
    return scores


@given(texts=TEXTS, question=st.lists(st.sampled_from("abcdefg"), max_size=4).map(" ".join), k=st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_the_best_passages_are_those_of_the_formula(texts: list[str], question: str, k: int) -> None:
    scores = naive(texts, question)
    (found,) = WordIndex(texts).nearest([question], k)
    assert len(found) == min(k, sum(s > 0 for s in scores))
    assert [round(scores[i], 9) for i in found] == [round(s, 9) for s in sorted(scores, reverse=True)[: len(found)]]


def test_passages_are_of_files_of_every_kind_once_each_in_an_order_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Doors\n\nThe red door is shut at nine o'clock sharp.\n")
    (folder / "b.html").write_text("<p>The blue door is never shut, they say.</p>")
    (folder / "c.txt").write_text("The blue door is never shut, they say.")
    (folder / "d.jsonl").write_text(json.dumps({"text": "A green door is in the cellar."}) + "\n")
    config = RetrievalConfig(documents="docs")
    found = passages(config, tiny_dataset(tmp_path / "rows"), tmp_path)
    assert len(found.texts) == 3 and list(found.texts) == sorted(found.texts)
    with index(found, config, tmp_path, None) as known:
        ((best,),) = known.nearest(["When is the red door shut?"], 1)
    assert "nine" in found.texts[best]
    (folder / "d.jsonl").rename(folder / "z.jsonl")
    assert passages(config, tiny_dataset(tmp_path / "again"), tmp_path).digest == found.digest


def test_train_rows_are_passages_and_no_others(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path, [tiny_row(i) for i in range(10)], validation=4)
    assert len(passages(RetrievalConfig(), dataset, tmp_path).texts) == 6


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path)
    with pytest.raises(InputNotFoundError, match="no such file or folder"):
        passages(RetrievalConfig(documents="gone"), dataset, tmp_path)
    (tmp_path / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(InputError, match="not a kind of document"):
        passages(RetrievalConfig(documents="a.pdf"), dataset, tmp_path)
    (tmp_path / "a.jsonl").write_text('{"txt": 1}\n')
    with pytest.raises(InputError, match="no JSON object") as error:
        passages(RetrievalConfig(documents="a.jsonl"), dataset, tmp_path)
    assert "line 1" in str(error.value)
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(InputError, match="nothing to look up"):
        passages(RetrievalConfig(documents="a.txt"), dataset, tmp_path)
