"""Pairs through llama.cpp's real HTTP server, by random weights: the wire alone is proved (requests, schemas as
grammars, what becomes of replies), never that anything is written or checked well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.textrows import dataset, document, ledger_lines

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

import pyarrow.parquet as pq
from engines.llm.tiny_gguf import served_gguf, write_tiny_gguf

from steps.contracts.context import StageContext
from steps.contracts.errors import ServiceError
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.synthesize import synthesize

pytestmark = pytest.mark.slow


# What a reply comes to, by what the model likes to write where the grammar lets it: an object and the end of the list,
# the end at once, or one object after the other.
LIKES = {"pairs": {"{": 3.8, "]": 3.5}, "none": {"{": 3.2, "]": 3.8}, "truncated": {"{": 3.8}}


@pytest.fixture(scope="module", params=LIKES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    model = write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", "1", **LIKES[request.param])
    with served_gguf(model) as address:
        yield address, request.param


def settings(url: str, **more: Any) -> SynthesizeConfig:
    endpoint = {"base_url": url, "model": "tiny", "concurrency": 2, "timeout_seconds": 60, "max_tokens": 120}
    kinds = {"how_to": 0, "comparison": 0, "where": 0, "multi_hop": 0}
    return SynthesizeConfig.model_validate({"endpoint": endpoint, "kinds": kinds, **more})


def test_replies_held_to_the_schema_are_read_and_all_of_them_are_accounted_for(
    served: tuple[str, str], tmp_path: Path
) -> None:
    url, outcome = served
    texts = [f"The river of town {i} is wide. " + " ".join(f"word{i}x{n}" for n in range(15)) for i in range(3)]
    rows = dataset([document(t) for t in texts], tmp_path / "rows")
    ctx = StageContext(tmp_path / "out", cache=tmp_path / "cache", scrubbed=True)
    done = synthesize(rows, settings(url, max_undecided_share=1.0), ctx)
    lines = pq.read_table(done.artifacts["synthesis_chunks"].path).to_pylist()
    # Two kinds of each of three chunks.
    assert [line["outcome"] for line in lines] == [outcome] * 6
    assert done.report.counts["requests"] == {"writing": 6} and done.report.kept == 0
    assert done.report.dropped_by.get("empty", 0) == (6 if outcome == "pairs" else 0)
    undecided = [x["reason"] for x in ledger_lines(done) if x["verdict"] == "undecided"]
    assert undecided == (["truncated"] * 6 if outcome == "truncated" else [])
    if outcome == "truncated":
        assert done.report.counts["requests without a reply of use"] == {"writing: truncated": 6}
        with pytest.raises(ServiceError, match="6 of 6 requests got no reply of use"):
            synthesize(rows, settings(url), StageContext(tmp_path / "2", cache=tmp_path / "cache", scrubbed=True))
