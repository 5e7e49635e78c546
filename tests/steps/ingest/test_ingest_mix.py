"""Sampling and mixing: shares, and that they depend on content and seed only."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from steps.contracts.context import StageContext
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.ingest import ingest
from steps.ingest.mix import quotas


def pairs(name, count):
    return [{"prompt": f"{name} {i}", "completion": "c"} for i in range(count)]


def kept(got):
    return {r["messages"][0]["content"] for r in got.rows.iter_rows()}


def mix(bench, weights, **more):
    sources = [{"name": n, "path": f"{n}.jsonl", "weight": w} for n, w in weights.items()]
    return ingest(None, IngestConfig(sources=sources, **more), StageContext(bench.out, bench.root))


def test_weights_are_shares_of_the_mix(bench):
    rows = {"a": pairs("a", 300), "b": pairs("b", 1000)}
    for name, content in rows.items():
        bench.write(f"{name}.jsonl", content)
    got = mix(bench, {"a": 3, "b": 1})
    per_source = {n: sum(q.startswith(n) for q in kept(got)) for n in rows}
    assert per_source == {"a": 300, "b": 100}
    report = got.report
    assert (report.rows_in, report.kept, report.dropped_by) == (1300, 400, {"mixed_out": 900})
    assert got.ledger.rows == 900
    for name, content in rows.items():
        random.Random(5).shuffle(content)
        bench.write(f"{name}.jsonl", content)
    again = mix(bench, {"b": 1, "a": 3})
    assert again.rows.digest == got.rows.digest
    assert kept(mix(bench, {"a": 3, "b": 1}, seed=1)) != kept(got)
    assert {n: sum(q.startswith(n) for q in kept(mix(bench, {"a": 1, "b": 1}))) for n in rows} == {"a": 300, "b": 300}


@given(st.dictionaries(st.integers(0, 4), st.tuples(st.integers(1, 9999), st.floats(0.01, 100)), min_size=1))
def test_quotas_are_proportional_and_exhaust_one_source(given_sources):
    counts = {i: n for i, (n, _) in given_sources.items()}
    weights = {i: w for i, (_, w) in given_sources.items()}
    got = quotas(counts, weights)
    scale = min(counts[i] / weights[i] for i in counts)
    assert any(got[i] == counts[i] for i in counts)
    assert all(abs(got[i] - scale * weights[i]) <= 0.5 + 1e-6 and got[i] <= counts[i] for i in counts)


def test_sampling_follows_the_content_and_nests(bench):
    rows = pairs("a", 2000)
    bench.write("a.jsonl", rows)
    third, half = (kept(bench.ingest("a.jsonl", sample=s)) for s in (0.3, 0.5))
    assert 500 < len(third) < 700 and third < half
    random.Random(2).shuffle(rows)
    bench.write("a.jsonl", rows[:1000])
    got = bench.ingest("a.jsonl", sample=0.3)
    assert kept(got) == third & {r["prompt"] for r in rows[:1000]}
    assert got.report.dropped_by == {"sampled_out": 1000 - len(kept(got))}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"name": "a b", "path": "x"}, "letters, digits"),
        ({"name": "a"}, "either path or hub"),
        ({"name": "a", "path": "x", "hub": "o/n"}, "either path or hub"),
        ({"name": "a", "hub": "o/n"}, "commit hash of 40 hex"),
        ({"name": "a", "hub": "o/n", "revision": "main"}, "commit hash of 40 hex"),
        ({"name": "a", "path": "x", "revision": "0" * 40}, "belongs to hub"),
        ({"name": "a", "path": "x", "columns": {"promt": "q"}}, "did you mean 'prompt'"),
        ({"name": "a", "path": "x", "encoding": "utf-9"}, "encoding 'utf-9' is unknown"),
        ({"name": "a", "path": "x", "sample": 0}, "greater than 0"),
        ({"name": "a", "path": "x", "formt": "text"}, "Extra inputs"),
    ],
)
def test_a_wrong_source_says_what_is_wrong(source, words):
    with pytest.raises(ValidationError, match=words):
        SourceConfig(**source)


def test_sources_must_agree():
    a, b = {"name": "a", "path": "x"}, {"name": "b", "path": "y", "weight": 1}
    with pytest.raises(ValidationError, match="must differ: a is used twice"):
        IngestConfig(sources=[a, a])
    with pytest.raises(ValidationError, match="every source or to none; missing for a"):
        IngestConfig(sources=[a, b])
