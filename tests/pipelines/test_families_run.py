"""Random models of every architecture learn a constant answer: base, train, evaluate, gate, register, load again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import outcomes
from support.families import elsewhere
from support.families.families import FAMILIES, tokenizer
from support.families.models import ARCHITECTURES, tiny_model
from support.families.runs import (
    ANSWER,
    EVALUATE,
    SYSTEM,
    THOUGHT,
    WEIGHTS,
    FamilyRun,
    constant_dataset,
    constant_rows,
    measured_both,
    question,
    run_family,
    train_config,
)
from support.tracking import tracking_at

from steps.base.base import resolve_base
from steps.base.config import BaseConfig
from steps.engines.exports.export import check_parity
from steps.engines.exports.registry import EXPORTS
from steps.engines.lm.ends import end_markers
from steps.engines.lm.load import load
from steps.engines.template.config import TemplateConfig
from steps.train.train import train

ROOT = Path(__file__).resolve().parents[2]
CELLS = [(name, weights) for name in ARCHITECTURES for weights in WEIGHTS]
ASKED = [[{"role": "system", "content": SYSTEM}, {"role": "user", "content": question(n)}] for n in (203, 204, 300)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return constant_dataset(tmp_path_factory.mktemp("constant"))


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"


@pytest.fixture(scope="module", params=CELLS, ids=lambda cell: f"{cell[0]}-{cell[1]}")
def run(request, dataset, tracking, tmp_path_factory) -> FamilyRun:
    """The run of a cell; pytest keeps one at a time."""
    name, weights = request.param
    return run_family(name, weights, dataset, tmp_path_factory.mktemp("run"), tracking)


def ask_elsewhere(run: FamilyRun, dtype: str = "float32") -> dict[str, Any]:
    """What the registered model, and its folder, answer in a process that knows nothing of this project."""
    model = run.trained.model
    given = {
        "uri": run.registration.model_uri, "tracking": run.registration.tracking_uri, "base": run.base.info.base.name,
        "folder": str(model.path), "adapter": model.info.kind == "adapter", "conversations": ASKED, "dtype": dtype,
    }  # fmt: skip
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", elsewhere.__file__], input=json.dumps(given), capture_output=True, text=True, env=env,
        cwd=run.folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_one_family_learns_a_constant_answer(dataset, tmp_path) -> None:
    """Qwen3, whose answers begin with a think block."""
    base = resolve_base(BaseConfig(model=str(tiny_model("Qwen3", tmp_path / "base").path)), tmp_path / "unused")
    tuned = train(base, dataset, train_config("full"), tmp_path / "train", tmp_path / "checkpoints").model
    for expected, found in zip((0.0, 1.0), measured_both(base, tuned, dataset, EVALUATE, tmp_path), strict=True):
        assert {m.name: m.estimate.value for m in found.report.tasks[0].metrics}["exact_match"] == expected


@pytest.mark.slow
def test_a_constant_answer_is_learned_and_scores_one(run) -> None:
    assert run.metric(0, "exact_match") == 0.0
    assert run.metric(1, "exact_match") == 1.0
    assert run.metric(1, "loss") < run.metric(0, "loss") / 4
    assert {row.answer for row in run.answered} == {ANSWER}
    assert run.decision.promote, run.decision.reasons
    assert run.registration.status == "champion"


@pytest.mark.slow
def test_the_registered_model_and_its_folder_answer_the_same_elsewhere(run, request) -> None:
    found = ask_elsewhere(run)
    assert found["served"] == [ANSWER] * len(ASKED)
    family = FAMILIES[ARCHITECTURES[request.node.callspec.params["run"][0]].family]
    ends = end_markers(tokenizer(family))
    for answer in found["plain"]:
        assert ANSWER in answer["text"] and answer["text"].endswith(family.ends)
        assert answer["last"] in ends


@pytest.mark.slow
def test_an_adapter_predicts_the_same_beside_the_weights_and_merged_into_them(run) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = run.trained.model
    if model.info.kind == "full":
        return
    merged = load(run.base, model, device="cpu")
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(run.base.info.base.name), str(model.path))
    untrained = load(run.base, device="cpu")
    text = merged.tokenizer.apply_chat_template(ASKED[0], add_generation_prompt=True, tokenize=False)
    ids = torch.tensor([merged.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        one, other, base = (m(input_ids=ids).logits for m in (merged.model, beside.eval(), untrained.model))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert float((one - base).abs().max()) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "thinking", "reasoning"),
    [("Qwen3", "on", THOUGHT), ("Qwen3", "as_is", THOUGHT), ("Qwen3", "off", None), ("gpt-oss", "as_is", THOUGHT)],
)
def test_reasoning_is_learned_and_kept_apart_from_the_answer(name, thinking, reasoning, tracking, tmp_path) -> None:
    dataset = constant_dataset(tmp_path / "rows", system=False, thought=THOUGHT)
    run = run_family(name, "full", dataset, tmp_path, tracking, template=TemplateConfig(thinking=thinking))
    assert run.metric(1, "exact_match") == 1.0
    assert {row.answer for row in run.answered} == {ANSWER}
    assert {row.reasoning or None for row in run.answered} == {reasoning}
    assert ask_elsewhere(run)["served"] == [ANSWER] * len(ASKED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights", "settings"),
    [
        ("Gemma 3", "full", {"bf16": True}),
        ("Gemma 2", "lora", {"dtype": "bfloat16"}),
        ("Qwen3-MoE", "lora", {"dtype": "bfloat16"}),
        ("gpt-oss", "full", {"bf16": True}),
    ],
)
def test_sixteen_bits_learn_it_as_well(name, weights, settings, dataset, tracking, tmp_path) -> None:
    measure = EVALUATE.model_copy(update={"dtype": "bfloat16"})
    run = run_family(name, weights, dataset, tmp_path, tracking, settings=settings, measure=measure)
    assert run.metric(1, "exact_match") == 1.0
    found = ask_elsewhere(run, "bfloat16")
    assert found["served"] == [ANSWER] * len(ASKED)
    assert all(ANSWER in answer["text"] for answer in found["plain"])


@pytest.mark.slow
def test_assay_run_takes_a_family_from_its_folder_to_the_registry(tmp_path) -> None:
    """Gemma 2: its template refuses system messages, its generation stops at another token than its tokenizer says."""
    rows = [{"messages": [{"role": m["role"], "content": m["content"]} for m in row["messages"]]}
            for row in constant_rows(160)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "name": "gemma",
        "ingest": {"sources": [{"name": "rows", "path": str(tmp_path / "rows.jsonl")}]},
        "dedup": {"near": False},
        "split": {"test": 0.4, "validation": 0.05},
        "skip": ["judge", "leakcheck"],
        "scrub": {"demo_key": True},
        "template": {"system": "merge_into_user"},
        "base": {"model": str(tiny_model("Gemma 2", tmp_path / "gemma").path)},
        "train": train_config("lora").model_dump(mode="json", include={"max_steps", "learning_rate", "max_length",
                                                                       "weights"}),
        "evaluate": {"metrics": ["loss", "exact_match"]},
        "gate": {"metric": "exact_match", "min_n": 40, "max_perplexity_ratio": None},
        "registry": {"name": "gemma"},
    }  # fmt: skip
    path = tmp_path / "gemma.yaml"
    path.write_text(json.dumps(config))
    env = outcomes.environment(tmp_path / "state")
    done = subprocess.run(
        [sys.executable, "-m", "ops.main", "run", str(path), "--json"], cwd=ROOT, env=env, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(done.stdout)
    assert record["registration"]["status"] == "champion"
    answers = Path(next(a["uri"] for a in record["artifacts"] if a["name"] == "answers_tuned")) / "answers.parquet"
    said = [r["answer"] for r in pq.read_table(answers).to_pylist() if r["task"] == "held_out"]
    assert len(said) >= 40 and set(said) == {ANSWER}
    with tracking_at(record["registration"]["tracking_uri"]):
        check_parity(EXPORTS["pyfunc"], "models:/gemma@champion", ASKED, [ANSWER] * len(ASKED), tmp_path)
