"""DOCX files as Word and others write them: nothing of the text is lost, nothing else is in it."""

import io
import random
import zipfile

import pytest
from docx import Document
from docx.oxml.ns import qn
from docx.oxml.parser import parse_xml

from steps.engines.documents.pages import Unreadable
from steps.engines.documents.reader import read_document

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
MC = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def saved(document) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def text(data: bytes) -> str:
    [page] = read_document(data, "docx", 1)
    return page.text


def test_headings_lists_and_tables():
    document = Document()
    document.add_heading("The report", 0)
    document.add_heading("Part  one", 1)
    document.add_paragraph("First paragraph.")
    document.add_heading("Deep", 4)
    document.add_paragraph("an item", style="List Bullet")
    table = document.add_table(2, 2)
    for cell, said in zip(table._cells, ("Name", "Age", "Al", "41\nyears"), strict=True):
        cell.text = said
    document.add_paragraph("The end.")
    assert text(saved(document)).split("\n\n") == [
        "# The report", "# Part one", "First paragraph.", "#### Deep", "- an item", "Name | Age\nAl | 41 years",
        "The end.",
    ]  # fmt: skip


def inserted(*xml: str) -> str:
    document = Document()
    body = document.element.body
    for part in xml:
        body.insert(len(body) - 1, parse_xml(part))
    return text(saved(document))


def run(said: str) -> str:
    return f"<w:r><w:t xml:space='preserve'>{said}</w:t></w:r>"


@pytest.mark.parametrize(
    ("xml", "wanted"),
    [
        (f"<w:p {W}>{run('a')}{run(' ')}{run('b')}</w:p>", "a b"),
        (f"<w:p {W}>{run('kept ')}<w:ins w:id='1'>{run('added')}</w:ins><w:del w:id='2'><w:r>"
         f"<w:delText>gone</w:delText></w:r></w:del></w:p>", "kept added"),
        (f"<w:sdt {W}><w:sdtContent><w:p>{run('in a control')}</w:p></w:sdtContent></w:sdt>", "in a control"),
        (f"<w:p {W}><w:sdt><w:sdtContent>{run('inline')}</w:sdtContent></w:sdt></w:p>", "inline"),
        (f"<w:p {W}><w:hyperlink>{run('a link')}</w:hyperlink></w:p>", "a link"),
        (f"<w:p {W}><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t></w:r></w:p>",
         "a\tb\nc-d"),
        (f"<w:p {W}><w:r><w:instrText>PAGE 1</w:instrText></w:r>{run('said')}</w:p>", "said"),
        (f"<w:p {W}><w:pPr><w:outlineLvl w:val='1'/></w:pPr>{run('by level')}</w:p>", "## by level"),
        (f"<w:p {W}><w:pPr><w:numPr><w:numId w:val='1'/></w:numPr></w:pPr>{run('item')}</w:p>", "- item"),
        (f"<w:p {W} {MC}>{run('around')}<w:r><mc:AlternateContent><mc:Choice Requires='wps'><w:txbxContent><w:p>"
         f"{run('boxed')}</w:p></w:txbxContent></mc:Choice><mc:Fallback><w:txbxContent><w:p>{run('boxed')}</w:p>"
         "</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r></w:p>", "around\n\nboxed"),
    ],
)  # fmt: skip
def test_text_is_found_where_word_puts_it(xml, wanted):
    assert inserted(xml) == wanted


def test_a_style_that_stands_on_a_heading_is_one():
    document = Document()
    style = document.styles.add_style("Ours", 1)
    style.base_style = document.styles["Heading 2"]
    document.add_paragraph("inherited", style="Ours")
    assert text(saved(document)) == "## inherited"
    style.element.find(qn("w:basedOn")).set(qn("w:val"), "Ours")
    assert text(saved(document)) == "inherited"


def with_part(data: bytes, name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            if info.filename != name:
                new.writestr(info, old.read(info))
        new.writestr(name, content)
    return out.getvalue()


def plain() -> bytes:
    document = Document()
    document.add_paragraph("text")
    return saved(document)


def test_what_unpacks_to_too_much_or_names_other_files_is_refused():
    with pytest.raises(Unreadable, match="unpacked it has"):
        text(with_part(plain(), "word/document.xml", bytes(64 << 20)))
    entity = f"""<!DOCTYPE d [<!ENTITY a "{"x" * 1000}"><!ENTITY b "{"&a;" * 1000}"><!ENTITY f SYSTEM "/etc/passwd">]>
        <w:document {W}><w:body><w:p><w:r><w:t>&f;&b;end</w:t></w:r></w:p></w:body></w:document>"""
    try:
        found = text(with_part(plain(), "word/document.xml", entity.encode()))
    except Unreadable:
        return
    assert "root:" not in found and len(found) < 100


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no zip", plain()[:500]])
def test_damage_is_named(data):
    with pytest.raises(Unreadable) as e:
        text(data)
    assert e.value.reason == "damaged"


def test_bytes_broken_anywhere_end_in_a_reason_or_in_text():
    rng, good = random.Random(5), plain()
    for _ in range(100):
        data = bytearray(good)
        data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            text(bytes(data))
        except Unreadable as e:
            assert e.hint
