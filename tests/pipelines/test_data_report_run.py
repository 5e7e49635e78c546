"""A look at data as a run: the same report as the command's, and nothing to train on left behind."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.main import app
from ops.run import run
from ops.run_index import artifacts_of, find_run, report_path
from ops.versions import newest_completed
from pipelines.dataset import find_dataset
from steps.contracts.data_report import DataReport
from steps.contracts.errors import InputNotFoundError
from steps.contracts.runs import RunRecord

ROOT = Path(__file__).resolve().parents[2]
THINGS = ("apples", "bridges", "candles", "deserts", "engines", "forests", "glaciers", "harbours", "islands", "jackets")
pytestmark = pytest.mark.slow


def rows(words: str) -> list[dict[str, str]]:
    return [
        {"prompt": f"Could you tell my neighbour {n} things about {thing} {words}?",
         "completion": f"There are {n} things worth knowing of {thing}, and the first one is how old they are {words}."}
        for n, thing in enumerate(THINGS, 3)
    ]  # fmt: skip


def write(path: Path, values: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(v) + "\n" for v in values))
    return path


def config(folder: Path, **more: object) -> Path:
    values = {"name": "look-at-data", "pipeline": "data_report", "scrub": {"demo_key": True}, **more}
    path = folder / "look.yaml"
    path.write_text(json.dumps(values))
    return path


def report_of(record: RunRecord) -> DataReport:
    (artifact,) = record.of_type("data_report")
    return artifacts_of(ROOT, record).value(artifact, DataReport)


def test_a_run_reports_what_the_command_does(tmp_path: Path) -> None:
    mine, theirs = write(tmp_path / "mine.jsonl", rows("in summer")), write(tmp_path / "theirs.jsonl", rows("at night"))
    mine.write_text(mine.read_text() + "{broken\n")
    exam = write(tmp_path / "exam.jsonl", rows("in summer")[:2])
    leakcheck = {"benchmarks": [{"name": "exam", "path": str(exam)}]}
    sources = [{"name": p.stem, "path": str(p)} for p in (mine, theirs)]
    wanted = {"against": ["theirs"], "goal": "style"}
    look = config(
        tmp_path, ingest={"sources": sources, "max_reject_share": 1.0}, leakcheck=leakcheck, data_report=wanted
    )
    assert run(look, root=ROOT) == 0
    record = find_run(ROOT, None)
    report = report_of(record)
    assert (report.sets, report.rows) == (("mine", "theirs"), (10, 10))
    leaked = report.figure("contamination", "rows that repeat an evaluation file").values
    assert [round(v.value * v.n) for v in leaked] == [2, 0]
    page = report_path(ROOT, record.name).read_text()
    assert "What the data is like" in page

    out = tmp_path / "out"
    arguments = ["data-report", str(mine), "--against", str(theirs), "--out", str(out), "--config", str(look)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    by_command = DataReport.model_validate_json((out / "data_report.json").read_bytes())
    assert by_command == report

    assert newest_completed(ROOT, "look-at-data") is None
    with pytest.raises(InputNotFoundError):
        find_dataset("look-at-data", "look-at-data")


def test_a_dataset_version_is_looked_at_instead_of_sources(tmp_path: Path) -> None:
    source = write(tmp_path / "orders.jsonl", rows("in summer"))
    made = tmp_path / "made.yaml"
    made.write_text(json.dumps({
        "name": "looked-at", "pipeline": "curate", "ingest": {"sources": [{"name": "orders", "path": str(source)}]},
        "scrub": {"demo_key": True},
    }))  # fmt: skip
    assert run(made, root=ROOT) == 0
    digest = newest_completed(ROOT, "looked-at").dataset.digest
    assert run(config(tmp_path, dataset="looked-at"), root=ROOT) == 0
    report = report_of(find_run(ROOT, None))
    assert (report.digest, report.sets, sum(report.rows) > 0) == (digest, ("orders",), True)
    assert not [f for f in report.figures if f.by == "ingest"]
