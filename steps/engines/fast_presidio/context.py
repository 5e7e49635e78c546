"""presidio's context words, with only the neighbourhood of a finding tokenized.

Scores and matching are presidio's own code: it is given the tokens around a finding instead of those of the whole
text, as many as it looks at. spaCy cuts a text at white space first, so that they are the same tokens.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from presidio_analyzer import RecognizerResult
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts

from steps.engines.fast_presidio.plain import Tokens, enhancer

_BEGIN = re.compile(r"(?<=\s)\S")
_END = re.compile(r"\S(?=\s)")
_SPACE = re.compile(r"\s")
# Characters; chosen: six key words before a finding, and as many words that aren't, mostly fit. Beyond the last
# reach the whole text is tokenized, once.
_FIRST_REACH = 100
_LAST_REACH = 10_000
# "Question:" is cut into the word and the colon, which adds no key word.
_PLAIN_COLON = re.compile(r"[A-Za-z]+:|:")


class Context:
    """Raises the scores of findings that have one of their recognizer's context words nearby."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._enhancer = enhancer()

    def enhanced(self, text: str, found: Sequence[tuple[Any, Sequence[RecognizerResult]]]) -> list[RecognizerResult]:
        """All results in a text, given as (recognizer, its results), scores raised."""
        lowered = text.lower()
        near: _Nearby | None = None
        done: list[RecognizerResult] = []
        for recognizer, results in found:
            if results and _holds_any(lowered, recognizer.context or ()):
                near = near or _Nearby(text, self._tokens, self._enhancer)
                done += [self._one(near, result, recognizer) for result in results]
            else:
                done += results
        return done

    def _one(self, near: "_Nearby", result: RecognizerResult, recognizer: Any) -> RecognizerResult:
        offset, artifacts = near.around(result)
        window = near.text[offset : offset + len(artifacts.tokens.text)]
        result.start, result.end = result.start - offset, result.end - offset
        (enhanced,) = self._enhancer.enhance_using_context(window, [result], artifacts, [recognizer])
        enhanced.start, enhanced.end = enhanced.start + offset, enhanced.end + offset
        return enhanced


def _holds_any(lowered: str, words: Sequence[str]) -> bool:
    # The lower-case form of a word within a text can differ from that of the word alone (final sigma).
    return any(word.lower() in lowered or not word.isascii() for word in words)


class _Nearby:
    """The tokens around places in one text."""

    def __init__(self, text: str, tokens: Tokens, enhancer: LemmaContextAwareEnhancer) -> None:
        self.text = text
        self._tokens = tokens
        self._enhancer = enhancer
        self._extra = self._pieces_at_colons()
        self._whole: NlpArtifacts | None = None

    def around(self, result: RecognizerResult) -> tuple[int, NlpArtifacts]:
        """Where the tokens begin in the text, and the tokens: enough before and behind the result's first one."""
        for start, end in _windows(self.text, result.start):
            artifacts = self._read(start, end)
            if self._suffices(artifacts, result, start, end):
                return start, artifacts
        self._whole = self._whole or self._read(0, len(self.text))
        return 0, self._whole

    def _read(self, start: int, end: int) -> NlpArtifacts:
        artifacts = self._tokens.process_text(self.text[start:end], "en")
        artifacts.keywords = {*artifacts.keywords, *self._extra}
        return artifacts

    def _suffices(self, artifacts: NlpArtifacts, result: RecognizerResult, start: int, end: int) -> bool:
        """Whether presidio, counting key words from the result's token on, stops within these tokens."""
        word = self.text[result.start : result.end]
        at = self._enhancer._find_index_of_match_token(
            word, result.start - start, artifacts.tokens, artifacts.tokens_indices
        )
        before = self._enhancer.context_prefix_count + 1
        behind = self._enhancer.context_suffix_count + 1
        lemmas, keywords = artifacts.lemmas, artifacts.keywords
        return (start == 0 or _count(lemmas[at::-1], keywords, before) == before) and (
            end == len(self.text) or _count(lemmas[at:], keywords, behind) == behind
        )

    def _pieces_at_colons(self) -> frozenset[str]:
        """Key words that presidio makes of tokens with a colon inside, wherever in the text they stand."""
        pieces: set[str] = set()
        for chunk in dict.fromkeys(_chunks_with(":", self.text)):
            if not _PLAIN_COLON.fullmatch(chunk):
                pieces.update(self._tokens.process_text(chunk, "en").keywords)
        return frozenset(pieces)


def _windows(text: str, place: int) -> Iterator[tuple[int, int]]:
    """Ever larger parts of the text around a place; each begins and ends with the edge of a word at white space."""
    reach = _FIRST_REACH
    while reach < _LAST_REACH:
        first = _BEGIN.search(text, max(0, place - reach), place + 1) if place > reach else None
        last = _END.search(text, min(len(text), place + reach))
        start = first.start() if first else 0
        if first or place <= reach:
            yield start, last.end() if last else len(text)
        reach *= 4


def _chunks_with(mark: str, text: str) -> Iterator[str]:
    """The runs without white space that hold the mark."""
    at = text.find(mark)
    while at >= 0:
        space = _SPACE.search(text, at)
        end = space.start() if space else len(text)
        start = at
        while start and not text[start - 1].isspace():
            start -= 1
        yield text[start:end]
        at = text.find(mark, end)


def _count(lemmas: Sequence[str], keywords: Any, most: int) -> int:
    """How many are key words; counts up to `most`."""
    found = 0
    for lemma in lemmas:
        found += lemma.lower() in keywords
        if found == most:
            break
    return found
