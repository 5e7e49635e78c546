"""presidio's AnalyzerEngine made fast: the same findings, from fewer recognizers on less text.

What can be skipped is known before a recognizer runs: a prefilter of weakened patterns says which recognizers can match
at all, `regions` and `phones` in which parts of the text, and `context` tokenizes only what context words are looked
for in. A recognizer of which nothing is known runs on every text, as presidio would run it.

This leans on private names of presidio, phonenumbers and Python's `re`, and on how some public ones work: a test holds
all of them against the pinned versions. `plain.PlainAnalyzer` finds the same without them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from presidio_analyzer import EntityRecognizer, PatternRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts
from presidio_analyzer.predefined_recognizers import IbanRecognizer, PhoneRecognizer

from steps.engines.fast_presidio.context import Context
from steps.engines.fast_presidio.phones import Phones
from steps.engines.fast_presidio.plain import PlainAnalyzer, Timeouts, Tokens
from steps.engines.fast_presidio.prefilter import Clause, Prefilter, phone_clause
from steps.engines.fast_presidio.regions import Regions, position, regions
from steps.engines.fast_presidio.relax import Relaxed, relaxed

# Chosen: shortening a text costs about what a recognizer's patterns cost on so many characters.
_LONG = 300
# These look at nothing but the text, match by match.
_LOCAL = (PatternRecognizer.analyze, IbanRecognizer.analyze)


class FastAnalyzer:
    """Analyses texts as `PlainAnalyzer` with these recognizers does.

    `further`: recognizer's entity -> clauses that a text must hold as well for a finding of it to count. With them
    findings that don't count may be missing.
    `conditions`: RE2 expressions, one of which matches in every text with a finding; None: not known.
    """

    def __init__(self, recognizers: Sequence[Any], further: Mapping[str, Sequence[Clause]] | None = None) -> None:
        self._tokens = Tokens()
        self._context = Context(self._tokens)
        self._timeouts = Timeouts()
        self._recognizers = [_Filtered(r) for r in recognizers]
        needed = {}
        for number, r in enumerate(self._recognizers):
            extra = [c for e in r.recognizer.supported_entities for c in (further or {}).get(e, ())]
            needed[number] = [*r.clauses, *extra] if len(r.recognizer.supported_entities) == 1 else r.clauses
        self._prefilter = Prefilter(needed)
        self.conditions = self._prefilter.conditions
        self._plain: PlainAnalyzer | None = None

    def analyze(self, text: str) -> list[RecognizerResult]:
        """Findings of all recognizers, scores raised by context words, duplicates of an entity left out.

        Raises:
            TimeoutError: a pattern took longer than presidio's limit (60 s), so the text is only half searched.
        """
        possible = self._prefilter.possible(text)
        if not possible:
            return []
        with self._timeouts:
            found = [(r.recognizer, r.find(text, self._tokens)) for r in map(self._recognizers.__getitem__, possible)]
        if not any(results for _, results in found):
            return []
        if any(_raises_scores(r) for r, _ in found):
            return self.plainly(text)
        kept: list[RecognizerResult] = EntityRecognizer.remove_duplicates(self._context.enhanced(text, found))
        return kept

    def plainly(self, text: str) -> list[RecognizerResult]:
        """The same by `PlainAnalyzer`: the judge of `analyze`.

        Raises:
            TimeoutError: as `analyze`.
        """
        if self._plain is None:
            self._plain = PlainAnalyzer([r.recognizer for r in self._recognizers], self._tokens)
        return self._plain.analyze(text)


class _Filtered:
    """A recognizer, what a text must hold for it to find anything, and how it is run."""

    def __init__(self, recognizer: Any) -> None:
        self.recognizer = recognizer
        self.clauses: list[Clause] = []
        self._regions: Regions | None = None
        self._phones: Phones | None = None
        self._local = type(recognizer).analyze in _LOCAL
        if type(recognizer).analyze is PhoneRecognizer.analyze:
            self._phones = Phones(recognizer)
            self.clauses = [phone_clause(self._phones.least_digits)]
        elif self._local:
            weaker: list[Relaxed | None] = [
                relaxed(p.regex, recognizer.global_regex_flags) for p in recognizer.patterns
            ]
            if readable := [w for w in weaker if w]:
                self.clauses = [tuple(w.condition for w in readable)] if len(readable) == len(weaker) else []
            self._regions = regions(weaker)

    def find(self, text: str, tokens: Tokens) -> list[RecognizerResult]:
        """Findings with the scores that the recognizer gives."""
        if self._phones is not None:
            return self._phones.find(text)
        if not self._local:
            return _identified(self._run(text, tokens.process_text(text, "en")), self.recognizer)
        if self._regions is None or len(text) < _LONG:
            return self._run(text)
        return self._in_regions(self._regions, text)

    def _run(self, text: str, artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        found: list[RecognizerResult] = self.recognizer.analyze(text, self.recognizer.supported_entities, artifacts)
        return found or []

    def _in_regions(self, regions: Regions, text: str) -> list[RecognizerResult]:
        shortened, pieces = regions.shortened(text)
        if not pieces:
            return []
        kept = []
        for result in self._run(shortened):
            if there := position(pieces, result.start, result.end):
                result.start, result.end = there
                kept.append(result)
        return kept


def _identified(results: Sequence[RecognizerResult], recognizer: Any) -> list[RecognizerResult]:
    """The results with the recognizer's id and name, as presidio's engine adds them."""
    for result in results:
        metadata = result.recognition_metadata = result.recognition_metadata or {}
        metadata.setdefault(RecognizerResult.RECOGNIZER_IDENTIFIER_KEY, recognizer.id)
        metadata.setdefault(RecognizerResult.RECOGNIZER_NAME_KEY, recognizer.name)
    return list(results)


def _raises_scores(recognizer: Any) -> bool:
    return type(recognizer).enhance_using_context is not EntityRecognizer.enhance_using_context
