"""Labels of words, as corpora for named entities have them (B-PER, I-PER, O), as spans of a text."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from steps.contracts.errors import InputError

# Inside-outside-beginning (Ramshaw and Marcus 1995), with ends and single words in either naming: BIO, BIOES, BILOU;
# a bare label counts as inside.
_TAG = re.compile(r"(?:(?P<place>[BIESLU])-)?(?P<label>\S+)")
_PLACED = re.compile(r"O|[BIESLU]-\S+")
_OUTSIDE = "O"
_BEGINS, _ENDS = frozenset("BSU"), frozenset("ESLU")
_NO_TEXT = "-DOCSTART-"


class Words(NamedTuple):
    """One sentence: words, and the tag of each."""

    words: list[str]
    tags: list[str]


def spans_of(words: Sequence[str], tags: Sequence[str], place: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, label) in " ".join(words), in text order.

    Raises:
        InputError: there is not one tag for each word, or a tag is empty.
    """
    if len(words) != len(tags):
        raise InputError(f"{len(words)} tokens with {len(tags)} tags", where=place, hint="one tag for each token")
    at = 0
    open_span: tuple[int, int, str] | None = None
    for word, tag in zip(words, tags, strict=True):
        match = _TAG.fullmatch(tag)
        if match is None:
            raise InputError("a tag is empty or has white space in it", where=place, hint="wanted: O, B-PER, I-PER")
        where, label = (None, None) if tag == _OUTSIDE else match.group("place", "label")
        goes_on = open_span is not None and open_span[2] == label and where not in _BEGINS
        if open_span is not None and not goes_on:
            yield open_span
            open_span = None
        if label is not None:
            open_span = (open_span[0] if open_span is not None else at, at + len(word), label)
            if where in _ENDS:
                yield open_span
                open_span = None
        at += len(word) + 1
    if open_span is not None:
        yield open_span


def sentences(lines: Sequence[str], where: str, wanted: str) -> Iterator[tuple[int, Words]]:
    """(number of its first line, sentence) of a file with a word and, last, its tag on each line (CoNLL-2003 and kin).

    Raises:
        InputError: a line has no tag; `wanted` is what the file should be.
    """
    found, first = Words([], []), 1
    for number, line in enumerate(lines, 1):
        columns = line.split("\t") if "\t" in line else line.split()
        columns = [column.strip() for column in columns]
        if not line.strip() or columns[0] == _NO_TEXT:
            if found.words:
                yield first, found
                found = Words([], [])
            continue
        if len(columns) < 2 or not _PLACED.fullmatch(columns[-1]):
            raise InputError("neither JSON nor a word and its tag", where=f"{where} line {number}", hint=wanted)
        first = first if found.words else number
        found.words.append(columns[0])
        found.tags.append(columns[-1])
    if found.words:
        yield first, found
