"""Models that objectives ask, through whole runs: a registered reward model, one of an earlier phase, a function, a
teacher.
"""

import json
import shutil
import sys
from pathlib import Path
from subprocess import run

import pytest
from support import outcomes

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo")
COMMON = {"max_steps": 3, "learning_rate": 0.005, "max_length": 192, "per_device_train_batch_size": 4}
LENGTHS = "def lengths(prompts, completions, **_):\n    return [{sign}len(said) for said in completions]\n"
ONLINE = {"num_generations": 4, "max_completion_length": 12, "beta": 0.0, "watch_rows": 4}


REWARDS = [{"model": "models:/liking/1"}, {"phase": "graded"}, {"function": "lengths_of_mine:lengths"}]
SCORES = {"objective": {"kind": "reward"}, "rows": {"sources": ["pairs"]}, **COMMON}
PHASES = [
    {"name": "told", "weights": {"kind": "full"}, "rows": {"sources": ["chats"]}, **COMMON},
    {"name": "graded", "starts_from": "base", **SCORES},
    {"name": "polished", "starts_from": "told", "objective": {"kind": "grpo", "rewards": REWARDS, **ONLINE}, **COMMON},
    {"name": "taught", "starts_from": "base", **COMMON,
     "objective": {"kind": "distill", "teacher": {"phase": "told"}, "max_completion_length": 12}},
]  # fmt: skip


def config_of(folder: Path, base: Path, asks: bool) -> Path:
    for source, thing in (("chats", "lamp"), ("pairs", "clock")):
        rows = []
        for i, place in enumerate(PLACES * 6):
            asked = {"prompt": f"{i} weeks on: where does the {thing} of customer {i * 7} go?"}
            good, bad = f"To {place}", f"Nobody knows about number {i}"
            rows.append(
                {**asked, "completion": good} if source == "chats" else {**asked, "chosen": good, "rejected": bad}
            )
        (folder / f"{source}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    metric = "loss" if asks else "preference_accuracy"
    config = {
        "name": "asking" if asks else "liking",
        "ingest": {"sources": [{"name": n, "path": str(folder / f"{n}.jsonl")} for n in ("chats", "pairs")]},
        "dedup": {"near": False},
        "split": {"test": 0.2, "validation": 0.15},
        "skip": ["judge", "leakcheck"],
        "scrub": {"demo_key": True},
        "base": {"model": str(base)},
        "train": PHASES if asks else SCORES,
        "evaluate": {"metrics": [metric]},
        "gate": {"metric": metric, "min_n": 5, "min_control_n": 5, "max_perplexity_ratio": None,
                 "max_degenerate": None, **({"candidate": "polished"} if asks else {})},
        "registry": {"name": "asking" if asks else "liking"},
    }  # fmt: skip
    path = folder / f"{config['name']}.yaml"
    path.write_text(json.dumps(config))
    return path


def assay(state: Path, folder: Path, *arguments: str):
    env = {**outcomes.environment(state), "PYTHONPATH": str(folder)}
    return run([sys.executable, "-m", "ops.main", *arguments], cwd=ROOT, env=env, capture_output=True, text=True,
               timeout=900, check=False)  # fmt: skip


def recorded(done) -> dict:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def model_of(record: dict, name: str) -> dict:
    return json.loads(Path(next(a["uri"] for a in record["artifacts"] if a["name"] == name), "model.json").read_text())


@pytest.mark.slow
def test_models_are_asked_by_name_and_the_model_says_which(tmp_path, tiny_model) -> None:
    state, module = tmp_path / "state", tmp_path / "lengths_of_mine.py"
    module.write_text(LENGTHS.format(sign=""))
    liking = recorded(assay(state, tmp_path, "run", str(config_of(tmp_path, tiny_model.path, False)), "--json"))
    config = str(config_of(tmp_path, tiny_model.path, True))
    first = recorded(assay(state, tmp_path, "run", config, "--json"))
    registered, told, graded, polished, taught = (
        model_of(record, name) for record, name in
        ((liking, "tuned"), (first, "tuned_told"), (first, "tuned_graded"), (first, "tuned_polished"),
         (first, "tuned_taught"))
    )  # fmt: skip
    asked = " ".join(polished["notes"])
    assert f"models:/liking/1, whose weights are {registered['digest'][:12]}" in asked
    assert f"phase graded, whose weights are {graded['digest'][:12]}" in asked
    assert f"phase told, whose weights are {told['digest'][:12]}" in " ".join(taught["notes"])
    audit = assay(state, tmp_path, "audit", "asking/1", "--verify")
    assert audit.returncode == 0, audit.stdout[-3000:]

    again = recorded(assay(state, tmp_path, "run", config, "--json"))
    assert {"train_told_step", "train_graded_step", "train_polished_step"} <= set(again["cached_steps"])
    # A function that says something else makes another model, and only that one.
    module.write_text(LENGTHS.format(sign="-"))
    changed = recorded(assay(state, tmp_path, "run", config, "--json"))
    assert {"train_told_step", "train_graded_step"} <= set(changed["cached_steps"])
    assert "train_polished_step" not in changed["cached_steps"]
    assert model_of(changed, "tuned_polished")["digest"] != polished["digest"]

    lost = assay(state, tmp_path, "run", config, "--set", "train.2.objective.rewards.0.model=models:/liking/9")
    assert lost.returncode != 0
    assert "no such registered model: models:/liking/9" in lost.stderr
    # A registered teacher of another family: known when the run begins.
    foreign = json.loads((tiny_model.path / "tokenizer.json").read_text())
    shutil.copytree(tiny_model.path, tmp_path / "foreign")
    foreign["added_tokens"][0]["content"] = "<|other|>"
    (tmp_path / "foreign" / "tokenizer.json").write_text(json.dumps(foreign))
    taught = {"kind": "distill", "teacher": {"model": "models:/liking/1"}, "max_completion_length": 12}
    other = (*("--set", f"base.model={tmp_path / 'foreign'}"), "--set", f"train.3.objective={json.dumps(taught)}")
    lost = assay(state, tmp_path, "run", config, *other)
    assert lost.returncode != 0
    assert "models:/liking/1: the teacher has another vocabulary than the model that is trained" in lost.stderr
    (begun,) = json.loads(assay(state, tmp_path, "runs", "--json", "--limit", "1").stdout)["runs"]
    assert begun["failed_step"] == "start_step"
    module.unlink()
    gone = assay(state, tmp_path, "run", config)
    assert gone.returncode != 0
    assert "no reward function lengths_of_mine:lengths" in gone.stderr
