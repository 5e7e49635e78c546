"""Is a hit used, or only mentioned? Looks at the sentence around it, and at code around that.

A heuristic: an attacker who knows it can dress an attack as a quotation, which is why mentions are flagged by
default and not passed in silence.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass

# Chosen: a sentence without full stop is looked at so far on each side.
WINDOW_CHARACTERS = 300
# Chosen: so many words outside the quotation make it a quotation within a sentence, not a message in quotes.
_WORDS_AROUND = 3
_STOP = re.compile(r"[.!?](?=\s)|[。！？؟।]|\n")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_OPEN_TAG, _CLOSE_TAG = re.compile(r"<(?:code|pre)\b[^>]{0,99}>", re.I), re.compile(r"</(?:code|pre)>", re.I)
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|‘[^’\n]*’|「[^」\n]*」|(?<!\w)'[^'\n]*'(?!\w)")


@dataclass(frozen=True)
class Cues:
    """What in the same sentence, before or after a hit, tells that the sentence is about such text."""

    before: re.Pattern[str]
    after: re.Pattern[str]


_WORDS = re.compile(
    r"\b(?:(?:the|this|that|a|an|of|as)\s+(?:\w+\s+)?(?:word|term|phrase|expression|nickname|label)s?|slurs?|derogatory|"
    r"offensive|pejorative|racist|racial|homophobic|epithets?|profanity|swear\s?words?|etymology|dialect)\b",
    re.IGNORECASE,
)
_ATTACKS = (
    r"\b(?:means?|meaning|examples|(?:for|an|this|another)\s+example|so-called|"
    r"attack(?:s|er|ers)?|injections?|inject(?:s|ed|ing)?|vulnerab\w+|exploits?|payloads?|malicious|"
    r"prevent(?:s|ed|ing)?|protect(?:s|ed|ing)?|saniti[sz]\w+|escap(?:e|es|ed|ing)|detect(?:s|ed|ing|ion)?|xss|sqli|"
    r"jailbreaks?|prompt\s+injections?|explain\w*|definitions?|defined?|quot(?:e|es|ed))\b"
)
# Naming words count before the text only: "the phrase ..." mentions it, "... and reply with the word yes" doesn't.
_NAMED = r"\b(?:phrases?|words?|terms?|called)\b"
# What follows an order to a model may be part of the order ("... and explain how to attack it"): only a sentence that
# says what the order is counts there.
_DESCRIBED = re.compile(
    r"\b(?:is|are|was|were|as)\s+(?:\w+\s+){0,4}(?:attacks?|injections?|jailbreaks?|exploits?|phrases?|examples?|"
    r"malicious|suspicious)\b|^\W*(?:mean|means)\b|\battempts?\b",
    re.IGNORECASE,
)
_NAMED_OR_ATTACKS = re.compile(f"{_NAMED}|{_ATTACKS}", re.IGNORECASE)
# Sentences about a word, about an attack on a browser or a database, and about an order to a model.
WORD_CUES = Cues(_WORDS, _WORDS)
ATTACK_CUES = Cues(_NAMED_OR_ATTACKS, re.compile(_ATTACKS, re.IGNORECASE))
ORDER_CUES = Cues(_NAMED_OR_ATTACKS, _DESCRIBED)


class HitContext:
    """What stands around hits in one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._fences: list[int] | None = None

    def is_mention(self, start: int, end: int, cues: Cues) -> bool:
        """Whether text[start:end] stands in code, in quotation marks within a sentence, or in a sentence about it."""
        text = self.text
        if self._in_fence(start) or _in_tag(text, start, end):
            return True
        left, right = _sentence(text, start, end)
        if any(m.start() + left <= start and end <= m.end() + left for m in _INLINE_CODE.finditer(text[left:right])):
            return True
        if cues.before.search(text, left, start) or cues.after.search(text[end:right]):
            return True
        return _is_quoted(text[left:right], start - left, end - left)

    def _in_fence(self, start: int) -> bool:
        if self._fences is None:
            self._fences = [m.end() for m in _FENCE.finditer(self.text)]
        return bisect_right(self._fences, start) % 2 == 1


def _in_tag(text: str, start: int, end: int) -> bool:
    """Between <code> or <pre> and its end, within the window on both sides."""
    opened = list(_OPEN_TAG.finditer(text, max(0, start - WINDOW_CHARACTERS), start))
    if not opened or _CLOSE_TAG.search(text, opened[-1].end(), start):
        return False
    return _CLOSE_TAG.search(text, end, end + WINDOW_CHARACTERS) is not None


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    low, high = max(0, start - WINDOW_CHARACTERS), min(len(text), end + WINDOW_CHARACTERS)
    left = max((m.end() for m in _STOP.finditer(text, low, start)), default=low)
    stop = _STOP.search(text, end, high)
    return left, stop.end() if stop else high


def _is_quoted(sentence: str, start: int, end: int) -> bool:
    for quoted in _QUOTED.finditer(sentence):
        if quoted.start() < start and end < quoted.end():
            outside = sentence[: quoted.start()] + " " + sentence[quoted.end() :]
            return len(re.findall(r"\w+", outside)) >= _WORDS_AROUND
    return False
