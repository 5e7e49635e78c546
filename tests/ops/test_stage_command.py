"""`assay stage`: how inputs are read, and what of a folder is its to overwrite."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ops.main import app

CSV = "Frage,Antwort,Nr.\nWo ist es?,Dort drüben.,1\nWann?,Um drei.,2\n"


def stage(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["stage", *map(str, arguments)])
    return done.exit_code, done.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.txt"
    file.write_text(CSV, encoding="cp1252")
    return file


def test_a_file_is_read_as_the_options_say(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = ("--container", "csv", "--encoding", "cp1252", "--columns", "prompt=Frage, completion=Antwort")
    assert stage("ingest", data, "--out", out, *told)[0] == 0
    rows = pq.read_table(out / "kept.parquet").to_pylist()
    assert [[m["content"] for m in r["messages"]] for r in rows] == [
        ["Wo ist es?", "Dort drüben."],
        ["Wann?", "Um drei."],
    ]
    assert json.loads(rows[0]["meta"]) == {"Nr.": "1"}
    # A later stage reads it the same way.
    assert stage("split", data, "--out", tmp_path / "split", *told)[0] == 0


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--columns", "prompt"], 2, "--columns: 'prompt' is not of the form standard=column"),
        (["--columns", "promt=Frage"], 2, "did you mean 'prompt'?"),
        (["--format", "openapi"], 2, "--format: format: Input should be"),
        (["--encoding", "klingon"], 2, "--encoding: encoding: encoding 'klingon' is unknown"),
        (["--container", "csv", "--columns", "prompt=Farge"], 3, "the columns are 'Frage', 'Antwort'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(data: Path, tmp_path: Path, options: list[str], status: int, said: str) -> None:
    done = stage("ingest", data, "--out", tmp_path / "out", *options)
    assert done[0] == status and said in done[1]


def test_all_columns_are_listed_in_their_order(tmp_path: Path) -> None:
    names = [f"column {n}" for n in range(60, 0, -1)]
    file = tmp_path / "wide.csv"
    file.write_text(",".join([*names, "3.5%"]) + "\n" + ",".join("a" * 61) + "\n")
    said = stage("ingest", file, "--out", tmp_path / "out")[1]
    assert ", ".join(repr(n) for n in names) + ", 1 that look like no name" in said
    assert "--columns prompt=<column>" in said


def test_results_replace_those_of_the_same_stage_only(data: Path, tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out"
    rows.write_text('{"prompt": "a b c", "completion": "d"}\n{"prompt": "e f g", "completion": "h"}\nno row\n' * 8)
    lenient = tmp_path / "lenient.yaml"
    lenient.write_text(f"sources: [{{name: rows, path: {rows}}}]\nmax_reject_share: 0.9\n")
    assert stage("ingest", rows, "--out", out, "--config", lenient)[0] == 0
    assert (out / "rejects.jsonl").exists()
    rows.write_text(rows.read_text().replace("no row\n", ""))
    assert stage("ingest", rows, "--out", out)[0] == 0
    # Of the earlier call nothing is left, and no half-written file either.
    assert sorted(p.name for p in out.iterdir()) == ["kept.parquet", "ledger.parquet", "report.html", "report.json"]
    before = {p: p.read_bytes() for p in out.iterdir()}
    for arguments, said in (
        (("split", out / "kept.parquet"), "the results would overwrite an input"),
        (("dedup", rows), "no results of an earlier `assay stage dedup`, which would overwrite them: kept.parquet"),
    ):
        done = stage(*arguments, "--out", out)
        assert done[0] == 2 and said in done[1] and "another --out folder" in done[1]
    assert {p: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.parametrize("name", ["kept.parquet", "rejects.jsonl", "report.json"])
def test_a_file_of_somebody_else_stays(data: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / name).write_text("{}")
    done = stage("ingest", data, "--out", out)
    assert done[0] == 2 and name in done[1] and (out / name).read_text() == "{}"


def test_an_input_beside_a_config_is_not_passed_over(data: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("sources: [{name: rows, path: rows.jsonl}]\n")
    done = stage("ingest", data, "--out", tmp_path / "out", "--config", config)
    assert done[0] == 2 and "none of the sources of --config" in done[1]


def test_a_call_that_failed_for_its_rejects_may_be_made_again(tmp_path: Path) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out"
    rows.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n')
    assert [stage("ingest", rows, "--out", out)[0] for _ in range(2)] == [3, 3]
    assert [p.name for p in out.iterdir()] == ["rejects.jsonl"]
    assert stage("ingest", rows, "--out", out, "--ingest", "max_reject_share=0.5")[0] == 0


def test_out_that_is_a_file_is_named(data: Path, tmp_path: Path) -> None:
    for out in (data, data / "below"):
        done = stage("ingest", tmp_path, "--out", out)
        assert done[0] in (2, 6) and "file" in done[1] and data.read_text("cp1252") == CSV


@pytest.mark.parametrize("name", ["ingest", "dedup"])
def test_the_first_rejected_rows_are_named_without_their_text(tmp_path: Path, name: str) -> None:
    bad = ['{"prompt": "secret", "completion": null}\n'] * 4 + ['{"prompt": "secret", "completion"\n']
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "How?", "completion": "So."}\n' + "".join(bad))
    status, output = stage(name, path, "--out", tmp_path / "out", "--ingest", "max_reject_share=0.9")
    assert status == 0, output
    empty = "column 'completion' is empty"
    said = output[output.index("rejected: ") :].splitlines()[:6]
    assert said == [
        "rejected: empty_text, 4 rows, such as",
        *(f"  rows/rows.jsonl, line:{n}: {empty}" for n in (2, 3, 4)),
        "rejected: broken_json, 1 row",
        "  rows/rows.jsonl, line:6: Expecting ':' delimiter at character 34 of the row",
    ]
    assert "secret" not in output
