"""`assay stack`: what people and programs are told."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner
from zenml.client import Client

from ops.infra import load_infra
from ops.main import app
from ops.stacks import files
from pipelines.step_names import KNOWN_STEPS

ROOT = Path(__file__).resolve().parents[3]
runner = CliRunner()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("steps", "pipelines"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".zenml" / "stacks").mkdir(parents=True)
    (tmp_path / "configs" / "infra").mkdir(parents=True)
    (tmp_path / "configs" / "infra" / "local.yaml").write_text("stack: told\n")
    (tmp_path / "configs" / "infra" / "told.yaml").write_text("stack: told\nresources: {gpu: 1}\n")
    (tmp_path / ".zenml" / "stacks" / "told.yaml").write_text("""
stack_name: told
evidence: run
proof: tests
components:
  orchestrator: [{name: told, flavor: local}]
  artifact_store: [{name: told, flavor: local, configuration: {path: "${TOLD}"}}]
  experiment_tracker:
    - {name: told, flavor: mlflow, configuration: {tracking_uri: "https://t.example", tracking_token: "${SECRET}"}}
""")
    monkeypatch.setenv("ASSAY_ROOT", str(tmp_path))
    monkeypatch.setenv("TOLD", str(tmp_path / "files"))
    monkeypatch.setenv("SECRET", "correct-horse")
    return tmp_path


def said(*arguments: str, status: int = 0) -> str:
    result = runner.invoke(app, ["stack", *arguments])
    assert result.exit_code == status, result.output + str(result.exception)
    assert "correct-horse" not in result.output
    return result.output


def test_list_and_show(home: Path) -> None:
    (row,) = json.loads(said("list", "--json"))["stacks"]
    assert row == {
        "name": "told", "used": True, "evidence": "run", "proof": "tests", "orchestrator": "local",
        "artifacts": "local", "tracker": "mlflow", "missing": [],
    }  # fmt: skip
    shown = json.loads(said("show", "told", "--json"))
    assert shown["variables"]["SECRET"] == {"needed": True, "set": True}
    assert shown["ignored"] == [f"{len(KNOWN_STEPS)} steps: resources.gpu: steps have what this machine has"]
    text = said("show", "told")
    assert "evidence: run" in text and "tracking_token: ${SECRET}" in text and "not heeded" in text


def test_apply_diff_use_and_remove(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "told: made stack 'told'" in said("diff", "told")
    assert json.loads(said("apply", "told", "--json"))["stacks"]["told"]["changes"][-1] == "made stack 'told'"
    assert said("diff", "told") == "told: ZenML's store says the same\n"
    assert "configs/infra/told.yaml on stack 'told'" in said("use", "told")
    assert load_infra(home, None).resources.gpu == 1
    from ops.infra import _remembered

    _remembered(home).unlink()
    assert load_infra(home, None).resources.gpu is None
    assert "with --yes" in said("remove", "told")
    assert "removed stack 'told'" in said("remove", "told", "--yes")
    assert Client().active_stack_model.name == "default"
    said("remove", "told", "--yes", status=3)
    assert files.declared_stacks(home) == ["told"]


def test_doctor_ends_with_the_status_of_what_is_missing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOLD")
    checks = json.loads(said("doctor", "told", "--json", status=2))["checks"]
    assert any("TOLD is not set" in c["found"] for c in checks)
    assert "no stack 'none' is declared" in str(runner.invoke(app, ["stack", "doctor", "none"]).stderr)
