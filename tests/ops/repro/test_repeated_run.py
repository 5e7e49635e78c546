"""A real run once more: from its commit whatever the checkout holds by now, refused where its inputs changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    done = subprocess.run(["git", "-C", str(folder), *name, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def assay(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "ASSAY_", "MLFLOW_"))}
    environment |= {"ASSAY_STATE": str(home / ".zenml/state"), "ASSAY_ROOT": str(home), "PYTHONPATH": str(home)}
    words = ("-m", "ops.main", *words)
    return subprocess.run(
        [sys.executable, *words], cwd=home, env=environment, capture_output=True, text=True, check=False
    )


def test_a_run_is_had_again_from_its_commit(tmp_path):
    home = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(home)], check=True)
    data = home / "own" / "orders.jsonl"
    data.parent.mkdir()
    rows = [{"prompt": f"Where is order {i}?", "completion": f"It left on day {i}."} for i in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "again.yaml"
    source = {"name": "orders", "path": "own/orders.jsonl"}
    said = {"name": "again", "pipeline": "curate", "reuse": "latest", "ingest": {"sources": [source]}}
    config.write_text(json.dumps({**said, "split": {"test": 0.5}, "skip": ["scrub", "screen", "judge"]}))
    done = assay(home, "run", str(config), "--json")
    assert done.returncode == 0, done.stderr
    committed = git(home, "rev-parse", "HEAD")

    # Another split by another hash, committed since: the run's own commit knows nothing of it.
    split = home / "steps/split/split.py"
    split.write_text(split.read_text().replace("blake2b(salt.encode()", "blake2b((salt + '!').encode()"))
    git(home, "commit", "-qam", "other")
    done = assay(home, "repro", "latest", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["same"], found["commit"], found["state"]) == (True, committed, None)
    same = {a["name"]: a["same"] for a in found["artifacts"]}
    assert {same[name] for name in ("ingested", "deduped", "split", "curated", "split_ledger")} == {"bits"}
    assert set(same.values()) <= {"bits", "content", "spare"}
    assert not list((home / ".zenml/state/work").iterdir()), "nothing is left of it"

    kept = tmp_path / "kept"
    done = assay(home, "repro", "latest", "--here", "--keep", str(kept))
    assert done.returncode == 7, done.stderr
    told = " ".join(done.stdout.split())
    assert f"split split: another code: {committed} then, {git(home, 'rev-parse', 'HEAD')} here" in told
    assert "leakcheck curated: what it read differs since split" in told and "DIFFERS" in told
    assert list(kept.glob("runs/again-*/run.json")) and f"kept: {kept}" in told
    done = assay(home, "repro", "latest", "--keep", str(kept))
    assert done.returncode == 2 and "isn't empty" in done.stderr

    with data.open("a") as f:
        f.write(json.dumps(rows[0]) + "\n")
    done = assay(home, "repro", "latest")
    assert done.returncode == 3 and "ingest: orders/orders.jsonl differs: " in done.stderr
    data.unlink()
    done = assay(home, "repro", "latest")
    assert done.returncode == 3 and "what it read isn't there any more" in done.stderr


def test_fine_tuning_alone_is_had_again_with_the_dataset_that_it_began_with(tmp_path):
    home = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--shared", str(ROOT), str(home)], check=True)
    rows = [{"prompt": f"Where is order {i}?", "completion": f"It left on day {i}."} for i in range(60)]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"name": "orders", "path": str(tmp_path / "orders.jsonl")}
    data = {"name": "data", "pipeline": "curate", "ingest": {"sources": [source]}, "split": {"test": 0.3}}
    curate, tune = tmp_path / "data.yaml", tmp_path / "tune.yaml"
    curate.write_text(json.dumps({**data, "skip": ["dedup", "scrub", "screen", "judge"]}))
    model = {"base": {"model": "examples.toy_base.build:build", "options": {"steps": 1, "batch_size": 2}},
             "train": {"weights": {"kind": "lora"}, "max_steps": 1, "max_length": 64},
             "evaluate": {"max_rows": 4}, "registry": {"name": "tuned"}}  # fmt: skip
    tune.write_text(json.dumps({"name": "tune", "pipeline": "finetune", "dataset": "data", **model}))
    for config in (curate, tune):
        done = assay(home, "run", str(config), "--json")
        assert done.returncode == 0, done.stderr
    done = assay(home, "repro", "tune", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    same = {a["name"]: a["same"] for a in json.loads(done.stdout)["artifacts"]}
    assert same["tuned"] == "bits" and same["answers_tuned"] == "bits" and same["registration"] == "place"
    assert set(same.values()) <= {"bits", "content", "place", "spare"}
