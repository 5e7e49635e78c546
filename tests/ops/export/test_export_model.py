"""`assay export MODEL`: by the command, whole or not there, and nothing overwritten."""

import json
from pathlib import Path

import pytest
from support import modelled_run

from steps.engines.exports.exported_folder import MANIFEST, verify_files


@pytest.fixture
def run(state, tiny_model):
    return modelled_run.build(state / "work", tiny_model)


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".assay") or p.name == "out")


def test_a_model_of_a_run_is_written_once(run, state, invoke, told) -> None:
    (state / "asked.jsonl").write_text('{"messages": [{"role": "user", "content": "Which box?"}]}\n"And now?"\n')
    made = told("run:shop", "--to", "adapter", "--out", "out", "--prompts", "asked.jsonl")
    assert made["parity"]["prompts"] == 19 and made["run"] == "shop-2026"
    assert verify_files(state / "out").files == made["files"]

    again = invoke("models:/shop@candidate", "--to", "adapter", "--out", "out")
    assert again.exit_code == 2 and "there is an export of a model already" in again.stderr
    (state / "out/notes.txt").write_text("mine")
    kept = invoke("run:shop", "--to", "adapter", "--out", "out", "--overwrite")
    assert kept.exit_code == 2 and "files that no export wrote would be lost: notes.txt" in kept.stderr
    assert left(state) == ["out"] and (state / "out" / MANIFEST).is_file()


def test_a_changed_byte_of_the_run_s_model_is_found_before_anything_is_written(run, state, invoke) -> None:
    (weights,) = Path(run.store).rglob("adapter_model.safetensors")
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    done = invoke("run:shop", "--to", "merged", "--out", "out")
    assert done.exit_code == 7 and "stored bytes have SHA-256" in done.stderr and left(state) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "onnx", "--out", "out"], "unknown format 'onnx'"),
        (["--to", "merged"], "nowhere to write"),
        (["--to", "merged", "--out", "out", "--dtype", "q8_0"], "merged has no number format 'q8_0'"),
        (["--to", "merged", "--out", "out", "--prompts", "gone.jsonl"], "gone.jsonl: no such file"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(state, invoke, arguments, said) -> None:
    done = invoke("run:none", *arguments)
    assert done.exit_code in (2, 3) and said in done.stderr, done.stderr
    assert left(state) == []


def test_a_line_that_is_no_prompt_is_named(state, invoke) -> None:
    (state / "asked.jsonl").write_text(json.dumps("Hello") + '\n{"text": 1}\n')
    done = invoke("run:none", "--to", "merged", "--out", "out", "--prompts", "asked.jsonl")
    assert done.exit_code == 3 and "asked.jsonl, line 2: neither a text nor messages" in done.stderr
