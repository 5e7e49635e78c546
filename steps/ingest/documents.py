"""PDF and DOCX files as raw rows: one per document, or one per page."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from steps.contracts.records import Row
from steps.engines.documents.pages import Page, Unreadable
from steps.engines.documents.reader import DocumentKind, DocumentReader, DocumentReaders
from steps.ingest.config import Container, IngestConfig
from steps.ingest.files import InputFile
from steps.ingest.readers import Bad, Item, Raw, clean, reading
from steps.ingest.streams import unpack, unpacking

DOCUMENTS: dict[Container, DocumentKind] = {"pdf": "pdf", "docx": "docx"}
# Between the pages of a document that is one row.
_BETWEEN = "\n\n"
_OCR = "recognise their text first (ocrmypdf IN OUT)"
# Chosen: a note that names more is no help.
_NAMED = 3


@dataclass
class DocumentFiles:
    """Reads the documents of a source, and counts pages that are pictures: {file: their numbers}."""

    config: IngestConfig
    readers: DocumentReaders
    pictures: dict[str, list[int]] = field(default_factory=dict)

    def items(self, file: InputFile, kind: DocumentKind, where: str) -> Iterator[Item]:
        """The rows of one file, whose reading begins now; they are waited for when they are asked for.

        Raises, when they are:
            InputError, ServiceError: the file can't be read. MissingDependencyError: nor any of its kind.
        """
        return self._items(self.readers.submit(partial(self._read, file, kind, where)), kind, where)

    def _read(
        self, file: InputFile, kind: DocumentKind, where: str, reader: DocumentReader
    ) -> tuple[bytes, list[Page]]:
        """The SHA-256 of a file and its pages; b"" of an empty one."""
        most = self.config.documents.max_file_mb << 20
        with reading(file, where), unpacking(where), file.open_raw() as raw:
            data = unpack(raw, file.packing).read(most + 1)
        if len(data) > most:
            raise Unreadable("too_large", f"more than documents.max_file_mb ({self.config.documents.max_file_mb})")
        if not data:
            return b"", []
        return hashlib.sha256(data).digest(), reader.pages(data, kind, self.config.max_line_bytes)

    def _items(self, read: Future[tuple[bytes, list[Page]]], kind: DocumentKind, where: str) -> Iterator[Item]:
        try:
            digest, pages = read.result()
        except Unreadable as e:
            yield Bad("row:1", None, b"", e.reason, e.hint)
            return
        if digest:
            yield from self._rows(pages, kind, digest, where)

    def _rows(self, pages: Sequence[Page], kind: DocumentKind, digest: bytes, where: str) -> Iterator[Item]:
        pictures = [p.number for p in pages if p.picture]
        by_page = kind == "pdf" and self.config.documents.rows == "page"
        if by_page:
            for page in pages:
                locator = f"page:{page.number}"
                if page.picture:
                    yield Bad(locator, None, b"", "scanned", f"a picture without text; {_OCR}")
                elif page.text:
                    yield _raw(locator, digest, {"text": page.text, "page": page.number, "pages": len(pages)})
        elif not any(p.text for p in pages):
            yield _empty(len(pages), len(pictures), kind)
        elif kind == "docx":
            yield _raw("row:1", digest, {"text": pages[0].text})
        else:
            if pictures:
                self.pictures[where] = pictures
            yield _raw(f"pages:1-{len(pages)}", digest, _document(pages))

    def notes(self) -> list[str]:
        """What the report says of pages that aren't in the rows."""
        if not self.pictures:
            return []
        shown = [f"{where} ({_numbers(pages)})" for where, pages in list(self.pictures.items())[:_NAMED]]
        more = f" and {len(self.pictures) - _NAMED} more files" if len(self.pictures) > _NAMED else ""
        count = sum(map(len, self.pictures.values()))
        return [f"{count:,} pages are pictures without text and are in no row, in {', '.join(shown)}{more}: {_OCR}"]


def _raw(locator: str, digest: bytes, value: Row) -> Raw:
    value, what = clean(value)
    return Raw(locator, None, digest, value, what)


def _empty(pages: int, pictures: int, kind: DocumentKind) -> Bad:
    if not pictures:
        return Bad("row:1", None, b"", "empty_text", "the document has no text")
    return Bad(f"pages:1-{pages}", None, b"", "scanned", f"{pictures:,} pages that are pictures, and no text; {_OCR}")


def _document(pages: Sequence[Page]) -> Row:
    """The document as one row. page_starts: where in `text` each page starts, in characters; empty pages as well."""
    text = _BETWEEN.join(p.text for p in pages if p.text)
    starts, at = [], 0
    for page in pages:
        starts.append(min(at, len(text)))
        at += len(page.text) + len(_BETWEEN) if page.text else 0
    return {"text": text, "pages": len(pages), "page_starts": starts}


def _numbers(pages: Sequence[int]) -> str:
    shown = ", ".join(map(str, pages[:_NAMED]))
    return f"page{'s' if len(pages) > 1 else ''} {shown}" + (", ..." if len(pages) > _NAMED else "")
