"""Schedules as CronJobs: made, listed back from the cluster's API, edited, paused, fired by hand, removed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers.kube import kubernetes_api

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.stacks
CONFIG = "configs/runs/sums.yaml"
CRON = ("--cron", "30 6 * * MON-FRI", "--tz", "Europe/Berlin")


@pytest.fixture
def cluster(tmp_path):
    with kubernetes_api(tmp_path) as found:
        yield found


@pytest.fixture
def home(tmp_path):
    """A checkout of its own: configs, stacks, one run config."""
    (tmp_path / "home" / "configs" / "runs").mkdir(parents=True)
    (tmp_path / "home" / ".zenml").mkdir()
    for name in ("pipelines", "steps", "materializers", "ops", "pyproject.toml"):
        (tmp_path / "home" / name).symlink_to(ROOT / name)
    (tmp_path / "home" / "configs" / "infra").symlink_to(ROOT / "configs" / "infra")
    (tmp_path / "home" / ".zenml" / "stacks").symlink_to(ROOT / ".zenml" / "stacks")
    rows = [{"prompt": f"What is {n} plus {n}?", "completion": f"It is {2 * n}."} for n in range(30)]
    (tmp_path / "home" / "rows-2026-03-28.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "home" / "configs" / "runs" / "sums.yaml").write_text(json.dumps({
        "name": "sums", "pipeline": "curate", "skip": ["dedup", "scrub", "screen", "judge"],
        "ingest": {"sources": [{"name": "sums", "path": "rows-{slot-1d:%Y-%m-%d}.jsonl"}]},
    }))  # fmt: skip
    return tmp_path / "home"


@pytest.fixture
def assay(home, cluster):
    """The command, as its users have it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_", "ASSAY_"))}
    environment = {
        **kept, **cluster.environment, "ASSAY_STATE": str(home / "state"), "ASSAY_ROOT": str(home),
        "PYTHONPATH": str(ROOT), "ASSAY_IMAGE": "registry.example.org/team/assay:1",
        "ASSAY_KUBERNETES_CONTEXT": cluster.context, "ASSAY_ARTIFACTS": "s3://bucket/runs",
        "ASSAY_REGISTRY": "registry.example.org/team", "ASSAY_PII_KEY": "not-for-a-pod-spec",
    }  # fmt: skip

    def call(*told, status=0, **more):
        done = subprocess.run(
            [sys.executable, "-m", "ops.main", *map(str, told)], cwd=home, env={**environment, **more},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    call.environment = environment
    return call


def test_cronjob_is_made_listed_edited_paused_and_removed(assay, cluster, home):
    told = assay("schedule", "add", "nightly", CONFIG, *CRON, "--infra", "kubernetes",
                 "--on", "service", "--set", "ingest.max_reject_share=0.5", "--timeout", "6h",
                 "--retries", "2")  # fmt: skip
    assert "added nightly" in told
    (job,) = cluster.objects("CronJob")
    spec = job["spec"]
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("assay-nightly", "zenml")
    assert (spec["schedule"], spec["timeZone"]) == ("30 6 * * 1,2,3,4,5", "Europe/Berlin")
    assert (spec["concurrencyPolicy"], spec["suspend"]) == ("Forbid", False)
    assert "startingDeadlineSeconds" not in spec
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["activeDeadlineSeconds"] == 6 * 3600 and spec["jobTemplate"]["spec"]["backoffLimit"] == 2
    (container,) = pod["containers"]
    assert container["image"] == "registry.example.org/team/assay:1"
    assert [*container["command"], *container["args"]] == [
        "assay", "run", CONFIG, "--slot", "job:$(ASSAY_JOB)@Europe/Berlin",
        "--schedule", "nightly", "--infra", "kubernetes", "--set", "ingest.max_reject_share=0.5",
    ]  # fmt: skip
    assert {"name": "ASSAY_ARTIFACTS", "value": "s3://bucket/runs"} in container["env"]
    assert "not-for-a-pod-spec" not in json.dumps(job)

    shown = json.loads(assay("schedule", "show", "nightly", "--json"))
    assert shown["on"] == "kubernetes" and shown["overlap"] == "queue"
    assert shown["service"] == ["fired by a CronJob in namespace zenml"]

    assay("schedule", "edit", "nightly", "--cron", "15 7 * * *", "--catchup", "none", "--max-lateness", "20m")
    (job,) = cluster.objects("CronJob")
    assert (job["spec"]["schedule"], job["spec"]["startingDeadlineSeconds"]) == ("15 7 * * *", 1200)
    assay("schedule", "edit", "nightly", "--catchup", "latest")
    (job,) = cluster.objects("CronJob")
    assert "startingDeadlineSeconds" not in job["spec"], "what was taken out is gone there, too"

    assay("schedule", "pause", "nightly")
    assert cluster.objects("CronJob")[0]["spec"]["suspend"] is True
    assay("schedule", "resume", "nightly")
    assert cluster.objects("CronJob")[0]["spec"]["suspend"] is False

    assay("schedule", "remove", "nightly")
    assert cluster.objects("CronJob") == []
    assert json.loads(assay("schedule", "list", "--json"))["schedules"] == []


def test_what_somebody_changed_in_the_cluster_is_drift_and_remove_works_when_it_is_gone(assay, cluster, home):
    from kubernetes import client, config

    assay("schedule", "add", "nightly", CONFIG, *CRON, "--infra", "kubernetes", "--on", "service")
    api = client.BatchV1Api(config.new_client_from_config(cluster.environment["KUBECONFIG"]))
    api.patch_namespaced_cron_job("assay-nightly", "zenml", {"spec": {"schedule": "0 5 * * *", "suspend": True}},
                                     _preload_content=False)  # fmt: skip
    told = assay("schedule", "list")
    assert "drift: spec.schedule: 0 5 * * * there, 30 6 * * 1,2,3,4,5 here" in told
    assert "drift: spec.suspend: True there, False here" in told
    assay("schedule", "edit", "nightly")
    assert "drift" not in assay("schedule", "show", "nightly")
    api.delete_namespaced_cron_job("assay-nightly", "zenml")
    assert "it is gone there" in assay("schedule", "show", "nightly")
    assert "had no such schedule any more" in assay("schedule", "remove", "nightly")


def test_cronjob_of_another_state_folder_is_left_alone(assay, cluster, home):
    assay("schedule", "add", "nightly", CONFIG, *CRON, "--infra", "kubernetes", "--on", "service")
    before = cluster.objects("CronJob")
    told = assay("schedule", "add", "nightly", CONFIG, "--cron", "@hourly", "--infra", "kubernetes",
                 "--on", "service", status=2, ASSAY_STATE=str(home / "other"))  # fmt: skip
    assert "isn't of this state folder" in told and cluster.objects("CronJob") == before


def test_command_of_the_job_runs_the_slot_that_its_name_says(assay, cluster, home):
    """No kubelet here: the pod's command is executed by hand, its variables filled in as Kubernetes does."""
    assay("schedule", "add", "nightly", CONFIG, *CRON, "--infra", "local", "--on", "kubernetes")
    told = assay("schedule", "run-now", "nightly")
    (job,) = cluster.objects("Job")
    assert job["metadata"]["name"] in told
    # As the controller names the Job of the slot 2026-03-29T06:30+02:00: its minute, counted from 1970.
    name = f"assay-nightly-{1774758600 // 60}"
    pod = job["spec"]["template"]["spec"]["containers"][0]
    args = [a.replace("$(ASSAY_JOB)", name) for a in pod["args"]]
    assay(*args)
    (slot,) = json.loads(assay("schedule", "history", "nightly", "--json"))["slots"]
    assert (slot["at"], slot["state"]) == ("2026-03-29T06:30+02:00", "ran")
    assert slot["run"].startswith("sums-")


def test_cron_that_kubernetes_would_take_otherwise_is_refused_and_nothing_is_kept(assay, cluster, home):
    told = assay("schedule", "add", "nightly", CONFIG, "--cron", "30 2 * * *", "--tz", "Europe/Berlin",
                 "--infra", "kubernetes", "--on", "service", status=2)  # fmt: skip
    assert "when clocks change in Europe/Berlin" in told and "--on scheduler" in told
    told = assay("schedule", "add", "nightly", CONFIG, "--cron", "99 99 * * *", "--infra", "kubernetes",
                 "--on", "service", status=2)  # fmt: skip
    assert "is no minute" in told
    told = assay("schedule", "add", "nightly", CONFIG, *CRON, "--infra", "kubernetes",
                 "--on", "service", "--overlap", "skip", "--backoff", "5m", status=2)  # fmt: skip
    assert "overlap: skip (it has queue); backoff" in told
    assert cluster.objects("CronJob") == []
    assert json.loads(assay("schedule", "list", "--json"))["schedules"] == []


def test_every_command_of_the_walk_through_is_done(assay, cluster, home):
    (home / "examples").symlink_to(ROOT / "examples")
    shutil.copy(ROOT / "configs" / "runs" / "smoke.yaml", home / "configs" / "runs")
    text = (
        (ROOT / "docs" / "schedules.md").read_text().partition("## On a service's own clock")[2].partition("\n## ")[0]
    )
    commands = re.findall(
        r"^    assay (.+--infra kubernetes.+|schedule .+ mornings.*|schedule list)$", text, flags=re.M
    )
    assert len(commands) == 8
    told = {command: assay(*shlex.split(command)) for command in commands}
    assert "drift" not in told["schedule list"] and "fired by a CronJob" in told["schedule list"]
    assert cluster.objects("CronJob") == [] and len(cluster.objects("Job")) == 1
