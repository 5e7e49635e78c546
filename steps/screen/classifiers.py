"""Rows judged by a transformers text-classification model."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from steps.contracts.arrays import Mask, Vectors
from steps.contracts.code import code_digest
from steps.contracts.context import StageContext
from steps.contracts.dataset import Dataset
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.models import model_digest, model_path
from steps.engines.embed.vectors import Done, Vector
from steps.engines.lm.device import processor, resolve_device
from steps.engines.lm.quiet import without_bars
from steps.engines.lm.shapes import LENGTH_STEP, by_width, filled_up
from steps.engines.lm.threads import torch_threads
from steps.engines.text.parts import part_of
from steps.screen.config import ClassifierConfig, ModelAction
from steps.screen.model_findings import ModelFinding, ModelReport, chosen_rows, histogram, tally

# From the strongest.
_STRENGTH: tuple[ModelAction, ...] = ("drop", "quarantine", "flag")
# A model that names no limit is given BERT's.
_LONGEST = 512
_CHARACTERS_PER_TOKEN = 64


class Classifier:
    """A loaded classifier. A text's score is the same bits whatever other texts are scored with it (see `shapes`)."""

    def __init__(self, config: ClassifierConfig, ctx: StageContext, cache: EmbeddingCache) -> None:
        self.config = config
        self.name = f"classifier {config.name}"
        self.undecided = config.undecided
        digest = model_digest(config.model, config.revision, ctx.root)
        self._tokenizer, self._model = _load(config, model_path(config.model, digest, ctx.root))
        self._longest = _longest(config, self._tokenizer, self._model)
        self._column, self._activation = _column(config, self._model.config), _activation(config, self._model.config)
        shape = [config.batch_size, self._longest, LENGTH_STEP, config.device, config.num_threads, self._activation]
        libraries = [version(p) for p in ("torch", "transformers", "tokenizers")]
        code, where = code_digest(__name__), processor(config.device)
        self._cached = cache.open("scores.sqlite", value_digest([digest, shape, libraries, code, where]))
        self._counts: Counter[str] = Counter()
        self._scores: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Nothing is held open."""

    def find(self, dataset: Dataset, keep: Mask) -> Iterator[ModelFinding]:
        """Rows whose score lies on the bad side of a threshold, and rows whose score isn't a number."""
        for numbers, rows in chosen_rows(dataset, keep, self.config.splits, self.name):
            texts = [(n, r["record_id"], part_of(r, self.config.part)) for n, r in zip(numbers, rows, strict=True)]
            read = [(number, record_id, text) for number, record_id, text in texts if text]
            self._counts["rows without a text to read"] += len(texts) - len(read)
            for (number, record_id, _), found in zip(read, self.scores([t for _, _, t in read]), strict=True):
                answer = self._answer(number, record_id, found)
                if answer is not None:
                    yield answer

    def _answer(self, number: int, record_id: str, found: Vector) -> ModelFinding | None:
        score = float(found.values[self._column])
        self._counts["rows scored"] += 1
        self._counts["rows cut to what the model reads"] += found.cut
        reason = f"classifier.{self.config.name}"
        if not math.isfinite(score):
            return ModelFinding(number, record_id, None, f"undecided:{reason}", undecided="not_finite")
        self._scores.append(score)
        action = self._action(score)
        if action is None:
            return None
        evidence = {"threshold": self.config.thresholds[action], "cut": found.cut}
        return ModelFinding(number, record_id, action, reason, round(score, 6), evidence)

    def _action(self, score: float) -> ModelAction | None:
        """The strongest action whose threshold the score has passed."""
        for action in _STRENGTH:
            bound = self.config.thresholds.get(action)
            if bound is not None and (score >= bound if self.config.when == "above" else score < bound):
                return action
        return None

    def scores(self, texts: Sequence[str]) -> list[Vector]:
        """Scores of every class per text, in order; equal texts are scored once, known ones not at all."""
        return [found for found in self._cached.resolve(texts, self._score) if isinstance(found, Vector)]

    def _score(self, texts: Sequence[str], done: Done) -> None:
        limit = self._longest * _CHARACTERS_PER_TOKEN
        clean = [t[:limit].encode("utf-8", "replace").decode() for t in texts]
        lengths = [len(ids) for ids in self._tokenizer(clean, truncation=False, verbose=False)["input_ids"]]
        cut = [n > self._longest or len(t) > limit for n, t in zip(lengths, texts, strict=True)]
        with torch_threads(self.config.num_threads):
            for width, members in by_width(lengths, self._longest).items():
                found = self._forward([clean[m] for m in members], width)
                done(members, [Vector(v, cut[m]) for m, v in zip(members, found, strict=True)])

    def _forward(self, texts: list[str], width: int) -> Vectors:
        """Scores of texts of up to `width` tokens, shape (texts, classes)."""
        import torch

        size, full = self.config.batch_size, filled_up(texts, self.config.batch_size)
        parts = []
        for start in range(0, len(full), size):
            batch = self._tokenizer(
                full[start : start + size], padding="max_length", max_length=width, truncation=True, return_tensors="pt"
            ).to(self.config.device)
            with torch.inference_mode():
                parts.append(_activated(self._model(**batch).logits.float(), self._activation).cpu().numpy())
        return np.concatenate(parts)[: len(texts)]

    def report(self) -> ModelReport:
        """Counts, the distribution of scores, and what was cut."""
        shown = self.config.label or "regression"
        notes = []
        if cut := self._counts["rows cut to what the model reads"]:
            notes.append(f"{self.name} read only the first {self._longest} tokens of {cut} rows.")
        scores = histogram(f"{self.name}: {shown}", "score", self._scores)
        return ModelReport(tally(self._counts), [scores], notes=notes)


def _activated(logits: Any, activation: str) -> Any:
    if activation == "softmax":
        return logits.softmax(-1)
    return logits.sigmoid() if activation == "sigmoid" else logits


def _activation(config: ClassifierConfig, model: Any) -> str:
    """What the config says; auto: as transformers' own text-classification pipeline chooses."""
    if config.activation != "auto":
        return config.activation
    if config.label is None or model.problem_type == "regression":
        return "none"
    return "sigmoid" if model.num_labels == 1 or model.problem_type == "multi_label_classification" else "softmax"


def _column(config: ClassifierConfig, model: Any) -> int:
    """Position of the label among the model's classes; 0 for a regression."""
    labels = [str(model.id2label[i]) for i in range(model.num_labels)]
    if config.label is None:
        if model.num_labels != 1:
            raise ConfigError(
                f"the model has {model.num_labels} classes, and no label is named", where=f"classifier {config.name}",
                hint=f"set label to one of {', '.join(labels[:20])}",
            )  # fmt: skip
        return 0
    if config.label not in labels:
        raise ConfigError(
            f"the model has no class {config.label!r}", where=f"classifier {config.name}",
            hint=f"its classes: {', '.join(labels[:20])}",
        )  # fmt: skip
    return labels.index(config.label)


def _longest(config: ClassifierConfig, tokenizer: Any, model: Any) -> int:
    """Tokens that the model reads."""
    limit = min(int(tokenizer.model_max_length), int(getattr(model.config, "max_position_embeddings", _LONGEST)))
    if config.max_tokens is not None and config.max_tokens > limit:
        raise ConfigError(
            f"max_tokens is {config.max_tokens}, but the model reads {limit} tokens at most",
            where=f"classifier {config.name}", hint="lower max_tokens, or leave it out",
        )  # fmt: skip
    return config.max_tokens or min(limit, _LONGEST)


def _load(config: ClassifierConfig, folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        with without_bars():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
    except (OSError, ValueError, KeyError, RuntimeError) as e:
        raise MissingDependencyError(
            f"the classifier can't be loaded ({type(e).__name__}: {str(e).splitlines()[0][:200]})", where=config.model,
            hint="name a folder or hub model for text classification with safetensors weights",
        ) from e  # fmt: skip
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, model.to(resolve_device(config.device, f"classifier {config.name}")).eval()
