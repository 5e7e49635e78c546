"""The tokens of a text."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Tokens:
    """The tokens of one text.

    Attributes:
        ids, starts, ends: shape (tokens,); tokens stand at [start, end) of the text, `starts` and `ends` ascend.
        edges: as `ends`, where a tokenizer leaves spaces out of its tokens' places with those spaces.
        in_bytes: places count bytes of UTF-8; else characters.
        spell: each token is known to be decoded to the text from the edge before it to its own.
    """

    ids: Int32s
    starts: Int32s
    ends: Int32s
    edges: Int32s
    in_bytes: bool = False
    spell: bool = False


class MisspeltError(Exception):
    """A word's tokens don't spell it."""
