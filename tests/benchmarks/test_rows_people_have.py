"""Ours reads every file of the table that compares loaders as it must be read, and says what it can't read."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from bench_rows import as_truth, judged
from rows import CASES, Case

from steps.contracts.context import StageContext
from steps.ingest.config import IngestConfig, SourceConfig
from steps.ingest.ingest import ingest
from steps.ingest.rejects import REJECTS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_no_row_is_lost_changed_or_trained_by_mistake(case: Case, tmp_path: Path) -> None:
    file = tmp_path / case.file
    case.write(file)
    config = IngestConfig(sources=(SourceConfig(name="x", path=str(file)),), max_reject_share=0.5)
    done = ingest(None, config, StageContext(tmp_path / "out"))
    assert as_truth(list(done.rows.iter_rows())) == list(case.rows)
    rejects = tmp_path / "out" / REJECTS
    assert len(rejects.read_text().splitlines()) == case.lost


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([{"spans": [["<|user|>Which platform?<|end|>", False], ["Platform 9.<|end|>", True]]}], "misread"),
        ([], "misread"),
    ],
)
def test_a_loader_that_trains_what_it_must_not_is_told(rows, outcome) -> None:
    case = next(c for c in CASES if c.file == "weight.jsonl")
    assert judged(case, {"rows": rows, "skipped": 0}).outcome == outcome
