"""What is replaced in a text and by what: searched until the replaced text holds nothing more to replace."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from steps.contracts.records import Row, content_id_of
from steps.engines.rows.segments import Segment, with_segments
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
from steps.scrub.page_starts import moved
from steps.scrub.pseudonyms.pseudonym import normalised, pseudonym, replacement
from steps.scrub.surrogates.surrogates import Surrogates

# Findings by text; None where a detector failed.
TextFindings = dict[str, list[Finding] | None]
# A replacement can move a context word into or out of reach of another value. Chosen: a text is searched again
# at most so often; the second search nearly always finds nothing new.
ROUNDS = 4


class ReplacedValue(NamedTuple):
    """A value found in the text at `path` of a row, its pseudonym, and what stands there now."""

    path: str
    finding: Finding
    value: str
    pseudonym: str
    new: str


class Redacted(NamedTuple):
    """A row with what was found in it replaced."""

    row: Row
    values: tuple[ReplacedValue, ...]

    @property
    def entities(self) -> dict[str, int]:
        """Replaced values by entity, in the order of the row."""
        counts: dict[str, int] = {}
        for v in self.values:
            counts[v.finding.entity] = counts.get(v.finding.entity, 0) + 1
        return counts

    @property
    def spans(self) -> list[tuple[str, int, int, str, str]]:
        """Where the values stood, as the ledger has it: path, start, end, entity, pseudonym."""
        return [(v.path, v.finding.start, v.finding.end, v.finding.entity, v.pseudonym) for v in self.values]


class Redactor:
    """Decides with one key; remembers nothing between calls."""

    def __init__(self, config: ScrubConfig, key: bytes) -> None:
        self._config = config
        self._key = key
        self._surrogates = Surrogates(key, config.locales) if config.mode == "surrogate" else None
        self._pseudonyms = pseudonym_pattern(config.replaced)
        self._allowed = {e: {normalised(e, v) for v in config.allow} for e in ("", *config.replaced)}

    def find(self, texts: Iterable[str], detectors: Detectors) -> TextFindings:
        """Non-overlapping findings per distinct text, in text order; None where a detector failed."""
        found: TextFindings = {}
        for text, findings in detectors.find(texts).items():
            found[text] = None if findings is None else self._resolved(text, findings, ())
        open_texts = [text for text, findings in found.items() if findings]
        for _ in range(ROUNDS):
            open_texts = self._again(open_texts, found, detectors)
        return found

    def redacted(self, row: Row, texts: Sequence[Segment], found: Mapping[str, list[Finding] | None]) -> Redacted:
        """The row with what was found in its texts replaced; `texts` are its segments."""
        new_texts: dict[str, str] = {}
        in_text: list[Replacement] = []
        values: list[ReplacedValue] = []
        for segment in texts:
            if findings := found[segment.text]:
                replacements = self.replacements(segment.text, findings)
                new_texts[segment.path] = replaced(segment.text, replacements)[0]
                in_text = replacements if segment.path == "text" else in_text
                values += [
                    ReplacedValue(segment.path, f, segment.text[f.start : f.end], self.name(segment.text, f), r.new)
                    for f, r in zip(findings, replacements, strict=True)
                ]
        new = with_segments(row, new_texts)
        if in_text:
            new["meta"] = moved(new["meta"], in_text)
        new["content_id"] = content_id_of(new)
        return Redacted(new, tuple(values))

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

    def _resolved(self, text: str, findings: Sequence[Finding], replacements: Sequence[Interval]) -> list[Finding]:
        protected = [*replacements, *(m.span() for m in self._pseudonyms.finditer(text))]
        wanted = [f for f in findings if not self._is_allowed(f.entity, text[f.start : f.end])]
        return resolve(outside(wanted, protected, text))

    def _is_allowed(self, entity: str, value: str) -> bool:
        return bool(self._config.allow) and normalised(entity, value) in self._allowed.get(entity, self._allowed[""])

    def _again(self, texts: Sequence[str], found: TextFindings, detectors: Detectors) -> list[str]:
        """One more search of the replaced texts; returns those in which it found something new."""
        news = {text: replaced(text, self.replacements(text, found[text] or [])) for text in texts}
        again = detectors.find(new for new, _ in news.values())
        changed: list[str] = []
        for text, (new, intervals) in news.items():
            findings = again[new]
            if findings is None:
                found[text] = None
            elif more := self._resolved(new, findings, intervals):
                old = found[text] or []
                found[text] = sorted([*old, *mapped_back(more, self.replacements(text, old))])
                changed.append(text)
        return changed
