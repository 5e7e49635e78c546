"""The auditor's walk-through of docs/audit.md does what it says."""

import json
from pathlib import Path

import pytest
from support.walk import commands, walk


@pytest.mark.slow
def test_commands_of_the_auditors_walk_through(tmp_path: Path) -> None:
    said = walk(commands("audit.md", "A walk-through for an auditor"), tmp_path, "/tmp/audit")
    assert len([c for c in said if c.startswith("assay ")]) == 5
    assert "recorded, not verified" in said["assay audit smoke"]
    assert (
        "verified: " in said["assay audit smoke --verify"] and "whose key that is" in said["assay audit smoke --verify"]
    )
    by_key = next(text for command, text in said.items() if "--key" in command)
    assert "verified: " in by_key and "whose key that is" not in by_key
    elsewhere = json.loads(next(text for command, text in said.items() if "--json" in command))
    assert elsewhere["verification"]["ok"] and not (tmp_path / "auditor" / "runs").exists()
    assert {f["state"] for f in elsewhere["verification"]["findings"]} == {"holds"}
