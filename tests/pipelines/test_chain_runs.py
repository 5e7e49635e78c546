"""The chain over several runs: rows by one, models by others, from the cache and not, audited from elsewhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

CURATE = {
    "name": "rows", "pipeline": "curate", "dedup": {"near": False}, "split": {"test": 0.3, "validation": 0.1},
    "skip": ["judge", "screen"], "scrub": {"demo_key": True},
}  # fmt: skip
TUNE = {
    "name": "tuned", "pipeline": "finetune", "dataset": "rows",
    "train": {"max_steps": 2, "max_length": 256, "weights": {"kind": "lora", "r": 4}},
    "evaluate": {"metrics": ["loss"]}, "registry": {"name": "chained"},
    "gate": {"metric": "loss", "min_n": 5, "max_degenerate": None, "sources": {"access": ["public"]}},
}  # fmt: skip


def assay(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZENML_", "MLFLOW_", "ASSAY_"))}
    return subprocess.run(
        [sys.executable, "-m", "ops.main", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=1500,
        env={**kept, "ASSAY_STATE": str(state), "ASSAY_ROOT": str(ROOT)}, check=False,
    )  # fmt: skip


def run(folder: Path, config: dict[str, object]) -> dict[str, object]:
    path = folder / f"{config['name']}.yaml"
    path.write_text(json.dumps(config))
    done = assay(folder / "state", "run", str(path), "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def audited(state: Path, reference: str) -> dict[str, object]:
    done = assay(state, "audit", reference, "--verify", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_model):
    """Rows under a label, a model of them that the gate refuses for it, the label changed, and the model again."""
    folder = tmp_path_factory.mktemp("chain")
    rows = [
        {"prompt": f"Where does parcel {i} of customer {i * 7} go?", "completion": f"To town {i}."} for i in range(40)
    ]
    (folder / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = []
    for access in ("restricted", "public"):
        source = {"name": "chat", "path": str(folder / "chat.jsonl"), "licence": "CC0-1.0", "access": access}
        made = run(folder, {**CURATE, "ingest": {"sources": [source]}})
        found.append((made, run(folder, {**TUNE, "base": {"model": str(tiny_model.path)}})))
    return folder, found


def test_labels_reach_the_gate_and_the_model_through_the_dataset(runs) -> None:
    _, ((_, refused), (rows, passed)) = runs
    tags = [r["registration"]["tags"] for r in (refused, passed)]
    assert [t["source_access"] for t in tags] == ["restricted", "public"]
    assert "access of the sources" in tags[0]["gate_failed"] and "access" not in tags[1].get("gate_failed", "")
    assert [s["licence"] for s in passed["sources"]] == ["CC0-1.0"] and rows["sources"] == passed["sources"]


def test_a_training_from_the_cache_and_its_rows_are_found_from_elsewhere(runs, tmp_path) -> None:
    folder, ((_, first), (rows, second)) = runs
    assert "train_step" in second["cached_steps"]
    uri = second["registration"]["tracking_uri"]
    said = audited(tmp_path / "empty", f"{uri}#chained")
    assert said["training"]["from_cache"] and said["training"]["run"] == first["name"]
    assert said["dataset"]["run"] == rows["name"] and said["sources"][0]["access"] == "public"
    assert list(said["sources"][0]["files"]) == ["chat/chat.jsonl"]
    earlier = {e["name"]: e for e in said["chain"]["earlier_runs"]}
    assert {first["name"], rows["name"]} <= set(earlier) and all(e["whole"] for e in earlier.values())
    (record,) = [e["record_uri"] for name, e in earlier.items() if name == rows["name"]]
    whole = Path(record).read_text()
    Path(record).write_text(whole.replace('"public"', '"others"'))
    broken = assay(folder / "state", "audit", "chained", "--verify")
    Path(record).write_text(whole)
    assert broken.returncode == 7 and "NOT VERIFIED" in broken.stdout and rows["name"] in broken.stdout
