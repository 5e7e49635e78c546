"""Named entities by a model that the config names; the only module that loads one."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from steps.contracts.errors import MissingDependencyError
from steps.scrub.config import NerConfig
from steps.scrub.spans import Finding

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
# Chosen: tokens that neighbouring model windows share, so that a name on a border is seen whole once.
_STRIDE_TOKENS = 64

# text -> (start, end, label, score)
Tagger = Callable[[Sequence[str]], Iterator[list[tuple[int, int, str, float]]]]


class NerDetector:
    """Runs the configured model over texts."""

    def __init__(self, config: NerConfig) -> None:
        self.config = config
        self._labels = {**LABELS, **config.labels}
        self._tag = _spacy_tagger(config) if config.engine == "spacy" else _transformers_tagger(config)

    def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """Findings per text, in the order of the texts."""
        found: list[list[Finding]] = [[] for _ in texts]
        windows = [(n, start, text[start:end]) for n, text in enumerate(texts) for start, end in _windows(text)]
        tagged = self._tag([w for _, _, w in windows])
        for (number, offset, _), entities in zip(windows, tagged, strict=True):
            for start, end, label, score in entities:
                entity = self._labels.get(label, label)
                if entity in self.config.entities and end > start:
                    name = f"{self.config.engine} model"
                    found[number].append(Finding(start + offset, end + offset, entity, score, name))
        return found


def _windows(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = min(len(text), start + WINDOW_CHARACTERS)
        if end < len(text):
            space = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = space if space > start else end
        yield start, end
        start = end


def _spacy_tagger(config: NerConfig) -> Tagger:
    import spacy

    if not (spacy.util.is_package(config.model) or Path(config.model).exists()):
        raise MissingDependencyError(
            f"the spaCy model {config.model!r} is not installed",
            where="scrub.ner",
            hint=f"python -m spacy download {config.model}, or name a folder; without `ner` names aren't looked for",
        )
    nlp = spacy.load(config.model)

    def tag(texts: Sequence[str]) -> Iterator[list[tuple[int, int, str, float]]]:
        for doc in nlp.pipe(texts, batch_size=config.batch_size):
            # spaCy gives no score per entity; .85 is what presidio assumes for it.
            yield [(e.start_char, e.end_char, e.label_, 0.85) for e in doc.ents]

    return tag


def _transformers_tagger(config: NerConfig) -> Tagger:
    from transformers import AutoModelForTokenClassification, AutoTokenizer, TokenClassificationPipeline

    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model)
        model = AutoModelForTokenClassification.from_pretrained(config.model, use_safetensors=True)
    except (OSError, ValueError) as e:
        raise MissingDependencyError(
            f"the transformers model {config.model!r} can't be loaded: {str(e).splitlines()[0]}",
            where="scrub.ner",
            hint="download it first (hf download <model>), or name a folder that holds it as safetensors",
        ) from e
    limit = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512), 512)
    tokenizer.model_max_length = limit
    pipeline = TokenClassificationPipeline(
        model=model, tokenizer=tokenizer, aggregation_strategy="first", stride=min(_STRIDE_TOKENS, limit // 4)
    )

    def tag(texts: Sequence[str]) -> Iterator[list[tuple[int, int, str, float]]]:
        for text in texts:
            yield [_scored(e) for e in pipeline(text) if e["score"] >= config.threshold] if text.strip() else []

    return tag


def _scored(entity: dict[str, Any]) -> tuple[int, int, str, float]:
    return int(entity["start"]), int(entity["end"]), str(entity["entity_group"]), float(entity["score"])
