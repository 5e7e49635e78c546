"""What is found before a run: each thing that would stop it, and what it would do less than the config says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import sample_run
from support.documents import SCAN, pdf
from support.tiny_model import build_tiny_model
from typer.testing import CliRunner

from ops.commands.config import validate
from ops.infra import InfraConfig
from ops.main import app
from ops.preflight import checked, findings
from ops.run_index import save_run
from pipelines.config import RunConfig
from steps.contracts.errors import AssayError, ConfigError, MissingDependencyError

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "c0ffee" * 6 + "c0ff"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("ASSAY_PII_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    (tmp_path / "chats.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 2)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.txt").write_text("A page.")
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "config.json").write_text('{"max_position_embeddings": 512}')
    small = {"model_type": "llama", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32,
             "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}  # fmt: skip
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.json").write_text(json.dumps(small))
    cached = tmp_path / "hub" / "models--owner--cached"
    (cached / "snapshots" / COMMIT).mkdir(parents=True)
    (cached / "snapshots" / COMMIT / "config.json").write_text(json.dumps(small | {"max_position_embeddings": 256}))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "broken.jinja").write_text("{% for m in messages %}")
    (tmp_path / "picture.jinja").write_bytes(b"\x89PNG\xff")
    (tmp_path / "general.jsonl").write_text('{"text": "x"}\n')
    return tmp_path


def config(**changes: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "ingest": {"sources": [{"name": "chats", "path": "chats.jsonl"}]},
        "scrub": {"demo_key": True},
        "base": {"model": "owner/model"},
        "registry": {"name": "mine"},
        **changes,
    }


def check(root: Path, values: dict[str, Any], stack: Path | None = None) -> list[str]:
    path = root / "run.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return checked(root, path, stack=stack)[1]


def sources(*names: str) -> dict[str, Any]:
    files = {"chats": "chats.jsonl", "pairs": "pairs.jsonl", "pages": "pages"}
    return {"sources": [{"name": n, "path": files[n]} for n in names]}


CONTROL = {"controls": [{"name": "general", "kind": "perplexity", "path": "general.jsonl"}]}


def test_a_config_whose_things_are_there_passes_with_its_notes(root: Path) -> None:
    notes = check(root, config(evaluate=CONTROL, gate={"metric": "general/loss", "required_controls": ["general"]}))
    assert len(notes) == 3
    assert notes[0].startswith("train.rows: 1 row to train on")
    del notes[0]
    assert "line 6: scrub: the published demo key is used" in notes[0]
    assert "nothing looks for PERSON, LOCATION, ORGANIZATION" in notes[1]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"ingest": {"sources": [{"name": "a", "path": "chat.jsonl"}]}}, "no such file"),
        ({"ingest": {"sources": [{"name": "a", "path": "chats.jsonl", "columns": {"prompt": "frage"}}]}},
         "no column 'frage'"),
        ({"scrub": {}}, "the environment variable ASSAY_PII_KEY is not set"),
        ({"scrub": {"demo_key": True, "allow_file": "words.txt"}}, "no such file: words.txt"),
        ({"base": {"model": "./models/x"}}, "no such folder: ./models/x"),
        ({"base": {"model": "./short"}}, "train.max_length: max_length is 1024 tokens, the model's context is 512"),
        ({"template": {"override": "broke.jinja"}}, "no such file: broke.jinja; did you mean broken.jinja?"),
        ({"template": {"override": "broken.jinja"}}, "line 13: template.override: broken.jinja: the chat template is no"
         " Jinja template"),
        ({"template": {"override": "picture.jinja"}}, "picture.jinja: the template file is no UTF-8 text"),
        ({"judge": {"backend": "llm", "endpoint": {"base_url": "http://localhost:1", "model": "m",
                                                    "key_env": "OPENAI_API_KEY"}}}, "OPENAI_API_KEY is not set"),
        ({"reuse": "mine-1"}, "no run 'mine-1'; did you mean mine-10?"),
        ({"train": {"rows": {"sources": ["chat"]}}}, "no source 'chat'; ingest has chats"),
        ({"train": {"rows": {"mixture": {"chat": 2}}}}, "no source 'chat' among those that the phase takes: chats"),
        ({"train": {"hub_model_id": "acme/orders"}}, "the environment variable HF_TOKEN is not set"),
        ({"evaluate": {"controls": [{"name": "g", "kind": "perplexity", "path": "genera.jsonl"}]}},
         "no such file: genera.jsonl; did you mean general.jsonl?"),
        ({"gate": {"metric": "exact_mach"}}, "no metric 'exact_mach'; did you mean 'exact_match'?"),
        ({"gate": {"floors": {"general/loss": 1}}}, "no control 'general'; evaluate.controls has none"),
        ({"gate": {"required_controls": ["x"]}, "evaluate": CONTROL}, "no control 'x'; evaluate.controls has general"),
        ({"evaluate": {"metrics": ["rouge_l"]}, "gate": {"metric": "exact_match"}},
         "'exact_match' is not measured: evaluate.metrics is rouge_l"),
        ({"train": {"fp16": True, "device": "cpu"}}, "train: fp16 is true, which is for CUDA GPUs"),
        ({"train": {"use_liger_kernel": True, "device": "cpu"}}, "train: use_liger_kernel is for CUDA GPUs"),
        ({"train": {"objective": {"kind": "grpo", "rewards": [{"function": "no.such:thing"}]}}},
         "train.objective: no reward function no.such:thing"),
        ({"train": {"objective": {"kind": "distill", "teacher": {"model": "./shor"}}}},
         "train.objective: no such folder: ./shor; did you mean short?"),
        ({"base": {"model": "./small"}, "train": {"weights": {"kind": "lora", "target_modules": ["q_proj", "query"]}}},
         "train.weights: weights.target_modules: the model has no layer called query; leave it out"),
        ({"base": {"model": "./small"}, "train": {"weights": {"kind": "lora", "rank_pattern": {"c_attn": 4}}}},
         "weights.rank_pattern: no layer with an adapter is called 'c_attn'"),
        ({"base": {"model": "./small"}, "train": [{"name": "a"}, {"name": "b", "weights": {"kind": "partial",
                                                                                      "layers": "last 9"}}]},
         "train.1.weights: weights.layers is 'last 9', the model has 2 layers"),
        ({"base": {"model": "./small"}, "train": {"weights": {"kind": "lora", "bias": "all"}}},
         "weights.bias is all, and the model has no bias; leave it out"),
        ({"base": {"model": "./small"},
          "train": {"weights": {"kind": "partial", "layers": "all"}, "new_tokens": ["<a>"]}},
         "train.weights: new tokens are added, but the embeddings are frozen"),
        ({"base": {"model": "owner/cached"}}, "max_length is 1024 tokens, the model's context is 256"),
        ({"train": [{"name": "a"}, {"name": "b", "new_tokens": ["<a>"], "weights": {"kind": "full"}, "objective":
                                    {"kind": "distill", "teacher": {"phase": "a"}}}]},
         "train.1.objective: the phase a has other new_tokens than b, and so another vocabulary"),
        ({"split": {"validation": 0}, "train": {"eval_steps": 5}},
         "train.eval_steps: eval_steps is 5, but split.validation is 0: there are no validation rows"),
        ({"report": {"sections": ["no.such:thing"]}}, "no such function: 'no.such:thing'"),
        ({"ingest": sources("pairs", "pages")}, "which no phase of training reads"),
        ({"ingest": sources("chats", "pages"),
          "train": [{"name": "one"}, {"name": "two", "objective": {"kind": "dpo"}}]},
         "train.1: two would have nothing to train on: dpo can't use a single row of the sources: of the first rows 1"
         " conversation, 1 document (objective.kind: sft takes them; objective.kind: continued_pretraining"),
        ({"ingest": sources("chats", "pairs"),
          "train": [{"name": "one"}, {"name": "two", "rows": {"kinds": ["document"]}}]},
         "train.1: two would have nothing to train on: no row of the sources is left by what its `rows` name: there are"
         " conversations of chats; preferences of pairs"),
    ],
)  # fmt: skip
def test_what_would_stop_the_run_is_found(root: Path, changes: dict[str, Any], line: str) -> None:
    save_run(root, sample_run.record("mine-10"), "")
    with pytest.raises(AssayError) as caught:
        check(root, config(**changes))
    assert line in str(caught.value)


def test_all_is_told_at_once_beside_the_mistakes_of_the_config_itself(root: Path) -> None:
    values = config(epochs=3, scrub={}, gate={"metric": "x"}, ingest={"sources": [{"name": "a", "path": "gone.jsonl"}]})
    del values["base"]
    with pytest.raises(ConfigError) as caught:
        check(root, values)
    said = str(caught.value)
    assert "5 mistakes" in said
    for part in ("epochs: unknown key", "scrub: no pseudonym key", "gate.metric: no metric", "base: pipeline",
                 "ingest.sources.0: no such file"):  # fmt: skip
        assert part in said


def test_rows_that_nothing_trains_on_are_told_and_stop_nothing(root: Path) -> None:
    notes = check(root, config(ingest=sources("chats", "pairs", "pages")))
    idle = [n for n in notes if "no phase of training reads" in n]
    assert len(idle) == 2
    assert "its rows are preferences" in idle[0] and "objective.preference_as: chosen" in idle[0]
    assert "objective.kind: dpo or kto or orpo" in idle[0]
    assert "its rows are documents" in idle[1] and "objective.kind: continued_pretraining" in idle[1]
    chosen = config(ingest=sources("chats", "pairs"), train={"objective": {"kind": "sft", "preference_as": "chosen"}})
    assert not [n for n in check(root, chosen) if "no phase" in n]
    curated = {**config(ingest=sources("pairs")), "pipeline": "curate"}
    assert not [n for n in check(root, curated) if "no phase" in n]


def test_a_file_that_can_t_be_read_stops_nothing_where_others_can(root: Path) -> None:
    (root / "mixed").mkdir()
    (root / "mixed" / "broken.jsonl").write_text('{"prompt": \n')
    values = config(ingest={"sources": [{"name": "mixed", "path": "mixed"}], "max_reject_share": 0.5})
    with pytest.raises(AssayError, match="none of the first 1 rows can be read"):
        check(root, values)
    (root / "mixed" / "good.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    check(root, values)
    # Its first pages may be pictures, and its other ones not.
    (root / "scans").mkdir()
    (root / "scans" / "scan.pdf").write_bytes(pdf(SCAN))
    check(root, config(ingest={"sources": [{"name": "scans", "path": "scans"}]}))


def test_what_a_stack_needs_is_found_and_sources_may_lie_elsewhere(root: Path) -> None:
    stack = root / "far.yaml"
    orchestrator = [{"name": "k", "flavor": "kubernetes", "configuration": {"token": "${FAR_TOKEN}"}}]
    stack.write_text(yaml.safe_dump({"stack_name": "far", "components": {"orchestrator": orchestrator}}))
    values = config(ingest={"sources": [{"name": "a", "path": "/mnt/only-there.jsonl"}]})
    with pytest.raises(ConfigError, match="the stack needs the environment variable FAR_TOKEN") as caught:
        check(root, values, stack)
    assert "only-there" not in str(caught.value)


def test_the_command_tells_notes_and_options(root: Path) -> None:
    path = root / "run.yaml"
    path.write_text(yaml.safe_dump(config(ingest={"sources": [{"name": "a", "path": str(root / "chats.jsonl")}]})))
    done = CliRunner().invoke(app, ["validate", str(path), "--json"])
    (told,) = json.loads(done.stdout)["configs"]
    assert done.exit_code == 0 and told["ok"] and len(told["notes"]) == 3
    done = CliRunner().invoke(app, ["validate", str(path), "--set", "gate.metric=x"])
    assert done.exit_code == 2 and "--set gate.metric=x: gate.metric: no metric 'x'" in done.stderr
    assert CliRunner().invoke(app, ["validate", str(path), "--infra", "no-such"]).exit_code == 3


def test_functions_of_the_checkout_are_found_from_wherever_the_command_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The script of the command has its own folder on the path, and not the checkout."""
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(ROOT))])
    for name in [n for n in sys.modules if n.partition(".")[0] == "examples"]:
        monkeypatch.delitem(sys.modules, name)
    assert validate(ROOT, [ROOT / "configs" / "runs" / "quickstart.yaml"], None, [], None, False) == 0


def test_a_batch_that_the_processes_of_the_infra_file_can_t_share_is_found(root: Path) -> None:
    infra = InfraConfig.model_validate({"stack": "local", "steps": {"train_step": {"training": {"processes": 3}}}})
    (root / "run.yaml").write_text(yaml.safe_dump(config(train={"gradient_accumulation_steps": 4})))
    checked(root, root / "run.yaml")
    with pytest.raises(ConfigError, match="train: 3 processes share 4 forward passes") as caught:
        checked(root, root / "run.yaml", infra=infra)
    way_out = "instead of a batch of 32 rows one of 48 rows: --set train.gradient_accumulation_steps=6"
    assert way_out in str(caught.value)


@pytest.mark.parametrize("installed", [True, False])
def test_deepspeed_that_is_not_installed_is_found(root: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setattr("steps.train.plan.find_spec", lambda name: object() if installed else None)
    training = {"processes": 2, "strategy": "deepspeed", "zero": {"stage": 3}}
    infra = InfraConfig.model_validate({"stack": "local", "steps": {"train_step": {"training": training}}})
    (root / "run.yaml").write_text(yaml.safe_dump(config(train={"gradient_accumulation_steps": 4})))
    if installed:
        checked(root, root / "run.yaml", infra=infra)
        return
    with pytest.raises(
        MissingDependencyError, match=r"train: training\.strategy deepspeed needs DeepSpeed, which isn't"
    ):
        checked(root, root / "run.yaml", infra=infra)


def test_what_an_infra_file_says_of_processes_in_vain_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def notes(**training: Any) -> list[str]:
        infra = InfraConfig.model_validate({"stack": "local", "steps": {"train_step": {"training": training}}})
        (root / "run.yaml").write_text(yaml.safe_dump(config(train={"gradient_accumulation_steps": 4})))
        return [n for n in checked(root, root / "run.yaml", infra=infra)[1] if "of the infra file" in n]

    assert notes(processes=2, strategy="fsdp2") == []
    (alone,) = notes(strategy="fsdp2", processes=1)
    assert "train: training.strategy fsdp2 of the infra file shares nothing: one process trains" in alone
    monkeypatch.setattr("steps.train.plan.find_spec", lambda name: object())
    assert notes(strategy="deepspeed", zero={"offload": "optimizer"}) == []
    (alone,) = notes(strategy="deepspeed")
    assert "train: training.strategy deepspeed of the infra file shares nothing: one process trains" in alone
    (waits,) = notes(join_seconds=60, address="10.0.0.1")
    assert "training.address and join_seconds of the infra file say nothing: one machine trains" in waits


def test_a_teacher_of_another_vocabulary_is_found_before_anything_is_made(root: Path) -> None:
    for name in ("student", "teacher"):
        build_tiny_model(root / name)
    taught: dict[str, Any] = {"kind": "distill", "teacher": {"model": "./teacher"}, "max_completion_length": 8}
    values = config(base={"model": "./student"}, train={"max_length": 64, "objective": taught})
    check(root, values)
    described = json.loads((root / "teacher" / "config.json").read_text())
    (root / "teacher" / "config.json").write_text(json.dumps(described | {"vocab_size": 328}))
    with pytest.raises(ConfigError, match=r"train\.objective: the teacher's head has 328 outputs, that of the model"):
        check(root, values)
    tokens = json.loads((root / "teacher" / "tokenizer.json").read_text())
    tokens["added_tokens"][0]["content"] = "<|end|>"
    (root / "teacher" / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(ConfigError, match=r"train\.objective: the teacher has another vocabulary than the model"):
        check(root, values)


def test_validation_losses_after_the_last_step_are_told(root: Path) -> None:
    train = {"max_steps": 20, "eval_steps": 50, "early_stopping_patience": 2}
    (note,) = [n for n in check(root, config(train=train)) if "eval_steps" in n]
    assert "on the way: max_steps is 20, so that early_stopping_patience does nothing" in note
    assert not [n for n in check(root, config(train=train | {"eval_steps": 20})) if "eval_steps" in n]


def test_logs_that_are_not_there_and_paths_that_steps_elsewhere_do_not_have(root: Path) -> None:
    values = {
        "name": "watch", "pipeline": "monitor", "dataset": "mine", "scrub": {"demo_key": True},
        "logs": {"paths": ["logs/*.jsonl", "chats.jsonl"]}, "monitor": {"candidates": {"folder": "kept"}},
    }  # fmt: skip
    config = RunConfig.model_validate(values)

    def told(stack: str) -> dict[tuple[str | int, ...], str]:
        found = findings(root, config, ROOT / ".zenml" / "stacks" / f"{stack}.yaml")
        return {f.place: f.what for f in found if f.place[:1] in (("logs",), ("monitor",))}

    assert (
        list(told("local")) == [("logs", "paths", 0)]
        and "no log here: logs/*.jsonl" in told("local")["logs", "paths", 0]
    )
    assert set(told("kubernetes")) == {
        ("logs", "paths", 0), ("logs", "paths", 1), ("monitor", "candidates", "folder")
    }  # fmt: skip


FULL = {"weights": {"kind": "full"}, "max_steps": 1}


@pytest.mark.parametrize(
    ("export", "changes", "said"),
    [
        ({"formats": [{"to": "adapter"}]}, {"train": FULL}, "tuned has full weights, no adapter; to: merged"),
        (
            {"formats": [{"to": "adapter"}]},
            {"train": [{"name": "one", "max_steps": 1}, {"name": "two", "max_steps": 1}]},
            "two lies over the adapter of an earlier phase, which programs wouldn't see; to: merged",
        ),
        (
            {"formats": [{"to": "merged"}]},
            {"evaluate": {"decoding": {"no_repeat_ngram_size": 3}}},
            "exports are held against greedy answers, and other programs don't know what evaluate.decoding asks for",
        ),
        ({"formats": [{"to": "gguf"}]}, {}, "no convert_hf_to_gguf.py in this folder"),
    ],
)
def test_exports_that_cannot_be_made_are_told_before(root, monkeypatch, export, changes, said) -> None:
    monkeypatch.setenv("ASSAY_LLAMA_CPP", str(root))
    monkeypatch.setattr("steps.engines.exports.gguf.gguf_format.require_llama", lambda: None)
    found = findings(root, RunConfig.model_validate(config(export=export, **changes)))
    assert [f.what.split("; `make")[0] for f in found if f.place[0] == "export"] == [said]


def test_an_architecture_that_llama_cpp_has_no_class_for_is_told_before(root, monkeypatch) -> None:
    (root / "llama.cpp/conversion").mkdir(parents=True)
    (root / "llama.cpp/gguf-py").mkdir()
    (root / "llama.cpp/convert_hf_to_gguf.py").write_text("")
    (root / "llama.cpp/conversion/base.py").write_text('@ModelBase.register("LlamaForCausalLM", "MistralForCausalLM")')
    monkeypatch.setenv("ASSAY_LLAMA_CPP", str(root / "llama.cpp"))
    monkeypatch.setattr("steps.engines.exports.gguf.gguf_format.require_llama", lambda: None)

    def told(name: str) -> list[str]:
        said = json.loads((root / "small/config.json").read_text()) | {"architectures": [name]}
        (root / "small/config.json").write_text(json.dumps(said))
        values = config(export={"formats": [{"to": "gguf"}]}, base={"model": "small"})
        return [f.what for f in findings(root, RunConfig.model_validate(values)) if f.place[0] == "export"]

    assert told("MistralForCausalLM") == []
    assert told("ZephyrusForCausalLM") == ["llama.cpp has no architecture ZephyrusForCausalLM; --to merged"]


@pytest.mark.parametrize(
    ("export", "said"),
    [
        ({"formats": [{"to": "merged", "dtype": "q8_0"}]}, "merged has no number format 'q8_0'"),
        ({"formats": [{"to": "merged"}, {"to": "merged"}]}, "named twice: merged"),
        ({"formats": [{"to": "merged", "pre_tokenizer": "qwen2"}]}, "pre_tokenizer is of gguf, this is merged"),
        ({"formats": [], "runtimes": []}, "nothing is exported"),
    ],
)
def test_exports_that_say_nothing_possible_are_refused(export, said) -> None:
    with pytest.raises(ValueError, match=said):
        RunConfig.model_validate(config(export=export))
