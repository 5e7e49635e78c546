import gzip
import json
import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from support.textrows import chat, dataset, document, ledger_lines, record_ids

from steps.contracts.context import StageContext
from steps.contracts.records import SPLITS
from steps.leakcheck.config import Benchmark, LeakCheckConfig
from steps.leakcheck.leakcheck import leakcheck

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def prose(seed, count):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def with_splits(labelled, folder, shard_rows=None):
    """A dataset of (row, split) pairs; a split of None leaves the row without a label."""
    source = dataset([row for row, _ in labelled], folder / "raw", shard_rows)
    codes = np.array([-1 if s is None else SPLITS.index(s) for _, s in labelled], np.int8)
    return source.select(np.ones(len(labelled), bool), folder / "split", "split", codes)


def run(labelled, folder, root=None, **settings):
    outcome = leakcheck(
        with_splits(labelled, folder), LeakCheckConfig(**settings), StageContext(folder / "out", root or folder)
    )
    return outcome, set(record_ids(outcome.rows)), {line["record_id"]: line for line in ledger_lines(outcome)}


def test_equal_near_and_containing_train_rows_go_and_name_the_held_out_row(tmp_path):
    test_row = chat(prose(1, 40), prose(2, 30))
    same = chat(prose(1, 40).upper(), prose(2, 30) + "!!", locator="same")
    near = chat(prose(1, 40) + " indeed", prose(2, 30), locator="near")
    inside = document(prose(3, 300) + " " + prose(1, 40) + " " + prose(2, 30) + " " + prose(4, 300))
    clean = chat(prose(5, 40), prose(6, 30))
    rows = [(test_row, "test"), *((r, "train") for r in (same, near, inside, clean))]
    outcome, kept, lines = run(rows, tmp_path)
    assert kept == {test_row["record_id"], clean["record_id"]}
    assert outcome.report.dropped_by == {"contains_held_out": 1, "equals_held_out": 1, "near_held_out": 1}
    for row, reason in ((same, "equals_held_out"), (near, "near_held_out"), (inside, "contains_held_out")):
        line = lines[row["record_id"]]
        assert (line["reason"], line["parents"]) == (reason, [test_row["record_id"]])
        assert json.loads(line["evidence"])["against"] == "test"
    assert lines[same["record_id"]]["score"] == lines[inside["record_id"]]["score"] == 1.0
    found = json.loads(lines[inside["record_id"]]["evidence"])
    assert (found["matched_ngrams"], found["longest_match_words"]) == (70 - 12, 70)


def test_scores_are_exact(tmp_path):
    """Against a second implementation: regular expression, tuples of words, Python sets."""
    rng = random.Random(9)
    held = [prose(100 + i, rng.randint(15, 60)) for i in range(60)]
    rows = [(document(t, locator=f"t{i}"), "test") for i, t in enumerate(held)]
    for i, text in enumerate(held * 4):
        share = rng.choice([0.02, 0.05, 0.1, 0.3])
        edited = " ".join(w if rng.random() > share else rng.choice(WORDS) for w in text.split())
        rows.append((document(edited, locator=f"r{i}"), "train"))
    outcome, kept, lines = run(rows, tmp_path, boilerplate_rows=1_000)
    sets = {r["record_id"]: trigrams(r["text"]) for r, _ in rows}
    tests = [r["record_id"] for r, s in rows if s == "test"]
    expected = {}
    for row, split in rows:
        if split == "train":
            mine = sets[row["record_id"]]
            expected[row["record_id"]] = max(len(mine & sets[t]) / len(mine | sets[t]) for t in tests)
    above = {i for i, j in expected.items() if j >= 0.7}
    jaccard = {i: line["score"] for i, line in lines.items() if line["reason"] != "contains_held_out"}
    assert 60 < len(above) < 200
    # a row above the threshold has also kept 0.7 of the held-out row's shingles: Jaccard is the smaller of the two
    assert set(jaccard) == above
    assert jaccard == pytest.approx({i: expected[i] for i in above})
    assert outcome.report.kept == len(kept)


def trigrams(text):
    tokens = re.findall(r"\w+", text)
    return {tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)}


class TestBoilerplate:
    template = prose(50, 120)

    def filled(self, i, split):
        return chat(f"{self.template} {prose(1_000 + i, 12)}", prose(2_000 + i, 4), locator=str(i)), split

    def test_a_template_that_many_train_rows_share_is_not_contamination(self, tmp_path):
        rows = [self.filled(i, "train") for i in range(40)] + [self.filled(99, "test")]
        outcome, kept, _ = run(rows, tmp_path)
        assert len(kept) == 41
        assert outcome.report.counts["boilerplate"]["overlap n-grams ignored"] >= 120 - 12

    def test_a_few_words_of_the_content_in_the_same_template_are_not(self, tmp_path):
        rows = [self.filled(i, "train") for i in range(40)] + [self.filled(99, "test")]
        words = rows[-1][0]["messages"][0]["content"].split()
        half = " ".join(words[:-7]) + " " + prose(7, 7)
        rows.append((chat(half, prose(8, 4)), "train"))
        sets = [trigrams(r["messages"][0]["content"] + " " + r["messages"][1]["content"]) for r, _ in rows[-2:]]
        assert len(sets[0] & sets[1]) >= 0.8 * len(sets[0] | sets[1])
        assert len(run(rows, tmp_path)[1]) == 42

    def test_the_same_content_in_the_same_template_is(self, tmp_path):
        rows = [self.filled(i, "train") for i in range(40)] + [self.filled(99, "test")]
        leaked, _ = self.filled(99, "train")
        leaked["messages"][1]["content"] += " indeed"
        leaked["record_id"] = "leaked"
        rows.append((leaked, "train"))
        _, kept, lines = run(rows, tmp_path)
        assert set(lines) == {"leaked"}
        assert len(kept) == 41

    def test_without_the_rule_the_template_alone_would_count(self, tmp_path):
        rows = [self.filled(i, "train") for i in range(40)] + [self.filled(99, "test")]
        _, kept, _ = run(rows, tmp_path, boilerplate_rows=1_000)
        assert len(kept) == 1

    def test_a_template_of_the_held_out_rows_is_ignored_too(self, tmp_path):
        rows = [self.filled(i, "test") for i in range(40)] + [self.filled(99, "train")]
        assert len(run(rows, tmp_path)[1]) == 41

    def test_an_exact_copy_goes_however_common_its_words_are(self, tmp_path):
        rows = [(document(self.template, locator=str(i)), "train") for i in range(20)]
        _, kept, lines = run([*rows, (document(self.template, locator="t"), "test")], tmp_path)
        assert len(kept) == 1
        assert {line["reason"] for line in lines.values()} == {"equals_held_out"}


def test_held_out_rows_stay_whatever_they_share(tmp_path):
    rows = [(document(prose(1, 40), locator=str(i)), s) for i, s in enumerate(("test", "validation", "train", None))]
    outcome, kept, _ = run(rows, tmp_path)
    assert kept == {rows[0][0]["record_id"], rows[1][0]["record_id"]}
    assert outcome.rows.manifest.splits == {"test": 1, "validation": 1}


def test_row_order_and_sharding_make_no_difference(tmp_path):
    rng = random.Random(3)
    held = [(document(prose(i, 40), locator=f"t{i}"), "test") for i in range(30)]
    held += [(document(prose(i, 40), locator=f"again{i}"), s) for i in range(20) for s in ("validation", "test")]
    train = [(document(prose(i % 60, 40) + " " + prose(500 + i, 8), locator=f"r{i}"), "train") for i in range(120)]
    seen = []
    for i, shard_rows in enumerate((None, 17)):
        rows = rng.sample(held + train, len(held + train))
        outcome = leakcheck(
            with_splits(rows, tmp_path / str(i), shard_rows),
            LeakCheckConfig(),
            StageContext(tmp_path / f"o{i}", tmp_path),
        )
        lines = sorted((x["record_id"], x["reason"], x["evidence"]) for x in ledger_lines(outcome))
        seen.append((outcome.rows.digest, lines, outcome.report.model_dump(exclude={"seconds", "cpu_seconds"})))
    assert seen[0] == seen[1]
    assert len(seen[0][1]) == 60


def test_short_held_out_rows_are_compared_whole_and_told(tmp_path):
    rows = [(chat("2+2?", "four"), "test"), (chat("2+2?", "Four.", locator="x"), "train")]
    rows.append((document("he said 2 2 four and " + prose(1, 30)), "train"))
    outcome, kept, _ = run(rows, tmp_path)
    assert kept == {rows[0][0]["record_id"], rows[2][0]["record_id"]}
    assert any("fewer than 13 words" in note for note in outcome.report.notes)


def test_nothing_held_out_is_said(tmp_path):
    outcome, kept, _ = run([(document("a b c"), "train"), (document("", locator="e"), None)], tmp_path)
    assert len(kept) == 2
    assert any("nothing could leak" in note for note in outcome.report.notes)
    assert run([], tmp_path / "none")[0].report.rows_in == 0


def test_empty_rows_do_not_leak(tmp_path):
    rows = [(document("", locator="1"), "test"), (document(" ", locator="2"), "train")]
    assert len(run(rows, tmp_path)[1]) == 2


def test_chinese(tmp_path):
    text = "今天早上我在市场买了三斤苹果和两斤梨回家以后妈妈把它们洗干净放在桌子上大家一起吃得很开心"
    rows = [(document(text, locator="1"), "test"), (document(text.replace("三斤", "五斤"), locator="2"), "train")]
    rows.append((document("".join(map(chr, range(0x5000, 0x5100))) + text, locator="3"), "train"))
    _, kept, lines = run(rows, tmp_path)
    assert kept == {rows[0][0]["record_id"]}
    assert sorted(line["reason"] for line in lines.values()) == ["contains_held_out", "near_held_out"]


def test_the_report_and_ledger_show_no_text(tmp_path):
    secret = "zeldafitz"
    rows = [(document(f"{prose(1, 40)} {secret}", locator="t"), "test")]
    rows += [(document(f"{prose(1, 40)} {secret} {i}", locator=str(i)), "train") for i in range(3)]
    outcome, _, lines = run(rows, tmp_path)
    assert len(lines) == 3
    assert secret not in outcome.report.model_dump_json() + json.dumps(list(lines.values()))


def test_matched_passages_are_shown_where_text_may_be(tmp_path):
    held = prose(1, 40)
    rows = [(document(held, locator="t"), "test")]
    rows.append((document(f"{prose(3, 50)} {held} {prose(4, 50)}", locator="long"), "train"))
    source = with_splits(rows, tmp_path)
    outcome = leakcheck(source, LeakCheckConfig(), StageContext(tmp_path / "out", tmp_path, scrubbed=True))
    (example,) = outcome.report.examples
    assert example.text == held[:300]
    text = rows[1][0]["text"]
    assert example.evidence["matched"] == [["text", text.index(held), text.index(held) + len(held)]]
    (line,) = ledger_lines(outcome)
    assert json.loads(line["evidence"])["matched"] == example.evidence["matched"]


@pytest.mark.parametrize("kind", ["near", "contained"])
def test_matched_spans_hold_in_the_text_as_it_is(tmp_path, kind):
    """Zero-width characters, combining marks, right-to-left and Chinese before, inside and after the passage."""
    held = "שלום לכולם " + prose(1, 20) + " 今天早上我在市场买了三斤苹果 cafe\u0301 " + prose(2, 10)
    hidden = held.replace(" ", "\u200b \u2060").replace("cafe\u0301", "CAF\u00c9\u00ad")
    extra = {
        "near": ("é\u200b ", " ＥＮＤ"),
        "contained": ("é\u200b今天 " + prose(3, 80) + " ", "ＥＮＤ " + prose(4, 80)),
    }[kind]
    row = chat(extra[0] + hidden, extra[1], locator="x")
    _, _, lines = run([(document(held, locator="t"), "test"), (row, "train")], tmp_path)
    evidence = json.loads(lines[row["record_id"]]["evidence"])
    assert lines[row["record_id"]]["reason"].startswith(kind[:4])
    ((path, start, end),) = evidence["matched"]
    said = row["messages"][0]["content"]
    assert path == "messages/0/content" and said[start:end] == hidden and len(hidden) > len(held)


class TestBenchmarks:
    def test_a_question_inside_a_train_row_is_found_and_named(self, tmp_path):
        (tmp_path / "quiz.jsonl").write_text(
            "".join(json.dumps({"q": prose(10 + i, 30), "a": "x"}) + "\n" for i in range(3))
        )
        rows = [(chat("please solve: " + prose(11, 30), prose(5, 80)), "train"), (document(prose(6, 60)), "train")]
        bench = Benchmark(name="quiz", path="quiz.jsonl", columns=("q",))
        outcome, kept, lines = run(rows, tmp_path, benchmarks=(bench,))
        assert kept == {rows[1][0]["record_id"]}
        line = lines[rows[0][0]["record_id"]]
        evidence = json.loads(line["evidence"])
        assert (evidence["against"], evidence["witness"], line["parents"]) == ("quiz", "row:2", [])
        assert outcome.report.tables[0].rows == (("quiz", 3, 1, 0, 0, 1),)

    def test_names_must_differ(self):
        with pytest.raises(ValidationError, match="must differ"):
            LeakCheckConfig(benchmarks=(Benchmark(name="test", path="x"),))

    @pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt", ".parquet", ".json", ".tsv", ".jsonl.gz", ".txt.gz"])
    def test_a_question_is_found_from_every_kind_of_file(self, tmp_path, suffix):
        texts = [prose(10 + i, 30) for i in range(3)]
        path = tmp_path / f"quiz{suffix}"
        if suffix == ".parquet":
            pq.write_table(pa.table({"q": texts, "n": [1, 2, 3]}), path)
        else:
            content = {
                ".jsonl": "".join(json.dumps({"q": t}) + "\n" for t in texts),
                ".json": json.dumps([{"q": t} for t in texts]),
                ".csv": "n,q\n" + "".join(f'{n},"{t}"\n' for n, t in enumerate(texts)),
                ".tsv": "n\tq\n" + "".join(f"{n}\t{t}\n" for n, t in enumerate(texts)),
                ".txt": "".join(f"{t}\n" for t in texts),
            }[suffix.removesuffix(".gz")].encode()
            path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
        row = document(f"{prose(5, 80)} {texts[1]} {prose(6, 80)}")
        clean = document(prose(7, 60))
        bench = Benchmark(name="quiz", path=path.name)
        _, kept, lines = run([(row, "train"), (clean, "train")], tmp_path, benchmarks=(bench,))
        assert kept == {clean["record_id"]}
        evidence = json.loads(lines[row["record_id"]]["evidence"])
        assert evidence["witness"] == "row:2" and evidence["matched_ngrams"] >= 30 - 13
        ((_, start, end),) = evidence["matched"]
        assert texts[1] in row["text"][start:end]

    def test_boilerplate_of_a_benchmark_is_not_contamination_and_its_content_is(self, tmp_path):
        """Both sides at once: instructions that all questions share, and a footer that all train rows share."""
        instructions, footer = prose(60, 40), prose(61, 40)
        questions = [f"{instructions} {prose(70 + i, 25)}" for i in range(30)]
        (tmp_path / "quiz.txt").write_text("".join(f"{q}\n" for q in [*questions, f"{footer} {prose(200, 25)}"]))
        rows = [(document(f"{prose(300 + i, 60)} {footer}", locator=str(i)), "train") for i in range(30)]
        rows += [(document(f"{instructions} {prose(400 + i, 25)}", locator=f"i{i}"), "train") for i in range(5)]
        leaked = document(f"{instructions} {prose(75, 25)} {footer}", locator="leaked")
        bench = Benchmark(name="quiz", path="quiz.txt")
        _, kept, lines = run([*rows, (leaked, "train")], tmp_path, benchmarks=(bench,))
        assert set(lines) == {leaked["record_id"]} and len(kept) == 35
        assert json.loads(lines[leaked["record_id"]]["evidence"])["witness"] == "row:6"

    def test_a_lone_half_of_a_surrogate_pair_hides_nothing(self, tmp_path):
        (tmp_path / "quiz.jsonl").write_text('{"q": "\\ud800 ' + prose(9, 30) + '"}\n')
        row = document(f"{prose(5, 80)} {prose(9, 30)}")
        bench = Benchmark(name="quiz", path="quiz.jsonl")
        _, kept, _ = run([(row, "train")], tmp_path, benchmarks=(bench,))
        assert not kept
