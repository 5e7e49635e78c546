"""A model that others registered in MLflow, as a base: by real registries in SQLite."""

import json
import shutil

import pytest
import torch
import yaml
from support.tiny_model import build_tiny_model
from support.tracking import tracking_at
from support.tuned_models import adapted

from steps.base.mlflow_model import layout_of
from steps.base.registered import from_mlflow
from steps.contracts.errors import ConfigError, InputNotFoundError
from steps.engines.lm.load import load
from steps.engines.tracking.registered_files import RegisteredFiles
from steps.register.champion import registered_version

PLACE = "models:/theirs/1"
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
WHOLE = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """(the registry's URI, what registers a folder as the first version of a name). Making it takes seconds."""
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/ml.db"
    client = MlflowClient(uri, registry_uri=uri)

    def register(folder, name):
        client.create_registered_model(name)
        return RegisteredFiles(uri, name, client.create_model_version(name, str(folder)).version)

    return uri, register


def logits(loaded):
    with torch.inference_mode():
        return loaded.model(input_ids=torch.arange(3, 40)[None]).logits


@pytest.mark.slow
def test_a_folder_of_safetensors_is_copied_whole_and_named_by_its_version(model, registry, tmp_path):
    uri, register = registry
    shutil.copytree(model.path, tmp_path / "run" / "data" / "best")
    (tmp_path / "run" / "data" / "best" / "training_args.bin").write_bytes(b"pickled")
    (tmp_path / "run" / "data" / "best" / "modeling.py").write_text("raise SystemExit")
    (tmp_path / "run" / "notes.json").write_text("{}")
    files = register(tmp_path / "run", "theirs")
    found = registered_version(uri, "theirs", version="1")
    assert found is not None and not found.is_ours and found.source == str(tmp_path / "run") and found.made > 0
    base = from_mlflow(files, {"source": found.source}, tmp_path / "base", None)
    info = base.info
    assert (info.kind, info.name, info.parameters) == ("full", PLACE, model.info.parameters)
    assert (info.base.source, info.base.name, info.base.digest) == ("registered", PLACE, info.digest)
    assert info.started_from == () and [a.name for a in info.lineage] == [PLACE]
    assert info.notes[0].startswith(f"{PLACE} was registered by others, from {tmp_path}/run: ")
    assert set(info.files) == set(model.info.files)
    assert {p.name for p in (tmp_path / "base").iterdir()} == set(info.files)
    assert torch.equal(logits(load(base)), logits(load(model)))


@pytest.mark.slow
def test_what_mlflow_s_flavor_wrote_is_put_together_again(model, tmp_path):
    """Its tokenizer lies in another folder than its weights."""
    import mlflow
    from mlflow import MlflowClient

    uri, loaded = f"sqlite:///{tmp_path}/ml.db", load(model)
    with tracking_at(uri):
        mlflow.set_registry_uri(uri)
        experiment = MlflowClient(uri).create_experiment("theirs", artifact_location=str(tmp_path / "artifacts"))
        with mlflow.start_run(experiment_id=experiment):
            mlflow.transformers.log_model(
                transformers_model={"model": loaded.model, "tokenizer": loaded.tokenizer}, name="m",
                task="text-generation", pip_requirements=[], registered_model_name="theirs",
            )  # fmt: skip
    files = RegisteredFiles(uri, "theirs", "1")
    assert any(n.startswith("components/tokenizer/") for n in files.names())
    base = from_mlflow(files, {"source": "there"}, tmp_path / "base", None)
    assert torch.equal(logits(load(base)), logits(load(model)))
    assert load(base).tokenizer.chat_template == loaded.tokenizer.chat_template


@pytest.mark.parametrize(
    ("names", "contents", "error", "said"),
    [
        (WHOLE, {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}, ConfigError,
         "is no causal language model, but BertForSequenceClassification"),
        (WHOLE, {"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"}, ConfigError,
         "is no causal language model, but LlamaForSequenceClassification"),
        (WHOLE, {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, ConfigError, "but T5ForCond"),
        (["model.pkl", "MLmodel"], {}, InputNotFoundError, "holds no transformers model"),
        (["config.json", "pytorch_model.bin"], {}, InputNotFoundError, "no *.safetensors in .; pickled weights are"),
        (["adapter_config.json", "adapter_model.safetensors"], {}, ConfigError, "is an adapter, without the weights"),
        ([f"{f}/{n}" for f in ("a", "b") for n in WHOLE], {}, InputNotFoundError, "holds 2 models, in a, b"),
        (WHOLE[:2], LLAMA, InputNotFoundError, "has weights, and no tokenizer"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_causal_model_is_refused_by_a_look_at_it(names, contents, error, said):
    with pytest.raises(error) as refused:
        layout_of(PLACE, names, lambda _: json.dumps(contents).encode())
    assert said in str(refused.value)
    assert PLACE in str(refused.value)


@pytest.mark.parametrize(
    ("flavor", "said"),
    [
        ({"peft_adaptor": "peft", "model_binary": "model"}, "is an adapter of peft"),
        ({"source_model_name": "owner/large", "source_model_revision": "c0ffee"},
         "start from them: base: {model: owner/large, revision: c0ffee}"),
        ({"model_binary": "model"}, "no *.safetensors in model"),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_flavor_only_names_is_refused(flavor, said):
    names = ["MLmodel", *(["model/config.json", "model/pytorch_model.bin"] if flavor.get("model_binary") else [])]
    with pytest.raises((ConfigError, InputNotFoundError)) as refused:
        layout_of(PLACE, names, lambda _: yaml.safe_dump({"flavors": {"transformers": flavor}}).encode())
    assert said in str(refused.value)


def test_of_a_flavor_both_folders_are_taken_and_nothing_else():
    names = ["MLmodel", "conda.yaml", "requirements.txt", "model/config.json", "model/model.safetensors",
             "model/generation_config.json", "components/tokenizer/tokenizer.json", "model/pytorch_model.bin",
             "components/tokenizer/tokenizer_config.json", "components/tokenizer/chat_template.jinja"]  # fmt: skip
    told = {"MLmodel": {"flavors": {"transformers": {"model_binary": "model", "components": ["tokenizer"]}}}}
    found = layout_of(PLACE, names, lambda n: json.dumps(told.get(n, LLAMA)).encode())
    assert (found.weights, found.tokenizer) == ("model", "components/tokenizer")
    assert set(names) - set(found.files) == {"MLmodel", "conda.yaml", "requirements.txt", "model/pytorch_model.bin"}


@pytest.mark.slow
def test_files_that_are_gone_and_adapters_are_told(model, registry, tmp_path):
    _, register = registry
    with pytest.raises(InputNotFoundError, match="models:/gone/1 has no files"):
        from_mlflow(register(tmp_path / "gone", "gone"), {"source": "x"}, tmp_path / "base", None)
    adapter = adapted(model, tmp_path / "adapter")
    with pytest.raises(ConfigError, match="models:/adapter/1 is an adapter, without the weights"):
        from_mlflow(register(adapter.path, "adapter"), {"source": "x"}, tmp_path / "base", None)
    assert not (tmp_path / "base").exists()
