"""No module imports another that imports it back, however far round: lazy and TYPE_CHECKING imports count too."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("steps", "materializers", "pipelines", "ops")


def modules(root: Path) -> dict[str, Path]:
    """Files of our packages by dotted name."""
    files = (f for package in PACKAGES for f in (root / package).rglob("*.py"))
    return {".".join(f.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): f for f in files}


def imported(file: Path, known: dict[str, Path]) -> set[str]:
    """Modules of ours that a file imports, at its top, in a function or under TYPE_CHECKING."""
    return {name for node in ast.walk(ast.parse(file.read_text())) for name in _names(node) if name in known}


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        assert node.level == 0, "relative imports are not followed"
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def circles(root: Path) -> list[list[str]]:
    """One circle after the other, each found by leaving out the last import of the one before."""
    known = modules(root)
    graph = {name: imported(file, known) - {name} for name, file in known.items()}
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as e:
            # Each of the list is imported by the next one.
            circle = e.args[1]
            found.append(sorted(set(circle)))
            graph[circle[1]].discard(circle[0])
        else:
            return found


def test_there_is_no_circle() -> None:
    assert len(modules(ROOT)) > 300
    assert circles(ROOT) == []


def test_a_circle_is_found_however_it_is_closed(tmp_path: Path) -> None:
    files = {
        "steps/a.py": "from steps.b import x\n",
        "steps/b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ops import c\n",
        "ops/c.py": "def f():\n    import steps.a\n",
        "ops/d.py": "from steps.a import y\nfrom materializers.e import z\n",
        "materializers/e.py": "def g():\n    from ops.d import h\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(circles(tmp_path)) == [["materializers.e", "ops.d"], ["ops.c", "steps.a", "steps.b"]]


def _defined(module: str, known: dict[str, Path]) -> set[str]:
    """What can be taken from a module of ours: its names at whatever depth, and modules in its folder."""
    inside = {name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == module}
    if module not in known:
        return inside
    for node in ast.walk(ast.parse(known[module].read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            inside.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            inside |= {alias.asname or alias.name for alias in node.names}
    return inside


def test_benchmarks_take_what_is_there() -> None:
    known = modules(ROOT)
    nodes = ((f, node) for f in sorted(ROOT.glob("benchmarks/*.py")) for node in ast.walk(ast.parse(f.read_text())))
    taken = {
        (f.name, node.module, alias.name)
        for f, node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES
        for alias in node.names
    }
    defined = {module: _defined(module, known) for _, module, _ in taken}
    assert len(taken) > 100 and not [one for one in sorted(taken) if one[2] not in defined[one[1]]]
