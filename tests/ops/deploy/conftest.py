import json
import sys
from pathlib import Path

import pytest
from support import modelled_run
from typer.testing import CliRunner

from ops.deploy import deploy as module
from ops.deploy import processes, state
from ops.main import app

ROOT = Path(__file__).resolve().parents[3]
QUICK = ROOT / "tests" / "support" / "quick_server.py"


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def told(*arguments):
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_model):
    """A run of two models, and no server left behind."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    for name in ("ASSAY_TRACEBACK", "MLFLOW_TRACKING_URI", "ASSAY_SERVE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    modelled_run.build(tmp_path / "work", tiny_model, registered=False)
    yield tmp_path
    for folder in (tmp_path / "state" / "deployments").glob("*"):
        processes.end(processes.running(folder), 5)


@pytest.fixture
def how(place, monkeypatch):
    """Servers are quick ones; returns what says how the next one is."""
    file = place / "how"
    file.write_text("ok")

    def command(server):
        return [
            sys.executable,
            str(QUICK),
            str(server.port),
            server.name,
            server.digest,
            server.model,
            file.read_text(),
        ]

    monkeypatch.setattr(module, "_command", command)
    return file.write_text


def living(place, name="default"):
    """Kinds of processes that run for a deployment: (servers, fronts)."""
    folder = place / "state" / "deployments" / name
    there = state.read(folder)
    fronts = processes.running(folder, there.front) if there else []
    return len(processes.running(folder)) - len(fronts), len(fronts)
