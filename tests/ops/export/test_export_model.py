"""`assay export MODEL`: by the command, whole or not there, and nothing overwritten."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import modelled_run
from support.llama_cpp import converter
from support.processes import command, ended, killing_at, python
from support.tuned_models import adapted

from steps.engines.exports.exported_folder import MANIFEST, verify_files


@pytest.fixture
def run(state, tiny_model):
    return modelled_run.build(state / "work", tiny_model)


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".assay") or p.name == "out")


@pytest.mark.slow
def test_a_model_of_a_run_is_written_once(run, state, invoke, told) -> None:
    (state / "asked.jsonl").write_text('{"messages": [{"role": "user", "content": "Which box?"}]}\n"And now?"\n')
    made = told("run:shop", "--to", "adapter", "--out", "out", "--prompts", "asked.jsonl")
    # 17 of our own, two of the file, the run's eight test rows.
    assert made["parity"]["prompts"] == 27 and made["run"] == "shop-2026"
    assert verify_files(state / "out").files == made["files"]

    again = invoke("models:/shop@candidate", "--to", "adapter", "--out", "out")
    assert again.exit_code == 2 and "there is an export of a model already" in again.stderr
    (state / "out/notes.txt").write_text("mine")
    kept = invoke("run:shop", "--to", "adapter", "--out", "out", "--overwrite")
    assert kept.exit_code == 2 and "files that no export wrote would be lost: notes.txt" in kept.stderr
    assert left(state) == ["out"] and (state / "out" / MANIFEST).is_file()

    (state / "out/notes.txt").unlink()
    raw = bytearray((state / "out/adapter_model.safetensors").read_bytes())
    raw[-1] ^= 1
    (state / "out/adapter_model.safetensors").write_bytes(raw)
    damaged = invoke("out", "--over", "run:shop/base", "--to", "merged", "--out", "more")
    assert damaged.exit_code == 7 and "changed, missing or new files: adapter_model.safetensors" in damaged.stderr


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
        (["--to", "coreml", "--out", "out"], "unknown format 'coreml'"),
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


@pytest.fixture
def trained(tiny_model, tmp_path) -> list[str]:
    """Arguments that name an adapter in a folder."""
    model = adapted(tiny_model, tmp_path / "tuned")
    return [str(model.path), "--over", str(tiny_model.path)]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["exported_folder:check_parity", "exported_folder:write_whole"])
def test_a_killed_export_leaves_nothing_and_the_next_one_clears_up(trained, tmp_path, place) -> None:
    arguments = ["export", *trained, "--to", "merged", "--out", str(tmp_path / "out")]
    killed = command(*arguments, before=killing_at(f"steps.engines.exports.{place}"))
    status, said = ended(python(killed, tmp_path / "state"))
    assert status == -signal.SIGKILL, said
    assert not (tmp_path / "out").exists() and list(tmp_path.glob(".assay-export-*"))
    status, said = ended(python(command(*arguments), tmp_path / "state"))
    assert status == 0, said
    assert verify_files(tmp_path / "out").parity.differ == 0 and not list(tmp_path.glob(".assay-export-*"))


@pytest.fixture
def small_disk(tmp_path, request) -> Iterator[Path]:
    """A file system of some kilobytes."""
    folder, mount = tmp_path / "disk", shutil.which("mount")
    folder.mkdir()
    size = f"size={request.param}k"
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", folder], check=False).returncode:
        pytest.skip("NOT TESTED: nothing can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", [8, 100, 156], indirect=True, ids="{} KB".format)
def test_a_full_disk_ends_a_merge_with_6(trained, tmp_path, small_disk) -> None:
    arguments = ["export", *trained, "--to", "merged", "--out", str(small_disk / "out")]
    status, said = ended(python(command(*arguments), tmp_path / "state"))
    assert (status, "no space left" in said) == (6, True), said
    assert not list(small_disk.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("small_disk", [100, 204], indirect=True, ids="{} KB".format)
def test_a_full_disk_ends_the_converter_with_6(trained, tmp_path, small_disk) -> None:
    arguments = ["export", *trained, "--to", "gguf", "--llama-cpp", str(converter()), "--out", str(small_disk / "out")]
    status, said = ended(python(command(*arguments), tmp_path / "state"))
    assert (status, "no space left" in said) == (6, True), said
    assert not list(small_disk.iterdir())
