"""Every similar pair of 20,000 real rows, found without the engine, against what the stage decides."""

import gzip
import json
import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from support.textrows import chat, dataset, ledger_lines, record_ids

from steps.contracts.context import StageContext
from steps.contracts.records import text_of
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup
from steps.engines.text.normalise import words

ROWS, N, THRESHOLD = 20_000, 3, 0.7


@pytest.fixture(scope="module")
def rows():
    path = Path(os.environ.get("ASSAY_BENCH_DATA", ""), "t0.jsonl.gz")
    if not path.is_file():
        pytest.skip("set ASSAY_BENCH_DATA to a folder with t0.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in islice(lines, ROWS)]
    return [chat(r["prompt"], r["completion"], locator=str(i)) for i, r in enumerate(found)]


def shingle_sets(rows):
    for row in rows:
        w = words(text_of(row))
        yield {" ".join(w[i : i + N]) for i in range(max(len(w) - N + 1, min(len(w), 1)))}


def similar_pairs(sets):
    numbers = {}
    columns = np.array([numbers.setdefault(s, len(numbers)) for m in sets for s in m], np.int64)
    ends = np.cumsum([0, *map(len, sets)])
    matrix = csr_matrix((np.ones(len(columns), np.int32), columns, ends), shape=(len(sets), len(numbers)))
    sizes, matrix = np.diff(ends), matrix[:, np.bincount(columns, minlength=len(numbers)) > 1]
    other = matrix.T.tocsr()
    for start in range(0, len(sets), 1_000):
        shared = (matrix[start : start + 1_000] @ other).tocoo()
        i, j = shared.row + start, shared.col
        jaccard = shared.data / (sizes[i] + sizes[j] - shared.data)
        good = (i < j) & (jaccard >= THRESHOLD)
        yield from zip(i[good].tolist(), j[good].tolist(), jaccard[good].tolist(), strict=True)


@pytest.mark.slow
def test_every_drop_is_proven_and_recall_is_what_the_bands_promise(rows, tmp_path):
    outcome = dedup(dataset(rows, tmp_path / "in"), DedupConfig(), StageContext(tmp_path / "out"))
    number = {r["record_id"]: i for i, r in enumerate(rows)}
    keep = np.zeros(len(rows), bool)
    keep[[number[i] for i in record_ids(outcome.rows)]] = True
    sets = list(shingle_sets(rows))
    dropped = [line for line in ledger_lines(outcome) if line["verdict"] == "dropped"]
    assert len(dropped) == (~keep).sum() > 5_000
    for line in dropped:
        a, b = number[line["record_id"]], number[line["parents"][0]]
        exact = len(sets[a] & sets[b]) / len(sets[a] | sets[b])
        assert keep[b]
        assert exact >= THRESHOLD
        assert abs(exact - line["score"]) < 1e-6
    pairs = list(similar_pairs(sets))
    left = [j for a, b, j in pairs if keep[a] and keep[b]]
    missed = sum((1 - j**5) ** 25 for _, _, j in pairs)
    assert len(pairs) > 10_000
    assert len(left) <= missed + 3 * missed**0.5
    assert 1 - len(left) / len(pairs) >= 0.9995
