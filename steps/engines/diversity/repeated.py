"""Questions that ask the same as an earlier one, found exactly."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from steps.engines.text.normalise import words


def repeated(pairs: Sequence[tuple[str, str | None]], similarity: float) -> dict[int, int]:
    """By the place of each (question, answer) that repeats an earlier one that stays: the place of that one.

    Questions of the same words are the same. So are those whose sets of words have a Jaccard similarity of at least
    `similarity` (above 0), where the answers' have it too: questions about two things may differ in a name alone. An
    answer that is None is like any. Two sets of that similarity share one of their rarest words: of n words the
    n - ceil(similarity * n) + 1 rarest are looked at (prefix filtering; Bayardo et al. 2007).
    """
    asked = [frozenset(words(q)) for q, _ in pairs]
    answered = [None if a is None else frozenset(words(a)) for _, a in pairs]
    often = Counter(w for s in asked for w in s)
    holding: dict[str, list[int]] = defaultdict(list)
    found: dict[int, int] = {}
    for place, own in enumerate(asked):
        ordered = sorted(own, key=lambda w: (often[w], w))
        prefix = ordered[: len(own) - math.ceil(similarity * len(own) - 1e-9) + 1]
        near = sorted({other for w in prefix for other in holding[w]})
        same = next((o for o in near if own == asked[o] or (_jaccard(own, asked[o]) >= similarity
                     and _alike(answered[place], answered[o], similarity))), None)  # fmt: skip
        if same is not None:
            found[place] = same
            continue
        for word in prefix:
            holding[word].append(place)
    return found


def _alike(one: frozenset[str] | None, other: frozenset[str] | None, similarity: float) -> bool:
    return one is None or other is None or _jaccard(one, other) >= similarity


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Of two empty sets 1."""
    all_ = len(one | other)
    return len(one & other) / all_ if all_ else 1.0
