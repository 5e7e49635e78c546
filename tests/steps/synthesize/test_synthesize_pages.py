"""PDF and DOCX files whole, from the file to pairs with pages and headings."""

import io
import json
from pathlib import Path
from typing import Any

import docx
from engines.llm.scripted_server import ScriptedServer
from support.documents import paragraph, pdf
from support.following_writer import following

from steps.contracts.context import StageContext
from steps.ingest.config import IngestConfig
from steps.ingest.ingest import ingest
from steps.synthesize.config import SynthesizeConfig
from steps.synthesize.synthesize import synthesize

NONE = dict.fromkeys(("how_to", "comparison", "where", "multi_hop", "unanswerable"), 0)
FILLER = "Some more words that say nothing at all but fill the page so that it is asked about."


def word(*parts: tuple[str, str]) -> bytes:
    made, out = docx.Document(), io.BytesIO()
    for heading, text in parts:
        made.add_heading(heading, level=1)
        made.add_paragraph(text)
    made.save(out)
    return out.getvalue()


def made(folder: Path, chunk: dict[str, int]) -> list[dict[str, Any]]:
    """Rows that come of the files of a folder, with the text of their documents."""
    source = {"name": "manuals", "path": str(folder)}
    rows = ingest(None, IngestConfig.model_validate({"sources": [source]}), StageContext(folder.parent / "in")).rows
    texts = {r["record_id"]: r["text"] for r in rows.iter_rows()}
    with ScriptedServer(following()) as server:
        asks = {"endpoint": {"base_url": server.url, "model": "m"}, "kinds": NONE, "chunk": chunk}
        ctx = StageContext(folder.parent / "out", cache=folder.parent / "cache", scrubbed=True)
        done = synthesize(rows, SynthesizeConfig.model_validate(asks), ctx)
    return [
        {"answer": r["messages"][1]["content"], "source": r["source"], "document": texts[r["parents"][0]],
         "chunk": json.loads(r["meta"])["synthesis"]["chunks"][0]}
        for r in done.rows.iter_rows()
    ]  # fmt: skip


def test_a_pdf_becomes_pairs_with_their_pages(tmp_path: Path) -> None:
    folder = tmp_path / "manuals"
    folder.mkdir()
    pages = [paragraph(72, 700, f"The {thing} of Oslo is {thing}oslo.", FILLER) for thing in ("river", "tower", "song")]
    (folder / "guide.pdf").write_bytes(pdf(*pages))
    found = made(folder, {"max_tokens": 30, "min_tokens": 4})
    assert {(r["answer"], r["chunk"]["page"]) for r in found} == {
        ("The river of Oslo is riveroslo.", 1), ("The tower of Oslo is toweroslo.", 2),
        ("The song of Oslo is songoslo.", 3),
    }  # fmt: skip
    for row in found:
        assert row["source"] == "manuals/guide.pdf"
        assert row["answer"] in row["document"][row["chunk"]["start"] : row["chunk"]["end"]]


def test_a_docx_becomes_pairs_with_their_headings(tmp_path: Path) -> None:
    folder = tmp_path / "manuals"
    folder.mkdir()
    parts = [(f"On the {thing}", f"The {thing} of Lima is {thing}lima. {FILLER}") for thing in ("river", "tower")]
    (folder / "guide.docx").write_bytes(word(*parts))
    found = made(folder, {"max_tokens": 40, "min_tokens": 4})
    assert {(r["answer"], *r["chunk"]["headings"]) for r in found} == {
        ("The river of Lima is riverlima.", "On the river"), ("The tower of Lima is towerlima.", "On the tower")
    }  # fmt: skip
    assert all(r["answer"] in r["document"][r["chunk"]["start"] : r["chunk"]["end"]] for r in found)
