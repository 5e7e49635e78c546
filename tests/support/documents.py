"""PDF files written by hand, so that what stands where on a page is known."""

import zlib
from collections.abc import Sequence

HELVETICA = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def line(x: int, y: int, text: str, size: int = 12) -> str:
    """A line of text at a place in points from the lower left corner."""
    return f"BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET"


def paragraph(x: int, top: int, *lines: str) -> str:
    """Lines one under the other."""
    return "\n".join(line(x, top - 14 * i, text) for i, text in enumerate(lines))


def pdf(*pages: str | bytes, font: bytes = HELVETICA, packed: bool = False, count: int | None = None) -> bytes:
    """A PDF of these content streams. `count`: of pages, as the file itself says."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b"", font, PICTURE]
    kids = []
    for page in pages:
        content = page.encode("latin-1") if isinstance(page, str) else page
        content, extra = (zlib.compress(content), b" /Filter /FlateDecode") if packed else (content, b"")
        objects.append(_stream(content, extra))
        resources = b"<< /Font << /F1 3 0 R >> /XObject << /Im1 4 0 R >> >>"
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources %s >>"
            % (len(objects), resources)
        )
        kids.append(len(objects))
    listed = b" ".join(b"%d 0 R" % k for k in kids)
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (listed, len(kids) if count is None else count)
    return whole(objects)


def _stream(content: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(content), extra, content)


PICTURE = (
    b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>\n"
    b"stream\n\x80\nendstream"
)
SCAN = "q 612 0 0 792 0 0 cm /Im1 Do Q"


def whole(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """The file of these objects, the first of which is its root."""
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    end = b"trailer << /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, len(out))
    return out + head + table + end
