"""Named-entity models behind one call; the only module that loads one.

A tagger takes texts and yields, for each, (start, end, label, score): offsets in characters, the model's own label.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from steps.contracts.digests import folder_digests, value_digest
from steps.contracts.errors import MissingDependencyError, UnsafeSerializationError
from steps.contracts.models import PICKLE_SUFFIXES
from steps.scrub.config import NerConfig

Tagged = list[tuple[int, int, str, float]]
Tagger = Callable[[Sequence[str]], Iterator[Tagged]]

# Chosen: tokens that neighbouring windows of a transformers model share, so that a name on a border is seen whole once.
_STRIDE_TOKENS = 64
# Positions of BERT and its kin, where a tokenizer or model doesn't say less.
_MOST_TOKENS = 512
# spaCy gives no score per entity; .85 is what presidio assumes for it (NerModelConfiguration.default_score).
_SPACY_SCORE = 0.85
# spaCy's own components, by whether `ner` may need what they say.
_NEEDED = frozenset({"ner", "tok2vec", "transformer", "curated_transformer"})
_NEEDLESS = frozenset(
    {"tagger", "morphologizer", "parser", "senter", "attribute_ruler", "lemmatizer", "trainable_lemmatizer"}
)
# What GLiNER is asked for. Other entities are asked for by their name in small letters.
_PROMPTS = {"NRP": "nationality, religious or political group"}
# Chosen: words that neighbouring windows of a GLiNER model share, where its widest entity isn't wider.
_SHARED_WORDS = 12


class Model(NamedTuple):
    """A loaded model. `labels` are all that it can say; None where that can't be known."""

    tag: Tagger
    labels: frozenset[str] | None


def model_of(config: NerConfig) -> Model:
    """The configured model, loaded.

    Raises:
        MissingDependencyError: the package or the model isn't there.
    """
    return {"spacy": _spacy, "transformers": _transformers, "gliner": _gliner}[config.engine](config)


def model_digest(config: NerConfig, root: Path) -> str:
    """What the model is: digest over the files of a folder (relative ones below `root`) or of an installed spaCy
    package, commit of a hub model.

    Raises:
        MissingDependencyError: the spaCy model isn't installed.
        InputNotFoundError, ServiceError: the hub knows no such model, or can't be reached.
    """
    folder = root / config.model
    if config.engine == "spacy" and not folder.is_dir():
        folder = _package(config.model)
    if folder.is_dir():
        files = folder_digests(folder)
        return value_digest({name: sha256 for name, sha256 in files.items() if not name.endswith(".pyc")})
    from steps.engines.lm.hub import resolve_revision
    from steps.engines.lm.references import local_folder

    local_folder(config.model, root, bare=True)
    return resolve_revision(config.model, config.revision)


def _package(name: str) -> Path:
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            f"the spaCy model {name!r} is not installed",
            where="scrub.ner",
            hint=f"python -m spacy download {name}, or name a folder; without `ner` names aren't looked for",
        )
    return Path(spec.origin).parent


def _spacy(config: NerConfig) -> Model:
    import spacy

    if not Path(config.model).exists():
        _package(config.model)
    nlp = spacy.load(config.model)
    for name in _spared(nlp):
        nlp.remove_pipe(name)

    def tag(texts: Sequence[str]) -> Iterator[Tagged]:
        for doc in nlp.pipe(texts, batch_size=config.batch_size):
            yield [(e.start_char, e.end_char, e.label_, _SPACY_SCORE) for e in doc.ents]

    return Model(tag, _spacy_labels(nlp))


def _spacy_labels(nlp: Any) -> frozenset[str] | None:
    """Labels of the components that say they set entities; None if one of those has no list of them."""
    setting = [name for name in nlp.pipe_names if "doc.ents" in nlp.get_pipe_meta(name).assigns]
    labels = [frozenset(getattr(nlp.get_pipe(name), "labels", ())) for name in setting]
    return frozenset().union(*labels) if all(labels) else None


def _spared(nlp: Any) -> list[str]:
    """Components without which the entities are the same (2.5 times faster for en_core_web_sm, measured).

    None in a pipeline with components that aren't listed here: an entity ruler, say, may ask for parts of speech.
    """
    factories = {name: nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    if not set(factories.values()) <= _NEEDED | _NEEDLESS:
        return []
    listened = {name for name in nlp.pipe_names if "ner" in getattr(nlp.get_pipe(name), "listener_map", {"ner": ()})}
    return [n for n, f in factories.items() if f in _NEEDLESS or (f == "tok2vec" and n not in listened)]


def _transformers(config: NerConfig) -> Model:
    from transformers import AutoModelForTokenClassification, AutoTokenizer, TokenClassificationPipeline

    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model, revision=config.revision)
        model = AutoModelForTokenClassification.from_pretrained(
            config.model, revision=config.revision, use_safetensors=True
        )
    except (OSError, ValueError) as e:
        raise _not_loadable(config, e) from e
    limit = min(
        tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", _MOST_TOKENS), _MOST_TOKENS
    )
    tokenizer.model_max_length = limit
    pipeline = TokenClassificationPipeline(
        model=model, tokenizer=tokenizer, aggregation_strategy="first", stride=min(_STRIDE_TOKENS, limit // 4)
    )

    def tag(texts: Sequence[str]) -> Iterator[Tagged]:
        outputs = iter(pipeline([t for t in texts if t.strip()], batch_size=config.batch_size))
        for text in texts:
            yield [_of_group(e) for e in next(outputs) if e["score"] >= config.threshold] if text.strip() else []

    # As the pipeline groups them: without the position in the entity.
    labels = (re.sub("^[BI]-", "", str(label)) for label in model.config.id2label.values())
    return Model(tag, frozenset(labels) - {"O"})


def _of_group(entity: Mapping[str, Any]) -> tuple[int, int, str, float]:
    return int(entity["start"]), int(entity["end"]), str(entity["entity_group"]), float(entity["score"])


def _with_safetensors(model: str, revision: str | None) -> Path:
    """The model's folder, downloaded without pickled weights: GLiNER would fall back on them.

    Raises:
        UnsafeSerializationError: it has no model.safetensors.
    """
    from huggingface_hub import snapshot_download

    folder = Path(model)
    if not folder.is_dir():
        pickled = [f"*{suffix}" for suffix in sorted(PICKLE_SUFFIXES)]
        folder = Path(snapshot_download(model, revision=revision, ignore_patterns=pickled))
    if not (folder / "model.safetensors").is_file():
        raise UnsafeSerializationError(
            "the model has no model.safetensors; weights in other files are not read",
            where=f"scrub.ner.model: {model}",
            hint="convert it (GLiNER's save_pretrained with safe_serialization=True), or name another model",
        )
    return folder


def _gliner(config: NerConfig) -> Model:
    try:
        from gliner import GLiNER
    except ImportError as e:
        raise MissingDependencyError(
            "the package gliner is not installed",
            where="scrub.ner",
            hint="pip install --no-deps gliner==0.2.29 (its other needs are installed), or name another engine",
        ) from e
    try:
        model = GLiNER.from_pretrained(str(_with_safetensors(config.model, config.revision)))
    except (OSError, ValueError) as e:
        raise _not_loadable(config, e) from e
    prompts = prompts_of(config)

    def tag(texts: Sequence[str]) -> Iterator[Tagged]:
        windows = [
            (n, start, text[start:end]) for n, text in enumerate(texts) for start, end in _word_windows(model, text)
        ]
        outputs = model.inference(
            [w for _, _, w in windows], list(prompts), threshold=config.threshold, batch_size=config.batch_size
        )
        found: list[Tagged] = [[] for _ in texts]
        for (number, at, _), entities in zip(windows, outputs, strict=True):
            found[number] += [
                (e["start"] + at, e["end"] + at, prompts[e["label"]], float(e["score"])) for e in entities
            ]
        yield from found

    # It says whatever it is asked for.
    return Model(tag, None)


def prompts_of(config: NerConfig) -> dict[str, str]:
    """What GLiNER is asked for -> entity: the config's own labels, and plain words for entities that have none."""
    configured = {label: entity for label, entity in config.labels.items() if entity in config.entities}
    named = set(configured.values())
    plain = {_PROMPTS.get(e, e.lower().replace("_", " ")): e for e in config.entities if e not in named}
    return configured | plain


def _word_windows(model: Any, text: str) -> Iterator[tuple[int, int]]:
    """Pieces that the model reads whole: it cuts what is longer than its `max_len` words without saying so."""
    words = [(start, end) for _, start, end in model.data_processor.words_splitter(text)]
    most = model.config.max_len
    step = max(1, most - max(_SHARED_WORDS, getattr(model.config, "max_width", _SHARED_WORDS)))
    starts = range(0, max(1, len(words) - most + step), step)
    for first in starts if words else ():
        inside = words[first : first + most]
        yield inside[0][0], inside[-1][1]


def _not_loadable(config: NerConfig, error: Exception) -> MissingDependencyError:
    return MissingDependencyError(
        f"the {config.engine} model {config.model!r} can't be loaded: {str(error).splitlines()[0]}",
        where="scrub.ner",
        hint="download it first (hf download <model>), or name a folder that holds it, with weights as safetensors",
    )
