"""Texts to token ids and where the tokens stand: as the tokenizer does it, compiled where that is known to be the same.

The tokenizer is slow on text that it has seen before (2.5 to 3.5 MB of text per second). Here it is asked about each
word (pre-token) once; texts are split to words, and words looked up, by compiled code.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from steps.contracts.errors import TrainingDataError
from steps.engines.tokens.tokens import MisspeltError, Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.engines.tokens.compiled import Compiled

# Texts from which the compiled way is taken. Measured: it takes some 7 CPU seconds to compile, once per machine, and
# spares about 0.8 ms a text of 2,400 characters.
MANY = 5_000


def require_places(tokenizer: "PreTrainedTokenizerBase") -> None:
    """See to it that the tokenizer says where its tokens stand.

    Raises:
        TrainingDataError: it doesn't.
    """
    if not tokenizer.is_fast:
        raise TrainingDataError(
            "the tokenizer gives no character offsets, so trained tokens can't be told",
            where=str(tokenizer.name_or_path),
            hint="use a model with a fast tokenizer (tokenizer.json)",
        )


def _compiled(tokenizer: "PreTrainedTokenizerBase") -> "Compiled | None":
    # Imported when it is needed: numba takes half a second.
    from steps.engines.tokens.compiled import compiled

    return compiled(tokenizer)


class Encoder:
    """A tokenizer for many texts; special tokens are found in them, none are added."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, many: bool = True) -> None:
        """Recognise it. `many`: so many texts are to come (MANY) that compiling is worth its time.

        Raises:
            TrainingDataError: it doesn't say where its tokens stand.
        """
        require_places(tokenizer)
        self.tokenizer = tokenizer
        self._compiled = _compiled(tokenizer) if many else None

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens of each text."""
        fit = [self._compiled is not None and self._compiled.fits(t) for t in texts]
        found: list[Tokens] = []
        if self._compiled is not None and any(fit):
            try:
                found = self._compiled.encode([t for t, f in zip(texts, fit, strict=True) if f])
            except MisspeltError:
                self._compiled, fit = None, [False] * len(texts)
        others = self._slow([t for t, f in zip(texts, fit, strict=True) if not f])
        compiled, slow = iter(found), iter(others)
        return [next(compiled if f else slow) for f in fit]

    def _slow(self, texts: list[str]) -> list[Tokens]:
        if not texts:
            return []
        # verbose=False: transformers would warn about rows longer than the model's context; the caller decides.
        out = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        found = []
        for ids, offsets in zip(out["input_ids"], out["offset_mapping"], strict=True):
            at = np.array(offsets, np.int32).reshape(-1, 2)
            found.append(Tokens(np.array(ids, np.int32), at[:, 0], at[:, 1], at[:, 1]))
        return found
