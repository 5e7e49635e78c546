"""Digests of our own code: what decides a result besides settings and data."""

import ast
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from steps.contracts.digests import file_digest, value_digest
from steps.contracts.errors import StorageError
from steps.contracts.storage import STATE, aside

FIRST_PARTY = ("steps", "pipelines", "materializers", "ops")
# How an artifact is stored or shown, and how ZenML runs a step, don't change what is computed.
_NOT_IN_KEY = ("materializers", "ops", "pipelines", "steps.zenml_runtime")
_ROOT = Path(__file__).resolve().parents[2]


def code_of(modules: Iterable[str]) -> dict[str, str]:
    """Digests of all that these modules use of ours, by module name or by the path of a data file."""
    parts = {name: digest for module in modules for name, digest in import_closure(module, _ROOT).items()}
    return {**parts, **data_files(parts, _ROOT)}


@functools.cache
def code_digest(module: str) -> str:
    """One digest over all that a module uses of ours; libraries are not in it."""
    return value_digest(code_of([module]))


def function_digest(place: str) -> str:
    """Digest of the code of package.module:function: what its module imports of this checkout, or the module's file
    where it is installed.
    """
    module = place.partition(":")[0]
    code = code_of([module])
    spec = find_spec(module) if not code else None
    if spec is not None and spec.origin is not None:
        code = {module: file_digest(Path(spec.origin))}
    return value_digest(code)


def import_closure(module: str, root: Path) -> dict[str, str]:
    """First-party modules that `module` imports anywhere in its code (lazy imports too), with their tree digests."""
    digests: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _module_file(name, root)
        if name in digests or file is None:
            continue
        digests[name], imports = _parsed(file.read_bytes())
        waiting.extend(m for m in imports if _module_file(m, root) and not m.startswith(_NOT_IN_KEY))
    return digests


@functools.cache
def _parsed(source: bytes) -> tuple[str, tuple[str, ...]]:
    """Digest of a module without docstrings, and the names that it imports: modules, or what is in them.

    To parse three hundred modules takes seconds at the start of every run, so it is kept in the state folder by the
    source's bytes, where that folder is known.
    """
    place = _place(source)
    known = _known(place) if place is not None else None
    if known is not None:
        return known
    tree = ast.parse(source)
    found = _tree_digest(tree), tuple(_imports(tree))
    if place is not None:
        with suppress(StorageError), aside(place) as partial:
            partial.write_text(json.dumps(found))
    return found


def _place(source: bytes) -> Path | None:
    """Where what is found out about a source is kept; trees differ between Pythons, and this module says how."""
    state = os.environ.get(STATE)
    if not state:
        return None
    h = hashlib.sha256(_how().encode())
    h.update(source)
    return Path(state) / "code" / f"{h.hexdigest()}.json"


@functools.cache
def _how() -> str:
    return f"{sys.version}\n{file_digest(Path(__file__))}\n"


def _known(place: Path) -> tuple[str, tuple[str, ...]] | None:
    try:
        digest, imports = json.loads(place.read_bytes())
    except (OSError, ValueError):
        return None
    return digest, tuple(imports)


def data_files(modules: Iterable[str], root: Path) -> dict[str, str]:
    """SHA-256 of the files other than Python that lie beside these modules: term lists, templates."""
    folders = {file.parent for name in modules if (file := _module_file(name, root))}
    files = [f for folder in folders for f in folder.iterdir() if f.is_file() and f.suffix not in (".py", ".pyc")]
    return {f.relative_to(root).as_posix(): file_digest(f) for f in files}


@functools.cache
def _module_file(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import module` names a module too; `from module import name` doesn't.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from names


def _tree_digest(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree, include_attributes=False).encode()).hexdigest()
