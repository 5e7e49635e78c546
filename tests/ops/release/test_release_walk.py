"""The walk-through of docs/release.md does what it says."""

from pathlib import Path

import pytest
from support.walk import commands, walk


@pytest.mark.slow
def test_commands_of_the_walk_through(tmp_path: Path) -> None:
    said = walk(commands("release.md", "A walk-through"), tmp_path, "/tmp/release")
    assert len([c for c in said if c.startswith("assay ")]) == 3
    made = next(text for command, text in said.items() if command.startswith("assay release"))
    seen = next(text for command, text in said.items() if command.startswith("assay verify"))
    assert "NOT promoted" in made and "verified: " in seen
    assert "released although something speaks against it: shows how it is done" in seen
    assert "whose key" not in seen and not (tmp_path / "nowhere").exists()
