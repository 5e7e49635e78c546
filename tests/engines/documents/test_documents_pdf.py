"""PDFs whose places and words are known, and those that try to be read wrongly, for long, or never."""

import os
import random
import time
import zlib

import pytest
from support.documents import SCAN, line, paragraph, pdf, whole

from steps.engines.documents.config import DocumentConfig
from steps.engines.documents.pages import Unreadable
from steps.engines.documents.reader import DocumentReader, DocumentReaders, read_document

MOST = 1 << 20


def texts(data: bytes) -> list[str]:
    return [p.text for p in read_document(data, "pdf", 100)]


def refused(data: bytes, kind="pdf", most=100) -> tuple[str, str]:
    with pytest.raises(Unreadable) as e:
        list(read_document(data, kind, most))
    return e.value.reason, e.value.hint


def test_pages_are_read_in_order():
    data = pdf(line(72, 700, "First page."), line(72, 700, "Second \\(2\\)."), "")
    assert texts(data) == ["First page.", "Second (2).", ""]
    assert [p.picture for p in read_document(data, "pdf", 9)] == [False] * 3


def test_lines_are_read_from_the_top_whatever_the_order_that_they_are_drawn_in():
    drawn = [line(72, 700 - 14 * i, f"line {i}") for i in range(12)]
    random.Random(3).shuffle(drawn)
    assert texts(pdf("\n".join(drawn))) == ["\n".join(f"line {i}" for i in range(12))]


def test_columns_are_read_one_after_the_other():
    left = [f"left {i} of the first column" for i in range(10)]
    right = [f"right {i} of the second one" for i in range(10)]
    woven = [x for i in range(10) for x in (line(72, 700 - 14 * i, left[i]), line(330, 700 - 14 * i, right[i]))]
    [text] = texts(pdf("\n".join(woven)))
    assert text == "\n".join(left) + "\n\n" + "\n".join(right)


def test_paragraphs_stand_apart_and_packed_streams_are_read():
    page = paragraph(72, 700, "One,", "two.") + "\n" + paragraph(72, 600, "Three.")
    assert texts(pdf(page, packed=True)) == ["One,\ntwo.\n\nThree."]


def test_a_picture_without_text_is_told_from_an_empty_page():
    pages = list(read_document(pdf(SCAN, "", SCAN + "\n" + line(72, 700, "Below it.")), "pdf", 9))
    assert [(p.picture, p.text) for p in pages] == [(True, ""), (False, ""), (False, "Below it.")]


def test_characters_that_no_font_names_are_no_text():
    font = (
        b"<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /DescendantFonts [<< /Type /Font"
        b" /Subtype /CIDFontType2 /BaseFont /X /CIDSystemInfo << /Registry (Adobe) /Ordering (Identity)"
        b" /Supplement 0 >> >>] >>"
    )
    [page] = read_document(pdf("BT /F1 12 Tf 72 700 Td <000100020003000400050006> Tj ET", font=font), "pdf", 9)
    assert (page.text, page.picture) == ("", True)


@pytest.mark.parametrize("version", [2, 4])
def test_an_encrypted_document_is_named(version):
    # A user password that isn't the empty one: whatever the key, its check value doesn't fit.
    extra = (b"/V 4 /Length 128 /CF << /StdCF << /CFM /AESV2 /Length 16 >> >> /StmF /StdCF /StrF /StdCF "
             if version == 4 else b"/V 2 /Length 128 ")  # fmt: skip
    secret = b"<< /Filter /Standard /R %d %s/O <%s> /U <%s> /P -4 >>" % (version, extra, b"41" * 32, b"42" * 32)
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>", secret]
    data = whole(objects, b" /Encrypt 3 0 R /ID [<00> <00>]")
    reason, hint = refused(data)
    assert reason == "encrypted" and "qpdf --decrypt" in hint


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%PDF-1.4\nnothing\n%%EOF", "damaged"),
        (b"not a PDF at all", "cut_off"),
        (pdf(line(72, 700, "x"))[:-40], "cut_off"),
        (pdf(line(72, 700, "x"), count=3), "damaged"),
        (pdf(b"BT /F1 12 Tf (x"), None),
        (whole([b"<< /Type /Catalog /Pages 1 0 R >>"]), "damaged"),
        (whole([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"]), "damaged"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_said(data, reason):
    if reason is None:
        assert texts(data) == [""]
    else:
        assert refused(data)[0] == reason


def test_too_many_pages_are_not_begun():
    assert refused(pdf(*["x"] * 5), most=4)[0] == "too_long"
    assert refused(pdf(*["x"] * 5, count=1), most=4)[0] == "too_long"


def test_bytes_broken_anywhere_end_in_a_reason():
    rng = random.Random(7)
    good = pdf(paragraph(72, 700, *(f"line {i}" for i in range(5))), line(72, 700, "end"), packed=True)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rng.choice((1, 3, 20))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            texts(bytes(data))
        except Unreadable as e:
            assert e.hint


# --- in a process of its own ---


@pytest.fixture(scope="module")
def reader():
    with DocumentReader(DocumentConfig(max_seconds=2, max_memory_mb=256)) as found:
        yield found


def bounded(reader, data, kind="pdf", most=MOST):
    with pytest.raises(Unreadable) as e:
        reader.pages(data, kind, most)
    return e.value.reason


@pytest.mark.slow
def test_a_stream_that_stands_for_gigabytes_ends_its_process_and_no_more(reader):
    packer = zlib.compressobj(1)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(20)) + packer.flush()
    data = pdf("").replace(b"<< /Length 0 >>\nstream\n\n", b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\n" % (
        len(bomb), bomb))  # fmt: skip
    assert len(data) < 2 << 20
    assert bounded(reader, data) in ("too_large", "too_slow")
    assert [p.text for p in reader.pages(pdf(line(72, 700, "still here")), "pdf", MOST)] == ["still here"]


def test_a_document_that_takes_too_long_is_given_up(reader):
    page = "\n".join(line(20 + i % 500, 20 + i % 700, "x", 1) for i in range(60_000))
    assert bounded(reader, pdf(page, packed=True)) == "too_slow"


def test_more_text_than_a_row_may_have_is_refused(reader):
    assert bounded(reader, pdf(line(72, 700, "0123456789")), most=5) == "too_long"


def test_only_the_first_pages_can_be_asked_for():
    with DocumentReader(DocumentConfig(), first=2) as reader:
        for _ in range(2):
            pages = reader.pages(pdf(*(line(72, 700, f"page {i}") for i in range(5))), "pdf", MOST)
            assert [p.text for p in pages] == ["page 0", "page 1"]


def test_a_process_that_dies_is_started_anew(reader):
    assert reader.pages(pdf(line(72, 700, "a")), "pdf", MOST)
    os.kill(reader._process.pid, 9)
    reader._process.join()
    assert bounded(reader, pdf(line(72, 700, "b"))) == "too_large"
    assert [p.text for p in reader.pages(pdf(line(72, 700, "c")), "pdf", MOST)] == ["c"]


def test_what_is_wrong_with_a_document_comes_back_from_the_process(reader):
    assert bounded(reader, b"%PDF-1.4 %%EOF") == "damaged"
    assert bounded(reader, b"PK", "docx") == "damaged"


def test_readers_work_side_by_side_and_end_what_is_left(monkeypatch):
    monkeypatch.setattr("steps.engines.documents.reader.cores", lambda: 3)
    with DocumentReaders(DocumentConfig()) as readers:
        files = [pdf(line(72, 700, f"file {i}")) for i in range(7)]
        futures = [readers.submit(lambda r, data=data: r.pages(data, "pdf", MOST)) for data in files]
        assert [f.result()[0].text for f in futures] == [f"file {i}" for i in range(7)]
    slow = pdf("\n".join(line(20 + i % 500, 20 + i % 700, "x", 1) for i in range(60_000)), packed=True)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), DocumentReaders(DocumentConfig(max_seconds=300)) as readers:
        given = [readers.submit(lambda r: r.pages(slow, "pdf", MOST)) for _ in range(9)]
        while not any(r._pipe for r in readers._readers):
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert time.monotonic() - start < 60 and all(f.cancelled() or f.exception() for f in given)
