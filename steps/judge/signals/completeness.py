"""Signals that a text is cut off or leaves out what was asked."""

import json
import re
from collections.abc import Iterator

from steps.judge.signals.passage import Passage

_CUT_MARK = re.compile(
    r"(?:\[\s*(?:…|\.\.\.|truncated|cut|continued)\s*\]|\((?:truncated|continued|to be continued)\)|<truncated>)\W*$",
    re.IGNORECASE,
)
_OPEN_END = re.compile(r"(?:,|[^:;=8-]\(|\s[-–]|—)$")
_LAST_WORD = re.compile(r"(?<!\w)([^\W\d_]+)$")
_ITEM = re.compile(r"\W*(?:\d+[.):]|[-*•+]\s)")
# What no text ends with, and what no text of some length ends with ("someone to swim with" can be an answer).
_NEVER = "a an the and or of whose because into their its my our your"
_SELDOM = "to for with from by at as than that which if while when where although is are was were be"
_NEVER_LAST, _SELDOM_LAST = frozenset(_NEVER.split()), frozenset(_SELDOM.split())
_SOME_LENGTH = 20
# Chosen: a sign-off ("With gratitude,") is shorter.
_SOME_WORDS = 6
# An object's first key with its colon, or cut within the key: {"a", "b"} is a set.
_JSON_START = re.compile(r'^\s*(?:\[\s*)?\{\s*"[^"]{0,200}(?:"\s*(?::|$)|$)|^\s*\[\s*"')
_FENCE = re.compile(r"^[ \t]{0,12}(`{3,})([^`\n]*)$", re.M)
# The first line ends at its first line break: `\s*\n` would try each of a million blank lines as its end.
_FENCED = re.compile(r"^```(?:json)?[^\S\n]*\n(.*?)\n?```\s*$", re.S)
_TERMINATED = re.compile(r"[.!?…。！？](?:[\"'”’)\]*_»]*)(?=\s|$)")
_LONG_REQUEST = re.compile(
    r"\b(?:explain|describe|in detail|step[- ]by[- ]step|essay|paragraphs?|summari[sz]e|discuss|elaborate)\b"
)
_PAIRS = ("()", "[]", "{}")


def completeness(answer: Passage, prompt: Passage, request: Passage) -> Iterator[str]:
    """Names of signals on a text, given all text before it and the last user turn (empty passages for a document)."""
    if _JSON_START.match(answer.text):
        if not _parses(answer.text):
            yield "broken_json"
        return
    if (fenced := _FENCED.match(answer.text)) and _JSON_START.match(fenced[1]) and not _parses(fenced[1]):
        yield "broken_json"
    if _open_fence(answer.text):
        yield "open_code_block"
    elif "```" not in answer.text:
        yield from _ending(answer, prompt)
        yield from _brackets(answer)
    if len(answer.words) < 3 and len(answer.text.strip()) < 20 and _LONG_REQUEST.search(request.folded[-600:]):
        yield "too_short_for_request"


def _parses(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _open_fence(text: str) -> bool:
    """Whether a fence of backticks is left open: one closes at a line of at least as many (CommonMark 4.5).

    False where it can't be told: a fence with a language within an open one shows fences.
    """
    if text.count("```") % 2 == 0:
        return False
    opened = 0
    for ticks, language in _FENCE.findall(text):
        if not opened:
            opened = len(ticks)
        elif language.strip():
            return False
        elif len(ticks) >= opened:
            opened = 0
    return bool(opened)


def _ending(answer: Passage, prompt: Passage) -> Iterator[str]:
    tail = answer.text.rstrip()
    if _CUT_MARK.search(tail[-60:]):
        yield "marked_as_cut"
    elif len(answer.words) >= 3 and _ends_open(answer, tail):
        yield "ends_mid_sentence"
    elif _unfinished_prose(answer, tail) and answer.folded[-60:] not in prompt.folded:
        # A quotation may stop where the quoted sentence goes on.
        yield "last_sentence_unfinished"


def _ends_open(answer: Passage, tail: str) -> bool:
    """Whether prose stops at a comma, a dash or a word that ends no sentence."""
    line = answer.last_line
    words = line.split()
    if len(words) < _SOME_WORDS or answer.is_code_or_data:
        return False
    last = _LAST_WORD.search(tail[-40:])
    word = last[1] if last else ""
    # "the, this, a" lists words.
    named = words[-2][-1:].isalpha()
    if word in _NEVER_LAST and named:
        return True
    listed = bool(_ITEM.match(line))
    if word in _SELDOM_LAST and named and not listed and len(words) >= _SOME_LENGTH:
        return True
    # A verse, and every line of a list, may end with a comma.
    return bool(_OPEN_END.search(tail[-3:])) and not listed and not _verse(answer.text)


def _verse(text: str) -> bool:
    lines = [line.strip() for line in text[-2_000:].splitlines() if line.strip()]
    return len(lines) >= 3 and sum(line.endswith(",") for line in lines) >= 0.3 * len(lines)


def _unfinished_prose(answer: Passage, tail: str) -> bool:
    """Whether the last line goes on in words, unended, after finished sentences of the same line."""
    line = answer.last_line
    if not tail[-1:].isalpha() or answer.is_code_or_data or not answer.english:
        return False
    ends = list(_TERMINATED.finditer(line))
    return bool(ends) and len(line[ends[-1].end() :].split()) >= 2 and len(line.split()) >= 8


def _brackets(answer: Passage) -> Iterator[str]:
    """More opening than closing brackets. The other way round is common ("1)", ":)") and means nothing."""
    opened = [pair for pair in _PAIRS if answer.text.count(pair[0]) > answer.text.count(pair[1])]
    if opened and not re.search(r"[:;]-?[(\[]", answer.text):
        yield "open_bracket"
