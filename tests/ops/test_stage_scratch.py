"""The rows that `assay stage` reads lie beside its results for the time of the run, and no longer."""

import fcntl
import os
from pathlib import Path

from ops.commands.stage import _scratch


def test_what_a_killed_run_left_goes_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    dead, living, results = tmp_path / ".stage-dead", tmp_path / ".stage-living", tmp_path / "report.json"
    for folder in (dead, living):
        folder.mkdir()
        (folder / "rows").write_text("raw")
    results.write_text("{}")
    held = os.open(living, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with _scratch(tmp_path) as mine, _scratch(tmp_path) as another:
        assert set(tmp_path.iterdir()) == {living, mine, another, results}
    os.close(held)
    assert set(tmp_path.iterdir()) == {living, results}
    with _scratch(tmp_path) as mine:
        assert set(tmp_path.iterdir()) == {mine, results}
