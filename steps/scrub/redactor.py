"""From raw findings to settled replacements: searched until the replaced text holds nothing more to replace."""

from collections.abc import Iterable, Sequence

from steps.scrub.config import ScrubConfig
from steps.scrub.detectors import Detectors
from steps.scrub.findings import (
    Finding,
    Interval,
    Replacement,
    mapped_back,
    outside,
    pseudonym_pattern,
    replaced,
    resolve,
)
from steps.scrub.pseudonyms.pseudonym import normalised, pseudonym, replacement
from steps.scrub.surrogates.surrogates import Surrogates

# A replacement can move a context word into or out of reach of another value. Chosen: a text is searched again
# at most so often; the second search nearly always finds nothing new.
ROUNDS = 4


class Settler:
    """Settles texts with one key; remembers nothing between calls."""

    def __init__(self, config: ScrubConfig, key: bytes) -> None:
        self._config = config
        self._key = key
        self._surrogates = Surrogates(key, config.locales) if config.mode == "surrogate" else None
        self._own = pseudonym_pattern(config.replaced)
        self._allowed = {e: {normalised(e, v) for v in config.allow} for e in ("", *config.replaced)}

    def settle(self, texts: Iterable[str], detectors: Detectors) -> dict[str, list[Finding] | None]:
        """Non-overlapping findings per distinct text, in text order; None where a detector failed."""
        settled: dict[str, list[Finding] | None] = {}
        for text, findings in detectors.find(texts).items():
            settled[text] = None if findings is None else self._kept(text, findings, ())
        open_texts = [text for text, findings in settled.items() if findings]
        for _ in range(ROUNDS):
            open_texts = self._again(open_texts, settled, detectors)
        return settled

    def replacements(self, text: str, findings: Sequence[Finding]) -> list[Replacement]:
        """What is put in for each finding."""
        return [Replacement(f.start, f.end, self._new(text, f)) for f in findings]

    def name(self, text: str, finding: Finding) -> str:
        """The pseudonym of the value found."""
        return pseudonym(self._key, finding.entity, text[finding.start : finding.end])

    def _new(self, text: str, finding: Finding) -> str:
        made = None
        if self._surrogates is not None:
            made = self._surrogates.of(finding.entity, text[finding.start : finding.end])
        return replacement(self._config.mode, finding.entity, self.name(text, finding), made)

    def _kept(self, text: str, findings: Sequence[Finding], places: Sequence[Interval]) -> list[Finding]:
        protected = [*places, *(m.span() for m in self._own.finditer(text))]
        wanted = [f for f in findings if not self._is_allowed(f.entity, text[f.start : f.end])]
        return resolve(outside(wanted, protected, text))

    def _is_allowed(self, entity: str, value: str) -> bool:
        return bool(self._config.allow) and normalised(entity, value) in self._allowed.get(entity, self._allowed[""])

    def _again(self, texts: Sequence[str], settled: dict[str, list[Finding] | None], detectors: Detectors) -> list[str]:
        """One more search of the replaced texts; returns those in which it found something new."""
        news = {text: replaced(text, self.replacements(text, settled[text] or [])) for text in texts}
        found = detectors.find(new for new, _ in news.values())
        changed: list[str] = []
        for text, (new, places) in news.items():
            findings = found[new]
            if findings is None:
                settled[text] = None
            elif more := self._kept(new, findings, places):
                old = settled[text] or []
                settled[text] = sorted([*old, *mapped_back(more, self.replacements(text, old))])
                changed.append(text)
        return changed
