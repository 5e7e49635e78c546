"""Stack `server`: two users of one ZenML server on MariaDB, one MLflow server and one bucket, at the same time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import outcomes
from support.servers.mariadb import mariadb
from support.servers.mlflow_server import mlflow_server
from support.servers.zenml_server import ZenmlServer, python, zenml_server
from support.silent_judge import SilentJudge, silent_judge  # noqa: F401 - fixture

pytestmark = pytest.mark.stacks
TOKENS_PROCESSED = "report: train_report: counts: training: tokens processed"


@dataclass(frozen=True)
class Team:
    """What a team shares."""

    server: ZenmlServer
    mlflow: str

    def environment(self, user: str, store: str) -> dict[str, str]:
        shared = {"ASSAY_ARTIFACTS": store, "MLFLOW_TRACKING_URI": self.mlflow}
        return {**self.server.environment(user), **shared}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    python()
    folder = tmp_path_factory.mktemp("team")
    with (
        mariadb(folder / "mariadb") as database,
        zenml_server(folder / "zenml", f"{database}/zenml", ["ann", "bob", "eve"]) as server,
        mlflow_server(folder / "mlflow") as mlflow,
    ):
        yield Team(server, mlflow)


def versions(team: Team) -> list[str]:
    """Of the model that configs/runs/smoke.yaml registers."""
    from mlflow import MlflowClient

    found = MlflowClient(team.mlflow, registry_uri=team.mlflow).search_model_versions("name='smoke'")
    return [v.version for v in found]


def test_two_users_at_once_have_the_run_of_one_alone(
    team: Team, s3: str, tmp_path: Path, reference: outcomes.Outcome
) -> None:
    def whole(user: str) -> str:
        environment = team.environment(user, s3)
        return outcomes.run(tmp_path / user, outcomes.SMOKE, "--infra", "server", "--no-cache", **environment).name

    with ThreadPoolExecutor(2) as pool:
        names = list(pool.map(whole, ("ann", "bob")))
    for user, name in zip(("ann", "bob"), names, strict=True):
        found = outcomes.outcome(tmp_path / user, name, **team.environment(user, s3)).differences(reference)
        # Whoever trains second may go on from the other's checkpoint: to the same weights, and its report says so.
        if found:
            assert list(found) == [TOKENS_PROCESSED] and found[TOKENS_PROCESSED][0] < found[TOKENS_PROCESSED][1], found
            record = outcomes.index(tmp_path / user)[name]
            (notes,) = outcomes.notes_of(record, "train_report", tmp_path / f"{user}-cache")
            assert any(n.startswith("resumed at step") for n in notes), (user, notes)
    # The same weights with the same word of the gate: one version, whoever was first.
    assert len(versions(team)) == 1
    records = [outcomes.index(tmp_path / user)[name] for user, name in zip(("ann", "bob"), names, strict=True)]
    assert all(r.stack.startswith("server") for r in records) and len({r.registration.model_uri for r in records}) == 1
    assert outcomes.assay(tmp_path / "ann", "runs", "--sync", **team.environment("ann", s3)).returncode == 0
    said = outcomes.assay(tmp_path / "ann", "runs", "rm", names[1], "--yes", **team.environment("ann", s3))
    assert said.returncode == 3 and "of another user" in said.stderr, said.stderr


def judged(folder: Path, judge: SilentJudge, name: str) -> str:
    """A config whose run stays at its judge."""
    rows = [{"prompt": f"Where is order {i * 37}?", "completion": f"It left on day {i}."} for i in range(40)]
    (folder / "orders.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({
        "name": name, "pipeline": "curate", "skip": ["dedup", "screen"], "scrub": {"demo_key": True},
        "judge": judge.settings, "ingest": {"sources": [{"name": name, "path": str(folder / "orders.jsonl")}]},
    }))  # fmt: skip
    return str(path)


def test_nobody_ends_anothers_run(team: Team, s3: str, tmp_path: Path, silent_judge: SilentJudge) -> None:  # noqa: F811
    living: dict[str, subprocess.Popen[str]] = {}
    for user in ("ann", "bob"):
        silent_judge.asked.clear()
        living[user] = subprocess.Popen(
            [sys.executable, "-m", "ops.main", "run", judged(tmp_path, silent_judge, user), "--infra", "server"],
            cwd=outcomes.ROOT, env=outcomes.environment(tmp_path / user, **team.environment(user, s3)), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert silent_judge.asked.wait(400), "the judge was never asked"

    def statuses(user: str, *told: str) -> dict[str, str]:
        """By user, as this user's command lists them."""
        done = outcomes.assay(tmp_path / user, "runs", *told, "--json", **team.environment(user, s3))
        assert done.returncode == 0, done.stderr
        return {r["config_name"]: r["status"] for r in json.loads(done.stdout)["runs"]}

    living["ann"].kill()
    living["ann"].communicate()
    assert statuses("bob", "--sync") | {"smoke": ""} == {"ann": "running", "bob": "running", "smoke": ""}
    # From another state folder on this machine: it is the same user's.
    ended = outcomes.assay(tmp_path / "ann-2", "runs", "--sync", "--json", **team.environment("ann", s3))
    runs = {r["config_name"]: r for r in json.loads(ended.stdout)["runs"]}
    assert (runs["ann"]["status"], runs["ann"]["failed_step"]) == ("failed", "judge_step")
    assert runs["bob"]["status"] == "running" and living["bob"].poll() is None
    assert statuses("ann")["ann"] == "failed"
    collected = outcomes.assay(tmp_path / "ann", "gc", "--yes", **team.environment("ann", s3))
    assert collected.returncode == 0, collected.stderr
    os.kill(living["bob"].pid, signal.SIGINT)
    out, _ = living["bob"].communicate(timeout=120)
    assert living["bob"].returncode == 130, out
    assert statuses("bob")["bob"] == "failed"


def test_key_that_was_revoked_is_named_before_anything_runs(team: Team, s3: str, tmp_path: Path) -> None:
    environment = team.environment("eve", s3)
    ready = outcomes.assay(tmp_path / "eve", "stack", "doctor", "server", **environment)
    assert ready.returncode == 0 and "as eve" in ready.stdout, ready.stdout
    team.server.revoke("eve")
    for told in (("stack", "doctor", "server"), ("run", outcomes.SMOKE, "--infra", "server")):
        done = outcomes.assay(tmp_path / "eve", *told, **environment)
        assert done.returncode in (2, 5) and "refuses the credentials" in done.stdout + done.stderr, done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "eve" / "runs").exists()
