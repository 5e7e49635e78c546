"""Many RE2 patterns over a text at once: which of them match, then where. Linear time on any text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import re2

from steps.contracts.errors import ConfigError

# Memory of the automaton; chosen: a thousand patterns fit, and RE2 falls back instead of failing beyond it.
_MAX_BYTES = 128 << 20


@dataclass(frozen=True)
class Pattern:
    """A named RE2 pattern.

    `word`: a match counts only between Unicode non-word characters (RE2's own `\\b` knows ASCII only). Its places
    are found by Python's `re`, so keep it a plain word or a few alternatives.
    `confirm`: a Python regular expression that must match the found text in full, for what RE2 can't say (back
    references); it runs on the found text only.
    """

    name: str
    source: str
    word: bool = False
    confirm: str | None = None
    ignore_case: bool = True


@dataclass(frozen=True)
class Hit:
    """Pattern number `pattern` matches text[start:end]; offsets in characters."""

    pattern: int
    start: int
    end: int


class PatternSet:
    """The patterns compiled into one automaton, and each by itself for finding places.

    Raises:
        ConfigError: RE2 refuses a pattern (look-arounds and back references don't exist in it).
    """

    def __init__(self, patterns: Sequence[Pattern], where: str) -> None:
        self.patterns = tuple(patterns)
        self._located = [_compiled(p, where) for p in patterns]
        self._confirm = [re.compile(p.confirm, re.IGNORECASE) if p.confirm else None for p in patterns]
        self._set = re2.Set.SearchSet(_options())
        for pattern in patterns:
            self._set.Add(_source(pattern))
        if patterns:
            self._set.Compile()

    def matching(self, text: str) -> list[int]:
        """Numbers of the patterns that match somewhere, ascending; `word` and `confirm` are not looked at yet."""
        if not self.patterns:
            return []
        return sorted(self._set.Match(text.encode("utf-8", "surrogatepass")) or ())

    def hits(self, text: str) -> list[Hit]:
        """All confirmed matches, by pattern and then by place."""
        return [hit for number in self.matching(text) for hit in self._places(number, text)]

    def _places(self, number: int, text: str) -> Iterator[Hit]:
        confirm = self._confirm[number]
        for match in self._located[number].finditer(_encodable(text)):
            start, end = match.span()
            if confirm is None or confirm.fullmatch(text, start, end):
                yield Hit(number, start, end)


def _source(pattern: Pattern) -> str:
    return f"(?i:{pattern.source})" if pattern.ignore_case else pattern.source


def _compiled(pattern: Pattern, where: str) -> "re.Pattern[str] | re2._Regexp":
    try:
        if pattern.word:
            return re.compile(rf"(?<!\w)(?:{pattern.source})(?!\w)", re.IGNORECASE if pattern.ignore_case else 0)
        return re2.compile(_source(pattern), options=_options())
    except re2.error as e:
        reason = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        raise ConfigError(
            f"{pattern.name}: RE2 refuses the pattern: {reason}",
            where=where,
            hint="look-arounds and back references are not part of RE2: https://github.com/google/re2/wiki/Syntax",
        ) from e


def _options() -> "re2.Options":
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_BYTES
    return options


def _encodable(text: str) -> str:
    """Lone surrogates can't be encoded for RE2; each becomes one replacement character, so that offsets stay."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", text)
