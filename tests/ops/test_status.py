"""What `assay status` counts of runs; of schedules it is in tests/ops/schedule."""

import json
from pathlib import Path

import reviewed_run
from typer.testing import CliRunner

from ops.main import app

ROOT = Path(__file__).resolve().parents[2]


def test_rows_that_nobody_has_decided_about_need_a_person(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    run = reviewed_run.build(ROOT, tmp_path / "work")
    record = reviewed_run.save(run, 'name: quickstart\nscrub: {"demo_key": true}\n')

    def told():
        result = CliRunner().invoke(app, ["status", "--json"])
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["needs_a_person"]

    assert told() == [{"what": "quickstart set 4 rows aside", "command": f"assay review {record.name}"}]
    said = tmp_path / "said.jsonl"
    said.write_text(
        "".join(json.dumps({"record_id": row["record_id"], "choice": "drop"}) + "\n" for row in run.rows[:3])
    )
    done = CliRunner().invoke(app, ["review", record.name, "--decide", str(said), "--by", "Ada", "--json"])
    assert done.exit_code == 0, done.stderr
    assert [t["what"] for t in told()] == ["quickstart set 1 row aside"]
