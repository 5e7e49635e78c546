"""Models that say a number of a text instead of the next token: reward models."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steps.contracts.errors import ConfigError, InputNotFoundError, IntegrityError
from steps.contracts.models import ModelFolder
from steps.engines.lm.device import resolve_device
from steps.engines.lm.load import LoadedModel, adapter_path, has_tokenizer, load_start, load_tokenizer, weights_path
from steps.engines.lm.quantized import without_missing_kernel
from steps.engines.lm.shapes import BATCH_TOKENS, by_budget
from steps.engines.progress.progress import Progress

# ModelInfo.objective of a model that scores.
REWARD = "reward"


def is_scorer(model: ModelFolder) -> bool:
    """Whether a trained model scores texts, and writes none."""
    return model.info.objective == REWARD


def as_scorer(model: Any, pad: int, seed: int) -> Any:
    """A causal model's layers below a new head with one output; the head that predicts tokens is let go.

    Args:
        pad: id of the token that pads; the number is read at the last token that is another.
        seed: of the head's weights.

    Raises:
        ConfigError: transformers has no such form of this architecture.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.get_text_config().pad_token_id = pad
    try:
        with torch.device("meta"):
            scorer = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    except ValueError as e:
        raise ConfigError(
            f"transformers has no model with one output for {type(model).__name__}", where="train.objective",
            hint="take a base of another architecture, such as Llama, Qwen or Gemma",
        ) from e  # fmt: skip
    prefix = scorer.base_model_prefix
    if not isinstance(getattr(scorer, "score", None), torch.nn.Linear) or not hasattr(model, prefix):
        raise ConfigError(
            f"{type(scorer).__name__} has no head that is called score", where="train.objective",
            hint="take a base of another architecture, such as Llama, Qwen or Gemma",
        )  # fmt: skip
    setattr(scorer, prefix, getattr(model, prefix))
    scorer.score = _head(config, model, seed)
    return scorer.eval()


def _head(config: Any, model: Any, seed: int) -> Any:
    import torch

    text = config.get_text_config()
    head = torch.nn.Linear(text.hidden_size, 1, bias=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, float(getattr(text, "initializer_range", 0.02)), generator=generator)
    return head.to(device=model.device, dtype=model.dtype)


def load_scorer(base: ModelFolder, tuned: ModelFolder, *, dtype: str = "float32", device: str = "auto") -> LoadedModel:
    """A reward model: full weights, or an adapter with a head over `base`.

    Raises:
        InputNotFoundError: files are missing. IntegrityError: weights are missing.
    """
    where = resolve_device(device, tuned.info.name)
    if tuned.info.kind == "full":
        return LoadedModel(_whole(weights_path(tuned), dtype).to(where).eval(), load_tokenizer(tuned), where)
    without_missing_kernel()
    from peft import PeftModel

    folder = adapter_path(tuned)
    tokenizer = load_tokenizer(tuned if has_tokenizer(tuned) else base)
    under = load_start(base, None, dtype=dtype, device=device).model
    scorer = as_scorer(under, _pad(tokenizer), seed=0)
    return LoadedModel(PeftModel.from_pretrained(scorer, str(folder), local_files_only=True).eval(), tokenizer, where)


def _pad(tokenizer: Any) -> int:
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)


def _whole(path: Path, dtype: str) -> Any:
    import torch
    from transformers import AutoModelForSequenceClassification

    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            str(path), dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False,
            local_files_only=True, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError) as e:
        raise InputNotFoundError(
            f"not a loadable reward model: {(str(e).strip().splitlines() or [''])[0][:200]}", where=str(path),
            hint="the folder needs config.json and *.safetensors of a sequence-classification model",
        ) from e  # fmt: skip
    if lost := sorted(found["missing_keys"]):
        raise IntegrityError(
            f"{len(lost)} weights of the reward model are in no file, the first is {lost[0]}", where=str(path),
            hint="name a folder that was saved from a model for sequence classification, with num_labels: 1",
        )  # fmt: skip
    if model.config.num_labels != 1:
        raise ConfigError(
            f"a reward model has one output, this one has {model.config.num_labels}", where=str(path),
            hint="train one with objective: {kind: reward}",
        )  # fmt: skip
    return model


def scores(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], *, batch_size: int, batch_tokens: int = BATCH_TOKENS
) -> list[float]:
    """The number that a reward model says of each sequence of token ids, in their order.

    Args:
        batch_size: sequences per forward pass at most; batches are formed by length.
        batch_tokens: tokens per forward pass, with padding; a longer sequence is alone.
    """
    import torch

    found = [0.0] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), list(sequences[i])))
    pad = int(loaded.model.config.get_text_config().pad_token_id)
    with Progress("scores", len(sequences), "texts") as progress, torch.inference_mode():
        for batch in by_budget(order, [len(s) for s in sequences], rows=batch_size, tokens=batch_tokens):
            width = max(len(sequences[i]) for i in batch)
            ids = [[*sequences[i], *[pad] * (width - len(sequences[i]))] for i in batch]
            mask = [[1] * len(sequences[i]) + [0] * (width - len(sequences[i])) for i in batch]
            said = loaded.model(
                input_ids=torch.tensor(ids, device=loaded.device),
                attention_mask=torch.tensor(mask, device=loaded.device), use_cache=False,
            ).logits  # fmt: skip
            for i, score in zip(batch, said[:, 0].float().tolist(), strict=True):
                found[i] = score
            progress.advance(len(batch))
    return found
