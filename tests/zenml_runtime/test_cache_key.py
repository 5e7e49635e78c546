"""What is in a step's cache key, and what isn't."""

from pathlib import Path

import pytest

from steps.contracts.code import data_files, import_closure
from steps.zenml_runtime import step as step_runtime

STEP = "from steps.one.logic import work\n\ndef run():\n    return work()\n"
LOGIC = '''"""Docs."""
from steps.contracts.used import shape


def work():
    """Says what it does."""
    # why
    from steps.engines.lazy import late

    return shape() + late()
'''


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "steps/__init__.py": "",
        "steps/one/__init__.py": "",
        "steps/one/step.py": STEP,
        "steps/one/logic.py": LOGIC,
        "steps/contracts/__init__.py": "",
        "steps/contracts/used.py": "def shape():\n    return 1\n",
        "steps/contracts/unused.py": "X = 1\n",
        "steps/engines/__init__.py": "",
        "steps/engines/lazy.py": "import materializers.views\n\ndef late():\n    return 2\n",
        "materializers/__init__.py": "",
        "materializers/views.py": "COLOUR = 'red'\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def closure(tree: Path) -> dict[str, str]:
    return import_closure("steps.one.step", tree)


def test_closure_holds_every_module_really_imported(tree: Path) -> None:
    assert set(closure(tree)) == {
        "steps.one.step",
        "steps.one.logic",
        "steps.contracts.used",
        "steps.engines.lazy",
    }


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("steps/one/logic.py", "# why", "# another why"),
        ("steps/one/logic.py", "Says what it does.", "Says it better."),
        ("steps/one/logic.py", '"""Docs."""\n', ""),
        ("steps/contracts/unused.py", "X = 1", "X = 2"),
        ("materializers/views.py", "red", "blue"),
    ],
)
def test_comment_docstring_or_unused_module_changes_nothing(tree: Path, file: str, old: str, new: str) -> None:
    before = closure(tree)
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    assert closure(tree) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("steps/one/logic.py", "shape() + late()", "late() + shape()"),
        ("steps/contracts/used.py", "return 1", "return 3"),
        ("steps/engines/lazy.py", "return 2", "return 4"),
    ],
)
def test_code_that_is_used_changes_the_key(tree: Path, file: str, old: str, new: str) -> None:
    before = closure(tree)
    text = (tree / file).read_text()
    assert old in text
    (tree / file).write_text(text.replace(old, new))
    assert closure(tree) != before


def test_library_version_is_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = step_runtime.cache_key("steps.contracts.digests", ["numpy"])
    assert before == step_runtime.cache_key("steps.contracts.digests", ["numpy"])
    monkeypatch.setattr(step_runtime, "version", lambda name: "0.0.0")
    assert step_runtime.cache_key("steps.contracts.digests", ["numpy"]) != before


def test_data_file_beside_a_used_module_is_in_the_key(tree: Path) -> None:
    assert data_files(closure(tree), tree) == {}
    (tree / "steps" / "one" / "terms.txt").write_text("a")
    before = data_files(closure(tree), tree)
    assert set(before) == {"steps/one/terms.txt"}
    (tree / "steps" / "one" / "terms.txt").write_text("b")
    assert data_files(closure(tree), tree) != before
