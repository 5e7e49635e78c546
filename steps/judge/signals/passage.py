"""A text with what several signals ask of it, computed once when first needed."""

import re
from dataclasses import dataclass
from functools import cached_property

# Chosen: signals read this much of a text; what is wrong with a row shows there, and the cost per row stays bounded.
READ_CHARS = 20_000
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
# The commonest English function words (Dolch and the Brown corpus agree on these); they carry no subject.
_FUNCTION_WORDS = """
a about after all also an and any are as at be because been before being but by can could did do does for from
had has have he her here him his how i if in into is it its just may me might more most my no nor not of off
on once only or other our out over own same she should so some such than that the their them then there these
they this those through to too under until up upon us very was we were what when where which while who whom
whose why will with would you your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
_TOKEN = re.compile(r"\w+")
_STEM = 5


@dataclass(frozen=True)
class Passage:
    """One text: an answer, or everything before it."""

    text: str

    @cached_property
    def head(self) -> str:
        """The text itself, or its first READ_CHARS characters."""
        return self.text[:READ_CHARS]

    @cached_property
    def words(self) -> list[str]:
        """Lower-cased words of the head, without digits."""
        return _WORD.findall(self.head.lower())

    @cached_property
    def tokens(self) -> list[str]:
        """Lower-cased runs of letters and digits of the head."""
        return _TOKEN.findall(self.head.lower())

    @cached_property
    def stems(self) -> frozenset[str]:
        """Stems of the words that carry a subject."""
        return frozenset(stem(w) for w in self.words if carries_subject(w))

    @cached_property
    def english(self) -> bool:
        """Whether at least a fifth of the words are English function words (ordinary prose has 40 to 50 %)."""
        return bool(self.words) and sum(w in FUNCTION_WORDS for w in self.words) >= 0.2 * len(self.words)

    @cached_property
    def folded(self) -> str:
        """Lower-cased head with single spaces."""
        return " ".join(self.head.lower().split())

    @cached_property
    def folded_lines(self) -> str:
        """Lower-cased head with single spaces, its lines kept."""
        return "\n".join(" ".join(line.split()) for line in self.head.lower().splitlines())

    @cached_property
    def figures(self) -> frozenset[str]:
        """Runs of two or more letters and digits that hold a digit."""
        return frozenset(t for t in self.tokens if len(t) > 1 and any(map(str.isdigit, t)))

    @cached_property
    def last_line(self) -> str:
        """The last line that isn't blank."""
        return self.text.rstrip().rpartition("\n")[2].strip()

    @cached_property
    def is_code_or_data(self) -> bool:
        """Whether the text is JSON-like, holds a code fence, or a tenth of its characters are code punctuation."""
        start = self.text.lstrip()[:1]
        if start in ("{", "[", "<") or "```" in self.head:
            return True
        return sum(map(self.head.count, "{}[]();=<>|\\")) > 0.1 * len(self.head)


def carries_subject(word: str) -> bool:
    """Whether a lower-cased word says what a text is about: three letters or more, and no function word."""
    return len(word) > 2 and word not in FUNCTION_WORDS


def stem(word: str) -> str:
    """The first five letters: a crude stem that joins "compute" and "computing"."""
    return word[:_STEM]
