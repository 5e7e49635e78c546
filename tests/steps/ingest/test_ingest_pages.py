"""PDF and DOCX files among the sources: whole or by pages, with places, and nothing passed over in silence."""

import io
import json

import pytest
from docx import Document
from support.documents import SCAN, line, paragraph, pdf

from steps.contracts.errors import InputError, MissingDependencyError
from steps.ingest.rejects import REJECTS


def words(page: int, n: int = 8) -> str:
    return paragraph(72, 700, *(f"word{page}x{i} stands on page {page}" for i in range(n)))


def docx(*paragraphs: str) -> bytes:
    document = Document()
    document.add_heading("Top", 1)
    for said in paragraphs:
        document.add_paragraph(said)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_a_document_is_one_row_that_knows_its_pages(bench):
    bench.write("d/a.pdf", pdf(words(1), "", words(3), ""))
    bench.write("d/b.docx", docx("Said."))
    got = bench.ingest("d")
    one, two = got.rows.iter_rows()
    assert (got.report.rows_in, got.report.created, got.report.kept) == (2, 0, 2)
    meta = json.loads(one["meta"])
    assert one["locator"] == "pages:1-4" and meta["pages"] == 4 and one["kind"] == "document"
    third = meta["page_starts"][2]
    assert one["text"][third:].startswith("word3x0") and one["text"][: third - 2].endswith("page 1")
    assert meta["page_starts"] == [0, third, third, len(one["text"])]
    assert (two["locator"], two["text"], two["meta"]) == ("row:1", "# Top\n\nSaid.", "{}")


def test_a_row_per_page_where_a_config_asks(bench):
    bench.write("a.pdf", pdf(words(1), "", SCAN, words(4)))
    got = bench.ingest("a.pdf", top={"documents": {"rows": "page"}}, most=0.5)
    rows = list(got.rows.iter_rows())
    assert [(r["locator"], json.loads(r["meta"])) for r in rows] == [
        ("page:1", {"page": 1, "pages": 4}), ("page:4", {"page": 4, "pages": 4}),
    ]  # fmt: skip
    [reject] = bench.rejects()
    assert (reject["locator"], reject["reason"]) == ("page:3", "scanned") and "ocrmypdf" in reject["hint"]


def test_chunks_name_the_page_that_they_start_on(bench):
    bench.write("a.pdf", pdf(words(1), words(2), words(3)))
    got = bench.ingest("a.pdf", top={"chunk": {"max_tokens": 48, "min_tokens": 0}})
    rows = list(got.rows.iter_rows())
    assert got.report.dropped_by == {"made_into_chunks": 1} and len({r["record_id"] for r in rows}) == len(rows)
    for number, row in enumerate(rows):
        page = json.loads(row["meta"])["page"]
        assert row["locator"] == f"page:{page}:{number}" and row["text"].startswith(f"word{page}x")
        assert "page_starts" not in row["meta"]
    assert {json.loads(r["meta"])["page"] for r in rows} == {1, 2, 3}


def test_chunks_of_a_docx_end_at_its_headings(bench):
    bench.write("a.docx", docx(" ".join(["word"] * 30), " ".join(["other"] * 30)))
    rows = list(bench.ingest("a.docx", top={"chunk": {"max_tokens": 40, "min_tokens": 0}}).rows.iter_rows())
    assert [json.loads(r["meta"])["headings"] for r in rows] == [["Top"], ["Top"]]
    assert [r["locator"] for r in rows] == ["chunk:1:0", "chunk:1:1"]


def test_pictures_of_text_are_refused_or_counted(bench):
    bench.write("d/part.pdf", pdf(words(1), SCAN, SCAN))
    bench.write("d/scan.pdf", pdf(SCAN, SCAN))
    got = bench.ingest("d", most=0.5)
    [row] = got.rows.iter_rows()
    assert "word1x0" in row["text"]
    assert got.report.dropped_by == {"scanned": 1} and "2 pages that are pictures" in bench.rejects()[0]["hint"]
    [note] = [n for n in got.report.notes if "pictures" in n]
    assert note.startswith("2 pages are pictures without text and are in no row, in s/part.pdf (pages 2, 3): recognise")


def test_what_can_t_be_read_costs_its_file_only(bench):
    bench.write("d/good.pdf", pdf(words(1)))
    bench.write("d/cut.pdf", pdf(words(1))[:-30])
    bench.write("d/bad.docx", b"PK\x03\x04 no more")
    bench.write("d/empty.pdf", pdf("", ""))
    got = bench.ingest("d", most=0.8)
    assert got.report.kept == 1 and got.report.rows_in == 4
    assert got.report.dropped_by == {"cut_off": 1, "damaged": 1, "empty_text": 1}
    assert all(r["hint"] for r in bench.rejects())
    with pytest.raises(InputError, match="damaged"):
        bench.ingest("d/bad.docx")


def test_bounds_are_keys(bench):
    bench.write("a.pdf", pdf(words(1), words(2)))
    for bound in ({"documents": {"max_pages": 1}}, {"max_line_bytes": 64}):
        with pytest.raises(InputError, match="too_long"):
            bench.ingest("a.pdf", top=bound)
    bench.write("big.pdf", b"%PDF-1.4\n" + bytes(2 << 20))
    with pytest.raises(InputError, match=r"max_file_mb \(1\)"):
        bench.ingest("big.pdf", top={"documents": {"max_file_mb": 1}})
    assert (bench.out / REJECTS).is_file()


def test_a_packed_document_is_unpacked(bench):
    import gzip

    bench.write("a.pdf.gz", gzip.compress(pdf(line(72, 700, "Packed."))))
    assert [r["text"] for r in bench.ingest("a.pdf.gz").rows.iter_rows()] == ["Packed."]


def test_the_missing_package_is_named(bench, monkeypatch):
    monkeypatch.setattr("steps.engines.documents.reader.find_spec", lambda _: None)
    bench.write("a.pdf", pdf(words(1)))
    with pytest.raises(MissingDependencyError, match=r"pdfminer.six.*\n.*assay\[documents\]"):
        bench.ingest("a.pdf")


def test_ids_depend_on_the_file_and_the_place_alone(bench):
    bench.write("a.pdf", pdf(words(1), words(2)))
    one = [r["record_id"] for r in bench.ingest("a.pdf").rows.iter_rows()]
    two = [r["record_id"] for r in bench.ingest("a.pdf", top={"documents": {"max_seconds": 5}}).rows.iter_rows()]
    assert one == two
