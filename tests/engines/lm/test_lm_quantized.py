"""Bases whose weights are packed (gpt-oss, as it is published), quantized in other ways, or not all there."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.families.models import tiny_model

from steps.base.base import resolve_base
from steps.base.config import BaseConfig
from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.models import ModelFolder
from steps.engines.lm.folder import count_parameters, model_folder
from steps.engines.lm.load import load

# The eight numbers of FP4 (E2M1, OCP Microscaling Formats 1.0), then their negatives; a scale is a power of two.
FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
BIAS, SCALE = 127, 122


def change(folder: Path, what) -> None:
    """Write the weights anew, changed by a function."""
    file = folder / "model.safetensors"
    save_file(what(load_file(file)), file, {"format": "pt"})


def configure(folder: Path, **values) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def packed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts as random bytes, in blocks of 32 numbers with a scale each."""
    chance, found = torch.Generator().manual_seed(0), {}
    for name, weight in weights.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            found[name] = weight.to(torch.bfloat16)
            continue
        experts, inside, outside = weight.shape
        shape = (experts, outside, inside // 32)
        found[f"{name}_blocks"] = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, generator=chance)
        found[f"{name}_scales"] = torch.full(shape, SCALE, dtype=torch.uint8)
    return found


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tiny gpt-oss with packed experts."""
    made = tiny_model("gpt-oss", tmp_path / "packed", intermediate_size=64).path
    assert made is not None
    change(made, packed)
    plain = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    configure(made, quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": plain})
    return made


def base_of(folder: Path) -> ModelFolder:
    return resolve_base(BaseConfig(model=str(folder)), folder.parent / "unused")


def test_packed_experts_are_the_numbers_that_their_bytes_mean(folder) -> None:
    model = load(base_of(folder), device="cpu").model
    raw = load_file(folder / "model.safetensors")["model.layers.0.mlp.experts.down_proj_blocks"][2, 5, 1]
    codes = [code for byte in raw.tolist() for code in (byte & 15, byte >> 4)]
    expected = [(FP4[c & 7] if c < 8 else -FP4[c & 7]) * 2.0 ** (SCALE - BIAS) for c in codes]
    assert model.model.layers[0].mlp.experts.down_proj[2, 32:64, 5].tolist() == expected
    assert count_parameters(folder) == sum(p.numel() for p in model.parameters())


def test_unpacked_weights_are_saved_so_that_they_are_found_again(folder, tmp_path) -> None:
    base = base_of(folder)
    loaded = load(base, device="cpu")
    loaded.model.save_pretrained(str(tmp_path / "saved"))
    loaded.tokenizer.save_pretrained(str(tmp_path / "saved"))
    whole = model_folder(tmp_path / "saved", kind="full", base=base.info.base, parameters=1)
    again = load(base, whole, device="cpu").model
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        assert torch.equal(loaded.model(input_ids=ids).logits, again(input_ids=ids).logits)


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "fp8"])
def test_other_quantized_bases_are_refused_before_anything_runs(tiny_folder, method) -> None:
    configure(tiny_folder, quantization_config={"quant_method": method})
    with pytest.raises(ConfigError) as refused:
        base_of(tiny_folder)
    assert f"the model's weights are quantized ({method}); they can be neither trained nor compared" in str(
        refused.value
    )


@pytest.fixture
def tiny_folder(tmp_path) -> Path:
    found = tiny_model("Llama", tmp_path / "llama").path
    assert found is not None
    return found


def test_a_weight_that_is_in_no_file_is_not_made_up(tiny_folder) -> None:
    lost = "model.layers.1.mlp.up_proj.weight"
    change(tiny_folder, lambda weights: {n: w for n, w in weights.items() if n != lost})
    with pytest.raises(IntegrityError, match=f"^.*1 weights of the model are in no file .* the first is {lost}"):
        load(base_of(tiny_folder), device="cpu")


def test_weights_of_another_shape_are_not_made_up(tiny_folder) -> None:
    configure(tiny_folder, intermediate_size=81)
    with pytest.raises(IntegrityError, match=r"6 weights of the model .* first is model\.layers\.0\.mlp\.down_proj"):
        load(base_of(tiny_folder), device="cpu")
