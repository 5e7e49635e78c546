"""A function that makes the base model: named in the config, checked before anything runs, its code in the digest."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.base.builders import builder_digest, load_builder
from steps.base.config import BaseConfig
from steps.base.inputs import input_digests
from steps.contracts import code
from steps.contracts.errors import ConfigError

TOY = "examples.toy_base.build:build"
MINE = """
from steps.contracts.reports import Frozen

class Options(Frozen):
    width: int = 1

def build(options: Options, seed: int, num_threads: int, folder) -> tuple[str, ...]:
    return ()

def bare(options, seed, num_threads, folder):
    return ()

NAME = "x"
"""


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("no.such:build", {}, "no such function"),
        ("examples.toy_base.build:none", {}, "no such function"),
        (TOY, {"widht": 1}, "Extra inputs are not permitted"),
        (TOY, {"steps": 0}, "greater than or equal to 1"),
        ("mine_builder:bare", {}, "first parameter"),
        ("mine_builder:NAME", {}, "first parameter"),
    ],
)
def test_what_it_cannot_do_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, options: dict[str, object], said: str
) -> None:
    (tmp_path / "mine_builder.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=said) as found:
        input_digests(BaseConfig(model=model, options=options), tmp_path)
    assert (found.value.where or "").startswith("base.")


def test_options_are_for_functions_only() -> None:
    with pytest.raises(ValidationError, match="options are set"):
        BaseConfig(model="owner/name", options={"steps": 1})
    assert not BaseConfig(model="owner/name").is_built and not BaseConfig(model="./folder").is_built


def test_the_digest_is_that_of_the_code_and_of_all_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment changes nothing; another word in the corpus, two imports away, does."""
    config = BaseConfig(model=TOY)
    _, options = load_builder(config)
    assert type(options).__name__ == "ToyOptions"
    names = set(code.code_of(["examples.toy_base.build"]))
    assert {"examples.toy_base.corpus", "examples.toy_base.siblings", "examples.toy_base.muon"} <= names
    here = Path(code.__file__).resolve().parents[2]
    copy = tmp_path / "copy"
    for file in [
        *here.glob("examples/toy_base/*.py"),
        *here.glob("steps/engines/*/*.py"),
        *here.glob("steps/contracts/*.py"),
    ]:
        target = copy / file.relative_to(here)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    before = builder_digest(config)
    monkeypatch.setattr(code, "_ROOT", copy)
    assert builder_digest(config) == before
    english = copy / "examples/toy_base/english.py"
    english.write_text(english.read_text() + "\n# a comment\n")
    assert builder_digest(config) == before
    english.write_text(english.read_text() + "\nMORE = 'word'\n")
    assert builder_digest(config) != before


def test_an_installed_builder_is_digested_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "installed_builder.py").write_text(MINE)
    config = BaseConfig(model="installed_builder:build", options={"width": 2})
    before = builder_digest(config)
    (tmp_path / "installed_builder.py").write_text(MINE + "\nX = 1\n")
    assert builder_digest(config) != before
