"""Alerts by the alerter of a stack, through ZenML's store."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.clockwork import BROKEN, Desk, at

from ops.schedule import alerts
from ops.schedule.schedule import channel_of

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow
REGISTER = """
from pathlib import Path
from ops.environment import prepare
prepare(Path.cwd())
from steps.zenml_runtime.database import open_store, starting
with starting():
    open_store()
from zenml.client import Client
from zenml.enums import StackComponentType
Client().create_flavor("support.alerter.NoteFlavor", StackComponentType.ALERTER)
"""


def test_the_alerter_of_the_stack_is_told(tmp_path):
    for name in ("pyproject.toml", "steps", "pipelines", "ops", "materializers", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".zenml" / "stacks").mkdir(parents=True)
    local = (ROOT / ".zenml" / "stacks" / "local.yaml").read_text()
    (tmp_path / ".zenml" / "stacks" / "local.yaml").write_text(local)
    alerter = f"  alerter:\n    - {{name: note, flavor: note, configuration: {{file: '{tmp_path}/told'}}}}\n"
    (tmp_path / ".zenml" / "stacks" / "told.yaml").write_text(
        local.replace("stack_name: local", "stack_name: told") + alerter
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_"))}
    environment = {
        **kept, "ASSAY_STATE": str(tmp_path / "state"), "PYTHONPATH": f"{ROOT / 'tests'}:{tmp_path}",
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", REGISTER], cwd=tmp_path, env=environment, check=True, timeout=300)

    desk = Desk(tmp_path / "told-by", alerts=[channel_of("stack")], stack="told")
    desk.end(desk.look("01:00"), "01:01", BROKEN)
    alerts.keep_due(desk.table, at("01:01"))
    assert alerts.deliver(desk.table, tmp_path, environment, lambda: at("01:01")) == []
    told = (tmp_path / "told").read_text()
    assert told == "assay schedule s: the slot of 2026-03-01T01:00+00:00 failed: the server doesn't answer\n"

    without = Desk(tmp_path / "without", alerts=[channel_of("stack")])
    without.end(without.look("01:00"), "01:01", BROKEN)
    alerts.keep_due(without.table, at("01:01"))
    said = alerts.deliver(without.table, tmp_path, environment, lambda: at("01:01"))
    assert said == ["alert to stack: the stack local has no alerter"], json.dumps(said)
