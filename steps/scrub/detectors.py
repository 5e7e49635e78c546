"""All detectors together, in this process or in several."""

import functools
import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Self

from steps.engines.fast_presidio.imports import models_need_a_process, patterns_only
from steps.engines.scan.visible import VisibleText
from steps.scrub.config import ScrubConfig
from steps.scrub.findings import Finding, GatedDetector
from steps.scrub.ner.detector import NerDetector
from steps.scrub.pool import Workers
from steps.scrub.recognizers.all_forms import all_forms
from steps.scrub.recognizers.builtin import OWN, OwnDetector
from steps.scrub.recognizers.forms import FormDetector
from steps.scrub.worker import find_in_worker

# None: a detector failed on this text.
Findings = list[Finding] | None
# Chosen: large enough that sending costs little, small enough that workers stay busy to the end.
_BATCH_TEXTS = 256
_SURROGATES = re.compile("[\ud800-\udfff]")


class Detector:
    """Pattern and model findings of texts, unresolved."""

    def __init__(self, config: ScrubConfig) -> None:
        with nullcontext() if config.ner else patterns_only():
            from steps.scrub.recognizers.presidio import PatternDetector
        self._patterns: GatedDetector = PatternDetector(config)
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

        Invisible characters are left out of the search and taken into the findings; a lone surrogate is searched as
        a replacement character, since neither RE2 nor spaCy can read it.
        """
        seen = [VisibleText(readable(text)) for text in texts]
        found = self._find([s.text for s in seen])
        return [f if f is None else [_placed(one, s) for one in f] for f, s in zip(found, seen, strict=True)]

    def _find(self, texts: Sequence[str]) -> list[Findings]:
        found = [self._pattern_findings(text) for text in texts]
        if self._ner is None:
            return found
        return [
            None if one is None or named is None else one + named
            for one, named in zip(found, self._model_findings(self._ner, texts), strict=True)
        ]

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
    if not OWN.isdisjoint(config.wanted):
        detectors.append(OwnDetector(config))
    return tuple(detectors)


def readable(text: str) -> str:
    """The text with replacement characters for its lone surrogates; offsets stay."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _placed(finding: Finding, seen: VisibleText) -> Finding:
    start, end = seen.place(finding.start, finding.end)
    return finding._replace(start=start, end=end)


class Detectors:
    """A Detector here (workers = 1) or one per worker process; a context manager. Order and result are the same."""

    def __init__(self, config: ScrubConfig) -> None:
        apart = config.ner is not None and models_need_a_process()
        # Made here if it can be, so that a wrong setting or a missing model is told before any process starts.
        self._here = None if apart else Detector(config)
        work = functools.partial(find_in_worker, config.model_dump_json())
        self._workers = Workers(work, config.workers) if apart or config.workers > 1 else None
        self.conditions = self._here.conditions if self._here else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._workers is not None:
            self._workers.close()

    def find(self, texts: Iterable[str]) -> dict[str, Findings]:
        """Findings of each distinct text.

        Raises:
            AssayError: worker processes keep dying.
        """
        distinct = list(dict.fromkeys(texts))
        if self._here and (self._workers is None or len(distinct) <= _BATCH_TEXTS):
            return dict(zip(distinct, self._here.find(distinct), strict=True))
        assert self._workers is not None  # where there is no detector here, there are workers
        batches = [distinct[i : i + _BATCH_TEXTS] for i in range(0, len(distinct), _BATCH_TEXTS)]
        found = self._workers.results(batches)
        return {t: f for batch, part in zip(batches, found, strict=True) for t, f in zip(batch, part, strict=True)}
