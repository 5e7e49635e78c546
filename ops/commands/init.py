"""`assay init`: a config for somebody's own files."""

import os
from pathlib import Path

from ops.console import emit, say, show_table
from ops.initial_config import Draft, draft, failure, look_at
from ops.preflight import checked
from steps.contracts.errors import ConfigError
from steps.contracts.storage import write_whole
from steps.ingest.quick import plain_name


def write_config(
    root: Path, inputs: list[str], out: Path | None, name: str | None, base: str | None, json_output: bool
) -> None:
    """Look at the files, write a config that fits them, and say what it rests on.

    Raises:
        ConfigError: the config is there already. InputError: the rows of a file can't be told.
    """
    called = _name(name or Path(inputs[0].rstrip("/")).name.split(".")[0])
    path = out or Path(f"{called}.yaml")
    if path.exists():
        raise ConfigError("it is there already, and stays as it is", where=str(path), hint="name another: --out FILE")
    sources = look_at(inputs, root)
    if (why := failure(sources)) is not None:
        raise why
    made = draft(called, sources, base, bool(os.environ.get("ASSAY_PII_KEY")))
    write_whole(path, made.text)
    _, notes = checked(root, path)
    if json_output:
        told = [{"name": s.config.name, "path": s.config.path, "kinds": s.kinds, "found": s.summary} for s in sources]
        emit({"config": str(path), "sources": told, "assumed": made.assumed, "notes": notes})
    else:
        _tell(path, made, notes)


def _name(given: str) -> str:
    """A run's name made of any text."""
    name = plain_name(given).lower().replace(".", "-").lstrip("-_0123456789")
    return name[:40] or "mine"


def _tell(path: Path, made: Draft, notes: list[str]) -> None:
    rows = [[s.config.name, ", ".join(f"{kind} {n}" for kind, n in s.kinds.items()), s.summary] for s in made.sources]
    show_table(["source", "first rows", "what it is"], rows)
    for line in made.assumed:
        say(f"assumed: {line}")
    for note in notes:
        say(f"note: {note}")
    say(f"{path}: written, and valid; next: assay run {path} --dry-run")
