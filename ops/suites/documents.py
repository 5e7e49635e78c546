"""The user's own documents, each whole: in passages, and either questions come from it or training may see it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steps.contracts.digests import bytes_digest, short_id
from steps.contracts.errors import InputError, InputNotFoundError
from steps.engines.chunking.chunking import Markup, cutter
from steps.engines.chunking.config import ChunkConfig
from steps.engines.documents.config import DocumentConfig
from steps.engines.documents.pages import Unreadable
from steps.engines.documents.reader import DocumentKind, DocumentReader

_MARKUPS: dict[str, Markup] = {
    ".txt": "text", ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html"
}  # fmt: skip
_PAGED: dict[str, DocumentKind] = {".pdf": "pdf", ".docx": "docx"}
# Chosen: far more than a book; what is larger is no document.
_MOST_BYTES = 50_000_000
# Chosen: fewer words hold no fact that is worth a question.
_LEAST_WORDS = 12


@dataclass(frozen=True)
class Source:
    """A document: its name, SHA-256 of its bytes, and its passages in reading order."""

    name: str
    sha256: str
    passages: tuple[str, ...]


def read_documents(paths: Sequence[Path]) -> list[Source]:
    """The documents of these files and folders; equal ones count once. In a folder what is no document is passed over.

    Raises:
        InputNotFoundError: no such file or folder. InputError: one can't be read, or there are none.
    """
    found: dict[str, Source] = {}
    for path in paths:
        if not path.exists():
            raise InputNotFoundError("no such file or folder of documents", where=str(path))
        for file in [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file()):
            if file.suffix.lower() in (*_MARKUPS, *_PAGED):
                source = _read(file, file.name if path.is_file() else file.relative_to(path).as_posix())
                found.setdefault(source.sha256, source)
            elif path.is_file():
                hint = f"documents are {', '.join((*_MARKUPS, *_PAGED))}"
                raise InputError("not a kind of document that is read here", where=str(file), hint=hint)
    usable = [s for s in found.values() if s.passages]
    if not usable:
        raise InputError("no document with words in it", where=", ".join(map(str, paths))[:200])
    return sorted(usable, key=lambda s: (s.name, s.sha256))


def _read(file: Path, name: str) -> Source:
    if file.stat().st_size > _MOST_BYTES:
        raise InputError(f"larger than {_MOST_BYTES:,} bytes, which no document is", where=str(file))
    data = file.read_bytes()
    cut = cutter(ChunkConfig(max_tokens=400), "chunk")
    suffix = file.suffix.lower()
    if suffix in _PAGED:
        reader = DocumentReader(DocumentConfig())
        try:
            text = "\n\n".join(p.text for p in reader.pages(data, _PAGED[suffix], _MOST_BYTES))
        except Unreadable as e:
            raise InputError(f"can't be read ({e.reason})", where=str(file), hint=e.hint) from e
        finally:
            reader.close()
    else:
        text = data.decode("utf-8-sig", "replace")
    chunks = cut(text, _MARKUPS.get(suffix, "text"), ())
    passages = [c.text for c in chunks if len(c.text.split()) >= _LEAST_WORDS]
    return Source(name, bytes_digest(data), tuple(passages))


def held_out(sources: Sequence[Source], share: float) -> list[Source]:
    """The documents that questions come from and training mustn't see: so many of them, by hash of their content.

    Raises:
        InputError: one document can't be both.
    """
    if len(sources) < 2:
        hint = "name two documents or more: questions come from some, whole, and training sees the others"
        raise InputError("one document leaves nothing to train on", where=sources[0].name, hint=hint)
    count = min(max(1, math.ceil(share * len(sources))), len(sources) - 1)
    return sorted(sources, key=lambda s: short_id("held out", s.sha256))[:count]
