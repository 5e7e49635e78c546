"""What a digest of code sees, told on small sources."""

import ast
from pathlib import Path

import pytest

from steps.contracts import code
from steps.contracts.code import _imports, _tree_digest, code_digest, code_of, data_files, import_closure
from steps.contracts.digests import file_digest, value_digest


def digest(source: str) -> str:
    return _tree_digest(ast.parse(source))


def test_docstrings_comments_and_places_are_no_code() -> None:
    bare = "class A:\n    def f(self):\n        pass\n    async def g(self):\n        return 1\n"
    said = (
        '"""M."""\n\n\nclass A:\n    "a"\n    def f(self):\n        """F."""  # only this\n'
        '    async def g(self):\n        """G."""\n        return 1\n'
    )
    assert digest(said) == digest(bare)
    assert digest('"""M."""') == digest("pass")


def test_all_else_is_code() -> None:
    sources = ["", "pass", "1", "x", "x = 'a'", "f()", "f('a')", "'a' + 'b'", "def f():\n    return 1"]
    sources += ["def f():\n    return 2", "def f():\n    'doc'\n    'another'", "def f():\n    f()\n    return 1"]
    assert len({digest(s) for s in sources}) == len(sources)


def imports(source: str) -> list[str]:
    return list(_imports(ast.parse(source)))


def test_names_that_an_import_may_mean() -> None:
    assert imports("x = 1\nimport a.b, c as d\ny = 2\nfrom e.f import g, h as i") == [
        "a.b", "c", "e.f", "e.f.g", "e.f.h"
    ]  # fmt: skip
    assert imports("from . import a\nfrom .b import c\nfrom ..d import e") == []
    assert imports("def f():\n    if x:\n        import late") == ["late"]


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root.joinpath(*name.split("__"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(text)


def test_a_closure_goes_round_a_circle_once_and_on_past_what_it_knows(tmp_path: Path) -> None:
    write(
        tmp_path,
        steps__a="import steps.b, json, steps.c",
        steps__b="import steps.a, steps.c",
        steps__c="import steps.d",
    )
    (tmp_path / "steps" / "d").mkdir()
    (tmp_path / "steps" / "d" / "__init__.py").write_text("import steps.b, materializers.x, ops.y, pipelines.z")
    write(tmp_path, materializers__x="", ops__y="", pipelines__z="", steps__zenml_runtime__w="")
    found = import_closure("steps.a", tmp_path)
    assert set(found) == {"steps.a", "steps.b", "steps.c", "steps.d"}
    assert found["steps.c"] == digest("import steps.d")
    assert import_closure("steps.nothing", tmp_path) == {}
    # Known modules come up again with others still waiting.
    write(tmp_path, steps__e="import steps.f, steps.g", steps__f="", steps__g="import steps.g, steps.f, steps.e")
    assert set(import_closure("steps.e", tmp_path)) == {"steps.e", "steps.f", "steps.g"}
    # What is asked for is read, wherever it lies.
    assert set(import_closure("ops.y", tmp_path)) == {"ops.y"}


def test_files_beside_modules_count_by_their_bytes(tmp_path: Path) -> None:
    write(tmp_path, steps__a="", steps__b="", steps__other__c="")
    here = tmp_path / "steps"
    for name in ("terms.txt", "a.pyc", "other/unseen.txt"):
        (here / name).write_text(name)
    assert data_files(["steps.a", "steps.b", "steps.nothing"], tmp_path) == {
        "steps/terms.txt": file_digest(here / "terms.txt")
    }


def test_the_digest_of_a_module_is_that_of_all_it_uses_and_of_the_files_beside() -> None:
    used = code_of(["steps.engines.text.normalise"])
    assert {"steps.engines.text.normalise", "steps/engines/text/codepoints.npz"} <= used.keys()
    assert code_digest("steps.engines.text.normalise") == value_digest(used)
    both = code_of(["steps.engines.text.normalise", "steps.contracts.arrays"])
    assert both.items() > used.items() and "steps.contracts.arrays" in both


def test_what_was_parsed_before_is_known_from_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path))
    source = b"import json\n\n\ndef known_from_the_state_folder():\n    return 1\n"
    first = code._parsed.__wrapped__(source)
    [kept] = (tmp_path / "code").iterdir()
    with monkeypatch.context() as m:
        m.setattr(ast, "parse", None)
        assert code._parsed.__wrapped__(source) == first
    assert first == (digest(source.decode()), ("json",))
    # What was cut off, or is unreadable, is found out again.
    kept.write_text("[")
    assert code._parsed.__wrapped__(source) == first
    assert code._parsed.__wrapped__(source + b"x = 1\n") != first
    assert len(list((tmp_path / "code").iterdir())) == 2
    monkeypatch.delenv("ASSAY_STATE")
    assert code._parsed.__wrapped__(source) == first
