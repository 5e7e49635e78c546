"""Pages of a PDF, each as text in reading order: columns one after the other, lines from the top down."""

import io
import re
from collections.abc import Iterator
from typing import Any

from steps.engines.documents.pages import Page, Unreadable

# What pdfminer writes where a font doesn't say which character it draws.
_UNKNOWN = re.compile(r"\(cid:\d+\)")
# Chosen: a page whose characters are so often unknown isn't text.
_MOST_UNKNOWN = 0.1
# The format's own place for the end mark is the last 1,024 bytes.
_END = 2048
_MEND = "copy or download it again, or repair it (qpdf IN OUT)"


def pdf_pages(data: bytes, most: int) -> Iterator[Page]:
    """The pages of a PDF of at most `most` pages.

    Raises:
        Unreadable: encrypted, damaged, cut off, or longer.
    """
    from pdfminer.converter import PDFPageAggregator
    from pdfminer.layout import LAParams
    from pdfminer.pdfinterp import PDFPageInterpreter, PDFResourceManager
    from pdfminer.pdfpage import PDFPage

    if b"%%EOF" not in data[-_END:]:
        raise Unreadable("cut_off", f"the PDF has no end mark (%%EOF); {_MEND}")
    document = _opened(data)
    count = _count(document)
    if count > most:
        raise Unreadable("too_long", f"{count:,} pages, more than documents.max_pages ({most:,})")
    manager = PDFResourceManager()
    # all_texts: many producers draw a whole page as one figure.
    device = PDFPageAggregator(manager, laparams=LAParams(all_texts=True))
    interpreter = PDFPageInterpreter(manager, device)
    number = 0
    for number, page in enumerate(PDFPage.create_pages(document), 1):
        if number > most:
            raise Unreadable("too_long", f"more than documents.max_pages ({most:,})")
        interpreter.process_page(page)
        yield _page(number, device.get_result())
    if number < max(count, 1):
        raise Unreadable("damaged", f"{number:,} of {count:,} pages found; {_MEND}")


def _opened(data: bytes) -> Any:
    from pdfminer.pdfdocument import PDFDocument, PDFEncryptionError
    from pdfminer.pdfparser import PDFParser

    try:
        return PDFDocument(PDFParser(io.BytesIO(data)))
    except PDFEncryptionError:
        hint = "encrypted: write it anew without its password (qpdf --decrypt --password=... IN OUT)"
        raise Unreadable("encrypted", hint) from None


def _count(document: Any) -> int:
    """Pages as the document itself counts them; 0 where it doesn't."""
    from pdfminer.pdftypes import dict_value, int_value

    return int(int_value(dict_value(document.catalog.get("Pages", {})).get("Count", 0)))


def _page(number: int, layout: Any) -> Page:
    blocks = [text for block in _blocks(layout) if (text := _tidy(block))]
    text = "\n\n".join(blocks)
    unknown = len(_UNKNOWN.findall(text))
    readable = _UNKNOWN.sub("\ufffd", text)
    if unknown > _MOST_UNKNOWN * len(readable):
        return Page(number, "", picture=True)
    return Page(number, readable, picture=not readable and _is_drawn(layout))


def _blocks(layout: Any) -> Iterator[str]:
    from pdfminer.layout import LTFigure, LTTextContainer

    for part in layout:
        if isinstance(part, LTTextContainer):
            yield part.get_text()
        elif isinstance(part, LTFigure):
            yield from _blocks(part)


def _tidy(block: str) -> str:
    return "\n".join(line.rstrip() for line in block.splitlines()).strip("\n")


def _is_drawn(layout: Any) -> bool:
    from pdfminer.layout import LTFigure, LTImage

    return any(isinstance(part, (LTImage, LTFigure)) for part in layout)
