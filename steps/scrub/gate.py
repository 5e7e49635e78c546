"""Necessary conditions: which entities can stand in a text at all. One RE2 pass instead of all recognizers.

Each condition is implied by every pattern of the entity's presidio recognizer (an entity without one is always
looked for), so that skipping a recognizer never loses a finding; the tests compare with plain presidio.
"""

from collections.abc import Mapping, Sequence

import re2

from steps.engines.scan.patterns import Pattern, PatternSet

# libphonenumber's punctuation inside a number; at most 4 of them between two digits.
_PHONE_PUNCTUATION = (
    r"[-x\x{2010}-\x{2015}\x{2212}\x{30FC}\x{FF0D}-\x{FF0F} \x{00A0}\x{00AD}\x{200B}\x{2060}\x{3000}"
    r"()\x{FF08}\x{FF09}\x{FF3B}\x{FF3D}.\[\]/~\x{2053}\x{223C}\x{FF5E}]{0,4}"
)
# presidio's \d and \w are Unicode classes; RE2's are ASCII, hence \p{Nd} and \p{L}.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "CREDIT_CARD": (r"(?:\p{Nd}[- ]?){12}\p{Nd}",),
    "CRYPTO": (r"[13]\S{25}",),
    "DATE_TIME": (r"\p{Nd}",),
    "EMAIL_ADDRESS": (r"@[^\s@]+\.",),
    "IBAN_CODE": (r"\p{L}{2}[0-9]{2}[ -]?[\p{L}0-9]{4}",),
    "IP_ADDRESS": (r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]", r":[0-9A-Fa-f]{0,4}:"),
    "MAC_ADDRESS": (r"(?:[0-9A-Fa-f]{2}[:-]){5}", r"[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\."),
    "MEDICAL_LICENSE": (r"\p{L}[\p{L}9]\p{Nd}{7}",),
    # Shorter numbers exist (Germany), but without the policy's 7 digits they are not taken for phone numbers.
    "PHONE_NUMBER": (rf"\p{{Nd}}(?:{_PHONE_PUNCTUATION}\p{{Nd}}){{6}}",),
    "UK_NHS": (r"[0-9]{3}[- ]?[0-9]{3}[- ]?[0-9]{4}",),
    "URL": (r"[\p{L}0-9.\-][.][\p{L}0-9]{2}",),
    "US_BANK_NUMBER": (r"[0-9]{8}",),
    "US_DRIVER_LICENSE": (r"[0-9]",),
    "US_ITIN": (r"9\p{Nd}{2}[- ]?\p{Nd}{2}[- ]?\p{Nd}{4}",),
    "US_PASSPORT": (r"[0-9]{8}",),
    "US_SSN": (r"[0-9]{3}[- .]?[0-9]{2}[- .]?[0-9]{4}",),
    "UUID": (r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-",),
}
# What a phone number must look like to count without a context word (see patterns.PHONE_FORM).
_PHONE_FORMS = (
    r"\+.{0,9}\p{Nd}",
    r"\(\p{Nd}{2,5}\)",
    r"\p{Nd}{3}[-. ]\p{Nd}{3}[-. ]\p{Nd}{4}",
    r"0\p{Nd}{1,4}[-. ]\p{Nd}{2,4}[-. ]\p{Nd}{2,4}",
)


def clauses(entity: str, context: Sequence[str], needs_context: bool, phone_needs_form: bool) -> list[tuple[str, ...]]:
    """Conditions that must all hold for a finding of the entity to count; each is a tuple of RE2 alternatives."""
    needed = [CONDITIONS[entity]] if entity in CONDITIONS else []
    if needs_context:
        needed.append(_context_words(context))
    elif entity == "PHONE_NUMBER" and phone_needs_form:
        needed.append((*_PHONE_FORMS, *_context_words(context)))
    return needed


def _context_words(words: Sequence[str]) -> tuple[str, ...]:
    # A context word is a token; the tokenizer never cuts a run of letters, so the word stands between non-letters.
    alternatives = "|".join(re2.escape(word.lower()) for word in words)
    return (rf"(?i)(?:^|\P{{L}})(?:{alternatives})(?:$|\P{{L}})",)


class Gate:
    """A compiled set of the clauses of some entities: entity -> clauses that must all hold."""

    def __init__(self, needed: Mapping[str, Sequence[tuple[str, ...]]]) -> None:
        self.always = frozenset(e for e, parts in needed.items() if not parts)
        self._all = {e: (1 << len(parts)) - 1 for e, parts in needed.items()}
        marked = [
            (Pattern(f"{entity}[{number}]", condition, ignore_case=False), (entity, 1 << number))
            for entity, parts in needed.items()
            for number, alternatives in enumerate(parts)
            for condition in alternatives
        ]
        self._set = PatternSet([pattern for pattern, _ in marked], "scrub")
        self._marks = [mark for _, mark in marked]

    def possible(self, text: str) -> frozenset[str]:
        """Entities of which the text may hold a value that counts."""
        held: dict[str, int] = {}
        for hit in self._set.matching(text):
            entity, mark = self._marks[hit]
            held[entity] = held.get(entity, 0) | mark
        return self.always.union(e for e, marks in held.items() if marks == self._all[e])
