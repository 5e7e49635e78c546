"""presidio's AnalyzerEngine as it is, by its public names only: without a model, and with an ear for its timeouts."""

import logging
from collections.abc import Sequence
from typing import Any

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, RecognizerResult
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import SpacyNlpEngine

LOGGER = "presidio-analyzer"


class Tokens(SpacyNlpEngine):
    """Tokens only, no model. Lemmas are lower-case forms: with empty ones presidio's context words never match."""

    def __init__(self) -> None:
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
        self.nlp = {"en": _Tokenizer()}


class _Tokenizer:
    """A spaCy pipeline that cuts texts of any length into tokens and does nothing else."""

    def __init__(self) -> None:
        self._nlp = spacy.blank("en")
        self.vocab = self._nlp.vocab

    def __call__(self, text: str) -> Any:
        # Not the pipeline itself, which refuses texts of over a million characters.
        doc = self._nlp.make_doc(text)
        for token in doc:
            token.lemma_ = token.lower_
        return doc


def enhancer() -> LemmaContextAwareEnhancer:
    """presidio's, matching whole words: parts of words ("lic" in "duplicate") are no context."""
    return LemmaContextAwareEnhancer(context_matching_mode="whole_word")


class PlainAnalyzer:
    """`AnalyzerEngine(...).analyze(text, language, score_threshold=0)` with these recognizers: all of them, every time.

    `conditions`: as of `FastAnalyzer`; here nothing is known.
    """

    conditions: tuple[str, ...] | None = None

    def __init__(self, recognizers: Sequence[Any], tokens: Tokens | None = None) -> None:
        self._timeouts = Timeouts()
        # presidio's registry refuses to be empty.
        self._engine = recognizers and AnalyzerEngine(
            registry=RecognizerRegistry(list(recognizers)),
            nlp_engine=tokens or Tokens(),
            context_aware_enhancer=enhancer(),
        )

    def analyze(self, text: str) -> list[RecognizerResult]:
        """Findings of all recognizers, scores raised by context words, duplicates of an entity left out.

        Raises:
            TimeoutError: a pattern took longer than presidio's limit (60 s), so the text is only half searched.
        """
        if not self._engine:
            return []
        with self._timeouts:
            results: list[RecognizerResult] = self._engine.analyze(
                text, language="en", score_threshold=0, return_decision_process=True
            )
        return results


class Timeouts(logging.Handler):
    """Turns a pattern that presidio gave up after a minute into an error: it logs this, and goes on without findings.

    A context manager around each search.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._count = self._before = 0
        self._logger = logging.getLogger(LOGGER)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count it if it is about a pattern that ran out of time."""
        self._count += "timed out" in str(record.msg)

    def __enter__(self) -> None:
        # Logging set-ups of other libraries (MLflow's database) switch existing loggers off.
        self._logger.disabled = False
        if not self._logger.isEnabledFor(logging.WARNING):
            self._logger.setLevel(logging.WARNING)
        self._before = self._count

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._count > self._before:
            raise TimeoutError("a recognizer's pattern ran out of time")
