"""Rows that are answered together, token by token: a row leaves when its answer has ended, others may join meanwhile.

Keys and values lie in memory that has room for the tokens to come, where transformers' cache copies all of them for
each new token; rows that have ended are computed no more; what all prompts begin with is computed once. The tokens are
those of transformers' greedy `generate`.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from steps.engines.lm.asked import Asked
from steps.engines.lm.gradients import without_gradients
from steps.engines.lm.load import LoadedModel, core_of
from steps.engines.lm.probable import most_probable
from steps.engines.lm.shapes import CPU_TOKENS, LOGITS_BYTES, by_budget
from steps.engines.lm.states import SPARE, Layer, new_layers, read_prefix, spread

# Chosen: rows leave when no more than such a share goes on: others' keys and values are copied into their place.
_GOING = 0.875
_ENDED = -1
# Chosen: tokens of a draft that are read at once. Of so many that were read a share must have been taken: to read a
# token beside others is cheaper than to say one.
_DRAFTED, _TRIED, _TAKEN = 64, 64, 0.25
# Chosen: rows that try it first.
_FEW = 8
# Chosen: such a share of the rows must be foreseen for them to go ahead of the others, and such a share not for them to
# be left behind: to put parted rows together again is to copy the keys and values of all.
_FOLLOW, _OTHERS = 0.25, 0.25


class Decoder:
    """Answers that are under way.

    Args:
        ends: tokens that end an answer.
        prefix: tokens that all prompts begin with.
    """

    def __init__(self, loaded: LoadedModel, ends: Sequence[int], prefix: Sequence[int] = ()) -> None:
        self._loaded, self._ends = loaded, frozenset(ends)
        self._under_way: _Rows | None = None
        self._worth = defaultdict[int, _Worth](_Worth)
        self._prefix = read_prefix(loaded, prefix) if prefix else []
        self._skipped = len(prefix)

    @property
    def rows(self) -> int:
        """How many are under way."""
        return 0 if self._under_way is None else len(self._under_way.going)

    def join(self, asked: Sequence[Asked]) -> None:
        """Begin to answer these beside those under way: their first tokens are said."""
        held = [one for one in asked if one.begun is not None and one.begun.states]
        read = [one for one in asked if one.begun is None or not one.begun.states]
        parts = [self._under_way] if self._under_way is not None else []
        for piece in self._pieces(held, lambda one: 1):
            parts += self._tried(self._gone_on(piece))
        for piece in self._pieces(read, lambda one: len(_said_before(one))):
            parts += self._tried(self._read(piece))
        self._under_way = _Rows.together(parts)

    def _pieces(self, asked: Sequence[Asked], before: Callable[[Asked], int]) -> Iterator[list[Asked]]:
        """As many as are read in one pass, of so many tokens each and their drafts; first a few, where it isn't known
        yet whether drafts are worth it.
        """
        tokens = CPU_TOKENS if self._loaded.device == "cpu" else sys.maxsize
        first = asked[:: -(-len(asked) // _FEW)] if any(one.draft for one in asked) and not self._worth else []
        known = set(map(id, first))
        for some in (first, [one for one in asked if id(one) not in known]):
            lengths = [before(one) + len(self._ahead(one, _begun_tokens(one))) for one in some]
            order = sorted(range(len(some)), key=lengths.__getitem__)
            for piece in by_budget(order, lengths, rows=len(some), tokens=tokens):
                yield [some[i] for i in piece]

    def _read(self, asked: list[Asked]) -> "_Rows | None":
        """Those that go on after their first tokens."""
        said = list(map(_begun_tokens, asked))
        drafts = self._drafts(asked, said)
        texts = [_said_before(one)[self._skipped :] + draft for one, draft in zip(asked, drafts, strict=True)]
        rows, logits = self._begun(texts, 1 + max(map(len, drafts)))
        rows.asked, rows.said = asked, said
        return self._heard(rows, logits, drafts)

    def _ahead(self, one: Asked, said: int) -> list[int]:
        """What it may say before its last token, after so many."""
        if one.draft is None or said == _ENDED:
            return []
        return one.draft.ahead(min(_DRAFTED, one.room - said - 1), lambda kind: self._worth[kind].drafts)

    def _drafts(self, asked: Sequence[Asked], said: Sequence[int]) -> list[list[int]]:
        """What each may say next, as far as there is memory for its scores, and in passes as short as prompts'."""
        most = LOGITS_BYTES // (4 * core_of(self._loaded.model).config.get_text_config().vocab_size * len(asked)) - 1
        if self._loaded.device == "cpu":
            most = min(most, max(CPU_TOKENS // len(asked) - 1, 1))
        return [self._ahead(one, n)[: max(most, 0)] for one, n in zip(asked, said, strict=True)]

    def _tried(self, rows: "_Rows | None") -> "list[_Rows]":
        """Have them follow their drafts as far as they do; those that go on then."""
        left: list[_Rows] = []
        while rows is not None:
            rows = rows.dense()
            follows = self._foreseen(rows)
            if not follows:
                return [*left, rows]
            if len(rows.going) - len(follows) > _OTHERS * len(rows.going):
                rows, rest = rows.parted(follows)
                left.append(rest.of(rest.going))
            rows = self._followed(rows)
        return left

    def _foreseen(self, rows: "_Rows") -> list[int]:
        return [i for i, one in enumerate(rows.asked) if self._ahead(one, rows.said[i])]

    def _followed(self, rows: "_Rows") -> "_Rows | None":
        """One pass: the next token of each, and its draft."""
        drafts = self._drafts(rows.asked, rows.said)
        width = 1 + max(map(len, drafts))
        tokens, device = rows.tokens[:, 0].tolist(), rows.mask.device
        ids = [[0] * (width - 1 - len(d)) + [token, *d] for token, d in zip(tokens, drafts, strict=True)]
        new = torch.tensor([[0] * (width - 1 - len(d)) + [1] * (1 + len(d)) for d in drafts], device=device)
        rows.mask = torch.cat([rows.mask, new], 1)
        positions = rows.positions + (new.cumsum(1) - 1).clamp(min=0)
        logits = self._forward(torch.tensor(ids, device=device), rows.mask, positions, rows.layers, width)
        rows.positions = rows.beyond(positions[:, -1:])
        return self._heard(rows, logits, drafts)

    def _gone_on(self, asked: Sequence[Asked]) -> "_Rows":
        """Rows whose prompts and first tokens were read elsewhere."""
        begun = [one.begun for one in asked if one.begun is not None]
        lengths = [one.states[0][0].shape[1] for one in begun]
        layers = [
            Layer.together([(keys[None], values[None]) for keys, values in of_rows], max(lengths))
            for of_rows in zip(*(one.states for one in begun), strict=True)
        ]
        device = self._loaded.device
        mask = torch.tensor([[0] * (max(lengths) - n) + [1] * n for n in lengths], device=device)
        tokens = torch.tensor([[one.tokens[-1]] for one in begun], device=device)
        positions = torch.tensor([[n] for n in lengths], device=device)
        return _Rows(layers, mask, positions, tokens, list(asked), [len(one.tokens) for one in begun])

    def step(self) -> None:
        """One more token of each that is under way."""
        rows = self._under_way
        if rows is None:
            return
        rows.mask = torch.cat([rows.mask, rows.mask.new_ones((len(rows.asked), 1))], 1)
        logits = self._forward(rows.tokens, rows.mask, rows.positions, rows.layers)
        rows.positions = rows.beyond(rows.positions)
        self._under_way = self._split(self._heard(rows, logits, [[]] * len(rows.asked)))

    def _split(self, rows: "_Rows | None") -> "_Rows | None":
        """Let those that can be foreseen go ahead, where they aren't too few to be worth the copies."""
        if rows is None:
            return None
        follows = self._foreseen(rows)
        if len(follows) < max(1, _FOLLOW * len(rows.going)):
            return rows
        if len(follows) == len(rows.going):
            return _Rows.together(self._tried(rows))
        ahead, rest = rows.parted(follows)
        return _Rows.together([rest.of(rest.going), *self._tried(ahead)])

    def _begun(self, prompts: Sequence[list[int]], scored: int) -> "tuple[_Rows, Tensor]":
        """Left-padded rows whose prompts, what is behind the prefix of them, have been read, and the scores of what
        follows their last `scored` tokens. [rows, scored, vocabulary]
        """
        device, width, before = self._loaded.device, max(map(len, prompts)), self._skipped
        # Which token pads is of no matter: it is masked, and every vocabulary has the first one.
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
        own = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
        mask = torch.cat([own.new_ones((len(prompts), before)), own], 1)
        layers = spread(self._prefix, len(prompts), before + width + SPARE) if before else new_layers(self._loaded)
        positions = (own.cumsum(1) - 1).clamp(min=0) + before
        logits = self._forward(ids, mask, positions, layers, min(scored, width))
        return _Rows(layers, mask, positions[:, -1:] + 1), logits

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, layers: "list[Layer]", scored: int = 1) -> Tensor:
        """Scores of what follows the last `scored` of `ids` [rows, tokens], after what the layers hold.
        [rows, scored, vocabulary]
        """
        model = self._loaded.model
        with without_gradients(model):
            out = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=Cache(layers=layers),
                use_cache=True, logits_to_keep=scored,
            )  # fmt: skip
        logits: Tensor = out.logits[:, -scored:]
        return logits

    def _heard(self, rows: "_Rows", logits: Tensor, drafts: Sequence[list[int]]) -> "_Rows | None":
        """The rows that go on, after each has been told of its next token, and of those behind it as far as its draft,
        which was read before them, has it.
        """
        scored = logits.shape[1]
        best = most_probable(logits.flatten(0, 1))
        tokens = best[scored - 1 :: scored]
        for i in rows.going:
            one, draft = rows.asked[i], drafts[i]
            taken = 0
            for place in range((i + 1) * scored - 1 - len(draft), (i + 1) * scored):
                tokens[i] = one.choose(logits[i, -1]) if one.choose else best[place]
                self._hear(rows, i, tokens[i])
                if rows.said[i] == _ENDED or taken == len(draft) or tokens[i] != draft[taken]:
                    break
                taken += 1
            rows.refuse(i, len(draft) - taken)
            if one.draft is not None and draft:
                kind = one.draft.tried(taken)
                if kind is not None:
                    self._worth[kind].add(taken, len(draft))
        rows.tokens = torch.tensor([[token] for token in tokens], device=logits.device)
        going = rows.going
        if not going:
            return None
        return rows if len(going) > _GOING * len(rows.asked) else rows.of(going)

    def _hear(self, rows: "_Rows", i: int, token: int) -> None:
        """Tell a row of its next token."""
        one = rows.asked[i]
        done = token in self._ends
        if not done:
            rows.said[i] += 1
            if one.draft is not None:
                one.draft.hear(token)
            done = one.hear(token) or rows.said[i] >= one.room
        if done:
            rows.said[i] = _ENDED
            one.end()


class _Worth:
    """Whether drafts are worth reading: so many tokens of them were, and so many were taken."""

    def __init__(self) -> None:
        self._read, self._taken = 0, 0

    def add(self, taken: int, read: int) -> None:
        """Of one row's."""
        self._taken, self._read = self._taken + taken, self._read + read

    @property
    def drafts(self) -> bool:
        """Whether more should be read."""
        return self._read < _TRIED or self._taken >= _TAKEN * self._read


def _begun_tokens(one: Asked) -> int:
    return len(one.begun.tokens) if one.begun else 0


def _said_before(one: Asked) -> list[int]:
    """What is read before the first token that is asked for."""
    return [*one.ids, *one.begun.tokens] if one.begun else one.ids


@dataclass(eq=False)
class _Rows:
    """Rows that have been read up to the last column.

    Attributes:
        mask: [rows, columns], 1 where there is a token.
        positions: [rows, 1], of the next token.
        tokens: [rows, 1], the next ones.
        said: tokens of each answer so far; _ENDED: it has ended.
    """

    layers: list[Layer]
    mask: Tensor
    positions: Tensor
    tokens: Tensor = field(default_factory=lambda: torch.empty(0))
    asked: list[Asked] = field(default_factory=list)
    said: list[int] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.mask.shape[1])

    @property
    def going(self) -> list[int]:
        """Places of those that haven't ended."""
        return [i for i, said in enumerate(self.said) if said != _ENDED]

    def of(self, kept: list[int]) -> Self:
        """These rows, in the memory of these here, which are of no use any more."""
        order = self._moved(kept, both=False)
        return self._at(order[: len(kept)], slice(len(kept)))

    def parted(self, first: list[int]) -> tuple[Self, Self]:
        """These rows, and the others; as `of`."""
        order, count = self._moved(first, both=True), len(first)
        return self._at(order[:count], slice(count)), self._at(order[count:], slice(count, None))

    def _moved(self, first: list[int], both: bool) -> list[int]:
        """Have the layers begin with these rows, `both`: and go on with the others; which each of theirs is now."""
        count, wanted = len(first), set(first)
        behind = [i for i in first if i >= count]
        order = list(range(len(self.asked)))
        for hole, i in zip((i for i in range(count) if i not in wanted), behind, strict=True):
            order[hole], order[i] = i, hole
        to = [i for i, source in enumerate(order) if source != i and (both or i < count)]
        if to:
            places = torch.tensor([to, [order[i] for i in to]], device=self.mask.device)
            for layer in self.layers:
                layer.move(places[0], places[1])
        return order

    def _at(self, places: list[int], of_layers: slice) -> Self:
        rows = torch.tensor(places, dtype=torch.long, device=self.mask.device)
        return type(self)(
            [layer.of(of_layers) for layer in self.layers], self.mask[rows], self.positions[rows], self.tokens[rows],
            [self.asked[i] for i in places], [self.said[i] for i in places],
        )  # fmt: skip

    def dense(self) -> Self:
        """The same rows in not many more columns than their tokens need: those of refused ones are dropped."""
        width = int(self.mask.sum(1).max())
        if self.width - width <= SPARE:
            return self
        columns = self.mask.argsort(dim=1, stable=True)[:, -width:]
        self.layers, self.mask = [layer.at(columns) for layer in self.layers], self.mask.gather(1, columns)
        return self

    def beyond(self, last: Tensor) -> Tensor:
        """The next positions after these; of those that have ended none: a model has only so many."""
        return last + torch.tensor([[int(n != _ENDED)] for n in self.said], device=last.device)

    def refuse(self, row: int, tokens: int) -> None:
        """Of a row the last tokens aren't part of it."""
        if tokens:
            self.mask[row, self.width - tokens :] = 0
            self.positions[row] -= tokens

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self | None:
        """The rows of all; columns that none of them needs any more are dropped. None: there are none."""
        if len(parts) < 2:
            return parts[0] if parts else None
        own = [slice(int(part.mask.argmax(1).min()), None) for part in parts]
        masks = [part.mask[:, one] for part, one in zip(parts, own, strict=True)]
        width = max(mask.shape[1] for mask in masks)
        layers = [
            Layer.together(
                [(layer.keys[:, :, one], layer.values[:, :, one]) for layer, one in zip(same, own, strict=True)], width
            )
            for same in zip(*(part.layers for part in parts), strict=True)
        ]
        return cls(
            layers,
            torch.cat([torch.nn.functional.pad(mask, (width - mask.shape[1], 0)) for mask in masks]),
            torch.cat([part.positions for part in parts]),
            torch.cat([part.tokens for part in parts]),
            [one for part in parts for one in part.asked],
            [said for part in parts for said in part.said],
        )
