import json
import random

import pyarrow as pa
from support.textrows import chat, document

from steps.contracts.records import SCHEMA, make_row, message
from steps.engines.text.columns import texts_of, words_of
from steps.engines.text.normalise import words
from steps.leakcheck.spans import spans_of_words, texts_by_path

# Zero-width space and joiners, soft hyphen, direction marks, combining marks (also after ASCII), Hebrew with points,
# Arabic, Han, kana with a combining and a half-width voice mark, Hangul jamo, ligature, full-width, case folding that
# lengthens, Thai, emoji, an ideograph outside the first plane.
PIECES = [
    "zero\u200bwidth", "so\u00adft", "\u202eabc\u202c", "e\u0301te\u0301", "cafe\u0301", "שָׁלוֹם", "مُحَمَّد", "今天早上",
    "か\u3099き", "ｶﾞｷﾞ", "\u1112\u1161\u11ab", "o\ufb03ce", "ＡＢＣ１２", "Straße", "İzmir", "สวัสดี", "\U0001f600",
    "\u1025\u102e\u1000\u1031", "ខ្មែរ", "ພາສາລາວ", "\u304b\uff9e\u30cf\u309a",
    "\U00020000\U00020001", "plain", "it's", "a_b", "x=\u0338y", "\u0301odd", "--", "...", "\t", "１/２", "\ufeff",
]  # fmt: skip
ONE_FOR_MANY = ["½", "㎏", "ﷺ", "㍿"]


def text_by_chance(rng, pieces=PIECES):
    gaps = [" ", "", "\n", "\u3000", "\u200b", ", ", "。"]
    return "".join(rng.choice(pieces) + rng.choice(gaps) for _ in range(rng.randint(1, rng.choice([25, 25, 200]))))


def test_the_words_between_the_offsets_are_the_words_that_were_meant():
    rng = random.Random(11)
    checked = 0
    for i in range(1_500):
        text = text_by_chance(rng)
        row = document(text, locator=str(i))
        said = words(text)
        if not any(c.isalnum() for token in said for c in token):
            continue
        first = rng.randrange(len(said))
        last = rng.randint(first + 1, len(said))
        ((path, start, end),) = spans_of_words(row, first, last)
        assert path == "text" and words(text[start:end]) == said[first:last], (text, first, last)
        # Not a character more: without the first or the last one the words are others.
        assert words(text[start + 1 : end]) != said[first:last] != words(text[start : end - 1])
        checked += 1
    assert checked > 1_300


def test_a_character_that_stands_for_several_words_is_taken_whole():
    rng = random.Random(12)
    for i in range(300):
        text = text_by_chance(rng, PIECES[:12] + ONE_FOR_MANY)
        said = words(text)
        first = rng.randrange(len(said))
        last = rng.randint(first + 1, len(said))
        ((_, start, end),) = spans_of_words(document(text, locator=str(i)), first, last)
        inside = words(text[start:end])
        assert any(inside[k : k + last - first] == said[first:last] for k in range(len(inside))), (text, first, last)


def everything():
    call = json.dumps([{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"q": "née"}'}}])
    talk = [message("user", "Wann? 今天"), message("assistant", "", tool_calls=call), message("assistant", "e\u0301")]
    more = {"source": "s", "locator": "l", "tools": '[{"name": "look_up"}]'}
    return [
        make_row(kind="conversation", raw=b"1", messages=talk, **more),
        make_row(kind="preference", raw=b"2", messages=talk[:1], chosen=[message("assistant", "yes sir")],
                 rejected=[message("assistant", "nö")], **more),
        chat("question one", "answer"), document("a document\u200b here"),
    ]  # fmt: skip


def test_paths_and_words_are_counted_as_the_compiled_reader_does():
    rows = everything()
    counted = words_of(texts_of(pa.Table.from_pylist(rows, schema=SCHEMA)))
    for number, row in enumerate(rows):
        parts = dict(texts_by_path(row))
        here = [(path, token) for path, text in parts.items() if text for token in words(text)]
        assert len(here) == counted.offsets[number + 1] - counted.offsets[number] > 0
        for first in range(len(here)):
            ((path, start, end),) = spans_of_words(row, first, first + 1)
            assert (path, words(parts[path][start:end])) == (here[first][0], [here[first][1]])
        whole = spans_of_words(row, 0, len(here))
        assert [w for path, start, end in whole for w in words(parts[path][start:end])] == [w for _, w in here]


def test_a_row_without_words_is_matched_whole():
    assert spans_of_words(document("?! ..."), 0, 3) == [("text", 0, 6)]


def test_a_piece_that_never_ends_is_taken_whole():
    text = "begin " + "e\u0301" * 20_000 + " end"
    ((_, start, end),) = spans_of_words(document(text), 1, 3)
    assert (start, end) == (0, len(text))


def test_long_texts_without_spaces_are_located_to_the_character():
    for unit in ("今天早上我在市场买了", "สวัสดีครับ", "ひらがなカタカナ", "ខ្មែរ", "é wort "):
        text = unit * 3_000
        said = words(text)
        ((_, start, end),) = spans_of_words(document(text), len(said) - 7, len(said) - 2)
        assert words(text[start:end]) == said[-7:-2] and len(text) - start < 100
