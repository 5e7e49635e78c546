"""All detectors together: what they find in a text, unresolved."""

import re
from collections.abc import Sequence
from contextlib import nullcontext

from steps.engines.fast_presidio.imports import patterns_only
from steps.engines.scan.visible import VisibleText
from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding, GatedDetector
from steps.scrub.ner.detector import NerDetector
from steps.scrub.readings import Unescaped, View, views
from steps.scrub.recognizers.all_forms import all_forms
from steps.scrub.recognizers.builtin import BUILTIN, BuiltinDetector
from steps.scrub.recognizers.forms import FormDetector

# None: a detector failed on this text.
Findings = list[Finding] | None
_SURROGATES = re.compile("[\ud800-\udfff]")


class Detector:
    """Pattern and model findings of texts, unresolved."""

    def __init__(self, config: ScrubConfig) -> None:
        with nullcontext() if config.ner else patterns_only():
            from steps.scrub.recognizers.presidio import PresidioDetector
        self._patterns: GatedDetector = PresidioDetector(config)
        self._extra = _extra_detectors(config)
        self._ner = NerDetector(config.ner) if config.ner else None

    @property
    def conditions(self) -> list[tuple[str, ...]] | None:
        """Each pattern detector's conditions; None: something may be found in any text."""
        if self._ner is not None:
            return None
        known = [c for d in (self._patterns, *self._extra) if (c := d.conditions) is not None]
        return known if len(known) == 1 + len(self._extra) else None

    def find(self, texts: Sequence[str]) -> list[Findings]:
        """Findings per text; None where a detector failed (what it said is not kept: it may quote the text).

        Invisible characters are left out of the search and taken into the findings, escapes are read as what they
        stand for; a lone surrogate is searched as a replacement character, since neither RE2 nor spaCy can read it.
        """
        readables = [readable(text) for text in texts]
        found = [self._by_patterns(text) for text in readables]
        if self._ner is None:
            return found
        seen = [VisibleText(text) for text in readables]
        return [
            None if one is None or named is None else one + [_placed(f, view) for f in named]
            for one, named, view in zip(
                found, self._model_findings(self._ner, [s.text for s in seen]), seen, strict=True
            )
        ]

    def _by_patterns(self, text: str) -> Findings:
        found = self._as_seen(text)
        unescaped = Unescaped(text)
        if found is None or not unescaped.changed:
            return found
        more = self._as_seen(unescaped.text)
        if more is None:
            return None
        places = [(f, unescaped.place(f.start, f.end)) for f in more]
        return found + [f._replace(start=place[0], end=place[1]) for f, place in places if place]

    def _as_seen(self, text: str) -> Findings:
        found: list[Finding] = []
        for view in views(text):
            here = self._pattern_findings(view.text)
            if here is None:
                return None
            found += [_placed(f, view) for f in here]
        return found

    def _pattern_findings(self, text: str) -> Findings:
        try:
            return [*self._patterns.find(text), *(f for extra in self._extra for f in extra.find(text))]
        except Exception:  # noqa: BLE001 - whatever a recognizer trips over makes the row undecided
            return None

    def _model_findings(self, ner: NerDetector, texts: Sequence[str]) -> list[Findings]:
        try:
            return list(ner.find(texts))
        except Exception:  # noqa: BLE001 - one bad text must not decide about its neighbours
            return [None] if len(texts) == 1 else [f for text in texts for f in self._model_findings(ner, [text])]


def _extra_detectors(config: ScrubConfig) -> tuple[GatedDetector, ...]:
    """Detectors beside presidio's patterns: a line each, made only when the config asks for it."""
    detectors: list[GatedDetector] = []
    if forms := all_forms(config):
        detectors.append(FormDetector(forms, config))
    if not BUILTIN.isdisjoint(config.wanted):
        detectors.append(BuiltinDetector(config))
    return tuple(detectors)


def readable(text: str) -> str:
    """The text with replacement characters for its lone surrogates; offsets stay."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _placed(finding: Finding, seen: View | VisibleText) -> Finding:
    start, end = seen.place(finding.start, finding.end)
    return finding._replace(start=start, end=end)
