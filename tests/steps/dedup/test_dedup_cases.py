import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from support.textrows import chat, dataset, document, ledger_lines, preference, record_ids

from steps.contracts.context import StageContext
from steps.contracts.dataset import DatasetWriter
from steps.contracts.records import SCHEMA, make_row, message
from steps.dedup.config import DedupConfig
from steps.dedup.dedup import dedup

LONG = "when the river rose in spring the old bridge carried nobody across for eleven days and the ferry earned well"


def run(rows, folder, **settings):
    outcome = dedup(dataset(rows, folder / "in"), DedupConfig(**settings), StageContext(folder / "out"))
    return outcome, set(record_ids(outcome.rows)), {line["record_id"]: line for line in ledger_lines(outcome)}


def test_case_and_punctuation_are_exact_duplicates(tmp_path):
    a, b = document(LONG, locator="1"), document(LONG.upper() + " !!", locator="2")
    outcome, kept, lines = run([a, b], tmp_path)
    first, second = sorted((a, b), key=lambda r: r["content_id"])
    assert kept == {first["record_id"]}
    line = lines[second["record_id"]]
    assert (line["reason"], line["score"], line["parents"]) == ("exact_duplicate", 1.0, [first["record_id"]])
    assert outcome.report.dropped_by == {"exact_duplicate": 1}


def test_an_earlier_batch_wins_whatever_the_hashes_say(tmp_path):
    for batches in ((0, 1), (1, 0)):
        rows = [document(LONG, batches[0], "1"), document(LONG + ".", batches[1], "2")]
        _, kept, _ = run(rows, tmp_path / str(batches))
        assert kept == {rows[batches.index(0)]["record_id"]}


def test_copies_of_a_dropped_row_name_the_kept_one(tmp_path):
    kept_row = document(LONG, 0, "1")
    near = [document(LONG + " indeed", 1, "2"), document(LONG + " Indeed!", 2, "3")]
    _, kept, lines = run([kept_row, *near], tmp_path)
    assert kept == {kept_row["record_id"]}
    for row in near:
        line = lines[row["record_id"]]
        assert line["reason"] == "near_duplicate"
        assert line["parents"] == [kept_row["record_id"]]
        assert 0.7 <= line["score"] < 1.0


def test_no_chaining(tmp_path):
    """b is near a, c is near b but not near a: c stays, since b is gone."""
    words = LONG.split()
    a, b, c = (" ".join(words[i : i + 17]) for i in (0, 2, 4))
    rows = [document(t, i, str(i)) for i, t in enumerate((a, b, c))]
    _, kept, lines = run(rows, tmp_path, threshold=0.7, ngram_documents=2)
    assert kept == {rows[0]["record_id"], rows[2]["record_id"]}
    assert lines[rows[1]["record_id"]]["parents"] == [rows[0]["record_id"]]


def test_twenty_thousand_identical_rows(tmp_path):
    rows = [document(LONG, locator=str(i)) for i in range(20_000)]
    outcome, kept, _ = run(rows, tmp_path)
    assert kept == {min(r["record_id"] for r in rows)}
    assert outcome.report.dropped_by == {"exact_duplicate": 19_999}
    assert outcome.report.tables[0].rows == ((min(kept), 19_999),)
    assert outcome.report.cpu_seconds < 20


def test_rows_of_one_character_and_empty_ones(tmp_path):
    texts = ["a", "b", "A", "", " \n", "!", "?", "1"]
    rows = [document(t, i, str(i)) for i, t in enumerate(texts)]
    _, kept, _ = run(rows, tmp_path)
    assert [r["text"] for r in rows if r["record_id"] in kept] == ["a", "b", "", "!", "?", "1"]


def test_chinese_near_duplicates_are_found_and_different_texts_are_not(tmp_path):
    text = "今天早上我在市场买了三斤苹果和两斤梨回家以后妈妈把它们洗干净放在桌子上大家一起吃得很开心"
    other = "昨天晚上他坐火车去北京开会路上一直在读一本关于古代建筑的书直到很晚才睡觉第二天又起得很早"
    rows = [document(text, 0, "1"), document(text.replace("两斤梨", "两斤桃"), 1, "2"), document(other, 2, "3")]
    _, kept, lines = run(rows, tmp_path)
    assert kept == {rows[0]["record_id"], rows[2]["record_id"]}
    assert lines[rows[1]["record_id"]]["reason"] == "near_duplicate"


def test_an_empty_dataset(tmp_path):
    outcome, kept, lines = run([], tmp_path)
    assert (outcome.report.rows_in, kept, lines) == (0, set(), {})


def test_kinds_are_not_mixed(tmp_path):
    rows = [document(f"{LONG}\n\nyes", 0, "1"), chat(LONG, "yes")]
    assert len(run(rows, tmp_path / "exact")[1]) == 2
    rows = [document(f"{LONG}\n\nyes indeed", 0, "1"), chat(LONG, "yes")]
    assert len(run(rows, tmp_path / "near", ngram_documents=3)[1]) == 2


def judged(answer, label, number):
    turns = [message("user", "Tell me a story"), message("assistant", answer)]
    return make_row(
        kind="unpaired_preference", source="s", locator=str(number), raw=b"", messages=turns, label=label, batch=number
    )  # fmt: skip


def test_an_answer_that_is_wanted_and_unwanted_is_a_contradiction_and_no_duplicate(tmp_path):
    rows = [judged(LONG, True, 1), judged(LONG, False, 2), judged(f"{LONG} ", False, 3), judged(f"{LONG} So.", True, 4)]
    outcome, kept, lines = run(rows, tmp_path)
    first, second, copy, near = (r["record_id"] for r in rows)
    assert kept == {first, second}
    assert outcome.report.flagged_by == {"contradiction": 2}
    assert (lines[copy]["reason"], lines[near]["reason"]) == ("exact_duplicate", "near_duplicate")
    assert len(run([judged(LONG, True, 1), chat("Tell me a story", LONG)], tmp_path / "kinds")[1]) == 2


def test_a_preference_and_its_reverse_are_a_contradiction_and_no_duplicates(tmp_path):
    good, bad = LONG, "no"
    rows = [preference("Tell me a story", good, bad), preference("Tell me a story", bad, good)]
    outcome, kept, lines = run(rows, tmp_path)
    assert len(kept) == 2
    assert outcome.report.flagged_by == {"contradiction": 2}
    assert {line["reason"] for line in lines.values()} == {"contradiction"}


def test_two_pairs_for_one_prompt_do_not_contradict(tmp_path):
    rows = [preference("Name a colour", "blue", "loud"), preference("Name a colour", "blue", "heavy")]
    assert run(rows, tmp_path)[0].report.flagged == 0


class TestContradictions:
    @staticmethod
    def rows():
        return [
            chat("What is 3 + 4?", "7", 0, "a"),
            chat("What is 3 + 4?", "8, as everybody knows by now", 1, "b"),
            chat("what is  3 + 4?", "7.", 2, "c"),
            chat("What is 3 - 4?", "it must be minus one", 3, "d"),
        ]

    def test_flag(self, tmp_path):
        a, b, _, d = rows = self.rows()
        outcome, kept, lines = run(rows, tmp_path)
        assert kept == {a["record_id"], b["record_id"], d["record_id"]}
        assert outcome.report.flagged_by == {"contradiction": 2}
        assert json.loads(lines[b["record_id"]]["evidence"]) == {"answers": 2, "first": a["record_id"]}

    def test_keep_first(self, tmp_path):
        a, b, c, d = rows = self.rows()
        outcome, kept, lines = run(rows, tmp_path, contradictions="keep_first")
        assert kept == {a["record_id"], d["record_id"]}
        assert lines[b["record_id"]]["reason"] == "contradiction"
        assert lines[b["record_id"]]["parents"] == [a["record_id"]]
        assert lines[c["record_id"]]["reason"] == "exact_duplicate"
        assert outcome.report.dropped_by == {"contradiction": 1, "exact_duplicate": 1}

    def test_a_row_that_goes_is_no_witness(self, tmp_path):
        rows = [chat("Tell it.", "no", 0), chat("Tell it.", LONG, 1), chat("Please tell it.", LONG, 2)]
        outcome, kept, _ = run(rows, tmp_path, contradictions="keep_first")
        assert kept == {rows[0]["record_id"], rows[2]["record_id"]}
        assert outcome.report.dropped_by == {"contradiction": 1}

    def test_drop_all(self, tmp_path):
        rows = self.rows()
        outcome, kept, _ = run(rows, tmp_path, contradictions="drop_all")
        assert kept == {rows[3]["record_id"]}
        assert outcome.report.dropped_by == {"contradiction": 3}

    def test_one_hidden_by_a_near_duplicate_is_told(self, tmp_path):
        rows = [chat("was it spring", LONG, 0), chat("was it spring", LONG + " indeed", 1)]
        outcome, kept, lines = run(rows, tmp_path)
        assert kept == {rows[0]["record_id"]}
        assert json.loads(lines[rows[1]["record_id"]]["evidence"])["contradicts"] is True
        assert lines[rows[0]["record_id"]]["verdict"] == "flagged"
        assert outcome.report.counts["contradictions"]["dropped as duplicates"] == 1

    @pytest.mark.parametrize(
        ("prompt", "one", "other"),
        [
            ("Write max", "return a if a > b else b", "return a if a < b else b"),
            ("Sum", "for i in range(n): s += x[i]", "for i in range(n): s -= x[i]"),
            ("How much?", "It is 5% of it", "It is 5 of it"),
            (LONG + " how much", "5", "6"),
            (LONG + " was it spring", "yes", "no"),
            (LONG + " was it", f"It is {LONG}", f"It is not: {LONG} + 1"),
            ("Indent", "if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ],
    )
    @pytest.mark.parametrize("symbols", [False, True, "code"])
    def test_answers_that_contradict_each_other_are_no_duplicates(self, tmp_path, prompt, one, other, symbols):
        if prompt == "Indent" and not symbols:
            pytest.skip("indentation is looked at in code only")
        rows = [chat(prompt, one, 0), chat(prompt, other, 1)]
        outcome, kept, lines = run(rows, tmp_path, symbols=symbols)
        assert kept == {r["record_id"] for r in rows}
        assert outcome.report.flagged_by == {"contradiction": 2}
        assert {line["reason"] for line in lines.values()} == {"contradiction"}

    def test_answers_that_differ_in_marks_of_prose_do_not_contradict(self, tmp_path):
        rows = [chat("Greet", "Hello, *world*!", 0), chat("Greet", "hello world", 1)]
        outcome, kept, _ = run(rows, tmp_path)
        assert kept == {rows[0]["record_id"]}
        assert (outcome.report.flagged, outcome.report.dropped_by) == (0, {"exact_duplicate": 1})

    def test_preferences_whose_rejected_answers_differ_in_a_sign_are_both_kept(self, tmp_path):
        rows = [preference("Max", "none", "a > b"), preference("Max", "none", "a < b")]
        assert len(run(rows, tmp_path)[1]) == 2

    def test_rows_without_an_answer_contradict_nothing(self, tmp_path):
        rows = [
            make_row(kind="conversation", source="s", locator=str(i), raw=b"", messages=[message("user", q)])
            for i, q in enumerate(("only a question", "another question"))
        ]
        assert run(rows, tmp_path)[0].report.flagged == 0


def test_compare_prompt_and_answer(tmp_path):
    same_prompt = [chat(LONG, "red", 0), chat(LONG, "blue", 1)]
    assert len(run(same_prompt, tmp_path / "p", compare="prompt")[1]) == 1
    assert len(run(same_prompt, tmp_path / "a", compare="answer")[1]) == 2
    same_answer = [chat("first question", LONG, 0), chat("a second one", LONG, 1)]
    assert len(run(same_answer, tmp_path / "x", compare="answer")[1]) == 1
    assert len(run(same_answer, tmp_path / "y", compare="prompt")[1]) == 2


def test_symbols_count_when_asked(tmp_path):
    rows = [document("you and me: us", 0, "1"), document("you and me - us", 1, "2")]
    assert len(run(rows, tmp_path / "off")[1]) == 1
    assert len(run(rows, tmp_path / "on", symbols=True)[1]) == 2


CODE = ("if a:\n    b()\nc()", "if a:\n    b()\n    c()")
FENCED = tuple(f"So it is done:\n```\n{word}\n```" for word in ("x - y", "x , y"))


@pytest.mark.parametrize("pair", [CODE, FENCED, ("a + b = c", "a - b = c"), ("x(1); y(2);", "x(1), y[2];")])
def test_symbols_and_indentation_count_in_code_by_default(tmp_path, pair):
    rows = [document(text, number, str(number)) for number, text in enumerate(pair)]
    assert len(run(rows, tmp_path / "off", symbols=False)[1]) == 1
    assert len(run(rows, tmp_path / "on", symbols=True, near=False)[1]) == 2
    outcome, kept, _ = run(rows, tmp_path / "default", near=False)
    assert len(kept) == 2
    assert outcome.report.counts["symbols"]["rows compared with their symbols"] == 2
    assert outcome.report.counts["symbols"]["rows kept that differ from another kept row in symbols only"] == 2


@pytest.mark.parametrize("meta", [{"language": "Python"}, {"id": 3, "programming_language": "c++"}, {"lang": "sql"}])
def test_a_language_in_meta_makes_a_row_code(tmp_path, meta):
    rows = [
        make_row(kind="document", source="s", locator=t, raw=t.encode(), text=t, meta=meta, batch=n)
        for n, t in enumerate(("a - b", "a b"))
    ]
    assert len(run(rows, tmp_path)[1]) == 2
    spoken = [{**r, "meta": json.dumps({"language": "en"})} for r in rows]
    assert len(run(spoken, tmp_path / "spoken")[1]) == 1


def test_rows_dropped_that_differ_in_symbols_only_are_counted(tmp_path):
    rows = [document(LONG + mark, n, str(n)) for n, mark in enumerate(("", "", " !", "?"))]
    outcome, _, _ = run(rows, tmp_path)
    told = outcome.report.counts["symbols"]
    assert told["rows dropped that differ from their kept row in symbols only"] == 2
    assert any(note.startswith("2 of the rows dropped as exact") for note in outcome.report.notes)


def test_near_off_leaves_near_duplicates(tmp_path):
    rows = [document(LONG, 0, "1"), document(LONG + " indeed", 1, "2"), document(LONG + "!", 2, "3")]
    outcome, kept, _ = run(rows, tmp_path, near=False)
    assert kept == {rows[0]["record_id"], rows[1]["record_id"]}
    assert any("near: false" in note for note in outcome.report.notes)


def test_the_report_shows_no_text(tmp_path):
    secret = "zelda.fitz@example.org"
    rows = [document(f"{LONG} write to {secret} soon {i}", i, str(i)) for i in range(4)]
    outcome, kept, _ = run(rows, tmp_path)
    assert len(kept) == 1
    assert len(outcome.report.examples) == 3
    assert "zelda" not in outcome.report.model_dump_json()
    assert "zelda" not in pq.read_table(outcome.ledger.path).to_pandas().to_json()


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0}, {"threshold": 1.1}, {"bands": 0}, {"contradictions": "x"}, {"k": 1}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        DedupConfig(**wrong)


def test_hostile_rows_go_through(tmp_path):
    """A row of 50 MB, rows of NULs, right-to-left and mixed scripts, and a word split by invisible characters."""
    long = "lorem ipsum dolor " * 2_900_000
    texts = [long, "\x00" * 50, "\x00\x01 a", "שלום עולם שלום עולם hello", "مرحبا بالعالم ab", "pass\u200bword one two"]
    texts += [long.upper(), "password one two", "مرحبا بالعالم AB"]
    rows = [document(t, i, str(i)) for i, t in enumerate(texts)]
    _, kept, lines = run(rows, tmp_path)
    assert [i for i, r in enumerate(rows) if r["record_id"] in kept] == [0, 1, 2, 3, 4, 5]
    assert {line["reason"] for line in lines.values()} == {"exact_duplicate"}


@pytest.mark.slow
def test_a_million_identical_rows(tmp_path):
    n = 1_000_000
    row = document(LONG)
    table = pa.Table.from_pylist([row], schema=SCHEMA)
    many = table.take(pa.array(np.zeros(n, np.int64)))
    ids = pa.array([f"{i:032x}" for i in range(n)], pa.string())
    many = many.set_column(0, SCHEMA.field("record_id"), ids)
    writer = DatasetWriter(tmp_path / "in", "ingest")
    writer.write(many)
    outcome = dedup(writer.close(), DedupConfig(), StageContext(tmp_path / "out"))
    assert record_ids(outcome.rows) == [f"{0:032x}"]
    assert outcome.report.dropped_by == {"exact_duplicate": n - 1}
    assert outcome.report.tables[0].rows == ((f"{0:032x}", n - 1),)
