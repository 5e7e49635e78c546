"""Terms: words, and pairs of characters in scripts that are written without spaces."""

from itertools import groupby, pairwise

from steps.engines.text.normalise import SPACELESS, words
from steps.engines.text.pseudonyms import without_names


def terms(text: str) -> list[str]:
    """The words of a text in their normal form, pseudonyms as what they stand for. Characters of spaceless scripts that
    stand side by side are paired with the next one: one by itself says little, and where a word ends isn't written.
    """
    found: list[str] = []
    for single, run in groupby(words(without_names(text)), key=lambda w: len(w) == 1 and bool(SPACELESS.match(w))):
        part = list(run)
        found += [a + b for a, b in pairwise(part)] if single and len(part) > 1 else part
    return found
