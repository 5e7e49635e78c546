"""What is asked of a model that answers several prompts together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from steps.engines.lm.draft import Draft

if TYPE_CHECKING:
    from torch import Tensor

# Of each layer the keys and values of one row, [heads, tokens, width of a head].
States: TypeAlias = "tuple[tuple[Tensor, Tensor], ...]"


@dataclass(frozen=True)
class Begun:
    """The greedy answer to a prompt, its first tokens, at least one.

    Attributes:
        ended: what comes next ends it.
        states: of the prompt and all of `tokens` but the last; (): they weren't held.
    """

    tokens: list[int]
    ended: bool = False
    states: States = ()


@dataclass(frozen=True)
class Asked:
    """One prompt that is answered.

    Attributes:
        ids: its tokens.
        room: tokens that its answer may have, at least 1.
        hear: told of each token as it comes, but not of what ends the answer; returns whether it is enough.
        end: called when the answer has ended.
        choose: the next token by the scores of all, [vocabulary]; None: the most probable one.
        begun: the answer's first tokens, known before. They take of the room, and `hear` isn't told of them.
        draft: what the answer may be, behind `begun`.
    """

    ids: list[int]
    room: int
    hear: Callable[[int], bool]
    end: Callable[[], None] = lambda: None
    choose: Callable[[Any], int] | None = None
    begun: Begun | None = None
    draft: Draft | None = None
