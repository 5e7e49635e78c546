import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from steps.contracts.errors import TrainingDataError
from steps.engines.tokens import kernel, words
from steps.engines.tokens.encode import Encoder
from steps.engines.tokens.recognise import classes, classify

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im", "<｜end▁of▁sentence｜>"]
CORPUS = [
    "the quick brown fox jumps over the lazy dog, don't you think? We'll see.",
    "def f(x):\n    return x + 12345  # two  spaces\n\n\nclass A:\n\tpass\r\n" * 3,
    "Größe, naïve café, 中文文本, русский текст, 123 456 1999",
]


def tokenizer_of(pattern=GPT2, *, normalizer=None, trims=False, added=(), **byte_level):
    bpe = Tokenizer(models.BPE())
    bpe.decoder = decoders.ByteLevel()
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None, **byte_level)
    split = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*split, level])
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    bpe.train_from_iterator(CORPUS * 3, trainer)
    if normalizer is not None:
        bpe.normalizer = normalizer
    if trims:
        bpe.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    bpe.add_tokens([AddedToken("<tool_call>", normalized=False), *added])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>")


PIECES = [
    *SPECIAL, "<tool_call>", "<|im_sta", "'s", "'S", "'\u017f", "'LL", "'re", "'Ve", " 'd", "don't", " ", "  ", "\n",
    "\r\n", "\t", "\u00a0", "\u2003", "\u0085", "\u3000", "\u200b", "\x1c", "\x00", "é", "e\u0301", "ß", "中文", "ع",
    "٣", "½", "Ⅷ", "😀", "👨‍👩‍👧", "a", "B", "1", "12345", "_", "-", "...", "!\n\n", "/", "hello", " World", "ǅ",
    "\u0e33", "\u017f", "कि", "𝒳", "x = {1: 'a'}", "    return",
]  # fmt: skip
TEXTS = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)), max_size=25
).map("".join)
TOKENIZERS = {
    "gpt2": tokenizer_of(None, trims=True),
    "gpt2 split": tokenizer_of(GPT2),
    "llama3": tokenizer_of(LLAMA3, trims=True),
    "qwen2": tokenizer_of(QWEN2, normalizer=normalizers.NFC()),
}
ENCODERS = {name: Encoder(t) for name, t in TOKENIZERS.items()}


def in_characters(text, starts, ends):
    """Places in bytes of UTF-8 as the tokenizers give them: a token that ends in a character has all of it."""
    owner = [n for n, c in enumerate(text) for _ in c.encode()] + [len(text)]
    return [owner[p] for p in starts], [owner[p - 1] + 1 if p else 0 for p in ends]


def assert_same(tokenizer, texts, found):
    out = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for text, tokens, ids, places in zip(texts, found, out["input_ids"], out["offset_mapping"], strict=True):
        assert tokens.ids.tolist() == ids
        starts, ends = tokens.starts.tolist(), tokens.ends.tolist()
        if tokens.in_bytes:
            starts, ends = in_characters(text, starts, ends)
        assert list(zip(starts, ends, strict=True)) == [tuple(p) for p in places]
        if tokens.spell:
            assert tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False) == text
            assert (tokens.edges.tolist() or [0])[-1] == len(text.encode())


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_tokens_and_their_places_are_the_tokenizers_own(name, texts):
    found = ENCODERS[name].encode(texts)
    assert_same(TOKENIZERS[name], texts, found)
    if name != "qwen2":
        assert all(t.spell for t in found)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_character_is_where_the_tokenizer_has_it(name):
    points = [*range(0x1800), *range(0x2000, 0x2100), *range(0x3000, 0x3100)]
    texts = ["".join(f"{chr(p)}a {chr(p)}1" for p in points[n : n + 64]) for n in range(0, len(points), 64)]
    assert_same(TOKENIZERS[name], texts, ENCODERS[name].encode(texts))


def test_edges_are_where_tokens_end_with_the_spaces_that_their_places_leave_out():
    (tokens,) = ENCODERS["gpt2"].encode(["x):\n    return x"])
    spelt = [TOKENIZERS["gpt2"].decode([i]) for i in tokens.ids]
    assert tokens.edges.tolist() == list(accumulate(map(len, spelt)))
    assert tokens.ends.tolist() != tokens.edges.tolist()


@pytest.mark.parametrize(
    "tokenizer",
    [
        tokenizer_of(normalizer=normalizers.Lowercase()),
        tokenizer_of(r"\p{L}+|\P{L}+"),
        tokenizer_of(added=[AddedToken("<pad>", normalized=False, lstrip=True)]),
        tokenizer_of(added=[AddedToken("word", normalized=False, single_word=True)]),
        tokenizer_of(added=[AddedToken("mixed", normalized=True)]),
        tokenizer_of(added=[AddedToken("é", normalized=False)]),
        tokenizer_of(normalizer=normalizers.NFC(), added=[AddedToken("<e\u0301>", normalized=False)]),
    ],
    ids=["normalizer", "pattern", "lstrip", "single word", "two passes", "decoded otherwise", "not in NFC"],
)
def test_other_tokenizers_are_asked_themselves(tokenizer):
    texts = ["The quick <pad> brown  fox", "words and word", "", "café mixed"]
    found = Encoder(tokenizer).encode(texts)
    assert_same(tokenizer, texts, found)
    assert not any(t.spell for t in found)


def test_a_tokenizer_that_splits_its_special_tokens_is_asked_itself():
    tokenizer = tokenizer_of()
    tokenizer.split_special_tokens = True
    texts = ["a<|im_end|>b"]
    found = Encoder(tokenizer).encode(texts)
    assert_same(tokenizer, texts, found)
    assert len(found[0].ids) > 3


def test_texts_that_nfc_would_change_are_left_to_the_tokenizer():
    texts = ["plain", "cafe\u0301", "café"]
    found = ENCODERS["qwen2"].encode(texts)
    assert [t.spell for t in found] == [True, False, True]
    assert_same(TOKENIZERS["qwen2"], texts, found)


def test_a_vocabulary_that_lacks_bytes_is_left_to_the_tokenizer():
    lacking = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    lacking.pre_tokenizer, lacking.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=lacking)
    found = Encoder(tokenizer).encode(["ab", "abc"])
    assert [t.ids.tolist() for t in found] == [[0, 1], [0, 1]]
    assert not any(t.spell for t in found)


def test_a_tokenizer_without_places_is_refused():
    class Slow:
        is_fast, name_or_path = False, "slow"

    with pytest.raises(TrainingDataError, match="no character offsets"):
        Encoder(Slow())


def test_the_table_grows_and_starts_anew(monkeypatch):
    monkeypatch.setattr(words, "_FIRST_SLOTS", 8)
    monkeypatch.setattr(words, "_MOST_WORDS", 300)
    tokenizer, draw = TOKENIZERS["llama3"], random.Random(0)
    encoder = Encoder(tokenizer)
    for _ in range(6):
        texts = [" ".join(str(draw.randrange(10**6)) for _ in range(40)) for _ in range(5)]
        assert_same(tokenizer, texts, encoder.encode(texts))


def test_characters_are_classified_page_by_page():
    found = classes().copy()
    found[:] = kernel.UNKNOWN
    classify(found, 1)
    page = found[kernel.PAGE : 2 * kernel.PAGE]
    assert kernel.UNKNOWN not in page
    assert (found[: kernel.PAGE] == kernel.UNKNOWN).all()
    # A letter, a number, a full stop and a space of other scripts.
    kinds = {"\u1e00": kernel.LETTER, "\u1369": kernel.DIGIT, "\u1362": kernel.OTHER, "\u1680": kernel.SPACE}
    assert {c: int(found[ord(c)]) for c in kinds} == kinds
