"""Preferences and rewards on a model that half knows its task: what they bring, and what they cost elsewhere.

The quickstart's rows and toy base. SFT stops early, where about half of the answers are valid JSON; from there DPO, on
pairs of the right answer and another mail's, and GRPO, rewarded for JSON that is valid under the task's schema and for
its fields. All are evaluated by the run itself on held-out mails, beside general text and unanswerable questions, with
95 % intervals of the paired differences from SFT. `--steps N`: of SFT; `--temperature T`: of GRPO's
answers. Wanted: that the run ends well and GRPO's answers are valid more often, by the lower bound.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from measure import ROOT, assay, finish

# Every third mail is a pair instead of a conversation.
_PAIRS = 3
_FIELDS = ("item", "color", "quantity", "city")
_SCHEMA = {
    "type": "object", "required": list(_FIELDS), "additionalProperties": False,
    "properties": {n: {"type": "integer" if n == "quantity" else "string"} for n in _FIELDS},
}  # fmt: skip
_SHARED = {"weights": {"kind": "lora", "r": 16, "lora_alpha": 32}, "max_length": 256, "num_threads": 1}


def phases(steps: int, temperature: float) -> list[dict[str, Any]]:
    """SFT, and what goes on from it."""
    told = {"name": "told", "learning_rate": 1e-3, "max_steps": steps, "per_device_train_batch_size": 16, **_SHARED}
    preferred = {
        "name": "preferred", "starts_from": "told", "objective": {"kind": "dpo", "sft_weight": 0.2},
        "learning_rate": 2e-4, "max_steps": 100, "per_device_train_batch_size": 8, **_SHARED,
    }  # fmt: skip
    polished = {
        "name": "polished", "starts_from": "told", "learning_rate": 5e-4, "max_steps": 100,
        "per_device_train_batch_size": 32, "eval_steps": 50, **_SHARED,
        "objective": {
            "kind": "grpo", "rewards": [{"grader": "json_valid"}, {"grader": "field_accuracy"}],
            "json_schema": _SCHEMA, "watch": "exact_match", "extractor": "json", "num_generations": 8,
            "max_completion_length": 64,
            "temperature": temperature,
        },
    }  # fmt: skip
    return [told, preferred, polished]


def config_of(folder: Path, steps: int, temperature: float) -> Path:
    """The quickstart's config with these phases, over its mails, some as pairs."""
    config = yaml.safe_load((ROOT / "configs" / "runs" / "quickstart.yaml").read_text())
    lines = (ROOT / config["ingest"]["sources"][0]["path"]).read_text().splitlines()
    mails = [mail for mail in map(_mail, lines) if mail]
    chats, pairs = folder / "chats.jsonl", folder / "pairs.jsonl"
    answers = [m["messages"][-1]["content"] for m in mails]
    with chats.open("w") as told, pairs.open("w") as compared:
        for i, mail in enumerate(mails):
            if i % _PAIRS:
                print(json.dumps(mail), file=told)
                continue
            other = next(a for a in [*answers[i + 1 :], *answers] if a != answers[i])
            row = {"prompt": mail["messages"][0]["content"], "chosen": answers[i], "rejected": other}
            print(json.dumps(row), file=compared)
    config |= {"name": "rl", "train": phases(steps, temperature), "reuse": None, "report": {}}
    config["evaluate"].pop("subjects")
    config["ingest"]["sources"][0]["path"] = str(chats)
    config["ingest"]["sources"].append({"name": "preferences", "path": str(pairs), "licence": "Apache-2.0"})
    (folder / "schema.json").write_text(json.dumps(_SCHEMA))
    config["evaluate"]["json_schema"] = str(folder / "schema.json")
    # What decides here is the comparison itself.
    config["gate"] = {"metric": "json_valid", "reference": "told", "candidate": "polished", "min_n": 100,
                      "max_perplexity_ratio": None, "max_answered_unanswerable": None,
                      "max_degenerate": None}  # fmt: skip
    config["registry"]["name"] = "rl"
    path = folder / "rl.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _mail(line: str) -> dict[str, Any] | None:
    """A mail with the four fields as its answer; None for what was planted for the filters."""
    try:
        row = json.loads(line)
        asked, said = row["messages"]
        whole = asked["content"] and set(json.loads(said["content"])) == set(_FIELDS)
    except (ValueError, KeyError, TypeError):
        return None
    return row if whole else None


def artifact(record: dict[str, Any], kind: str) -> dict[str, Any]:
    """The stored value of the run's one artifact of that type."""
    place = next(a["uri"] for a in record["artifacts"] if a["type"] == kind)
    return json.loads(next(Path(place).glob("*.json")).read_text())


def main() -> None:
    """One run, and its comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=90)
    # At 1 the samples of a half-trained model are far worse than its greedy answers: nearly none earns a reward.
    parser.add_argument("--temperature", type=float, default=0.4)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        done = assay(
            "run", str(config_of(Path(folder), said.steps, said.temperature)), "--json", state=Path(folder) / "state"
        )
        record = json.loads(done.stdout)
        comparison = artifact(record, "comparison")
    figures: dict[str, object] = {"seconds": round(done.seconds, 1), "cpu_seconds": round(done.cpu_seconds, 1)}
    for d in comparison["differences"]:
        told, after, change = d["reference"], d["candidate"], d["change"]
        how = "x" if d["is_ratio"] else "+"
        print(
            f"{d['task']:14} {d['metric']:18} {d['subject']:10} told {told['value']:7.3f}  now {after['value']:7.3f}  "
            f"{how}{change['value']:.3f} [{change['low']:.3f}, {change['high']:.3f}]  n {change['n']}"
        )
        figures[f"{d['subject']} {d['task']} {d['metric']}"] = [round(change[k], 4) for k in ("value", "low", "high")]
    gain = [d for d in comparison["differences"] if (d["subject"], d["metric"]) == ("polished", "json_valid")]
    finish("rl", figures, {"GRPO's answers are valid more often": bool(gain) and gain[0]["change"]["low"] > 0})


if __name__ == "__main__":
    main()
