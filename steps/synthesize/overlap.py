"""Whether what a checker quotes speaks of the claim, and whether the document knows the claim's names: by their words,
without a model and without lists of words.

A quote that stands in the document may be about something else. What a true claim says is mostly said in the words of
its quote, inflected or not; of a false one the words that make it false aren't there. Words count by how rare they are
in the passages, so that articles and the like count next to nothing in any language. A claim that is put together of
the quote's own words, or negates them, isn't found so.
"""

import re
from collections import Counter

from steps.engines.text.languages import UNDECIDED, language_of
from steps.engines.text.normalise import words

# Chosen: words that begin alike with so many characters are one word inflected, if these are so large a part of the
# longer one; so are those that share so large a part of their runs of three characters (öffnen, geöffnet).
_BEGINS, _PART, _RUN, _ALIKE = 4, 0.6, 3, 0.5
# Languages that write every noun with a capital letter, which tells no names then.
_CAPITAL_NOUNS = frozenset({"de", "lb", UNDECIDED})
# Not the first word of a sentence, of a line, or behind a colon.
_INNER = re.compile(r"(?<=[^\W\d_])[^\S\n]+([^\W\d_][\w'’-]+)|(?<=[\d,;)\"'’”»`])[^\S\n]+([^\W\d_][\w'’-]+)")


def overlap(claim: str, quote: str, passages: str, question: str) -> float:
    """Share of a claim that stands in the quote, by words that count 1 / (1 + how often the passages have them). What
    the question has said already, the quote needn't.
    """
    often, quoted, asked = Counter(words(passages)), set(words(quote)), set(words(question))
    there = {word: any(_alike(word, other) for other in quoted) for word in words(claim)}
    counted = [w for w, is_there in there.items() if is_there or w not in asked] or list(there)
    weights = {word: 1 / (1 + often[word]) for word in counted}
    return sum(weight for word, weight in weights.items() if there[word]) / sum(weights.values()) if weights else 0.0


def strange_names(claim: str, passages: str, question: str) -> list[str]:
    """Words of a claim with a capital letter inside a sentence that neither the passages nor the question have, also as
    the beginning of another word (Norway, Norwegian). None are told where all nouns have a capital letter.
    """
    names = [a or b for a, b in _INNER.findall(claim) if (a or b)[0].isupper()]
    if not names or language_of(passages) in _CAPITAL_NOUNS:
        return []
    known = set(words(f"{passages}\n{question}"))
    return [n for n in dict.fromkeys(names) if not any(_named(w, known) for w in words(n))]


def _named(word: str, known: set[str]) -> bool:
    return word in known or any(_common(word, other) >= _BEGINS for other in known)


def _alike(one: str, other: str) -> bool:
    """Whether two words are one, or forms of one."""
    if one == other or _common(one, other) >= max(_BEGINS, _PART * max(len(one), len(other))):
        return True
    runs, others = _runs(one), _runs(other)
    return 2 * len(runs & others) >= _ALIKE * (len(runs) + len(others)) > 0


def _common(one: str, other: str) -> int:
    """Characters with which both begin."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _runs(word: str) -> frozenset[str]:
    return frozenset(word[i : i + _RUN] for i in range(len(word) - _RUN + 1))
