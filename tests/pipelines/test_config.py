"""The run configs that are shipped, and what a run config refuses."""

import os
from pathlib import Path

import pytest

from pipelines.config import RunConfig
from pipelines.load import load_model
from pipelines.mistakes import exists
from pipelines.other_names import CALLED
from steps.contracts.errors import ConfigError, InputNotFoundError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "configs" / "runs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_config_is_valid_and_says_what_it_is(path: Path) -> None:
    load_model(RunConfig, path)
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("Cost:", "Command:", "Expect:"):
        assert any(word in line for line in header), word


def test_all_promised_configs_are_there() -> None:
    recipes = {"sft_lora_8b", "sft_lora_qwen3", "sft_lora_gemma", "full_small", "judge_openai", "qlora_8b",
               "half_small", "continued_pretraining", "dpo_lora_qwen3", "kto_lora_8b", "orpo_full_small",
               "reward_model", "grpo_json", "sft_lora_8gb", "sft_lora_t4", "full_4b_80gb",
               "full_8b_8x80gb", "distill_qwen3", "synthesize", "augment", "teacher_answers",
               "preference_pairs"}  # fmt: skip
    promised = {"quickstart", "smoke", "monitor", "data_report", *recipes}
    assert {p.stem for p in SHIPPED} == promised


def test_every_field_says_what_it_is() -> None:
    """So that editors show it: the settings of the run, of every stage, and of all that these hold."""
    schema = RunConfig.model_json_schema()
    silent = [
        f"{name}.{field}"
        for name, model in {"RunConfig": schema, **schema["$defs"]}.items()
        for field, said in model.get("properties", {}).items()
        if not said.get("description") and "const" not in said
    ]
    assert silent == []
    assert sum(len(model.get("properties", {})) for model in schema["$defs"].values()) > 300


def test_schema_file_is_what_the_model_says() -> None:
    import json

    assert json.loads((ROOT / "configs" / "schema.json").read_text()) == RunConfig.model_json_schema()


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_model(RunConfig, path)
    return str(caught.value)


def test_missing_parts_are_named_together(tmp_path: Path) -> None:
    message = refused(tmp_path, "name: x\n")
    for part in ("ingest", "scrub", "base", "registry"):
        assert part in message


def test_dataset_belongs_to_finetune(tmp_path: Path) -> None:
    text = "name: x\npipeline: finetune\nbase: {model: m}\nregistry: {name: m}\n"
    assert "finetune needs it" in refused(tmp_path, text)
    assert "finetune" in refused(tmp_path, "name: x\npipeline: curate\nskip: [scrub]\ndataset: latest\n"
                                           "ingest: {sources: [{name: a, path: a}]}\n")  # fmt: skip


def test_a_win_rate_is_a_step_of_its_own_beside_the_subjects(tmp_path: Path) -> None:
    from pipelines.step_names import position_of

    text = (
        "name: x\nskip: [scrub]\ningest: {sources: [{name: a, path: a}]}\nbase: {model: m}\nregistry: {name: m}\n"
        "evaluate:\n  judge: {endpoint: {base_url: 'http://127.0.0.1:1/v1', model: j}}\n"
        "  win_rate: {rubric: mine.yaml}\n  subjects: [{name: NAME, system: Be short.}]\n"
    )
    path = tmp_path / "run.yaml"
    path.write_text(text.replace("NAME", "prompted"))
    config = load_model(RunConfig, path)
    steps = [s for s in config.steps if s.startswith("evaluate")]
    assert steps == ["evaluate_base_step", "evaluate_prompted_step", "evaluate_tuned_step", "evaluate_pairs_step"]
    assert position_of("evaluate_pairs_step") == position_of("evaluate_base_step") < position_of("gate_step")
    assert config.evaluate.files() == ("mine.yaml",)
    assert config.evaluate.of_one.win_rate is None and config.evaluate.of_one.files() == ()
    assert "'pairs' is taken by evaluate.win_rate" in refused(tmp_path, text.replace("NAME", "pairs"))


def test_what_scrub_reads_besides_the_rows_enters_its_cache_key(tmp_path: Path) -> None:
    from pipelines.input_digests import read_inputs

    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    sources = {"sources": [{"name": "a", "path": "a.jsonl"}]}

    def key_id(**scrub: object) -> str:
        settings = {"name": "x", "pipeline": "curate", "scrub": {"demo_key": True, **scrub}, "ingest": sources}
        return read_inputs(tmp_path, RunConfig.model_validate(settings)).key_id

    seen = [key_id()]
    for words in ("Ann Lee\n", "Bo Li\n"):
        (tmp_path / "staff.txt").write_text(words)
        seen.append(key_id(deny_files={"PERSON": "staff.txt"}))
    model = tmp_path / "model"
    model.mkdir()
    for weights in ("1", "2"):
        (model / "weights").write_text(weights)
        seen.append(key_id(ner={"engine": "spacy", "model": "model"}))
    assert len(set(seen)) == len(seen)
    with pytest.raises(InputNotFoundError, match="nowhere"):
        key_id(allow_file="nowhere.txt")


def test_config_without_a_key_is_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.input_digests import read_inputs

    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.delenv("ASSAY_PII_KEY", raising=False)
    config = RunConfig.model_validate(
        {"name": "x", "pipeline": "curate", "scrub": {}, "ingest": {"sources": [{"name": "a", "path": "a.jsonl"}]}}
    )
    with pytest.raises(ConfigError, match="ASSAY_PII_KEY"):
        read_inputs(tmp_path, config)
    assert "ASSAY_PII_KEY" not in os.environ


def test_an_old_key_of_train_names_its_new_place(tmp_path: Path) -> None:
    text = "name: x\ntrain:\n  method: full\n  lora:\n    r: 4\n  packing: bfd\n"
    message = refused(tmp_path, text)
    assert "line 3: train.method: unknown key; train.method is now train.weights.kind" in message
    assert "line 4: train.lora: unknown key; train.lora is now train.weights" in message
    assert "line 6: train.packing: unknown key; train.packing is now train.objective.packing" in message


def test_a_mistake_inside_a_union_is_named_as_it_is_written(tmp_path: Path) -> None:
    text = "name: x\ntrain:\n  weights:\n    kind: lora\n    lora_alfa: 4\n    r: 0\n"
    message = refused(tmp_path, text)
    assert "line 5: train.weights.lora_alfa: unknown key; did you mean 'lora_alpha'?" in message
    assert "line 6: train.weights.r: " in message
    text = "name: x\ntrain:\n  weights: {r: 4}\n"
    assert "line 3: train.weights: 'kind' is missing" in refused(tmp_path, text)


PHASES = "name: x\ntrain:\n  - {name: a, weights: {kind: lora}, max_steps: 4}\n  - %s\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (PHASES % "{name: b, max_step: 4}", ["line 4: train.1.max_step: unknown key; did you mean 'max_steps'?"]),
        (PHASES % "{name: b, weights: {kind: full, r: 8}}",
         ["line 4: train.1.weights.r: unknown key; another kind has it"]),
        (PHASES % "{name: b, rows: {split: test}}",
         ["line 4: train.1.rows.split: Input should be 'train' or 'validation' (found 'test')"]),
        (PHASES % "{name: b, max_steps: 4, num_train_epochs: 1}",
         ["line 4: train.1: max_steps and num_train_epochs clash (remove one of them)"]),
        (PHASES % "b", ["line 4: train.1: a mapping of keys is wanted (found 'b')"]),
        (PHASES % "{name: a}", ["line 2: train: two models are called 'a'; base is the model at the start"]),
        ("name: x\nevaluate: {metrics: [blue]}\n",
         ["line 2: evaluate.metrics.0: Input should be 'loss', 'exact_match', 'contains', 'numeric', 'json_valid',"
          " 'field_accuracy', 'key_accuracy', 'type_accuracy', 'rouge_l', 'bleu', 'chrf' or 'preference_accuracy'"
          " (found 'blue')"]),
        ("name: x\nevaluate: {extractor: jsn}\n",
         ["line 2: evaluate.extractor: Input should be 'none', 'json', 'final_number' or 'regex' (found 'jsn'),"
          " or: Input should be 'auto' (found 'jsn')"]),
        ("name: x\ntrain: {weights: {kind: loha}, batch_size: 2}\n",
         ["line 2: train.weights: 'loha' is none of 'lora', 'qlora', 'full', 'half', 'partial'",
          "line 2: train.batch_size: unknown key; here it is called train.per_device_train_batch_size"]),
        ("name: x\ningest: {sources: x}\n", ["line 2: ingest.sources: a list is wanted (found 'x')"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_once_where_it_stands_and_in_words(tmp_path: Path, text: str, lines: list[str]) -> None:
    said = refused(tmp_path, text).split("\n")
    assert [line.strip() for line in said if ": pipeline: " not in line][1 : len(lines) + 1] == lines


def test_names_of_other_tools_lead_to_ours(tmp_path: Path) -> None:
    assert [ours for paths in CALLED.values() for ours in paths if not exists(RunConfig, ours)] == []
    text = (
        "name: x\nepochs: 3\nlr: 1.0e-4\ntrain: {lora_r: 4, max_seq_length: 9, output_dir: a}\n"
        "ingest: {sources: [{name: a, path: a, type: alpaca, Data-Files: b}]}\nmax_steps: 4\n"
    )
    said = refused(tmp_path, text)
    for line in (
        "line 2: epochs: unknown key; here it is called train.num_train_epochs",
        "line 3: lr: unknown key; here it is called train.learning_rate",
        "line 4: train.lora_r: unknown key; here it is called train.weights.r",
        "line 4: train.max_seq_length: unknown key; here it is called train.max_length",
        "line 4: train.output_dir: unknown key; there is no such key: results go to the stack's artifact store",
        "line 5: ingest.sources.0.type: unknown key; here it is called ingest.sources.format",
        "line 5: ingest.sources.0.Data-Files: unknown key; here it is called ingest.sources",
        "line 6: max_steps: unknown key; it belongs elsewhere: train.max_steps",
    ):
        assert line in said
    assert said.count("\n  line") + said.count("\n  scrub") == 9


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("name: x\npipeline: finetune\ndataset: d\nregistry: {name: m}\ntrain: {method: full}\n",
         ["base: pipeline 'finetune' needs it: the model to start from", "train.method: unknown key"]),
        ("pipeline: curate\nskip: [scrub]\n", ["ingest: pipeline 'curate' needs it: the sources to read",
                                               "name: Field required"]),
        ("name: x\npipeline: curate\nskip: [scrub]\ningst: {sources: [{name: a, path: a}]}\n",
         ["ingst: unknown key; did you mean 'ingest'?"]),
        ("name: x\npipeline: curate\nskip: [scrub]\ningest: {sources: [{name: a, pth: a}]}\n",
         ["ingest.sources.0.pth: unknown key; did you mean 'path'?"]),
        ("name: x\npipeline: curate\nskip: [scrub]\ningest: {sources: [{nme: a, path: a}, {name: '/'}]}\n",
         ["ingest.sources.0.nme: unknown key; did you mean 'name'?", "ingest.sources.1.name: source name '/'"]),
        ("name: X Y\npipeline: curate\nskip: [srub]\ningest: {sources: [{name: a, path: a}]}\ngate: {min_n: a}\n",
         ["gate.min_n: ", "name: String should match", "skip.0: Input should be"]),
        ("name: x\npipeline: finetune\ndataset: d\nbase: {model: m}\nregistry: {name: m}\n"
         "train: [{name: a, max_step: 1}]\ngate: {reference: c, candidate: b}\n",
         ["gate.candidate: no subject 'b'", "gate.reference: no subject 'c'", "train.0.max_step: unknown key"]),
        ("name: x\npipeline: finetune\ndataset: d\nbase: {model: m}\nregistry: {name: m}\n"
         "train: [{name: a, max_steps: z}]\ngate: {candidate: b}\n", ["train.0.max_steps: "]),
    ],
)  # fmt: skip
def test_every_mistake_is_told_and_no_other(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    told = sorted(line.strip().partition(": ")[2] if line.strip().startswith("line") else line.strip()
                  for line in refused(tmp_path, text).split("\n")[1:])  # fmt: skip
    assert len(told) == len(mistakes), told
    assert all(line.startswith(start) for line, start in zip(told, mistakes, strict=True)), told


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"name: a\nscreen: {{judge: 1}}\nsplit: {{test: {'9' * 3000}x}}\n")
    with pytest.raises(ConfigError) as told:
        load_model(RunConfig, file)
    assert "(found '999" in str(told.value) and len(str(told.value)) < 1500
