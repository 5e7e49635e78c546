"""Named entities by a model that the config names: windows of long texts, labels, findings."""

from collections.abc import Iterator, Sequence

from steps.scrub.config import NerConfig
from steps.scrub.spans import Finding
from steps.scrub.taggers import tagger_of

# The usual label sets: OntoNotes (spaCy's English models), CoNLL-2003 and WikiNER (most transformers models).
LABELS = {
    "PERSON": "PERSON",
    "PER": "PERSON",
    "LOCATION": "LOCATION",
    "LOC": "LOCATION",
    "GPE": "LOCATION",
    "FAC": "LOCATION",
    "ORGANIZATION": "ORGANIZATION",
    "ORG": "ORGANIZATION",
    "NORP": "NRP",
}
# Chosen: models read at most this many characters at once; longer texts are cut at white space.
WINDOW_CHARACTERS = 20_000
# Chosen: what neighbouring windows share, so that a name on a border is seen whole once, with some words around it.
OVERLAP_CHARACTERS = 500


class NerDetector:
    """Runs the configured model over texts.

    Raises:
        MissingDependencyError: the package or the model isn't there.
    """

    def __init__(self, config: NerConfig) -> None:
        self.config = config
        self._labels = {**LABELS, **config.labels}
        self._tag = tagger_of(config)

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """Findings per text, in the order of the texts. What two windows see is found once."""
        found: list[dict[Finding, None]] = [{} for _ in texts]
        cut = [(n, start, text[start:end]) for n, text in enumerate(texts) for start, end in windows(text)]
        name = f"{self.config.engine} model"
        for (number, offset, _), entities in zip(cut, self._tag([w for _, _, w in cut]), strict=True):
            for start, end, label, score in entities:
                entity = self._labels.get(label, label)
                if entity in self.config.entities and end > start:
                    found[number][Finding(start + offset, end + offset, entity, score, name)] = None
        return [list(findings) for findings in found]


def windows(text: str) -> Iterator[tuple[int, int]]:
    """Overlapping pieces (start, end) that cover the text, none longer than WINDOW_CHARACTERS; none of no text."""
    start = end = 0
    while end < len(text):
        end = _cut(text, start + WINDOW_CHARACTERS)
        yield start, end
        start = _cut(text, end - OVERLAP_CHARACTERS)


def _cut(text: str, position: int) -> int:
    """The last white space at most OVERLAP_CHARACTERS before a position; the position where there is none."""
    if position >= len(text):
        return len(text)
    least = position - OVERLAP_CHARACTERS
    space = max(text.rfind(" ", least, position), text.rfind("\n", least, position))
    return space if space >= least else position
