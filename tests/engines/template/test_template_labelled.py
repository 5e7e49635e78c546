import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_model import CHATML, tiny_tokenizer
from tokenizers import processors
from trl import chat_template_utils

from steps.contracts.errors import TrainingDataError
from steps.contracts.records import make_row, message
from steps.engines.template.labelled import label
from steps.engines.template.lint import Judge
from steps.engines.template.render import IGNORED, Rendered, chat_template, encode, tokenize
from steps.engines.tokens.encode import Encoder

SPECIAL = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
TEMPLATES = [CHATML, *(getattr(chat_template_utils, f"{n}_chat_template") for n in ("qwen2_5", "qwen3", "llama3"))]


def tokenizer_of(template, *, trims):
    tokenizer = tiny_tokenizer(template=template, corpus=["quick brown fox \n\n  x\n  y", "don't 123 é é"] * 9)
    tokenizer.add_special_tokens(SPECIAL)
    if trims:
        tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    return tokenizer


TOKENIZERS = [tokenizer_of(t, trims=trims) for t in TEMPLATES for trims in (False, True)]
ADDED = TOKENIZERS[0].get_added_vocab()
JUDGES = [Judge(t, chat_template(t), check_control_tokens=False, many=True) for t in TOKENIZERS]
TEXT = st.lists(
    st.one_of(st.sampled_from([" ", "\n", "  ", "é", "e\u0301", "quick", "don't", "<|im_end|>", "中", "1234"]),
              st.text(st.characters(exclude_categories=["Cs"]), max_size=8)),
    min_size=1, max_size=8,
).map("".join)  # fmt: skip
ROWS = st.lists(st.lists(TEXT, min_size=2, max_size=5), min_size=1, max_size=3)


def row(texts):
    messages = [message("user" if n % 2 == 0 else "assistant", t) for n, t in enumerate(texts)]
    return make_row(kind="conversation", source="s", locator="1", raw=b"x", messages=messages)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_rows_judged_together_have_the_tokens_and_labels_of_each_by_the_tokenizer_alone(texts):
    rows = [row(t) for t in texts]
    for tokenizer, judge in zip(TOKENIZERS, JUDGES, strict=True):
        for found, one in zip(judge(rows), rows, strict=True):
            if found.reason is None:
                assert found.encoded == encode(tokenizer, one, judge.template)
                assert [s.trained for s in found.sequences] == [e.trained for e in found.encoded]


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(TEXT, st.lists(st.integers(0, 40), max_size=6))
def test_labels_of_any_spans_are_the_tokenizers_and_exact_means_that_they_are_decoded_to_the_spans(text, cuts):
    places = sorted({c for c in cuts if c <= len(text)})
    spans = tuple(zip(places[::2], places[1::2], strict=False))
    rendered = Rendered(text, spans)
    for tokenizer in TOKENIZERS[:2]:
        (tokens,) = Encoder(tokenizer).encode([text])
        found = label(tokens, rendered, ADDED)
        assert found.listed() == tokenize(tokenizer, rendered)
        if found.exact:
            trained = [i for i in found.labels.tolist() if i != IGNORED]
            decode = tokenizer.backend_tokenizer.decode
            assert decode(trained, skip_special_tokens=False) == "".join(text[a:b] for a, b in spans)
            assert decode(found.input_ids.tolist(), skip_special_tokens=False) == text


def test_most_rows_need_no_decoding():
    texts = [["hi", "one é"], ["so  what?", "two\n\nlines", "and", "three"]]
    for judge in JUDGES:
        assert all(s.exact for found in judge([row(t) for t in texts]) for s in found.sequences)


def test_overlapping_spans_are_refused():
    (tokens,) = Encoder(TOKENIZERS[0]).encode(["abcdef"])
    with pytest.raises(TrainingDataError, match="overlap"):
        label(tokens, Rendered("abcdef", ((0, 3), (2, 4))), ADDED)
