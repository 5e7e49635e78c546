"""SFT, then DPO, then KTO in one run, through the whole pipeline, from rows of three kinds to a registered model."""

import json
import sys
from pathlib import Path
from subprocess import run

import pytest
from support import outcomes

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo")
COMMON = {"max_steps": 8, "learning_rate": 0.005, "max_length": 256, "per_device_train_batch_size": 4}
PHASES = [
    {"name": "told", "weights": {"kind": "full"}, **COMMON},
    {"name": "preferred", "objective": {"kind": "dpo", "sft_weight": 0.2}, "rows": {"sources": ["pairs"]}, **COMMON},
    {"name": "liked", "objective": {"kind": "kto"}, "rows": {"sources": ["feedback"]}, **COMMON},
]


def rows_of(source: str, thing: str) -> list[dict[str, object]]:
    """Answered questions: as such, with a worse answer beside it, or with a label."""
    found: list[dict[str, object]] = []
    for i, place in enumerate(PLACES * 2):
        asked = {"prompt": f"{i} weeks on: where does the {thing} of customer {i * 7} go?"}
        good, bad = f"To {place}", f"Nobody knows about number {i}"
        if source == "chats":
            found.append({**asked, "completion": good})
        elif source == "pairs":
            found.append({**asked, "chosen": good, "rejected": bad})
        else:
            found.append({**asked, "completion": good if i % 3 else bad, "label": bool(i % 3)})
    return found


def config_of(folder: Path, base: Path) -> Path:
    things = {"chats": ("lamp", "chair"), "pairs": ("clock", "mirror", "vase"), "feedback": ("stove", "couch", "shelf")}
    for source, names in things.items():
        lines = [json.dumps(row) for thing in names for row in rows_of(source, thing)]
        (folder / f"{source}.jsonl").write_text("\n".join(lines))
    config = {
        "name": "preferences",
        "ingest": {"sources": [{"name": n, "path": str(folder / f"{n}.jsonl")} for n in things]},
        "dedup": {"near": False},
        "split": {"test": 0.2, "validation": 0.15},
        "skip": ["judge", "leakcheck"],
        "scrub": {"demo_key": True},
        "base": {"model": str(base)},
        "train": PHASES,
        "evaluate": {"metrics": ["loss"]},
        "gate": {"metric": "loss", "min_n": 5, "min_control_n": 5, "max_perplexity_ratio": None,
                 "max_degenerate": None},
        "registry": {"name": "preferred"},
    }  # fmt: skip
    path = folder / "preferences.yaml"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.slow
def test_a_chain_over_three_objectives_is_measured_registered_and_named_in_the_card(tmp_path, tiny_model) -> None:
    import mlflow

    config, state = config_of(tmp_path, tiny_model.path), tmp_path / "state"
    done = run(
        [sys.executable, "-m", "ops.main", "run", str(config), "--json"],
        cwd=ROOT, env=outcomes.environment(state), capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)

    def artifact(name: str, file: str) -> dict:
        return json.loads(Path(next(a["uri"] for a in record["artifacts"] if a["name"] == name), file).read_text())

    preferred, liked = (dict(artifact(f"train_{n}_report", "report.json")["tables"][0]["rows"]) for n in
                        ("preferred", "liked"))  # fmt: skip
    assert preferred["reward accuracy before"] == 0.5 < preferred["reward accuracy after"]
    assert preferred["reward margin after"] > 0 == preferred["reward margin before"]
    assert preferred["validation rows"] > 2
    assert liked["reward margin after"] > 0 == liked["reward margin before"]
    counts = artifact("train_liked_report", "report.json")["counts"]
    assert counts["answers"]["wanted"] > counts["answers"]["unwanted"] > 0
    last = artifact("tuned_liked", "model.json")
    assert [(a["name"], a["objective"]) for a in last["started_from"]] == [
        ("base", None), ("told", "sft"), ("preferred", "dpo"),
    ]  # fmt: skip
    assert last["objective"] == "kto"
    uri = record["registration"]["tracking_uri"]
    mlflow.set_tracking_uri(uri)
    card = mlflow.artifacts.load_text(f"runs:/{record['registration']['run_id']}/cards/model_card.md")
    for text in ("(sft, full)", "(dpo, lora)", "kto"):
        assert text in card, text
