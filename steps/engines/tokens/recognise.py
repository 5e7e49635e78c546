"""Which tokenizers the compiled way is exact for, and what it needs to know of them.

Byte-level BPE whose pre-tokenizer is one of the known forms, with no normalizer or with NFC (then for texts that are
NFC already), and added tokens that are found as plain text. Everything else is left to the tokenizer itself.
"""

import json
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from steps.engines.tokens import kernel

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Regular expression -> its form, and the most digits of a number.
_KNOWN = {
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": (kernel.GPT2, 1),
    _CL100K % r"\p{N}": (kernel.CL100K, 1),
    _CL100K % r"\p{N}{1,3}": (kernel.CL100K, 3),
}
_CLASSES = ((r"\p{L}+", kernel.LETTER), (r"\p{N}+", kernel.DIGIT), (r"\s+", kernel.SPACE))
_SURROGATES = range(0xD800, 0xE000)
_SPACE = "Ġ"  # byte-level BPE's letter for a space


@dataclass(frozen=True)
class ByteLevel:
    """A byte-level BPE tokenizer.

    Attributes:
        form, digits: of the pre-tokenizer, see `kernel.split`.
        nfc: texts must be NFC.
        trims: tokens begin after their leading spaces and end before their trailing ones.
    """

    form: int
    digits: int
    nfc: bool
    trims: bool


def recognised(tokenizer: "PreTrainedTokenizerBase") -> ByteLevel | None:
    """What kind of byte-level BPE the tokenizer is; None: none that is known."""
    if getattr(tokenizer, "split_special_tokens", False):  # it sets its backend so at every call
        return None
    backend = tokenizer.backend_tokenizer
    form, normalizer, last = _form(_state(backend.pre_tokenizer)), _kind(backend.normalizer), _trims(backend)
    if form is None or normalizer not in (None, "NFC") or last is None:
        return None
    if _kind(backend.decoder) != "ByteLevel" or not _plain_bpe(backend) or not _plain_added(backend):
        return None
    return ByteLevel(*form, normalizer == "NFC", last)


def _state(part: Any) -> dict[str, Any]:
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _kind(part: Any) -> str | None:
    return _state(part).get("type")


def _form(pre_tokenizer: dict[str, Any]) -> tuple[int, int] | None:
    parts = pre_tokenizer.get("pretokenizers") if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    *splits, last = parts or [{}]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    if last.get("use_regex", True):
        return None if splits else (kernel.GPT2, 1)
    if len(splits) != 1 or splits[0].get("type") != "Split":
        return None
    (split,) = splits
    isolated = split.get("behavior") == "Isolated" and not split.get("invert")
    return _KNOWN.get(split["pattern"].get("Regex", "")) if isolated else None


def _trims(backend: "Tokenizer") -> bool | None:
    """Whether offsets are trimmed; None: what is done to them isn't known."""
    state = _state(backend.post_processor)
    parts = state.get("processors") if state.get("type") == "Sequence" else [state] if state else []
    trims = False
    for part in parts or ():
        if part.get("type") == "ByteLevel" and not part.get("add_prefix_space"):
            trims = trims or bool(part.get("trim_offsets", True))
        elif part.get("type") != "TemplateProcessing":
            return None
    return trims


def _plain_bpe(backend: "Tokenizer") -> bool:
    model = backend.model
    return (
        type(model).__name__ == "BPE"
        and not model.dropout
        and not (model.unk_token or model.byte_fallback)
        and not (model.continuing_subword_prefix or model.end_of_word_suffix)
    )


def _plain_added(backend: "Tokenizer") -> bool:
    """Whether added tokens are found as they stand, the longest first, and come back when they are decoded."""
    added = backend.get_added_tokens_decoder()
    tokens = list(added.values())
    if getattr(backend, "encode_special_tokens", False) or len({t.normalized for t in tokens}) > 1:
        return False
    return all(
        not (t.lstrip or t.rstrip or t.single_word)
        and t.content.strip() == t.content != ""
        and _SPACE not in t.content
        and unicodedata.is_normalized("NFC", t.content)
        and backend.decode([i], skip_special_tokens=False) == t.content
        for i, t in added.items()
    )


@lru_cache(maxsize=1)
def classes() -> npt.NDArray[np.uint8]:
    """Class of each code point, shape (0x110000,); all but the first page UNKNOWN until they are asked for."""
    found = np.full(0x110000, kernel.UNKNOWN, np.uint8)
    classify(found, 0)
    return found


def classify(found: npt.NDArray[np.uint8], page: int) -> None:
    """Fill in a page of code points, by the regular expression engine that the tokenizers use."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    first = page * kernel.PAGE
    points = [p for p in range(first, min(first + kernel.PAGE, len(found))) if p not in _SURROGATES]
    text = "".join(map(chr, points))
    kinds = np.full(len(points), kernel.OTHER, np.uint8)
    for pattern, kind in _CLASSES:
        # What matches and what doesn't are pieces of their own.
        for piece, (start, end) in Split(Regex(pattern), "isolated").pre_tokenize_str(text) if text else ():
            if Split(Regex(pattern), "removed").pre_tokenize_str(piece) == []:
                kinds[start:end] = kind
    found[points] = kinds
    if page == 0:
        found[[0x0A, 0x0D]] = kernel.NEWLINE
        found[0x17F] = kernel.LONG_S
