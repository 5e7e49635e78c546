"""The tokenizer of a GGUF file, as far as prompts and answers need it: its chat template and special tokens, ids by
llama.cpp itself, and what its tokens are as text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from steps.contracts.errors import ConfigError, IntegrityError

# llama.h: LLAMA_TOKEN_TYPE_...
_CONTROL, _USER_DEFINED, _BYTE = 3, 4, 6
_BYTE_LEVEL, _SENTENCEPIECE, _SPACE = "gpt2", "llama", "\u2581"
_NAMED = ("bos", "eos", "unknown", "padding", "seperator", "mask")
# What transformers calls them.
_NAMES = {"unknown": "unk_token", "padding": "pad_token", "seperator": "sep_token"}
_TEMPLATE, _TOKENS, _TYPES = "tokenizer.chat_template", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_ID = "tokenizer.ggml.{}_token_id"


@dataclass(frozen=True)
class AddedToken:
    """A token that stands for itself. `special`: it is no text."""

    content: str
    special: bool


@dataclass(frozen=True)
class GgufFile:
    """What a file says of its model.

    Attributes:
        template: the chat template; None: it has none.
        pieces: every token as bytes; special ones as they are written.
        added: those that stand for themselves.
        named: the special tokens that templates know by name.
        context: tokens that the model can look at.
    """

    template: str | None
    pieces: Sequence[bytes]
    added: Mapping[int, AddedToken]
    named: Mapping[str, str]
    context: int


def read_gguf(file: Path) -> GgufFile:
    """The file's metadata.

    Raises:
        IntegrityError: it is no whole GGUF file of a language model. ConfigError: its tokenizer is of a kind that isn't
            known here.
    """
    from gguf import GGUFReader

    try:
        fields = GGUFReader(str(file)).fields
        general, model = (str(fields[n].contents()) for n in ("general.architecture", "tokenizer.ggml.model"))
        tokens, types = [str(t) for t in fields[_TOKENS].contents()], [int(t) for t in fields[_TYPES].contents()]
        context = int(fields[f"{general}.context_length"].contents())
        ids = {_NAMES.get(n, f"{n}_token"): _said(fields, _ID.format(n)) for n in _NAMED}
        named = {name: tokens[int(i)] for name, i in ids.items() if i is not None}
        pieces = [_piece(t, kind, model) for t, kind in zip(tokens, types, strict=True)]
        template = _said(fields, _TEMPLATE)
    except ConfigError:
        raise
    except (ValueError, LookupError, TypeError, OSError, OverflowError) as e:
        raise IntegrityError(
            f"no GGUF file of a language model: {type(e).__name__}: {e!s:.120}", where=str(file)
        ) from e
    added = {i: AddedToken(t, kind == _CONTROL) for i, (t, kind) in enumerate(zip(tokens, types, strict=True))
             if kind in (_CONTROL, _USER_DEFINED)}  # fmt: skip
    return GgufFile(None if template is None else str(template), pieces, added, named, context)


class GgufTokenizer:
    """Answers the calls of transformers' tokenizers that prompts and answers need.

    Args:
        tokenize: llama.cpp's ids of a text, in which special tokens are read as such and none is added.
    """

    def __init__(self, file: GgufFile, name: str, tokenize: Callable[[str], list[int]]) -> None:
        self.name_or_path, self.chat_template = name, file.template
        self.special_tokens_map = dict(file.named)
        self.all_special_tokens = list(file.named.values())
        self.added_tokens_decoder = file.added
        self._pieces, self._tokenize = file.pieces, tokenize

    def get_chat_template(self, **_: Any) -> str:
        """The template.

        Raises:
            ValueError: there is none.
        """
        if self.chat_template is None:
            raise ValueError("no chat template")
        return self.chat_template

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        """The ids; no special token is added."""
        return {"input_ids": self._tokenize(text)}

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        """The text; special tokens are left in it."""
        return b"".join(self._pieces[i] for i in ids).decode("utf-8", "replace")


def _said(fields: Mapping[str, Any], name: str) -> Any:
    return fields[name].contents() if name in fields else None


def _piece(token: str, kind: int, model: str) -> bytes:
    if kind in (_CONTROL, _USER_DEFINED):
        return token.encode()
    if model == _BYTE_LEVEL:
        return bytes(_bytes_of_letters()[letter] for letter in token)
    if model != _SENTENCEPIECE:
        raise ConfigError(
            f"a tokenizer of the kind {model!r} isn't known here", hint="serve the model that it was made of"
        )
    if kind == _BYTE:
        return bytes([int(token[3:-1], 16)])
    return token.replace(_SPACE, " ").encode()


@cache
def _bytes_of_letters() -> Mapping[str, int]:
    """Byte-level BPE writes every byte as a letter: those that print as themselves, others from U+0100 on (GPT-2)."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printed]
    return {**{chr(b): b for b in printed}, **{chr(256 + n): b for n, b in enumerate(others)}}
