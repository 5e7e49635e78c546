"""Greedy answers in left-padded batches."""

from collections.abc import Iterator
from typing import Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.decoding import DecodingConfig, without_own_decoding
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.load import LoadedModel
from steps.engines.progress.progress import Progress


def generate(
    loaded: LoadedModel,
    prompts: list[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    decoding: DecodingConfig = DecodingConfig(),  # noqa: B008 - frozen
    special: bool = False,
) -> list[str]:
    """One greedy answer per prompt, in the order of the prompts, special tokens stripped.

    Prompts are already rendered by the chat template, so no special token is added. Batches are formed by length
    (ties by text), so that the answers don't depend on the order of the prompts. Padding is on the left: with
    padding on the right a decoder answers after the padding, silently wrong.

    `special`: leave special tokens before the end in the text.
    """
    if max_new_tokens < 1 or batch_size < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens} and batch_size={batch_size} must both be at least 1")
    ids = [loaded.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (len(ids[i]), prompts[i]))
    answers = [""] * len(prompts)
    ends = stop_ids(loaded)
    options = {**decoding.in_force(), "max_new_tokens": max_new_tokens}
    with Progress("answers", len(prompts), "prompts") as progress:
        for batch in _batches(order, batch_size):
            for i, answer in zip(
                batch, _answer(loaded, [ids[i] for i in batch], options, ends, special=special), strict=True
            ):
                answers[i] = answer
            progress.advance(len(batch))
    return answers


def _answer(
    loaded: LoadedModel, batch: list[list[int]], options: dict[str, Any], ends: list[int], *, special: bool
) -> list[str]:
    import torch
    from transformers import GenerationConfig

    tokenizer = loaded.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    width = max(1, *(len(row) for row in batch)) if batch else 1
    rows = [[pad] * (width - len(row)) + row for row in batch]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in batch]
    config = GenerationConfig(**options, pad_token_id=pad, eos_token_id=ends)
    with torch.inference_mode(), without_own_decoding(loaded.model):
        out = loaded.model.generate(
            input_ids=torch.tensor(rows, device=loaded.device),
            attention_mask=torch.tensor(mask, device=loaded.device),
            generation_config=config,
        )
    texts = tokenizer.batch_decode(
        [_until_end(r, ends) for r in out[:, width:].tolist()], skip_special_tokens=not special
    )
    return [t.strip() for t in texts]


def _until_end(row: list[int], ends: list[int]) -> list[int]:
    at = next((i for i, token in enumerate(row) if token in ends), len(row))
    return row[:at]


def _batches(order: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(order), size):
        yield order[start : start + size]
