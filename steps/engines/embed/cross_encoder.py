"""A second model that reads two texts together: are they the same in meaning, does one answer the other?"""

from pathlib import Path
from typing import Any

import numpy as np

from steps.contracts.errors import ConfigError, MissingDependencyError
from steps.engines.embed.config import CrossEncoderConfig
from steps.engines.embed.models import model_digest, model_path
from steps.engines.lm.device import resolve_device
from steps.engines.lm.quiet import without_bars
from steps.engines.lm.threads import torch_threads


class CrossEncoder:
    """A loaded sentence-transformers CrossEncoder. One pair per forward pass: no pair's score depends on others."""

    def __init__(self, config: CrossEncoderConfig, root: Path, where: str) -> None:
        self.config = config
        self._model = _load(config, root, where)
        self.scored = 0
        self.undefined = 0
        if self._model.num_labels != 1:
            raise ConfigError(
                f"this model gives {self._model.num_labels} scores per pair, not one", where=config.model,
                hint="name a CrossEncoder made for similarity, paraphrases or relevance (num_labels 1)",
            )  # fmt: skip

    def scores(self, text: str, others: list[str]) -> list[float]:
        """Per pair the lower score of the two orders; a score that isn't a number counts as minus infinity."""
        raw = self._raw([pair for other in others for pair in ((text, other), (other, text))])
        both = raw.reshape(-1, 2).min(axis=1)
        self.scored += len(others)
        self.undefined += int(np.isnan(both).sum())
        return [float(s) for s in np.nan_to_num(both, nan=-np.inf, posinf=np.inf, neginf=-np.inf)]

    def relevance(self, question: str, texts: list[str]) -> list[float]:
        """How well each text answers the question, by the model's own scale; not a number: minus infinity."""
        return [float(s) for s in np.nan_to_num(self._raw([(question, t) for t in texts]), nan=-np.inf)]

    def _raw(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        """The model's score of each pair."""
        if not pairs:
            return np.zeros(0)
        valid = [(_valid(a), _valid(b)) for a, b in pairs]
        with torch_threads(self.config.num_threads):
            raw = self._model.predict(valid, batch_size=1, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(raw, np.float64)


def _valid(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _load(config: CrossEncoderConfig, root: Path, where: str) -> Any:
    try:
        from sentence_transformers import CrossEncoder as Model
    except ImportError as e:
        raise MissingDependencyError(
            "the package sentence-transformers is not installed", where=where,
            hint="pip install sentence-transformers, or leave `rerank` out",
        ) from e  # fmt: skip
    folder = model_path(config.model, model_digest(config.model, config.revision, root), root)
    device = resolve_device(config.device, config.model)
    try:
        with without_bars():
            return Model(
                str(folder), device=device, max_length=config.max_tokens, local_files_only=True,
                trust_remote_code=False, model_kwargs={"use_safetensors": True},
            )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise MissingDependencyError(
            f"the cross-encoder can't be loaded ({type(e).__name__}: {str(e).splitlines()[0][:200]})",
            where=config.model, hint="name a folder or hub model of a CrossEncoder with safetensors weights",
        ) from e  # fmt: skip
