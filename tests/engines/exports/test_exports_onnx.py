"""ONNX graphs, proven in onnxruntime."""

import importlib.util
import os
from pathlib import Path

import pytest
from support.families.models import ARCHITECTURES
from support.families.models import tiny_model as architecture_model
from support.tuned_models import adapted
from test_exports_folders import write

from steps.contracts.errors import IntegrityError, MissingDependencyError
from steps.contracts.models import ModelFolder
from steps.engines.exports.exported_folder import verify_files
from steps.engines.exports.folder_format import Source
from steps.engines.exports.onnx_format import Onnx, require_onnx

# Set where the extra must be there: a test that can't use it fails then.
DECLARED = "ASSAY_TESTS_NEED_ONNX"


@pytest.fixture
def needed() -> None:
    missing = [n for n in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(n) is None]
    if missing and os.environ.get(DECLARED):
        pytest.fail(f"{DECLARED} is set, but {', '.join(missing)} isn't here")
    if missing:
        pytest.skip(f"NOT TESTED: ONNX; {', '.join(missing)} isn't here (pip install 'assay[onnx]')")


@pytest.mark.slow
def test_a_graph_is_the_model_for_texts_of_any_length(needed, tiny_model: ModelFolder, tmp_path: Path) -> None:
    source = Source(tiny_model, adapted(tiny_model, tmp_path / "adapter"))
    manifest = write(source, "onnx", tmp_path, asked=17)
    assert manifest.dtype == "float32" and {"model.onnx", "tokenizer.json", "config.json"} <= set(manifest.files)
    assert (manifest.parity.prompts, manifest.parity.differ, manifest.parity.tokens) == (17, 0, 17 * (24 + 16))
    assert verify_files(tmp_path / "out") == manifest
    assert "the graph keeps no keys and values" in manifest.notes[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_the_model_in_onnxruntime(needed, name: str, tmp_path: Path) -> None:
    source = Source(architecture_model(name, tmp_path / "model"), None)
    assert write(source, "onnx", tmp_path, asked=5).parity.differ == 0


@pytest.mark.slow
def test_a_graph_of_another_model_is_refused(needed, tmp_path: Path, monkeypatch) -> None:
    other = architecture_model("Llama", tmp_path / "other")
    real = Onnx.write

    def swapped(self, source, folder, options, scratch):
        written = real(self, source, folder, options, scratch)
        (scratch / "other").mkdir()
        real(self, Source(other, None), scratch / "other", options, scratch)
        for file in (scratch / "other").glob("model.onnx*"):
            file.replace(folder / file.name)
        return written

    monkeypatch.setattr(Onnx, "write", swapped)
    with pytest.raises(IntegrityError, match="the export isn't the model that was trained"):
        write(Source(architecture_model("Llama", tmp_path / "model", seed=1), None), "onnx", tmp_path)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"(?s)onnx, onnxscript, onnxruntime.*assay\[onnx\]"):
        require_onnx()
