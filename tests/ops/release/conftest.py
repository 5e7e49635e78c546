import json
from pathlib import Path

import pytest
from support import released_run
from typer.testing import CliRunner

from ops.main import app

ROOT = Path(__file__).resolve().parents[3]


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def told(*arguments):
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def state(tmp_path, monkeypatch):
    _settle(tmp_path / "state", monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _settle(state, monkeypatch):
    monkeypatch.setenv("ASSAY_STATE", str(state))
    monkeypatch.setenv("ASSAY_ROOT", str(ROOT))
    for name in ("ASSAY_TRACEBACK", "MLFLOW_TRACKING_URI", "ASSAY_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def released(tmp_path_factory, tiny_model):
    """A release of an adapter, as `assay release` wrote it: (folder, what it told, folder of the store)."""
    work = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch:
        _settle(work / "state", patch)
        run = released_run.build(work / "work", tiny_model)
        made = told("release", "run:shop", "--to", "adapter", "--out", work / "out")
    return work / "out", made, run
