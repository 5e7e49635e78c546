"""Where compiled kernels are kept: as the module says that all kernels import."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from numba.core import config

from steps.engines.imports.compiler import ByContent


def kernel(folder: Path, said: str) -> Any:
    """A kernel in a file of its own."""
    folder.mkdir()
    file = folder / "kernel.py"
    file.write_text(
        f"from steps.engines.imports.compiler import njit\n\n@njit(cache=True)\ndef f(n):\n    return {said}\n"
    )
    spec = importlib.util.spec_from_file_location("kernel", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.f


def test_the_same_source_is_compiled_once_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Numba reads its variables again, once another test has changed one.
    config.reload_config()
    monkeypatch.setattr(config, "CACHE_LOCATOR_CLASSES", f"{ByContent.__module__}.ByContent")
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kernels"))
    found = []
    for place, said in (("here", "n + 1"), ("there", "n + 1"), ("changed", "n + 2")):
        f = kernel(tmp_path / place, said)
        found.append((f(1), sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values())))
    assert found == [(2, 0, 1), (2, 1, 0), (3, 0, 1)]


def test_without_a_folder_of_their_own_kernels_lie_beside_their_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", "")
    assert kernel(tmp_path / "here", "n + 1")(1) == 2
    assert list((tmp_path / "here" / "__pycache__").glob("*.nbc"))
