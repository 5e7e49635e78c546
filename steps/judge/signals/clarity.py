"""Signals that a text is hard to read."""

import re
import string
from collections import Counter
from collections.abc import Iterator

from steps.judge.signals.passage import Passage

# UTF-8 read as Latin-1 or Windows-1252: "Ã©", "â€™", "Â°" (the pairs that ftfy's documentation leads with).
_MOJIBAKE = re.compile(r"Ã[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹Œ©ª«¬®¯°±²³´µ¶·¸¹º»¼½¾¿¡¢£¤¥¦§¨]|â€.|Â[\x80-\xbf]|ï¿½|\ufffd")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_STRETCHES = (*(5 * letter for letter in string.ascii_lowercase), "!!!!", "????")
_TAG = re.compile(
    r"</?(?:div|span|p|br|a|td|tr|table|li|ul|script|style|font|img)\b[^>\n]{0,200}>|&(?:nbsp|amp|quot|lt|gt);", re.I
)
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]+(?:[\s\"')\]]|$)|\n")
_PHRASE_END = re.compile(r"[.!?,;:]+(?:\s|$)|\n")
_NO_VOWEL = re.compile(r"\b[b-df-hj-np-tv-xz]{5,}\b")
# Chosen: four times the 20 words of an ordinary English sentence.
_LONG_SENTENCE = 80
# Chosen: a table of numbers, a game's board and notes of music repeat themselves by right; their words are short.
_SPOKEN_LETTERS = 2.0


def clarity(answer: Passage, prompt: Passage) -> Iterator[str]:
    """Names of signals on a text, given what stands before it (an empty passage for a document)."""
    yield from _damage(answer, prompt)
    yield from _letters(answer)
    yield from _repetition(answer)
    words = len(answer.words)
    if words > _LONG_SENTENCE and not answer.is_code_or_data:
        sentences = 1 + len(_SENTENCE_END.findall(answer.head.strip()[:-1]))
        if words > _LONG_SENTENCE * sentences:
            yield "endless_sentences"


def _damage(answer: Passage, prompt: Passage) -> Iterator[str]:
    if bad := len(_MOJIBAKE.findall(answer.head)):
        yield "mojibake" if bad >= 3 or bad >= 0.02 * len(answer.head) else "mojibake_trace"
    if _CONTROL.search(answer.head):
        yield "control_characters"
    if not answer.is_code_or_data and _TAG.search(answer.head) and not _TAG.search(prompt.head):
        yield "markup_residue"


def _letters(answer: Passage) -> Iterator[str]:
    head = answer.head
    upper = sum(map(str.isupper, head))
    # Acronyms and labels are shorter than 40 letters.
    if upper > 40 and upper > 0.7 * (upper + sum(map(str.islower, head))):
        yield "shouting"
    # "★★★★★" is a rating.
    if len(answer.folded) >= 6 and len(set(answer.folded)) == 1:
        yield "one_character"
    if any(stretch in answer.folded for stretch in _STRETCHES):
        yield "stretched_letters"
    dense = len(head) - head.count(" ") - head.count("\n")
    if dense >= 40 and not answer.is_code_or_data and sum(map(len, answer.tokens)) < 0.5 * dense:
        yield "mostly_symbols"
    odd = len(_NO_VOWEL.findall(answer.folded))
    if odd >= 3 and odd > 0.3 * len(answer.words):
        yield "letter_salad"


def _repetition(answer: Passage) -> Iterator[str]:
    """Loops: few distinct words, or one line over and over (thresholds after Gopher, Rae et al. 2021, table A1)."""
    words = answer.tokens
    if len(words) >= 30 and len(set(words)) < 0.15 * min(len(words), 400):
        yield "repeats_itself" if _loops(answer) else "repetitive"
        return
    if len(words) >= 12:
        grams = Counter(zip(words, words[1:], words[2:], strict=False))
        most = max(grams.values())
        # Gopher drops a text when its top 3-gram covers 18 % of it.
        if most >= 4 and 3 * most > 0.5 * len(words) and _loops(answer):
            yield "repeats_itself"
        elif most >= 4 and 3 * most > 0.18 * len(words):
            yield "repetitive"
    elif len(words) >= 4 and len(set(words)) == 1 and _loops(answer):
        yield "repeats_itself"
    lines = [line for line in answer.head.splitlines() if line.strip()]
    if len(lines) >= 6 and len(set(lines)) < 0.7 * len(lines):
        yield "repeated_lines"


def _loops(answer: Passage) -> bool:
    """Whether a text that repeats words is one of words, and repeats whole phrases."""
    if answer.is_code_or_data or sum(map(len, answer.words)) < _SPOKEN_LETTERS * len(answer.tokens):
        return False
    # A list of variants ("what we have found", "what we have seen") repeats words, not phrases.
    phrases = [p for piece in _PHRASE_END.split(answer.head.lower()) if (p := piece.strip())]
    return len(phrases) < 4 or len(set(phrases)) <= 0.5 * len(phrases)
