"""`assay dashboard`, looked at in a real browser, beside a command line that goes on working."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.outcomes import CURATION, ROOT, SMOKE, assay, environment, run
from support.servers.process import answers, free_port, needs

pytestmark = pytest.mark.stacks
_LOCAL_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"


def page(url: str, folder: Path) -> str:
    """What a browser shows of a page, as its document is after its scripts have run."""
    chromium = needs("chromium", "apt-get install chromium")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'browser'}", _LOCAL_ALONE]
    command = [chromium, *quiet, "--virtual-time-budget=30000", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout


def started(state: Path, log: Path, ports: list[str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.main", "dashboard", *ports],
            cwd=ROOT, env={**environment(state), "PYTHONUNBUFFERED": "1"}, stdout=out, stderr=out,
        )  # fmt: skip
    for _ in range(1_200):
        if "Ctrl-C ends both" in log.read_text():
            return process
        if process.poll() is not None:
            break
        time.sleep(0.2)
    process.kill()
    pytest.fail(log.read_text())


def test_both_show_the_run_and_leave_the_command_line_alone(tmp_path: Path) -> None:
    needs(ROOT / ".venv-server" / "bin" / "python", "make server-env")
    state = tmp_path / "state"
    record = run(state, SMOKE)
    config = (state / "zenml" / "config.yaml").read_bytes()
    zenml, mlflow = str(free_port()), str(free_port())
    process = started(state, tmp_path / "log", ["--zenml-port", zenml, "--mlflow-port", mlflow])
    try:
        shown = json.loads(assay(state, "runs", record.name, "--json").stdout)["links"]
        assert record.run_id in shown["ZenML's dashboard"] and set(shown) == {"ZenML's dashboard", "MLflow"}
        runs = page(f"http://127.0.0.1:{zenml}/projects/default/runs", tmp_path)
        assert "smoke-" in runs and "end_to_end" in runs
        assert record.name in page(shown["ZenML's dashboard"], tmp_path)
        assert record.name in page(shown["MLflow"], tmp_path)
        taken = assay(state, "dashboard", "--zenml-port", zenml)
        assert taken.returncode == 2 and f"port {zenml} is taken" in taken.stderr
        # A run meanwhile, by the same store.
        again = run(state, SMOKE, *CURATION)
        later = page(f"http://127.0.0.1:{zenml}/projects/default/runs", tmp_path)
        assert again.status == "completed" and again.name in later
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
    assert status == 0 and not answers(f"http://127.0.0.1:{zenml}/health")
    assert not answers(f"http://127.0.0.1:{mlflow}/health")
    assert json.loads(assay(state, "runs", record.name, "--json").stdout)["links"] == {}
    assert (state / "zenml" / "config.yaml").read_bytes() == config
