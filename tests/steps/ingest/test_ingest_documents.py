"""Documents: blocks, chunks, and the counters of cutting them up."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps.engines.chunking.chunking import Block, blocks, chunks, tokenizer
from steps.engines.chunking.config import ChunkConfig

WORDS = re.compile(r"\w+|[^\w\s]")


def words(n, first="w"):
    return " ".join(f"{first}{i}" for i in range(n))


def test_markdown_blocks():
    text = "Title\n=====\n\nintro\nline two\n\n## Part *one* ##\ntext\n```\n# not a heading\n\nx\n```\n#hash\nSub\n"
    text += "---\nend"
    assert blocks(text, "markdown") == [
        Block(1, "Title"), Block(0, "intro\nline two"), Block(2, "Part *one*"),
        Block(0, "text\n```\n# not a heading\n\nx\n```\n#hash\nSub\n---\nend"),
    ]  # fmt: skip


def test_html_blocks():
    text = """<!doctype html><html><head><title>no</title><style>x{}</style></head><body><nav>menu</nav>
    <h1>A <b>big</b> title</h1><p>One <a href=x>link</a>,<br>two.<!-- note --></p>tail
    <script>alert(1)</script><ul><li>first</li><li>second</li></ul><pre>a\n  b</pre></body></html>"""
    assert blocks(text, "html") == [
        Block(1, "A big title"), Block(0, "One link, two."), Block(0, "tail"),
        Block(0, "- first"), Block(0, "- second"), Block(0, "a\n  b"),
    ]  # fmt: skip


def test_html_table_rows_stay_together():
    rows = "<tr><th>Name</th><th>Age</th></tr><tr><td>Al</td><td><b>4</b>1</td></tr>"
    assert blocks(f"<p>x</p><table>{rows}</table>", "html") == [
        Block(0, "x"), Block(0, "Name | Age"), Block(0, "Al | 41"),
    ]  # fmt: skip


def test_a_chunk_ends_at_a_heading_or_when_full():
    found = [
        Block(1, "Top"), Block(0, words(20)), Block(2, "Inner"), Block(0, words(30, "a")), Block(0, words(30, "b")),
        Block(1, "Next"), Block(0, words(5, "c")),
    ]  # fmt: skip
    config = ChunkConfig(max_tokens=50, min_tokens=10)
    got = chunks(found, config, tokenizer(config, "chunk"))
    assert [(c.headings, c.tokens) for c in got] == [
        (("Top",), 22), (("Top", "Inner"), 33), (("Top", "Inner"), 30), (("Next",), 7),
    ]  # fmt: skip
    assert got[0].text == f"# Top\n\n{words(20)}" and got[1].text.startswith("## Inner\n\na0")


def test_a_full_chunk_takes_not_one_token_more():
    config = ChunkConfig(max_tokens=16, min_tokens=0)
    sizes = [[8, 8], [8, 9]]
    tokenize = tokenizer(config, "chunk")
    counted = [[c.tokens for c in chunks([Block(0, words(n)) for n in s], config, tokenize)] for s in sizes]
    assert counted == [[16], [8, 9]]


def test_a_short_section_joins_the_next():
    found = [Block(1, "One"), Block(2, "Two"), Block(0, words(20))]
    [chunk] = chunks(found, ChunkConfig(max_tokens=64, min_tokens=8), tokenizer(ChunkConfig(), "chunk"))
    assert chunk.headings == ("One",) and chunk.text == f"# One\n\n## Two\n\n{words(20)}"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.text(alphabet="ab .!\n", min_size=1, max_size=120)), max_size=8),
    st.integers(16, 40),
    st.integers(0, 8),
)
def test_chunks_lose_no_word_and_keep_to_the_limit(parts, most, overlap):
    found = [Block(level, text) for level, text in parts if text.strip()]
    config = ChunkConfig(max_tokens=most, min_tokens=4, overlap_tokens=overlap)
    got = chunks(found, config, tokenizer(config, "chunk"))
    assert all(len(WORDS.findall(c.text)) == c.tokens <= most for c in got)
    truth = [w for b in found for w in WORDS.findall(b.shown)]
    said = [w for c in got for w in WORDS.findall(c.text)]
    if overlap == 0:
        assert said == truth
    else:
        assert len(said) >= len(truth) and set(said) == set(truth)


def test_overlap_repeats_the_end_of_a_cut_block():
    config = ChunkConfig(max_tokens=20, min_tokens=0, overlap_tokens=5)
    got = chunks([Block(0, words(50))], config, tokenizer(config, "chunk"))
    assert [c.text.split()[0] for c in got] == ["w0", "w15", "w30"] and got[-1].text.endswith("w49")


@pytest.mark.parametrize("suffix", ["md", "html", "txt"])
def test_a_long_document_is_one_row_made_into_chunks(bench, suffix):
    mark = {"md": "# {}\n\n{}\n\n", "html": "<h1>{}</h1><p>{}</p>", "txt": "{}\n\n{}\n\n"}[suffix]
    bench.write(f"d/a.{suffix}", "".join(mark.format(f"Head{i}", words(60, f"p{i}x")) for i in range(3)))
    bench.write(f"d/b.{suffix}", mark.format("Only", "short"))
    got = bench.ingest("d", top={"chunk": {"max_tokens": 64, "min_tokens": 8}})
    report, rows = got.report, list(got.rows.iter_rows())
    assert (report.rows_in, report.created, report.kept, report.dropped_by) == (2, 3, 4, {"made_into_chunks": 1})
    assert [r["locator"] for r in rows] == ["chunk:1:0", "chunk:1:1", "chunk:1:2", "row:1"]
    assert all(len(r["parents"]) == 1 and r["kind"] == "document" for r in rows[:3]) and rows[3]["parents"] == []
    if suffix != "txt":
        assert [json.loads(r["meta"])["headings"] for r in rows[:3]] == [["Head0"], ["Head1"], ["Head2"]]
    assert "p1x59" in rows[1]["text"] and "<" not in rows[3]["text"]


PAGES = {
    "md": ("# {}\n\n{}\n\n", lambda raw: raw),
    "txt": ("{}\n\n{}\n\n", lambda raw: raw),
    "html": ("<h1>{}</h1><p>{}", lambda raw: raw.replace("<h1>", "\n\n# ").replace("</h1><p>", "\n\n").strip()),
}


@pytest.mark.parametrize("top", [{}, {"chunk": "none"}])
@pytest.mark.parametrize("suffix", PAGES)
def test_a_document_stays_whole_unless_a_config_asks_for_chunks(bench, suffix, top):
    mark, shown = PAGES[suffix]
    raw = "".join(mark.format(f"Head{i}", words(900, f"p{i}x")) for i in range(3))
    bench.write(f"a.{suffix}", raw)
    got = bench.ingest(f"a.{suffix}", top=top)
    [row] = got.rows.iter_rows()
    assert (got.report.rows_in, got.report.created, got.report.kept) == (1, 0, 1)
    assert (row["locator"], row["parents"], row["text"]) == ("row:1", [], shown(raw))


def test_pages_in_parquet_and_json_lines_stay_whole(bench):
    pages = [{"text": words(3000, "a"), "url": "u"}, {"text": words(5, "b"), "url": "v"}]
    bench.write("d/a.jsonl", pages)
    pq.write_table(pa.Table.from_pylist(pages), bench.root / "d/b.parquet")
    got = bench.ingest("d")
    assert [r["text"] for r in got.rows.iter_rows()] == [p["text"] for p in pages] * 2
    assert got.report.created == 0 and got.report.dropped_by == {}


def test_text_rows_are_cut_only_when_long(bench):
    rows = bench.rows(
        [{"text": "short one", "url": "u"}, {"text": words(100)}], top={"chunk": {"max_tokens": 64, "min_tokens": 8}}
    )
    assert [r["locator"] for r in rows] == ["line:1", "chunk:2:0", "chunk:2:1"]
    assert rows[0]["text"] == "short one" and json.loads(rows[0]["meta"]) == {"url": "u"}


def test_a_document_in_another_encoding(bench):
    bench.write("a.txt", "naïve café".encode("utf-16"))
    assert [r["text"] for r in bench.ingest("a.txt").rows.iter_rows()] == ["naïve café"]
    bench.write("d/a.txt", b"caf\xe9")
    bench.write("d/b.html", "<script>only</script>")
    bench.write("d/c.txt", "fine")
    bench.ingest("d", most=0.7)
    assert [r["reason"] for r in bench.rejects()] == ["encoding", "empty_text"]


def test_a_real_tokenizer_counts_subwords(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    whole = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    whole.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=whole, unk_token="[UNK]").save_pretrained(tmp_path)
    config = ChunkConfig(max_tokens=16, min_tokens=0, tokenizer=str(tmp_path))
    got = chunks([Block(0, "a" * 40)], config, tokenizer(config, "chunk"))
    assert [len(c.text) for c in got] == [16, 16, 8]
