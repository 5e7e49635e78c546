"""A run that exports what the gate promoted: every runtime held against the model, then released and verified."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from support.llama_cpp import converter
from support.towns import THINGS, TOWNS, write_run
from typer.testing import CliRunner

from ops.main import app
from ops.run import run
from ops.run_index import artifacts_of, find_run, report_path
from steps.contracts.exports import ParityReport
from steps.contracts.runs import RunRecord
from steps.engines.exports.merged import Merged

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
# This small model was trained hotly: its logits are large, and so is what rounding makes of them.
FORMATS = [{"to": "adapter"}, {"to": "merged", "dtype": "bfloat16", "epsilon": 0.5}, {"to": "gguf", "dtype": "q8_0"}]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> Path:
    """Two of three questions have the same answer, which is soon learnt."""
    rows = [
        {"prompt": f"{town}, {i} weeks on: where does the {thing} go?", "completion": ("A.", "A.", "B.")[(i * j) % 3]}
        for i, thing in enumerate(THINGS)
        for j, town in enumerate(TOWNS)
    ]
    return write_run(
        tmp_path_factory.mktemp("exported"), "exported", tiny_model.path, rows,
        train={"max_steps": 300, "learning_rate": 0.02, "max_length": 256, "weights": {"kind": "lora", "r": 32}},
        evaluate={"metrics": ["loss", "exact_match", "rouge_l"]},
        export={"formats": FORMATS},
    )  # fmt: skip


def after(config: Path, *overrides: str) -> tuple[RunRecord, ParityReport]:
    assert run(config, overrides=overrides, root=ROOT) == 0
    record = find_run(ROOT, None)
    (artifact,) = record.of_type("parity")
    return record, artifacts_of(ROOT, record).value(artifact, ParityReport)


def invoke(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.stdout, done.stderr


def test_a_promoted_model_is_exported_proven_released_and_verified(config: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ASSAY_LLAMA_CPP", str(converter()))
    record, report = after(config)
    assert report.holds, [(r.runtime, r.reasons) for r in report.held]
    assert [r.runtime for r in report.runtimes] == ["adapter", "merged-bfloat16", "gguf-q8_0", "mlflow", "server"]
    exact = next(s.trained for s in report.scores if s.metric == "exact_match")
    assert 0.3 < exact.value < 0.9 and exact.n == report.rows == 19
    for found in report.runtimes:
        assert found.parity.prompts == 33 and len(found.scores) == len(report.scores)
        assert found.parity.texts == (0 if found.runtime == "server" else 1000)
    page = report_path(ROOT, record.name).read_text()
    assert "all are the model" in page and "gguf-q8_0" in page

    status, _, said = invoke(
        "release", f"run:{record.name}", "--to", "gguf", "--dtype", "q8_0", "--out", tmp_path / "a"
    )
    assert status == 0, said
    status, said, _ = invoke("verify", tmp_path / "a")
    assert status == 0, said
    status, said, _ = invoke("audit", "exported-model/1", "--verify", "--json")
    assert status == 0 and "files/gguf-q8_0/model-q8_0.gguf" not in said

    again, _ = after(config)
    assert "export_step" in again.cached_steps, "nothing has changed"

    # A file of an export that was changed is found.
    (artifact,) = record.of_type("exports")
    file = Path(artifact.uri) / "files/gguf-q8_0/model-q8_0.gguf"
    raw = bytearray(file.read_bytes())
    file.unlink()
    file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    status, said, _ = invoke("audit", "exported-model/1", "--verify", "--json")
    assert status != 0 and "files/gguf-q8_0/model-q8_0.gguf" in said


def one_weight_changed(write):
    """What writes merged weights, and then turns the sign of one of them."""

    def damaging(self, source, folder, options, scratch):
        written = write(self, source, folder, options, scratch)
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"][0] *= -1
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        return written

    return damaging


def test_what_is_held_blocks_the_release_and_says_the_first_other_token(
    config: Path, tmp_path: Path, monkeypatch
) -> None:  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(Merged, "write", one_weight_changed(Merged.write))
        record, report = after(config, "export.formats=[{to: merged, dtype: bfloat16}]", "export.runtimes=[]")
    (held,) = report.held
    assert held.parity.differ > 0 and "the export says" in held.reasons[0]
    page = report_path(ROOT, record.name).read_text()
    assert "held back" in page and "nothing may be released" in page
    name = f"run:{record.name}"
    status, _, said = invoke("release", name, "--to", "merged", "--dtype", "float32", "--out", tmp_path / "a")
    assert status == 3 and "merged-bfloat16 isn't the model" in said and "token" in said
    assert not (tmp_path / "a").exists()
    status, _, said = invoke("release", name, "--to", "merged", "--dtype", "float32", "--out", tmp_path / "a",
                             "--although", "float32 was looked at")  # fmt: skip
    assert status == 0, said
    gate = json.loads((tmp_path / "a/release/gate.json").read_text())
    assert "merged-bfloat16 isn't the model" in gate["against"][0]


def test_nothing_is_made_of_a_model_that_the_gate_refused(config: Path) -> None:
    record, report = after(config, "gate.min_n=1000", "export.formats=[{to: adapter}]")
    assert report.runtimes == () and report.notes == ("the gate promoted no model, so that nothing was exported",)
    assert "the gate promoted no model, so that nothing was exported" in report_path(ROOT, record.name).read_text()
