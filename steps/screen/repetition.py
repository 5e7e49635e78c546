"""Repetition within a text, measured as in Rae et al. 2021 (Gopher, arXiv 2112.11446, section A1.1 and Table A1)."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steps.screen.config import Repetition

_LOOP_NGRAM = 5
# Chosen: loading the compiled pass takes about as long as reading so many bytes without it, and longer texts are rare.
_COMPILED_FROM_BYTES = 4 << 20
_LONGEST_BYTES = 1 << 20
# Chosen: a longer text is judged by its beginning (the paper's longest documents have 100,000 words).
LONGEST_CHARACTERS = 1_000_000
_PARAGRAPH = re.compile(r"\n\s*\n")


def first_excess(text: str, bounds: Repetition, min_words: int) -> tuple[str, float] | None:
    """(rule, fraction) of the first bound that the text exceeds; None when it exceeds none or is too short.

    `min_words`: from so many words on the paper's bounds hold. Only the first LONGEST_CHARACTERS are looked at.
    """
    text = text[:LONGEST_CHARACTERS]
    words = text.split()
    if len(words) >= bounds.loop_min_words and _may_loop(words, bounds.loop):
        loop = duplicate_ngram_fraction(words, _LOOP_NGRAM)
        if loop > bounds.loop:
            return "loop", round(loop, 4)
    if len(words) < min_words:
        return None
    for rule, fraction, bound in _measured(text, words, bounds):
        if fraction > bound:
            return rule, round(fraction, 4)
    return None


def texts_exceeding(texts: pa.Array, least: npt.NDArray[np.int64], bounds: Repetition) -> npt.NDArray[np.bool_]:
    """For which texts `first_excess` may find something: all for which it does, and few others.

    texts: strings without nulls; least: `min_words` of each. Both, and the result, have shape (texts,).
    """
    texts = texts.cast(pa.large_string())
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    # A text of n words has n letters and n - 1 spaces at least.
    sizes = np.diff(offsets)
    chosen = np.flatnonzero(sizes >= 2 * np.minimum(least, bounds.loop_min_words) - 1)
    out = np.zeros(len(texts), bool)
    # The others are settled by `may_exceed` at once.
    costly = sizes[chosen][sizes[chosen] >= 2 * least[chosen] - 1]
    if costly.sum() >= _COMPILED_FROM_BYTES:
        data = np.frombuffer(texts.buffers()[2], np.uint8)
        out[chosen] = _compiled(data, offsets[chosen], offsets[chosen + 1], least[chosen], bounds)
    else:
        out[chosen] = [may_exceed(texts[int(i)].as_py(), bounds, int(least[i])) for i in chosen]
    return out


def _compiled(
    data: npt.NDArray[np.uint8],
    begins: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    least: npt.NDArray[np.int64],
    bounds: Repetition,
) -> npt.NDArray[np.bool_]:
    from steps.screen.kernel import exceeding

    b = bounds
    parts = (b.duplicate_lines, b.duplicate_line_characters, b.duplicate_paragraphs, b.duplicate_paragraph_characters)
    found: npt.NDArray[np.bool_] = exceeding(
        data, begins, stops, least, b.loop_min_words, b.loop, np.array(parts),
        _table(b.top_ngram_characters), _table(b.duplicate_ngram_characters), _LONGEST_BYTES,
    )  # fmt: skip
    return found


def _table(bounds: dict[int, float]) -> npt.NDArray[np.float64]:
    """n and bound, shape (2, k), ascending."""
    return np.array(sorted(bounds.items()), np.float64).reshape(-1, 2).T.copy()


def may_exceed(text: str, bounds: Repetition, min_words: int) -> bool:
    """Whether `first_excess` could find anything, at a fraction of its cost; never False when it does."""
    words = text[:LONGEST_CHARACTERS].split()
    if len(words) >= min_words:
        return True
    return len(words) >= bounds.loop_min_words and _may_loop(words, bounds.loop)


def _may_loop(words: Sequence[str], bound: float) -> bool:
    """Whether repeated n-grams could hold a larger fraction of the characters than `bound`.

    A word inside an n-gram that occurred before has occurred before itself, so the characters of the distinct words
    are outside of all repeated n-grams.
    """
    return sum(map(len, set(words))) < (1 - bound) * sum(map(len, words)) + 1


def _measured(text: str, words: list[str], bounds: Repetition) -> Iterator[tuple[str, float, float]]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    paragraphs = [p.strip() for p in _PARAGRAPH.split(text) if p.strip()]
    for name, parts, by_count, by_size in (
        ("line", lines, bounds.duplicate_lines, bounds.duplicate_line_characters),
        ("paragraph", paragraphs, bounds.duplicate_paragraphs, bounds.duplicate_paragraph_characters),
    ):
        count, size = duplicate_fractions(parts)
        yield f"duplicate_{name}s", count, by_count
        yield f"duplicate_{name}_characters", size, by_size
    for n, bound in sorted(bounds.top_ngram_characters.items()):
        yield f"top_{n}gram", top_ngram_fraction(words, n), bound
    # What a repeated long n-gram covers, its repeated shorter ones cover too: the shortest bounds the others.
    shortest: float | None = None
    for n, bound in sorted(bounds.duplicate_ngram_characters.items()):
        if shortest is None or shortest > bound:
            fraction = duplicate_ngram_fraction(words, n)
            shortest = fraction if shortest is None else shortest
            yield f"duplicate_{n}gram", fraction, bound


def duplicate_fractions(parts: Sequence[str]) -> tuple[float, float]:
    """(by count, by characters): the share of parts that occurred before. 0.0 for no parts."""
    seen: set[str] = set()
    count = size = 0
    for part in parts:
        if part in seen:
            count += 1
            size += len(part)
        seen.add(part)
    return count / max(1, len(parts)), size / max(1, sum(map(len, parts)))


def top_ngram_fraction(words: Sequence[str], n: int) -> float:
    """Share of characters (without spaces) in all occurrences of the most frequent n-gram; 0.0 if none repeats."""
    grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    if not grams:
        return 0.0
    top = max(grams.values())
    if top == 1:
        return 0.0
    # Of equally frequent ones the longest, so that the value doesn't depend on order.
    length = max(sum(map(len, gram)) for gram, count in grams.items() if count == top)
    return min(1.0, top * length / sum(map(len, words)))


def duplicate_ngram_fraction(words: Sequence[str], n: int) -> float:
    """Share of characters (without spaces) inside n-grams that occurred before; overlaps count once."""
    seen: set[tuple[str, ...]] = set()
    covered = 0
    done = 0
    for start, gram in enumerate(zip(*(words[i:] for i in range(n)), strict=False)):
        if gram in seen:
            covered += sum(len(w) for w in words[max(start, done) : start + n])
            done = start + n
        seen.add(gram)
    return covered / max(1, sum(map(len, words)))
