"""A reward model on this machine as a subject: it answers nothing, and says which of two answers is better."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from steps.contracts.models import ModelFolder
from steps.contracts.records import Row
from steps.engines.lm.context import context_length
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.memory import release
from steps.engines.lm.scorer import load_scorer, scores
from steps.engines.lm.threads import torch_threads
from steps.engines.subjects.local_model import Inference, LocalModel
from steps.engines.subjects.pairs import encoded_pairs, preferred
from steps.engines.subjects.subject import Asked, Preferences
from steps.engines.template.config import TemplateConfig
from steps.engines.template.effective import changed, config_of
from steps.engines.template.render import chat_template


@contextmanager
def local_scorer(name: str, base: ModelFolder, tuned: ModelFolder, inference: Inference) -> Iterator["LocalScorer"]:
    """The reward model `tuned`, over `base` where it is an adapter; torch has its threads meanwhile.

    Raises:
        InputNotFoundError, IntegrityError: its files, or the base's, are missing or others.
    """
    with torch_threads(inference.num_threads):
        loaded = load_scorer(base, tuned, dtype=inference.dtype, device=inference.device)
        model = LocalScorer(name, tuned.info.digest, loaded, inference, config_of(tuned.info.template))
        del loaded
        try:
            yield model
        finally:
            model.close()


class LocalScorer:
    """A loaded reward model."""

    def __init__(
        self, name: str, digest: str, loaded: LoadedModel, inference: Inference, template: TemplateConfig
    ) -> None:
        self.name, self.digest = name, digest
        self._loaded, self._inference, self._config = loaded, inference, template

    def close(self) -> None:
        """Let go of the weights; it scores no more."""
        del self._loaded
        release()

    @property
    def decoding(self) -> dict[str, Any]:
        """What decides over its numbers besides its weights; nothing of how answers are made."""
        i = self._inference
        return {
            "batch_size": i.batch_size,
            "batch_tokens": i.batch_tokens,
            "dtype": i.dtype,
            "num_threads": i.num_threads,
            "device": i.device,
            **({"template": template} if (template := changed(self._config)) else {}),
        }

    def prompts(self, rows: Sequence[Row]) -> Asked:
        """As a model that answers would be asked: graders are chosen by the references."""
        return LocalModel(self.name, self.digest, self._loaded, self._inference, self._config).prompts(rows)

    def preferences(self, rows: Sequence[Row]) -> Preferences:
        """By the larger reward."""
        loaded, i = self._loaded, self._inference
        context = context_length(loaded.model.config.to_dict()) or int(loaded.tokenizer.model_max_length)
        template = chat_template(loaded.tokenizer, self._config)
        pairs, notes = encoded_pairs(rows, loaded.tokenizer, template, min(i.max_length or context, context))
        ids = [s.input_ids.tolist() for pair in pairs if pair is not None for s in pair]
        said = iter(scores(loaded, ids, batch_size=i.batch_size, batch_tokens=i.batch_tokens))
        return Preferences([None if pair is None else preferred(next(said), next(said)) for pair in pairs], notes)
