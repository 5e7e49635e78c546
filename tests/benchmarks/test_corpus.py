import json
import random
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import corpus

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("a", "ei", "o", "u") for c in "bdfgklmnprst"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """2,000 sentences of random words in one file: as little text as a corpus of 1,300 rows can be made of."""
    path = tmp_path_factory.mktemp("data")
    rng = random.Random(3)
    with (path / "gsm8k_train.jsonl").open("w") as out:
        for _ in range(1_000):
            said = [" ".join(rng.choices(WORDS, k=rng.randint(6, 20))).capitalize() + "." for _ in range(2)]
            out.write(json.dumps({"question": said[0], "answer": said[1], "number": 7}) + "\n")
    return path


def rows_of(path):
    return pq.read_table(path).to_pylist()


@pytest.mark.slow
def test_base_documents_are_distinct_and_as_long_as_instruction_rows(folder, tmp_path):
    rows = rows_of(corpus.rows_file(folder, tmp_path, 1_300))
    base = [r["text"] for r in rows if r["kind"] == "base"]
    lengths = sorted(map(len, base))
    assert len(base) == len({r["src"] for r in rows if r["kind"] == "base"}) == 1_000
    assert 455 < sum(lengths) / len(lengths) < 555 and 345 < lengths[500] < 425
    for words in (3, 5):
        assert corpus.similar_pairs(base, len(base), 0.5, words) == []


def test_copies_are_in_equal_shares_and_differ_as_much_as_they_say(folder, tmp_path):
    rows = rows_of(corpus.rows_file(folder, tmp_path, 1_300))
    texts = {r["src"]: r["text"] for r in rows if r["kind"] == "base"}
    copies = [r for r in rows if r["kind"] != "base"]
    counts = {k: sum(r["kind"] == k for r in copies) for k in corpus.KINDS}
    assert set(counts.values()) == {50}
    similar = {}
    for kind in corpus.KINDS:
        own = [(texts[r["src"]], r["text"]) for r in copies if r["kind"] == kind]
        found = [corpus.similar_pairs(pair, 1, 0.0) for pair in own]
        similar[kind] = sum(f[0][2] if f else 0.0 for f in found) / len(found)
        assert all((a == b) == (kind == "exact") for a, b in own)
    assert similar["exact"] == similar["case"] == 1
    assert 1 > similar["one"] > similar["5%"] > similar["10%"] > 0.3 and similar["2%"] > similar["5%"]


def test_the_same_options_give_the_same_bytes_and_another_seed_other_rows(folder, tmp_path):
    one = corpus.rows_file(folder, tmp_path / "one", 260)
    two = corpus.rows_file(folder, tmp_path / "two", 260)
    other = corpus.rows_file(folder, tmp_path / "one", 260, seed=2)
    assert one.read_bytes() == two.read_bytes() and rows_of(one) != rows_of(other)


def test_a_file_is_built_again_only_when_its_sources_change(folder, tmp_path):
    path = corpus.rows_file(folder, tmp_path, 130)
    before = path.stat().st_mtime_ns
    assert corpus.rows_file(folder, tmp_path, 130).stat().st_mtime_ns == before
    grown = tmp_path / "grown"
    grown.mkdir()
    text = (folder / "gsm8k_train.jsonl").read_text()
    (grown / "gsm8k_train.jsonl").write_text(text + json.dumps({"answer": "One more sentence of words."}) + "\n")
    assert corpus.rows_file(grown, tmp_path, 130).stat().st_mtime_ns != before


def test_later_rows_are_new_documents_and_copies_of_indexed_ones(folder, tmp_path):
    first = rows_of(corpus.rows_file(folder, tmp_path, 1_300))
    later = rows_of(corpus.new_rows_file(folder, tmp_path, 1_300, 130))
    texts = {r["src"]: r["text"] for r in first if r["kind"] == "base"}
    assert [r["id"] for r in later] == list(range(1_300, 1_430))
    assert {r["src"] for r in later if r["kind"] == "base"} == set(range(1_000, 1_100))
    exact = [r for r in later if r["kind"] == "exact"]
    assert len(exact) == 5 and all(texts[r["src"]] == r["text"] for r in exact)


def test_rows_of_one_template_stay_just_under_the_threshold(folder, tmp_path):
    texts = [r["text"] for r in rows_of(corpus.template_file(folder, tmp_path, 60))]
    pairs = corpus.similar_pairs(texts, len(texts), 0.6)
    assert len(pairs) == 60 * 59 / 2 and all(0.666 < j < 0.7 for _, _, j in pairs)
