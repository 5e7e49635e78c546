"""What a recognizer's regular expression asks of a text, weakened to what RE2 can say.

`relaxed` reads an expression of the `regex` module (the dialect of presidio's patterns) and gives RE2 expressions
that match wherever it matches, and elsewhere too: look-arounds are left out, long repetitions have no upper end,
and of characters beyond ASCII it is assumed that they are whatever is asked for, because the two engines know
different Unicode versions. What it can't read it doesn't guess.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

_ASCII = frozenset(range(128))
_DIGITS = frozenset(range(48, 58))
_LETTERS = frozenset([*range(65, 91), *range(97, 123)])
_WORD = _DIGITS | _LETTERS | {95}
# regex takes U+001C to U+001F for no white space, str.isspace does, and RE2 doesn't know U+000B either: the larger set
# is right here, the smaller in \S and [^\s].
_SPACE = frozenset([*range(9, 14), *range(28, 32), 32])
_SURELY_SPACE = _SPACE - {11, *range(28, 32)}
_REST = r"\x{80}-\x{10FFFF}"
# Digits newer than RE2's tables lie beyond the basic plane (a test looks at every character).
_CATEGORIES: dict[Any, tuple[frozenset[int], str]] = {
    op.CATEGORY_DIGIT: (_DIGITS, r"\p{Nd}\x{10000}-\x{10FFFF}"),
    op.CATEGORY_WORD: (_WORD, _REST),
    op.CATEGORY_SPACE: (_SPACE, r"\x{85}\p{Z}"),
    op.CATEGORY_NOT_DIGIT: (_ASCII - _DIGITS, _REST),
    op.CATEGORY_NOT_WORD: (_ASCII - _WORD, _REST),
    op.CATEGORY_NOT_SPACE: (_ASCII - _SURELY_SPACE, _REST),
}
# Characters beyond ASCII that equal an ASCII letter when case doesn't count.
_CASES = {"i": r"\x{130}\x{131}", "k": r"\x{212A}", "s": r"\x{17F}"}
# Chosen: a longer run of counted copies makes the automaton large and tells little more.
_MOST_COPIES = 24
_MOST_RANGE = 4
# Before or after a word character, a word boundary is the text's edge or one of these, and others.
_NO_WORD = "[^0-9A-Za-z_]"


class Relaxed(NamedTuple):
    """RE2 expressions implied by a pattern.

    condition: stands in every text with a match.  core: matches every match, from its start on.
    characters: RE2 character classes that hold every character of a match.
    reach: characters beyond a match that decide about it; None: more than those near it.
    looks: whether anything but a word boundary looks at them.
    """

    condition: str
    core: str
    characters: frozenset[str]
    reach: int | None
    looks: bool


class _Unreadable(Exception):
    pass


# What the two parsers read differently: fuzzy quantifiers and POSIX classes.
_OTHER_SYNTAX = re.compile(r"\{[^{}]*[A-Za-z][^{}]*\}|\[\[:|\[\^?\[")
_CODE_POINT = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|.)", re.DOTALL)
_KNOWN_FLAGS = re.IGNORECASE | re.MULTILINE | re.DOTALL


def relaxed(pattern: str, flags: int) -> Relaxed | None:
    """None: the expression has something whose weaker form isn't known, or is written for another parser."""
    if _OTHER_SYNTAX.search(pattern) or flags & ~_KNOWN_FLAGS:
        return None
    try:
        tree = parser.parse(pattern)
        reader = _Reader(bool((flags | tree.state.flags) & re.IGNORECASE))
        core = reader.sequence(tree)
        condition = _Edges(reader).sequence(tree)
    except (_Unreadable, parser.error, OverflowError, RecursionError):
        return None
    return Relaxed(condition, core, frozenset(reader.characters), reader.reach, reader.looks) if core else None


def weakened(pattern: str, flags: int = 0) -> str | None:
    """A short RE2 expression that matches somewhere in every text in which RE2 or `re` finds the pattern.

    It has no anchors, nothing optional at its edges and no upper ends inside, which makes for few states: a hundred
    such expressions are looked for at once. None: the pattern can't be read, or may match nothing at all.
    """
    try:
        # In RE2 \x{41} is a character and {,3} three of them.
        tree = parser.parse(_CODE_POINT.sub(_as_python, pattern), flags)
        if _OTHER_SYNTAX.search(_CODE_POINT.sub("", pattern)) or "{," in pattern:
            return None
        reader = _Reader(bool(tree.state.flags & re.IGNORECASE), most_range=1)
        return reader.sequence(_trimmed(_trimmed(tree, 0), -1)) or None
    except (_Unreadable, parser.error, OverflowError, RecursionError):
        return None


def _as_python(match: re.Match[str]) -> str:
    return f"\\U{int(match[1], 16):08x}" if match[1] else r"\Z" if match[0] == r"\z" else match[0]


def _trimmed(items: Iterable[tuple[Any, Any]], edge: int) -> list[tuple[Any, Any]]:
    """Without what may be missing at its beginning (edge 0) or its end (-1): each match holds one of the rest."""
    left = list(items)
    while left:
        kind, value = left.pop(edge)
        if needed := _needed(kind, value, edge):
            return [*needed, *left] if edge == 0 else [*left, *needed]
    return []


def _needed(kind: Any, value: Any, edge: int) -> list[tuple[Any, Any]]:
    """What an item at an edge needs at least; nothing, when it may match nothing."""
    if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
        return []
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        least, _, body = value
        if least < 2:
            return _trimmed(body, edge) if least else []
        return [(kind, (least, least, body))]
    if kind is op.SUBPATTERN:
        number, added, removed, body = value
        inside = _trimmed(body, edge)
        return [(kind, (number, added, removed, inside))] if inside else []
    if kind is op.BRANCH:
        branches = [_trimmed(branch, edge) for branch in value[1]]
        return [(kind, (None, branches))] if all(branches) else []
    return [(kind, value)]


class _Reader:
    """Writes a parsed pattern as RE2; collects characters and reach on the way."""

    def __init__(self, ignore_case: bool, most_range: int = _MOST_RANGE) -> None:
        self.characters: set[str] = set()
        self.reach: int | None = 0
        # Whether something matches nearly anything, so that a text's edge and a separator aren't the same to it.
        self.vague = False
        self.looks = False
        self._ignore_case = ignore_case
        self._most_range = most_range
        self._groups: dict[int, str] = {}
        self._writers: dict[Any, Callable[[Any], str]] = {
            op.LITERAL: lambda code: self._written(self._one(code)),
            op.NOT_LITERAL: lambda code: self._written(self._but(frozenset([code]))),
            op.ANY: lambda _: self._written(self._but(frozenset())),
            op.IN: lambda members: self._written(self._class(members)),
            op.BRANCH: lambda av: f"(?:{'|'.join(self.sequence(s) for s in av[1])})",
            op.SUBPATTERN: self._group,
            op.ATOMIC_GROUP: self.sequence,
            op.MAX_REPEAT: self._repeat,
            op.MIN_REPEAT: self._repeat,
            op.POSSESSIVE_REPEAT: self._repeat,
            op.AT: self._place,
            op.ASSERT: self._look_around,
            op.ASSERT_NOT: self._look_around,
            op.GROUPREF: lambda number: self._groups[number],
        }

    def sequence(self, items: Iterable[tuple[Any, Any]]) -> str:
        return "".join(self.item(kind, value) for kind, value in items)

    def item(self, kind: Any, value: Any) -> str:
        if kind not in self._writers:
            raise _Unreadable(str(kind))
        return self._writers[kind](value)

    def _group(self, value: tuple[int | None, int, int, Any]) -> str:
        number, added, _, items = value
        # An (?i:...) inside makes all that follows weaker too; an (?-i:...) is not strengthened.
        self._ignore_case |= bool(added & re.IGNORECASE)
        written = f"(?:{self.sequence(items)})"
        if number is not None:
            self._groups[number] = written
        return written

    def _repeat(self, value: tuple[int, int, Any]) -> str:
        least, most, items = value
        body = self.sequence(items)
        if not body:
            return ""
        least = min(int(least), _MOST_COPIES)
        if most is op.MAXREPEAT or int(most) - least > self._most_range:
            return f"(?:{body}){{{least},}}"
        return f"(?:{body}){{{least},{int(most)}}}"

    def _place(self, kind: Any) -> str:
        if kind not in (op.AT_BOUNDARY, op.AT_NON_BOUNDARY):
            self.reach = None  # a line's or the text's edge
        self._reaches(1)
        return ""

    def _look_around(self, value: tuple[int, Any]) -> str:
        self.looks = True
        _, items = value
        inside = _Reader(self._ignore_case)
        inside._groups = self._groups
        inside.sequence(items)
        vague = inside.vague or inside.reach is None
        self._reaches(None if vague else int(items.getwidth()[1]) + max(1, inside.reach or 0))
        return ""

    def _reaches(self, width: int | None) -> None:
        self.reach = None if width is None or self.reach is None else max(self.reach, width)

    def _class(self, members: Sequence[tuple[Any, Any]]) -> tuple[frozenset[int], str]:
        negated = members[0][0] is op.NEGATE
        parts = [self._member(*m, exactly=negated) for m in members[negated:]]
        codes: frozenset[int] = frozenset().union(*(codes for codes, _ in parts))
        if negated:
            return self._but(codes)
        self.vague |= 0 in codes
        return codes, "".join(dict.fromkeys(rest for _, rest in parts))

    def _but(self, codes: frozenset[int]) -> tuple[frozenset[int], str]:
        self.vague = True
        return _ASCII - codes, _REST

    def _member(self, kind: Any, value: Any, exactly: bool) -> tuple[frozenset[int], str]:
        """Characters of a class member; `exactly`: none that may not belong to it."""
        if kind is op.CATEGORY:
            codes, rest = _CATEGORIES[value]
            return (_SURELY_SPACE if exactly and codes == _SPACE else codes), rest
        if kind is op.LITERAL:
            value = (value, value)
        elif kind is not op.RANGE:
            raise _Unreadable(str(kind))
        first, last = value
        codes = frozenset(range(first, min(last, 127) + 1))
        if exactly:
            return codes, ""
        found = [self._one(code) for code in codes] + [(frozenset[int](), _REST)] * (last > 127)
        if last > 127 and self._ignore_case:
            found.append((frozenset(map(ord, "IKSiks")), ""))
        return codes.union(*(c for c, _ in found)), "".join(dict.fromkeys(rest for _, rest in found))

    def _one(self, code: int) -> tuple[frozenset[int], str]:
        if code > 127:
            # Some of these equal an ASCII letter when case doesn't count.
            return (frozenset(map(ord, "IKSiks")) if self._ignore_case else frozenset()), _REST
        if code not in _LETTERS or not self._ignore_case:
            return frozenset([code]), ""
        lower = chr(code).lower()
        return frozenset([ord(lower), ord(lower.upper())]), _CASES.get(lower, "")

    def _written(self, characters: tuple[frozenset[int], str]) -> str:
        codes, rest = characters
        if not codes and not rest:
            raise _Unreadable("a class without members")
        written = f"[{_ranges(codes)}{rest}]"
        self.characters.add(written)
        return written


def _ranges(codes: frozenset[int]) -> str:
    """ASCII codes as the inside of an RE2 character class."""
    parts: list[str] = []
    for code in sorted(codes):
        if code - 1 in codes:
            continue
        last = next(c for c in range(code, 129) if c + 1 not in codes)
        parts.append(rf"\x{{{code:X}}}-\x{{{last:X}}}" if last > code else rf"\x{{{code:X}}}")
    return "".join(parts)


class _Edges:
    """The same with word boundaries at the pattern's outer edges, where both sides are known."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    def sequence(self, items: Any) -> str:
        items = list(items)
        if len(items) == 1 and items[0][0] is op.BRANCH:
            return "|".join(self.sequence(branch) for branch in items[0][1][1])
        written = self._reader.sequence(items)
        if items and items[0] == (op.AT, op.AT_BOUNDARY) and _wordy(items[1:]):
            written = rf"(?:\A|{_NO_WORD}){written}"
        if items and items[-1] == (op.AT, op.AT_BOUNDARY) and _wordy(items[-2::-1], backwards=True):
            written = rf"{written}(?:\z|{_NO_WORD})"
        return written


def _wordy(items: Iterable[tuple[Any, Any]], backwards: bool = False) -> bool:
    """Whether the first character (backwards: the last one) that the items match is surely a word character."""
    for kind, value in items:
        if kind in (op.ASSERT, op.ASSERT_NOT, op.AT):
            continue
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            if not _wordy(_turned(value[2], backwards), backwards):
                return False
            if value[0] == 0:
                continue
            return True
        return _wordy_item(kind, value, backwards)
    return False


def _wordy_item(kind: Any, value: Any, backwards: bool) -> bool:
    if kind is op.SUBPATTERN:
        return _wordy(_turned(value[3], backwards), backwards)
    if kind is op.BRANCH:
        return all(_wordy(_turned(branch, backwards), backwards) for branch in value[1])
    if kind is op.LITERAL:
        return value in _WORD
    if kind is op.IN:
        return all(map(_wordy_member, value))
    return False


def _wordy_member(member: tuple[Any, Any]) -> bool:
    kind, value = member
    if kind is op.LITERAL:
        return value in _WORD
    if kind is op.RANGE:
        return set(range(value[0], value[1] + 1)) <= _WORD
    return kind is op.CATEGORY and value in (op.CATEGORY_DIGIT, op.CATEGORY_WORD)


def _turned(items: Any, backwards: bool) -> list[tuple[Any, Any]]:
    return list(items)[::-1] if backwards else list(items)
