"""presidio's English pattern recognizers behind the gate, and the policy on what counts as a finding."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import spacy
import tldextract
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, RecognizerResult
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import EmailRecognizer

from steps.contracts.errors import ConfigError
from steps.scrub.config import ScrubConfig
from steps.scrub.gate import Gate, clauses
from steps.scrub.spans import Finding

_LOGGER = "presidio-analyzer"
_PHONE_DIGITS = 7
# +49 ..., (212) ..., 212-555-0142, 0494 92 82 32: what arithmetic, decimals and ids don't look like.
PHONE_FORM = re.compile(
    r"\+|\(\d{2,5}\)[-. /]*\d|\d{3}[-. ]\d{3}[-. ]\d{4}(?!\d)|^0\d{1,4}([-. ])\d{2,4}(?:\1\d{2,4}){1,3}$"
)
_NO_ADDRESS = frozenset("::")


class _Tokens(SpacyNlpEngine):
    """Tokens only, no model. Lemmas are lower-case forms: with empty ones presidio's context words never match."""

    def __init__(self) -> None:
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
        self.nlp = {"en": spacy.blank("en")}
        self.nlp["en"].max_length = 1 << 40

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        doc = self.nlp[language].make_doc(text)
        for token in doc:
            token.lemma_ = token.lower_
        return self._doc_to_nlp_artifact(doc, language)


class _OfflineEmailRecognizer(EmailRecognizer):
    """Checks domains against the suffix list in tldextract's package; presidio's own fetches it from the network."""

    def __init__(self) -> None:
        self._suffixes = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
        super().__init__(name="EmailRecognizer")

    def validate_result(self, pattern_text: str) -> bool:
        return bool(self._suffixes(pattern_text).fqdn)


class _Timeouts(logging.Handler):
    """Counts the patterns that presidio gave up after a minute: it logs this and goes on as if nothing was there."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "timed out" in str(record.msg)


class PatternDetector:
    """Findings of presidio's recognizers for the configured entities."""

    def __init__(self, config: ScrubConfig) -> None:
        self.config = config
        self._recognizers = _recognizers(config.wanted_of("presidio"))
        self._engine = None
        if self._recognizers:
            self._engine = AnalyzerEngine(
                registry=RecognizerRegistry(list(self._recognizers.values())),
                nlp_engine=_Tokens(),
                context_aware_enhancer=LemmaContextAwareEnhancer(context_matching_mode="whole_word"),
            )
        self._gate = Gate(
            {
                e: clauses(e, r.context, e in config.needs_context, config.phone_needs_form)
                for e, r in self._recognizers.items()
            }
        )
        self._timeouts = _Timeouts()
        logging.getLogger(_LOGGER).addHandler(self._timeouts)

    def find(self, text: str) -> list[Finding]:
        """Findings of all recognizers whose necessary condition holds.

        Raises:
            TimeoutError: a pattern took longer than presidio's limit (60 s), so the text is only half searched.
        """
        possible = self._gate.possible(text)
        hit = [e for e in sorted(possible) if self._recognizers[e].analyze(text, [e], None)]
        return self._analyzed(text, hit)

    def find_plainly(self, text: str) -> list[Finding]:
        """The same without the gate: every recognizer on every text. Ten times slower; the judge of `find`."""
        return self._analyzed(text, sorted(self._recognizers))

    def _analyzed(self, text: str, entities: list[str]) -> list[Finding]:
        if not entities or self._engine is None:
            return []
        before = self._timeouts.count
        results = self._engine.analyze(
            text, language="en", entities=entities, score_threshold=0, return_decision_process=True
        )
        if self._timeouts.count > before:
            raise TimeoutError("a recognizer's pattern ran out of time")
        return [_finding(r) for r in results if self._counts(r, text)]

    def _counts(self, result: RecognizerResult, text: str) -> bool:
        entity = result.entity_type
        if result.score < self.config.thresholds.get(entity, self.config.threshold):
            return False
        in_context = bool(result.analysis_explanation and result.analysis_explanation.supportive_context_word)
        if entity in self.config.needs_context and not in_context:
            return False
        value = text[result.start : result.end]
        if entity == "PHONE_NUMBER":
            return _is_phone(value, in_context or not self.config.phone_needs_form)
        # "::" is an operator in more languages than it is an address.
        return not (entity == "IP_ADDRESS" and set(value) <= _NO_ADDRESS)


def _is_phone(value: str, formless: bool) -> bool:
    if sum(c.isdigit() for c in value) < _PHONE_DIGITS:
        return False
    return formless or PHONE_FORM.search(value) is not None


def _finding(result: RecognizerResult) -> Finding:
    name = (result.recognition_metadata or {}).get(RecognizerResult.RECOGNIZER_NAME_KEY, "")
    return Finding(result.start, result.end, result.entity_type, float(result.score), str(name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without presidio's warning for each recognizer of another language."""
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _recognizers(entities: Sequence[str]) -> dict[str, Any]:
    """presidio's recognizer of each entity; the one that needs a model is `ner`'s business."""
    registry = RecognizerRegistry()
    with _quiet():
        registry.load_predefined_recognizers(languages=["en"])
    known = {r.supported_entities[0]: r for r in registry.recognizers if len(r.supported_entities) == 1}
    known["EMAIL_ADDRESS"] = _OfflineEmailRecognizer()
    unknown = sorted(set(entities) - set(known))
    if unknown:
        raise ConfigError(
            f"no pattern recognizer for {', '.join(unknown)}",
            where="scrub.entities",
            hint=f"known: {', '.join(sorted(known))}; names and places need `ner`, your own ids `patterns`",
        )
    return {e: known[e] for e in sorted(set(entities))}
