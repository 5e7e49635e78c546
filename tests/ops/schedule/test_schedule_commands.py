"""The commands, called in this process."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import sample_run
from typer.testing import CliRunner

from ops.main import app
from ops.run_index import save_run
from ops.schedule import moves
from ops.schedule.slots import Result
from ops.schedule.table import open_table
from steps.contracts.runs import ArtifactRecord

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    (tmp_path / "orders.jsonl").write_text('{"prompt": "Where is it?", "completion": "There."}\n')
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "name: tiny\npipeline: curate\nskip: [scrub]\n"
        f"ingest: {{sources: [{{name: orders, path: '{tmp_path}/orders.jsonl'}}]}}\n"
    )
    return str(file)


def invoke(*arguments: str, status: int = 0):
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, (result.stdout, result.stderr, result.exception)
    return result


def told(*arguments: str):
    return json.loads(invoke(*arguments, "--json").stdout)


def add(config: str, *options: str):
    return invoke("schedule", "add", "nightly", config, "--cron", "30 2 * * *", "--tz", "Europe/Berlin", *options)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def test_add_keeps_what_is_said_and_tells_the_next_five(config):
    options = "--catchup none --overlap queue --max-lateness 3h --retries 2 --backoff 90s --timeout 1d6h --if-changed"
    said = add(config, *options.split(), "--fresh-within", "26h", "--alert", "slack:HOOK", "--set", "split.test=0.2")
    assert (
        said.stdout.startswith("added nightly: 30 2 * * * (Europe/Berlin)\nnext: ") and said.stdout.count("T02:30") == 5
    )
    assert "no scheduler serves this state folder" in said.stderr
    (one,) = told("schedule", "list")["schedules"]
    kept = {
        "name": "nightly", "config": config, "cron": "30 2 * * *", "tz": "Europe/Berlin", "catchup": "none",
        "overlap": "queue", "max_lateness": "3h", "retries": 2, "backoff": "1m30s", "timeout": "1d6h",
        "fresh_within": "1d2h", "if_changed": True, "overrides": ["split.test=0.2"],
        "alerts": [{"kind": "slack", "url_env": "HOOK"}], "version": 1, "paused": None, "last": None,
    }  # fmt: skip
    assert {k: one[k] for k in kept} == kept
    assert len(told("schedule", "show", "nightly")["next"]) == 5
    assert (
        "nightly" in invoke("schedule", "list").stdout and "retries: 2" in invoke("schedule", "show", "nightly").stdout
    )


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (["--cron", "99 * * * *"], 2, "cron: '99' is no minute"),
        (["--cron", "0 0 31 2 *"], 2, "never comes"),
        (["--cron", "@daily", "--tz", "Europe/Berln"], 2, "did you mean Europe/Berlin"),
        ([], 2, "needs `cron`, or `on_change`"),
        (["--cron", "@daily", "--timeout", "soon"], 2, "--timeout: 'soon' is no length of time"),
        (["--cron", "@daily", "--stack", "nowhere"], 3, "nowhere"),
        (["--cron", "@daily", "--set", "pipelin=curate"], 2, "did you mean"),
        (["--cron", "@daily", "--alert", "webhook:https://x.example.org/s3cret"], 2, "name the environment variable"),
        (["--cron", "@daily", "--alert-on", "doom"], 2, "alert_on"),
        (["--cron", "@daily", "--max-lateness", "0s"], 2, "max_lateness"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_kept(config, options, status, why):
    refused = invoke("schedule", "add", "nightly", config, *options, status=status)
    assert why in refused.stderr and "s3cret" not in refused.stderr
    assert told("schedule", "list") == {"schedules": []}


def test_names_and_configs_that_wont_do(config):
    assert "No such" not in invoke("schedule", "add", "nightly", "gone.yaml", "--cron", "@daily", status=3).stderr
    assert "name" in invoke("schedule", "add", "Night ly", config, "--cron", "@daily", status=2).stderr
    add(config)
    assert (
        "there is a schedule nightly already"
        in invoke("schedule", "add", "nightly", config, "--cron", "@daily", status=2).stderr
    )
    for command in ("show", "pause", "resume", "run-now", "remove"):
        assert "there are: nightly" in invoke("schedule", command, "nightli", status=3).stderr
    assert "no schedule 'other'" in invoke("schedule", "history", "other", status=3).stderr


def test_paths_are_named_from_any_folder(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke("schedule", "add", "nightly", "tiny.yaml", "--on-change", "orders.jsonl", "--on-change", "s3://b/in/")
    (one,) = told("schedule", "list")["schedules"]
    assert (one["config"], one["on_change"]) == (config, [f"{tmp_path}/orders.jsonl", "s3://b/in/"])
    monkeypatch.chdir(ROOT)
    invoke("schedule", "edit", "nightly", "--config", "configs/runs/smoke.yaml", "--on-change", "examples")
    (one,) = told("schedule", "list")["schedules"]
    assert (one["config"], one["on_change"], one["next"]) == ("configs/runs/smoke.yaml", ["examples"], None)


def test_edit_pause_resume_and_remove_are_versions(config):
    add(config, "--timeout", "2h")
    invoke("schedule", "edit", "nightly", "--cron", "@hourly", "--unset", "timeout")
    invoke("schedule", "pause", "nightly")
    assert "was paused already" in invoke("schedule", "pause", "nightly").stdout
    assert told("schedule", "show", "nightly")["next"] == []
    invoke("schedule", "resume", "nightly")
    assert "wasn't paused" in invoke("schedule", "resume", "nightly").stdout
    assert "nothing to change" in invoke("schedule", "edit", "nightly", status=2).stderr
    assert "no option 'tme'" in invoke("schedule", "edit", "nightly", "--unset", "tme", status=2).stderr
    invoke("schedule", "remove", "nightly")
    versions = told("schedule", "history", "nightly", "--versions")["versions"]
    assert [v["change"] for v in versions] == [
        "added", "edited cron: @hourly, timeout: None", "paused", "resumed", "removed",
    ]  # fmt: skip
    assert versions[1]["spec"]["timeout"] is None and versions[0]["spec"]["timeout"] == "2h"


def test_history_has_a_line_per_slot(config):
    add(config)
    slot = told("schedule", "run-now", "nightly")
    assert slot["state"] == "queued" and slot["origin"] == "manual"
    _, taken = moves.claim(open_table(ROOT), now() + timedelta(minutes=1), 4)
    moves.conclude(
        open_table(ROOT), taken, Result("failed", "no such file: a.jsonl", "tiny-1"), now() + timedelta(minutes=2)
    )
    (line,) = told("schedule", "history", "nightly")["slots"]
    assert (line["at"], line["state"], line["run"]) == (slot["at"], "failed", "tiny-1")
    assert [t["outcome"] for t in line["tries"]] == ["failed"]
    shown = invoke("schedule", "history").stdout
    assert "nightly" in shown and "no such file: a.jsonl" in shown and "tiny-1" in shown
    assert "nightly failed, no such file: a.jsonl: assay schedule history nightly" in invoke("status").stdout.replace(
        "\n", " "
    )


def test_backfill_says_what_it_would_do_and_does_it(config):
    add(config)
    asked = ("schedule", "backfill", "nightly", "--from", "2026-03-28", "--to", "2026-03-30")
    would = told(*asked, "--dry-run")
    assert would["slots"] == ["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]
    assert told("schedule", "history", "nightly")["slots"] == []
    assert told(*asked)["slots"] == would["slots"]
    assert {s["state"] for s in told("schedule", "history", "nightly")["slots"]} == {"queued"}
    assert told(*asked)["slots"] == [], "they wait already"
    assert (
        "is no time"
        in invoke("schedule", "backfill", "nightly", "--from", "soon", "--to", "2026-03-30", status=2).stderr
    )
    future = (now() + timedelta(days=40)).isoformat()
    assert (
        "none is in the future"
        in invoke("schedule", "backfill", "nightly", "--from", future, "--to", future, status=3).stderr
    )


def test_status_tells_what_is_fresh_running_and_needs_a_person(config):
    add(config, "--fresh-within", "1h")
    dataset = ArtifactRecord(step="leakcheck_step", name="curated", type="dataset", uri="x", digest="ab12" * 16)
    record = sample_run.record("quickstart-1")
    rejected = record.registration.model_copy(update={"status": "rejected"})
    save_run(ROOT, record.model_copy(update={"artifacts": (dataset,), "registration": rejected}), "")
    open_table(ROOT)
    with open_table(ROOT).change() as t:
        t.do("UPDATE versions SET since = '2026-01-01T00:00:00Z'")
    found = told("status")
    assert found["schedules"][0]["stale"] and found["scheduler"] == {"serves": False, "seen": None}
    assert [(f["kind"], f["name"]) for f in found["fresh"]] == [("dataset", "quickstart"), ("model", "support")]
    assert [t["command"] for t in found["needs_a_person"]] == [
        "assay scheduler", "assay schedule run-now nightly", "assay report quickstart-1",
    ]  # fmt: skip
    shown = invoke("status").stdout
    assert "no scheduler serves them" in shown and "stale" in shown and "ab12ab12ab12ab12" in shown


def test_status_of_nothing(config):
    shown = invoke("status").stdout
    assert shown.count("nothing") == 2 and shown.count("none") == 2
    assert not (Path(config).parent / "state" / "schedules").exists(), "who looks makes nothing"


def test_check_tells_what_is_new(config):
    add(config, "--fresh-within", "1h", "--alert", "command:true")
    assert "nothing new to tell" in invoke("schedule", "check").stdout
    with open_table(ROOT).change() as t:
        t.do("UPDATE versions SET since = '2026-01-01T00:00:00Z'")
    assert [a["kind"] for a in told("schedule", "check")["alerts"]] == ["stale"]
    assert told("schedule", "check")["alerts"] == []


def test_doctor_names_what_is_wrong(config, monkeypatch):
    def lines():
        result = CliRunner().invoke(app, ["doctor", "--json"])
        return [(c["found"], c["fix"]) for c in json.loads(result.stdout)["checks"] if c["name"] == "schedules"]

    assert lines() == [("none", "")]
    add(config, "--alert", "email:ops@example.org")
    monkeypatch.setenv("ASSAY_SMTP", "smtp://127.0.0.1")
    assert [what for what, _ in lines()] == ["1", "no scheduler serves them"]
    orders = Path(config).with_name("orders.jsonl")
    orders.rename(orders.with_suffix(".away"))
    assert "nightly: a slot would fail now: 1 mistake" in lines()[1][0] and "orders.jsonl" in lines()[1][0]
    monkeypatch.delenv("ASSAY_SMTP")
    Path(config).unlink()
    found = lines()
    assert found[0] == ("1", "") and len(found) == 4
    assert found[1][0].endswith("tiny.yaml is gone") and "ASSAY_SMTP, which email:ops@example.org needs" in found[2][0]
    assert found[3][0] == "no scheduler serves them"


def test_a_damaged_table_and_one_of_a_newer_version(config):
    add(config)
    table = open_table(ROOT).path
    with sqlite3.connect(table) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "written by a newer assay" in invoke("schedule", "list", status=7).stderr
    table.write_bytes(b"rubbish" * 999)
    refused = invoke("schedule", "list", status=7).stderr
    assert "not a table of schedules" in refused and "way out" in refused
    checks = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)["checks"]
    assert any("not a table of schedules" in c["found"] for c in checks)
