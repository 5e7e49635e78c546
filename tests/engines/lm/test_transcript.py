"""Text of tokens that come one by one is the text of all of them, whatever the tokenizer does between them."""

import random

import pytest
from support.tiny_model import tiny_tokenizer

from steps.engines.lm.transcript import Transcript
from steps.engines.template.reasoning import Markers

MARKERS = Markers((("<think>", "</think>"),), special=("<|im_start|>", "<|im_end|>"))
WORDS = ["sky", " blue", "  two", "\n\nline", "Größe", " 漢字", "👩‍👩‍👧", " a<b", "<thin", "�", " ", "é"]


def sentencepiece_like():
    """Pieces with a mark for the space before them, bytes for what has none; the first space isn't written."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {"<unk>": 0, **{f"<0x{b:02X}>": b + 1 for b in range(256)}}
    for piece in ("▁s", "▁b", *"▁skybluGröß<thina"):
        vocab.setdefault(piece, len(vocab))
    merges = [("▁", "s"), ("▁", "b")]
    bpe = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first")
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>")


@pytest.mark.parametrize("make", [tiny_tokenizer, sentencepiece_like])
def test_pieces_in_a_row_are_the_whole(make) -> None:
    tokenizer, draw = make(), random.Random(7)
    for _ in range(60):
        said = "".join(draw.choices(WORDS, k=draw.randint(1, 9)))
        text = f"<think>{said}</think>{said}" if draw.random() < 0.3 else said
        transcript = Transcript(tokenizer, MARKERS, "x")
        told = [("", "")]
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for token in ids:
            transcript.add(token)
            if draw.random() < 0.7:
                piece = transcript.piece()
                told.append((piece.reasoning, piece.text))
        rest, whole = transcript.rest(), transcript.whole()
        told.append((rest.reasoning, rest.text))
        expected = MARKERS.split("x", tokenizer.decode(ids).strip())
        assert whole == expected and len(ids) == transcript.tokens
        assert "".join(t for _, t in told) == expected.text
        assert "".join(r for r, _ in told) == (expected.reasoning or "")


def test_a_stop_sequence_over_several_tokens_ends_the_text_before_it() -> None:
    tokenizer = tiny_tokenizer()
    transcript = Transcript(tokenizer, MARKERS, "x", ("Grö", "字"))
    heard = []
    for token in tokenizer("so 漢字 Größe", add_special_tokens=False)["input_ids"]:
        assert not transcript.stopped
        transcript.add(token)
        heard.append(transcript.piece().text)
        if transcript.stopped:
            break
    assert transcript.stopped and "".join(heard) == "so 漢" == transcript.whole().text
