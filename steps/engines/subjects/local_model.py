"""A model on this machine as a subject: a base, or what was trained from it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steps.contracts.evaluation import STOP_TOKEN_IDS
from steps.contracts.models import ModelFolder
from steps.contracts.records import Row
from steps.engines.lm.decoding import DecodingConfig
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.generate import generate
from steps.engines.lm.load import LoadedModel, load
from steps.engines.lm.loss import IGNORED, token_losses
from steps.engines.lm.threads import torch_threads
from steps.engines.subjects.subject import Loss, Losses, Prompt, Replies
from steps.engines.template.render import encode_rows, prompt_and_reference

# Chosen: room for an answer somewhat longer than any reference (a base model rambles; a cut answer is a wrong one).
_ROOM, _SPARE_TOKENS = 1.25, 8
# Chosen: tokens of a document before and after the cut, at least.
_SHORTEST = 8


@dataclass(frozen=True)
class Inference:
    """How a local model is run. `max_length` in tokens, None: the model's own context; `batch_size` in rows."""

    dtype: str = "float32"
    device: str = "auto"
    num_threads: int = 1
    batch_size: int = 16
    max_length: int | None = None
    decoding: DecodingConfig = field(default_factory=DecodingConfig)


@contextmanager
def local_model(
    name: str, base: ModelFolder, tuned: ModelFolder | None, inference: Inference
) -> Iterator["LocalModel"]:
    """The base, or with `tuned` (adapter or full weights) what was made of it; torch has its threads meanwhile.

    Raises:
        IntegrityError: the base's files are not the recorded ones.
    """
    with torch_threads(inference.num_threads):
        loaded = load(base, tuned, dtype=inference.dtype, device=inference.device)
        yield LocalModel(name, (tuned or base).info.digest, loaded, inference)


class LocalModel:
    """A loaded model. It answers greedily in its own chat template, and predicts what training would train."""

    def __init__(self, name: str, digest: str, loaded: LoadedModel, inference: Inference) -> None:
        self.name = name
        self.digest = digest
        self._loaded = loaded
        self._inference = inference

    @property
    def decoding(self) -> dict[str, Any]:
        """What decides over its numbers besides its weights."""
        i = self._inference
        return {
            "generation": i.decoding.in_force(),
            STOP_TOKEN_IDS: stop_ids(self._loaded),
            "batch_size": i.batch_size,
            "dtype": i.dtype,
            "num_threads": i.num_threads,
            "device": i.device,
        }

    def prompts(self, rows: Sequence[Row]) -> list[Prompt | None]:
        """Each row up to its last assistant turn, rendered; a preference's reference is its chosen answer.

        Raises:
            TrainingDataError: a row can't be rendered by the model's template.
        """
        tokenizer = self._loaded.tokenizer
        return [None if row["kind"] == "document" else Prompt(*prompt_and_reference(tokenizer, row)) for row in rows]

    def beginnings(self, rows: Sequence[Row], tokens: int) -> list[Prompt | None]:
        """Documents cut in the middle, or after `tokens` where they are longer than twice that."""
        return [self._beginning(str(r["text"] or ""), tokens) if r["kind"] == "document" else None for r in rows]

    def _beginning(self, text: str, tokens: int) -> Prompt | None:
        ids = self._loaded.tokenizer(text, add_special_tokens=False)["input_ids"][: 2 * tokens]
        cut = min(len(ids) // 2, tokens)
        if cut < _SHORTEST:
            return None
        # A character of several tokens may be cut in two.
        begun, rest = (str(self._loaded.tokenizer.decode(part)).strip("\ufffd") for part in (ids[:cut], ids[cut:]))
        return Prompt(begun, rest) if begun and rest else None

    def answer(self, prompts: Sequence[Prompt], max_new_tokens: int | None) -> Replies:
        """An answer per prompt; None where prompt and answer don't fit the context."""
        room = max_new_tokens or math.ceil(_ROOM * max(self._lengths([p.reference for p in prompts]))) + _SPARE_TOKENS
        limit = min(room, self._window - 1)
        lengths = self._lengths([p.text for p in prompts])
        fits = [i for i, length in enumerate(lengths) if length + limit <= self._window]
        texts = generate(
            self._loaded,
            [prompts[i].text for i in fits],
            max_new_tokens=limit,
            batch_size=self._inference.batch_size,
            decoding=self._inference.decoding,
        )
        answers: list[str | None] = [None] * len(prompts)
        for i, text in zip(fits, texts, strict=True):
            answers[i] = text
        long = len(prompts) - len(fits)
        note = f"{long} prompts leave no room for {limit} tokens within {self._window}: not asked, scored as wrong"
        return Replies(answers, room, (note,) if long else ())

    def losses(self, rows: Sequence[Row]) -> Losses:
        """Per row the nats and tokens of what training would train (a document: all of it), cut to the context."""
        window = self._window
        encoded = [(e.input_ids, e.labels) for e in encode_rows(self._loaded.tokenizer, rows)]
        cut = sum(len(ids) > window for ids, _ in encoded)
        kept = [(ids[:window], labels[:window]) for ids, labels in encoded]
        usable = [i for i, (ids, labels) in enumerate(kept) if any(x != IGNORED for x in labels[1:]) and len(ids) > 1]
        found = token_losses(self._loaded, [kept[i] for i in usable], batch_size=self._inference.batch_size)
        losses: list[Loss] = [None] * len(rows)
        for i, loss in zip(usable, found, strict=True):
            losses[i] = loss
        notes = [f"{cut} rows cut to {window} tokens for the loss"] if cut else []
        notes += [f"{len(kept) - len(usable)} rows have no token to score"] if len(usable) < len(kept) else []
        return Losses(losses, tuple(notes))

    @property
    def _window(self) -> int:
        """Tokens that prompt and answer may have; a model that names no context length gets its tokenizer's."""
        declared = getattr(self._loaded.model.config, "max_position_embeddings", None)
        context = int(declared or self._loaded.tokenizer.model_max_length)
        return min(self._inference.max_length or context, context)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(self._loaded.tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts]
