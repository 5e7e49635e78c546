import shutil
import socket
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support.word_model import described, save_tiny
from transformers import AutoModelForCausalLM

from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError, UnsafeSerializationError
from steps.contracts.models import BaseRef, ModelFolder, ModelInfo
from steps.engines.lm.folder import check_files, count_parameters, model_files, model_folder
from steps.engines.lm.load import load, load_tokenizer

IDS = torch.tensor([[3, 9, 27, 41]])


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("loading a local model must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.fixture(scope="module")
def adapter(tiny: ModelFolder, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    path = tmp_path_factory.mktemp("adapter") / "adapter"
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(str(tiny.path))
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    tuned.save_pretrained(path)
    return model_folder(path, kind="adapter", base=tiny.info.base, parameters=1, trainable=1)


def test_loads_the_weights_and_tokenizer_that_were_saved(tiny: ModelFolder) -> None:
    loaded = load(tiny, device="cpu")
    saved = AutoModelForCausalLM.from_pretrained(str(tiny.path))
    assert torch.equal(logits(loaded.model), logits(saved.eval()))
    assert loaded.tokenizer("w5 w6")["input_ids"] == [7, 8]
    assert loaded.model.training is False
    assert next(loaded.model.parameters()).dtype == torch.float32


def test_adapter_is_applied_and_merging_changes_nothing(tiny: ModelFolder, adapter: ModelFolder) -> None:
    base = AutoModelForCausalLM.from_pretrained(str(tiny.path))
    beside = logits(PeftModel.from_pretrained(base, str(adapter.path)).eval())
    merged = load(tiny, adapter, device="cpu")
    assert torch.allclose(logits(merged.model), beside, atol=1e-4)
    assert not torch.allclose(logits(merged.model), logits(load(tiny, device="cpu").model), atol=1e-2)
    half = load(tiny, adapter, dtype="bfloat16", device="cpu")
    assert isinstance(half.model, PeftModel)


def test_full_model_takes_the_place_of_the_base(tiny: ModelFolder, tmp_path: Path) -> None:
    tuned = described(tmp_path / "tuned", save_tiny(tmp_path / "tuned", seed=8))
    assert torch.equal(logits(load(tiny, tuned, device="cpu").model), logits(load(tuned, device="cpu").model))


def test_local_reference_is_verified(tiny: ModelFolder, tmp_path: Path) -> None:
    path = tmp_path / "copy"
    assert tiny.path is not None
    shutil.copytree(tiny.path, path)
    ref = BaseRef(source="local", name=str(path), digest=tiny.info.digest)
    reference = ModelFolder(ModelInfo(kind="full", base=ref, digest=tiny.info.digest, files={}, parameters=1), None)
    assert load_tokenizer(reference)("w5")["input_ids"] == [7]
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="not the ones that were recorded"):
        load(reference)


def test_refuses_pickled_weights(tiny: ModelFolder, tmp_path: Path) -> None:
    path = tmp_path / "pickled"
    assert tiny.path is not None
    shutil.copytree(tiny.path, path)
    (path / "training_args.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UnsafeSerializationError, match=r"training_args\.bin"):
        model_folder(path, kind="full", base=tiny.info.base, parameters=1)
    assert "training_args.bin" not in model_files(path)
    model = AutoModelForCausalLM.from_pretrained(str(path))
    (path / "model.safetensors").unlink()
    torch.save(model.state_dict(), path / "pytorch_model.bin")
    with pytest.raises(InputNotFoundError, match="loadable"):
        load(ModelFolder(tiny.info, path))
    with pytest.raises(InputNotFoundError, match="safetensors"):
        model_files(path)


def test_missing_things_say_what_is_missing(tiny: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such model folder"):
        model_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputNotFoundError, match="tokenizer"):
        load_tokenizer(ModelFolder(tiny.info, tmp_path / "empty"))
    with pytest.raises(ConfigError, match="dtype"):
        load(tiny, dtype="int3")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="can't be used here"):
            load(tiny, device="cuda")


def test_parameters_are_counted_from_headers(tiny: ModelFolder, tmp_path: Path) -> None:
    assert tiny.path is not None
    assert count_parameters(tiny.path) == tiny.info.parameters
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(IntegrityError, match="header"):
        count_parameters(tmp_path)


def test_changed_files_are_named(tiny: ModelFolder, tmp_path: Path) -> None:
    assert tiny.path is not None
    shutil.copytree(tiny.path, tmp_path / "copy")
    check_files(tmp_path / "copy", tiny.info.files)
    (tmp_path / "copy" / "config.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"config\.json"):
        check_files(tmp_path / "copy", tiny.info.files)
