"""Ingest without a config file: a list of paths, everything else by itself."""

import re
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from steps.ingest.config import IngestConfig, SourceConfig

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def quick_config(inputs: list[str], reading: Mapping[str, Any] | None = None) -> IngestConfig:
    """The config that reads files, folders, globs or URLs; relative paths start at the root of the context.

    Each input is a source named after its last path part (without suffix); a second one of that name gets "-2".
    `reading`: further settings of every source.
    """
    names: list[str] = []
    for given in inputs:
        name = plain_name(Path(given.rstrip("/")).name.split(".")[0]) or "input"
        tries = chain([name], (f"{name}-{n}" for n in count(2)))
        names.append(next(t for t in tries if t not in names))
    named = zip(names, inputs, strict=True)
    return IngestConfig(sources=tuple(SourceConfig(name=name, path=given, **(reading or {})) for name, given in named))


def plain_name(text: str) -> str:
    """What of a text can be a source's name; "" for nothing."""
    return _NOT_PLAIN.sub("-", text).strip("-._")[:48]
