"""Paths in `--set` start at the working folder, as all on a command line do; those in files start at the checkout."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from steps.engines.yaml_lines.parse import Loader

# Keys whose values may be paths, and keys below which they are names: of a server's model, of a model in this run.
_PATHS, _NAMES = frozenset({"model", "path"}), frozenset({"endpoint", "subjects"})
_GLOB = frozenset("*?[")


def from_working_folder(overrides: Sequence[str], root: Path, here: Path) -> list[str]:
    """The overrides with paths that mean what they mean in `here`: relative to `root` where they are below it, else
    absolute. A path is what begins as one (./ ../ / ~), and what is there; any other name stays (it may be one of the
    hub, or lie below `root`).
    """
    return [_placed(one, root, here) for one in overrides]


def _placed(override: str, root: Path, here: Path) -> str:
    key, sign, text = override.partition("=")
    try:
        value = yaml.load(text, Loader)
    except (yaml.YAMLError, RecursionError):
        return override  # told, with its place, when it is read
    placed = _of_place(tuple(key.split(".")), value, root, here)
    return override if not sign or placed == value else f"{key}={json.dumps(placed, ensure_ascii=False)}"


def _of_place(place: tuple[str, ...], value: Any, root: Path, here: Path) -> Any:
    if isinstance(value, dict):
        return {k: _of_place((*place, str(k)), v, root, here) for k, v in value.items()}
    if isinstance(value, list):
        return [_of_place(place, v, root, here) for v in value]
    is_path = place[-1] in _PATHS and not _NAMES & set(place)
    return typed_path(value, root, here) if is_path else value


def typed_path(name: Any, root: Path, here: Path) -> Any:
    """A name as it is to stand in a config, where it is a path that was typed in `here`; anything else as it is."""
    # A URL, models:/NAME/3, package:NAME/FOLDER, package.module:function.
    if not isinstance(name, str) or ":" in name or not name:
        return name
    root, here = root.resolve(), here.resolve()
    path = here / Path(name).expanduser()
    magic = bool(_GLOB & set(name))
    there = any(here.glob(name)) if magic and not Path(name).is_absolute() else path.exists()
    if (here == root and not name.startswith("~")) or not (there or name.startswith((".", "/", "~"))):
        return name
    found = Path(os.path.normpath(path))
    return found.relative_to(root).as_posix() if there and found.is_relative_to(root) else str(found)
