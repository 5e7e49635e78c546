import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from examples.toy_base.options import ToyOptions
from steps.base.base import resolve_base
from steps.base.config import BaseConfig
from steps.base.inputs import input_digests
from steps.contracts import digests
from steps.contracts.digests import file_digest as digests_of
from steps.contracts.digests import folder_digests
from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.contracts.models import ModelFolder
from steps.engines.lm.load import load, load_tokenizer

TOY = "examples.toy_base.build:build"
SMALL = ToyOptions(vocab_size=600, hidden_size=32, layers=1, heads=2, intermediate_size=48, steps=3, batch_size=4)


def small(**changes: object) -> BaseConfig:
    return BaseConfig.model_validate({"model": TOY, "options": SMALL.model_dump(), "num_threads": 1, **changes})


def elsewhere(model: str, **changes: object) -> BaseConfig:
    return BaseConfig.model_validate({"model": model, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return resolve_base(small(), tmp_path_factory.mktemp("base") / "model")


def test_a_model_that_is_made_here_says_what_it_is(made: ModelFolder) -> None:
    assert made.path is not None
    assert made.info.base.source == "scratch" and made.info.kind == "full"
    assert made.info.digest == made.info.base.digest
    assert made.info.files == folder_digests(made.path)
    assert made.info.trainable == 0 and made.info.parameters > 10_000
    assert any("toy" in n for n in made.info.notes)
    assert made.info.seconds > 0 and made.info.cpu_seconds > 0
    assert {p.suffix for p in made.path.iterdir()} <= {".safetensors", ".json", ".jinja"}


@pytest.mark.slow
def test_same_seed_same_bytes_in_another_process_and_order(made: ModelFolder, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(small().model_dump_json())
    code = (
        "import sys,pathlib; from steps.base.base import resolve_base; from steps.base.config import BaseConfig;"
        "c=BaseConfig.model_validate_json(pathlib.Path(sys.argv[1]).read_text());"
        "print(resolve_base(c, pathlib.Path(sys.argv[2])).info.digest)"
    )
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-c", code, str(config), str(tmp_path / "again")],
        cwd=root,
        env={**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip().splitlines()[-1] == made.info.digest
    assert resolve_base(small(seed=1), tmp_path / "other").info.digest != made.info.digest


def test_template_marks_what_the_assistant_says(made: ModelFolder) -> None:
    tokenizer = load_tokenizer(made)
    turns = [{"role": "user", "content": "the lamp"}, {"role": "assistant", "content": '{"a": 1}'}]
    whole = tokenizer.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    said = [i for i, m in zip(whole["input_ids"], whole["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(said) == '{"a": 1}<|im_end|>'
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    full = tokenizer.apply_chat_template(turns, tokenize=False)
    assert full == prompt + '{"a": 1}<|im_end|>\n'
    # What training feeds for a task is what the template renders.
    assert prompt == "<|im_start|>user\nthe lamp<|im_end|>\n<|im_start|>assistant\n"


def test_values_are_single_tokens_bare_and_after_a_space(tmp_path: Path) -> None:
    from examples.toy_base.build import make_tokenizer

    tokenizer = make_tokenizer(ToyOptions(), 0)
    # The quickstart's values (examples/order_mails.py).
    items = ("lamp", "kettle", "backpack", "blanket", "clock", "mirror", "teapot", "chair", "vase", "rug")
    colors = ("red", "blue", "green", "black", "white", "grey", "yellow", "brown")
    cities = ("Dublin", "Oslo", "Porto", "Lyon", "Graz", "Turin", "Leeds", "Gdansk")
    for word in (*items, *colors, *cities):
        assert len(tokenizer.tokenize(f" {word}")) == 1, word
        assert len(tokenizer.tokenize(json.dumps(word))) == 3, word


def test_local_folder_is_a_reference_pinned_by_its_files(made: ModelFolder, tmp_path: Path) -> None:
    assert made.path is not None
    local = resolve_base(elsewhere(str(made.path)), tmp_path)
    assert local.path is None and local.info.base.source == "local"
    assert local.info.base.digest == made.info.digest
    assert local.info.parameters == made.info.parameters
    assert load(local, device="cpu").model.num_parameters() == made.info.parameters
    assert not list(tmp_path.iterdir())


def test_files_of_a_local_folder_go_on_where_its_machine_is_gone(made: ModelFolder, tmp_path: Path) -> None:
    assert made.path is not None
    kept = resolve_base(elsewhere(made.path.name), tmp_path / "kept", made.path.parent, keep_files=True)
    assert kept.path == tmp_path / "kept" and kept.info.base.name == made.path.name
    assert kept.info.digest == kept.info.base.digest == made.info.digest and kept.info.files == made.info.files
    assert load(kept, device="cpu").model.num_parameters() == made.info.parameters


def test_changed_local_folder_is_noticed(tmp_path: Path) -> None:
    resolve_base(small(), tmp_path / "m")
    local = resolve_base(elsewhere(str(tmp_path / "m")), tmp_path / "unused")
    (tmp_path / "m" / "config.json").write_text((tmp_path / "m" / "config.json").read_text() + " ")
    with pytest.raises(IntegrityError, match="not the ones"):
        load(local)


def test_contradictions_and_missing_models_name_the_way_out(made: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="makes the model"):
        small(revision="main")
    with pytest.raises(ValidationError, match="no multiple of heads"):
        ToyOptions(hidden_size=100, heads=3)
    with pytest.raises(ConfigError, match="local folder"):
        resolve_base(elsewhere(str(made.path), revision="main"), tmp_path)
    with pytest.raises(InputNotFoundError, match="no such model folder"):
        resolve_base(elsewhere("./nowhere"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputNotFoundError, match="safetensors"):
        resolve_base(elsewhere(str(tmp_path / "empty")), tmp_path)


def test_training_lowers_the_loss_and_leaves_torch_as_it_was(tmp_path: Path) -> None:
    import torch

    from steps.engines.lm.loss import token_losses

    torch.manual_seed(99)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    losses = []
    for steps in (1, 60):
        options = SMALL.model_copy(update={"steps": steps, "batch_size": 8})
        model = resolve_base(small(options=options.model_dump()), tmp_path / str(steps))
        ids = load_tokenizer(model)("The old baker walked to the harbor.")["input_ids"]
        (total, counted), *_ = token_losses(load(model, device="cpu"), [(ids, list(ids))], batch_size=1)
        losses.append(total / counted)
    assert losses[1] < losses[0] - 0.5
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def test_a_local_base_is_read_once_for_its_digests_however_often_it_is_loaded(
    made: ModelFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", 0)
    read: list[str] = []
    monkeypatch.setattr(digests, "file_digest", lambda path: (read.append(path.name), digests_of(path))[1])
    folder = shutil.copytree(str(made.path), tmp_path / "base")
    config = elsewhere(str(folder))
    input_digests(config, tmp_path)
    base = resolve_base(config, tmp_path / "unused")
    for _ in range(3):
        load(base, device="cpu")
        load_tokenizer(base)
    assert sorted(read) == sorted(p.name for p in folder.iterdir())
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(IntegrityError, match="not the ones that were recorded"):
        load(base, device="cpu")
