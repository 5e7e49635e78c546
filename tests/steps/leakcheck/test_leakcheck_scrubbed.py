"""Replaced values in train rows against benchmarks that hold the values."""

import json

from support.textrows import dataset, document, ledger_lines, record_ids
from test_leakcheck_finds import prose

from steps.contracts.context import StageContext
from steps.leakcheck.config import Benchmark, LeakCheckConfig
from steps.leakcheck.leakcheck import leakcheck
from steps.scrub.config import ScrubConfig
from steps.scrub.scrub import scrub

MAIL = "jane.doe@mail.example.org"


def question(words):
    half = words // 2
    return f"{prose(1, half)} {MAIL} {prose(2, words - half)}"


def checked(folder, words, scrubbed_file):
    """Outcome of the check of a long row with the question in it, after scrub, and the clean row's id."""
    settings = ScrubConfig(demo_key=True, entities=("EMAIL_ADDRESS",))
    clean = document(prose(4, 100), locator="clean")
    rows = [document(f"{prose(3, 100)} {question(words)}", locator="leaked"), clean]
    after = scrub(dataset(rows, folder / "rows"), settings, StageContext(folder / "scrubbed")).rows
    if scrubbed_file:
        quiz = dataset([document(question(words), locator="q")], folder / "quiz")
        scrub(quiz, settings, StageContext(folder / "quiz scrubbed")).rows.export_parquet(folder / "quiz.parquet")
        bench = Benchmark(name="quiz", path="quiz.parquet", columns=("text",))
    else:
        (folder / "quiz.jsonl").write_text(json.dumps({"text": question(words)}) + "\n")
        bench = Benchmark(name="quiz", path="quiz.jsonl")
    outcome = leakcheck(
        after, LeakCheckConfig(benchmarks=(bench,)), StageContext(folder / "out", folder, scrubbed=True)
    )
    return outcome, clean["record_id"]


def test_a_long_question_is_found_though_a_value_in_it_was_replaced(tmp_path):
    outcome, clean = checked(tmp_path, 60, scrubbed_file=False)
    assert record_ids(outcome.rows) == [clean]
    assert MAIL not in outcome.report.model_dump_json()
    assert any("not in the benchmark files" in note for note in outcome.report.notes)


def test_a_short_question_is_found_when_the_benchmark_was_scrubbed_as_well(tmp_path):
    outcome, clean = checked(tmp_path, 20, scrubbed_file=True)
    assert record_ids(outcome.rows) == [clean]
    (line,) = ledger_lines(outcome)
    assert (line["reason"], line["score"]) == ("contains_held_out", 1.0)
