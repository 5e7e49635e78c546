"""The judge against llama.cpp's real HTTP server.

A random model of 35 thousand weights serves: this proves the wire (request, schema as grammar, parsing, caching),
not that anything is judged well.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.textrows import chat, dataset, document

pytest.importorskip("xllamacpp")
pytest.importorskip("gguf")

import pyarrow.parquet as pq
from engines.llm.tiny_gguf import served_gguf, write_tiny_gguf

from steps.contracts.context import StageContext
from steps.engines.llm.endpoint import Endpoint
from steps.judge.config import JudgeConfig
from steps.judge.judge import judge


@pytest.fixture(scope="module", params=["2", "5"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Address of a server, and the score that its model likes best."""
    model = write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", request.param)
    with served_gguf(model) as address:
        yield address, int(request.param)


def test_schema_grammar_scores_and_cache_over_the_wire(served: tuple[str, int], tmp_path: Path) -> None:
    url, score = served
    rows = dataset(
        [*(chat(f"Add {i} and 1.", f"{i + 1}") for i in range(6)), document("One plain text.")], tmp_path / "in"
    )
    endpoint = Endpoint(base_url=url, model="tiny", concurrency=2, timeout_seconds=60)
    config = JudgeConfig(backend="llm", endpoint=endpoint)
    first = judge(rows, config, StageContext(tmp_path / "a", cache=tmp_path / "cache", scrubbed=True)).report
    verdicts = pq.read_table(tmp_path / "a" / "verdicts.parquet").to_pylist()
    assert [v["error"] for v in verdicts] == [None] * 7
    assert {v[c] for v in verdicts[:6] for c in ("relevance", "clarity", "completeness", "accuracy")} == {score}
    assert verdicts[6]["relevance"] is None and verdicts[6]["clarity"] == score
    assert (first.kept, first.dropped) == ((7, 0) if score == 5 else (0, 7))
    assert any("json_schema" in note for note in first.notes)
    assert all(v["prompt_tokens"] > 100 and v["completion_tokens"] > 20 for v in verdicts)

    again = judge(rows, config, StageContext(tmp_path / "b", cache=tmp_path / "cache", scrubbed=True)).report
    assert again.counts["requests"] == {"HTTP requests": 0, "cache hits": 7}
    assert (again.kept, again.dropped) == (first.kept, first.dropped)


@pytest.mark.parametrize("form", ["json_object", "text"])
def test_without_the_schema_the_model_babbles_and_decides_nothing(
    served: tuple[str, int], tmp_path: Path, form: str
) -> None:
    url, _ = served
    rows = dataset([chat("Add 1 and 1.", "2")], tmp_path / "in")
    endpoint = Endpoint(base_url=url, model="tiny", response_format=form, max_tokens=60, max_attempts=1)
    config = JudgeConfig(backend="llm", endpoint=endpoint, max_undecided_share=1.0)
    report = judge(rows, config, StageContext(tmp_path / "a", cache=tmp_path / "cache", scrubbed=True)).report
    assert (report.kept, report.quarantined, report.undecided) == (0, 1, 1)


@pytest.mark.parametrize("form", ["grammar", "json_schema"])
def test_llama_cpp_holds_replies_to_either_dialect(served: tuple[str, int], tmp_path: Path, form: str) -> None:
    url, score = served
    endpoint = Endpoint(base_url=url, model="tiny", response_format=form, max_attempts=1)
    rows = dataset([chat("Add 1 and 1.", "2")], tmp_path / "in")
    judge(rows, JudgeConfig(backend="llm", endpoint=endpoint), StageContext(tmp_path / "a", scrubbed=True))
    (verdict,) = pq.read_table(tmp_path / "a" / "verdicts.parquet").to_pylist()
    assert verdict["error"] is None and verdict["clarity"] == score


@pytest.mark.slow
def test_its_top_logprobs_are_ratings(served: tuple[str, int], tmp_path: Path) -> None:
    """The nudged digit is the most probable one, by a model that means nothing by it."""
    url, score = served
    endpoint = Endpoint(base_url=url, model="tiny", max_attempts=1)
    config = JudgeConfig(
        backend="llm", endpoint=endpoint, scoring="probabilities", min_rating_mass=0.0, max_undecided_share=1.0
    )
    rows = dataset([chat("Add 1 and 1.", "2"), document("A text.")], tmp_path / "in")
    judge(rows, config, StageContext(tmp_path / "a", scrubbed=True))
    verdicts = pq.read_table(tmp_path / "a" / "verdicts.parquet").to_pylist()
    for verdict in verdicts:
        said = json.loads(verdict["probabilities"])
        for rating in said.values():
            assert 0 < rating["mass"] <= 1 and max(rating["ratings"]) == rating["ratings"][score - 1]
    assert [v["error"] for v in verdicts] == [None, None] and verdicts[0]["completion_tokens"] == 4
