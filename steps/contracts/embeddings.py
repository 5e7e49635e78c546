"""Embeddings cached between runs: a text that a model has read once costs its look-up only.

On disk this is a folder with `manifest.json` and one or more Arrow IPC files, which never change: `key` (16 bytes),
sorted; `cut` (whether the model read only the text's beginning); `vector` (float32, all of one length). A key is a
digest of the text and of `space`: the model's files, how it is run, the code. No text is kept; but texts can be guessed
from vectors, so they are to be guarded like the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from steps.contracts.digests import file_digest, value_digest
from steps.contracts.errors import InputNotFoundError, IntegrityError
from steps.contracts.reports import Frozen

FORMAT = 1
MANIFEST = "manifest.json"
WITHOUT = "run once with `reuse: null`: every text is embedded and kept anew"


class EmbeddingsPart(Frozen):
    """One file of vectors of one space. `name`: of the file."""

    name: str = Field(pattern=r"^[0-9a-f]{32}\.arrow$")
    space: str
    rows: int = Field(ge=1)
    dimensions: int = Field(ge=1)
    sha256: str


class EmbeddingsManifest(Frozen):
    """Every file of vectors that a run cached."""

    format: int = FORMAT
    parts: tuple[EmbeddingsPart, ...] = ()


@dataclass(frozen=True)
class CachedEmbeddings:
    """Finished files of vectors on this machine; `files` are those of the manifest's parts, in order."""

    manifest: EmbeddingsManifest = field(default_factory=EmbeddingsManifest)
    files: tuple[Path, ...] = ()

    @classmethod
    def read(cls, text: str, where: str, locate: Callable[[EmbeddingsPart], Path]) -> Self:
        """What a manifest's text names. `locate` gives a part's file; `where` is for errors.

        Raises:
            InputNotFoundError: a file is missing.
            IntegrityError: the manifest isn't readable or of another format, or a file hasn't the bytes that it names.
        """
        try:
            manifest = EmbeddingsManifest.model_validate_json(text)
        except ValidationError as e:
            raise IntegrityError(f"not readable: {e.errors()[0]['msg']}", where=where, hint=WITHOUT) from e
        if manifest.format != FORMAT:
            raise IntegrityError(f"format {manifest.format}, this version reads {FORMAT}", where=where, hint=WITHOUT)
        files = tuple(locate(part) for part in manifest.parts)
        for part, file in zip(manifest.parts, files, strict=True):
            if not file.is_file():
                raise InputNotFoundError("a file of the cached embeddings is missing", where=str(file), hint=WITHOUT)
            if file_digest(file) != part.sha256:
                raise IntegrityError("not the bytes that the manifest names", where=str(file), hint=WITHOUT)
        return cls(manifest, files)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a folder and check its bytes. Raises as `read`."""
        file = folder / MANIFEST
        if not file.is_file():
            raise InputNotFoundError("no manifest.json: no cached embeddings", where=str(folder), hint=WITHOUT)
        return cls.read(file.read_text("utf-8"), str(file), lambda part: folder / part.name)

    @property
    def rows(self) -> int:
        """Vectors of all spaces."""
        return sum(part.rows for part in self.manifest.parts)

    @property
    def digest(self) -> str:
        """Digest of the manifest, which names every file by its content."""
        return value_digest(self.manifest.model_dump(mode="json"))
