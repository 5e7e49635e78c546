"""Models in screen over growing data: equal to a run without what the earlier one kept, and nothing is read twice."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from engines.embed.embedding_server import scripted
from engines.llm.scripted_server import ScriptedServer
from support.growing import batchings, same
from support.textrows import dataset, document
from support.tiny_classifier import trained_classifier

from steps.contracts.context import StageContext
from steps.contracts.embeddings import CachedEmbeddings
from steps.contracts.outcome import Outcome
from steps.contracts.records import Row
from steps.contracts.row_cache import RowCache
from steps.screen.config import ScreenConfig
from steps.screen.screen import screen

WORDS = ["the", "cat", "and", "a", "dog", "sits", "on", "stupid", "mat", "today", "she", "walks", "home"]


@pytest.fixture(scope="module")
def toxic(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(trained_classifier(tmp_path_factory.mktemp("toxic"), ["stupid"]))


def random_rows(seed: int, n: int) -> list[Row]:
    dice = random.Random(seed)
    return [document(" ".join(dice.choices(WORDS, k=dice.randint(1, 8))), 0, str(i)) for i in range(n)]


def config(toxic: str, server: ScriptedServer, **more: Any) -> ScreenConfig:
    embed = {"endpoint": {"base_url": server.url, "model": "m"}}
    subjects = [{"name": name, "examples": [f"{name} {i}" for i in range(3)]} for name in ("pets", "walks")]
    return ScreenConfig(
        rules=None, unsafe=None, poisoned=None,
        classifiers=[{"name": "toxic", "model": toxic, "label": "bad", "thresholds": {"drop": 0.5}}],
        topics={"embed": embed, "topics": subjects, "drop": ["pets"], "threshold": 0.3, **more},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_growing_data_gives_what_a_whole_run_gives(tmp_path: Path, toxic: str, seed: int) -> None:
    vectors: CachedEmbeddings | None = None
    row_cache: RowCache | None = None
    asked: Counter[str] = Counter()
    reasons: set[str] = set()
    settings = {"clusters": 3} if seed == 3 else {}
    for number, batch in enumerate(batchings(random_rows(seed, 80), seed)):
        here = tmp_path / str(number)
        data = dataset(batch, here / "in", shard_rows=random.Random(seed).randint(1, len(batch)))
        with ScriptedServer(lambda _, body: scripted(body)) as server:
            known = {"screen_row_cache": row_cache, "screen_embeddings": vectors}
            grown: Outcome = screen(
                data,
                config(toxic, server, **settings),
                StageContext(here / "a", cache=here / "cache", earlier=known, scrubbed=True, keep=True),
            )
            asked.update(text for body in server.bodies for text in body["input"])
            whole = screen(data, config(toxic, server, **settings), StageContext(here / "b", scrubbed=True))
        same(grown, whole)
        assert whole.artifacts["screen_embeddings"] == CachedEmbeddings()
        vectors, row_cache = CachedEmbeddings.open(here / "a" / "embeddings"), grown.artifacts["screen_row_cache"]
        reasons |= set(grown.report.dropped_by)
    assert reasons == {"classifier.toxic", "topic.pets"} and set(asked.values()) == {1}
    assert len({part.space for part in vectors.manifest.parts}) == 2


def test_two_classifiers_by_one_model_share_what_is_kept(tmp_path: Path, toxic: str) -> None:
    one = {"name": "one", "model": toxic, "label": "bad", "thresholds": {"drop": 0.5}}
    other = {"name": "other", "model": toxic, "label": "fine", "thresholds": {"flag": 0.9}}
    settings = ScreenConfig(rules=None, unsafe=None, poisoned=None, classifiers=[one, other])
    data = dataset(random_rows(7, 30), tmp_path / "in")
    first = screen(data, settings, StageContext(tmp_path / "a", scrubbed=True, keep=True))
    again = screen(data, settings, StageContext(tmp_path / "b", scrubbed=True, keep=True, earlier=first.artifacts))
    same(first, again)
    assert first.report.flagged > 0 and first.report.dropped > 0
    assert (
        len(first.artifacts["screen_embeddings"].files) == 1
        and again.artifacts["screen_embeddings"].manifest == first.artifacts["screen_embeddings"].manifest
    )
    assert any(note.startswith("0 texts read by models") for note in again.report.notes)


def test_without_models_nothing_is_kept(tmp_path: Path) -> None:
    data = dataset(random_rows(1, 5), tmp_path / "in")
    outcome = screen(data, ScreenConfig(), StageContext(tmp_path / "out", scrubbed=True, keep=True))
    assert outcome.artifacts["screen_embeddings"].rows == 0 and not any(
        "models" in note for note in outcome.report.notes
    )
