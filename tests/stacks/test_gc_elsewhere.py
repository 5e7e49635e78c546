"""`assay gc` on a bucket, by somebody whose machine knows nothing of the run that stored its artifacts there."""

import json
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from support import outcomes

pytestmark = pytest.mark.stacks


def stored(store: str) -> set[str]:
    fs, path = fsspec.url_to_fs(store)
    fs.invalidate_cache()
    return {name.removeprefix(f"{path}/") for name in fs.find(path)}


def test_a_stranger_takes_nothing_that_a_registered_model_needs(own_s3: str, tmp_path: Path) -> None:
    tracker = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    made = outcomes.run(tmp_path / "state", outcomes.SMOKE, "--infra", "s3", **tracker)
    before = stored(own_s3)
    waste = {f"shards/{n * 32}.parquet" for n in ("ab", "cd")}
    fs, path = fsspec.url_to_fs(own_s3)
    for name in waste:
        fs.pipe_file(f"{path}/{name}", b"rows that nothing names")

    kept = outcomes.assay(tmp_path / "other", "gc", "--store", own_s3, "--yes", "--json")
    assert kept.returncode == 0, kept.stderr
    assert json.loads(kept.stdout)["found"] == [] and waste < stored(own_s3), "all is younger than the grace"

    # Two at once, of two who know nothing of each other either.
    command = [sys.executable, "-m", "ops.main", "gc", "--store", own_s3, "--grace", "0d", "--yes", "--json"]
    both = [
        subprocess.Popen(
            command,
            cwd=outcomes.ROOT,
            env=outcomes.environment(tmp_path / name),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in ("other", "third")
    ]
    ended = [(*process.communicate(timeout=600), process.returncode) for process in both]
    assert [status for *_, status in ended] == [0, 0], ended
    assert {w["uri"] for out, *_ in ended for w in json.loads(out)["found"]} == {f"{own_s3}/{name}" for name in waste}
    left = stored(own_s3)
    assert {name for name in left if not name.startswith("removed/")} == before
    assert any(name.startswith("removed/gc-") for name in left)

    model = f"{tracker['MLFLOW_TRACKING_URI']}#smoke"
    audit = outcomes.assay(tmp_path / "other", "audit", model, "--verify", **tracker)
    assert audit.returncode == 0 and "verified: " in audit.stdout, audit.stdout[-2000:]
    # What its registered record leads to is gone: nothing goes any more.
    (record,) = [name for name in left if name.startswith("finish_step/run_record/") and name.endswith("value.json")]
    fs.pipe_file(f"{path}/{record}", b"{" + fs.cat_file(f"{path}/{record}")[1:-1])
    blind = outcomes.assay(tmp_path / "other", "gc", "--store", own_s3, "--grace", "0d", "--yes", "--json")
    assert blind.returncode == 7 and json.loads(blind.stdout)["found"] == [] and made.name
    assert {name for name in stored(own_s3) if not name.startswith("removed/")} == before
