"""Vectors by a sentence-transformers model on this machine."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from steps.contracts.arrays import Vectors
from steps.contracts.code import code_digest
from steps.contracts.digests import value_digest
from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.engines.embed.config import EmbedConfig
from steps.engines.embed.models import model_digest, model_path
from steps.engines.embed.vectors import Done, unit
from steps.engines.lm.device import processor, resolve_device
from steps.engines.lm.quiet import without_bars
from steps.engines.lm.shapes import LENGTH_STEP, by_width, filled_up
from steps.engines.lm.threads import torch_threads

# Chosen: what lies beyond so many characters per token that is read can't matter, and isn't tokenised.
_CHARACTERS_PER_TOKEN = 64
# A model that names no limit is given this one (chosen: eight times BERT's).
_LONGEST = 4096


class LocalEmbedder:
    """A loaded model. A text's vector is the same bits whatever other texts are embedded with it (see `shapes`).

    `dtype`: of the weights and of what is computed; None: as the model is stored.
    """

    def __init__(self, config: EmbedConfig, name: str, root: Path, dtype: str | None = None) -> None:
        digest = model_digest(name, config.revision, root)
        self._config = config
        self._model = _load(config, model_path(name, digest, root), name, dtype)
        limit = self._model.max_seq_length or _LONGEST
        if config.max_tokens is not None and config.max_tokens > limit:
            raise ConfigError(
                f"max_tokens is {config.max_tokens}, but the model reads {limit} tokens at most", where=name,
                hint="lower max_tokens, or leave it out",
            )  # fmt: skip
        self._longest: int = config.max_tokens or min(limit, _LONGEST)
        shape = [config.batch_size, self._longest, LENGTH_STEP, config.device, config.num_threads]
        libraries = [version(p) for p in ("torch", "transformers", "tokenizers", "sentence-transformers")]
        code, where = code_digest(__name__), processor(config.device)
        self.identity = value_digest([digest, config.prompt, shape, dtype, libraries, code, where])

    def vectors(self, texts: Sequence[str], done: Done) -> None:
        """One vector per text; texts beyond the model's reach are marked as cut."""
        limit = self._longest * _CHARACTERS_PER_TOKEN
        clean = [_valid(t[:limit]) for t in texts]
        lengths = self._lengths(clean)
        cut = [n > self._longest or len(t) > limit for n, t in zip(lengths, texts, strict=True)]
        with torch_threads(self._config.num_threads):
            for width, members in by_width(lengths, self._longest).items():
                found = self._encode([clean[m] for m in members], width)
                done(members, [unit(v, cut[m]) for m, v in zip(members, found, strict=True)])

    def _lengths(self, texts: list[str]) -> list[int]:
        """Tokens per text with the prompt and the model's special tokens; 1 each where the model has no tokenizer."""
        tokenizer = self._model.tokenizer
        if not callable(tokenizer):
            return [1] * len(texts)
        prompted = [self._config.prompt + t for t in texts]
        return [len(ids) for ids in tokenizer(prompted, truncation=False, verbose=False)["input_ids"]]

    def _encode(self, texts: list[str], width: int) -> Vectors:
        """Vectors of texts of up to `width` tokens, shape (texts, d)."""
        size = self._config.batch_size
        fixed = {"text": {"padding": "max_length", "max_length": width, "truncation": True}}
        extra = {"processing_kwargs": fixed} if callable(self._model.tokenizer) else {}
        raw = self._model.encode(
            filled_up(texts, size),
            prompt=self._config.prompt,
            batch_size=size,
            show_progress_bar=False,
            convert_to_numpy=False,
            convert_to_tensor=True,
            **extra,
        )
        # NumPy knows no bfloat16.
        return np.asarray(raw.float().cpu(), np.float32)[: len(texts)]

    def requests(self) -> int:
        """None are sent."""
        return 0

    def close(self) -> None:
        """Nothing is held open."""


def _valid(text: str) -> str:
    """The text with lone surrogates, which tokenizers refuse, replaced by question marks."""
    return text.encode("utf-8", "replace").decode()


def _load(config: EmbedConfig, folder: Path, name: str, dtype: str | None) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as e:
        raise MissingDependencyError(
            "the package sentence-transformers is not installed", where=name,
            hint="pip install sentence-transformers, or use an `endpoint`",
        ) from e  # fmt: skip
    device = resolve_device(config.device, name)
    try:
        with without_bars():
            return SentenceTransformer(
                str(folder), device=device, local_files_only=True, trust_remote_code=False,
                model_kwargs={"use_safetensors": True, **({"dtype": dtype} if dtype else {})},
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise MissingDependencyError(
            f"the embedding model can't be loaded ({type(e).__name__}: {str(e).splitlines()[0][:200]})", where=name,
            hint="name a folder or hub model in sentence-transformers' format with safetensors weights",
        ) from e  # fmt: skip
