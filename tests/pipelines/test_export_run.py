"""A run that exports what the gate promoted: every runtime held against the model, then released."""

import json
from pathlib import Path

import pytest
from support.llama_cpp import converter

from ops.run import run
from ops.run_index import artifacts_of, find_run, report_path
from steps.contracts.exports import ParityReport

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
FORMATS = [{"to": "adapter"}, {"to": "merged", "dtype": "bfloat16"}, {"to": "gguf", "dtype": "q8_0"}]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_model) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    rows = [
        {"prompt": f"{place}, {i} weeks on: where does the {thing} of customer {i * j + 7} go?", "completion": place}
        for i, thing in enumerate(("lamp", "chair", "table", "clock", "mirror", "basket", "candle", "drawer"))
        for j, place in enumerate(("Oslo", "Porto", "Leeds", "Graz", "Turin", "Lyon", "Gdansk", "Malmo"))
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = folder / "config.yaml"
    path.write_text(json.dumps({
        "name": "exported",
        "ingest": {"sources": [{"name": "rows", "path": str(folder / "rows.jsonl"), "licence": "CC0-1.0"}]},
        "dedup": {"near": False},
        "split": {"test": 0.3, "validation": 0.1},
        "skip": ["judge", "screen", "leakcheck"],
        "scrub": {"demo_key": True},
        "base": {"model": str(tiny_model.path)},
        "train": {"max_steps": 200, "learning_rate": 0.02, "max_length": 256},
        "evaluate": {"metrics": ["loss", "exact_match", "rouge_l"]},
        "gate": {"metric": "loss", "min_n": 5, "max_degenerate": None},
        "registry": {"name": "exported-model"},
        "export": {"formats": FORMATS},
    }))  # fmt: skip
    return path


def test_a_promoted_model_is_exported_proven_released_and_verified(config: Path, monkeypatch) -> None:
    monkeypatch.setenv("ASSAY_LLAMA_CPP", str(converter()))
    assert run(config, root=ROOT) == 0
    record = find_run(ROOT, None)
    store = artifacts_of(ROOT, record)
    (report,) = (store.value(a, ParityReport) for a in record.of_type("parity"))
    assert report.holds, [(r.runtime, r.reasons) for r in report.held]
    assert [r.runtime for r in report.runtimes] == ["adapter", "merged-bfloat16", "gguf-q8_0", "mlflow", "server"]
    Path("/tmp/parity-page.html").write_text(report_path(ROOT, record.name).read_text())
    print(report.model_dump_json(indent=1))
