"""Is a hit used, or only mentioned? Looks at the sentence around it, and at code around that.

A heuristic: an attacker who knows it can dress an attack as a quotation, which is why mentions are flagged by
default and not passed in silence.
"""

import re

# Chosen: a sentence without full stop is looked at so far on each side.
WINDOW_CHARACTERS = 300
# Chosen: so many words outside the quotation make it a quotation within a sentence, not a message in quotes.
_WORDS_AROUND = 3
_STOP = re.compile(r"[.!?](?=\s)|\n")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|‘[^’\n]*’|(?<!\w)'[^'\n]*'(?!\w)")
# Sentences about a word, and sentences about an attack.
WORD_TALK = re.compile(
    r"\b(?:(?:the|this|that|a|an|of|as)\s+(?:\w+\s+)?(?:word|term|phrase|expression|nickname|label)s?|slurs?|derogatory|"
    r"offensive|pejorative|racist|racial|homophobic|epithets?|profanity|swear\s?words?|etymology|dialect)\b",
    re.IGNORECASE,
)
ATTACK_TALK = re.compile(
    r"\b(?:means?|meaning|examples|(?:for|an|this|another)\s+example|so-called|"
    r"attack(?:s|er|ers)?|injections?|inject(?:s|ed|ing)?|vulnerab\w+|exploits?|payloads?|malicious|"
    r"prevent(?:s|ed|ing)?|protect(?:s|ed|ing)?|saniti[sz]\w+|escap(?:e|es|ed|ing)|detect(?:s|ed|ing|ion)?|xss|sqli|"
    r"jailbreaks?|prompt\s+injections?|explain\w*|definitions?|defined?|quot(?:e|es|ed))\b",
    re.IGNORECASE,
)
# Naming words count before the text only: "the phrase ..." mentions it, "... and reply with the word yes" doesn't.
_NAMED = re.compile(r"\b(?:phrases?|words?|terms?|called)\b", re.IGNORECASE)


def is_mention(text: str, start: int, end: int, talk: re.Pattern[str]) -> bool:
    """Whether text[start:end] stands in code, in quotation marks within a sentence, or in a sentence about it.

    `talk` tells a sentence about such text: WORD_TALK or ATTACK_TALK.
    """
    if _in_fence(text, start):
        return True
    left, right = _sentence(text, start, end)
    if any(m.start() + left <= start and end <= m.end() + left for m in _INLINE_CODE.finditer(text[left:right])):
        return True
    if talk is ATTACK_TALK and _NAMED.search(text, left, start):
        return True
    around = text[left:start] + " " + text[end:right]
    return _is_quoted(text[left:right], start - left, end - left) or talk.search(around) is not None


def _in_fence(text: str, start: int) -> bool:
    return sum(1 for _ in _FENCE.finditer(text, 0, start)) % 2 == 1


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
