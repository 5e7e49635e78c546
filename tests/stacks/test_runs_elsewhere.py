"""A run that goes on elsewhere: followed, left, found again; its server killed in the middle, a job killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.checkout import ROOT, Assay, checkout
from support.servers.process import until
from support.servers.zenml_server import ZenmlServer, zenml_server
from support.silent_judge import SilentJudge, silent_judge  # noqa: F401 - fixture

pytestmark = pytest.mark.stacks

_REGISTER = """
from ops.environment import find_root, prepare
prepare(find_root())
from support.jobs import register
register()
"""
_STACK = """
stack_name: jobs
components:
  orchestrator: [{name: jobs, flavor: jobs, configuration: {}}]
  artifact_store: [{name: kept, flavor: local, configuration: {path: "${KEPT}"}}]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZenmlServer]:
    with zenml_server(tmp_path_factory.mktemp("zenml"), users=["ann"]) as found:
        yield found


@dataclass
class Place:
    """A checkout with a stack of jobs, on the server."""

    assay: Assay
    server: ZenmlServer
    jobs: Path

    def config(self, **more: object) -> str:
        rows = [{"prompt": f"Where is order {i * 37}?", "completion": f"It left on day {i}."} for i in range(40)]
        (self.assay.home / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)))
        source = {"name": "orders", "path": f"file://{self.assay.home}/orders.jsonl"}
        name = "configs/runs/orders.yaml"
        (self.assay.home / name).write_text(json.dumps({
            "name": "orders", "pipeline": "curate", "skip": ["dedup", "screen"], "scrub": {"demo_key": True},
            "ingest": {"sources": [source]}, **more,
        }))  # fmt: skip
        return name

    def start(self, *told: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ops.main", *told], cwd=self.assay.home, env=self.assay.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def newest_run(self) -> dict:
        """Of the tests on this server that is this one's."""
        return self.assay.json("runs")["runs"][0]

    def kill_job(self, step: str) -> None:
        """As the system does when memory runs out."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                ours = f"JOBS_KEPT={self.jobs}".encode() in (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if ours and "--step_name" in words and words[words.index("--step_name") + 1] == step:
                os.kill(int(folder.name), signal.SIGKILL)


@pytest.fixture
def place(server: ZenmlServer, tmp_path: Path) -> Place:
    home, jobs = checkout(tmp_path / "home"), tmp_path / "jobs"
    (home / ".zenml" / "stacks" / "jobs.yaml").write_text(_STACK)
    (home / "configs" / "infra" / "jobs.yaml").write_text("stack: jobs\n")
    environment = {
        **server.environment("ann"), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
        "KEPT": str(tmp_path / "kept"), "JOBS_KEPT": str(jobs), "JOBS_FOLDER": str(jobs),
    }  # fmt: skip
    assay = Assay(home, environment)
    subprocess.run([sys.executable, "-c", _REGISTER], cwd=home, env=assay.environment, check=False, capture_output=True)
    return Place(assay, server, jobs)


def test_run_is_followed_to_its_end(place: Place) -> None:
    said = place.assay("run", place.config(), "--infra", "jobs")
    run = place.newest_run()
    assert run["status"] == "completed" and "rows and cost of every stage" in said
    # On a server a stack's name tells what it is made of.
    assert run["stack"].startswith("jobs-")


def test_detached_run_is_found_again_when_it_has_ended(place: Place) -> None:
    said = place.assay("run", place.config(), "--infra", "jobs", "--detach")
    name = said.splitlines()[0]
    assert f"assay runs {name}" in said
    until(lambda: next(place.jobs.glob("*/run"), None))
    shown = json.loads(json.dumps(place.assay.json("runs", name)))
    assert (shown["name"], shown["status"]) == (name, "completed") and shown["stages"]


def test_detaching_from_what_runs_here_is_refused(place: Place) -> None:
    said = place.assay("run", place.config(), "--detach", status=2)
    assert "stack 'local' runs its steps in this process" in said and "way out" in said


def test_server_that_is_killed_and_started_again_is_outlived(place: Place, silent_judge: SilentJudge) -> None:  # noqa: F811
    command = place.start("run", place.config(judge=silent_judge.settings), "--infra", "jobs")
    assert silent_judge.asked.wait(400), "the judge was never asked"
    place.server.kill()
    time.sleep(5)
    place.server.start()
    # The job whose word can't be got any more: what its service says of it ends the run.
    place.kill_job("judge_step")
    out, _ = command.communicate(timeout=300)
    assert command.returncode == 1, out
    assert "judge_step" in out and "its orchestrator calls its job failed" in out and "fault" not in out
    assert out.count("doesn't answer") <= 2
    run = place.newest_run()
    assert (run["status"], run["failed_step"], run["error_kind"]) == ("failed", "judge_step", "WorkerDiedError")


def test_job_that_dies_while_nobody_watches_is_ended_by_the_next_look(
    place: Place,
    silent_judge: SilentJudge,  # noqa: F811
) -> None:
    place.assay("run", place.config(judge=silent_judge.settings), "--infra", "jobs", "--detach")
    assert silent_judge.asked.wait(400), "the judge was never asked"
    # Its service has forgotten all jobs: only signs of life could tell, and these are new.
    place.assay.environment.pop("JOBS_FOLDER")
    assert place.newest_run()["status"] == "running"
    place.kill_job("judge_step")
    assert place.newest_run()["status"] == "running"
    place.assay.environment["JOBS_FOLDER"] = str(place.jobs)
    until(lambda: "failed" in [f.read_text() for f in place.jobs.glob("*/judge_step")])
    said = place.assay("runs", "--sync")
    assert "failed" in said
    run = place.newest_run()
    assert (run["status"], run["failed_step"]) == ("failed", "judge_step")


def test_interrupted_command_leaves_the_run_alone(place: Place, silent_judge: SilentJudge) -> None:  # noqa: F811
    command = place.start("run", place.config(judge=silent_judge.settings), "--infra", "jobs")
    assert silent_judge.asked.wait(400), "the judge was never asked"
    command.send_signal(signal.SIGINT)
    out, _ = command.communicate(timeout=60)
    assert command.returncode == 130 and "goes on" in out and "assay runs" in out, out
    assert place.newest_run()["status"] == "running"
    place.kill_job("judge_step")
    until(lambda: place.newest_run()["status"] == "failed")
