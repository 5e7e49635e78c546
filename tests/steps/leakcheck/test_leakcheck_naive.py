"""The whole check against a second implementation in plain Python: sets of tuples of words, every pair looked at."""

import json
import random

import pytest
from support.textrows import chat, document, ledger_lines
from test_leakcheck_finds import with_splits

from steps.contracts.context import StageContext
from steps.contracts.records import text_of
from steps.engines.text.normalise import words
from steps.leakcheck.config import Benchmark, LeakCheckConfig
from steps.leakcheck.leakcheck import leakcheck

SMALL = {"ngram": 2, "overlap_ngram": 4, "boilerplate_share": 0.0}
ALPHABETS = [
    list("abcdefghij"),
    [f"wort{i}" for i in range(60)],
    ["今", "天", "早", "上", "市", "场", "é", "שלום", "x"],
]


def grams(said, n):
    return {tuple(said[i : i + n]) for i in range(max(len(said) - n + 1, 1))} if said else set()


def common_to_more(sets, limit):
    """What is in more of the sets than that."""
    count = {}
    for one in sets:
        for gram in one:
            count[gram] = count.get(gram, 0) + 1
    return {gram for gram, number in count.items() if number > limit}


def longest_run(said, n, wanted):
    """(first word, number of words) of the longest run of n-grams that are wanted; the first of equals."""
    best = (0, 0)
    ends = [tuple(said[i : i + n]) in wanted for i in range(max(len(said) - n + 1, 1))]
    for start in range(len(ends)):
        length = next((k for k, hit in enumerate(ends[start:]) if not hit), len(ends) - start)
        if length > best[1]:
            best = (start, length)
    return (best[0], min(best[1] + n - 1, len(said) - best[0])) if best[1] else (0, 0)


def naive(held, train, config):
    """Train row -> (reason, witness, score, first word, words). `held` and `train`: name -> words."""
    held, train = ({k: v for k, v in sorted(rows.items()) if v} for rows in (held, train))
    found = {}
    for n, least, exact in ((config.ngram, config.threshold, True), (config.overlap_ngram, config.overlap, False)):
        own = {h: grams(said, n) for h, said in held.items() if exact or len(said) >= n}
        theirs = {t: grams(said, n) for t, said in train.items()}
        ignored = common_to_more(theirs.values(), config.boilerplate_rows)
        ignored |= common_to_more(own.values(), config.boilerplate_rows)
        for t, mine in theirs.items():
            if t in found:
                continue
            equal = [h for h, said in held.items() if said == train[t]]
            if equal:
                found[t] = ("equals_held_out", equal[0], 1.0, 0, len(train[t]))
                continue
            best = None
            for h, its in own.items():
                special = its - ignored
                if not special or len(special & mine) < least * len(special) - 1e-9:
                    continue
                score = len(its & mine) / len(its | mine) if exact else len(special & mine) / len(special)
                if score >= least - 1e-9 and (best is None or score > best[1]):
                    best = (h, score)
            if best:
                run = longest_run(train[t], n, own[best[0]] - ignored)
                found[t] = ("near_held_out" if exact else "contains_held_out", *best, *run)
    return found


def rows_by_chance(rng):
    """Held-out and train rows out of pieces of one another, in a template that some share."""
    alphabet = rng.choice(ALPHABETS)
    template = rng.choices(alphabet, k=rng.randint(0, 6))
    bodies = [rng.choices(alphabet, k=rng.randint(0, 14)) for _ in range(rng.randint(1, 12))]
    rows = []
    for number in range(rng.randint(2, 30)):
        body = list(rng.choice(bodies))
        for _ in range(rng.randint(0, 3)):
            body.insert(rng.randint(0, len(body)), rng.choice(alphabet))
        said = [*(template if rng.random() < 0.5 else []), *body]
        text = " ".join(said)
        make = rng.choice([lambda t, n: document(t, locator=n), lambda t, n: chat(t, t[: len(t) // 3], locator=n)])
        rows.append((make(text, str(number)), rng.choice(["train", "train", None, "test", "validation"])))
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_every_finding_is_the_naive_one(tmp_path, seed):
    """`seen` counts what the cases held, so that they can't all be empty."""
    rng = random.Random(seed)
    seen = {"equals_held_out": 0, "near_held_out": 0, "contains_held_out": 0, "kept": 0}
    for case in range(25):
        rows = rows_by_chance(rng)
        config = LeakCheckConfig(
            **SMALL, boilerplate_rows=rng.choice([1, 3, 100]), threshold=rng.choice([0.4, 0.7]), overlap=0.5,
            benchmarks=(Benchmark(name="quiz", path=f"{case}.jsonl"),),
        )  # fmt: skip
        quiz = [text_of(row) for row, _ in rows_by_chance(rng)] + ["never said before"]
        (tmp_path / f"{case}.jsonl").write_text("".join(json.dumps({"q": q}) + "\n" for q in quiz))
        held = {
            (split, row["record_id"]): words(text_of(row)) for row, split in rows if split in ("test", "validation")
        }
        held |= {("quiz", f"row:{i}"): words(q) for i, q in enumerate(quiz, 1) if q.strip()}
        train = {row["record_id"]: words(text_of(row)) for row, split in rows if split in ("train", None)}
        expected = naive(held, train, config)
        outcome = leakcheck(
            with_splits(rows, tmp_path / f"v{case}", 7), config, StageContext(tmp_path / f"o{case}", tmp_path)
        )
        said = {row["record_id"]: row for row, _ in rows}
        found = {}
        for line in ledger_lines(outcome):
            evidence = json.loads(line["evidence"])
            row = said[line["record_id"]]
            parts = {
                "text": row["text"],
                **{f"messages/{i}/content": m["content"] for i, m in enumerate(row["messages"])},
            }
            passage = [w for path, start, end in evidence["matched"] for w in words(parts[path][start:end])]
            witness = (evidence["against"], evidence["witness"])
            found[line["record_id"]] = (line["reason"], witness, pytest.approx(line["score"]), passage)
        meant = {t: (reason, h, score, train[t][a : a + n]) for t, (reason, h, score, a, n) in expected.items()}
        assert found == meant
        for reason, *_ in expected.values():
            seen[reason] += 1
        seen["kept"] += len(train) - len(expected)
    assert min(seen.values()) >= 4, seen
