"""Tasks that lm_eval has by name, told before anything is paid: whether there is one, and, offline, its data."""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from steps.evaluate.harness.config import SUFFIXES

# Names of tasks, groups and tags as their files give them: behind a key, or in a list.
_NAMES = re.compile(r"(?m)^\s*(?:(?:-\s+)?(?:task|group|tag):|-)[ \t]+[\"']?([\w.+:/-]+)[\"']?[ \t]*(?:#.*)?$")
_NO_TASKS = (".py", ".pyc", ".md")
# The environment's names for "ask no server", as huggingface_hub and datasets read them.
_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def faults_of_names(names: Sequence[str], *, here: bool) -> Iterator[str]:
    """What is wrong with these names. `here`: whether they are asked on this machine, whose cache counts."""
    folder, wanted = _folder(), {n for n in names if not n.endswith(SUFFIXES)}
    if folder is None or not wanted:
        return
    files: dict[str, Path] = {}
    known, named = set[str](), set[str]()
    # Files of tasks that others include have names of any kind.
    for file in sorted(f for f in folder.rglob("*") if f.suffix not in _NO_TASKS and f.is_file()):
        text = file.read_text(encoding="utf-8", errors="replace")
        known |= set(_NAMES.findall(text))
        found = {n for n in wanted if n in text}
        named |= found
        files |= {n: file for n in found if _is_task(text, n)}
    # What stands nowhere is no name; what does may be one, in whatever way it is written.
    for name in sorted(wanted - named):
        near = difflib.get_close_matches(name, known, 3)
        like = f"; near it: {', '.join(near)}" if near else ""
        yield f"lm_eval has no task {name!r}{like}; `lm_eval ls tasks` lists all"
    for name, file in sorted(files.items()) if here and offline() else ():
        path = _dataset(file)
        if path and not in_cache(path):
            yield (
                f"offline ({' or '.join(v for v in _OFFLINE if _on(v))}), and the data of {name}, {path}, isn't in the"
                " cache: ask the task once online, or name a YAML file of a task with data_files"
            )


def offline() -> bool:
    """Whether no server may be asked."""
    return any(map(_on, _OFFLINE))


def in_cache(dataset: str) -> bool:
    """Whether there may be something of a dataset of the hub: in the cache of prepared ones, or in that of files."""
    from huggingface_hub import constants

    prepared = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")
    wanted = _plain(dataset.replace("/", "___"))
    if prepared.is_dir() and any(_plain(f.name) == wanted for f in prepared.iterdir() if f.is_dir()):
        return True
    return (Path(constants.HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}" / "snapshots").is_dir()


def _plain(name: str) -> str:
    """datasets writes names in snake case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _on(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in ("1", "TRUE", "YES", "ON")


def _folder() -> Path | None:
    """Where lm_eval's own tasks lie; None: it isn't installed."""
    try:
        found = find_spec("lm_eval")
    except ValueError:
        return None
    return Path(found.origin).parent / "tasks" if found is not None and found.origin else None


def _is_task(text: str, name: str) -> bool:
    return bool(re.search(rf"(?m)^task:[ \t]+[\"']?{re.escape(name)}[\"']?[ \t]*$", text))


def _dataset(file: Path) -> str:
    """The dataset of the hub that a task's file names; "": none, or files of its own."""
    from lm_eval.tasks._yaml_loader import load_yaml

    values: dict[str, Any] = load_yaml(file, resolve_func=False)
    path, files = values.get("dataset_path"), (values.get("dataset_kwargs") or {}).get("data_files")
    return path if isinstance(path, str) and "/" in path and not files else ""
