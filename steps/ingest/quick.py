"""Ingest without a config file: a list of paths, everything else by itself."""

import re
from itertools import chain, count
from pathlib import Path

from steps.ingest.config import IngestConfig, SourceConfig

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def quick_config(inputs: list[str], *, max_reject_share: float | None = None) -> IngestConfig:
    """The config that reads files, folders, globs or URLs; relative paths start at the root of the context.

    Each input is a source named after its last path part (without suffix); a second one of that name gets "-2".
    """
    names: list[str] = []
    for given in inputs:
        stem = Path(given.rstrip("/")).name.split(".")[0]
        name = _NOT_PLAIN.sub("-", stem).strip("-._")[:48] or "input"
        tries = chain([name], (f"{name}-{n}" for n in count(2)))
        names.append(next(t for t in tries if t not in names))
    sources = tuple(SourceConfig(name=name, path=given) for name, given in zip(names, inputs, strict=True))
    if max_reject_share is None:
        return IngestConfig(sources=sources)
    return IngestConfig(sources=sources, max_reject_share=max_reject_share)
