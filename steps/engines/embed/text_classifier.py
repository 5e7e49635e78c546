"""Texts scored by a transformers text-classification model: classes, or one number per text."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from steps.contracts.arrays import Vectors
from steps.contracts.code import code_digest
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.contracts.reports import Frozen
from steps.engines.embed.cache import EmbeddingCache
from steps.engines.embed.models import model_digest, model_path
from steps.engines.embed.vectors import Done, Vector
from steps.engines.lm.device import processor, resolve_device
from steps.engines.lm.quiet import without_bars
from steps.engines.lm.shapes import LENGTH_STEP, by_width, filled_up
from steps.engines.lm.threads import torch_threads

# A model that names no limit is given BERT's.
_LONGEST = 512
_CHARACTERS_PER_TOKEN = 64


class ClassifierModel(Frozen):
    """Which model, and how it is run."""

    model: str = Field(description="hub id, folder, or package:IMPORT_NAME/FOLDER; safetensors weights")
    revision: str | None = Field(None, description="hub models: commit, branch or tag; None: the default branch")
    label: str | None = Field(None, description="the class whose score counts; None: a regression, one number per text")
    activation: Literal["auto", "softmax", "sigmoid", "none"] = Field(
        "auto",
        description="from logits to scores; auto: none for a regression, sigmoid for several labels at once or a"
        " single one, softmax otherwise",
    )
    max_tokens: int | None = Field(
        None, ge=8, description="longer texts are cut here, and counted; None: what the model was made for"
    )
    batch_size: int = Field(16, ge=1, description="texts per forward pass")
    device: str = Field("cpu", description="torch's name: cpu, cuda, mps")
    num_threads: int = Field(1, ge=1, description="CPU threads; they change floating-point sums")


class TextClassifier:
    """A loaded classifier. A text's score is the same bits whatever other texts are scored with it (see `shapes`).

    Attributes:
        column: of the label among the classes. longest: tokens that the model reads. digest: of all that decides a
            score besides the text.
    """

    def __init__(self, config: ClassifierModel, where: str, root: Path, cache: EmbeddingCache) -> None:
        """`where`: names it in errors; `root`: where relative folders start.

        Raises:
            ConfigError: the model has no such label, or reads fewer tokens. MissingDependencyError: it can't be had.
        """
        self.config = config
        digest = model_digest(config.model, config.revision, root)
        self._tokenizer, self._model = _load(config, model_path(config.model, digest, root), where)
        self.longest = _longest(config, self._tokenizer, self._model, where)
        self.column, activation = _column(config, self._model.config, where), _activation(config, self._model.config)
        self._activation = activation
        shape = [config.batch_size, self.longest, LENGTH_STEP, config.device, config.num_threads, activation]
        libraries = [version(p) for p in ("torch", "transformers", "tokenizers")]
        code, at = code_digest(__name__), processor(config.device)
        self.digest = value_digest([digest, shape, libraries, code, at])
        self._cached = cache.open("scores.sqlite", self.digest)

    def scores(self, texts: Sequence[str]) -> list[Vector]:
        """Scores of every class per text, in order; equal texts are scored once, known ones not at all."""
        return [found for found in self._cached.resolve(texts, self._score) if isinstance(found, Vector)]

    def _score(self, texts: Sequence[str], done: Done) -> None:
        limit = self.longest * _CHARACTERS_PER_TOKEN
        clean = [t[:limit].encode("utf-8", "replace").decode() for t in texts]
        lengths = [len(ids) for ids in self._tokenizer(clean, truncation=False, verbose=False)["input_ids"]]
        cut = [n > self.longest or len(t) > limit for n, t in zip(lengths, texts, strict=True)]
        with torch_threads(self.config.num_threads):
            for width, members in by_width(lengths, self.longest).items():
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


def _activated(logits: Any, activation: str) -> Any:
    if activation == "softmax":
        return logits.softmax(-1)
    return logits.sigmoid() if activation == "sigmoid" else logits


def _activation(config: ClassifierModel, model: Any) -> str:
    """What the config says; auto: as transformers' own text-classification pipeline chooses."""
    if config.activation != "auto":
        return config.activation
    if config.label is None or model.problem_type == "regression":
        return "none"
    return "sigmoid" if model.num_labels == 1 or model.problem_type == "multi_label_classification" else "softmax"


def _column(config: ClassifierModel, model: Any, where: str) -> int:
    """Position of the label among the model's classes; 0 for a regression."""
    labels = [str(model.id2label[i]) for i in range(model.num_labels)]
    if config.label is None:
        if model.num_labels != 1:
            raise ConfigError(
                f"the model has {model.num_labels} classes, and no label is named", where=where,
                hint=f"set label to one of {', '.join(labels[:20])}",
            )  # fmt: skip
        return 0
    if config.label not in labels:
        raise ConfigError(
            f"the model has no class {config.label!r}", where=where,
            hint=f"its classes: {', '.join(labels[:20])}",
        )  # fmt: skip
    return labels.index(config.label)


def _longest(config: ClassifierModel, tokenizer: Any, model: Any, where: str) -> int:
    """Tokens that the model reads."""
    limit = min(int(tokenizer.model_max_length), int(getattr(model.config, "max_position_embeddings", _LONGEST)))
    if config.max_tokens is not None and config.max_tokens > limit:
        raise ConfigError(
            f"max_tokens is {config.max_tokens}, but the model reads {limit} tokens at most",
            where=where, hint="lower max_tokens, or leave it out",
        )  # fmt: skip
    return config.max_tokens or min(limit, _LONGEST)


def _load(config: ClassifierModel, folder: Path, where: str) -> tuple[Any, Any]:
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
    return tokenizer, model.to(resolve_device(config.device, where)).eval()
