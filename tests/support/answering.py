"""Prompts answered together."""

from collections.abc import Sequence

from steps.engines.lm.asked import Asked
from steps.engines.lm.decoder import Decoder


def answer_all(decoder: Decoder, asked: Sequence[Asked]) -> None:
    """To the end of each."""
    decoder.join(asked)
    while decoder.rows:
        decoder.step()
