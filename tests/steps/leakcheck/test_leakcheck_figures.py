"""Figures and words of the leak check, worked out by hand on rows of numbered words."""

import json

import numpy as np
from support.textrows import chat, dataset, document, ledger_lines

from steps.contracts.context import StageContext
from steps.contracts.digests import value_digest
from steps.contracts.outcome import Outcome
from steps.contracts.records import SPLITS, Row
from steps.leakcheck import heldout
from steps.leakcheck.config import Benchmark, LeakCheckConfig
from steps.leakcheck.leakcheck import leakcheck


def said(letter: str, count: int, first: int = 0) -> str:
    return " ".join(f"{letter}{i}" for i in range(first, first + count))


def checked(labelled: list[tuple[Row, str | None]], folder, scrubbed: bool = False, **settings) -> Outcome:
    source = dataset([row for row, _ in labelled], folder / "raw", 2)
    codes = np.array([-1 if s is None else SPLITS.index(s) for _, s in labelled], np.int8)
    version = source.select(np.ones(len(labelled), bool), folder / "split", "split", codes)
    config = LeakCheckConfig(**{"overlap_ngram": 4, **settings})
    return leakcheck(version, config, StageContext(folder / "out", folder, scrubbed=scrubbed))


def evidence_of(outcome: Outcome) -> dict[str, dict]:
    return {line["record_id"]: json.loads(line["evidence"]) for line in ledger_lines(outcome)}


# Ten words: eight shingles of three words, seven n-grams of four.
HELD = document(said("w", 10), locator="held")
EQUAL = document(said("W", 10) + ".", locator="equal")
# One word more: 8 shared of 9 shingles.
NEAR = document(said("w", 10) + " more", locator="near")
# Seven of the ten words: 4 of 7 n-grams.
INSIDE = document(f"{said('a', 20)} {said('w', 7)} {said('b', 20)}", locator="inside")
# Six of them: 3 of 7, less than half.
CLEAN = document(f"{said('c', 20)} {said('w', 6)} {said('d', 20)}", locator="clean")


def test_each_reason_with_its_figures(tmp_path) -> None:
    rows = [(r, "train") for r in (INSIDE, EQUAL, CLEAN, NEAR)]
    found = checked([*rows, (HELD, "test")], tmp_path)
    against = {"against": "test", "witness": HELD["record_id"]}
    at = len(said("a", 20)) + 1
    assert evidence_of(found) == {
        EQUAL["record_id"]: {**against, "jaccard": 1.0, "matched": [["text", 0, len(said("w", 10))]]},
        NEAR["record_id"]: {
            **against, "jaccard": 0.888889, "own_shingles_shared": 1.0, "matched": [["text", 0, len(said("w", 10))]]
        },
        INSIDE["record_id"]: {
            **against, "overlap": 0.571429, "matched_ngrams": 4, "ngram": 4, "longest_match_words": 7,
            "matched": [["text", at, at + len(said("w", 7))]],
        },
    }  # fmt: skip
    lines = {line["record_id"]: line for line in ledger_lines(found)}
    assert {i: (line["verdict"], line["reason"], line["score"], line["parents"]) for i, line in lines.items()} == {
        EQUAL["record_id"]: ("dropped", "equals_held_out", 1.0, [HELD["record_id"]]),
        NEAR["record_id"]: ("dropped", "near_held_out", 8 / 9, [HELD["record_id"]]),
        INSIDE["record_id"]: ("dropped", "contains_held_out", 4 / 7, [HELD["record_id"]]),
    }
    assert (found.rows.folder, found.rows.manifest.stage) == (tmp_path / "out", "leakcheck")
    assert found.ledger.path == tmp_path / "out" / "ledger.parquet"
    assert {line["stage"] for line in lines.values()} == {"leakcheck"}


def test_the_report(tmp_path) -> None:
    (tmp_path / "quiz.txt").write_text(f"{said('q', 3)}\n\n{said('r', 30)}\n")
    rows = [(r, "train") for r in (INSIDE, EQUAL, CLEAN, NEAR)] + [(chat("v0", "v1 v2 v3"), "validation")]
    bench = Benchmark(name="quiz", path="quiz.txt")
    found = checked([*rows, (HELD, "test"), (document("", locator="e"), "test")], tmp_path, benchmarks=(bench,)).report
    assert (found.stage, found.rows_in, found.kept, found.dropped) == ("leakcheck", 7, 4, 3)
    assert list(found.dropped_by.items()) == [("contains_held_out", 1), ("equals_held_out", 1), ("near_held_out", 1)]
    assert found.counts == {
        "checked": {"train rows": 4, "quiz rows": 2, "test rows": 1, "validation rows": 1},
        "boilerplate": {
            "shingles ignored": 0, "overlap n-grams ignored": 0, "limit in train rows": 10, "limit in held-out rows": 10
        },
    }  # fmt: skip
    (histogram,) = found.histograms
    assert histogram.edges == tuple(i / 20 for i in range(21))
    # 4/7 = 0.571, 8/9 = 0.889 and 1.
    assert {i: n for i, n in enumerate(histogram.counts) if n} == {11: 1, 17: 1, 19: 1}
    assert (histogram.title, histogram.unit) == (
        "Dropped train rows: similarity to the held-out row",
        "Jaccard (equals, near) or share of the held-out row's n-grams (contains)",
    )
    (table,) = found.tables
    assert table.title == "Train rows dropped, by what they repeat"
    assert table.columns == (
        "held-out source", "rows", "rows repeated in train", "equals_held_out", "near_held_out", "contains_held_out"
    )  # fmt: skip
    assert table.rows == (("quiz", 2, 0, 0, 0, 0), ("test", 1, 1, 1, 1, 1), ("validation", 1, 0, 0, 0, 0))
    assert [(e.record_id, e.reason, e.text) for e in found.examples] == [
        (EQUAL["record_id"], "equals_held_out", ""), (NEAR["record_id"], "near_held_out", ""),
        (INSIDE["record_id"], "contains_held_out", ""),
    ]  # fmt: skip
    assert found.examples[1].evidence == {
        "against": "test", "witness": HELD["record_id"], "jaccard": 0.888889, "own_shingles_shared": 1.0,
        "matched": [["text", 0, len(said("w", 10))]],
    }  # fmt: skip
    # Of the quiz the row of three words is short; four are enough.
    assert found.notes == (
        "1 held-out rows have fewer than 4 words: they are compared as whole rows, and not found inside longer train"
        " rows.",
    )
    config = LeakCheckConfig(overlap_ngram=4, benchmarks=(bench,))
    assert found.config_digest == value_digest(config.model_dump(mode="json"))


def test_notes(tmp_path) -> None:
    (tmp_path / "quiz.txt").write_text(f"{said('r', 30)}\n")
    bench = (Benchmark(name="quiz", path="quiz.txt"),)
    train = (CLEAN, None)
    assert checked([train], tmp_path / "none").report.notes == (
        "Nothing is held out: no validation or test rows and no benchmark, so nothing could leak.",
    )
    assert checked([train, (HELD, "test")], tmp_path / "test", scrubbed=True).report.notes == (
        "No benchmark file was named: train rows were checked against validation and test rows only.",
    )
    (tmp_path / "both").mkdir()
    (tmp_path / "quiz.txt").rename(tmp_path / "both" / "quiz.txt")
    assert checked([train], tmp_path / "both", scrubbed=True, benchmarks=bench).report.notes == (
        "Personal data was replaced in the train rows and not in the benchmark files: what holds some matches less."
        " Name files that assay stage scrub made, under the same settings and key, to compare like with like.",
    )


def test_thresholds_are_met_where_they_are_reached_exactly(tmp_path) -> None:
    # 9 words are 7 shingles; with three words more they are 7 of 10: 0.7.
    near = [(document(said("w", 9), locator="t"), "test"), (document(said("w", 12), locator="n"), "train")]
    assert len(ledger_lines(checked(near, tmp_path / "near", overlap=1.0))) == 1
    assert not ledger_lines(checked(near, tmp_path / "far", threshold=0.70001, overlap_ngram=10))
    # 11 words are 8 n-grams of four; 7 of the words are 4 of them: 0.5.
    inside = [(document(said("w", 11), locator="t"), "test"), (INSIDE, "train")]
    assert evidence_of(checked(inside, tmp_path / "half"))[INSIDE["record_id"]]["overlap"] == 0.5
    assert not ledger_lines(checked(inside, tmp_path / "more", overlap=0.50001))


def test_what_more_rows_share_than_the_limit_is_boilerplate(tmp_path) -> None:
    # "t0 t1 t2 t3": two shingles of three, one n-gram of four.
    held = document(f"{said('t', 4)} {said('u', 10)}", locator="held")
    train = [(document(f"{said('t', 4)} {said(x, 10)}", locator=x), "train") for x in "abc"]

    def boilerplate(name: str, **settings) -> list[int]:
        rows = [(held, "test"), (document(said("z", 9), locator="z"), "validation"), *train]
        return list(checked(rows, tmp_path / name, **settings).report.counts["boilerplate"].values())

    assert boilerplate("many", boilerplate_rows=2, boilerplate_share=0.0) == [2, 1, 2, 2]
    assert boilerplate("few", boilerplate_rows=3, boilerplate_share=0.0) == [0, 0, 3, 3]
    # Three rows are no more than all of three: the share decides where it allows more than the number.
    assert boilerplate("share", boilerplate_rows=0, boilerplate_share=1.0) == [0, 0, 3, 2]
    # No held-out row may hold one: all 12 and 7 shingles, all 11 and 6 n-grams.
    assert boilerplate("least", boilerplate_rows=0, boilerplate_share=0.34) == [19, 17, 1, 0]


def test_boilerplate_of_held_out_rows_is_counted_apart(tmp_path) -> None:
    held = [(document(f"{said('t', 4)} {said(x, 10)}", locator=x), "test") for x in "abc"]
    found = checked([*held, (CLEAN, "train")], tmp_path, boilerplate_rows=2, boilerplate_share=0.0)
    assert found.report.counts["boilerplate"]["shingles ignored"] == 2
    assert found.report.counts["boilerplate"]["overlap n-grams ignored"] == 1


def test_the_first_of_equal_held_out_rows_by_name_is_the_witness(tmp_path) -> None:
    twins = [document(said("w", 10), locator=x) for x in "xyz"]
    rows = [(twins[0], "validation"), (twins[1], "test"), (twins[2], "test"), (EQUAL, "train")]
    (line,) = ledger_lines(checked(rows, tmp_path))
    assert line["parents"] == [min(t["record_id"] for t in twins[1:])]


def test_a_row_of_equal_words_is_no_near_one_and_a_near_one_is_not_looked_into(tmp_path) -> None:
    # Nearly the first and, by its end, wholly the second.
    second = document(said("w", 4, first=7), locator="second")
    rows = [(HELD, "test"), (second, "test"), (document(said("w", 11), locator="both"), "train"), (EQUAL, "train")]
    assert sorted(line["reason"] for line in ledger_lines(checked(rows, tmp_path))) == [
        "equals_held_out", "near_held_out"
    ]  # fmt: skip


def test_a_benchmark_is_read_to_its_end_some_rows_at_a_time(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(heldout, "_BATCH_ROWS", 2)
    (tmp_path / "quiz.txt").write_text("".join(f"{said(x, 10)}\n" for x in "pqrst"))
    rows = [(document(said("t", 10), locator="t"), "train"), (document(said("p", 10), locator="p"), "train")]
    found = checked(rows, tmp_path, benchmarks=(Benchmark(name="quiz", path="quiz.txt"),))
    assert {e["witness"] for e in evidence_of(found).values()} == {"row:5", "row:1"}
    assert found.report.counts["checked"]["quiz rows"] == 5


def test_passages_of_several_texts_are_joined_and_cut(tmp_path) -> None:
    held, row = chat(said("w", 5), said("x", 5), locator="h"), chat(said("w", 5), said("x", 5) + " y", locator="r")
    (example,) = checked([(held, "test"), (row, "train")], tmp_path / "two", scrubbed=True).report.examples
    assert example.text == f"{said('w', 5)}\n\n{said('x', 5)}"
    long = said("w", 200)
    rows = [(document(long, locator="h"), "test"), (document(long + " y", locator="r"), "train")]
    (example,) = checked(rows, tmp_path / "long", scrubbed=True).report.examples
    assert example.text == long[:300]


def test_three_of_each_reason_are_shown_by_id(tmp_path) -> None:
    near = [document(f"{said('w', 10)} {x}", locator=x) for x in "abcde"]
    equal = [document(said("w", 10), locator=x) for x in "abcd"]
    found = checked([(HELD, "test"), *((r, "train") for r in (*near, *equal))], tmp_path).report
    assert [e.record_id for e in found.examples] == [
        *sorted(r["record_id"] for r in equal)[:3], *sorted(r["record_id"] for r in near)[:3]
    ]  # fmt: skip
    assert found.dropped_by == {"equals_held_out": 4, "near_held_out": 5}
