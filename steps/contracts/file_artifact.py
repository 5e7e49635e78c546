"""A single file that a stage hands on as it is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileArtifact:
    """One file. `raw` marks content that no scrub has seen (reject files): it must not leave the machine unnoticed."""

    path: Path
    raw: bool = False
