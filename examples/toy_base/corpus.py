"""What the toy base model reads: chat-formatted sibling tasks, plain English, and its tokenizer's text."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from examples.toy_base.english import CITIES, COLORS, COMMON_WORDS, THINGS, paragraph
from examples.toy_base.options import ToyOptions
from examples.toy_base.siblings import DECLINE, Example, example

# Words that any text of letters and orders may hold; they get entries of their own in a small vocabulary.
# Forms that a scrubbed text holds in place of personal data.
_PSEUDONYMS = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "PERSON", "URL")
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


@dataclass(frozen=True)
class Sequence:
    """One training sequence: plain text (`example` None), or one task in the chat format (`text` empty)."""

    text: str
    example: Example | None


def sequences(config: ToyOptions, rng: random.Random, bare_share: Callable[[], float]) -> Iterator[Sequence]:
    """An endless stream of training sequences. `bare_share` is asked before each task (see `siblings.example`)."""
    while True:
        if rng.random() < config.general_share:
            yield Sequence(paragraph(rng, 6), None)
        else:
            yield Sequence("", example(rng, decline_share=config.decline_share, bare_share=bare_share()))


def tokenizer_texts(config: ToyOptions, rng: random.Random, count: int) -> Iterator[str]:
    """Texts for the tokenizer: `count` training sequences, then single words bare, after a space and in JSON.

    A JSON value has no space before it and a word in a sentence has one: both forms should be single tokens.
    """
    stream = sequences(config, rng, lambda: 0.3)
    for _ in range(count):
        item = next(stream)
        yield item.text if item.example is None else f"{item.example.prompt}\n{item.example.answer}"
    for _ in range(150):
        yield " ".join(("", *COMMON_WORDS))
        yield " ".join(word.capitalize() for word in COMMON_WORDS)
        yield DECLINE
    for _ in range(300):
        for word in (*THINGS, *COLORS, *CITIES):
            yield f"a {word}, {json.dumps({word: word})}"
    for word in _PSEUDONYMS:
        for _ in range(20):
            yield f" <{word}_{''.join(rng.choices(_BASE32, k=12))}>"
