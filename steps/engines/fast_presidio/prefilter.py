"""Which recognizers can find anything in a text at all: one RE2 pass over necessary conditions.

The conditions of presidio's recognizers come from their own patterns (`relax`); those of its phone recognizer, and of
context words, stand here.
"""

from collections.abc import Mapping, Sequence

import re2

from steps.engines.scan.patterns import Pattern, PatternSet

# Chosen: the states of many patterns multiply; those of so many are made in a moment (measured on t0).
_TOGETHER = 12
# RE2 alternatives, one of which stands in every text with a finding.
Clause = tuple[str, ...]

# libphonenumber's punctuation inside a number; at most 4 of them between two digits. Its digits are Unicode's, and
# those newer than RE2's tables lie beyond the basic plane.
_PHONE_PUNCTUATION = (
    r"[-x\x{2010}-\x{2015}\x{2212}\x{30FC}\x{FF0D}-\x{FF0F} \x{00A0}\x{00AD}\x{200B}\x{2060}\x{3000}"
    r"()\x{FF08}\x{FF09}\x{FF3B}\x{FF3D}.\[\]/~\x{2053}\x{223C}\x{FF5E}]{0,4}"
)
# Decimal digits of all scripts.
DIGIT = r"[0-9\p{Nd}\x{10000}-\x{10FFFF}]"
_ANY_CASE = "(?i)"


def phone_clause(digits: int) -> Clause:
    """A number of at least so many digits, as libphonenumber writes one."""
    return (rf"{DIGIT}(?:{_PHONE_PUNCTUATION}{DIGIT}){{{digits - 1}}}",)


def context_clause(words: Sequence[str]) -> Clause:
    """One of the words. A context word is a token; the tokenizer never cuts a run of letters."""
    alternatives = "|".join(re2.escape(word.lower()) for word in words)
    return (rf"{_ANY_CASE}(?:^|\P{{L}})(?:{alternatives})(?:$|\P{{L}})",)


def _rarest(clauses: Sequence[Clause]) -> str:
    """One clause as one expression: no context words, which are common; of two alike, the one added later."""
    written = [f"(?:{'|'.join(alternatives)})" for alternatives in reversed(clauses)]
    return min(written, key=lambda clause: (_ANY_CASE in clause, len(clause)))


class Conditions:
    """Many RE2 expressions in as many `sets` as make it quick to ask whether one of them matches."""

    def __init__(self, conditions: Sequence[str]) -> None:
        starts = range(0, len(conditions), _TOGETHER)
        groups = [[Pattern("condition", c, ignore_case=False) for c in conditions[n : n + _TOGETHER]] for n in starts]
        self.sets = [PatternSet(group, "scrub") for group in groups]

    def matching(self, text: str) -> list[int]:
        """Numbers of the expressions that match somewhere, ascending."""
        return [n * _TOGETHER + hit for n, group in enumerate(self.sets) for hit in group.matching(text)]


class Prefilter:
    """A compiled set of conditions: number of a recognizer -> clauses that must all hold (none: it always can).

    `conditions`: an expression for each recognizer, one of which matches in every text in which one is possible; None:
    a recognizer always is.
    """

    def __init__(self, needed: Mapping[int, Sequence[Clause]]) -> None:
        self._always = [number for number, clauses in needed.items() if not clauses]
        self._all = {number: (1 << len(clauses)) - 1 for number, clauses in needed.items()}
        self._marks: list[tuple[int, int]] = []
        self._set = re2.Set.SearchSet(options())
        for number, clauses in needed.items():
            for place, alternatives in enumerate(clauses):
                self._set.Add(f"(?:{'|'.join(alternatives)})")
                self._marks.append((number, 1 << place))
        if self._marks:
            self._set.Compile()
        self.conditions = None if self._always else tuple(map(_rarest, needed.values()))

    def possible(self, text: str) -> list[int]:
        """Numbers of the recognizers that may find something that counts in the text, ascending.

        The text holds no lone surrogates.
        """
        if not self._marks:
            return self._always
        hits = self._set.Match(text.encode())
        if not hits:
            return self._always
        held: dict[int, int] = {}
        for hit in hits:
            number, mark = self._marks[hit]
            held[number] = held.get(number, 0) | mark
        return sorted([*self._always, *(n for n, marks in held.items() if marks == self._all[n])])


def options() -> "re2.Options":
    """RE2's options for expressions made by `relax`: quiet, and with room for large classes."""
    chosen = re2.Options()
    chosen.log_errors = False
    # Chosen: the largest (1,400 top-level domains, four times) takes a tenth of it.
    chosen.max_mem = 256 << 20
    return chosen
