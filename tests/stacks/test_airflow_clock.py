"""Schedules as DAGs: parsed by Airflow, fired by its clock, listed back from its server, edited, paused, removed."""

import time

import pytest
from support.checkout import Assay, checkout, rows, sums
from support.servers.airflow import airflow
from support.servers.process import until

pytestmark = pytest.mark.stacks


@pytest.fixture
def home(tmp_path):
    home = checkout(tmp_path / "home")
    # Steps and launchers as processes: no Docker here.
    (home / "configs" / "infra" / "airflow.yaml").unlink()
    operator = "{operator: process_operator.ProcessOperator, operator_args: {mount_tmp_dir: false}}"
    (home / "configs" / "infra" / "airflow.yaml").write_text(
        f"extends: _containers\nstack: airflow\nsettings: {{orchestrator: {operator}}}\n"
    )
    return home


@pytest.fixture
def assay(home):
    return Assay(home, {
        "ASSAY_IMAGE": "registry.example.org/team/assay:1", "ASSAY_ARTIFACTS": "s3://bucket/runs",
        "ASSAY_REGISTRY": "registry.example.org/team", "ASSAY_PII_KEY": "not-for-a-dag",
    })  # fmt: skip


def test_airflows_clock_fires_the_slots_of_a_schedule(assay, home, tmp_path):
    (home / "sums.jsonl").write_text(rows(30))
    config = sums(home, "sums.jsonl")
    with airflow(tmp_path / "airflow", home, assay.environment) as server:
        assay.environment |= server.environment
        told = assay("schedule", "add", "often", config, "--cron", "* * * * *", "--tz", "Europe/Berlin",
                     "--infra", "local", "--on", "airflow")  # fmt: skip
        assert "added often" in told
        text = (server.dags / "assay-often.py").read_text()
        assert "not-for-a-dag" not in text
        until(lambda: [d for d in server.ask("/dags")["dags"] if d["dag_id"] == "assay-often"], 120)
        shown = assay.json("schedule", "show", "often")
        assert shown["service"] == [f"fired by a DAG in {server.dags}"], "nothing drifts, and Airflow parsed it"

        def ended():
            runs = server.ask("/dags/assay-often/dagRuns")["dag_runs"]
            return [r for r in runs if r["state"] in ("success", "failed") and r["run_type"] == "scheduled"]

        fired = until(ended, 240)
        assay("schedule", "pause", "often")
        assert fired[0]["state"] == "success"
        slots = assay.json("schedule", "history", "often")["slots"]
        ran = [s for s in slots if s["state"] == "ran"]
        assert ran and all(s["run"].startswith("sums-") and s["origin"] == "cron" for s in ran)
        # The slot is the moment that Airflow's run stands for, by the clock of the schedule's zone.
        assert fired[0]["logical_date"].replace("Z", "")[:16] in {_utc(s["at"]) for s in ran}

        until(lambda: _paused_there(server), 60)
        before = len(server.ask("/dags/assay-often/dagRuns")["dag_runs"])
        assay("schedule", "edit", "often", "--cron", "0 9 * * MON", "--catchup", "none", "--max-lateness", "10m")
        assay("schedule", "resume", "often")
        until(lambda: "0 9 * * 1" in str(server.ask("/dags/assay-often/details")["timetable_description"] or "")
              or "0 9 * * 1" in str(server.ask("/dags/assay-often/details")["timetable_summary"]), 60)  # fmt: skip
        time.sleep(10)
        assert len(server.ask("/dags/assay-often/dagRuns")["dag_runs"]) == before, "an edit fires nothing of the past"
        assay("schedule", "remove", "often")
        assert not list(server.dags.glob("*.py"))


def _utc(at):
    from datetime import UTC, datetime

    return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M")


def _paused_there(server):
    said = server.ask("/dags/assay-often/details")["timetable_summary"]
    return said is None or "* * * * *" not in said


def test_file_that_was_changed_or_removed_is_drift(assay, home, tmp_path):
    config = sums(home, "sums.jsonl")
    (home / "sums.jsonl").write_text(rows(3))
    assay.environment["ASSAY_AIRFLOW_DAGS"] = str(tmp_path / "dags")
    given = ("--cron", "30 6 * * *", "--tz", "Europe/Berlin", "--infra", "s3", "--on", "airflow")
    assay.environment["ASSAY_S3_PATH"] = "s3://bucket/here"
    assay("schedule", "add", "nightly", config, *given, "--set", "name=a{{b}}c", status=2)
    assay("schedule", "add", "nightly", config, *given)
    file = tmp_path / "dags" / "assay-nightly.py"
    file.write_text(file.read_text().replace('"30 6 * * *"', '"30 7 * * *"'))
    assert "drift: values.cron: 30 7 * * * there, 30 6 * * * here" in assay("schedule", "list")
    told = assay("schedule", "add", "nightly", config, *given, status=2, ASSAY_STATE=str(home / "other"))
    assert "isn't of this state folder" in told
    told = assay("schedule", "add", "early", config, "--cron", "30 2 * * *", *given[2:], status=2)
    assert "when clocks change" in told
    assert "only Airflow's server can start a DAG now" in assay("schedule", "run-now", "nightly", status=2)
    file.unlink()
    assert "it is gone there" in assay("schedule", "show", "nightly")
    assert "had no such schedule any more" in assay("schedule", "remove", "nightly")
