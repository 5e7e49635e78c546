"""`assay ladder`: several bases by one config, and the smallest that passes the gate."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.processes import command, ended, python

from ops.commands.ladder import _page
from ops.ladder import Rung, as_object, config_of, notes, overrides_of, rungs_of, smallest, table, verdict
from pipelines.config import RunConfig
from pipelines.load import load_model
from steps.contracts.errors import ConfigError
from steps.contracts.evaluation import Difference, Estimate

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "configs" / "runs" / "smoke.yaml"


def rung(label: str, weights: int, *unmet: str, value: float = 0.5, metric: str = "exact_match") -> Rung:
    e = Estimate(value=value, low=value - 0.1, high=value + 0.1, n=50)
    d = Difference(task="held_out", metric=metric, subject="tuned", reference=e, candidate=e, change=e)
    return Rung(
        label, {"model": label}, f"run-{label}", "", weights, not unmet, unmet, d, "rows", 2.0, 3.21, "m version 1"
    )


FOUR = [
    rung("large", 9_000), rung("small", 100, "gain in exact_match", "json_valid"), rung("middle", 2_000),
    Rung("gone", {"model": "gone"}, error="no such model\nway out"),
]  # fmt: skip


def test_the_smallest_that_passes_is_named_whatever_their_order() -> None:
    found = smallest(FOUR)
    assert found is not None and found.label == "middle" == as_object(FOUR, load_model(RunConfig, SMOKE))["smallest"]
    said = "The smallest base that passes the gate is middle (2,000 weights); of 3 bases one smaller doesn't"
    assert verdict(FOUR) == said
    assert verdict(FOUR[1:2]) == "None of 1 bases passes the gate"
    assert verdict(FOUR[3:]) == "No base has come to the gate"
    assert smallest(FOUR[1:2]) is None
    rows = table(FOUR).rows
    assert [r[:3] for r in rows] == [
        ("small", 100, "2 checks unmet"), ("middle", 2_000, "passes"), ("large", 9_000, "passes"),
        ("gone", None, "failed: no such model"),
    ]  # fmt: skip
    assert rows[0][3:8] == ("0.500 [0.400, 0.600]", "+0.500 [+0.400, +0.600]", 50, 2.0, 3.2)


def test_what_doesnt_compare_is_told() -> None:
    config = load_model(RunConfig, SMOKE)
    said = " | ".join(notes(FOUR, config))
    assert "small doesn't pass: gain in exact_match, json_valid" in said and "1 of 4 runs failed" in said
    assert "gate.floors" in said and "tokenizer" not in said and "other dataset versions" not in said
    mixed = [rung("a", 1, metric="loss"), replace(rung("b", 2), rows="others")]
    said = " | ".join(
        notes(mixed, config.model_copy(update={"gate": config.gate.model_copy(update={"floors": {"x": 1.0}})}))
    )
    assert "other dataset versions" in said and "own tokenizer" in said and "same deciding metric" in said
    assert "gate.floors" not in said and table(mixed).columns[3] == "metric that decides"
    page = _page([rung("<script>alert(1)</script>", 5)], config)
    assert "<script>alert" not in page and "&lt;script&gt;" in page


def test_bases_are_names_or_mappings_and_replace_all_of_the_configs_own() -> None:
    found = rungs_of(["org/a", "{model: org/a, revision: abc}"])
    assert [r.label for r in found] == ["org/a", 'org/a, revision "abc"']
    config = load_model(RunConfig, SMOKE)
    one = config_of(SMOKE, overrides_of(config, found[0]))
    assert one.base is not None and (one.base.model, one.base.options) == ("org/a", {})
    assert one.registry is not None and one.registry.promotion == "manual" and one.name == "smoke-ladder"
    assert config_of(SMOKE, overrides_of(config, found[1])).base.revision == "abc"
    for wrong in (["org/a"], ["org/a", "org/a"], ["org/a", "{model: org/a}"], ["a", "{model: ["], ["a", "{1: b}"]):
        with pytest.raises(ConfigError):
            rungs_of(wrong)
    with pytest.raises(ConfigError, match="evaluates no model"):
        overrides_of(config_of(SMOKE, ["pipeline=train"]), found[0])


@pytest.mark.slow
def test_two_bases_are_gated_on_the_same_rows_and_nothing_becomes_champion(tmp_path: Path) -> None:
    base = '{{model: "examples.toy_base.build:build", options: {{steps: 4, batch_size: 8, hidden_size: {}}}}}'
    gate = "gate={metric: loss, min_n: 10, max_degenerate: null}"
    asked = ["ladder", str(SMOKE), base.format(128), base.format(64), "--set", gate, "--set", "evaluate.controls=[]"]
    status, said = ended(python(command(*asked, "--json"), tmp_path / "state"), timeout=1_500)
    assert status == 0, said
    told = json.JSONDecoder().raw_decode(said)[0]
    assert "hidden_size" in told["smallest"] and "64" in told["smallest"] and "the smallest of 2" in told["verdict"]
    large, small = told["bases"]
    assert large["promote"] and small["promote"] and small["parameters"] < large["parameters"]
    assert large["rows"] == small["rows"] and large["run"] != small["run"]
    assert any("own tokenizer" in n for n in told["notes"])
    assert "smallest base that passes" in Path(told["page"]).read_text()
    from mlflow import MlflowClient

    model = MlflowClient(f"sqlite:///{tmp_path}/state/artifacts/mlflow.db").get_registered_model("smoke")
    assert "champion" not in model.aliases
