"""Paths that are typed start where the command is called, those in files at the checkout."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops.main import app
from ops.override_paths import from_working_folder
from steps.contracts.errors import InputNotFoundError
from steps.engines.lm.references import local_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with models and data, and a folder beside it with its own."""
    for name in ("checkout/models/both", "checkout/models/mine", "checkout/sub/models/both", "beside/models/both",
                 "beside/owner/x"):  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "beside" / "rows.jsonl").write_text("")
    return tmp_path / "checkout"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("base.model=models/both", "{beside}/models/both"),
        ("local.model=./models/both", "{beside}/models/both"),
        ("judge.local={model: models/both, batch_tokens: 8}", "{beside}/models/both"),
        ("train.0.objective.teacher.model=../checkout/models/mine", '"models/mine"'),
        ("base.model=./gone", "{beside}/gone"),
        ("ingest.sources.0.path=row*.jsonl", "{beside}/row*.jsonl"),
        ("ingest.sources=[{path: rows.jsonl, name: rows}]", "{beside}/rows.jsonl"),
    ],
)
def test_what_is_there_or_begins_as_a_path_is_one(root: Path, typed: str, meant: str) -> None:
    beside = root.parent / "beside"
    (found,) = from_working_folder([typed], root, beside)
    assert found.startswith(typed.partition("=")[0] + "=") and meant.format(beside=beside) in found


def test_what_lies_below_the_checkout_is_named_as_a_config_would(root: Path) -> None:
    assert from_working_folder(["base.model=models/both"], root, root / "sub") == ['base.model="sub/models/both"']
    assert from_working_folder(["base.model=./models/both"], root, root) == ["base.model=./models/both"]


@pytest.mark.parametrize(
    "typed",
    [
        "base.model=models/mine", "base.model=Qwen/Qwen3-0.6B", "base.model=gpt2", "base.model=models:/toy/3",
        "embed.model=package:some_package/model", "base.model=examples.toy_base.build:build",
        "judge.endpoint.model=models/both", "prefer.model={endpoint: {model: models/both}}",
        "evaluate.subjects=[{name: a, model: models}]", "judge.rubric=models/both", "seed=3", "broken={", "nothing",
    ],
)  # fmt: skip
def test_other_names_stay_as_they_are(root: Path, typed: str) -> None:
    assert from_working_folder([typed], root, root.parent / "beside") == [typed]


def test_a_home_is_found_where_it_is_typed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    (found,) = from_working_folder(["base.model=~/beside/owner/x"], root, root)
    assert found == f'base.model="{root.parent}/beside/owner/x"'
    # In a config, which is read on other machines as well, it means nothing.
    with pytest.raises(InputNotFoundError) as told:
        local_folder("~/beside/owner/x", root)
    assert "~ is no home there" in str(told.value.hint)


def test_a_folder_that_is_not_there_is_said_with_where_it_was_looked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent / "beside")
    assert local_folder("models/mine", root) == root / "models" / "mine" and local_folder("Qwen/Qwen3", root) is None
    assert local_folder("all-MiniLM-L6-v2", root, bare=True) is None
    for name in ("./gone", "../gone", "/gone", "a/b/c", "gone"):
        with pytest.raises(InputNotFoundError) as told:
            local_folder(name, root)
        assert told.value.what == "no such model folder" and told.value.where == str(root / name)
    # A hub id by its form, and a folder in the wrong place.
    with pytest.raises(InputNotFoundError) as told:
        local_folder("owner/x", root)
    assert told.value.hint == (
        f"relative paths in a config start from {root}, and {root.parent / 'beside' / 'owner' / 'x'} is another one;"
        " name an existing folder, a hub id (owner/name)"
    )


def test_the_command_takes_a_model_from_where_it_is_called(
    tmp_path: Path, tiny_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(tiny_model.path)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "What?", "completion": "That."}\n')
    monkeypatch.chdir(tmp_path)
    asks = ["stage", "judge", "rows.jsonl", "--out", "out", "--set", "backend=local", "--set", "min_rating_mass=0"]
    gone = CliRunner().invoke(app, [*asks, "--set", "local.model=./models/gone"])
    assert gone.exit_code == InputNotFoundError.exit_code
    assert "no such model folder" in gone.output and f"{tmp_path}/models/gone" in gone.output.replace("\n", "")
    # It is found; that so small a model can't read the rubric is another matter.
    done = CliRunner().invoke(app, [*asks, "--set", "local.model=models/tiny", "--set", "max_undecided_share=1"])
    assert done.exit_code == 0, done.output
    assert f"Judged by {tmp_path}/models/tiny" in done.output.replace("\n", "")
