"""Findings of presidio's recognizers, and the policy on what counts as a finding."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from presidio_analyzer import RecognizerResult

from steps.contracts.errors import MissingDependencyError
from steps.engines.fast_presidio.plain import PlainAnalyzer
from steps.engines.fast_presidio.prefilter import DIGIT, Clause, context_clause, phone_clause
from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding
from steps.scrub.recognizers.labelled_phones import in_code, is_other
from steps.scrub.recognizers.network import is_ip, is_mac
from steps.scrub.recognizers.predefined import recognizers

# Shorter numbers exist (Germany has some of four digits), and years and prices look like them. Chosen.
_PHONE_DIGITS = 7
# +49 ..., (212) ..., 212-555-0142, 0494 92 82 32, 030/1234567: what arithmetic, decimals and ids don't look like.
PHONE_FORM = re.compile(
    r"\+|\(\d{2,5}\)[-. ]*\d|\d{3}[-. ]\d{3}[-. ]\d{4}(?!\d)|^0\d{1,4}([-. ])\d{2,4}(?:\1\d{2,4}){1,3}$"
    r"|\(0\d{1,4}\) ?/ ?\d|^0\d{1,5} ?/ ?\d(?:[- ]?\d){4,9}$"
)
# The same, weakened to what RE2 can say of a text that holds such a number.
_PHONE_FORMS = (
    rf"\+.{{0,9}}{DIGIT}",
    rf"\({DIGIT}{{2,5}}\)",
    rf"{DIGIT}{{3}}[-. ]{DIGIT}{{3}}[-. ]{DIGIT}{{4}}",
    rf"0{DIGIT}{{1,4}}[-. ]{DIGIT}{{2,4}}[-. ]{DIGIT}{{2,4}}",
    rf"0{DIGIT}{{1,5}} ?/ ?{DIGIT}",
)
# 6.2.9200.16384, +3523645.6: telephone numbers have no single digit between or behind dots. 016.016.016.016,
# 08.11.2017.
_NO_PHONE = re.compile(r"\+?\d+(?:\.\d+)*\.\d(?:\.\d+)*|\d{1,3}(?:\.\d{1,3}){3}|[0-3]\d\.[01]\d\.(?:19|20)\d\d")
# f(66528)/70723
_CALL = re.compile(r"\w\(")
# Context words that are names in code, and announce other numbers, as well.
_VAGUE = frozenset({"number", "call", "cell"})


class _Analyzer(Protocol):
    @property
    def conditions(self) -> tuple[str, ...] | None: ...

    def analyze(self, text: str) -> list[RecognizerResult]: ...


class PresidioDetector:
    """Findings of presidio's recognizers for the configured entities; a GatedDetector.

    Raises:
        MissingDependencyError: the config asks for acceleration, and it doesn't fit the installed versions.
    """

    def __init__(self, config: ScrubConfig) -> None:
        self.config = config
        chosen = recognizers(config.wanted_of("presidio"), config.locales)
        further = {r.supported_entities[0]: self._asked(r) for r in chosen}
        self._analyzer: _Analyzer = _fast(chosen, further) if config.accelerate else PlainAnalyzer(chosen)

    @property
    def conditions(self) -> tuple[str, ...] | None:
        """As of every GatedDetector; a recognizer of which nothing is known makes it None."""
        return self._analyzer.conditions

    def find(self, text: str) -> list[Finding]:
        """What counts; the text holds no lone surrogates.

        Raises:
            TimeoutError: a pattern took longer than presidio's limit (60 s), so the text is only half searched.
        """
        return [_finding(r) for r in self._analyzer.analyze(text) if self._counts(r, text)]

    def _asked(self, recognizer: Any) -> Sequence[Clause]:
        """What a text must hold for a finding of the recognizer to count, whatever its patterns say."""
        entity = recognizer.supported_entities[0]
        if entity in self.config.needs_context:
            return [context_clause(recognizer.context)]
        if entity != "PHONE_NUMBER":
            return []
        digits = phone_clause(_PHONE_DIGITS)
        form = (*_PHONE_FORMS, *context_clause(recognizer.context))
        return [digits, form] if self.config.phone_needs_form else [digits]

    def _counts(self, result: RecognizerResult, text: str) -> bool:
        entity = result.entity_type
        if result.score < self.config.thresholds.get(entity, self.config.threshold):
            return False
        in_context = bool(result.analysis_explanation and result.analysis_explanation.supportive_context_word)
        if entity in self.config.needs_context and not in_context:
            return False
        if entity == "PHONE_NUMBER":
            if in_context:
                in_context = _is_announced(result, text)
            formless = in_context or not self.config.phone_needs_form
            return _is_phone(text, result.start, result.end, formless)
        if entity == "IP_ADDRESS":
            return is_ip(text, result.start, result.end, in_context)
        return entity != "MAC_ADDRESS" or is_mac(text, result.start, result.end)


def _fast(chosen: Sequence[Any], further: Mapping[str, Sequence[Clause]]) -> _Analyzer:
    try:
        from steps.engines.fast_presidio.analyzer import FastAnalyzer

        return FastAnalyzer(chosen, further)
    except (ImportError, AttributeError) as e:
        raise MissingDependencyError(
            f"presidio's acceleration doesn't fit the installed versions ({e})",
            where="scrub.accelerate",
            hint="install the versions of constraints.txt, or set scrub.accelerate: false (slower, equal findings)",
        ) from e


def _is_phone(text: str, start: int, end: int, formless: bool) -> bool:
    value = text[start:end]
    if sum(c.isdigit() for c in value) < _PHONE_DIGITS or _NO_PHONE.fullmatch(value):
        return False
    return formless or (PHONE_FORM.search(value) is not None and not _CALL.match(text, max(0, start - 1)))


def _is_announced(result: RecognizerResult, text: str) -> bool:
    """Whether the context word says that a telephone number follows."""
    word = result.analysis_explanation.supportive_context_word
    return word not in _VAGUE or not (is_other(text, result.start, result.end) or in_code(text, word, result.start))


def _finding(result: RecognizerResult) -> Finding:
    name = (result.recognition_metadata or {}).get(RecognizerResult.RECOGNIZER_NAME_KEY, "")
    return Finding(result.start, result.end, result.entity_type, float(result.score), str(name))
