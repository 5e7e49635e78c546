"""The kept index of a dedup run: what a later run needs to look new rows up instead of reading the old ones again.

On disk an index is a folder with `manifest.json` and, below `parts/`, one folder per part, named by a digest of its
files. Parts never change: a run over grown data adds its own part and shares the older ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.reports import Frozen

INDEX_VERSION = 1


class PartEntry(Frozen):
    """One immutable folder of NumPy arrays. files: size in bytes and SHA-256 of each, by name."""

    name: str
    rows: int
    files: dict[str, tuple[int, str]]


class IndexManifest(Frozen):
    """What an index is. settings: digest of the settings under which it was made; code: of the code and libraries that
    made it, "" where that isn't known; last_batch: of its latest rows.

    compared, capped: sums over its runs, for the reports of later ones.
    """

    version: int = INDEX_VERSION
    settings: str
    code: str = ""
    rows: int
    last_batch: int
    compared: int
    capped: int
    parts: tuple[PartEntry, ...]


@dataclass(frozen=True)
class DedupIndex:
    """An opened index; `parts` are the folders of its parts, oldest first."""

    folder: Path
    manifest: IndexManifest
    parts: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path, part_folder: Callable[[str], Path] | None = None) -> Self:
        """Open an index. `part_folder` maps a part's name to its folder; default `folder/parts/<name>`.

        Raises:
            InputNotFoundError: no manifest, or a part is missing.
            IntegrityError: a file hasn't the recorded size. (Bytes are compared when it comes from a store.)
        """
        file = folder / "manifest.json"
        if not file.is_file():
            raise InputNotFoundError("not a dedup index: no manifest.json", where=str(folder))
        manifest = IndexManifest.model_validate_json(file.read_bytes())
        locate = part_folder or (lambda name: folder / "parts" / name)
        parts = tuple(locate(p.name) for p in manifest.parts)
        for entry, part in zip(manifest.parts, parts, strict=True):
            for name, (size, _) in entry.files.items():
                path = part / name
                if not path.is_file():
                    raise InputNotFoundError("a file of this dedup index is missing", where=str(path))
                if path.stat().st_size != size:
                    raise IntegrityError(
                        f"a file of this dedup index has {path.stat().st_size} bytes, not {size}",
                        where=str(path),
                        hint="run once without reuse: it makes a new index",
                    )
        return cls(folder, manifest, parts)
