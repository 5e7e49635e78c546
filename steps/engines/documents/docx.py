"""A DOCX as Markdown: headings, paragraphs, list items, tables and notes in the order of the document."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from steps.engines.documents.pages import Page, Unreadable

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_ALTERNATIVE = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# What isn't text of the document as it stands: deletions that are tracked, and what Word computes anew.
_LEFT_OUT = (f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}pPr", f"{_W}rPr", _ALTERNATIVE)
_MARKS = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_NOTES = (("footnotes", "footnoteReference", "footnote"), ("endnotes", "endnoteReference", "endnote"))
# Chosen: a style may stand on another one, and that on a third; one that stands on itself is damaged.
_DEEPEST = 20
_MEND = "copy or download it again, or save it anew"


def docx_pages(data: bytes, most_bytes: int) -> Iterator[Page]:
    """The document as one page, since where its pages end is decided by who draws it.

    Headers, footers and comments are left out; notes stand at the end.

    Raises:
        Unreadable: not a DOCX, damaged, or unpacked larger than `most_bytes`.
    """
    from docx import Document
    from docx.opc.exceptions import PackageNotFoundError

    try:
        size = sum(i.file_size for i in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if size > most_bytes:
            raise Unreadable("too_large", f"unpacked it has {size:,} bytes, more than {most_bytes:,}")
        document = Document(io.BytesIO(data))
    except (zipfile.BadZipFile, PackageNotFoundError, KeyError, ValueError) as e:
        raise Unreadable("damaged", f"not a DOCX, or a damaged one ({type(e).__name__}); {_MEND}") from None
    blocks = [*_blocks(document.element.body, _Styles(document)), *_notes(document)]
    yield Page(1, "\n\n".join(b for b in blocks if b.strip()))


class _Styles:
    """What a paragraph's style makes of it: a heading of some level, an item of a list."""

    def __init__(self, document: Any) -> None:
        self._styles = {s.style_id: s for s in document.styles}
        self._known: dict[str, tuple[int, bool]] = {}

    def level(self, paragraph: Any) -> int:
        """1 to 6 of a heading; 0 of what is none."""
        return min(_outline(paragraph) or self._style(paragraph)[0], 6)

    def is_item(self, paragraph: Any) -> bool:
        """Whether a paragraph is an item of a list."""
        return _is_numbered(paragraph) or self._style(paragraph)[1]

    def _style(self, paragraph: Any) -> tuple[int, bool]:
        style = paragraph.find(f"{_W}pPr/{_W}pStyle")
        name = "" if style is None else style.get(f"{_W}val") or ""
        if name not in self._known:
            self._known[name] = self._looked_up(name)
        return self._known[name]

    def _looked_up(self, name: str) -> tuple[int, bool]:
        """The level and whether it is an item, from the style or the first that it stands on that says so."""
        style, item = self._styles.get(name), False
        for _ in range(_DEEPEST):
            if style is None:
                break
            item = item or _is_numbered(style.element)
            kind, _, number = (style.name or "").lower().partition(" ")
            if kind == "heading" and number.isdigit():
                return max(int(number), 1), item
            if kind == "title":
                return 1, item
            if level := _outline(style.element):
                return level, item
            style = getattr(style, "base_style", None)
        return 0, item


def _is_numbered(element: Any) -> bool:
    return element.find(f"{_W}pPr/{_W}numPr") is not None


def _outline(element: Any) -> int:
    """The outline's level of a paragraph or style, from 1; 0 without one (9 means body text)."""
    found = element.find(f"{_W}pPr/{_W}outlineLvl")
    value = found.get(f"{_W}val") if found is not None else None
    return int(value) + 1 if value is not None and value.isdigit() and int(value) < 9 else 0


def _blocks(parent: Any, styles: _Styles) -> Iterator[str]:
    """Paragraphs and tables; also those inside content controls and revisions."""
    for child in parent:
        if child.tag == f"{_W}p":
            yield _paragraph(child, styles)
            yield from _boxes(child, styles)
        elif child.tag == f"{_W}tbl":
            yield "\n".join(row for row in map(_row, child.iter(f"{_W}tr")) if row)
        elif child.tag not in _LEFT_OUT and isinstance(child.tag, str):
            yield from _blocks(child, styles)


def _paragraph(paragraph: Any, styles: _Styles) -> str:
    text = _text(paragraph).strip()
    if not text:
        return ""
    level = styles.level(paragraph)
    if level:
        return f"{'#' * level} {' '.join(text.split())}"
    return f"- {text}" if styles.is_item(paragraph) else text


def _row(row: Any) -> str:
    cells = [" ".join(" ".join(_text(p) for p in cell.iter(f"{_W}p")).split()) for cell in row.iter(f"{_W}tc")]
    return " | ".join(cells) if any(cells) else ""


def _text(element: Any) -> str:
    """The text of a paragraph; that of boxes that are anchored in it is no part of it."""
    return "".join(_runs(element))


def _runs(element: Any) -> Iterator[str]:
    for child in element:
        if child.tag == f"{_W}t":
            yield child.text or ""
        elif child.tag in _MARKS:
            yield _MARKS[child.tag]
        elif child.tag in (f"{_W}footnoteReference", f"{_W}endnoteReference"):
            yield f"[{child.get(f'{_W}id')}]"
        elif child.tag not in (*_LEFT_OUT, f"{_W}txbxContent"):
            yield from _runs(child)


def _boxes(paragraph: Any, styles: _Styles) -> Iterator[str]:
    for box in paragraph.iter(f"{_W}txbxContent"):
        if not any(a.tag == _ALTERNATIVE for a in box.iterancestors()):
            yield from _blocks(box, styles)


def _notes(document: Any) -> Iterator[str]:
    from docx.oxml.parser import parse_xml

    parts = {str(p.partname): p for p in document.part.package.iter_parts()}
    for kind, _, one in _NOTES:
        part = parts.get(f"/word/{kind}.xml")
        for note in parse_xml(part.blob).iter(f"{_W}{one}") if part is not None else ():
            text = " ".join(" ".join(_text(p) for p in note.iter(f"{_W}p")).split())
            # Those with a type are the lines that separate notes from the text.
            if text and note.get(f"{_W}type") is None:
                yield f"[{note.get(f'{_W}id')}] {text}"
