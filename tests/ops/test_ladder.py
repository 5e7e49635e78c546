"""`assay ladder`: several bases by one config, and the smallest that passes the gate."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.processes import command, ended, python
from support.tiny_model import build_tiny_model

from ops.commands import ladder
from ops.commands.ladder import _page
from ops.ladder import (
    Rung,
    as_object,
    by_size,
    config_of,
    located,
    notes,
    overrides_of,
    rungs_of,
    smallest,
    table,
    verdict,
)
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
        label, {"model": label}, f"run-{label}", "", "", weights, not unmet, unmet, d, "rows", 2.0, 3.21, "m version 1"
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


def test_bases_are_taken_by_size_where_all_of_them_are_here(tmp_path: Path, tiny_model) -> None:
    large = build_tiny_model(tmp_path / "large", hidden=48, inter=96).path
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "small").symlink_to(tiny_model.path)
    typed = located(tmp_path, tmp_path / "here", rungs_of([str(large), "./small"]))
    assert [r.base["model"] for r in typed] == ["large", "here/small"] and typed[1].label == "./small"
    ordered, sized = by_size(tmp_path, typed)
    assert sized and [r.label for r in ordered] == ["./small", str(large)]
    # What config.json describes is as good as the files.
    for weights in large.glob("*.safetensors"):
        weights.unlink()
    assert by_size(tmp_path, typed) == (ordered, True)
    for unknown in ("owner/nowhere", "examples.toy_base.build:build", "models:/toy/3", "{model: 3}"):
        given = [typed[0], *rungs_of([unknown, "x/y"])]
        assert by_size(tmp_path, given) == (given, False)


class Runs:
    """Stands in for runs: those of these bases pass, of the others the gate says no; which were run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *passing: str) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(ladder, "checked", lambda *_: None)
        monkeypatch.setattr(ladder, "run_apart", lambda *given: ("a run", ""))
        monkeypatch.setattr(ladder, "climbed", lambda root, one, name, metric: self._ended(one, passing))

    def _ended(self, one: Rung, passing: tuple[str, ...]) -> Rung:
        self.asked.append(one.label)
        unmet = () if one.label in passing else ("gain",)
        return replace(rung(one.label, len(self.asked), *unmet), base=one.base)


@pytest.mark.parametrize(
    ("passing", "whole", "asked"),
    [
        (("x/b", "x/c"), False, ["x/a", "x/b"]),
        (("x/b", "x/c"), True, ["x/a", "x/b", "x/c"]),
        ((), False, ["x/a", "x/b", "x/c"]),
    ],
)
def test_it_ends_at_the_first_that_passes_and_says_what_was_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, passing: tuple[str, ...], whole: bool, asked: list[str]
) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    runs = Runs(monkeypatch, *passing)
    ladder.climb(ROOT, SMOKE, ["x/a", "x/b", "x/c"], [], None, None, tmp_path / "p.html", False, True, whole)
    told = json.loads(capsys.readouterr().out)
    assert runs.asked == asked and told["smallest"] == ("x/b" if passing else None)
    left = [b["label"] for b in told["bases"] if b["skipped"]]
    assert left == [label for label in ("x/a", "x/b", "x/c") if label not in asked]
    said = [n for n in told["notes"] if "wasn't run" in n]
    if left:
        assert said == [
            "x/c wasn't run: x/b passes, and not all sizes are known on this machine before a run: bases are taken in"
            " the order given, smallest first; --all runs every base"
        ]
        assert told["verdict"].endswith("x/b (2 weights); of 2 bases one smaller doesn't; 1 behind it was not run")
        assert "not run" in (tmp_path / "p.html").read_text() and not any("runs failed" in n for n in told["notes"])
    else:
        assert not said and "not run" not in told["verdict"]


@pytest.mark.slow
def test_two_bases_are_gated_on_the_same_rows_and_nothing_becomes_champion(tmp_path: Path) -> None:
    base = '{{model: "examples.toy_base.build:build", options: {{steps: 4, batch_size: 8, hidden_size: {}}}}}'
    gate = "gate={metric: loss, min_n: 10, max_degenerate: null}"
    asked = [
        "ladder",
        str(SMOKE),
        "--all",
        base.format(128),
        base.format(64),
        "--set",
        gate,
        "--set",
        "evaluate.controls=[]",
    ]
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
