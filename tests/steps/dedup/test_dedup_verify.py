"""Dedup against an answer by brute force, over shingles made another way (tuples of words, Python sets)."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.textrows import dataset, document, ledger_lines, record_ids, reopened

from steps.contracts.context import StageContext
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def shingle_set(text, n):
    tokens = re.findall(r"\w+", text.lower())
    return {tuple(tokens[i : i + n]) for i in range(max(len(tokens) - n + 1, 1))} if tokens else set()


def jaccard(a, b):
    return len(a & b) / len(a | b) if a | b else 1.0


def edited(rng, text, share):
    """`share` of the words replaced, deleted or doubled."""
    out = []
    for word in text.split():
        if rng.random() >= share:
            out.append(word)
        elif (kind := rng.random()) < 0.6:
            out.append(rng.choice(WORDS))
        elif kind < 0.8:
            out += [word, rng.choice(WORDS)]
    return " ".join(out)


def generated(seed, base, copies):
    """Texts of 8 to 120 words, and copies of some with 0, 1, 2, 5 or 10 % of the words edited."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(8, 120))) for _ in range(base)]
    for _ in range(copies):
        source = rng.choice(texts)
        share = rng.choice([0.0, 0.01, 0.02, 0.05, 0.1])
        texts.append(edited(rng, source, share) if share else source.title() + "!")
    return [document(t, locator=str(i)) for i, t in enumerate(texts)]


@pytest.fixture(scope="module")
def truth():
    """Rows, their shingle sets, and every pair with Jaccard >= 0.7 among 2,400 rows (2.9 million pairs looked at)."""
    rows = generated(1, 1_000, 1_400)
    sets = {r["record_id"]: shingle_set(r["text"], 5) for r in rows}
    ids = list(sets)
    assert len(ids) == 2_400
    holders = {}
    for i in ids:
        for s in sets[i]:
            holders.setdefault(s, []).append(i)
    # only rows with a common shingle can have Jaccard above 0, so no pair is missed
    pairs = {}
    for i in ids:
        for j in {h for s in sets[i] for h in holders[s]}:
            if i < j and (score := jaccard(sets[i], sets[j])) >= 0.7:
                pairs[i, j] = score
    return rows, sets, pairs


def test_every_drop_is_proven_and_nearly_no_pair_survives(truth, tmp_path):
    rows, sets, pairs = truth
    outcome = dedup(dataset(rows, tmp_path / "in"), DedupConfig(), StageContext(tmp_path / "out"))
    kept = set(record_ids(outcome.rows))
    order = {r["record_id"]: (r["batch"], r["content_id"]) for r in rows}
    dropped = [line for line in ledger_lines(outcome) if line["verdict"] == "dropped"]
    assert len(dropped) == 2_400 - len(kept) > 900
    for line in dropped:
        (witness,) = line["parents"]
        assert witness in kept
        assert order[witness] <= order[line["record_id"]]
        exact = jaccard(sets[line["record_id"]], sets[witness])
        assert exact >= 0.7
        assert line["score"] == pytest.approx(exact)
        if line["reason"] == "exact_duplicate":
            assert exact == 1.0
    assert len(pairs) > 1_500
    left = sum(i in kept and j in kept for i, j in pairs)
    # A pair of Jaccard s meets in none of 25 bands of 5 with probability (1 - s^5)^25.
    missed = sum((1 - s**5) ** 25 for s in pairs.values())
    assert left <= missed + 3 * missed**0.5
    assert 1 - left / len(pairs) >= 0.997


def test_survivors_are_those_of_the_plain_greedy_rule(truth, tmp_path):
    rows, _, pairs = truth
    neighbours = {}
    for i, j in pairs:
        neighbours.setdefault(i, set()).add(j)
        neighbours.setdefault(j, set()).add(i)
    expected = set()
    for row in sorted(rows, key=lambda r: (r["batch"], r["content_id"], r["record_id"])):
        if not neighbours.get(row["record_id"], set()) & expected:
            expected.add(row["record_id"])
    # 64 bands of 3: a pair of Jaccard 0.7 is missed with probability (1 - 0.7^3)^64 = 2e-12
    config = DedupConfig(bands=64, rows_per_band=3)
    outcome = dedup(dataset(rows, tmp_path / "in"), config, StageContext(tmp_path / "out"))
    assert set(record_ids(outcome.rows)) == expected


def test_row_order_sharding_and_stored_chunks_make_no_difference(truth, tmp_path):
    rows = truth[0][::2]
    results = []
    for i, shard_rows in enumerate((None, 100, 333)):
        shuffled = random.Random(i).sample(rows, len(rows))
        outcome = dedup(
            dataset(shuffled, tmp_path / f"in{i}", shard_rows), DedupConfig(), StageContext(tmp_path / f"out{i}")
        )
        lines = sorted((x["record_id"], x["reason"], x["evidence"]) for x in ledger_lines(outcome))
        report = outcome.report.model_dump(exclude={"seconds", "cpu_seconds"})
        results.append((sorted(record_ids(outcome.rows)), lines, outcome.rows.digest, report))
    assert results[0] == results[1] == results[2]


def test_an_incremental_run_equals_a_full_run(truth, tmp_path):
    rows = [{**r, "batch": i % 3} for i, r in enumerate(truth[0][::2])]
    full = dedup(dataset(rows, tmp_path / "all"), DedupConfig(), StageContext(tmp_path / "full"))
    survivors = []
    for batch in range(3):
        arrived = [r for r in rows if r["batch"] == batch]
        source = dataset(survivors + arrived, tmp_path / f"b{batch}")
        outcome = dedup(source, DedupConfig(), StageContext(tmp_path / f"o{batch}"))
        now = list(outcome.rows.iter_rows())
        assert {r["record_id"] for r in survivors} <= {r["record_id"] for r in now}, "a kept row was displaced"
        survivors = now
    assert {r["record_id"] for r in survivors} == set(record_ids(full.rows))


def test_the_version_on_disk_is_the_one_returned(truth, tmp_path):
    source = dataset(truth[0][900:1_300], tmp_path / "in")
    outcome = dedup(source, DedupConfig(), StageContext(tmp_path / "out"))
    assert record_ids(reopened(outcome.rows, source)) == record_ids(outcome.rows)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "index",
        "ledger.parquet",
        "manifest.json",
        "selection.parquet",
    ]


TINY = st.lists(st.tuples(st.lists(st.sampled_from("ab"), max_size=6).map(" ".join), st.integers(0, 1)), max_size=14)


@settings(max_examples=60, deadline=None)
@given(TINY, st.sampled_from([0.3, 0.5, 0.7, 1.0]), st.integers(1, 3))
def test_small_cases_equal_brute_force(tmp_path_factory, texts, threshold, n):
    folder = tmp_path_factory.mktemp("case")
    rows = [document(t, batch, locator=str(i)) for i, (t, batch) in enumerate(texts)]
    expected = []
    for row in sorted(rows, key=lambda r: (r["batch"], r["content_id"], r["record_id"])):
        mine = shingle_set(row["text"], n)
        if all(jaccard(mine, shingle_set(k["text"], n)) < threshold for k in expected):
            expected.append(row)
    # one value per band: a pair of Jaccard 0.3 is missed with probability 0.7^128 = 1e-20
    config = DedupConfig(threshold=threshold, ngram_documents=n, bands=128, rows_per_band=1)
    outcome = dedup(dataset(rows, folder / "in"), config, StageContext(folder / "out"))
    assert sorted(record_ids(outcome.rows)) == sorted(r["record_id"] for r in expected)


def test_many_fillings_of_one_template_stay_linear_and_are_counted(tmp_path):
    rng = random.Random(5)
    template = " ".join(rng.choices(WORDS, k=60))
    rows = [document(template + " " + " ".join(rng.choices(WORDS, k=16)), locator=str(i)) for i in range(1_500)]
    config = DedupConfig(max_comparisons=20)
    outcome = dedup(dataset(rows, tmp_path / "in"), config, StageContext(tmp_path / "out"))
    comparison = outcome.report.counts["comparison"]
    assert comparison["exact comparisons"] <= 20 * 1_500
    assert comparison["streams whose comparisons were capped"] > 1_000
    assert any("max_comparisons" in note for note in outcome.report.notes)


def halves(count):
    """Pairs of texts with Jaccard 0.5 to 0.65 by 5 words: one keeps a run of the other's words, then goes on alone."""
    rng = random.Random(5)
    rows = []
    for i in range(count):
        # Of 64 words (60 shingles) the copy keeps 44 to 51 (40 to 47): 40 / 80 = 0.5, 47 / 73 = 0.64.
        words = [f"w{i}x{j}" for j in range(64)]
        kept = rng.randint(44, 51)
        other = words[:kept] + [f"v{i}x{j}" for j in range(64 - kept)]
        rows += [document(" ".join(words), 0, f"{i}a"), document(" ".join(other), 0, f"{i}b")]
    return rows


def test_pairs_at_a_low_threshold_meet(tmp_path):
    """With 25 bands of 5, as were used whatever the threshold, only 55 % of the pairs at 0.5 met."""
    rows = halves(600)
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    alike = [jaccard(shingle_set(a["text"], 5), shingle_set(b["text"], 5)) for a, b in pairs]
    assert min(alike) == 0.5 and max(alike) < 0.65
    data = dataset(rows, tmp_path / "in")
    found = dedup(data, DedupConfig(threshold=0.5), StageContext(tmp_path / "out"))
    # Expected is the sum of (1 - s^5)^125 over the pairs: about 2.
    expected = sum((1 - s**5) ** 125 for s in alike)
    assert 600 - found.report.dropped <= expected + 3 * expected**0.5 + 1 < 12
    assert "125 bands of 5: 99.92% of the pairs at or above 0.5" in " ".join(found.report.notes)
    before = dedup(data, DedupConfig(threshold=0.5, bands=25, rows_per_band=5), StageContext(tmp_path / "before"))
    assert before.report.dropped < 480
