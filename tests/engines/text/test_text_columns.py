"""The compiled tokeniser against its definition in Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steps.contracts.records import SCHEMA, make_row, message
from steps.engines.text import codepoints
from steps.engines.text.columns import CHOSEN, REJECTED, Tokens, column_texts, digests_of, texts_of, words_of
from steps.engines.text.kernel import shingle_hashes
from steps.engines.text.normalise import squeezed, telling_words, words
from steps.engines.text.sides import answers, asked_and_answered

# Letters that fold to others, to several, join with their neighbours, hide, need no spaces, or lie far out.
TRICKY = (
    "\u034f\u2067\ufe0f\u3164\u115f\U000e0041\U000e0fff\U000e1000"
    "aZ_9 .!?\n\tßſKÅéÉ\u0301\u0307İıﬁ…™½²Ａ１\u200b\u00ad\u202e\ufeff\x00\u3000ǅ🙂\U0003ffff"
    "שָׁלُغَةहिन्दीไทยภาษา日本語カナ한\u1112\u1161\u11ab漢\U00020000\U0002f800"
)
TEXT = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])), max_size=40)


def hashes(texts, tokens=Tokens.WORDS):
    found = words_of(column_texts(pa.array(texts, pa.string())), tokens)
    return [found.values[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


def test_the_stored_tables_are_what_the_definition_gives():
    normal, raw, shift = codepoints.computed_tables()
    assert np.array_equal(normal, codepoints.normal_tables().classes)
    assert np.array_equal(raw, codepoints.raw_tables().classes)
    assert np.array_equal(shift, codepoints.raw_tables().lower - np.arange(codepoints.CODE_POINTS))


DEFINITION = {
    Tokens.WORDS: words,
    Tokens.TELLING: telling_words,
    Tokens.SYMBOLS: lambda text: words(text, symbols=True),
}
# Lines, blanks and the symbols of which the place decides what they say.
LINES = st.text(st.sampled_from("ab1 2\t\n\r-*#>.,!='\"(]_é漢\u2013\u200b\u00a0\u3000👍"), max_size=24)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(TEXT, LINES), min_size=1, max_size=8), st.sampled_from(list(DEFINITION)))
@example(["K", "k", "Ａb", "ab", "e\u0301", "é", "…", "...", "", " "], Tokens.WORDS)
@example(["a" * 8, "a" * 16, "a" * 7 + "é", "\x00", "฿", "a฿b"], Tokens.SYMBOLS)
@example(["a\n b\n  c\n d\ne", "a\n\tb\n\t  c\n        d\ne", "  a\n b", "a\n b\n  c\ne"], Tokens.SYMBOLS)
@example(["**a** b", "a ** b", "a*b", "* a", "a *", "(a)*(b)", "a\u200b*\u200bb", "***"], Tokens.TELLING)
@example(
    ["# > a", "a # b", "3.1", "a.1", ".1", "a.", "-1", "b-1", "2-1", "\u22121", "a:=b", "!=", "!a"], Tokens.TELLING
)
@example(["A*.0", "a*-1", "**a**.5"], Tokens.TELLING)
def test_equal_tokens_have_equal_hashes_and_different_ones_differ(texts, tokens):
    expected = [DEFINITION[tokens](t) for t in texts]
    got = hashes(texts, tokens)
    assert [len(g) for g in got] == [len(e) for e in expected]
    # One character by itself is hashed unlike a word of one letter in spaced text only when it stands alone; so
    # compare rows, not words: equal token lists must have equal hashes, others must not.
    for i in range(len(texts)):
        for j in range(i):
            assert (got[i] == got[j]) == (expected[i] == expected[j]), (texts[i], texts[j])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(TEXT, LINES), min_size=1, max_size=8), st.sampled_from([Tokens.WORDS, Tokens.SYMBOLS]))
def test_what_is_told_of_words_and_symbols_by_themselves(texts, tokens):
    found = words_of(column_texts(pa.array(texts, pa.string())), tokens)
    plain = [words(t) for t in texts]
    seen = [[c for c in words(t, symbols=True) if len(c) == 1 or c.isalnum()] for t in texts]
    for i in range(len(texts)):
        for j in range(i):
            assert (found.plain[i] == found.plain[j]) == (plain[i] == plain[j]), (texts[i], texts[j])
            if plain[i] == plain[j] and any(map(str.isalnum, "".join(plain[i]))):
                assert (found.signs[i] == found.signs[j]) == (seen[i] == seen[j]), (texts[i], texts[j])


@pytest.mark.parametrize(
    "code",
    [
        "if a:\n    b()\nc()",
        "for i in range(n): s += x[i]",
        "std::cout << a::b;",
        "x^2 - 4x + 4 = 0",
        "Write this as code:\n```\nhello\n```",
        "def best(self):\n    # What was the best so far is returned by it, whatever it may have been.\n    return 1",
        "SELECT a, b FROM t WHERE (a = 1) AND (b > 2);",
        "self.items.append(value) or self.rest.pop()",
    ],
)
def test_code_is_told_by_its_signs(code):
    found = words_of(column_texts(pa.array([code, "漢字\u0301\n" + code])), Tokens.CODE)
    assert found.symbolic.tolist() == [True, True]
    assert found.digests[0].tolist() == words_of(column_texts(pa.array([code])), Tokens.SYMBOLS).digests[0].tolist()


@pytest.mark.parametrize(
    "prose",
    [
        'The (so-called) first edition (1999) cost $5; well-known readers said: "Great!" and left...',
        "Thanks :) see https://www.example.org/some/page for **more** of it, e.g. the _first_ one.",
        "# Heading\n\n* one\n* two\n> quoted, as it was\n\n| a | table |",
        "They define what a definition is, and undefined things too.",
    ],
)
def test_prose_is_no_code(prose):
    found = words_of(column_texts(pa.array([prose])), Tokens.CODE)
    assert not found.symbolic.any()
    assert found.digests[0].tolist() == words_of(column_texts(pa.array([prose]))).digests[0].tolist()


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=8))
@example(["Yes.", "yes", "yes !?", "y es", "…", "."])
def test_digests_are_those_of_the_squeezed_text(texts):
    expected = [squeezed(t) for t in texts]
    column = column_texts(pa.array(texts, pa.string()))
    got = digests_of(column)
    assert column.empty.tolist() == [not t for t in texts]
    for i in range(len(texts)):
        for j in range(i):
            assert (got[i] == got[j]).all() == (expected[i] == expected[j]), (texts[i], texts[j])


def row(kind, *turns, tools=None, chosen=(), rejected=(), text=None):
    said = [message(role, content, tool_calls=calls) for role, content, calls in turns]
    return make_row(
        kind=kind, source="s", locator="1", raw=repr((turns, chosen, rejected, text)).encode(), messages=said,
        tools=tools, chosen=[message("assistant", c) for c in chosen],
        rejected=[message("assistant", c) for c in rejected], text=text,
    )  # fmt: skip


ROWS = [
    row("document", text="Plain text here"),
    row("document", text=""),
    row("conversation", ("system", "be brief", None), ("user", "hi there", None), ("assistant", "hello", None)),
    row("conversation", ("user", "weather?", None), ("assistant", "", '[{"id":"1"}]'), tools='[{"name":"f"}]'),
    row("conversation", ("user", "one", None), ("assistant", "two", None), ("user", "three", None)),
    row("conversation", ("user", "no answer yet", None)),
    row("preference", ("user", "which one", None), chosen=["this"], rejected=["that", "no"], tools='["t"]'),
]


def by_definition(row, part):
    """(marked) words of the part, as the fingerprints of the dedup stage are defined."""
    asked, answered = asked_and_answered(row)
    if row["kind"] == "preference":
        marked = [(m, w) for m, t in zip((CHOSEN, REJECTED), answers(row), strict=True) for w in words(t)]
        return {"all": [(0, w) for w in words(asked)] + marked, "prompt": [(0, w) for w in words(asked)]}.get(
            part, marked
        )
    if row["kind"] == "document":
        return [(0, w) for w in words(row["text"])]
    whole = "\n\n".join(p for m in row["messages"] for p in (m["content"], m["tool_calls"]) if p)
    return [(0, w) for w in words({"all": whole, "prompt": asked, "answer": answered}[part])]


@pytest.mark.parametrize("part", ["all", "prompt", "answer"])
@pytest.mark.parametrize("cut", [slice(None), slice(1, 5), slice(3, 3)])
def test_rows_give_the_same_words_as_their_python_texts(part, cut):
    table = pa.Table.from_pylist(ROWS, schema=SCHEMA)[cut]
    got = words_of(texts_of(table, part))
    known = {}
    for i, r in enumerate(ROWS[cut]):
        mine = got.values[got.offsets[i] : got.offsets[i + 1]].tolist()
        expected = by_definition(r, part)
        assert len(mine) == len(expected), (part, r)
        for token, value in zip(expected, mine, strict=True):
            assert known.setdefault(token, value) == value
    assert len(set(known.values())) == len(known)


def test_chunked_sliced_and_large_columns_are_read_alike():
    texts = ["a b", None, "c", "d e f"]
    whole = hashes(texts)
    chunked = pa.chunked_array([texts[:1], texts[1:]], pa.string())
    large = pa.array(["x", *texts], pa.large_string())[1:]
    for column in (chunked, large):
        found = words_of(column_texts(column))
        assert [found.values[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)] == whole


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=7), max_size=6), st.integers(1, 4))
def test_shingles_are_equal_where_the_runs_of_words_are(rows, n):
    texts = [" ".join(r) for r in rows]
    found = words_of(column_texts(pa.array(texts, pa.string())))
    out = np.empty(len(found.values), np.uint64)
    offsets = shingle_hashes(found.values, found.offsets, np.full(len(rows), n), np.zeros(len(rows), np.int64), out)
    known = {}
    for i, r in enumerate(rows):
        expected = [tuple(r[k : k + n]) for k in range(max(len(r) - n + 1, min(len(r), 1)))]
        got = out[offsets[i] : offsets[i + 1]].tolist()
        assert len(got) == len(expected)
        for gram, value in zip(expected, got, strict=True):
            assert known.setdefault(gram, value) == value
    assert len(set(known.values())) == len(known)


def test_a_long_row_of_symbols_and_broken_bytes_do_no_harm():
    assert len(hashes(["!" * 100_000])[0]) == 100_000
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 2, 4], np.int32).tobytes()), pa.py_buffer(b"a\xe2\xf0\x9f")]
    )
    assert len(hashes_of_array(broken)) == 2


def hashes_of_array(array):
    found = words_of(column_texts(array))
    return [found.values[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
