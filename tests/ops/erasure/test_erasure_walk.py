"""The data-protection officer's walk-through of docs/erasure.md does what it says."""

from pathlib import Path

import pytest
from support.walk import commands, walk


@pytest.mark.slow
def test_commands_of_the_officers_walk_through(tmp_path: Path) -> None:
    written = commands("erasure.md", "A walk-through for a data-protection officer")
    said = walk(written, tmp_path, "/tmp/erasure", {written[-1]: 3})
    run, uses, plan, done, audit, again, after = said.values()
    assert "person of 1 value: 2 rows" in uses and "model smoke/1" in uses
    assert "nothing was removed" in plan and "messages/messages.jsonl line:1104" in plan
    assert done.startswith("erased: 2 rows, ") and "weights are never erased" in done
    assert "verified: " in audit and "that were removed on purpose" in audit
    assert "registered smoke version 1" in run and "9 executed, 0 from cache" in again and not after
    (person,) = {w for c in written for w in c.split() if "@" in w}
    assert not [f for f in (tmp_path / "state").rglob("*") if f.is_file() and person.encode() in f.read_bytes()]
