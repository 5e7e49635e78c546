"""A run over grown data, with the index of the run before, gives what a run over all of it gives."""

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.textrows import chat, dataset, document, ledger_lines, preference, record_ids

from steps.contracts.context import StageContext
from steps.contracts.dedup_index import DedupIndex
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, IntegrityError
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup, dedup_onto
from steps.dedup.earlier_index import EarlierIndex

VOCABULARY = (
    "river bridge ferry spring winter mill stone rope boat miller road toll wood rain field night".split()  # noqa: SIM905
)


def text(rng):
    return " ".join(rng.choices(VOCABULARY, k=rng.randint(1, 25)))


def varied(source, rng):
    words = source.split()
    for _ in range(rng.randint(0, 3)):
        words[rng.randrange(len(words))] = rng.choice(VOCABULARY)
    return " ".join(words) if rng.random() < 0.7 else source.upper() + "!"


def some_rows(rng, count, batches):
    rows, texts = [], [text(rng) for _ in range(max(count // 3, 1))]
    for i in range(count):
        t = varied(rng.choice(texts), rng) if rng.random() < 0.7 else text(rng)
        batch, kind = rng.randrange(batches), rng.random()
        if kind < 0.5:
            rows.append(document(t, batch, f"{i}"))
        elif kind < 0.8:
            rows.append(chat(rng.choice(texts), t, batch, f"{i}"))
        else:
            rows.append({**preference(rng.choice(texts), t, text(rng), f"{i}"), "batch": batch})
    return rows


def summary(outcome):
    lines = sorted((x["record_id"], x["verdict"], x["reason"], x["evidence"]) for x in ledger_lines(outcome))
    report = outcome.report.model_dump(exclude={"seconds", "cpu_seconds", "notes"})
    return outcome.rows.digest, sorted(record_ids(outcome.rows)), lines, report


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 10**6),
    st.integers(2, 4),
    st.sampled_from(["flag", "keep_first", "drop_all"]),
    st.sampled_from(["all", "prompt"]),
)
@pytest.mark.slow
def test_random_batchings_equal_one_whole_run(tmp_path_factory, seed, batches, contradictions, compare):
    tmp_path = tmp_path_factory.mktemp("batchings")
    rng = random.Random(seed)
    rows = some_rows(rng, 120, batches)
    config = DedupConfig(contradictions=contradictions, compare=compare, ngram_documents=2, ngram_messages=2)
    index = None
    for batch in range(batches):
        arrived = [r for r in rows if r["batch"] <= batch]
        rng.shuffle(arrived)  # the old rows need not stand where they stood
        source = dataset(arrived, tmp_path / f"in{batch}", shard_rows=40)
        outcome = dedup(
            source, config, StageContext(tmp_path / f"out{batch}", earlier={"dedup_index": index}, keep=True)
        )
        index = DedupIndex.open(outcome.artifacts["dedup_index"].folder, by_name(outcome.artifacts["dedup_index"]))
    whole = dedup(dataset(rows, tmp_path / "all"), config, StageContext(tmp_path / "whole"))
    assert summary(outcome) == summary(whole)
    if contradictions != "drop_all":
        assert 1 <= len(index.parts) <= batches
        assert any("known from the earlier run" in n for n in outcome.report.notes)


def by_name(index):
    return dict(zip((p.name for p in index.manifest.parts), index.parts, strict=True)).__getitem__


@pytest.fixture
def made(tmp_path):
    rows = some_rows(random.Random(1), 60, 1)
    outcome = dedup(dataset(rows, tmp_path / "in"), DedupConfig(), StageContext(tmp_path / "out", keep=True))
    return rows, outcome.artifacts["dedup_index"]


def grown(made, tmp_path, extra, config=None):
    rows, index = made
    data = dataset(rows + extra, tmp_path / "in2")
    return dedup_onto(index, data, config or DedupConfig(), StageContext(tmp_path / "out2"))


def test_an_index_of_other_settings_is_refused(made, tmp_path):
    with pytest.raises(ConfigError, match="other dedup settings"):
        grown(made, tmp_path, [], DedupConfig(threshold=0.8))
    # which library computed the signatures makes no difference
    grown(made, tmp_path, [], DedupConfig(backend="datasketch"))


def test_late_rows_of_an_old_batch_are_refused(made, tmp_path):
    with pytest.raises(InputError, match="batch 0"):
        grown(made, tmp_path, [document("quite new", 0, "new")])


def test_rows_that_are_gone_are_noticed(made, tmp_path):
    rows, index = made
    with pytest.raises(InputError, match="1 rows of the kept index"):
        dedup_onto(index, dataset(rows[1:], tmp_path / "in2"), DedupConfig(), StageContext(tmp_path / "out2"))


def test_damaged_and_missing_files_are_noticed(made):
    index = made[1]
    file = index.parts[0] / "bands.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"bands\.npy"):
        DedupIndex.open(index.folder)
    file.unlink()
    with pytest.raises(InputNotFoundError):
        DedupIndex.open(index.folder)


def test_nothing_new_costs_no_reading(made, tmp_path):
    outcome = grown(made, tmp_path, [])
    assert any(note.startswith("60 rows known from the earlier run, 0 rows read") for note in outcome.report.notes)


def test_many_small_runs_leave_few_parts_and_share_the_large_ones(tmp_path):
    rng = random.Random(5)
    rows = some_rows(rng, 64, 1)
    index, shared = None, 0
    for batch in range(12):
        rows += [document(text(rng), batch, f"n{batch}-{i}") for i in range(2 if batch else 0)]
        outcome = dedup(
            dataset(rows, tmp_path / f"i{batch}"),
            DedupConfig(),
            StageContext(tmp_path / f"o{batch}", earlier={"dedup_index": index}, keep=True),
        )
        shared += index is not None and index.parts[0] == outcome.artifacts["dedup_index"].parts[0]
        index = outcome.artifacts["dedup_index"]
    assert len(index.parts) <= 5
    assert shared == 11, "the first part was written again"
    assert summary(outcome) == summary(
        dedup(dataset(rows, tmp_path / "a"), DedupConfig(), StageContext(tmp_path / "w"))
    )


def test_the_index_holds_no_text(made):
    whole = b"".join(p.read_bytes() for part in made[1].parts for p in part.iterdir())
    assert b"river" not in whole.lower()


def test_half_of_a_digest_is_not_taken_for_the_whole(made):
    """Two streams whose digests begin alike: a row is found by all of its digest, or not at all."""
    known = EarlierIndex(made[1])
    (part,) = known.parts
    words = np.array(part.words)
    a, b = part.stream_rows[:2]
    words[[a, b], 0] = 1
    streams = np.array([1, 1], np.uint64)
    known.parts[0] = dataclasses.replace(part, words=words, streams=streams, stream_rows=np.array([a, b]))
    unknown = np.array([1, 2], np.uint64)
    assert known.rows_with(np.stack([words[b], unknown, words[a]])).tolist() == [b, -1, a]
