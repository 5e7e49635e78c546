"""Named entities by a model that the config names: windows of long texts, labels, findings."""

from collections.abc import Iterator, Sequence

from steps.contracts.errors import ConfigError
from steps.scrub.config import NerConfig
from steps.scrub.findings import Finding
from steps.scrub.ner.models import model_of

# The usual label sets, in capitals: OntoNotes (spaCy's English models), CoNLL-2003 and WikiNER (most other models).
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
# Chosen: a message shows so many labels; some models have two hundred.
_MOST_LABELS = 40


class NerDetector:
    """Runs the configured model over texts.

    Raises:
        MissingDependencyError: the package or the model isn't there.
        ConfigError: the model has no label for one of the entities wanted.
    """

    def __init__(self, config: NerConfig) -> None:
        self.config = config
        self._tag, labels = model_of(config)
        if labels is not None:
            self._check(labels)

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """Findings per text, in the order of the texts. What two windows see is found once."""
        found: list[dict[Finding, None]] = [{} for _ in texts]
        cut = [(n, start, text[start:end]) for n, text in enumerate(texts) for start, end in windows(text)]
        name = f"{self.config.engine} model"
        for (number, offset, _), entities in zip(cut, self._tag([w for _, _, w in cut]), strict=True):
            for start, end, label, score in entities:
                entity = self._entity(label)
                if entity in self.config.entities and end > start:
                    found[number][Finding(start + offset, end + offset, entity, score, name)] = None
        return [list(findings) for findings in found]

    def _entity(self, label: str) -> str:
        """The config's own name for a label, the usual one, or the label in capitals."""
        return self.config.labels.get(label) or LABELS.get(label.upper(), label.upper())

    def _check(self, labels: frozenset[str]) -> None:
        """What is asked for and can never be found would count as covered."""
        if not labels:
            raise ConfigError(
                f"the {self.config.engine} model {self.config.model!r} sets no entities",
                where="scrub.ner",
                hint="name a model that was trained for named entities",
            )
        missing = sorted(set(self.config.entities) - {self._entity(label) for label in labels})
        if missing:
            raise ConfigError(
                f"no label of the {self.config.engine} model {self.config.model!r} stands for {', '.join(missing)}",
                where="scrub.ner",
                hint=f"map its labels by `labels: {{LABEL: {missing[0]}}}`, or leave {missing[0]} out of `entities`; "
                f"its labels: {_listed(labels)}",
            )


def _listed(labels: frozenset[str]) -> str:
    shown = sorted(labels)[:_MOST_LABELS]
    more = len(labels) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


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
