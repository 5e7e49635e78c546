"""Greedy answers in left-padded batches."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from steps.contracts.errors import ConfigError
from steps.engines.lm.asked import Asked
from steps.engines.lm.decoding import DecodingConfig, without_own_decoding
from steps.engines.lm.draft import Draft
from steps.engines.lm.ends import stop_ids
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.kept import KeptAnswers
from steps.engines.lm.load import LoadedModel
from steps.engines.lm.shapes import BATCH_TOKENS, by_budget
from steps.engines.progress.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from steps.engines.lm.begun import BegunAnswers
    from steps.engines.lm.decoder import Decoder

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
    drafts: Sequence[Sequence[str]] = (),
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
        drafts: per prompt what the answer may be, or go on like: it is quicker then, and the same. (): each is made of
            nothing but its prompt.
    """
    rooms = [max_new_tokens] * len(prompts) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    if min(rooms, default=1) < 1 or batch_size < 1:
        raise ConfigError(f"max_new_tokens={max_new_tokens} and batch_size={batch_size} must both be at least 1")
    ids = token_ids(loaded.tokenizer, prompts)
    order = sorted(range(len(prompts)), key=lambda i: (rooms[i], len(ids[i]), prompts[i]))
    answering = _Answering(loaded, ids, rooms, decoding, kept, begun, drafts)
    there = {i: one for i in order if (one := kept.get(ids[i], rooms[i])) is not None} if kept else {}
    said = answering.known([i for i in order if i not in there])
    with Progress("answers", len(prompts), "prompts") as progress:
        progress.advance(len(said) + len(there))
        due = [i for i in order if i not in said and i not in there]
        for some in answering.answers(due, batch_size, batch_tokens):
            said |= some
            if kept is not None:
                kept.settle()
            progress.advance(len(some))
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
        rooms: Sequence[int],
        decoding: DecodingConfig,
        kept: KeptAnswers | None,
        begun: "BegunAnswers | None",
        drafts: Sequence[Sequence[str]],
    ) -> None:
        from steps.engines.lm.decoder import Decoder
        from steps.engines.lm.states import common_prefix, decodable

        self._loaded, self._prompts, self._rooms, self._decoding, self._kept = loaded, prompts, rooms, decoding, kept
        self._begun = begun if decoding == DecodingConfig() else None
        self._ends = stop_ids(loaded)
        texts = list({text for several in drafts for text in several})
        ids = dict(zip(texts, map(self._with_end, token_ids(loaded.tokenizer, texts)), strict=True))
        self._drafts = [[ids[text] for text in several] for several in drafts]
        self._decoder: Decoder | None = None
        if prompts and all(prompts) and decodable(loaded, decoding):
            self._decoder = Decoder(loaded, self._ends, common_prefix(prompts))

    def known(self, places: Sequence[int]) -> dict[int, list[int]]:
        """Whole answers that the losses told, of those of these prompts that have one."""
        if self._begun is None:
            return {}
        found: dict[int, list[int]] = {}
        for i in places:
            begun = self._begun.get(self._prompts[i])
            if begun is not None and (begun.ended or len(begun.tokens) >= self._rooms[i]):
                found[i] = begun.tokens[: self._rooms[i]]
        return found

    def answers(self, due: Sequence[int], batch_size: int, batch_tokens: int) -> Iterator[dict[int, list[int]]]:
        """The answers to the prompts at these places, in order of their rooms, some by some."""
        if self._decoder is None:
            return self._by_transformers(due, batch_size, batch_tokens)
        return self._decoded(self._decoder, due, batch_size, batch_tokens)

    def _by_transformers(self, due: Sequence[int], rows: int, tokens: int) -> Iterator[dict[int, list[int]]]:
        """It gives all answers of a batch the same room."""
        for room, alike in groupby(due, key=self._rooms.__getitem__):
            for batch in by_budget(list(alike), [len(ids) + room for ids in self._prompts], rows=rows, tokens=tokens):
                options = {**self._decoding.in_force(), "max_new_tokens": room}
                answers = answer_ids(self._loaded, [self._prompts[i] for i in batch], options, self._ends)
                if self._kept is not None:
                    for i, one in zip(batch, answers, strict=True):
                        self._kept.add(self._prompts[i], room, one)
                yield dict(zip(batch, answers, strict=True))

    def _decoded(
        self, decoder: "Decoder", due: Sequence[int], rows: int, tokens: int
    ) -> Iterator[dict[int, list[int]]]:
        """Others join when there is room for as many as are still under way."""
        rows *= _DECODED_ROWS if self._loaded.device == "cpu" else 1
        lengths = [len(ids) + room for ids, room in zip(self._prompts, self._rooms, strict=True)]
        waiting = deque(sorted(due, key=lambda i: (lengths[i], self._prompts[i])))
        going: dict[int, list[int]] = {}
        ended: dict[int, list[int]] = {}
        while waiting or going:
            longest, more = max((lengths[i] for i in going), default=0), 0
            while more < len(waiting):
                count, longest = len(going) + more + 1, max(longest, lengths[waiting[more]])
                if count > 1 and (count > rows or count * longest > tokens):
                    break
                more += 1
            if more and more >= min(len(going), len(waiting)):
                decoder.join([self._asked(waiting.popleft(), going, ended) for _ in range(more)])
            else:
                decoder.step()
            if len(ended) > len(going) or not going:
                yield dict(ended)
                ended.clear()

    def _asked(self, i: int, going: dict[int, list[int]], ended: dict[int, list[int]]) -> Asked:
        """It is `going` until it has `ended`."""
        begun = self._begun.get(self._prompts[i]) if self._begun is not None else None
        said = going[i] = list(begun.tokens) if begun is not None else []

        def hear(token: int) -> bool:
            said.append(token)
            return False

        def end() -> None:
            ended[i] = going.pop(i)
            if self._kept is not None:
                self._kept.add(self._prompts[i], self._rooms[i], said)

        draft = Draft(self._prompts[i], self._drafts[i], said) if self._drafts else None
        return Asked(self._prompts[i], self._rooms[i], hear, end, begun=begun, draft=draft)

    def _with_end(self, ids: list[int]) -> list[int]:
        return ids if ids and ids[-1] in self._ends else [*ids, self._ends[0]]


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
