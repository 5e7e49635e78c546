"""Greedy answers in left-padded batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.asked import Asked, Begun
from steps.engines.lm.decoding import DecodingConfig, without_own_decoding
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.kept import KeptAnswers
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.shapes import BATCH_TOKENS, by_budget
from steps.engines.progress.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.engines.lm.begun import BegunAnswers

# Measured (make bench-evaluate): rows of a step of the decoder on a CPU, which reads a token of each, as a multiple of
# those of a pass over texts.
_DECODED_ROWS = 16


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
    begun: "BegunAnswers | None" = None,
) -> list[Generated]:
    """One greedy answer per prompt, in the order of the prompts.

    Prompts are already rendered by the chat template, so no special token is added. Batches are formed by length (ties
    by text), so that the answers don't depend on the order of the prompts. Padding is on the left: with padding on the
    right a decoder answers after the padding, silently wrong.

    Args:
        max_new_tokens: room for an answer: of all, or of each.
        batch_size: prompts that are answered together at most; by the decoder on a CPU 16 times as many, as far as
            `batch_tokens` lets them.
        batch_tokens: tokens of them, with padding and room for the answers; a longer prompt is alone.
        special: leave special tokens before the end in the text.
        kept: where answers are kept until all are there; those that are there already aren't asked again.
        begun: what losses told of the answers; where it is a whole one, nothing is asked.
    """
    rooms = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if min(rooms, default=1) < 1 or batch_size < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens} and batch_size={batch_size} must both be at least 1")
    ids = token_ids(loaded.tokenizer, prompts)
    order = sorted(range(len(prompts)), key=lambda i: (rooms[i], len(ids[i]), prompts[i]))
    answering = _Answering(loaded, ids, decoding, kept, begun)
    there = {i: one for i in order if (one := kept.get(ids[i], rooms[i])) is not None} if kept else {}
    said = answering.known({i: rooms[i] for i in order if i not in there})
    order = [i for i in order if i not in said]
    with Progress("answers", len(prompts), "prompts") as progress:
        progress.advance(len(said))
        for alike in answering.alike(order, rooms):
            lengths = [len(one) + room for one, room in zip(ids, rooms, strict=True)]
            for batch in by_budget(alike, lengths, rows=answering.rows(batch_size), tokens=batch_tokens):
                due = [i for i in batch if i not in there]
                if due:
                    said |= zip(due, answering.answer(due, [rooms[i] for i in due]), strict=True)
                if kept is not None:
                    kept.settle()
                progress.advance(len(batch))
    said |= there
    if not prompts:
        return []
    texts = loaded.tokenizer.batch_decode([said[i] for i in range(len(prompts))], skip_special_tokens=not special)
    return [
        Generated(text.strip(), cut=len(said[i]) == rooms[i], tokens=len(said[i]), at_hand=i in there)
        for i, text in enumerate(texts)
    ]


def token_ids(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[list[int]]:
    """Of rendered texts, to which no special token is added."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return ids


class _Answering:
    """What answers these prompts, batch by batch, by the decoder or by transformers."""

    def __init__(
        self,
        loaded: LoadedModel,
        prompts: Sequence[list[int]],
        decoding: DecodingConfig,
        kept: KeptAnswers | None,
        begun: "BegunAnswers | None",
    ) -> None:
        from steps.engines.lm.decoder import Decoder, common_prefix, decodable

        self._loaded, self._prompts, self._decoding, self._kept = loaded, prompts, decoding, kept
        self._begun = begun if decoding == DecodingConfig() else None
        self._ends = stop_ids(loaded)
        self._decoder: Decoder | None = None
        if prompts and all(prompts) and decodable(loaded, decoding):
            self._decoder = Decoder(loaded, self._ends, common_prefix(prompts))

    def rows(self, batch_size: int) -> int:
        """Prompts that are answered together at most."""
        return batch_size * (_DECODED_ROWS if self._decoder is not None and self._loaded.device == "cpu" else 1)

    def alike(self, order: Sequence[int], rooms: Sequence[int]) -> Iterator[list[int]]:
        """Prompts that may be in a batch: transformers gives all answers of one the same room."""
        if self._decoder is not None:
            yield sorted(order, key=lambda i: (len(self._prompts[i]) + rooms[i], self._prompts[i]))
        else:
            yield from (list(same) for _, same in groupby(order, key=rooms.__getitem__))

    def known(self, rooms: Mapping[int, int]) -> dict[int, list[int]]:
        """Whole answers that the losses told, of those of these prompts that have one."""
        if self._begun is None:
            return {}
        found: dict[int, list[int]] = {}
        for i, room in rooms.items():
            begun = self._begun.get(self._prompts[i])
            if begun is not None and (begun.ended or len(begun.tokens) >= room):
                found[i] = begun.tokens[:room]
        return found

    def answer(self, due: Sequence[int], rooms: Sequence[int]) -> list[list[int]]:
        """The answers to the prompts at these places, each within its room."""
        if self._decoder is None:
            options = {**self._decoding.in_force(), "max_new_tokens": rooms[0]}
            answers = answer_ids(self._loaded, [self._prompts[i] for i in due], options, self._ends)
            for i, room, one in zip(due, rooms, answers, strict=True):
                if self._kept is not None:
                    self._kept.add(self._prompts[i], room, one)
            return answers
        begun = [self._begun.get(self._prompts[i]) if self._begun is not None else None for i in due]
        said = [list(one.tokens) if one is not None else [] for one in begun]
        self._decoder.answer([
            _asked(self._prompts[i], room, one, self._kept, first)
            for i, room, one, first in zip(due, rooms, said, begun, strict=True)
        ])  # fmt: skip
        return said


def _asked(ids: list[int], room: int, said: list[int], kept: KeptAnswers | None, begun: "Begun | None") -> Asked:
    def end() -> None:
        if kept is not None:
            kept.add(ids, room, said)

    return Asked(ids, room, _noted(said), end, begun=begun)


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
