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
from steps.engines.lm.kept import KeptAnswers
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.shapes import BATCH_TOKENS, by_budget
from steps.engines.progress.progress import Progress


@dataclass(frozen=True)
class Generated:
    """An answer; `cut`: it was still going on when its room was full. `tokens`: of it, without what ended it.
    `at_hand`: it was kept by an earlier process.
    """

    text: str
    cut: bool
    tokens: int = 0
    at_hand: bool = False


def generate(
    loaded: LoadedModel,
    prompts: list[str],
    *,
    max_new_tokens: int | Sequence[int],
    batch_size: int,
    batch_tokens: int = BATCH_TOKENS,
    decoding: DecodingConfig = DecodingConfig(),  # noqa: B008 - frozen
    special: bool = False,
    kept: KeptAnswers | None = None,
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
        kept: where answers are kept until all are there; those that are there already aren't asked again.
    """
    rooms = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if min(rooms, default=1) < 1 or batch_size < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens} and batch_size={batch_size} must both be at least 1")
    ids = [loaded.tokenizer(p, add_special_tokens=False)["input_ids"] for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (rooms[i], len(ids[i]), prompts[i]))
    answers = [Generated("", False)] * len(prompts)
    answer = _answering(loaded, ids, decoding, stop_ids(loaded), kept)
    there = {i: one for i in order if (one := kept.get(ids[i], rooms[i])) is not None} if kept else {}
    with Progress("answers", len(prompts), "prompts") as progress:
        for room, alike in groupby(order, key=rooms.__getitem__):
            lengths = [len(one) + room for one in ids]
            for batch in by_budget(list(alike), lengths, rows=batch_size, tokens=batch_tokens):
                due = [i for i in batch if i not in there]
                new = dict(zip(due, answer([ids[i] for i in due], room) if due else [], strict=True))
                said = [new[i] if i in new else there[i] for i in batch]
                texts = loaded.tokenizer.batch_decode(said, skip_special_tokens=not special)
                for i, text, tokens in zip(batch, texts, map(len, said), strict=True):
                    answers[i] = Generated(text.strip(), cut=tokens == room, tokens=tokens, at_hand=i in there)
                if kept is not None:
                    kept.settle()
                progress.advance(len(batch))
    return answers


def _answering(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    decoding: DecodingConfig,
    ends: list[int],
    kept: KeptAnswers | None = None,
) -> Callable[[list[list[int]], int], list[list[int]]]:
    """What answers a batch of these prompts, each within so many tokens."""

    from steps.engines.lm.decoder import Decoder, common_prefix, decodable

    def by_transformers(batch: list[list[int]], room: int) -> list[list[int]]:
        said = answer_ids(loaded, batch, {**decoding.in_force(), "max_new_tokens": room}, ends)
        for ids, one in zip(batch, said, strict=True):
            if kept is not None:
                kept.add(ids, room, one)
        return said

    def answered(batch: list[list[int]], room: int) -> list[list[int]]:
        said: list[list[int]] = [[] for _ in batch]
        decoder.answer([_asked(ids, room, one, kept) for ids, one in zip(batch, said, strict=True)])
        return said

    if not (prompts and all(prompts) and decodable(loaded, decoding)):
        return by_transformers
    decoder = Decoder(loaded, ends, common_prefix(prompts))
    return answered


def _asked(ids: list[int], room: int, said: list[int], kept: KeptAnswers | None) -> Asked:
    def end() -> None:
        if kept is not None:
            kept.add(ids, room, said)

    return Asked(ids, room, _noted(said), end)


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
