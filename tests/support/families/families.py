"""The 16 model families of the template tests: each with its published chat template and a tokenizer of its kind.

The templates are those that the models' makers published, byte for byte: they are read from two pinned packages when a
test asks for them, and their SHA-256 is compared (families.toml, SOURCES.md). The tokenizers are trained here on a few
sentences; of the published ones they have the kind (byte-level or SentencePiece, with or without a dummy prefix), the
special and the added tokens with their flags, and whether plain text gets a BOS.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Literal

# byte_level  GPT-2's bytes as characters           (Llama 3, Qwen, Phi-4, R1, gpt-oss)
# prefixed    SentencePiece; a space is put in front of every stretch between special tokens    (Zephyr, Phi-3)
# metaspace   SentencePiece; a space is put in front of the text only                           (Mistral v0.3)
# bare        SentencePiece without such a space                                                (Gemma)
Kind = Literal["byte_level", "prefixed", "metaspace", "bare"]


@dataclass(frozen=True)
class Family:
    """A model family: where its template is, and what its tokenizer has.

    Attributes:
        model: whose published template it is; `licence` is that model's.
        package, file: the installed package that has the template, and the file in it.
        ends: tokens that end a turn of the assistant.
        special, added: the tokens beside BOS, EOS and the like that are special, and plain added ones.
        eats_blanks: whether the special tokens swallow white space on their left, and on their right.
        writes_bos: whether plain text gets a BOS.
        thinking_kwarg: the template's switch for thinking.
        reasoning_key: the template's name for a message's reasoning, if it writes any.
        words: how a byte-level tokenizer splits text into words.
        composes: whether the tokenizer writes Unicode's composed form (NFC).
        short_ids: whether the template takes ids of calls of nine characters only.
    """

    name: str
    model: str
    licence: str
    package: str
    file: str
    sha256: str
    kind: Kind
    eos: str
    ends: tuple[str, ...]
    bos: str | None = None
    pad: str | None = None
    unk: str | None = None
    special: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    eats_blanks: tuple[bool, bool] = (False, False)
    writes_bos: bool = False
    thinking_kwarg: str | None = None
    reasoning_key: str = "reasoning_content"
    short_ids: bool = False
    composes: bool = False
    words: Literal["llama", "qwen", "o200k"] | None = None


def _read() -> dict[str, Family]:
    read = tomllib.loads((Path(__file__).parent / "families.toml").read_text("utf-8"))
    lists = {name: {k: tuple(v) if isinstance(v, list) else v for k, v in keys.items()} for name, keys in read.items()}
    return {name: Family(name, **keys) for name, keys in lists.items()}


FAMILIES: Mapping[str, Family] = _read()

# How the published tokenizers split text; Llama's and Qwen's differ in numbers, of three digits and of one.
_SHARED = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|NUMBERS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_WORDS = {
    "llama": _SHARED.replace("NUMBERS", r"\p{N}{1,3}"),
    "qwen": _SHARED.replace("NUMBERS", r"\p{N}"),
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SHORT}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}

# What the tokenizers are trained on: enough for words of one token beside bytes.
_SENTENCES = [
    "What is the weather in Oslo today? It is light rain and seven degrees.",
    "You are a terse helper. Answer in one short sentence, please.",
    "user assistant system model tool function name arguments parameters description type string object",
    "<|user|>\n<|assistant|>\n<|system|>\n",
    "Thinking: two plus two is four, and three plus four is seven.",
]
_SIZE = 400


@cache
def template(family: Family) -> str:
    """The family's published chat template.

    Raises:
        LookupError: the package has another text than the one whose SHA-256 is known.
    """
    path = Path(str(distribution(family.package).locate_file(family.package))) / family.file
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != family.sha256:
        raise LookupError(f"{family.file} of {family.package} is no longer the template of {family.model}")
    return raw.decode()


@cache
def tokenizer(family: Family) -> Any:
    """A tokenizer of the family's kind with its special tokens and its template; shared, so leave it as it is."""
    from transformers import PreTrainedTokenizerFast

    backend = _byte_level(family) if family.kind == "byte_level" else _sentence_piece(family)
    _add_tokens(backend, family)
    if family.writes_bos and family.bos:
        _write_bos(backend, family.bos)
    names = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad, "unk_token": family.unk}
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **{k: v for k, v in names.items() if v})
    made.chat_template = template(family)
    return made


def _byte_level(family: Family) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    if family.composes:
        made.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(_WORDS[family.words or "llama"]), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=_SIZE, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(_SENTENCES, trainer)
    return made


def _sentence_piece(family: Family) -> Any:
    """As transformers turns a SentencePiece model into a fast tokenizer: metaspace, and bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocab, merges = _pieces()
    tokens = [family.unk or "<unk>", *(f"<0x{b:02X}>" for b in range(256)), *vocab]
    numbered = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(numbered, merges, unk_token=tokens[0], fuse_unk=True, byte_fallback=True))
    space = normalizers.Replace(" ", "▁")
    strip = [decoders.Strip(" ", 1, 0)] if family.kind != "bare" else []
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    if family.kind == "prefixed":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), space])
    elif family.kind == "bare":
        made.normalizer = space
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    return made


@cache
def _pieces() -> tuple[list[str], list[tuple[str, str]]]:
    """Characters and merged pieces in their order, and the merges."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    made.train_from_iterator(_SENTENCES, trainers.BpeTrainer(vocab_size=_SIZE, show_progress=False))
    model = json.loads(made.to_str())["model"]
    vocab = sorted(model["vocab"], key=model["vocab"].__getitem__)
    pieces = [v for v in vocab if "\n" not in v]
    merged = sorted(("".join(m) for m in model["merges"]), key=vocab.index)
    return pieces, [pair for piece in dict.fromkeys(merged) if piece in pieces for pair in _halves(piece, pieces)]


def _halves(piece: str, pieces: list[str]) -> list[tuple[str, str]]:
    """All pairs that a piece can be merged of, as in a tokenizer that was made of SentencePiece's."""
    cuts = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
    return sorted((c for c in cuts if c[0] in pieces and c[1] in pieces), key=lambda c: tuple(map(pieces.index, c)))


def _add_tokens(backend: Any, family: Family) -> None:
    from tokenizers import AddedToken

    left, right = family.eats_blanks
    named = [t for t in (family.unk, family.bos, family.eos, family.pad) if t]
    plain = [t for t in dict.fromkeys(named) if t not in family.special]
    backend.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in plain])
    blanks = {"lstrip": left, "rstrip": right, "normalized": False}
    backend.add_special_tokens([AddedToken(t, special=True, **blanks) for t in family.special])
    backend.add_tokens([AddedToken(t, normalized=False, special=False) for t in family.added])


def _write_bos(backend: Any, bos: str) -> None:
    from tokenizers.processors import TemplateProcessing

    number = backend.token_to_id(bos)
    backend.post_processor = TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, number)])
