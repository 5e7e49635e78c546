"""Tasks of lm-evaluation-harness: the same figures as by its own code, its files found, its absence told."""

import json
import sys
from pathlib import Path

import pytest
from engines.llm.scripted_server import Act, ScriptedServer, completion
from support.processes import ended, python

from ops.suites.before import faults, unmeasured
from pipelines.config import RunConfig
from steps.contracts.errors import ConfigError, InputError, InputNotFoundError, MissingDependencyError
from steps.engines.llm.endpoint import Endpoint
from steps.engines.llm.prices import Prices
from steps.engines.scoring.answers import read_answers
from steps.engines.subjects.endpoint_model import endpoint_model
from steps.engines.subjects.local_model import local_model
from steps.evaluate.config import EvaluateConfig
from steps.evaluate.evaluate import evaluate, inference
from steps.evaluate.harness.installed import require_harness
from steps.evaluate.harness.named_tasks import faults_of_names
from steps.evaluate.named_files import files_of
from steps.evaluate.regrade import regraded
from steps.evaluate.tasks import Suite
from steps.gate.gate import compare

CHOICE = """
task: sums_choice
dataset_path: json
dataset_kwargs: {data_files: {test: q.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}"
doc_to_target: gold
doc_to_choice: choices
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 2}
"""
SAID = """
include: common.yaml
task: sums_said
output_type: generate_until
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
process_results: !function scoring.score
metric_list:
  - {metric: odd, aggregation: mean, higher_is_better: true}
  - {metric: bleu, aggregation: bleu, higher_is_better: true}
"""
COMMON = """
dataset_path: json
dataset_kwargs: {data_files: {test: q.jsonl}}
test_split: test
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
metadata: {version: 1}
"""
SCORING = """
def score(doc, results):
    return {"odd": float(sum(map(ord, results[0] + doc["a"])) % 2), "bleu": (doc["a"], results[0])}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"q": f"What is {n} and 2?", "a": str(n + 2), "choices": [str(n + k) for k in (1, 2, 3)], "gold": 1}
            for n in range(12)]  # fmt: skip
    (folder / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    for name, text in (("choice.yaml", CHOICE), ("said.yaml", SAID), ("common.yaml", COMMON), ("scoring.py", SCORING)):
        (folder / name).write_text(text)
    return tmp_path


def asked(*tasks: str, **said: object) -> EvaluateConfig:
    values = {"lm_eval": {"tasks": tasks, **said}, "device": "cpu", "batch_size": 4}
    return EvaluateConfig.model_validate(values)


def test_all_files_of_a_task_are_found_and_none_may_lie_elsewhere(root: Path) -> None:
    config = asked("tasks/said.yaml", "arc_easy")
    assert config.files() == ("tasks/said.yaml",)
    assert files_of(config, lambda n: root / n) == ("tasks/common.yaml", "tasks/q.jsonl", "tasks/scoring.py")
    (root / "tasks/common.yaml").write_text(COMMON.replace("q.jsonl", "../../q.jsonl"))
    with pytest.raises(ConfigError, match="leads out of the task's folder"):
        files_of(config, lambda n: root / n)
    (root / "tasks/common.yaml").write_text("include: said.yaml\n")
    assert "tasks/common.yaml" in files_of(config, lambda n: root / n), "a circle of files ends"
    (root / "tasks/common.yaml").unlink()
    with pytest.raises(InputNotFoundError, match="no such file of a task"):
        files_of(config, lambda n: root / n)


def test_what_is_missing_is_told_before_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingDependencyError, match=r"assay\[lm-eval\]"):
        require_harness()
    given = {"base": {"model": "toy"}, "registry": {"name": "a"}, "evaluate": asked("tasks/said.yaml").model_dump()}
    config = RunConfig.model_validate({"name": "x", "pipeline": "finetune", "dataset": "latest", **given})
    assert [error for _, _, error in faults(root, config)] == [MissingDependencyError]
    (root / "tasks/said.yaml").write_text("- 1")
    assert ConfigError in [error for _, _, error in faults(root, config)]
    (root / "s.yaml").write_text(
        "{name: s, version: '1', licence: x, tasks: [{name: q, kind: qa, file: q.jsonl, graders: [judge, bleu]}]}"
    )
    (root / "q.jsonl").write_text('{"question": "a?"}\n')
    evaluates = EvaluateConfig(suites=("s.yaml",))
    config = config.model_copy(update={"evaluate": evaluates})
    assert [(place, error) for place, _, error in faults(root, config)] == [(("evaluate", "suites"), InputError)]
    (root / "q.jsonl").write_text('{"question": "a?", "answer": "b"}\n')
    assert [what for _, what, _ in faults(root, config)] == ["task s.q is graded by judge: name evaluate.judge"]
    assert unmeasured("s.q", "bleu", root, evaluates) == "" and unmeasured("held_out", "bleu", root, evaluates) is None
    assert "no metric 'chrf'" in str(unmeasured("s.q", "chrf", root, evaluates))
    assert "no task 's.z'" in str(unmeasured("s.z", "chrf", root, evaluates))
    assert unmeasured("lm_eval:x", "acc", root, evaluates) == "evaluate.lm_eval names no tasks"


@pytest.mark.slow
def test_names_that_lm_eval_hasnt_and_data_that_isnt_in_reach_are_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    from huggingface_hub import constants

    names = ("arc_eezy", "arc_easy", "ai2_arc", "mmlu", "tasks/own.yaml")
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (online,) = faults_of_names(names, here=True)
    assert online.startswith("lm_eval has no task 'arc_eezy'; near it: arc_easy")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    wrong, gone = faults_of_names(names, here=True)
    assert wrong == online and gone.startswith(
        "offline (HF_DATASETS_OFFLINE), and the data of arc_easy, allenai/ai2_arc,"
    )
    assert list(faults_of_names(names, here=False)) == [online]
    (tmp_path / "datasets" / "allenai___ai2_arc").mkdir(parents=True)
    assert list(faults_of_names(names, here=True)) == [online]
    (tmp_path / "datasets" / "allenai___ai2_arc").rename(tmp_path / "datasets" / "other")
    (tmp_path / "hub" / "datasets--allenai--ai2_arc" / "snapshots").mkdir(parents=True)
    assert list(faults_of_names(names, here=True)) == [online]


_PREPARED = """
import json, shutil, sys
from pathlib import Path
from datasets import Dataset, load_dataset
home = Path(sys.argv[1])
rows = [{"question": f"{n} + 1?", "choices": {"text": [str(n + 1), "no"], "label": ["A", "B"]}, "answerKey": "A"}
        for n in range(4)]
names = ("train", "validation", "test")
for name in names:
    Dataset.from_list(rows).to_parquet(home / f"{name}.parquet")
load_dataset("parquet", data_files={n: str(home / f"{n}.parquet") for n in names}, cache_dir=str(home / "made"))
(made,) = (f.parent for f in (home / "made").rglob("dataset_info.json"))
to = home / "datasets" / "allenai___ai2_arc" / "ARC-Easy" / "0.0.0" / ("a" * 40)
to.mkdir(parents=True)
for file in made.glob("*.arrow"):
    shutil.copy(file, to / file.name.replace("parquet-", "ai2_arc-"))
info = json.loads((made / "dataset_info.json").read_text())
(to / "dataset_info.json").write_text(json.dumps(info | {"dataset_name": "ai2_arc", "config_name": "ARC-Easy"}))
"""
_ASKED = """
from pathlib import Path
from steps.contracts.errors import InputError
from steps.evaluate.harness.config import HarnessConfig
from steps.evaluate.harness.harness import run_harness
class Elsewhere: name = "x"
try:
    done = run_harness(Elsewhere(), HarnessConfig(tasks=("arc_easy",), limit=2), Path())
    print("found", [r.prompt for r in done.rows])
except InputError as e:
    print("refused", e.what, e.hint)
"""


@pytest.mark.slow
def test_a_task_of_the_hub_is_read_from_the_cache_alone_when_offline(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")

    def said(code: str) -> str:
        given = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        status, out = ended(python(code, tmp_path / "state", arguments=[str(tmp_path)], **given))
        assert status == 0, out
        return out

    refused = said(_ASKED)
    assert "refused lm_eval can't do it: ConnectionError: Couldn't reach 'allenai/ai2_arc'" in refused
    assert "ask the task once online" in refused
    said(_PREPARED)
    assert "found ['Question: 0 + 1?\\nAnswer:', 'Question: 1 + 1?\\nAnswer:']" in said(_ASKED)


@pytest.mark.slow
def test_figures_are_those_of_lm_evals_own_code(root: Path, tiny_model, monkeypatch: pytest.MonkeyPatch) -> None:
    lm_eval = pytest.importorskip("lm_eval", reason="the extra lm-eval isn't installed: pip install 'assay[lm-eval]'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(root / "cache"))
    config = asked("tasks/choice.yaml", "tasks/said.yaml", num_fewshot=0)
    with local_model("base", tiny_model, None, inference(config)) as subject:
        done = evaluate(subject, Suite("", ()), config, root, root / "base")
    monkeypatch.chdir(root / "tasks")
    theirs = lm_eval.simple_evaluate(
        model="hf", model_args=f"pretrained={tiny_model.path},dtype=float32", device="cpu", batch_size=4, num_fewshot=0,
        tasks=["sums_choice", "sums_said"], bootstrap_iters=0,
        task_manager=lm_eval.tasks.TaskManager(include_path=str(root / "tasks"), include_defaults=False),
    )["results"]  # fmt: skip
    ours = {t.task: {m.name: m.estimate.value for m in t.metrics} for t in done.report.tasks}
    assert ours == {
        "lm_eval:sums_choice": {n: theirs["sums_choice"][f"{n},none"] for n in ("acc", "acc_norm")},
        "lm_eval:sums_said": {"odd": theirs["sums_said"]["odd,none"]},
    }
    assert 0 < ours["lm_eval:sums_said"]["odd"] < 1, "some are and some aren't: equal by more than chance"
    assert f"bleu is {theirs['sums_said']['bleu,none']}" in " ".join(done.report.notes)
    rows = read_answers(done.answers)
    assert {t: len(r) for t, r in rows.items()} == {"lm_eval:sums_choice": 12, "lm_eval:sums_said": 12}
    assert all(r.evidence and r.prompt.startswith("What is") for r in rows["lm_eval:sums_said"])
    assert regraded(done.report.tasks[0], rows["lm_eval:sums_choice"], config, root) == []

    with ScriptedServer(lambda n, b: Act(body=completion("x").body)) as server:
        endpoint = Endpoint(base_url=server.url, model="m")
        with endpoint_model("served", endpoint, Prices(), root / "replies") as served:
            other = evaluate(served, Suite("", ()), config, root, root / "served")
        assert not server.bodies and "models on this machine alone" in str(other.report.notes)
    assert compare(done, [other]).differences == (), "it stands beside the others, and nothing is said of it"

    limited = asked("tasks/choice.yaml", limit=5)
    with local_model("base", tiny_model, None, inference(limited)) as subject:
        few = evaluate(subject, Suite("", ()), limited, root, root / "few").report.tasks[0]
        assert few.n == 5 and few.version != done.report.tasks[0].version
        with pytest.raises(InputError, match="lm_eval can't do it"):
            evaluate(subject, Suite("", ()), asked("no_such_task"), root, root / "none")
