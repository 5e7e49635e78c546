"""`assay show-batch` on a config, without a run: the first rows of its sources, by its own model."""

import json

import pytest
from support.tiny_model import build_tiny_model

from ops.commands.show_batch import show_batch
from steps.contracts.errors import ConfigError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with rows, a model and a config."""
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    build_tiny_model(tmp_path / "model")
    rows = [{"messages": [{"role": "user", "content": f"Q{i}"}, {"role": "assistant", "content": f"A{i}"}]}
            for i in range(12)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    config = {
        "name": "shown", "ingest": {"sources": [{"name": "own", "path": "rows.jsonl"}]},
        "split": {"validation": 0.1, "test": 0.2}, "skip": ["scrub"], "base": {"model": "model"},
        "registry": {"name": "shown"}, "train": {"per_device_train_batch_size": 2, "max_length": 64},
    }  # fmt: skip
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.slow
def test_rows_of_the_sources_are_shown_where_no_run_has_made_a_dataset(root, capsys):
    show_batch(root, root / "c.yaml", [], None, 1, None, root / "b.html", False, True)
    shown = json.loads(capsys.readouterr().out)
    (lines,) = shown["passes"]
    texts = ["".join(p["text"] for p in s["pieces"] if p["trained"]) for line in lines for s in line["spans"]]
    assert len(texts) == 2
    assert all(t.startswith("A") and t.endswith("<|im_end|>") for t in texts)
    assert {s["source"].split()[0] for line in lines for s in line["spans"]} == {"own/rows.jsonl"}
    assert "without any curation" in shown["notes"][0]
    assert (root / "b.html").read_text().count('class="line"') == 2


def test_a_phase_that_is_not_there_is_refused(root):
    with pytest.raises(ConfigError, match="no phase 'second'"):
        show_batch(root, root / "c.yaml", [], "second", 1, None, None, False, True)
