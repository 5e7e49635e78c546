"""Exports that were damaged are held, whatever the damage is, and told of with the first thing that differs."""

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.llama_cpp import converter
from support.tuned_models import adapted

from steps.contracts.evaluation import Estimate
from steps.contracts.exports import ModelExports, ParityReport, ScoreBeside
from steps.contracts.models import ModelFolder
from steps.engines.exports.export import Decoding, Exported
from steps.engines.exports.folder_format import FolderFormat, Options, Runtime, Source, Written
from steps.engines.exports.formats import FORMATS
from steps.engines.exports.probes import prompts, texts
from steps.engines.exports.pyfunc import Pyfunc
from steps.engines.exports.pyfunc_runtime import pyfunc_runtime
from steps.engines.exports.server_runtime import server_runtime
from steps.engines.lm.decoding import DecodingConfig
from steps.export.config import ExportConfig, FormatConfig
from steps.export.export import Elsewhere, Measured, export

ROOT = Path(__file__).resolve().parents[3]
Damage = Callable[[Path], None]


@dataclass(frozen=True)
class Damaged:
    """A format whose files are changed behind its back."""

    how: FolderFormat
    damage: Damage

    @property
    def epsilons(self) -> Any:
        return self.how.epsilons

    def write(self, source: Source, folder: Path, options: Options, scratch: Path) -> Written:
        written = self.how.write(source, folder, options, scratch)
        self.damage(folder)
        return written

    def opened(
        self, source: Source, folder: Path, options: Options, scratch: Path
    ) -> AbstractContextManager[Runtime]:  # fmt: skip
        return self.how.opened(source, folder, options, scratch)


def one_weight(folder: Path) -> None:
    """The sign of one weight behind the last layer."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] *= -1
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def another_template(folder: Path) -> None:
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("assistant\n", "assistant: "))


def another_tokenizer(folder: Path) -> None:
    """Two merges in another order."""
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text())
    merges = said["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]
    del merges[2]
    file.write_text(json.dumps(said))


def another_end(folder: Path) -> None:
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [0]}))


def nothing(folder: Path) -> None:
    """As it was written."""


def scored(value: float) -> Callable[[str, Runtime], list[ScoreBeside]]:
    trained, found = Estimate(value=0.5, low=0.4, high=0.6, n=50), Estimate(value=value, low=0.0, high=1.0, n=50)
    return lambda name, runtime: [ScoreBeside(task="held_out", metric="exact_match", trained=trained, found=found)]


def made(
    model: ModelFolder, work: Path, one: dict[str, Any], damage: Damage, value: float = 0.5, llama: Path | None = None,
    elsewhere: list[Elsewhere] | None = None,
) -> tuple[ModelExports, ParityReport]:  # fmt: skip
    tuned = adapted(model, work / "tuned")
    config = ExportConfig(formats=(FormatConfig(**one),) if one else (), max_new_tokens=12)
    measured = Measured("tuned", prompts()[:3], texts()[:60], 200, scored(0.5)("", None), scored(value), 50)  # type: ignore[arg-type]
    (work / "out").mkdir()
    return export(
        Source(model, tuned), config, measured, elsewhere or [], work / "out", Options(llama_cpp=llama),
        formats=lambda name: Damaged(FORMATS[name], damage),
    )  # fmt: skip


MERGED = {"to": "merged", "dtype": "float32"}


def test_what_is_the_model_is_kept_with_its_proof(tiny_model: ModelFolder, tmp_path: Path) -> None:
    exports, report = made(tiny_model, tmp_path, MERGED, nothing)
    assert report.holds and report.runtimes[0].parity.differ == 0 and report.runtimes[0].parity.texts == 60
    kept = exports.manifest.exports["merged-float32"]
    assert kept.files.keys() >= {"model.safetensors", "chat_template.jinja"} and kept.parity.tokens > 3
    assert all((exports.folder / name).is_file() for name in exports.manifest.files)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["files"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (one_weight, "the export isn't the model that was trained: prompt 1, token "),
        pytest.param(another_template, "prompt 1 has other tokens: token ", marks=pytest.mark.slow),
        pytest.param(another_tokenizer, "prompt 1 has other tokens: token ", marks=pytest.mark.slow),
        pytest.param(
            another_end, "the trained model's answers end with '<|im_end|>' (2), the export goes on behind it",
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_a_damaged_export_is_held_and_not_kept(
    tiny_model: ModelFolder, tmp_path: Path, damage: Damage, said: str
) -> None:
    exports, report = made(tiny_model, tmp_path, MERGED, damage)
    (held,) = report.held
    assert said in held.reasons[0] and not report.holds and held.scores == ()
    assert exports.manifest.exports == {} and not list(exports.folder.iterdir())


@pytest.mark.slow
def test_scores_outside_the_interval_hold_it_though_every_token_is_the_same(
    tiny_model: ModelFolder, tmp_path: Path
) -> None:  # fmt: skip
    exports, report = made(tiny_model, tmp_path, MERGED, nothing, value=0.61)
    (held,) = report.held
    assert held.reasons == ("held_out: exact_match is 0.61 on 50 rows, the trained model's 0.5 (0.4 to 0.6)",)
    assert held.parity.tokens > 3 and exports.manifest.exports == {}


def field(file: Path, name: str) -> Any:
    """Parts of a metadata field, to be written to, and the reader that holds the file."""
    from gguf import GGUFReader

    reader = GGUFReader(file, "r+")
    return reader, reader.fields[name]


def gguf_end(folder: Path) -> None:
    """A token that the model says within its answers."""
    reader, found = field(folder / "model-f16.gguf", "tokenizer.ggml.eos_token_id")
    found.parts[found.data[0]][0] = 36
    reader.data.flush()


def gguf_template(folder: Path) -> None:
    reader, found = field(folder / "model-f16.gguf", "tokenizer.chat_template")
    text = found.parts[found.data[0]]
    at = bytes(text).rindex(b"assistant")
    text[at] = ord("A")
    reader.data.flush()


def gguf_tokenizer(folder: Path) -> None:
    """Two letters stand for each other."""
    reader, found = field(folder / "model-f16.gguf", "tokenizer.ggml.tokens")
    words = [found.parts[i] for i in found.data]
    a, b = (next(w for w in words if bytes(w) == letter) for letter in (b"e", b"t"))
    a[0], b[0] = b[0], a[0]
    reader.data.flush()


def gguf_weight(folder: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(folder / "model-f16.gguf", "r+")
    weight = next(t for t in reader.tensors if t.name == "output_norm.weight")
    weight.data[0] *= -1
    reader.data.flush()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (nothing, ""),
        (gguf_weight, "the export isn't the model that was trained: prompt "),
        (gguf_template, "prompt 1 has other tokens: token "),
        (gguf_tokenizer, "is tokenised otherwise: token "),
        (gguf_end, "the trained model goes on behind 'B' (36), the export's answers end with it"),
    ],
)
def test_a_damaged_gguf_file_is_held(tiny_model: ModelFolder, tmp_path: Path, damage: Damage, said: str) -> None:
    exports, report = made(tiny_model, tmp_path, {"to": "gguf", "dtype": "f16"}, damage, llama=converter())
    assert [said in r.reasons[0] for r in report.held] == [True] * bool(said), report.held
    assert list(exports.manifest.exports) == ([] if said else ["gguf-f16"])


def registered(model: ModelFolder, work: Path, damage: Damage) -> Elsewhere:
    """MLflow's format as register writes it, then damaged."""
    decoding = Decoding(12, 3, "float32", 1, DecodingConfig().in_force(), [2], 16_384)
    folder = Pyfunc().write(Exported(adapted(model, work / "t"), model, str(model.path), decoding), work / "mlflow")
    damage(folder)
    return Elsewhere("mlflow", "float32", lambda ends: pyfunc_runtime(str(folder), f"sqlite:///{work}/m.db", work))


def mlflow_end(folder: Path) -> None:
    (file,) = folder.rglob("served.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"stop_token_ids": [0]}))


def mlflow_weight(folder: Path) -> None:
    """A bit of the adapter's last weight."""
    (file,) = folder.rglob("adapter_model.safetensors")
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 0x80
    file.write_bytes(raw)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (nothing, ""),
        (mlflow_weight, "not the recorded files: adapter_model.safetensors changed, missing or new"),
        (mlflow_end, "the trained model's answers end with '<|im_end|>' (2), the export goes on behind it"),
    ],
)
def test_a_damaged_version_of_mlflow_is_held(
    tiny_model: ModelFolder, tmp_path: Path, damage: Damage, said: str
) -> None:  # fmt: skip
    _, report = made(tiny_model, tmp_path, {}, nothing, elsewhere=[registered(tiny_model, tmp_path, damage)])
    assert [said in r.reasons[0] for r in report.held] == [True] * bool(said), report.held
    assert said or report.runtimes[0].parity.tokens > 3


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False])
def test_a_server_of_another_model_is_held(tiny_model: ModelFolder, tmp_path: Path, right: bool) -> None:
    tuned = adapted(tiny_model, tmp_path / "served")
    of = [str(tuned.path), "--over", str(tiny_model.path)] if right else [str(tiny_model.path)]
    command = [sys.executable, "-c", "from ops.main import app; app()", "serve", *of, "--as", "m", "--port", "0"]
    server = Elsewhere(
        "server", "float32", lambda ends: server_runtime(command, "m", ends, ROOT, tmp_path), texts=False
    )
    _, report = made(tiny_model, tmp_path, {}, nothing, elsewhere=[server])
    (found,) = report.runtimes
    assert found.holds is right and found.parity.prompts == 3
    if not right:
        assert "prompt 1, token 1 of the answer: the export says " in found.reasons[0]
        assert found.parity.tokens < 36, "behind another token nothing can be compared"
