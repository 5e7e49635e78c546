"""Greedy answers in left-padded batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.asked import Asked
from steps.engines.lm.decoding import DecodingConfig, without_own_decoding
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.shapes import BATCH_TOKENS, by_budget
from steps.engines.progress.progress import Progress


@dataclass(frozen=True)
class Generated:
    """An answer; `cut`: it was still going on when its room was full. `tokens`: of it, without what ended it."""

    text: str
    cut: bool
    tokens: int = 0


def generate(
    loaded: LoadedModel,
    prompts: list[str],
    *,
    max_new_tokens: int | Sequence[int],
    batch_size: int,
    batch_tokens: int = BATCH_TOKENS,
    decoding: DecodingConfig = DecodingConfig(),  # noqa: B008 - frozen
    special: bool = False,
) -> list[Generated]:
    """One greedy answer per prompt, in the order of the prompts.

    Prompts are already rendered by the chat template, so no special token is added. Batches are formed by the room for
    the answer, then by length (ties by text), so that the answers don't depend on the order of the prompts. Padding is
    on the left: with padding on the right a decoder answers after the padding, silently wrong.

    Args:
        max_new_tokens: room for an answer: of all, or of each.
        batch_size: prompts that are answered together at most.
        batch_tokens: tokens of them, with padding and room for the answers; a longer prompt is alone.
        special: leave special tokens before the end in the text.
    """
    rooms = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if min(rooms, default=1) < 1 or batch_size < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens} and batch_size={batch_size} must both be at least 1")
    ids = [loaded.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (rooms[i], len(ids[i]), prompts[i]))
    answers = [Generated("", False)] * len(prompts)
    answer = _answering(loaded, ids, decoding, stop_ids(loaded))
    with Progress("answers", len(prompts), "prompts") as progress:
        for room, alike in groupby(order, key=rooms.__getitem__):
            lengths = [len(one) + room for one in ids]
            for batch in by_budget(list(alike), lengths, rows=batch_size, tokens=batch_tokens):
                said = answer([ids[i] for i in batch], room)
                texts = loaded.tokenizer.batch_decode(said, skip_special_tokens=not special)
                for i, text, one in zip(batch, texts, said, strict=True):
                    answers[i] = Generated(text.strip(), cut=len(one) == room, tokens=len(one))
                progress.advance(len(batch))
    return answers


def _answering(
    loaded: LoadedModel, prompts: Sequence[list[int]], decoding: DecodingConfig, ends: list[int]
) -> Callable[[list[list[int]], int], list[list[int]]]:
    """What answers a batch of these prompts, each within so many tokens."""

    from steps.engines.lm.decoder import Decoder, common_prefix, decodable

    if not (prompts and all(prompts) and decodable(loaded, decoding)):
        return lambda batch, room: answer_ids(loaded, batch, {**decoding.in_force(), "max_new_tokens": room}, ends)
    decoder = Decoder(loaded, ends, common_prefix(prompts))

    def answered(batch: list[list[int]], room: int) -> list[list[int]]:
        said: list[list[int]] = [[] for _ in batch]
        decoder.answer([Asked(ids, room, _noted(one)) for ids, one in zip(batch, said, strict=True)])
        return said

    return answered


def _noted(said: list[int]) -> Callable[[int], bool]:
    def hear(token: int) -> bool:
        said.append(token)
        return False

    return hear


def answer_ids(
    loaded: LoadedModel, batch: list[list[int]], options: dict[str, Any], ends: list[int], **hooks: Any
) -> list[list[int]]:
    """The token ids of each answer, without what ended it. `hooks`: of transformers' generate, such as
    stopping_criteria.
    """
    import torch
    from transformers import GenerationConfig

    tokenizer = loaded.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    width = max(1, *(len(row) for row in batch)) if batch else 1
    rows = [[pad] * (width - len(row)) + row for row in batch]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in batch]
    config = GenerationConfig(**options, pad_token_id=pad, eos_token_id=ends)
    with without_gradients(loaded.model), without_own_decoding(loaded.model):
        out = loaded.model.generate(
            input_ids=torch.tensor(rows, device=loaded.device),
            attention_mask=torch.tensor(mask, device=loaded.device),
            generation_config=config,
            **hooks,
        )
    return [_until_end(row, ends) for row in out[:, width:].tolist()]


def _until_end(row: list[int], ends: list[int]) -> list[int]:
    at = next((i for i, token in enumerate(row) if token in ends), len(row))
    return row[:at]
