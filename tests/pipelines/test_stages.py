"""Every stage is declared once: what can be derived is, what can't is compared with the declarations here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.config import RunConfig
from pipelines.stages import CURATION, REUSABLE, SKIPPABLE, STAGES, imported, stage_named
from pipelines.step_names import KNOWN_STEPS
from steps.contracts.reports import Frozen

ROOT = Path(__file__).resolve().parents[2]
NAMES = [s.name for s in STAGES]

TOY_LOGIC = '''"""Drops short documents."""

import numpy as np

from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.file_artifact import FileArtifact
from steps.contracts.ledger import LedgerWriter
from steps.contracts.outcome import Outcome
from steps.contracts.reports import StageReport
from steps.toy.config import ToyConfig


def toy(rows: Dataset, config: ToyConfig, ctx: StageContext) -> Outcome:
    with LedgerWriter(ctx.folder / "ledger.parquet", "toy") as lines:
        keep = np.array([len(row["text"] or "") >= config.characters for row in rows.iter_rows()], bool)
        for row, stays in zip(rows.iter_rows(), keep, strict=True):
            if not stays:
                lines.add(row["record_id"], "dropped", "short")
        ledger = lines.close()
    notes = ctx.folder / "notes.txt"
    notes.write_text("played")
    left = rows.select(keep, ctx.folder, "toy")
    report = StageReport(
        stage="toy", rows_in=rows.rows, kept=left.rows, dropped=lines.total("dropped"),
        dropped_by=dict(lines.counts["dropped"]), config_digest="", seconds=0.0, cpu_seconds=0.0,
    )
    return Outcome(left, ledger, report.balanced(), artifacts={"toy_notes": FileArtifact(notes)})
'''
TOY_ENTRY = """
    toy: Annotated[ToyConfig, Stage(skippable=True, files=lambda toy: toy.files, keeps=("toy_notes",))] = Field(
        ToyConfig(), description="Removal of short documents."
    )

    base: Annotated["""
TOY_CALL = """    if config.runs("toy"):
        chain.add(toy_step(chain.rows, config.toy))
    return chain
"""
ASKED = """
import json
from pipelines import curate
from pipelines.config import RunConfig
from pipelines.input_digests import read_inputs
from pipelines.reuse import REUSABLE
from pipelines.step_names import KNOWN_STEPS, step_names
from pipelines.steps_list import all_steps
from pathlib import Path
from pydantic import ValidationError

base = {"name": "x", "pipeline": "curate", "scrub": {"demo_key": True}}
base["ingest"] = {"sources": [{"name": "a", "path": "a"}]}
config = RunConfig.model_validate({**base, "toy": {"characters": 9}})
skipped = RunConfig.model_validate({**base, "skip": ["toy"]})
try:
    RunConfig.model_validate({**base, "toy": {"character": 9}})
    refused = False
except ValidationError:
    refused = True
print(json.dumps({
    "steps": step_names(config), "skipped": step_names(skipped), "refused": refused, "known": KNOWN_STEPS,
    "all": [s.name for s in all_steps()], "reusable": REUSABLE, "value": config.toy.characters,
    "schema": sorted(RunConfig.model_json_schema()["properties"]), "root": str(Path(curate.__file__).parents[1]),
}))
"""


def write_toy(root: Path) -> None:
    """The stage's folder, its entry, and its call: what AGENTS.md says that a new stage needs."""
    folder = root / "steps" / "toy"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "config.py").write_text(
        "from steps.contracts.reports import Frozen\n\n\n"
        "class ToyConfig(Frozen):\n    characters: int = 5\n    files: tuple[str, ...] = ()\n"
    )
    (folder / "toy.py").write_text(TOY_LOGIC)
    step = (ROOT / "steps" / "dedup" / "step.py").read_text()
    step = step.replace("dedup", "toy").replace("Dedup", "Toy").replace(", keep: bool", "").replace(", keep=keep", "")
    step = step.replace("toy_index import ToyIndex", "file_artifact import FileArtifact")
    step = step.replace('toy_index: Annotated[ToyIndex, "toy_index"]', 'notes: Annotated[FileArtifact, "toy_notes"]')
    (folder / "step.py").write_text(step)
    edit(root / "pipelines/stages.py", "\n    base: Annotated[", TOY_ENTRY)
    imports = "from steps.toy.config import ToyConfig\nfrom steps.train.config"
    edit(root / "pipelines/stages.py", "from steps.train.config", imports)
    edit(root / "pipelines/curate.py", "    return chain\n", TOY_CALL)
    edit(root / "pipelines/curate.py", "\n\n@dataclass", "from steps.toy.step import toy_step\n\n\n@dataclass")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file.name}"
    file.write_text(text.replace(old, new))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code with a toy stage in it."""
    root = tmp_path / "tree"
    root.mkdir()
    for name in ("steps", "pipelines", "materializers", "ops", "configs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    write_toy(root)
    return root


def python(tree: Path, *arguments: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(tree), "ASSAY_ROOT": str(tree), "COLUMNS": "200", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_new_stage_needs_a_folder_an_entry_and_a_call(tree: Path) -> None:
    told = json.loads(python(tree, "-c", ASKED).splitlines()[-1])
    assert told["root"] == str(tree)
    assert "toy" in told["schema"] and told["value"] == 9 and told["refused"]
    assert told["steps"][-2:] == ["toy_step", "finish_step"] and "toy_step" not in told["skipped"]
    assert told["known"] == told["all"] and "toy_step" in told["known"]
    assert "toy_notes" in told["reusable"]

    assert "leakcheck or toy" in " ".join(python(tree, "-m", "ops.main", "stage", "--help").split())
    (tree / "rows.jsonl").write_text('{"text": "a long text"}\n{"text": "abc"}\n')
    python(tree, "-m", "ops.main", "stage", "toy", "rows.jsonl", "--out", "out", "--set", "characters=4")
    report = json.loads((tree / "out" / "report.json").read_text())
    assert (report["stage"], report["kept"], report["dropped_by"]) == ("toy", 1, {"short": 1})


def test_every_declaration_leads_somewhere() -> None:
    for stage in STAGES:
        assert callable(imported(stage.logic)) and issubclass(stage.settings, Frozen)
        assert imported(stage.step).name == f"{stage.name}_step"
        assert not stage.digests or callable(imported(stage.digests))
        assert (ROOT / "docs" / "stages" / f"{stage.name}.md").is_file()
    others = [s.name for s in STAGES if not s.monitors and not s.describes]
    assert [s.name for s in CURATION] + [s.name for s in STAGES if s.tunes] == others, "tuning follows curation"
    assert len(REUSABLE) == len(set(REUSABLE)) and set(SKIPPABLE) < set(NAMES)
    of_stages = tuple(step for step in KNOWN_STEPS[2:-1] if "_share_" not in step)
    assert of_stages == tuple(f"{name}_step" for name in NAMES)


def test_what_a_later_run_reuses_is_an_output_of_its_stage() -> None:
    checked = 0
    for stage in STAGES:
        outputs = imported(stage.step).entrypoint_definition.outputs
        assert set(stage.keeps) <= set(outputs), stage.name
        checked += len(stage.keeps)
    assert checked == len(REUSABLE) > 5


def test_an_unknown_stage_is_none() -> None:
    with pytest.raises(KeyError):
        stage_named("ingestion")


def test_the_order_of_the_data_is_the_order_of_a_run() -> None:
    config = RunConfig.model_validate({
        "name": "x",
        "ingest": {"sources": [{"name": "a", "path": "a"}]},
        "scrub": {"demo_key": True},
        "synthesize": {"endpoint": {"base_url": "http://localhost/v1", "model": "m"}},
        "augment": {
            "endpoint": {"base_url": "http://localhost/v1", "model": "m"}, "methods": [{"kind": "paraphrase"}]
        },
        "prefer": {
            "model": {"endpoint": {"base_url": "http://localhost/v1", "model": "m"}}, "grader": {"name": "contains"}
        },
        "semantic": {"embed": {"model": "m"}},
        "review": {"decisions": ["d.jsonl"]},
        "base": {"model": "scratch"},
        "registry": {"name": "m"},
        "export": {"formats": [{"to": "merged"}]},
    })  # fmt: skip
    kinds = [re.sub(r"^evaluate_.*", "evaluate_step", step) for step in config.steps]
    assert list(dict.fromkeys(kinds)) == [f"{s.name}_step" for s in STAGES if not s.monitors and not s.describes]
    assert config.steps.count("evaluate_base_step") == config.steps.count("evaluate_tuned_step") == 1


def test_a_look_at_production_scrubs_first_and_judges_where_there_is_a_judge() -> None:
    values = {
        "name": "x", "pipeline": "monitor", "dataset": "shop", "logs": {"paths": ["a"]}, "scrub": {"demo_key": True},
    }  # fmt: skip
    assert RunConfig.model_validate(values).steps == ("logs_step", "scrub_step", "monitor_step")
    server = {"backend": "llm", "endpoint": {"base_url": "http://127.0.0.1:1/v1", "model": "m"}}
    kept = {"candidates": {"folder": "f"}}
    assert RunConfig.model_validate({**values, "judge": server, "monitor": kept}).steps == (
        "logs_step", "scrub_step", "monitor_sample_step", "judge_step", "monitor_step", "monitor_candidates_step",
    )  # fmt: skip


def test_a_look_at_data_takes_nothing_away_and_holds_it_against_what_is_held_out() -> None:
    values = {
        "name": "x", "pipeline": "data_report", "ingest": {"sources": [{"name": "a", "path": "a"}]},
        "scrub": {"demo_key": True},
    }  # fmt: skip
    looked = ("ingest_step", "dedup_step", "scrub_step", "screen_step", "judge_step")
    assert RunConfig.model_validate(values).steps == (*looked, "data_report_step")
    exam = {"benchmarks": [{"name": "exam", "path": "e"}]}
    assert RunConfig.model_validate({**values, "leakcheck": exam, "skip": ["judge", "scrub"]}).steps == (
        "ingest_step", "dedup_step", "screen_step", "leakcheck_step", "data_report_step",
    )  # fmt: skip
    of_version = {**values, "ingest": None, "dataset": "shop"}
    assert RunConfig.model_validate(of_version).steps == (*looked[1:], "leakcheck_step", "data_report_step")
    with pytest.raises(ValueError, match="needs it: the sources to read, or a dataset"):
        RunConfig.model_validate({**values, "ingest": None})


def broken_contracts(tree: Path) -> list[str]:
    lint = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"}
    done = subprocess.run(
        [str(lint), "--no-logo", "--no-cache"],
        cwd=tree,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    broken = [line.split(" BROKEN")[0] for line in done.stdout.splitlines() if " BROKEN" in line]
    assert "6 kept, 0 broken" in done.stdout or broken, done.stdout + done.stderr
    return broken


@pytest.mark.slow
def test_import_contracts_hold_for_a_stage_that_they_do_not_name(tree: Path) -> None:
    assert "toy" not in (tree / "pyproject.toml").read_text()
    assert broken_contracts(tree) == []
    importers = (
        "toy/toy",
        "engines/rows/segments",
        "contracts/digests",
        "zenml_runtime/commit",
        "../materializers/views",
    )
    for importer in importers:
        file = tree / "steps" / f"{importer}.py"
        whole = file.read_text()
        imported = "steps.split.split" if importer == "toy/toy" else "steps.toy.config"
        file.write_text(f"{whole}\nimport {imported}\n")
        assert "nothing below pipelines imports a stage, another stage included" in broken_contracts(tree), importer
        file.write_text(whole)


def test_the_guide_names_every_stage() -> None:
    tree = (ROOT / "AGENTS.md").read_text()
    named = next(line for line in tree.splitlines() if "<stage>/" in line).split("<stage>/")[1]
    assert named.replace("·", " ").split() == NAMES


def test_declarations_import_neither_zenml_nor_torch() -> None:
    asked = "import sys, pipelines.stages, pipelines.config; print([m for m in ('zenml', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_key_of_a_config_is_described() -> None:
    schema = RunConfig.model_json_schema()
    models = {"RunConfig": schema, **schema["$defs"]}
    keys = [(name, key, said) for name, model in models.items() for key, said in model.get("properties", {}).items()]
    assert [f"{name}.{key}" for name, key, said in keys if not said.get("description")] == []
    assert len(keys) > 200
