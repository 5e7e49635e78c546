"""Models written as folders for other programs: adapter and merged weights, proven and described."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.tuned_models import adapted, full_weights

from steps.contracts.digests import file_digest
from steps.contracts.errors import ConfigError, IntegrityError
from steps.contracts.exports import ExportManifest
from steps.contracts.models import ModelFolder
from steps.engines.exports.adapter import tensor_notes
from steps.engines.exports.exported_folder import MANIFEST, verify_files, write_export
from steps.engines.exports.folder_format import Options, Source
from steps.engines.exports.formats import FORMATS
from steps.engines.exports.probes import plain, prompts, texts
from steps.engines.lm.references import local_reference


@pytest.fixture(scope="module")
def source(tiny_model: ModelFolder, tmp_path_factory) -> Source:
    return Source(tiny_model, adapted(tiny_model, tmp_path_factory.mktemp("adapter")))


def write(
    source: Source, to: str, folder: Path, dtype: str = "auto", asked: int = 3, epsilon: float | None = None, **more
) -> ExportManifest:
    """Into `folder/out`."""
    for name in ("out", "scratch"):
        (folder / name).mkdir(parents=True)
    return write_export(
        source, "x", FORMATS[to], folder / "out", folder / "scratch", prompts()[:asked], texts(),
        Options(dtype, **more), format_name=to, max_new_tokens=24, epsilon=epsilon,
    )  # fmt: skip


def test_an_adapter_is_written_byte_by_byte_and_names_its_base(source: Source, tmp_path: Path) -> None:
    manifest = write(source, "adapter", tmp_path)
    out, trained = tmp_path / "out", source.model.path
    assert file_digest(out / "adapter_model.safetensors") == file_digest(trained / "adapter_model.safetensors")
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(source.base.path) and config["r"] == 2
    assert manifest.parity.texts == 1000 and manifest.parity.tokens == 120 and manifest.parity.differ == 0
    assert manifest.model == source.model.info.digest and manifest.base_digest == source.base.info.digest
    assert verify_files(out) == manifest and set(manifest.files) == {p.name for p in out.iterdir()} - {MANIFEST}


def test_merged_weights_need_nothing_else_and_end_as_the_template_does(source: Source, tmp_path: Path) -> None:
    manifest = write(source, "merged", tmp_path)
    assert manifest.dtype == "float32" and manifest.parity.differ == 0
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", MANIFEST} <= names
    assert json.loads((tmp_path / "out/generation_config.json").read_text())["eos_token_id"] == [2]


@pytest.mark.slow
def test_a_model_without_a_chat_template_is_asked_plain_texts(source: Source, tmp_path: Path) -> None:
    folder = shutil.copytree(source.base.path, tmp_path / "bare")
    (folder / "chat_template.jinja").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "scratch").mkdir()
    manifest = write_export(
        Source(local_reference(folder), None), "x", FORMATS["merged"], tmp_path / "out", tmp_path / "scratch",
        plain(prompts())[:3], texts(), Options(), format_name="merged", max_new_tokens=8,
    )  # fmt: skip
    assert manifest.parity.prompts == 3 and manifest.parity.differ == 0
    assert not (tmp_path / "out/chat_template.jinja").exists()


@pytest.mark.slow
def test_a_changed_byte_of_an_export_is_found(source: Source, tmp_path: Path) -> None:
    write(source, "adapter", tmp_path, asked=1)
    file = tmp_path / "out/adapter_model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    (tmp_path / "out/more.txt").write_text("x")
    with pytest.raises(IntegrityError) as e:
        verify_files(tmp_path / "out")
    assert e.value.what == "changed, missing or new files: adapter_model.safetensors, more.txt"


@pytest.mark.slow
def test_weights_that_were_changed_on_the_way_are_refused(source: Source, tmp_path: Path, monkeypatch) -> None:
    import safetensors.torch

    from steps.engines.exports import merged

    saved = merged.save_merged

    def damaged(source, folder, dtype):
        template = saved(source, folder, dtype)
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        tensors["model.layers.1.mlp.down_proj.weight"] *= -1
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return template

    monkeypatch.setattr(merged, "save_merged", damaged)
    with pytest.raises(IntegrityError, match=r"prompt 1, token \d+ of the answer: the export says"):
        write(source, "merged", tmp_path)
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_what_a_format_can_not_express_is_refused_by_name(source: Source, tmp_path: Path) -> None:
    full = Source(source.base, full_weights(source.base, source.tuned, tmp_path / "full"))
    with pytest.raises(ConfigError, match="full weights were trained, no adapter"):
        write(full, "adapter", tmp_path / "a")
    stacked = shutil.copytree(source.model.path, tmp_path / "stacked")
    shutil.copytree(source.model.path, stacked / "earlier/1")
    with pytest.raises(ConfigError, match="it lies over adapters of earlier phases"):
        write(replace(source, tuned=ModelFolder(source.model.info, stacked)), "adapter", tmp_path / "d")
    with pytest.raises(ConfigError, match="unknown number format 'int3'"):
        write(source, "merged", tmp_path / "b", "int3")
    info = source.model.info.model_copy(update={"objective": "reward"})
    with pytest.raises(ConfigError, match="a reward model gives numbers"):
        write(replace(source, tuned=ModelFolder(info, source.model.path)), "merged", tmp_path / "c")


def test_tensors_that_other_programs_would_not_read_are_named(source: Source, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    assert tensor_notes(source.model.path / "adapter_model.safetensors", 2) == []
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    pair = {f"{layer}.lora_A.weight": torch.zeros(32, 8), f"{layer}.lora_B.weight": torch.zeros(8, 32)}
    save_file(pair, tmp_path / "a.safetensors")
    assert tensor_notes(tmp_path / "a.safetensors", 32) == ["vLLM takes rank 32 with --max-lora-rank 32 or more"]
    odd = {f"{layer}.lora_magnitude_vector": torch.zeros(8), "base_model.model.lm_head.weight": torch.zeros(8, 8)}
    save_file({**pair, **odd, f"{layer}.k.lora_A.weight": torch.zeros(4, 8)}, tmp_path / "b.safetensors")
    assert tensor_notes(tmp_path / "b.safetensors", 32)[:2] == [
        "vLLM and LoRAX take no tensor base_model.model.lm_head.weight and 1 more: export --to merged for them",
        f"{layer}.k.lora_A.weight has no partner of rank 32, which vLLM and LoRAX expect",
    ]
